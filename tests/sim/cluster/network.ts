// Owns the network between simulated brokers: delay, silence, lost connections, cuts one way and both ways.
// Refuses to decide when which of them happens (faults.ts), and what any method means.
// Invariant: it keeps the promises of the Peers port and no other: a request that was not sent has no effect, one that got
// lost may have had one, even after its caller gave up; calls of one lane arrive in order, or the rest of them not at all.
import type {
  PeerCaller,
  PeerCallOptions,
  PeerHandler,
  PeerRequest,
  Peers,
} from "../../../actors/cluster/peers.ts";
import { asBrokerError, BrokerError } from "../../../storage/broker_error.ts";
import type { Counts } from "./counts.ts";
import type { NodeLife } from "./node_life.ts";
import type { RunWorld } from "../world.ts";

/** A connection to a machine that does not answer is given up after this, if the call has that much time. */
const CONNECT_MS = 300;

/** The weather on every link. */
export interface NetworkConditions {
  /** One way, uniform up to this. */
  maxDelayMs: number;
  /** One in so many messages takes `slowMs` instead; 0 for none. */
  slowOneIn: number;
  slowMs: number;
  /** One in so many calls loses its connection, before or after it took effect; 0 for none. */
  lossOneIn: number;
}

/** A broker's process on the network. */
interface Endpoint {
  readonly nodeId: string;
  readonly life: NodeLife;
  readonly handlers: Map<string, PeerHandler>;
  readonly incarnation: () => number;
}

interface Lane {
  /** When the last message of it arrives, in virtual ms. */
  lastAt: number;
}

export class SimulatedNetwork {
  readonly conditions: NetworkConditions = { maxDelayMs: 1, slowOneIn: 0, slowMs: 0, lossOneIn: 0 };
  readonly #endpoints = new Map<string, Endpoint>();
  /** `from>to` of the ways on which nothing arrives. */
  readonly #cuts = new Set<string>();
  readonly #lanes = new Map<string, Lane>();

  constructor(private readonly world: RunWorld, private readonly counts: Counts) {}

  /** The network as one process has it; it is reachable until its life ends. */
  connect(nodeId: string, life: NodeLife, incarnation: () => number): Peers {
    const handlers = new Map<string, PeerHandler>();
    const endpoint = { nodeId, life, handlers, incarnation };
    this.#endpoints.set(nodeId, endpoint);
    return {
      call: <T>(to: string, request: PeerRequest, options: PeerCallOptions) =>
        new Call<T>(this, endpoint, { to, request, options }).run(),
      handle: (method, handler) => {
        if (handlers.has(method)) throw new Error(`${method} has a handler already`);
        handlers.set(method, handler);
      },
    };
  }

  /** Nothing that `from` sends reaches `to` any more. */
  cut(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`);
  }

  mend(from: string, to: string): void {
    this.#cuts.delete(`${from}>${to}`);
  }

  mendAll(): void {
    this.#cuts.clear();
  }

  isCut(from: string, to: string): boolean {
    return this.#cuts.has(`${from}>${to}`);
  }

  /** The process at `nodeId`, null when none is there. */
  endpoint(nodeId: string): Endpoint | null {
    const found = this.#endpoints.get(nodeId);
    return found?.life.isAlive ? found : null;
  }

  delayMs(): number {
    const { maxDelayMs, slowOneIn, slowMs } = this.conditions;
    if (slowOneIn > 0 && this.world.oneIn(slowOneIn)) {
      this.counts.add("messageDelayed");
      return this.world.between(0, slowMs);
    }
    return this.world.between(0, maxDelayMs);
  }

  /** When a request that is sent now arrives: after all of its lane that were sent before. */
  arrivalMs(from: string, to: string, lane: string): number {
    const key = `${from}>${to} ${lane}`;
    const known = this.#lanes.get(key) ?? { lastAt: 0 };
    this.#lanes.set(key, known);
    const now = this.world.time.monotonic();
    known.lastAt = Math.max(known.lastAt, now + this.delayMs());
    return known.lastAt - now;
  }

  losesConnection(): boolean {
    const { lossOneIn } = this.conditions;
    if (lossOneIn === 0 || !this.world.oneIn(lossOneIn)) return false;
    this.counts.add("connectionLost");
    return true;
  }

  oneIn(n: number): boolean {
    return this.world.oneIn(n);
  }

  note(who: string, what: string): void {
    this.world.note(who, what);
  }

  violation(text: string): void {
    this.world.violation(text);
  }
}

interface CallSpec {
  readonly to: string;
  readonly request: PeerRequest;
  readonly options: PeerCallOptions;
}

/** One call, from its caller to its end; what happens there may go on after the caller has given up. */
class Call<T> {
  readonly #answer = Promise.withResolvers<T>();
  readonly #abort = new AbortController();
  #isOver = false;

  constructor(
    private readonly network: SimulatedNetwork,
    private readonly caller: Endpoint,
    private readonly spec: CallSpec,
  ) {}

  run(): Promise<T> {
    const { caller, spec: { options } } = this;
    const cancel = caller.life.after(
      options.timeoutMs,
      () => this.#giveUp("did not answer in time"),
    );
    const onAbort = () => this.#giveUp("was no longer wanted");
    options.signal?.addEventListener("abort", onAbort, { once: true });
    const end = () => {
      cancel();
      options.signal?.removeEventListener("abort", onAbort);
    };
    this.#answer.promise.then(end, end);
    if (options.signal?.aborted === true) onAbort();
    else this.#send();
    return this.#answer.promise;
  }

  #send(): void {
    const { network, caller, spec: { to, request, options } } = this;
    const isCut = network.isCut(caller.nodeId, to) || network.isCut(to, caller.nodeId);
    // A connection that stood before the cut swallows what is sent; one that does not stand is not made.
    if (network.endpoint(to) === null || (isCut && network.oneIn(2))) {
      const delayMs = isCut ? Math.min(CONNECT_MS, options.timeoutMs) : network.delayMs();
      return this.#fail("PEER_UNAVAILABLE", "cannot be reached", delayMs);
    }
    const args = structuredClone(request.args);
    const delayMs = network.arrivalMs(caller.nodeId, to, request.lane ?? "control");
    if (network.losesConnection()) {
      if (network.oneIn(2)) return this.#fail("PEER_LOST", "closed the connection", delayMs);
      this.#fail("PEER_LOST", "closed the connection", delayMs + network.delayMs());
    }
    network.endpoint(to)!.life.deliver(delayMs, () => this.#arrive(args));
  }

  #arrive(args: unknown): void {
    const { network, caller, spec: { to, request } } = this;
    const target = network.endpoint(to);
    if (target === null || network.isCut(caller.nodeId, to)) return;
    const handler = target.handlers.get(request.method);
    if (handler === undefined) {
      return this.#reply(
        target,
        Promise.reject(
          new BrokerError("PEER_UNAVAILABLE", `${to} does not know ${request.method} yet`),
        ),
      );
    }
    const who: PeerCaller = { nodeId: caller.nodeId, incarnation: caller.incarnation() };
    const answer = (async () => await handler(args, who, this.#abort.signal))();
    this.#reply(target, answer);
    this.#resetWhenDead(target);
  }

  /** A process that dies closes its connections, for those that can still hear it. */
  #resetWhenDead(target: Endpoint): void {
    target.life.onEnd(() => {
      if (this.#isOver || this.network.isCut(target.nodeId, this.caller.nodeId)) return;
      this.#fail("PEER_LOST", "has gone", this.network.delayMs());
    });
  }

  #reply(target: Endpoint, answer: Promise<unknown>): void {
    const { network, caller, spec: { to, request } } = this;
    answer.then(
      (value) => ({ value: structuredClone(value) as T }),
      (error: unknown) => {
        if (!(error instanceof BrokerError)) {
          network.violation(`${to} answers ${request.method} with ${String(error)}`);
        }
        return { error: asBrokerError(error) };
      },
    ).then((outcome) => {
      if (!target.life.isAlive || network.isCut(to, caller.nodeId)) return;
      caller.life.deliver(network.delayMs(), () => {
        if (this.#isOver) return;
        this.#isOver = true;
        if ("error" in outcome) this.#answer.reject(copyOf(outcome.error));
        else this.#answer.resolve(outcome.value);
      });
    });
  }

  #giveUp(why: string): void {
    if (this.#isOver) return;
    // That it has given up is heard there later, if at all.
    const target = this.network.endpoint(this.spec.to);
    target?.life.deliver(this.network.delayMs(), () => this.#abort.abort());
    this.#fail("PEER_LOST", why, 0);
  }

  #fail(code: "PEER_LOST" | "PEER_UNAVAILABLE", why: string, delayMs: number): void {
    const { caller, spec: { to, request } } = this;
    caller.life.deliver(delayMs, () => {
      if (this.#isOver) return;
      this.#isOver = true;
      this.#answer.reject(new BrokerError(code, `${to} ${why} (${request.method})`));
    });
  }
}

/** As it is on the other side: without the stack and the cause it had. */
function copyOf({ code, message, details }: BrokerError): BrokerError {
  return new BrokerError(code, message, structuredClone(details));
}
