// Owns the state of one transactional id, its events, its form in a snapshot, and when it next needs a Tick.
// Refuses to own which event may happen when (decide.ts).
// Invariant: at most one transaction of an id is not ended; evolve is total and pure.
import { type EventVersions, upcast } from "../group/events.ts";
import type { Owner } from "../ownership.ts";
import type { TransactionPartition, TransactionPhase } from "./types.ts";

/** Ended transactions of an id that are remembered, so that a repeated commit hears what became of it. */
export const MAX_OUTCOMES = 4;

export interface EndedTransaction {
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly committed: boolean;
  /** Of an abort. */
  readonly reason: string | null;
}

export interface TransactionState {
  readonly transactionalId: string;
  /** Who first held the id; null: nobody of whom that is known, so that the next one may have it. */
  readonly owner: Owner | null;
  /** Of the latest transaction; -1 before the first. */
  readonly producerId: number;
  readonly producerEpoch: number;
  /** `idle`: none that has not ended. */
  readonly phase: Extract<TransactionPhase, "open" | "committing" | "aborting"> | "idle";
  readonly timeoutMs: number;
  readonly principal: string;
  readonly startedAt: number;
  readonly reason: string | null;
  readonly partitions: readonly TransactionPartition[];
  readonly groups: readonly string[];
  /** Oldest first. */
  readonly outcomes: readonly EndedTransaction[];
  /** Monotonic ms at which the transaction times out, or the idle id is forgotten. Never journalled. */
  readonly deadlineAt: number | null;
}

/** `at` is wall time in ms, for the record. */
interface Journalled {
  readonly v: 1;
  readonly at: number;
}

export type TransactionEvent =
  | Journalled & {
    readonly type: "TransactionBegun";
    readonly producerId: number;
    readonly producerEpoch: number;
    readonly timeoutMs: number;
    readonly principal: string;
    /** The id belongs to it from now on; absent where that does not change, and in old journals. */
    readonly owner?: Owner;
  }
  | Journalled & {
    readonly type: "PartitionsAdded";
    readonly partitions: readonly TransactionPartition[];
  }
  | Journalled & { readonly type: "GroupsAdded"; readonly groups: readonly string[] }
  /** From here on its end is decided, whatever crashes. */
  | Journalled & {
    readonly type: "TransactionPrepared";
    readonly commit: boolean;
    /** Of an abort. */
    readonly reason: string | null;
  }
  | Journalled & { readonly type: "TransactionEnded" }
  | Journalled & { readonly type: "TransactionalIdForgotten" }
  /** All that the events before this one amount to; a field that it lacks is as in a new id. */
  | Journalled & { readonly type: "StateRecorded"; readonly state: unknown }
  /** Of no id: from `fromOffset` on, the journal holds all that is known. */
  | Journalled & { readonly type: "JournalCompleted"; readonly fromOffset: number };

export type TransactionVolatileEvent = {
  readonly type: "DeadlineSet";
  readonly deadlineAt: number | null;
};

/** An id of which nothing is known. */
export function initialTransaction(transactionalId: string): TransactionState {
  return {
    transactionalId,
    owner: null,
    producerId: -1,
    producerEpoch: -1,
    phase: "idle",
    timeoutMs: 0,
    principal: "",
    startedAt: 0,
    reason: null,
    partitions: [],
    groups: [],
    outcomes: [],
    deadlineAt: null,
  };
}

/** The state after `event`. */
export function evolveTransaction(
  state: TransactionState,
  event: TransactionEvent | TransactionVolatileEvent,
): TransactionState {
  switch (event.type) {
    case "TransactionBegun": {
      const { producerId, producerEpoch, timeoutMs, principal, at: startedAt } = event;
      const owner = event.owner ?? state.owner;
      const begun = { owner, producerId, producerEpoch, timeoutMs, principal, startedAt };
      return { ...state, ...begun, phase: "open", reason: null, partitions: [], groups: [] };
    }
    case "PartitionsAdded":
      return { ...state, partitions: [...state.partitions, ...event.partitions] };
    case "GroupsAdded":
      return { ...state, groups: [...state.groups, ...event.groups] };
    case "TransactionPrepared": {
      const phase = event.commit ? "committing" : "aborting";
      return { ...state, phase, reason: event.reason };
    }
    case "TransactionEnded":
      return ended(state);
    case "TransactionalIdForgotten":
      return initialTransaction(state.transactionalId);
    case "StateRecorded":
      return stateRecorded(state, event.state);
    case "JournalCompleted":
      return state;
    case "DeadlineSet":
      return { ...state, deadlineAt: event.deadlineAt };
  }
}

function ended(state: TransactionState): TransactionState {
  const { producerId, producerEpoch, reason, phase } = state;
  const outcome = { producerId, producerEpoch, committed: phase === "committing", reason };
  const outcomes = [...state.outcomes, outcome].slice(-MAX_OUTCOMES);
  return { ...state, phase: "idle", partitions: [], groups: [], outcomes };
}

function stateRecorded(state: TransactionState, recorded: unknown): TransactionState {
  const { transactionalId, deadlineAt } = state;
  const fresh = initialTransaction(transactionalId);
  const fields = Object.entries(recorded as Partial<TransactionState>)
    .filter(([name]) => Object.hasOwn(fresh, name));
  return { ...fresh, ...Object.fromEntries(fields), transactionalId, deadlineAt };
}

/** True when the state says no more than `initialTransaction`. */
export function isTransactionGone(state: TransactionState): boolean {
  return state.producerId < 0;
}

export const TRANSACTION_STATE_VERSION = 1;

/** The journalled part, for snapshots. */
export function encodeTransaction(state: TransactionState): Omit<TransactionState, "deadlineAt"> {
  const { deadlineAt: _, ...journalled } = state;
  return journalled;
}

/** Reads what `encodeTransaction` made. Throws a plain Error for anything else. */
export function decodeTransaction(stored: unknown): TransactionState {
  const journalled = stored as Omit<TransactionState, "deadlineAt"> | null;
  if (typeof journalled !== "object" || journalled === null) {
    throw new Error("a stored transaction is not an object");
  }
  // Older releases knew no owners.
  const { owner = null } = journalled;
  for (const name of Object.keys(encodeTransaction(initialTransaction("")))) {
    if (name === "owner" || Object.hasOwn(journalled, name)) continue;
    throw new Error(`a stored transaction lacks ${name}`);
  }
  return { ...journalled, owner, deadlineAt: null };
}

const VERSIONS: EventVersions = {
  current: Object.freeze({
    TransactionBegun: 1,
    PartitionsAdded: 1,
    GroupsAdded: 1,
    TransactionPrepared: 1,
    TransactionEnded: 1,
    TransactionalIdForgotten: 1,
    StateRecorded: 1,
    JournalCompleted: 1,
  }),
  upcasters: new Map(),
};

/** The event that `stored` is; throws a plain Error for one that this release does not know. */
export function upcastTransactionEvent(stored: unknown): TransactionEvent {
  return upcast(stored, VERSIONS) as unknown as TransactionEvent;
}
