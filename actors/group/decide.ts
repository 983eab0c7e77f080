// Owns which decision answers which command.
// Refuses to own the decisions themselves, time, and the journal.
// Invariant: pure; a command that is refused (a thrown BrokerError) changes nothing.
import {
  decideDescribeCanary,
  decidePromoteCanary,
  decideRemoveCanary,
  decideSetCanary,
} from "./canary/decide.ts";
import { withdrawnIfWorse } from "./canary/withdraw.ts";
import {
  decideDelete,
  decideDescribe,
  decidePartitionsChanged,
  decidePause,
  decideResume,
} from "./decide_administration.ts";
import { decideJoin } from "./decide_join.ts";
import {
  decideCompleteJournal,
  decideMoveOffsets,
  decideRecordState,
  decideSnapshotOffsets,
} from "./decide_ledger.ts";
import {
  decideDisconnected,
  decideHeartbeat,
  decideLeave,
  decideReleased,
} from "./decide_membership.ts";
import { decideCommitRecorded } from "./decide_refusal.ts";
import { decideRecovered, decideTick } from "./decide_tick.ts";
import type { GroupContext, GroupDecision } from "./draft.ts";
import { decideEndStaged, decideStage } from "./decide_staged.ts";
import {
  decideDeadLettersWritten,
  decidePendingDeadLetters,
  decideRedeliver,
  decideRetryPolicies,
  decideSetDeadLetterProducer,
  decideSetRetryPolicy,
} from "./retry/decide_administration.ts";
import { decideNack } from "./retry/decide_nack.ts";
import { decideForgetRetries, decideParkBlocked } from "./retry/decide_park.ts";
import { decideTakeRetries } from "./retry/decide_take.ts";
import type { GroupState } from "./state.ts";
import type { GroupCommand } from "./types.ts";

export type { GroupContext, GroupDecision } from "./draft.ts";
export { evolveGroup } from "./evolve.ts";

/** What `command` leads to in `state`. Throws BrokerError to refuse it, with the codes that GroupCommand names. */
export function decideGroup(
  state: GroupState,
  command: GroupCommand,
  context: GroupContext,
): GroupDecision {
  return withdrawnIfWorse(state, decisionOn(state, command, context), { command, context });
}

function decisionOn(
  state: GroupState,
  command: GroupCommand,
  context: GroupContext,
): GroupDecision {
  switch (command.type) {
    case "CommitOffsets":
      return decideCommitRecorded(state, command, context);
    case "Heartbeat":
      return decideHeartbeat(state, command, context);
    case "Join":
      return decideJoin(state, command, context);
    case "Leave":
      return decideLeave(state, command, context);
    case "Disconnected":
      return decideDisconnected(state, command, context);
    case "Released":
      return decideReleased(state, command, context);
    case "PartitionsChanged":
      return decidePartitionsChanged(state, command, context);
    case "Pause":
      return decidePause(state, command, context);
    case "Resume":
      return decideResume(state, command, context);
    case "SnapshotOffsets":
      return decideSnapshotOffsets(state, command, context);
    case "MoveOffsets":
      return decideMoveOffsets(state, command, context);
    case "RecordState":
      return decideRecordState(state, context);
    case "CompleteJournal":
      return decideCompleteJournal(command, context);
    case "StageOffsets":
      return decideStage(state, command, context);
    case "EndStagedOffsets":
      return decideEndStaged(state, command, context);
    case "Nack":
      return decideNack(state, command, context);
    case "TakeRetries":
      return decideTakeRetries(state, command, context);
    case "ForgetRetries":
      return decideForgetRetries(state, command, context);
    case "ParkBlocked":
      return decideParkBlocked(state, command, context);
    case "Redeliver":
      return decideRedeliver(state, command, context);
    case "SetRetryPolicy":
      return decideSetRetryPolicy(state, command, context);
    case "RetryPolicies":
      return decideRetryPolicies(state);
    case "PendingDeadLetters":
      return decidePendingDeadLetters(state, command);
    case "SetDeadLetterProducer":
      return decideSetDeadLetterProducer(state, command, context);
    case "DeadLettersWritten":
      return decideDeadLettersWritten(state, command, context);
    case "SetCanary":
      return decideSetCanary(state, command, context);
    case "RemoveCanary":
      return decideRemoveCanary(state, command, context);
    case "PromoteCanary":
      return decidePromoteCanary(state, command, context);
    case "DescribeCanary":
      return decideDescribeCanary(state, context);
    case "DeleteGroup":
      return decideDelete(state, command, context);
    case "Describe":
      return decideDescribe(state, context);
    case "Tick":
      return decideTick(state, context);
    case "Recovered":
      return decideRecovered(state, context);
  }
}
