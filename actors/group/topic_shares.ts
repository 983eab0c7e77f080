// Owns how many partitions of each topic each member has while uneven subscriptions are levelled, and pulling one over.
// Refuses to own which partitions these are: within a topic all are alike.
// Invariant: a member's load is the sum of its shares; a share is never zero or less.
import { type AssignGround, NOBODY } from "./assignment.ts";

/** How a member was reached in a search: it can give a partition of `topic` to `to`. */
interface Step {
  readonly topic: number;
  readonly to: number;
}

export class TopicShares {
  /** Partitions by member. */
  readonly loads: Int32Array;
  /** By topic: shares by member. */
  readonly holders: readonly Map<number, number>[];
  /** By member: topics it subscribes to. */
  readonly #topics: readonly number[][];

  constructor(ground: AssignGround, owners: readonly Int32Array[]) {
    this.loads = new Int32Array(ground.members.length);
    this.holders = ground.topics.map(() => new Map());
    this.#topics = ground.members.map(() => []);
    ground.topics.forEach(({ subscribers }, topic) => {
      for (const member of subscribers) this.#topics[member]!.push(topic);
      for (const owner of owners[topic]!) if (owner !== NOBODY) this.give(topic, owner);
    });
  }

  give(topic: number, member: number): void {
    const holders = this.holders[topic]!;
    holders.set(member, (holders.get(member) ?? 0) + 1);
    this.loads[member]! += 1;
  }

  #take(topic: number, member: number): void {
    const holders = this.holders[topic]!;
    const share = holders.get(member)!;
    if (share === 1) holders.delete(member);
    else holders.set(member, share - 1);
    this.loads[member]! -= 1;
  }

  /** The first of those with the smallest load. */
  lightest(members: readonly number[]): number {
    let best = members[0]!;
    for (const member of members) if (this.loads[member]! < this.loads[best]!) best = member;
    return best;
  }

  /** Takes one partition for `member` from the heaviest that can give one, if that has at least two more. */
  pullStraight(member: number): boolean {
    let heaviest = NOBODY;
    let from = NOBODY;
    for (const topic of this.#topics[member]!) {
      for (const holder of this.holders[topic]!.keys()) {
        if (this.#isBetter(holder, heaviest)) {
          heaviest = holder;
          from = topic;
        }
      }
    }
    if (heaviest === NOBODY || this.loads[heaviest]! < this.loads[member]! + 2) return false;
    this.#take(from, heaviest);
    this.give(from, member);
    return true;
  }

  #isBetter(candidate: number, than: number): boolean {
    if (than === NOBODY) return true;
    return this.loads[candidate]! - this.loads[than]! > 0 ||
      (this.loads[candidate] === this.loads[than] && candidate < than);
  }

  /** The same for the first of `members` (equal loads) that a heavier one reaches through the fewest others. */
  pullThroughOthers(members: readonly number[]): boolean {
    const found = this.#search(members);
    if (found === null) return false;
    let giver = found.heaviest;
    for (let step = found.steps.get(giver); step; step = found.steps.get(giver)) {
      this.#take(step.topic, giver);
      this.give(step.topic, step.to);
      giver = step.to;
    }
    return true;
  }

  /** Breadth first from `members` to whoever can give to them, so that the chain is as short as can be. */
  #search(
    members: readonly number[],
  ): { heaviest: number; steps: ReadonlyMap<number, Step | null> } | null {
    const enough = this.loads[members[0]!]! + 2;
    const steps = new Map<number, Step | null>(members.map((member) => [member, null]));
    const seenTopics = new Set<number>();
    let layer = members;
    while (layer.length > 0) {
      const next: number[] = [];
      let heaviest = NOBODY;
      for (const to of layer) {
        for (const topic of this.#topics[to]!) {
          if (seenTopics.has(topic)) continue;
          seenTopics.add(topic);
          for (const holder of this.holders[topic]!.keys()) {
            if (steps.has(holder)) continue;
            steps.set(holder, { topic, to });
            next.push(holder);
            if (this.loads[holder]! >= enough && this.#isBetter(holder, heaviest)) {
              heaviest = holder;
            }
          }
        }
      }
      if (heaviest !== NOBODY) return { heaviest, steps };
      layer = next;
    }
    return null;
  }
}
