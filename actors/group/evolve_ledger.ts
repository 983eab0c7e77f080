// Owns what the offset ledger's events do to a group's state: offsets moved by operators, snapshots, states recorded.
// Refuses to own whether they may happen (decide_ledger.ts), and the ledger itself, which is the journal (ledger/).
// Invariant: a recorded state stands for all events before it; what is volatile is left alone.
import { withCause } from "./evolve_members.ts";
import type { OffsetsMoved, RewindRefused, StateRecorded } from "./events.ts";
import { withOffset } from "./offset_table.ts";
import { forgetDeadBehind } from "./retry/dead.ts";
import { forgetDoneBelow } from "./retry/evolve.ts";
import { rebuiltQueue } from "./retry/queue.ts";
import { decodeRetries } from "./retry/stored.ts";
import { encodeGroupState, type GroupState, initialGroup, type LedgerState } from "./state.ts";
import { NO_PARTITIONS, withPartitions } from "./topic_partitions.ts";

const MINUTE_MS = 60_000;

/** The same when it is known already: this is in the path of every commit. */
export function offsetsChanged(ledger: LedgerState): LedgerState {
  return ledger.changed ? ledger : { ...ledger, changed: true };
}

export function offsetsMoved(state: GroupState, event: OffsetsMoved): GroupState {
  let { offsets } = state;
  for (const { topic, partition, offset } of event.offsets) {
    const committed = { offset, metadata: null, committedAt: event.at };
    offsets = withOffset(offsets, { topic, partition }, committed);
  }
  const moved = state.paused === null
    ? NO_PARTITIONS
    : withPartitions(state.ledger.moved, event.offsets);
  // A new generation tells members, and fences commits of what they had read before.
  const causes = state.members.size === 0
    ? state.causes
    : withCause(state.causes, `${event.action} of offsets by ${event.principal}`);
  const ledger = { ...state.ledger, changed: true, moved };
  const retry = forgetDeadBehind(state, event.offsets);
  return forgetDoneBelow({ ...state, exists: true, offsets, causes, ledger, retry }, event.offsets);
}

export function offsetsSnapshotTaken(state: GroupState): GroupState {
  const { ledger } = state;
  const snapshotsTaken = ledger.snapshotsTaken + 1;
  return { ...state, ledger: { ...ledger, snapshotsTaken, changed: false } };
}

export function rewindRefused(state: GroupState, { at }: RewindRefused): GroupState {
  const minute = Math.floor(at / MINUTE_MS);
  const { refusals } = state.ledger;
  const count = refusals.minute === minute ? refusals.count + 1 : 1;
  return { ...state, ledger: { ...state.ledger, refusals: { minute, count } } };
}

export function stateRecorded(state: GroupState, { state: recorded }: StateRecorded): GroupState {
  const fresh = initialGroup(state.groupId);
  const known = [...Object.keys(encodeGroupState(fresh)), "tenant", "canary"];
  const fields = Object.entries(recorded as Record<string, unknown>)
    .filter(([name]) => known.includes(name));
  const retry = decodeRetries((recorded as Record<string, unknown>).retry);
  return {
    ...fresh,
    ...Object.fromEntries(fields),
    groupId: state.groupId,
    retry,
    volatile: { ...state.volatile, retries: rebuiltQueue(retry, state.volatile.retries) },
  };
}
