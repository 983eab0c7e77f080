// Owns the network between simulated brokers: its weather, and the processes on it, which may pause and die.
// Refuses to own what a connection does (support/memory_peers.ts) and when what fails (faults.ts).
// Invariant: a process that is paused hears nothing until it goes on; one that has ended hears nothing any more.
import type { PeerCallOptions, PeerRequest, Peers } from "../../../actors/cluster/peers.ts";
import { asBrokerError, BrokerError } from "../../../storage/broker_error.ts";
import { MemoryNetwork } from "../../support/memory_peers.ts";
import type { Counts } from "./counts.ts";
import type { NodeLife } from "./node_life.ts";
import type { RunWorld } from "../world.ts";

/** A cut goes unnoticed for so long. */
const DETECT_MS = 2_000;

/** The weather on every link. */
export interface NetworkWeather {
  /** One way, uniform up to this. */
  maxDelayMs: number;
  /** One in so many messages takes up to `slowMs` instead; 0 for none. */
  slowOneIn: number;
  slowMs: number;
  /** Before one in so many calls the connection ends, and with it every other call on it; 0 for none. */
  resetOneIn: number;
}

export class SimulatedNetwork {
  readonly weather: NetworkWeather = { maxDelayMs: 1, slowOneIn: 0, slowMs: 0, resetOneIn: 0 };
  readonly #below: MemoryNetwork;

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
    life.onEnd(() => this.#below.leave(nodeId));
    return {
      call: <T>(to: string, request: PeerRequest, options: PeerCallOptions) => {
        const { resetOneIn } = this.weather;
        const answer = below.call<T>(to, request, options);
        if (resetOneIn > 0 && this.world.oneIn(resetOneIn)) {
          const withinMs = this.#delayMs() + this.#delayMs();
          this.world.time.after(withinMs, () => this.#reset(nodeId, to));
        }
        return heardBy(life, answer);
      },
      handle: (method, handler) =>
        below.handle(method, (args, caller, signal) =>
          new Promise((resolve, reject) => {
            life.hear(() => {
              const handle = async () => await handler(args, caller, signal);
              this.#handled(nodeId, method, handle()).then(resolve, reject);
            });
          })),
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
