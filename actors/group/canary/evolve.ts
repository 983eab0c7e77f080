// Owns what each event about a canary does to its group, and when a change of versions asks for a new assignment.
// Refuses to own counting (observe.ts) and whether it may happen (decide.ts, withdraw.ts): total, as all of evolve.
// Invariant: the group is assigned anew only where somebody's share changes.
import { withCause } from "../evolve_members.ts";
import type { GroupState } from "../state.ts";
import { entriesOf } from "../table.ts";
import type { CanaryEvent, CanarySet, CanaryWithdrawn } from "./events.ts";
import { type CanaryState, countsAt, freshCanary, sideOf } from "./state.ts";
import type { CanaryShare } from "./split.ts";

/** The group after an event about its canary. */
export function evolveCanary(state: GroupState, event: CanaryEvent): GroupState {
  switch (event.type) {
    case "CanarySet":
      return withCanary(state, set(state.canary, event), inWords(event));
    case "CanaryRemoved":
      return withCanary(state, undefined, `canary ${event.version} removed`);
    case "CanaryPromoted":
      return withCanary(state, promoted(state.canary, event), `canary ${event.version} promoted`);
    case "CanaryWithdrawn":
      return withCanary(state, withdrawn(state.canary, event), inWords(event));
  }
}

function inWords(event: CanarySet | CanaryWithdrawn): string {
  return event.type === "CanarySet"
    ? `canary ${event.version} set to ${event.percent}%`
    : `canary ${event.version} withdrawn`;
}

function set(before: CanaryState | undefined, event: CanarySet): CanaryState {
  const { version, percent, rules, reason, at, principal } = event;
  const fresh = freshCanary({ version, percent, rules, reason, at, by: principal });
  if (before?.version !== version || before.status !== "running") return fresh;
  const { since, window, ahead } = before;
  return { ...fresh, since, window, ahead };
}

function promoted(
  before: CanaryState | undefined,
  { at, principal, reason }: Extract<CanaryEvent, { type: "CanaryPromoted" }>,
): CanaryState | undefined {
  if (before === undefined) return undefined;
  const changed = { changedAt: at, changedBy: principal, reason };
  return { ...before, ...changed, status: "promoted", final: countsAt(before, at) };
}

/** Who takes a canary out that is worse than the rest. */
export const CANARY_JUDGE = "system:canary-judge";

function withdrawn(
  before: CanaryState | undefined,
  { at, reason, canary, rest }: CanaryWithdrawn,
): CanaryState | undefined {
  if (before === undefined) return undefined;
  const changed = { changedAt: at, changedBy: CANARY_JUDGE, reason };
  return { ...before, ...changed, status: "withdrawn", final: { canary, rest } };
}

function withCanary(
  { canary: before, ...group }: GroupState,
  after: CanaryState | undefined,
  cause: string,
): GroupState {
  const state: GroupState = after === undefined ? group : { ...group, canary: after };
  const isSame = before !== undefined && after !== undefined && before.version === after.version &&
    before.percent === after.percent && before.status === after.status;
  if (isSame || !(matters(state, before) || matters(state, after))) return state;
  return { ...state, causes: withCause(state.causes, cause) };
}

/** Whether anybody gets more or less because of it than without it. */
function matters(state: GroupState, canary: CanaryShare | undefined): boolean {
  if (canary === undefined || canary.status === "promoted") return false;
  const sides = new Set<string>();
  for (const [, member] of entriesOf(state.members)) sides.add(sideOf(canary, member));
  return canary.status === "withdrawn" ? sides.has("canary") : sides.size === 2;
}
