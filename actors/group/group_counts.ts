// Owns what is counted of groups: rebalances, retries, dead letters, canaries that were withdrawn.
// Refuses to own when these happen (the deciders) and what is made of the counts.
// Invariant: pure; what is read back from a journal is not counted again, since counts rest on what was decided now.
import type { GroupEvent } from "./events.ts";

export interface GroupCounts {
  readonly rebalances: number;
  readonly retries: number;
  readonly deadLetters: number;
  readonly canariesWithdrawn: number;
}

/** What one group counted, and of which topics' messages. */
export interface CountedInGroup extends GroupCounts {
  readonly byTopic: ReadonlyMap<string, Pick<GroupCounts, "retries" | "deadLetters">>;
}

export const NO_COUNTS: GroupCounts = Object.freeze({
  rebalances: 0,
  retries: 0,
  deadLetters: 0,
  canariesWithdrawn: 0,
});

/** What `events` count for; null: nothing. */
export function countsIn(events: readonly GroupEvent[]): CountedInGroup | null {
  let rebalances = 0;
  let retries = 0;
  let deadLetters = 0;
  let canariesWithdrawn = 0;
  const byTopic = new Map<string, { retries: number; deadLetters: number }>();
  const of = (topic: string) => {
    const counts = byTopic.get(topic) ?? { retries: 0, deadLetters: 0 };
    byTopic.set(topic, counts);
    return counts;
  };
  for (const event of events) {
    if (event.type === "Rebalanced") rebalances++;
    else if (event.type === "CanaryWithdrawn") canariesWithdrawn++;
    else if (event.type === "DeadLettersDue") {
      deadLetters += event.letters.length;
      for (const { topic } of event.letters) of(topic).deadLetters++;
    } else if (event.type === "RetriesScheduled" && event.cause === "nack") {
      for (const { topic, offsets } of event.retries) {
        retries += offsets.length;
        of(topic).retries += offsets.length;
      }
    }
  }
  const sum = rebalances + retries + deadLetters + canariesWithdrawn;
  return sum === 0 ? null : { rebalances, retries, deadLetters, canariesWithdrawn, byTopic };
}

export function sumOf(a: GroupCounts, b: GroupCounts): GroupCounts {
  return {
    rebalances: a.rebalances + b.rebalances,
    retries: a.retries + b.retries,
    deadLetters: a.deadLetters + b.deadLetters,
    canariesWithdrawn: a.canariesWithdrawn + b.canariesWithdrawn,
  };
}
