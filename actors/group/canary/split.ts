// Owns which partitions are a canary's, and the assignment of a group that has one.
// Refuses to own how one side's partitions are shared out among its members (../assignors.ts).
// Invariant: every partition that anybody may have gets exactly one owner. Which partitions are the canary's depends on
// their names, their number and the percentage alone: members that come and go move none of them to the other side.
import { murmur2 } from "../../../storage/format/murmur2.ts";
import type { TopicPartition } from "../../broker.ts";
import { assign } from "../assignors.ts";
import {
  type AssignInput,
  type AssignMember,
  type Assignment,
  compareMembers,
  NOBODY,
} from "../assignment.ts";
import type { AssignorName } from "../types.ts";
import { type CanaryState, isHeldBack, type Side, sideOf } from "./state.ts";

/** What of a canary matters here. */
export type CanaryShare = Pick<CanaryState, "version" | "percent" | "status">;

export interface VersionedInput extends AssignInput {
  readonly members: readonly (AssignMember & { readonly version?: string })[];
}

const encoder = new TextEncoder();

/** Shares the partitions out as `name` does, those of the canary among its members and the others among the rest. */
export function assignAll(
  name: AssignorName,
  input: VersionedInput,
  canary: CanaryShare | undefined,
): Assignment {
  if (canary === undefined || canary.status === "promoted") return assign(name, input);
  if (canary.status === "withdrawn") {
    const members = input.members.map((member) =>
      isHeldBack(canary, member) ? { ...member, topics: [] } : member
    );
    return assign(name, { ...input, members });
  }
  const lanes = lanesOf(input, canary);
  const bySide = Map.groupBy(input.members, (member) => sideOf(canary, member));
  const parts = (["canary", "rest"] as const).map((side) => ({
    lane: lanes[side],
    assignment: assignLane(name, { ...input, members: bySide.get(side) ?? [] }, lanes[side]),
  }));
  return merged(input, parts);
}

/** Partitions by topic, ascending. */
type Lane = ReadonlyMap<string, readonly number[]>;

/** A topic that only one side subscribes to is that side's; the others are shared by percentage, all of them together. */
export function lanesOf(input: VersionedInput, canary: CanaryShare): Record<Side, Lane> {
  const subscribed = { canary: new Set<string>(), rest: new Set<string>() };
  for (const member of input.members) {
    for (const topic of member.topics) subscribed[sideOf(canary, member)].add(topic);
  }
  const shared: TopicPartition[] = [];
  const lanes = { canary: new Map<string, number[]>(), rest: new Map<string, number[]>() };
  for (const [topic, count] of input.partitionCounts) {
    const partitions = Array.from({ length: count }, (_, partition) => partition);
    const both = subscribed.canary.has(topic) && subscribed.rest.has(topic);
    if (both) shared.push(...partitions.map((partition) => ({ topic, partition })));
    else if (subscribed.canary.has(topic)) lanes.canary.set(topic, partitions);
    else if (subscribed.rest.has(topic)) lanes.rest.set(topic, partitions);
  }
  const chosen = chosenOf(shared, canary.percent);
  shared.forEach(({ topic, partition }, i) => {
    const lane = lanes[chosen.has(i) ? "canary" : "rest"];
    const known = lane.get(topic);
    if (known === undefined) lane.set(topic, [partition]);
    else known.push(partition);
  });
  return lanes;
}

/**
 * Indices of the canary's: those whose names hash lowest, so that a higher percentage adds to them and takes none away, and
 * a new partition displaces one at most.
 */
function chosenOf(shared: readonly TopicPartition[], percent: number): Set<number> {
  const count = canaryCount(shared.length, percent);
  if (count === 0) return new Set();
  const ranked = shared.map(({ topic, partition }, i) => ({
    i,
    topic,
    partition,
    rank: murmur2(encoder.encode(`${topic}/${partition}`)) >>> 0,
  })).sort((a, b) =>
    a.rank - b.rank || (a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : a.partition - b.partition)
  );
  return new Set(ranked.slice(0, count).map(({ i }) => i));
}

/** How many of `partitions` are `percent` of them: one at least, and never all, but for 0 and 100. */
export function canaryCount(partitions: number, percent: number): number {
  if (percent <= 0) return 0;
  if (percent >= 100) return partitions;
  const share = Math.round(partitions * percent / 100);
  return Math.max(0, Math.min(Math.max(1, share), partitions - 1));
}

/** The lane's partitions are numbered from 0 for the assignor, and named again by `merged`. */
function assignLane(name: AssignorName, input: VersionedInput, lane: Lane): Assignment {
  const partitionCounts = new Map([...lane].map(([topic, { length }]) => [topic, length]));
  const { memberIds, topics } = input.previous;
  const previous = {
    memberIds,
    topics: topics.filter(({ topic }) => lane.has(topic)).map(({ topic, owners }) => ({
      topic,
      owners: lane.get(topic)!.map((partition) => owners[partition] ?? NOBODY),
    })),
  };
  return assign(name, { members: input.members, partitionCounts, previous });
}

function merged(
  { members, partitionCounts }: VersionedInput,
  parts: readonly { readonly lane: Lane; readonly assignment: Assignment }[],
): Assignment {
  const memberIds = members.toSorted(compareMembers).map(({ memberId }) => memberId);
  const indices = new Map(memberIds.map((memberId, i) => [memberId, i]));
  const owners = new Map<string, number[]>();
  for (const { lane, assignment } of parts) {
    for (const { topic, owners: ofLane } of assignment.topics) {
      const all = owners.get(topic) ?? new Array<number>(partitionCounts.get(topic)!).fill(NOBODY);
      owners.set(topic, all);
      ofLane.forEach((owner, i) => {
        all[lane.get(topic)![i]!] = indices.get(assignment.memberIds[owner]!)!;
      });
    }
  }
  const topics = [...owners.keys()].sort().map((topic) => ({ topic, owners: owners.get(topic)! }));
  return { memberIds, topics };
}
