// Owns when a shard's snapshot is written, and that writing one holds nobody up.
// Refuses to own its bytes (keyed_snapshots.ts) and its loading (keyed_loading.ts).
// Invariant: one snapshot at a time, and only of states that are durable up to its offset.
import type { SnapshotStore } from "../../storage/snapshots.ts";
import type { KeyedDecider } from "./keyed_decider.ts";
import { encodeStates } from "./keyed_snapshots.ts";
import type { RuntimeLog } from "./reports.ts";

export interface ShardSnapshotsOptions<State> {
  readonly id: string;
  readonly decider: Pick<
    KeyedDecider<State, { type: string }, unknown, unknown, unknown>,
    "encodeState" | "decodeState" | "isGone" | "stateVersion"
  >;
  readonly snapshots: SnapshotStore;
  readonly log: RuntimeLog;
  readonly everyEvents: number;
  readonly maxBytes: number;
  readonly yieldTurn: () => Promise<void>;
}

export class ShardSnapshots<State> {
  readonly #options: ShardSnapshotsOptions<State>;
  #uncovered = 0;
  #saving: Promise<void> | null = null;

  constructor(options: ShardSnapshotsOptions<State>) {
    this.#options = options;
  }

  /** After a load: `events` were replayed on top of the snapshot. */
  startAt(events: number): void {
    this.#uncovered = events;
  }

  /** Counts events that no snapshot covers yet. */
  count(events: number): void {
    this.#uncovered += events;
  }

  /** Starts a snapshot when enough events are not covered. States are values: `durable` may change right after. */
  saveIfDue(durable: ReadonlyMap<string, State>, nextOffset: number): void {
    if (this.#uncovered < this.#options.everyEvents || this.#saving !== null) return;
    this.#saving = this.#save([...durable], nextOffset).finally(() => this.#saving = null);
  }

  /** Writes a snapshot now unless the last one covers everything. Never rejects: a snapshot is only a cache. */
  async saveNow(durable: ReadonlyMap<string, State>, nextOffset: number): Promise<void> {
    if (this.#uncovered > 0) await this.#save([...durable], nextOffset);
  }

  /** Resolves when no snapshot is being written. */
  async settled(): Promise<void> {
    await this.#saving;
  }

  async #save(states: readonly [string, State][], nextOffset: number): Promise<void> {
    const { id, decider, snapshots, log, maxBytes, yieldTurn } = this.#options;
    // Also when it then fails: it is tried again after as many events, not after the next one.
    this.#uncovered = 0;
    try {
      const bytes = await encodeStates(states, { decider, yieldTurn, maxBytes });
      if (bytes === null) {
        throw new Error(`the states of ${states.length} keys take more than ${maxBytes} bytes`);
      }
      await snapshots.save(id, { version: decider.stateVersion, nextOffset, bytes });
      log.report({ type: "snapshot.saved", actorId: id, nextOffset, sizeBytes: bytes.length });
    } catch (error) {
      log.report({ type: "snapshot.failed", actorId: id, error });
    }
  }
}
