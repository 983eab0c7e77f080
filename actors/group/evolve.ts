// Owns what each event does to a group's state.
// Refuses to own whether it may happen: evolve never refuses, so that every journal ever written can be folded.
// Invariant: total and pure; the part that is not volatile depends on the journalled events alone.
import { evolveCanary } from "./canary/evolve.ts";
import { observed } from "./canary/observe.ts";
import type { GroupEvent, GroupVolatileEvent, OffsetsCommitted, OffsetsDropped } from "./events.ts";
import {
  offsetsChanged,
  offsetsMoved,
  offsetsSnapshotTaken,
  rewindRefused,
  stateRecorded,
} from "./evolve_ledger.ts";
import { memberJoined, memberLeft, memberUpdated } from "./evolve_members.ts";
import { partitionCountsChanged, partitionsHandedOver } from "./evolve_partitions.ts";
import { rebalanced } from "./evolve_rebalanced.ts";
import {
  deadlinesChecked,
  memberConnected,
  memberDisconnected,
  memberSeen,
  sessionsRestarted,
} from "./evolve_volatile.ts";
import { withOffset, withoutOffsets } from "./offset_table.ts";
import { forgetDeadBehind } from "./retry/dead.ts";
import { evolveRetries, forgetDoneBelow, withoutRetriesOf } from "./retry/evolve.ts";
import { offsetsStaged, stagedOffsetsEnded, withoutDropped } from "./staged_offsets.ts";
import { type GroupState, initialGroup } from "./state.ts";
import { NO_PARTITIONS } from "./topic_partitions.ts";

/** The state after `event`. Of one decision, all journalled events come before the volatile ones. */
export function evolveGroup(state: GroupState, event: GroupEvent | GroupVolatileEvent): GroupState {
  const next = evolved(state, event);
  return next.canary === undefined ? next : observed(state, next, event);
}

function evolved(state: GroupState, event: GroupEvent | GroupVolatileEvent): GroupState {
  switch (event.type) {
    case "OffsetsCommitted":
      return offsetsCommitted(state, event);
    case "MemberSeen":
      return memberSeen(state, event);
    case "MemberJoined":
      return memberJoined(state, event);
    case "MemberUpdated":
      return memberUpdated(state, event);
    case "MemberLeft":
      return memberLeft(state, event);
    case "PartitionCountsChanged":
      return partitionCountsChanged(state, event);
    case "Rebalanced":
      return rebalanced(state, event);
    case "PartitionsHandedOver":
      return partitionsHandedOver(state, event);
    case "OffsetsStaged":
      return offsetsStaged(state, event);
    case "StagedOffsetsEnded":
      return stagedOffsetsEnded(state, event.transactionId);
    case "OffsetsDropped":
      return offsetsDropped(state, event);
    case "OffsetsMoved":
      return offsetsMoved(state, event);
    case "OffsetsSnapshotTaken":
      return offsetsSnapshotTaken(state);
    case "RewindRefused":
      return rewindRefused(state, event);
    case "RetriesScheduled":
    case "RetriesSettled":
    case "DeadLettersDue":
    case "DeadLettersWritten":
    case "DeadLetterProducerSet":
    case "RetryPolicySet":
    case "RetryClockStarted":
    case "RetriesReadied":
    case "RetriesTaken":
    case "RetriesHandedBack":
      return evolveRetries(state, event);
    case "CanarySet":
    case "CanaryRemoved":
    case "CanaryPromoted":
    case "CanaryWithdrawn":
      return evolveCanary(state, event);
    case "StateRecorded":
      return stateRecorded(state, event);
    case "JournalCompleted":
      return state;
    case "GroupPaused":
      return { ...state, paused: { reason: event.reason, since: state.paused?.since ?? event.at } };
    case "GroupResumed":
      return {
        ...state,
        paused: null,
        ledger: { ...state.ledger, moved: NO_PARTITIONS },
        // Whoever resumes a group that paused itself wants it to go on: the count starts anew.
        retry: state.retry.rate.length === 0 ? state.retry : { ...state.retry, rate: [] },
      };
    case "GroupDeleted":
      return initialGroup(state.groupId);
    case "MemberConnected":
      return memberConnected(state, event);
    case "MemberDisconnected":
      return memberDisconnected(state, event);
    case "RebalanceScheduled": {
      const { dueAt, latestAt } = event;
      return { ...state, volatile: { ...state.volatile, rebalance: { dueAt, latestAt } } };
    }
    case "RevocationsStarted": {
      const { generation, deadlineAt } = event;
      const revocations = [...state.volatile.revocations, { generation, deadlineAt }];
      return { ...state, volatile: { ...state.volatile, revocations } };
    }
    case "SnapshotScheduled":
      return { ...state, volatile: { ...state.volatile, snapshotDueAt: event.dueAt } };
    case "DeadlinesChecked":
      return deadlinesChecked(state, event);
    case "SessionsRestarted":
      return sessionsRestarted(state, event);
  }
}

function offsetsCommitted(state: GroupState, event: OffsetsCommitted): GroupState {
  let offsets = state.offsets;
  for (const { topic, partition, offset, metadata } of event.offsets) {
    offsets = withOffset(offsets, { topic, partition }, {
      offset,
      metadata,
      committedAt: event.at,
    });
  }
  const retry = forgetDeadBehind(state, event.offsets);
  const next = { ...state, exists: true, offsets, retry, ledger: offsetsChanged(state.ledger) };
  return forgetDoneBelow(next, event.offsets);
}

function offsetsDropped(state: GroupState, event: OffsetsDropped): GroupState {
  let offsets = state.offsets;
  for (const { topic, fromPartition } of event.dropped) {
    offsets = withoutOffsets(offsets, topic, fromPartition);
  }
  const staged = withoutDropped(state.staged, event);
  let next: GroupState = { ...state, offsets, staged, ledger: offsetsChanged(state.ledger) };
  for (const { topic, fromPartition } of event.dropped) {
    next = withoutRetriesOf(next, topic, fromPartition);
  }
  return next;
}
