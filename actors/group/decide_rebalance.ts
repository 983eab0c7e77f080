// Owns assigning a group anew: the target, the generation, the history that is kept, and telling every member.
// Refuses to own when that happens (decide_tick.ts, decide_membership.ts).
// Invariant: the generation rises by exactly one, and every member learns of it.
import type { TopicPartition } from "../broker.ts";
import { type Assignment, movesBetween } from "./assignment.ts";
import { plannedTarget } from "./canary/plan.ts";
import type { Draft } from "./draft.ts";
import type { GroupSettings } from "./settings.ts";
import type { GroupState, RebalanceCauses } from "./state.ts";
import { entriesOf, lookUp, sortedKeys } from "./table.ts";

export function rebalance(draft: Draft): void {
  const { state, context: { at, settings } } = draft;
  const generation = state.generation + 1;
  const target = plannedTarget(state);
  draft.record({
    type: "Rebalanced",
    v: 1,
    at: at.wall,
    generation,
    cause: inWords(state.causes),
    target,
    rebalancesKept: rebalancesKept(state, target, settings),
  });
  tellRevoked(draft, generation);
  for (const [memberId] of entriesOf(draft.state.members)) draft.tellAssignment(memberId);
}

/** The last member took the assignment with it: what it had belongs to nobody, and the history says so at once. */
export function rebalanceIfEmptied(draft: Draft): void {
  if (draft.state.members.size === 0 && draft.state.causes !== null) rebalance(draft);
}

function tellRevoked(draft: Draft, generation: number): void {
  const { handovers } = draft.state;
  let told = false;
  for (const memberId of sortedKeys(handovers)) {
    const partitions = toldIn(draft.state, memberId, generation);
    if (partitions.length === 0) continue;
    told = true;
    draft.tell(memberId, { type: "revoked", generation, partitions });
  }
  if (!told) return;
  const { at, settings } = draft.context;
  const deadlineAt = at.monotonic + settings.revocationGraceMs;
  draft.remember({ type: "RevocationsStarted", generation, deadlineAt });
}

function toldIn(state: GroupState, memberId: string, generation: number): TopicPartition[] {
  return (lookUp(state.handovers, memberId) ?? [])
    .filter((handover) => handover.generation === generation)
    .map(({ topic, partition }) => ({ topic, partition }));
}

function inWords(causes: RebalanceCauses | null): string {
  if (causes === null) throw new Error("a group is assigned anew without a cause");
  const more = causes.more === 0 ? [] : [`and ${causes.more} more`];
  return [...causes.listed, ...more].join("; ");
}

/** How many of the latest records fit into the history beside the new one. */
function rebalancesKept(state: GroupState, target: Assignment, settings: GroupSettings): number {
  let moves = movesBetween(state.target, target).length;
  let kept = 0;
  for (const { moved } of state.rebalances.toReversed()) {
    for (const { partitions } of moved) moves += partitions.length;
    if (kept + 1 >= settings.maxRebalancesKept || moves > settings.maxMovesKept) break;
    kept += 1;
  }
  return kept;
}
