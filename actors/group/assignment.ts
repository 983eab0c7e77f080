// Owns what every assignor starts from and ends with: members and topics in order, and who owns what.
// Refuses to own how partitions are shared out (assign_range.ts, assign_roundrobin.ts, assign_sticky.ts).
// Invariant: in an assignment each partition has exactly one owner, by its shape.
import { type PartitionSet, PartitionSetBuilder } from "./topic_partitions.ts";
import type { PartitionMove } from "./types.ts";

/** Who owns each partition of each topic that somebody subscribes to. Plain JSON, as it is journalled. */
export interface Assignment {
  readonly memberIds: readonly string[];
  /** Topics in order; `owners[partition]` is an index into `memberIds`. */
  readonly topics: readonly { readonly topic: string; readonly owners: readonly number[] }[];
}

export const NO_ASSIGNMENT: Assignment = Object.freeze({ memberIds: [], topics: [] });

export interface AssignMember {
  readonly memberId: string;
  readonly instanceId?: string | null;
  readonly topics: readonly string[];
}

export interface AssignInput {
  readonly members: readonly AssignMember[];
  /** Partitions by topic; topics that are not there have none. */
  readonly partitionCounts: ReadonlyMap<string, number>;
  /** What was assigned before, to members that may be gone, in topics that may be gone. */
  readonly previous: Assignment;
}

/** One topic to share out: at least one partition and one subscriber. */
export interface TopicToAssign {
  readonly topic: string;
  readonly partitions: number;
  /** Indices of members, ascending. */
  readonly subscribers: readonly number[];
}

/** The input in the order that makes assignors deterministic. */
export interface AssignGround {
  readonly members: readonly AssignMember[];
  readonly topics: readonly TopicToAssign[];
}

/**
 * Static members first and by instanceId, so that one that comes back under another memberId keeps its place; then the
 * others by memberId. As Kafka's AbstractPartitionAssignor.MemberInfo orders them.
 */
export function compareMembers(a: AssignMember, b: AssignMember): number {
  const aInstance = a.instanceId ?? null;
  const bInstance = b.instanceId ?? null;
  if (aInstance !== null && bInstance !== null && aInstance !== bInstance) {
    return aInstance < bInstance ? -1 : 1;
  }
  if ((aInstance === null) !== (bInstance === null)) return aInstance !== null ? -1 : 1;
  return a.memberId < b.memberId ? -1 : a.memberId > b.memberId ? 1 : 0;
}

export function groundOf(input: AssignInput): AssignGround {
  const members = input.members.toSorted(compareMembers);
  const subscribers = new Map<string, number[]>();
  members.forEach(({ topics }, member) => {
    for (const topic of new Set(topics)) {
      const known = subscribers.get(topic);
      if (known === undefined) subscribers.set(topic, [member]);
      else known.push(member);
    }
  });
  const topics: TopicToAssign[] = [];
  for (const topic of [...subscribers.keys()].sort()) {
    const partitions = input.partitionCounts.get(topic) ?? 0;
    if (partitions > 0) topics.push({ topic, partitions, subscribers: subscribers.get(topic)! });
  }
  return { members, topics };
}

/** `owners[i]` holds the owners of `ground.topics[i]`. */
export function assignmentOf(
  ground: AssignGround,
  owners: readonly (readonly number[] | Int32Array)[],
): Assignment {
  return {
    memberIds: ground.members.map(({ memberId }) => memberId),
    topics: ground.topics.map(({ topic }, i) => ({ topic, owners: [...owners[i]!] })),
  };
}

/** The owner of a partition that is still to be shared out, while an assignor works. */
export const NOBODY = -1;

/** True for exactly `surplus` of the indices 0..has-1, evenly apart. */
export function isGivenUp(index: number, has: number, surplus: number): boolean {
  return Math.floor(((index + 1) * surplus) / has) > Math.floor((index * surplus) / has);
}

/** What each member has; the empty set for those that have nothing. */
export function partitionsByMember(assignment: Assignment): Map<string, PartitionSet> {
  const builders = assignment.memberIds.map(() => new PartitionSetBuilder());
  for (const { topic, owners } of assignment.topics) {
    owners.forEach((owner, partition) => builders[owner]!.add(topic, partition));
  }
  return new Map(assignment.memberIds.map((memberId, i) => [memberId, builders[i]!.build()]));
}

/** Finds owners by topic and partition; null where there is none. */
export function ownerFinder(
  assignment: Assignment,
): (topic: string, partition: number) => string | null {
  const owners = new Map(assignment.topics.map((entry) => [entry.topic, entry.owners]));
  return (topic, partition) => {
    const owner = owners.get(topic)?.[partition];
    return owner === undefined ? null : assignment.memberIds[owner]!;
  };
}

/** What changes hands between two assignments, in order of topic and partition. */
export function movesBetween(before: Assignment, after: Assignment): PartitionMove[] {
  const from = ownerFinder(before);
  const to = ownerFinder(after);
  const counts = new Map<string, number>();
  for (const { topic, owners } of [...before.topics, ...after.topics]) {
    counts.set(topic, Math.max(counts.get(topic) ?? 0, owners.length));
  }
  const moves: PartitionMove[] = [];
  for (const topic of [...counts.keys()].sort()) {
    for (let partition = 0; partition < counts.get(topic)!; partition++) {
      const move = { topic, partition, from: from(topic, partition), to: to(topic, partition) };
      if (move.from !== move.to) moves.push(move);
    }
  }
  return moves;
}
