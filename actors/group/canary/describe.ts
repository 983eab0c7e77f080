// Owns how a group's canary is shown.
// Refuses to own any change, and what users may see.
// Invariant: what is shown follows from what is journalled and the time it is asked for.
import type { Assignment } from "../assignment.ts";
import type { GroupState } from "../state.ts";
import { entriesOf } from "../table.ts";
import { plannedTarget } from "./plan.ts";
import { type CanaryState, countsAt, sideOf } from "./state.ts";
import { lanesOf } from "./split.ts";
import type { CanaryDescription, CanaryVerdict } from "./types.ts";
import type { TopicPartition } from "../../broker.ts";
import { judge, ratesOf } from "./judge.ts";

/** Null for a group without one. `now`: wall ms. */
export function describeCanary(state: GroupState, now: number): CanaryDescription | null {
  const { canary } = state;
  if (canary === undefined) return null;
  const target = state.causes === null ? state.target : plannedTarget(state);
  const { version, percent, status, rules, since, changedAt, changedBy, reason } = canary;
  const counts = canary.final ?? countsAt(canary, now);
  const verdict = verdictShown(canary, now);
  return {
    version,
    percent,
    by: "partitions",
    state: status,
    rules,
    since,
    changedAt,
    changedBy,
    reason,
    members: membersOn(state, canary).canary,
    ...partitionsIn(target, state, canary),
    note: noteOn(state, canary, verdict),
    canary: ratesOf(counts.canary),
    rest: ratesOf(counts.rest),
    verdict,
  };
}

function verdictShown(canary: CanaryState, now: number): CanaryVerdict {
  return judge(canary.final ?? countsAt(canary, now), canary.rules);
}

/** How many members each side has. */
export function membersOn(
  { members }: GroupState,
  canary: Pick<CanaryState, "version">,
): { canary: number; rest: number } {
  const count = { canary: 0, rest: 0 };
  for (const [, member] of entriesOf(members)) count[sideOf(canary, member)]++;
  return count;
}

function partitionsIn(
  target: Assignment,
  { members }: GroupState,
  canary: CanaryState,
): Pick<CanaryDescription, "partitions" | "ofPartitions"> {
  const theirs = new Set<string>();
  for (const [memberId, member] of entriesOf(members)) {
    if (sideOf(canary, member) === "canary") theirs.add(memberId);
  }
  const partitions: TopicPartition[] = [];
  let ofPartitions = 0;
  for (const { topic, owners } of target.topics) {
    ofPartitions += owners.length;
    owners.forEach((owner, partition) => {
      if (theirs.has(target.memberIds[owner]!)) partitions.push({ topic, partition });
    });
  }
  return { partitions, ofPartitions };
}

/** What differs from what was asked for, in words. */
function noteOn(state: GroupState, canary: CanaryState, verdict: CanaryVerdict): string | null {
  const { version, status, percent } = canary;
  const { canary: trial, rest } = membersOn(state, canary);
  if (status === "promoted" || trial + rest === 0) return null;
  if (status === "withdrawn") {
    if (trial === 0) return null;
    return rest === 0
      ? "only members of the withdrawn version are left: nobody reads until another version joins " +
        "or the canary is removed"
      : waitingTopics(state, canary);
  }
  if (trial === 0) return `no member has version ${version}: the others have everything`;
  if (rest === 0) {
    const kept = verdict.state === "worse" ? ", and is kept although it is worse" : "";
    return `no member has another version: the canary has everything${kept}`;
  }
  const none = percent > 0 && chosenFor(state, canary) === 0;
  return none ? "a single partition cannot be shared: the canary has none" : null;
}

function chosenFor(state: GroupState, canary: CanaryState): number {
  const members = [...entriesOf(state.members)].map(([, member]) => member);
  const partitionCounts = new Map(entriesOf(state.partitionCounts));
  const { canary: lane } = lanesOf({ members, partitionCounts, previous: state.target }, canary);
  return [...lane.values()].reduce((sum, { length }) => sum + length, 0);
}

function waitingTopics(state: GroupState, canary: CanaryState): string | null {
  const waiting = new Set<string>();
  const read = new Set<string>();
  for (const [, member] of entriesOf(state.members)) {
    for (const topic of member.topics) {
      (sideOf(canary, member) === "canary" ? waiting : read).add(topic);
    }
  }
  const count = [...waiting].filter((topic) => !read.has(topic)).length;
  return count === 0 ? null : `topics that nobody else subscribes to: ${count}; nobody reads them`;
}
