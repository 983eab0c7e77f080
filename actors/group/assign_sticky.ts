// Owns the sticky assignor for members that all subscribe to the same topics, and what is kept from before.
// Refuses to own uneven subscriptions (assign_uneven.ts).
// Invariant: balanced within one partition, and no assignment so balanced keeps more partitions where they were.
import { assignUneven } from "./assign_uneven.ts";
import { type AssignGround, type Assignment, isGivenUp, NOBODY } from "./assignment.ts";

/** Owners by topic. With equal subscriptions balanced within one; else as `assignUneven` promises. */
export function assignSticky(ground: AssignGround, previous: Assignment): Int32Array[] {
  const kept = keptOwners(ground, previous);
  return sameSubscribers(ground) ? assignEven(ground, kept) : assignUneven(ground, kept);
}

function sameSubscribers({ topics }: AssignGround): boolean {
  const first = topics[0]?.subscribers ?? [];
  return topics.every(({ subscribers }) =>
    subscribers.length === first.length && subscribers.every((member, i) => member === first[i])
  );
}

/** The owners from before that are still members and still subscribe, else NOBODY. */
function keptOwners(ground: AssignGround, previous: Assignment): Int32Array[] {
  const indices = new Map(ground.members.map(({ memberId }, i) => [memberId, i]));
  const before = previous.memberIds.map((memberId) => indices.get(memberId) ?? NOBODY);
  const ownersBefore = new Map(previous.topics.map(({ topic, owners }) => [topic, owners]));
  return ground.topics.map(({ topic, partitions, subscribers }) => {
    const owners = ownersBefore.get(topic) ?? [];
    const subscribed = new Set(subscribers);
    const kept = new Int32Array(partitions).fill(NOBODY);
    for (let partition = 0; partition < Math.min(partitions, owners.length); partition++) {
      const member = before[owners[partition]!] ?? NOBODY;
      if (subscribed.has(member)) kept[partition] = member;
    }
    return kept;
  });
}

/**
 * Every member keeps what it has up to its quota; those that have most get the larger quotas, so as little as can be is
 * given up. What is given up lies evenly over a member's partitions, so that no topic moves as a whole.
 */
function assignEven(ground: AssignGround, owners: Int32Array[]): Int32Array[] {
  const members = ground.topics[0]?.subscribers ?? [];
  const had = new Map(members.map((member) => [member, 0]));
  for (const topic of owners) {
    for (const owner of topic) if (owner !== NOBODY) had.set(owner, had.get(owner)! + 1);
  }
  const quotas = quotasOf(had, ground.topics.reduce((sum, { partitions }) => sum + partitions, 0));
  const seen = new Map<number, number>();
  const wanting = members.map((member) => ({
    member,
    missing: Math.max(0, quotas.get(member)! - had.get(member)!),
  })).filter(({ missing }) => missing > 0);
  for (const topic of owners) {
    topic.forEach((owner, partition) => {
      if (owner === NOBODY) return;
      const index = seen.get(owner) ?? 0;
      seen.set(owner, index + 1);
      const surplus = had.get(owner)! - quotas.get(owner)!;
      if (surplus > 0 && isGivenUp(index, had.get(owner)!, surplus)) topic[partition] = NOBODY;
    });
  }
  deal(owners, wanting);
  return owners;
}

function quotasOf(had: ReadonlyMap<number, number>, partitions: number): Map<number, number> {
  const least = Math.floor(partitions / had.size);
  const withOneMore = partitions % had.size;
  const byHolding = [...had].sort(([a, aHas], [b, bHas]) => bHas - aHas || a - b);
  return new Map(byHolding.map(([member], i) => [member, least + (i < withOneMore ? 1 : 0)]));
}

/** Deals what nobody owns over `wanting` in turn, until each has what it misses. */
function deal(
  owners: readonly Int32Array[],
  wanting: { member: number; missing: number }[],
): void {
  let left = wanting;
  let turn = 0;
  for (const topic of owners) {
    topic.forEach((owner, partition) => {
      if (owner !== NOBODY) return;
      if (turn >= left.length) {
        left = left.filter(({ missing }) => missing > 0);
        turn = 0;
      }
      const next = left[turn++]!;
      topic[partition] = next.member;
      next.missing -= 1;
    });
  }
}
