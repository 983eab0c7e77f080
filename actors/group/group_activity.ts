// Owns what happened in which group, and with messages of which topic, since the broker has started.
// Refuses to own the sums over all groups (group_counts.ts).
// Invariant: bounded: of too many names those go in which nothing has happened for longest; then they count anew.
import type { Activity } from "../measurement/types.ts";
import type { CountedInGroup } from "./group_counts.ts";

/** Names that are kept of each kind. */
const MAX_NAMES = 10_000;

export class GroupActivity {
  readonly #rebalances = new Map<string, number>();
  readonly #retries = new Map<string, number>();
  readonly #deadLetters = new Map<string, number>();

  note(group: string, { rebalances, byTopic }: CountedInGroup): void {
    add(this.#rebalances, group, rebalances);
    for (const [topic, { retries, deadLetters }] of byTopic) {
      const place = `${group} on ${topic}`;
      add(this.#retries, place, retries);
      add(this.#deadLetters, place, deadLetters);
    }
  }

  counts(): Pick<Activity, "rebalancesByGroup" | "retriesByPlace" | "deadLettersByPlace"> {
    return {
      rebalancesByGroup: this.#rebalances,
      retriesByPlace: this.#retries,
      deadLettersByPlace: this.#deadLetters,
    };
  }
}

function add(counts: Map<string, number>, name: string, count: number): void {
  if (count === 0) return;
  const before = counts.get(name) ?? 0;
  counts.delete(name);
  counts.set(name, before + count);
  if (counts.size > MAX_NAMES) counts.delete(counts.keys().next().value!);
}
