// Owns partitions that the group wants back: telling the application, and knowing when they can be given up.
// Refuses to own the partitions themselves (assignment.ts) and the word to the broker (consumer.ts).
// Invariant: a partition is released once, after the application's listener has resolved and all it was given is settled.
import type { ConsumerEvents } from "./consumer_options.ts";
import { asWaybillError, type WaybillError } from "./errors.ts";
import type { PartitionState } from "./partition_state.ts";

export interface RevocationsOptions {
  readonly onRevoked: ConsumerEvents["onRevoked"];
  readonly onError: (error: WaybillError) => void;
  readonly release: (states: readonly PartitionState[]) => void;
}

export class Revocations {
  readonly #options: RevocationsOptions;
  /** Whether the application's listener is done with it. */
  readonly #going = new Map<PartitionState, boolean>();

  constructor(options: RevocationsOptions) {
    this.#options = options;
  }

  get active(): boolean {
    return this.#going.size > 0;
  }

  /** These are to go. */
  begin(states: readonly PartitionState[]): void {
    if (states.length === 0) return;
    for (const state of states) this.#going.set(state, false);
    this.#listen(states, false).then(() => {
      for (const state of states) {
        if (this.#going.has(state)) this.#going.set(state, true);
      }
      this.check();
    });
  }

  /** These are gone already. */
  lost(states: readonly PartitionState[]): void {
    for (const state of states) this.#going.delete(state);
    void this.#listen(states, true);
  }

  /** The group has thought better of some. */
  keep(states: readonly PartitionState[]): void {
    for (const state of states) {
      if (!state.revoking) this.#going.delete(state);
    }
  }

  /** Releases what can go by now. */
  check(): void {
    const ready: PartitionState[] = [];
    for (const [state, isListenerDone] of this.#going) {
      if (state.gone || (isListenerDone && state.settled)) this.#going.delete(state);
      if (!state.gone && isListenerDone && state.settled) ready.push(state);
    }
    if (ready.length > 0) this.#options.release(ready);
  }

  async #listen(states: readonly PartitionState[], lost: boolean): Promise<void> {
    try {
      await this.#options.onRevoked?.(states.map((state) => state.toJSON()), { lost });
    } catch (error) {
      this.#options.onError(asWaybillError(error, "BAD_RESPONSE"));
    }
  }
}
