// Owns the network between simulated brokers: its weather, and the processes on it, which may pause and die.
// Refuses to own what a connection does (support/memory_peers.ts) and when what fails (faults.ts).
// Invariant: a process that is paused hears nothing until it goes on; one that has ended hears nothing any more.
import type {
  PeerCaller,
  PeerCallOptions,
  PeerHandler,
  PeerRequest,
  Peers,
} from "../../../actors/cluster/peers.ts";
import { peerMethod } from "../../../actors/cluster/routes.ts";
import { asBrokerError, BrokerError } from "../../../storage/broker_error.ts";
import { plainCopy } from "../../support/plain_copy.ts";
import { MemoryNetwork } from "../../support/memory_peers.ts";
import type { Counts } from "./counts.ts";
import type { NodeLife } from "./node_life.ts";
import type { RunWorld } from "../world.ts";

/** A cut goes unnoticed for so long. */
const DETECT_MS = 2_000;

/** What senders repeat themselves after a crash, whether or not it had been done: it may come again at any time. */
const REPEATABLE: ReadonlySet<string> = new Set([peerMethod("broker", "writeMarker")]);

/** What a process has sent may arrive so long after its end. */
const MAX_LATE_MS = 10_000;

/** A call as it travels: known again when it arrives. */
interface Travelling {
  readonly id: number;
  readonly args: unknown;
}

/** A call that has not arrived, as far as is known. */
interface Sent {
  readonly to: string;
  readonly method: string;
  readonly travelling: Travelling;
}

interface Endpoint {
  readonly life: NodeLife;
  readonly handlers: Map<string, PeerHandler>;
}

/** The weather on every link. */
export interface NetworkWeather {
  /** One way, uniform up to this. */
  maxDelayMs: number;
  /** One in so many messages takes up to `slowMs` instead; 0 for none. */
  slowOneIn: number;
  slowMs: number;
  /** Before one in so many calls the connection ends, and with it every other call on it; 0 for none. */
  resetOneIn: number;
  /** One in so many calls that may be repeated is, some time later; 0 for none. */
  repeatOneIn: number;
}

export class SimulatedNetwork {
  readonly weather: NetworkWeather = {
    maxDelayMs: 1,
    slowOneIn: 0,
    slowMs: 0,
    resetOneIn: 0,
    repeatOneIn: 0,
  };
  readonly #below: MemoryNetwork;
  readonly #endpoints = new Map<string, Endpoint>();
  /** By id, calls that have not arrived. */
  readonly #sent = new Map<number, Sent>();
  #calls = 0;

  constructor(private readonly world: RunWorld, private readonly counts: Counts) {
    this.#below = new MemoryNetwork({
      clock: world.time,
      timers: world.time,
      delayMs: () => this.#delayMs(),
      detectMs: DETECT_MS,
    });
  }

  /** The network as one process has it; it is reachable until its life ends. */
  connect(nodeId: string, life: NodeLife, incarnation: () => number): Peers {
    const below = this.#below.join(nodeId, incarnation);
    const own = new Set<number>();
    const handlers = new Map<string, PeerHandler>();
    this.#endpoints.set(nodeId, { life, handlers });
    life.onEnd(() => {
      this.#below.leave(nodeId);
      this.#letTravel(own, { nodeId, incarnation: incarnation() });
    });
    return {
      call: <T>(to: string, request: PeerRequest, options: PeerCallOptions) => {
        const { resetOneIn } = this.weather;
        const { method } = request;
        const travelling = { id: ++this.#calls, args: request.args };
        this.#sent.set(travelling.id, { to, method, travelling });
        own.add(travelling.id);
        const answer = below.call<T>(to, { ...request, args: travelling }, options);
        const settle = () => {
          own.delete(travelling.id);
          this.#sent.delete(travelling.id);
        };
        answer.then(settle, settle);
        if (this.weather.repeatOneIn > 0 && REPEATABLE.has(method)) {
          this.#repeatLater(() =>
            heardBy(life, below.call(to, { ...request, args: travelling }, options))
          );
        }
        if (resetOneIn > 0 && this.world.oneIn(resetOneIn)) {
          const withinMs = this.#delayMs() + this.#delayMs();
          this.world.time.after(withinMs, () => this.#reset(nodeId, to));
        }
        return heardBy(life, answer);
      },
      handle: (method, handler) => {
        const heard: PeerHandler = (args, caller, signal) =>
          new Promise((resolve, reject) => {
            life.hear(() => {
              const handle = async () => await handler(args, caller, signal);
              this.#handled(nodeId, method, handle()).then(resolve, reject);
            });
          });
        handlers.set(method, heard);
        below.handle(method, (travelling, caller, signal) => {
          const { id, args } = travelling as Travelling;
          this.#sent.delete(id);
          return heard(args, caller, signal);
        });
      },
    };
  }

  /** Nothing that `from` sends reaches `to` any more. */
  cut(from: string, to: string): void {
    this.#below.cutOneWay(from, to);
  }

  /** Everything between the two; left out: everywhere. */
  mend(a?: string, b?: string): void {
    this.#below.heal(a, b);
  }

  #repeatLater(call: () => Promise<unknown>): void {
    if (!this.world.oneIn(this.weather.repeatOneIn)) return;
    this.world.time.after(this.world.between(0, MAX_LATE_MS), () => {
      this.counts.add("callRepeated");
      call().catch(() => undefined);
    });
  }

  /** What a process that has ended had sent, and had not arrived, may still arrive: nobody waits for the answer. */
  #letTravel(ids: ReadonlySet<number>, caller: PeerCaller): void {
    for (const id of ids) {
      const sent = this.#sent.get(id);
      this.#sent.delete(id);
      if (sent === undefined || !this.world.oneIn(2)) continue;
      const { to, method, travelling } = sent;
      const args = plainCopy(travelling.args);
      this.world.time.after(this.world.between(0, MAX_LATE_MS), () => {
        const handler = this.#endpoints.get(to)?.handlers.get(method);
        if (handler === undefined) return;
        this.counts.add("callAfterDeath");
        this.world.note("network", `${method} of ${caller.nodeId}, which has ended, reaches ${to}`);
        handler(args, caller, new AbortController().signal).catch(() => undefined);
      });
    }
  }

  #reset(from: string, to: string): void {
    this.counts.add("connectionReset");
    this.#below.reset(from, to);
  }

  /** An answer that no broker may give is a violation. */
  async #handled(nodeId: string, method: string, answer: Promise<unknown>): Promise<unknown> {
    try {
      return await answer;
    } catch (error) {
      if (!(error instanceof BrokerError) || error.code === "INTERNAL") {
        const cause = error instanceof Error ? error.cause ?? error : error;
        this.world.violation(`${nodeId} answers ${method} with ${String(cause)}`);
      }
      throw asBrokerError(error);
    }
  }

  #delayMs(): number {
    const { maxDelayMs, slowOneIn, slowMs } = this.weather;
    if (slowOneIn > 0 && this.world.oneIn(slowOneIn)) {
      this.counts.add("messageSlow");
      return this.world.between(0, slowMs);
    }
    return this.world.between(0, maxDelayMs);
  }
}

/** `answer`, when the process that waits for it runs; never, once that has ended. */
function heardBy<T>(life: NodeLife, answer: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    answer.then(
      (value) => life.hear(() => resolve(value)),
      (error) => life.hear(() => reject(error)),
    );
  });
}
