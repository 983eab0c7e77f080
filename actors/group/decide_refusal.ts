// Owns telling the ledger of commits that were refused because they would have gone back: the sign of a member that lost
// its place, or of two that believe to own one partition.
// Refuses to own which commits those are (decide_commit.ts).
// Invariant: the commit stays refused, with the same error; a caller that tries for ever fills no journal.
import { BrokerError } from "../../storage/broker_error.ts";
import { decideCommit } from "./decide_commit.ts";
import type { GroupContext, GroupDecision } from "./draft.ts";
import type { RewindRefused } from "./events.ts";
import type { GroupState } from "./state.ts";
import type { GroupCommand } from "./types.ts";

type Commit = Extract<GroupCommand, { type: "CommitOffsets" }>;

/** Refusals of one group that are written down in a minute. */
const MAX_RECORDED_A_MINUTE = 10;
const MINUTE_MS = 60_000;

/** As `decideCommit`; a refusal with OFFSET_ROLLBACK is the reply where it leaves an event, else it is thrown. */
export function decideCommitRecorded(
  state: GroupState,
  command: Commit,
  context: GroupContext,
): GroupDecision {
  try {
    return decideCommit(state, command, context);
  } catch (error) {
    if (!(error instanceof BrokerError) || error.code !== "OFFSET_ROLLBACK") throw error;
    const minute = Math.floor(context.at.wall / MINUTE_MS);
    const { refusals } = state.ledger;
    if (refusals.minute === minute && refusals.count >= MAX_RECORDED_A_MINUTE) throw error;
    const event = refusalOf(command, { error, state, at: context.at.wall });
    return { events: [event], volatile: [], notify: [], reply: error };
  }
}

function refusalOf(
  { principal, memberId, reason }: Commit,
  { error, state, at }: { error: BrokerError; state: GroupState; at: number },
): RewindRefused {
  const { topic, partition, offset, committed } = error.details as unknown as Pick<
    RewindRefused,
    "topic" | "partition" | "offset" | "committed"
  >;
  return {
    type: "RewindRefused",
    v: 1,
    at,
    principal,
    memberId: memberId ?? null,
    generation: state.generation,
    reason: reason ?? null,
    topic,
    partition,
    offset,
    committed,
  };
}
