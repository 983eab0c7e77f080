// Owns what happened in which group between two samples.
// Refuses to own the counters (actors/group/group_activity.ts). Invariant: bounded; what nothing happened in is left out.
import { sharedAmongTenants } from "../../actors/measurement/fair_share.ts";
import {
  type Activity,
  type GroupRebalances,
  MAX_SAMPLED_PLACES,
  MAX_SAMPLED_REBALANCED,
  type Sample,
} from "../../actors/measurement/types.ts";
import { NamedGrowth } from "./between_samples.ts";

type Counters = Pick<Activity, "rebalancesByGroup" | "retriesByPlace" | "deadLettersByPlace">;

export class GroupGrowth {
  readonly #rebalances = new NamedGrowth();
  readonly #retries = new NamedGrowth();
  readonly #deadLetters = new NamedGrowth();

  /** Since the last call. */
  take(
    { rebalancesByGroup, retriesByPlace, deadLettersByPlace }: Counters,
    tenantOf: (group: string) => string | undefined,
  ): Pick<Sample, "rebalancesByGroup" | "retriesByPlace" | "deadLettersByPlace"> {
    const rebalanced = this.#rebalances.take(rebalancesByGroup).sort(byCount)
      .map(([group, rebalances]): GroupRebalances => {
        const tenant = tenantOf(group);
        return tenant === undefined ? { group, rebalances } : { group, tenant, rebalances };
      });
    return {
      rebalancesByGroup: sharedAmongTenants(rebalanced, MAX_SAMPLED_REBALANCED),
      retriesByPlace: most(this.#retries.take(retriesByPlace)),
      deadLettersByPlace: most(this.#deadLetters.take(deadLettersByPlace)),
    };
  }
}

function most(counts: readonly (readonly [string, number])[]): Record<string, number> {
  return Object.fromEntries(counts.toSorted(byCount).slice(0, MAX_SAMPLED_PLACES));
}

function byCount(a: readonly [string, number], b: readonly [string, number]): number {
  return b[1] - a[1];
}
