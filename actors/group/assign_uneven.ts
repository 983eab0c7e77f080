// Owns the sticky assignor's answer to members with different subscriptions.
// Refuses to own the even case (assign_sticky.ts), which is exact about how little moves; here few moves is a preference.
// Invariant: when it ends, no chain of moves takes a partition from a member to one with at least two fewer. By that the
// loads, sorted, are as even as the subscriptions permit (an optimal semi-matching: Harvey, Ladner, Lovász, Tamir, 2006).
import { type AssignGround, isGivenUp, NOBODY } from "./assignment.ts";
import { TopicShares } from "./topic_shares.ts";

/** Owners by topic, from those that `kept` names (NOBODY: none yet). */
export function assignUneven(ground: AssignGround, kept: readonly Int32Array[]): Int32Array[] {
  const shares = new TopicShares(ground, kept);
  placeTheUnowned(ground, kept, shares);
  levelLoads(ground, shares);
  return ground.topics.map((_, topic) => ownersByShare(kept[topic]!, shares.holders[topic]!));
}

/** The topics with the fewest subscribers have the least choice, so they come first. */
function placeTheUnowned(
  ground: AssignGround,
  kept: readonly Int32Array[],
  shares: TopicShares,
): void {
  const order = ground.topics.map((_, topic) => topic).sort((a, b) =>
    ground.topics[a]!.subscribers.length - ground.topics[b]!.subscribers.length || a - b
  );
  for (const topic of order) {
    const { subscribers } = ground.topics[topic]!;
    for (const owner of kept[topic]!) {
      if (owner === NOBODY) shares.give(topic, shares.lightest(subscribers));
    }
  }
}

/**
 * From the lightest load up: pulls one partition to each member of that load while some member with at least two more
 * can give one, straight or through others. Ends, since each pull makes the sum of squared loads smaller. A level that
 * can pull no more never can again: all that could reach it hold at most one more, and nothing new reaches those.
 */
function levelLoads(ground: AssignGround, shares: TopicShares): void {
  const members = ground.members.map((_, member) => member);
  let level = Math.min(...shares.loads);
  while (level !== Infinity) {
    const atLevel = members.filter((member) => shares.loads[member] === level);
    const stuck = atLevel.filter((member) => !shares.pullStraight(member));
    if (stuck.length < atLevel.length && stuck.length > 0) continue;
    if (stuck.length > 0 && shares.pullThroughOthers(stuck)) continue;
    level = shares.loads.reduce(
      (next, load) => load > level && load < next ? load : next,
      Infinity,
    );
  }
}

/** Gives each member its share of one topic, leaving where they are as many partitions as the shares allow. */
function ownersByShare(kept: Int32Array, shares: ReadonlyMap<number, number>): Int32Array {
  const had = new Map<number, number>();
  for (const owner of kept) had.set(owner, (had.get(owner) ?? 0) + 1);
  const missing: number[] = [];
  for (const member of [...shares.keys()].sort((a, b) => a - b)) {
    const lacks = shares.get(member)! - (had.get(member) ?? 0);
    for (let i = 0; i < lacks; i++) missing.push(member);
  }
  const seen = new Map<number, number>();
  let next = 0;
  return kept.map((owner) => {
    if (owner === NOBODY) return missing[next++]!;
    const index = seen.get(owner) ?? 0;
    seen.set(owner, index + 1);
    const surplus = had.get(owner)! - (shares.get(owner) ?? 0);
    return surplus > 0 && isGivenUp(index, had.get(owner)!, surplus) ? missing[next++]! : owner;
  });
}
