// Owns asking etcd through several endpoints: which one is asked, the next one when it fails, the token, and when to
// give up.
// Refuses to own what is asked, and one request's limits (etcd_http.ts).
// Invariant: a write is sent again only after it certainly did not happen; nothing is tried without end.
import type { Cancel, Clock, Randomness, Timers } from "../ports.ts";
import { Slots } from "../turns.ts";
import {
  EtcdRefusal,
  EtcdSilence,
  isWorthAnother,
  mayHaveHappened,
  metadataError,
} from "./etcd_errors.ts";
import type { EtcdHttp } from "./etcd_http.ts";
import type { EtcdAnswer, EtcdHeader } from "./etcd_wire.ts";

/** A read that one endpoint has not answered by then is asked of the next. */
export const READ_TIMEOUT_MS = 2_000;
/** Of a write, which cannot be asked again: longer than the members need to elect a new leader. */
export const WRITE_TIMEOUT_MS = 5_000;
/** No attempt begins later than this after the first. */
export const OPERATION_MS = 6_000;
/** Requests under way at once, each of which takes a connection; leases and the watch are not counted. */
export const MAX_UNDER_WAY = 64;
/** Requests that wait for their turn, each for `OPERATION_MS` at most; more are refused. */
const MAX_WAITING = 10_000;
/** Attempts of one operation, over all endpoints. */
const MAX_ATTEMPTS = 40;
/** Pause after each endpoint has failed once: doubled each round, up to the second, of which half is chance. */
const MIN_ROUND_PAUSE_MS = 50;
const MAX_ROUND_PAUSE_MS = 1_000;

export interface EtcdReport {
  readonly level: "info" | "warning" | "error";
  readonly message: string;
  readonly error?: unknown;
}

export interface EtcdRequestsOptions {
  readonly http: EtcdHttp;
  /** `http(s)://host:port` each. */
  readonly endpoints: readonly string[];
  readonly username?: string;
  readonly password?: string;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly randomness: Randomness;
  /** A read of nothing much that the user may read. */
  readonly confirming: unknown;
  report(report: EtcdReport): void;
}

export interface EtcdAction {
  /** For messages: "read metadata". */
  readonly action: string;
  readonly path: string;
  /** Whether it may be sent again though it may have happened. */
  readonly isRepeatable: boolean;
  /** Whether a leader answers it without asking the majority: then this asks it. */
  readonly isOfLeaderAlone?: boolean;
  /** Does not wait behind others: a lease ends while it waits. */
  readonly isUrgent?: boolean;
}

export class EtcdRequests {
  readonly #endpoints: readonly string[];
  #current: number;
  #token: string | null = null;
  #authenticating: Promise<void> | null = null;
  #clusterId: string | null = null;
  #closed = false;
  readonly #slots = new Slots(MAX_UNDER_WAY);
  #waiting = 0;
  /** Called with an endpoint that has just failed. */
  onEndpointFailed: (endpoint: string) => void = () => {};

  constructor(private readonly options: EtcdRequestsOptions) {
    this.#endpoints = options.endpoints.map(checkedEndpoint);
    if (this.#endpoints.length === 0) throw new Error("etcd needs at least one endpoint");
    // Brokers spread over the members.
    this.#current = Math.floor(options.randomness.fraction() * this.#endpoints.length);
  }

  /**
   * The answer to `body`. Rejects with EtcdRefusal when etcd refuses what was asked, else with BrokerError
   * METADATA_UNAVAILABLE (it did not happen) or STORAGE_FAILED (it may have happened).
   */
  async ask<Answer extends EtcdAnswer>(of: EtcdAction, body: unknown): Promise<Answer> {
    const { action, isUrgent = false } = of;
    if (isUrgent) return await this.#ask<Answer>(of, body);
    if (this.#waiting >= MAX_WAITING) throw notAsked(action, `${MAX_WAITING} requests wait`);
    const { clock } = this.options;
    const since = clock.monotonic();
    this.#waiting++;
    return await this.#slots.run(async () => {
      this.#waiting--;
      const waitedMs = clock.monotonic() - since;
      if (waitedMs > OPERATION_MS) throw notAsked(action, `its turn came after ${waitedMs} ms`);
      return await this.#ask<Answer>(of, body);
    });
  }

  async #ask<Answer extends EtcdAnswer>(
    { action, path, isRepeatable, isOfLeaderAlone = false }: EtcdAction,
    body: unknown,
  ): Promise<Answer> {
    const timeoutMs = isRepeatable ? READ_TIMEOUT_MS : WRITE_TIMEOUT_MS;
    return await this.#attempts({ action, isRepeatable }, async (endpoint) => {
      const call = { endpoint, path, body, timeoutMs };
      const answer = await this.#withToken(
        endpoint,
        (token) => this.options.http.ask<Answer>({ ...call, token }),
      );
      const header = answer.header ?? answer.result?.header ?? {};
      this.#checkCluster(endpoint, header);
      if (isOfLeaderAlone) await this.#checkMajority(endpoint, header);
      return answer;
    });
  }

  /** A stream that has begun, and where. `signal` ends it. Rejects as `ask`. */
  async stream(
    { action, path }: EtcdAction,
    body: unknown,
    signal: AbortSignal,
  ): Promise<{ endpoint: string; lines: ReadableStream<Uint8Array<ArrayBuffer>> }> {
    return await this.#attempts({ action, isRepeatable: true, signal }, async (endpoint) => {
      const call = { endpoint, path, body, timeoutMs: READ_TIMEOUT_MS, signal };
      const lines = await this.#withToken(
        endpoint,
        (token) => this.options.http.stream({ ...call, token }),
      );
      return { endpoint, lines };
    });
  }

  /** The next requests go elsewhere. */
  failed(endpoint: string, error: unknown): void {
    if (this.#closed || this.#endpoints[this.#current] !== endpoint) return;
    this.#current = (this.#current + 1) % this.#endpoints.length;
    const message = `etcd endpoint ${endpoint} failed`;
    this.options.report({ level: "warning", message, error });
    this.onEndpointFailed(endpoint);
  }

  close(): void {
    this.#closed = true;
    this.options.http.close();
  }

  async #attempts<T>(
    of: { action: string; isRepeatable: boolean; signal?: AbortSignal },
    attempt: (endpoint: string) => Promise<T>,
  ): Promise<T> {
    const { clock } = this.options;
    const { action, isRepeatable, signal } = of;
    const givenUpAt = clock.monotonic() + OPERATION_MS;
    for (let count = 1;; count++) {
      const endpoint = this.#endpoints[this.#current]!;
      try {
        return await attempt(endpoint);
      } catch (error) {
        if (error instanceof EtcdRefusal && !isWorthAnother(error)) throw error;
        if (signal?.aborted) throw error;
        this.failed(endpoint, error);
        const isOutcomeUnknown = !isRepeatable && mayHaveHappened(error);
        const isLast = isOutcomeUnknown || this.#closed || !isWorthAnother(error) ||
          count >= MAX_ATTEMPTS || clock.monotonic() >= givenUpAt;
        if (isLast) throw metadataError(action, error, { isOutcomeUnknown });
      }
      if (count % this.#endpoints.length === 0) {
        await this.#pause(count / this.#endpoints.length);
      }
    }
  }

  async #withToken<T>(
    endpoint: string,
    send: (token: string | null) => Promise<T>,
  ): Promise<T> {
    const { username } = this.options;
    if (username === undefined) return await send(null);
    if (this.#token === null) await this.#authenticate(endpoint);
    const token = this.#token;
    try {
      return await send(token);
    } catch (error) {
      if (!(error instanceof EtcdRefusal) || !error.isTokenRefused) throw error;
      // Another request may have renewed it meanwhile.
      if (this.#token === token) await this.#authenticate(endpoint);
      return await send(this.#token);
    }
  }

  async #authenticate(endpoint: string): Promise<void> {
    this.#authenticating ??= this.#fetchToken(endpoint).finally(() => this.#authenticating = null);
    await this.#authenticating;
  }

  async #fetchToken(endpoint: string): Promise<void> {
    const { http, username, password = "" } = this.options;
    const answer = await http.ask<{ token?: string }>({
      endpoint,
      path: "/v3/auth/authenticate",
      body: { name: username, password },
      token: null,
      timeoutMs: READ_TIMEOUT_MS,
    }).catch((error) => {
      // No token was had, so nothing was asked.
      if (error instanceof EtcdSilence) {
        throw new EtcdSilence(error.message, true, { cause: error });
      }
      throw error;
    });
    if (answer.token === undefined) throw new EtcdSilence(`${endpoint} gave no token`, true);
    this.#token = answer.token;
  }

  /** Endpoints of two clusters would make two truths. */
  #checkCluster(endpoint: string, header: EtcdHeader): void {
    const clusterId = header.cluster_id;
    if (clusterId === undefined) return;
    this.#clusterId ??= clusterId;
    if (clusterId === this.#clusterId) return;
    const which = `is of etcd cluster ${clusterId}, not of ${this.#clusterId}`;
    throw new EtcdSilence(`${endpoint} ${which}: refused`, false);
  }

  /**
   * Rejects unless the leader that `endpoint` knew when it answered with `header` led the majority after that: a read asks
   * the majority, and the term tells that it was the same leader.
   */
  async #checkMajority(endpoint: string, header: EtcdHeader): Promise<void> {
    const call = { endpoint, path: "/v3/kv/range", body: this.options.confirming };
    const confirmed = await this.#withToken(
      endpoint,
      (token) => this.options.http.ask<EtcdAnswer>({ ...call, token, timeoutMs: READ_TIMEOUT_MS }),
    );
    if (confirmed.header?.raft_term === header.raft_term) return;
    throw new EtcdSilence(`${endpoint}: etcd changed its leader meanwhile`, false);
  }

  /** After a round in which every endpoint failed. */
  async #pause(round: number): Promise<void> {
    const { timers, randomness } = this.options;
    const wholeMs = Math.min(MAX_ROUND_PAUSE_MS, MIN_ROUND_PAUSE_MS * 2 ** (round - 1));
    const pauseMs = wholeMs * (0.5 + randomness.fraction() / 2);
    await new Promise<void>((resolve): Cancel => timers.after(pauseMs, resolve));
  }
}

function notAsked(action: string, why: string): Error {
  return metadataError(action, new EtcdSilence(why, true), { isOutcomeUnknown: false });
}

function checkedEndpoint(endpoint: string): string {
  const url = URL.parse(endpoint);
  const isPlain = url !== null && /^https?:$/.test(url.protocol) && url.pathname === "/" &&
    url.search === "" && url.username === "";
  if (!isPlain) throw new Error(`not an endpoint of etcd: ${endpoint} (http://host:port)`);
  return url.origin;
}
