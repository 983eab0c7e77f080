// Owns what a keyed actor is made with: its ports and its bounds.
// Refuses to own behaviour (keyed_actor.ts).
// Invariant: every port is handed in, every bound has a name.
import type { Clock, Timers } from "../../storage/ports.ts";
import type { SnapshotStore } from "../../storage/snapshots.ts";
import type { Journal } from "./journal.ts";
import type { KeyedDecider } from "./keyed_decider.ts";
import type { RuntimeLog } from "./reports.ts";

export interface KeyedActorBounds {
  /** Commands and bytes that may wait for the journal; more are refused with OVERLOADED. */
  readonly maxWaitingCommands: number;
  readonly maxWaitingBytes: number;
  /** Commands carried by one drain; as many Ticks and Recovereds may go with them. Others wait while they are decided. */
  readonly maxBatchCommands: number;
  /** Bytes of events in one append, which may go over by the events of its last command. */
  readonly maxAppendBytes: number;
  /** Events between two snapshots. */
  readonly snapshotEveryEvents: number;
  /** A shard that needs more is not snapshotted, and is replayed in full. */
  readonly maxSnapshotBytes: number;
  /** Pause before a Tick or Recovered that the journal had no space for is sent again. */
  readonly retryMs: number;
  /** Least time between two Ticks of one key, however its deadline is set. */
  readonly minTickIntervalMs: number;
}

export const DEFAULT_KEYED_ACTOR_BOUNDS: KeyedActorBounds = Object.freeze({
  maxWaitingCommands: 10_000,
  maxWaitingBytes: 16 * 1_024 * 1_024,
  maxBatchCommands: 256,
  maxAppendBytes: 1_024 * 1_024,
  snapshotEveryEvents: 10_000,
  maxSnapshotBytes: 256 * 1_024 * 1_024,
  retryMs: 500,
  minTickIntervalMs: 10,
});

/** What a command weighs in the mailbox when its sender does not say. */
export const COMMAND_WEIGHT_BYTES = 256;

export interface KeyedActorOptions<
  State,
  Command extends { type: string },
  Event,
  Volatile,
  Effect,
> {
  /** Actor id, also the id of its snapshot. */
  readonly id: string;
  readonly decider: KeyedDecider<State, Command, Event, Volatile, Effect>;
  readonly journal: Journal;
  readonly snapshots: SnapshotStore;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: RuntimeLog;
  /** Called for each effect, in order, when what led to it is durable and before the reply. Must not block. */
  readonly perform: (key: string, effect: Effect) => void;
  /** Called once when the actor has stopped over a broken invariant or a journal that it cannot load. */
  readonly onFailure: (error: unknown) => void;
  readonly bounds: KeyedActorBounds;
}
