// Owns carrying out what was decided of a transaction: its markers, its groups' offsets, then word to its actor.
// Refuses to own the decision; it never changes one. Invariant: every step may be repeated, so a crash costs a repeat,
// and nothing is given up before the broker closes, or another one leads the transaction's journal and carries it out.
import { asBrokerError } from "../../storage/broker_error.ts";
import type { Cancel } from "../../storage/ports.ts";
import { Slots } from "../../storage/turns.ts";
import type { TransactionPorts } from "./ports.ts";
import { transactionIdOf } from "./transaction_id.ts";
import type { EndPlan, TransactionIdentity } from "./types.ts";

/** Markers and groups of all transactions that are under way at the same time. */
const MAX_PARALLEL = 64;
const RETRY_FIRST_MS = 50;
const RETRY_LAST_MS = 5_000;
/** Attempts after which somebody is told. */
const REPORT_AFTER = 3;

export interface FinisherOptions {
  readonly ports: Pick<TransactionPorts, "logs" | "groups" | "timers" | "report">;
  readonly coordinatorEpoch: (transactionalId: string) => number;
  /** Whether its journal is led here: another broker carries out what is decided there else. */
  readonly isOurs: (transactionalId: string) => boolean;
  /** Resolves when no append of the transaction is under way any more. */
  readonly quiet: (of: TransactionIdentity) => Promise<void>;
  /** Tells the transaction's actor that all is done. */
  readonly finished: (plan: EndPlan) => Promise<void>;
}

export class Finisher {
  readonly #jobs = new Map<string, Promise<void>>();
  readonly #slots = new Slots(MAX_PARALLEL);
  readonly #waits = new Set<() => void>();
  #closed = false;

  constructor(private readonly options: FinisherOptions) {}

  /** Carries `plan` out, unless that is under way already. `turn` keeps it apart from other work on the transaction. */
  start(plan: EndPlan, turn: (work: () => Promise<void>) => Promise<void>): void {
    const transactionId = transactionIdOf(plan);
    if (this.#closed || this.#jobs.has(transactionId)) return;
    const job = turn(() => this.#carryOut(plan)).finally(() => this.#jobs.delete(transactionId));
    this.#jobs.set(transactionId, job);
  }

  /** Resolves when nothing is to be done for it, or after `timeoutMs`. */
  async settled(of: TransactionIdentity, timeoutMs: number): Promise<void> {
    const job = this.#jobs.get(transactionIdOf(of));
    if (job === undefined) return;
    let cancel: Cancel = () => {};
    const timeout = new Promise<void>((resolve) => {
      cancel = this.options.ports.timers.after(timeoutMs, resolve);
    });
    await Promise.race([job, timeout]);
    cancel();
  }

  /** Tries nothing again; resolves when nothing is under way. What is left is done after the next start. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const wake of [...this.#waits]) wake();
    await Promise.all(this.#jobs.values());
  }

  async #carryOut(plan: EndPlan): Promise<void> {
    const { quiet, finished, ports: { groups } } = this.options;
    const transactionId = transactionIdOf(plan);
    await quiet(plan);
    const { commit } = plan;
    await Promise.all([
      ...plan.partitions.map((at) => this.#persist(plan, () => this.#mark(plan, at))),
      ...plan.groups.map((group) =>
        this.#persist(plan, () => groups.end({ group, transactionId, commit }))
      ),
    ]);
    await this.#persist(plan, () => finished(plan));
  }

  async #mark(plan: EndPlan, at: EndPlan["partitions"][number]): Promise<void> {
    const { ports: { logs }, coordinatorEpoch } = this.options;
    const { producerId, producerEpoch, commit, transactionalId } = plan;
    try {
      // A topic that was made anew holds nothing of this transaction.
      if (logs.topicIdOf(at) !== at.topicId) return;
      const epoch = coordinatorEpoch(transactionalId);
      const marker = { producerId, producerEpoch, coordinatorEpoch: epoch, commit };
      await logs.writeMarker(at, marker);
    } catch (error) {
      const { code } = asBrokerError(error);
      if (code !== "UNKNOWN_TOPIC" && code !== "UNKNOWN_PARTITION") throw error;
    }
  }

  /** Until it succeeds, the broker closes, or it is another broker's to do. */
  async #persist(plan: EndPlan, step: () => Promise<void>): Promise<void> {
    let delayMs = RETRY_FIRST_MS;
    for (let attempt = 1; !this.#closed; attempt++) {
      try {
        return await this.#slots.run(step);
      } catch (error) {
        if (!this.options.isOurs(plan.transactionalId)) return;
        if (attempt === REPORT_AFTER) {
          const what = plan.commit ? "committed" : "aborted";
          const message = `transaction ${transactionIdOf(plan)} is not ${what} everywhere yet`;
          this.options.ports.report({ level: "warning", message, error });
        }
      }
      await this.#pause(delayMs);
      delayMs = Math.min(delayMs * 2, RETRY_LAST_MS);
    }
  }

  #pause(delayMs: number): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        cancel();
        this.#waits.delete(wake);
        resolve();
      };
      const cancel = this.options.ports.timers.after(delayMs, wake);
      this.#waits.add(wake);
    });
  }
}
