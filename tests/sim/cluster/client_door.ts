// Owns how one client of a simulated cluster asks: one broker at a time, another when that one does not answer.
// Refuses to own what is asked (../clients/) and who leads: a broker that knows better is believed once.
// Invariant: an answer that no broker may give is a violation; one that does not come in time is a lost connection.
import { BrokerError } from "../../../storage/broker_error.ts";
import type { ClientPort } from "../client_scene.ts";
import { ConnectionLost } from "../incarnation.ts";
import { describeError } from "../world.ts";
import type { SimulatedCluster } from "./cluster.ts";
import type { NodeMachine, NodeProcess } from "./node_machine.ts";

/** Longer than any broker lets a client wait for an append. */
const TIMEOUT_MS = 20_000;
/** One in so many calls goes to another broker than the one before. */
const WANDER_ONE_IN = 10;

export interface ServingProcess<B> extends NodeProcess {
  readonly broker: B;
}

export class ClientDoor<B> implements ClientPort<B> {
  #machine: NodeMachine<ServingProcess<B>> | null = null;

  /** By process that it was ever connected to. */
  readonly #numbers = new Map<object, number>();

  /** `isSticky`: it stays with a broker as long as that answers. */
  constructor(
    private readonly cluster: SimulatedCluster<ServingProcess<B>>,
    private readonly options: { readonly isSticky?: boolean } = {},
  ) {}

  get starts(): number {
    const process = this.#connected()?.process ?? null;
    if (process === null) return 0;
    const number = this.#numbers.get(process) ?? this.#numbers.size + 1;
    this.#numbers.set(process, number);
    return number;
  }

  get broker(): B | null {
    return this.#connected()?.process?.broker ?? null;
  }

  async ask<T>(who: string, run: (broker: B) => Promise<T>): Promise<T> {
    const { isSticky = false } = this.options;
    if (!isSticky && this.cluster.world.oneIn(WANDER_ONE_IN)) this.#machine = null;
    const machine = this.#connected();
    if (machine === null) throw new ConnectionLost("there is no broker");
    try {
      return await this.#askOne(machine, who, run);
    } catch (error) {
      const leader = leaderIn(error);
      const other = leader === null ? null : this.cluster.machine(leader);
      if (other === null || other === machine || other.process === null) throw error;
      return await this.#askOne(other, who, run);
    }
  }

  async #askOne<T>(
    machine: NodeMachine<ServingProcess<B>>,
    who: string,
    run: (broker: B) => Promise<T>,
  ): Promise<T> {
    const { life, process } = machine;
    if (life === null || process === null) throw new ConnectionLost("the broker has gone");
    const answer = new Promise<T>((resolve, reject) => {
      life.hear(() => void run(process.broker).then(resolve, reject));
    });
    const late = Promise.withResolvers<never>();
    const cancel = this.cluster.world.time.after(TIMEOUT_MS, () => {
      late.reject(new ConnectionLost(`${machine.nodeId} did not answer`));
    });
    try {
      return await life.answer(Promise.race([answer, late.promise]));
    } catch (error) {
      if (error instanceof ConnectionLost) this.#machine = null;
      else this.#checkAnswer(who, error);
      throw error;
    } finally {
      cancel();
    }
  }

  #checkAnswer(who: string, error: unknown): void {
    if (error instanceof BrokerError && error.code !== "INTERNAL") return;
    this.cluster.world.violation(`${who} was answered ${describeError(error)}`);
  }

  #connected(): NodeMachine<ServingProcess<B>> | null {
    if (this.#machine?.process) return this.#machine;
    const serving = this.cluster.machines.filter(({ process }) => process !== null);
    this.#machine = serving.length === 0 ? null : this.cluster.world.chance.pick(serving);
    return this.#machine;
  }
}

function leaderIn(error: unknown): string | null {
  if (!(error instanceof BrokerError) || error.code !== "NOT_LEADER") return null;
  const { leader } = error.details;
  return typeof leader === "string" ? leader : null;
}
