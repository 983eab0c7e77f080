// Owns which groups have a canary that runs or was withdrawn, for figures and alerts, and what of it leaves a group's actor.
// Refuses to own canaries themselves. Invariant: what a group said last; a group that is gone is not listed.
import type { CanaryActivity } from "../../measurement/types.ts";
import type { GroupEvent } from "../events.ts";
import { evolveGroup } from "../evolve.ts";
import type { GroupState } from "../state.ts";
import type { CanaryWithdrawn } from "./events.ts";

export type CanaryEffect =
  /** How the group's canary stands now; null: nothing runs or is withdrawn. */
  | { readonly canary: CanaryActivity | null }
  | CanaryWithdrawal;

/** The group has taken its canary out. */
export interface CanaryWithdrawal {
  readonly withdrawn: Pick<CanaryWithdrawn, "version" | "at" | "reason" | "canary" | "rest">;
  /** Told after a restart: word of it may have been lost, or not. */
  readonly again: boolean;
}

const CHANGES: ReadonlySet<string> = new Set<GroupEvent["type"]>([
  "CanarySet",
  "CanaryRemoved",
  "CanaryPromoted",
  "CanaryWithdrawn",
  "GroupDeleted",
]);

/** What `events`, decided in `state`, say of a canary to those outside. */
export function canaryEffects(state: GroupState, events: readonly GroupEvent[]): CanaryEffect[] {
  if (!events.some(({ type }) => CHANGES.has(type))) return [];
  const effects: CanaryEffect[] = [{ canary: activityOf(events.reduce(evolveGroup, state)) }];
  for (const event of events) {
    if (event.type === "CanaryWithdrawn") effects.push({ withdrawn: event, again: false });
  }
  return effects;
}

/** The same of a group that was read from its journal. */
export function recoveredCanary(state: GroupState): CanaryEffect[] {
  const activity = activityOf(state);
  const { canary } = state;
  if (activity === null || canary === undefined) return [];
  if (canary.status !== "withdrawn" || canary.final === null) return [{ canary: activity }];
  const { version, changedAt: at, reason, final } = canary;
  const withdrawn = { version, at, reason: reason ?? "", ...final };
  return [{ canary: activity }, { withdrawn, again: true }];
}

function activityOf({ groupId, canary }: GroupState): CanaryActivity | null {
  if (canary === undefined || canary.status === "promoted") return null;
  const { version, percent, status, reason } = canary;
  return { group: groupId, version, percent, state: status, reason };
}

export class CanaryList {
  readonly #byGroup = new Map<string, CanaryActivity>();

  note(group: string, canary: CanaryActivity | null): void {
    if (canary === null) this.#byGroup.delete(group);
    else this.#byGroup.set(group, canary);
  }

  /** In no order; as many as groups at most. */
  all(): readonly CanaryActivity[] {
    return [...this.#byGroup.values()];
  }
}
