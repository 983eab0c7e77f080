// Owns the assignment that a group as it stands would get, its canary heeded.
// Refuses to own assigning it (../decide_rebalance.ts). Pure.
// Invariant: what is planned is what the rebalance then does.
import type { Assignment } from "../assignment.ts";
import type { GroupState } from "../state.ts";
import { entriesOf } from "../table.ts";
import { assignAll } from "./split.ts";

/** The target of a rebalance of `state` now. */
export function plannedTarget(state: GroupState): Assignment {
  return assignAll(state.assignor, {
    members: [...entriesOf(state.members)].map(([, member]) => member),
    partitionCounts: new Map(entriesOf(state.partitionCounts)),
    previous: state.target,
  }, state.canary);
}
