// Owns giving messages to the application, one hand-out at a time, and noting what it has come back from.
// Refuses to own where messages come from (membership.ts) and what they look like to the application (consumer.ts).
// Invariant: what was taken is given, or put back; asking for more is what makes the last one consumed.
import { Cursor } from "./cursor.ts";
import { asWaybillError, type WaybillError } from "./errors.ts";
import type { Membership } from "./membership.ts";
import type { PartitionState } from "./partition_state.ts";
import type { CrcPort } from "./ports.ts";

/** A batch that does not match its CRC is fetched again this often before the application hears of it. */
const MAX_CORRUPT_BATCHES = 3;

export interface MessageSourceOptions {
  readonly membership: Membership;
  /** Checks batches; null trusts them. */
  readonly crc: CrcPort | null;
}

export class MessageSource {
  readonly #options: MessageSourceOptions;
  #cursor: Cursor | null = null;
  #waiter: (() => void) | null = null;
  #end: { readonly error: WaybillError | null } | null = null;
  #corruptBatches = 0;

  constructor(options: MessageSourceOptions) {
    this.#options = options;
  }

  /** Puts down what was given as consumed, and finds what comes next; null at the end. */
  async next(): Promise<Cursor | null> {
    this.#consume();
    for (;;) {
      if (this.#end !== null) {
        if (this.#end.error === null) return null;
        throw this.#end.error;
      }
      this.#cursor ??= this.#take();
      if (this.#cursor !== null) return this.#cursor;
      this.#options.membership.tellLagging();
      await new Promise<void>((resolve) => this.#waiter = resolve);
    }
  }

  /** Looks again for something to give. */
  wake(): void {
    this.#waiter?.();
    this.#waiter = null;
  }

  /** Nothing more is given: the end, or a fault. */
  end(error: WaybillError | null): void {
    this.#end ??= { error };
    this.putBack();
    this.wake();
  }

  /** The application turns away: what it was not given waits for the next time. */
  putBack(): void {
    const cursor = this.#cursor;
    this.#cursor = null;
    if (cursor !== null) this.#options.membership.assignment.putBack(cursor.handOut, cursor.given);
  }

  /** Lets go of what belongs to a partition that is gone. */
  dropGone(): void {
    if (this.#cursor?.handOut.state.gone) this.#cursor = null;
  }

  #consume(): void {
    const cursor = this.#cursor;
    if (cursor === null) return;
    const { membership } = this.#options;
    const count = cursor.given - cursor.consumed;
    cursor.consumed = cursor.given;
    membership.autoCommit?.consumed(cursor, count);
    if (!cursor.handOut.state.isOpen) this.putBack();
    else if (cursor.finished) this.#cursor = null;
  }

  #take(): Cursor | null {
    const { membership } = this.#options;
    for (;;) {
      const state = membership.assignment.nextTurn();
      if (state === null) return null;
      const cursor = this.#takeFrom(state);
      membership.checkFlow();
      if (cursor === null || !cursor.finished) return cursor;
      // Nothing in it is for readers: it is consumed as it stands.
      cursor.give(0);
      membership.autoCommit?.consumed(cursor, 0);
    }
  }

  #takeFrom(state: PartitionState): Cursor | null {
    const { membership, crc } = this.#options;
    try {
      const handOut = state.take(crc === null ? null : crc.crc32c);
      if (handOut === null) throw new Error(`${state.key} had its turn with nothing to give`);
      this.#corruptBatches = 0;
      return new Cursor(handOut);
    } catch (fault) {
      const error = asWaybillError(fault, "BAD_RESPONSE");
      if (!error.retryable || ++this.#corruptBatches > MAX_CORRUPT_BATCHES) throw error;
      membership.receiveAgain(state, error);
      return null;
    }
  }
}
