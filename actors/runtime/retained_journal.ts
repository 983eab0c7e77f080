// Owns retention of one supervised actor's journal from call to call: that it is tried while the actor runs, and what is
// known of the journal between two calls.
// Refuses to own the order of it (journal_retention.ts) and when it is asked for.
// Invariant: a failure keeps all there is: it is reported, and the next call tries again.
import {
  type JournalWords,
  type RecordingShard,
  type RetainedPartition,
  retainJournal,
  type RetainOptions,
} from "./journal_retention.ts";
import type { Incarnation, Supervised } from "./supervisor.ts";

export interface RetainedJournalOptions<State, Command> {
  readonly actor: Supervised<RecordingShard<State, Command> & Incarnation>;
  readonly words: JournalWords<Command>;
  readonly partition: RetainedPartition;
  readonly ports: {
    report(event: { level: "warning"; message: string; error?: unknown }): void;
  };
}

export class RetainedJournal<State, Command> {
  #completeFrom = 0;

  constructor(private readonly options: RetainedJournalOptions<State, Command>) {}

  /**
   * Drops what is older than `windowMs`, once all that is known has been written down after it. `now` is trusted wall time.
   * What cannot be done now is done at the next call.
   */
  async applyRetention(
    options: Pick<RetainOptions, "now" | "windowMs" | "minDroppableOffsets">,
  ): Promise<void> {
    const { actor, words, partition } = this.options;
    if (!actor.isRunning) return;
    const completeFrom = this.#completeFrom;
    try {
      const retain = { ...options, partition, completeFrom };
      this.#completeFrom = await retainJournal(actor.get(), words, retain);
    } catch (error) {
      const message = `retention of the journal of ${actor.id} failed`;
      this.options.ports.report({ level: "warning", message, error });
    }
  }
}
