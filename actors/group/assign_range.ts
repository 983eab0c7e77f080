// Owns the range assignor: each topic is cut into contiguous ranges, one a subscriber.
// Refuses to own balance across topics: the first members of many small topics have more, as users of Kafka know it.
// Invariant: within a topic, subscribers have the same number of partitions, the first ones at most one more.
import type { AssignGround } from "./assignment.ts";

/** Owners by topic, as Kafka's RangeAssignor shares them out. */
export function assignRange(ground: AssignGround): Int32Array[] {
  return ground.topics.map(({ partitions, subscribers }) => {
    const owners = new Int32Array(partitions);
    const least = Math.floor(partitions / subscribers.length);
    const withOneMore = partitions % subscribers.length;
    let next = 0;
    subscribers.forEach((member, i) => {
      const end = next + least + (i < withOneMore ? 1 : 0);
      owners.fill(member, next, end);
      next = end;
    });
    return owners;
  });
}
