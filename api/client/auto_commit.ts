// Owns committing what has been consumed: at intervals, and sooner when much has or a partition is wanted back.
// Refuses to own what consumed means (consumer.ts) and the way to the broker (commit_queue.ts).
// Invariant: nothing is committed that the application has not come back from.
import type { Cancel, Timers } from "../../storage/ports.ts";
import type { CommitItem } from "./commit_queue.ts";
import type { Cursor } from "./cursor.ts";
import { asWaybillError, type WaybillError } from "./errors.ts";
import type { HandedAgain, PartitionState } from "./partition_state.ts";

export interface AutoCommitOptions {
  readonly timers: Timers;
  readonly intervalMs: number;
  /** So many consumed messages are committed at once. */
  readonly eagerCount: number;
  readonly commit: (item: CommitItem) => Promise<void>;
  readonly onError: (error: WaybillError) => void;
}

export class AutoCommit {
  readonly #options: AutoCommitOptions;
  /** Partitions with something to commit, and up to where that has been asked for. */
  readonly #dirty = new Map<PartitionState, number>();
  /** Redelivered messages that were consumed. */
  #redeliveries: { readonly state: PartitionState; readonly again: HandedAgain }[] = [];
  #count = 0;
  #cancel: Cancel | null = null;

  constructor(options: AutoCommitOptions) {
    this.#options = options;
  }

  /** The application has come back from all it was given of the cursor, `count` messages more than before. */
  consumed(cursor: Cursor, count: number): void {
    const { state, isRedelivery, records } = cursor.handOut;
    if (state.gone) return;
    this.#count += count;
    if (isRedelivery) {
      for (const { offset } of records.slice(0, cursor.given)) {
        const again = state.redelivered.get(offset);
        // Else it was nacked.
        if (again !== undefined) this.#redeliveries.push({ state, again });
      }
    } else {
      state.consumed = Math.max(state.consumed, cursor.nextOffset);
      if (!this.#dirty.has(state)) this.#dirty.set(state, state.committed);
    }
    if (this.#count >= this.#options.eagerCount || state.revoking) this.commitNow();
    else this.#arm();
  }

  /** Commits all that was consumed and is not committed. */
  commitNow(): void {
    this.#count = 0;
    this.#cancel?.();
    this.#cancel = null;
    for (const [state, asked] of this.#dirty) {
      const { consumed } = state;
      if (consumed <= Math.max(asked, state.committed)) {
        this.#dirty.delete(state);
        continue;
      }
      this.#dirty.set(state, consumed);
      this.#commit({ state, offset: consumed });
    }
    for (const { state, again } of this.#redeliveries.splice(0)) {
      // Nacked since, settled with the others, or of a connection that is gone.
      if (!state.isOpenAgain(again)) continue;
      this.#commit({ state, offset: again.offset + 1, again });
    }
  }

  dropGone(): void {
    for (const state of this.#dirty.keys()) {
      if (state.gone) this.#dirty.delete(state);
    }
    this.#redeliveries = this.#redeliveries.filter(({ state }) => !state.gone);
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  #commit(item: CommitItem): void {
    this.#options.commit(item).catch((error) => {
      // The next round asks again.
      if (this.#dirty.has(item.state)) this.#dirty.set(item.state, item.state.committed);
      this.#options.onError(asWaybillError(error, "NETWORK_ERROR"));
    });
  }

  #arm(): void {
    this.#cancel ??= this.#options.timers.after(this.#options.intervalMs, () => {
      this.#cancel = null;
      this.commitNow();
    });
  }
}
