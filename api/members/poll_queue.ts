// Owns the polls of one member that wait for each other.
// Refuses to own what a poll does. Invariant: one runs at a time, in the order in which they came; only the newest may wait for news.
import { BrokerError } from "../../storage/broker_error.ts";

export interface PollQueueOptions {
  /** Polls beyond those are refused. */
  readonly maxQueued: number;
  /** Ends the wait of the poll that runs. */
  readonly wake: () => void;
}

export class PollQueue {
  #count = 0;
  /** The poll that came last; those before it no longer wait. */
  #newest = 0;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(private readonly options: PollQueueOptions) {}

  /** Runs `poll` after those before it, whose waits it ends; `mayWait` tells whether none came later. Throws OVERLOADED. */
  async run<Answer>(poll: (mayWait: () => boolean) => Promise<Answer>): Promise<Answer> {
    const { maxQueued, wake } = this.options;
    if (this.#count > maxQueued) {
      throw new BrokerError("OVERLOADED", `${maxQueued} polls of this member wait already`);
    }
    const number = ++this.#newest;
    this.#count++;
    wake();
    const answer = this.#tail.then(() => poll(() => number === this.#newest));
    this.#tail = answer.catch(() => {}).finally(() => this.#count--);
    return await answer;
  }

  /** Ends the wait of every poll. */
  interrupt(): void {
    this.#newest++;
    this.options.wake();
  }
}
