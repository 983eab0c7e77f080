// Owns taking a canary out that is worse than the rest, with the decision after which it is.
// Refuses to own when it is worse (judge.ts) and where its partitions go then (split.ts).
// Invariant: what the decision itself leads to stays as it is, and its answer too; a canary that has everything is kept, since
// nobody else could take what it has.
import { Draft, type GroupContext, type GroupDecision } from "../draft.ts";
import type { GroupEvent, GroupVolatileEvent } from "../events.ts";
import { evolveGroup } from "../evolve.ts";
import type { GroupState } from "../state.ts";
import { lookUp, sortedKeys } from "../table.ts";
import type { GroupCommand } from "../types.ts";
import { membersOn } from "./describe.ts";
import { judge } from "./judge.ts";
import { countsAt, isHeldBack } from "./state.ts";

/** After these something new may be known. */
const JUDGED_AFTER: ReadonlySet<GroupCommand["type"]> = new Set<GroupCommand["type"]>([
  "CommitOffsets",
  "EndStagedOffsets",
  "Nack",
  "Join",
  "Leave",
  "Tick",
]);

/** `decision` on `command`, and the end of the canary where it shows that it is worse than the rest. */
export function withdrawnIfWorse(
  before: GroupState,
  decision: GroupDecision,
  { command, context }: { command: GroupCommand; context: GroupContext },
): GroupDecision {
  if (before.canary?.status !== "running" || decision.events.length === 0) return decision;
  if (!JUDGED_AFTER.has(command.type)) return decision;
  const state = after(before, decision);
  const { canary } = state;
  if (canary?.status !== "running" || membersOn(state, canary).rest === 0) return decision;
  const counts = countsAt(canary, context.at.wall);
  const verdict = judge(counts, canary.rules);
  if (verdict.state !== "worse" || verdict.measure === null) return decision;
  const draft = new Draft(state, context);
  draft.record({
    type: "CanaryWithdrawn",
    v: 1,
    at: context.at.wall,
    version: canary.version,
    measure: verdict.measure,
    reason: verdict.text,
    ...counts,
  });
  tellHeldBack(draft);
  const { events, volatile, notify } = draft.finish(() => null);
  return {
    events: [...decision.events, ...events],
    volatile: [...decision.volatile, ...volatile],
    notify: [...decision.notify, ...notify],
    reply: decision.reply,
  };
}

function after(state: GroupState, { events, volatile }: GroupDecision): GroupState {
  const all: readonly (GroupEvent | GroupVolatileEvent)[] = [...events, ...volatile];
  return all.reduce(evolveGroup, state);
}

/** Tells members that get nothing why, all of them or the one that joins. */
export function tellHeldBack(draft: Draft, memberId?: string): void {
  const { canary, members } = draft.state;
  if (canary?.status !== "withdrawn") return;
  const { version } = canary;
  const reason = canary.reason ?? "";
  for (const id of memberId === undefined ? sortedKeys(members) : [memberId]) {
    const member = lookUp(members, id);
    if (member === undefined || !isHeldBack(canary, member)) continue;
    draft.tell(id, { type: "withdrawn", version, reason });
  }
}
