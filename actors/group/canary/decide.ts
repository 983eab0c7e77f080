// Owns what people do to a group's canary: begin it, change it, promote it, remove it, look at it.
// Refuses to own its end by itself (withdraw.ts) and which partitions it gets (split.ts).
// Invariant: a dry run answers what the change would, and changes nothing.
import { BrokerError } from "../../../storage/broker_error.ts";
import { movesBetween } from "../assignment.ts";
import { Draft, type GroupContext, type GroupDecision, onlyVolatile } from "../draft.ts";
import { refuseUnknownGroup } from "../members.ts";
import type { GroupState } from "../state.ts";
import { describeCanary } from "./describe.ts";
import type { CanarySet } from "./events.ts";
import { evolveCanary } from "./evolve.ts";
import { plannedTarget } from "./plan.ts";
import type { CanaryState } from "./state.ts";
import type { CanaryChange, CanaryCommand, CanaryRules } from "./types.ts";

type Command<T extends CanaryCommand["type"]> = Extract<CanaryCommand, { type: T }>;

/** Throws UNKNOWN_GROUP, INVALID_REQUEST. */
export function decideSetCanary(
  state: GroupState,
  { version, percent, rules, reason, principal, dryRun }: Command<"SetCanary">,
  context: GroupContext,
): GroupDecision {
  refuseUnknownGroup(state);
  refuseMalformed(state, { version, percent, rules });
  const at = context.at.wall;
  const event: CanarySet = {
    type: "CanarySet",
    v: 1,
    at,
    version,
    percent,
    rules,
    reason,
    principal,
  };
  const planned = evolveCanary(state, event);
  const reply: CanaryChange = {
    dryRun,
    canary: describeCanary(planned, at)!,
    moved: movesBetween(
      state.target,
      planned.causes === null ? state.target : plannedTarget(planned),
    ),
  };
  if (dryRun) return onlyVolatile([], reply);
  const draft = new Draft(state, context);
  draft.record(event);
  return draft.finish(() => reply);
}

function refuseMalformed(
  { groupId }: GroupState,
  { version, percent, rules }: { version: string; percent: number; rules: CanaryRules },
): void {
  const { windowMs, minObservations, factor, margin, maxLostSessions } = rules;
  const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0;
  const isSound = version !== "" && percent >= 0 && percent <= 100 && windowMs > 0 &&
    isCount(minObservations) && minObservations > 0 && factor >= 1 && margin >= 0 && margin <= 1 &&
    isCount(maxLostSessions);
  if (isSound) return;
  throw new BrokerError(
    "INVALID_REQUEST",
    `the canary ${version} of group ${groupId} cannot be as it is asked for`,
    { groupId, version, percent, ...rules },
  );
}

/** Throws UNKNOWN_GROUP, UNKNOWN_CANARY. */
export function decideRemoveCanary(
  state: GroupState,
  { reason, principal }: Command<"RemoveCanary">,
  context: GroupContext,
): GroupDecision {
  const { version } = canaryOf(state);
  const draft = new Draft(state, context);
  draft.record({ type: "CanaryRemoved", v: 1, at: context.at.wall, version, reason, principal });
  return draft.finish(() => null);
}

/** Throws UNKNOWN_GROUP, UNKNOWN_CANARY, INVALID_CANARY_STATE. */
export function decidePromoteCanary(
  state: GroupState,
  { reason, principal }: Command<"PromoteCanary">,
  context: GroupContext,
): GroupDecision {
  const { version, status } = canaryOf(state);
  if (status !== "running") {
    throw new BrokerError(
      "INVALID_CANARY_STATE",
      `canary ${version} of group ${state.groupId} is ${status}: only one that runs is promoted`,
      { groupId: state.groupId, version, state: status },
    );
  }
  const at = context.at.wall;
  const draft = new Draft(state, context);
  draft.record({ type: "CanaryPromoted", v: 1, at, version, reason, principal });
  return draft.finish((after) => describeCanary(after, at));
}

/** Throws UNKNOWN_GROUP, UNKNOWN_CANARY. */
export function decideDescribeCanary(state: GroupState, { at }: GroupContext): GroupDecision {
  canaryOf(state);
  return onlyVolatile([], describeCanary(state, at.wall));
}

function canaryOf(state: GroupState): CanaryState {
  refuseUnknownGroup(state);
  if (state.canary !== undefined) return state.canary;
  const { groupId } = state;
  throw new BrokerError("UNKNOWN_CANARY", `group ${groupId} has no canary`, { groupId });
}
