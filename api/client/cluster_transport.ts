// Owns bringing a request to a broker of the cluster: to a partition's leader where that is known, else to whose turn it
// is, to the next where it came to nothing; and learning which brokers there are.
// Refuses to own one exchange (transport.ts) and repeats of what may have happened: whoever knows that it may asks again,
// and meets another broker then.
// Invariant: a request that may have changed something is sent to a second broker only if the first was not reached.
import type { Clock } from "../../storage/ports.ts";
import type { Brokers } from "./brokers.ts";
import { asWaybillError, wasNotReached, WaybillError } from "./errors.ts";
import { brokersIn, nodesIn } from "./nodes.ts";
import {
  parseJson,
  type Transport,
  type TransportAnswer,
  type TransportRequest,
} from "./transport.ts";

/** What is known of the cluster is asked for again after this, and no sooner than … */
const LEARNT_MAX_AGE_MS = 60_000;
/** … this, however often a leader is met whose address is not known. */
const LEARN_EVERY_MS = 2_000;
const LEARN_TIMEOUT_MS = 10_000;

/** The broker answers, but its view or its way to the others fails it: another one may do better. */
const ITS_VIEW = new Set([
  "LEADER_NOT_AVAILABLE",
  "NOT_LEADER",
  "STALE_EPOCH",
  "PEER_UNAVAILABLE",
  "PEER_LOST",
  "METADATA_UNAVAILABLE",
]);

export interface ClusterTransportOptions {
  readonly brokers: Brokers;
  /** The way to one broker. */
  readonly open: (url: string) => Transport;
  readonly clock: Pick<Clock, "monotonic">;
  /** False: no other broker is asked than those handed in. */
  readonly discover: boolean;
}

export class ClusterTransport implements Transport {
  readonly #options: ClusterTransportOptions;
  readonly #ways = new Map<string, Transport>();
  #isCluster: boolean;
  #learntAt = -Infinity;
  #triedAt = -Infinity;
  #learning = false;
  #hasExplored = false;
  #mayLearn: boolean;

  constructor(options: ClusterTransportOptions) {
    this.#options = options;
    this.#mayLearn = options.discover;
    this.#isCluster = options.brokers.several;
  }

  async send(request: TransportRequest): Promise<TransportAnswer> {
    const { brokers, clock } = this.#options;
    const deadline = clock.monotonic() + request.timeoutMs;
    const leader = request.leader === undefined ? null : this.#addressOf(request.leader);
    let failure: WaybillError | null = null;
    for (const url of brokers.inTurn(leader)) {
      const timeoutMs = deadline - clock.monotonic();
      if (failure !== null && timeoutMs <= 0) break;
      try {
        const answer = await this.#way(url).send(failure ? { ...request, timeoutMs } : request);
        brokers.answered(url);
        this.#keepLearning();
        return answer;
      } catch (fault) {
        failure = this.#failed(url, asWaybillError(fault, "NETWORK_ERROR"));
        if (request.signal?.aborted || !this.#mayGoOn(request, url, failure)) throw failure;
      }
    }
    throw failure!;
  }

  sighted(nodeIds: Iterable<string>): void {
    if (this.#isCluster || new Set(nodeIds).size < 2) return;
    this.#isCluster = true;
    this.#keepLearning();
  }

  explore(topic: string): void {
    if (this.#hasExplored || !this.#mayLearn) return;
    this.#hasExplored = true;
    if (this.#isCluster) return this.#keepLearning();
    const path = `/api/topics/${encodeURIComponent(topic)}`;
    this.send({ method: "GET", path, timeoutMs: LEARN_TIMEOUT_MS }).then(
      (answer) => this.sighted(nodesIn(parseJson(answer))),
    ).catch(() => {
      // The next welcome asks again.
      this.#hasExplored = false;
    });
  }

  /** Notes what a failure says of the broker; the failure as whoever may ask another one should take it. */
  #failed(url: string, error: WaybillError): WaybillError {
    const { brokers } = this.#options;
    const isGone = error.code === "NETWORK_ERROR" || error.code === "TIMEOUT" ||
      error.code === "SHUTTING_DOWN" || error.code === "TLS_FAILED";
    if (isGone) {
      brokers.failed(url);
      // It may be back at another address, and its partitions elsewhere.
      this.#learntAt = -Infinity;
    } else if (ITS_VIEW.has(error.code)) brokers.passOver(url);
    else return error;
    if (error.retryAfterMs === undefined || !isGone || !brokers.hasOther(url)) return error;
    // What one broker asks to wait does not hold for another.
    const { code, detail, retryable, status, details, requestId, cause } = error;
    const more = requestId === undefined ? {} : { requestId };
    return new WaybillError(code, detail, { retryable, status, details, cause, ...more });
  }

  /** Nothing has happened, or nothing can: reading twice is reading. */
  #mayGoOn(request: TransportRequest, url: string, error: WaybillError): boolean {
    if (wasNotReached(error)) return true;
    // Its certificate may well be for another name than the one that the cluster tells.
    if (error.code === "TLS_FAILED") return this.#options.brokers.isLearned(url);
    return request.method === "GET" &&
      (error.code === "NETWORK_ERROR" || error.code === "SHUTTING_DOWN");
  }

  #addressOf(leader: string): string | null {
    const url = this.#options.brokers.urlOf(leader);
    if (url === null && this.#isCluster) this.#learnSoon();
    return url;
  }

  #keepLearning(): void {
    if (!this.#isCluster) return;
    const age = this.#options.clock.monotonic() - this.#learntAt;
    if (age > LEARNT_MAX_AGE_MS) this.#learnSoon();
  }

  #learnSoon(): void {
    const now = this.#options.clock.monotonic();
    if (!this.#mayLearn || this.#learning || now - this.#triedAt < LEARN_EVERY_MS) return;
    this.#learning = true;
    this.#triedAt = now;
    void this.#learn().finally(() => this.#learning = false);
  }

  async #learn(): Promise<void> {
    const { brokers, clock } = this.#options;
    const headers = { accept: "application/json" };
    const path = "/api/cluster";
    try {
      const answer = await this.send({ method: "GET", path, headers, timeoutMs: LEARN_TIMEOUT_MS });
      brokers.learned(brokersIn(parseJson(answer)));
      this.#learntAt = clock.monotonic();
    } catch (fault) {
      // Who may not see the cluster goes on with what was handed in, and does not ask again.
      if (!asWaybillError(fault, "BAD_RESPONSE").retryable) this.#mayLearn = false;
    }
  }

  #way(url: string): Transport {
    let way = this.#ways.get(url);
    if (way === undefined) this.#ways.set(url, way = this.#options.open(url));
    return way;
  }
}
