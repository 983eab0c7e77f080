// Owns who is told that something about the retries of a partition changed: the member that reads it.
// Refuses to own what changed. Invariant: what is told is only a hint; the member asks for what there is (TakeRetries).
import type { TopicPartition } from "../../broker.ts";
import type { Draft } from "../draft.ts";
import type { GroupState } from "../state.ts";
import { entriesOf } from "../table.ts";
import { containsPartition, listPartitions } from "../topic_partitions.ts";
import { ENTRIES, partitionAt, placeName, placeOf, policyOf } from "./state.ts";
import type { NackResult } from "./types.ts";

/** Tells the members that read these partitions, and those from which somebody else `nacked` something. */
export function tellOwners(
  draft: Draft,
  partitions: readonly TopicPartition[],
  nacked: readonly NackResult[] = [],
): void {
  if (partitions.length + nacked.length === 0) return;
  const wanted = new Set(partitions.map(placeName));
  for (const [memberId, assignment] of entriesOf(draft.state.assignments)) {
    const theirs = listPartitions(assignment).filter((at) => wanted.has(placeName(at)));
    const failed = nacked.filter((at) => containsPartition(assignment, at));
    if (theirs.length + failed.length === 0) continue;
    const more = failed.length === 0 ? {} : { nacked: failed.map(plain) };
    draft.tell(memberId, { type: "retries", partitions: theirs, ...more });
  }
}

function plain({ topic, partition, offset, attempt }: NackResult) {
  return { topic, partition, offset, attempt };
}

export function partitionsAt(state: GroupState, places: Iterable<number>): TopicPartition[] {
  return [...new Set(places)].map((place) => partitionAt(state.retry, place));
}

/** Those of `partitions` whose reading is held up after, and was not before, or the other way round. */
export function heldPlaces(
  before: GroupState,
  after: GroupState,
  partitions: readonly TopicPartition[],
): TopicPartition[] {
  const blocking = partitions.filter(({ topic }) =>
    policyOf(after.retry, topic).ordering !== "skip"
  );
  if (blocking.length === 0) return [];
  const byName = new Map(blocking.map((at) => [placeName(at), at]));
  return [...byName.values()].filter((at) => isHeld(before, at) !== isHeld(after, at));
}

/** Something of the partition waits, and the policy of its topic lets that hold up others. */
export function isHeld({ retry }: GroupState, at: TopicPartition): boolean {
  if (retry.entries.size === 0 || policyOf(retry, at.topic).ordering === "skip") return false;
  const place = placeOf(retry, at);
  return place !== null && ENTRIES.firstUnder(retry.entries, [place]) !== null;
}
