// Owns whether an execution may begin, or take hold of something, beside all the others.
// Refuses to own their states. Invariant: pure; nothing is held by two executions that have not ended.
import { hasActed, hasEnded, type Run, type RunState } from "./state.ts";
import {
  type ExecutionFilter,
  type ExecutionRequest,
  MAX_OPEN_BY_ALERTS,
  MAX_OPEN_BY_ALERTS_OF_RUNBOOK,
  MAX_OPEN_BY_ALERTS_OF_TENANT,
  MAX_OPEN_EXECUTIONS,
  type Runbook,
  type RunbookTarget,
} from "./types.ts";

type States = ReadonlyMap<string, RunState>;

/**
 * What an execution holds from its start, so that nobody else repairs it; null: nothing. One that only looks keeps only
 * its like away, and so does one for a broker: what it repairs is found on the way, and held then.
 */
export function holdOf(
  { target: { type, name }, mode, name: runbook }: Pick<
    ExecutionRequest,
    "target" | "mode" | "name"
  >,
  { onlyLooks = false }: Pick<Runbook, "onlyLooks">,
): string | null {
  if (type === "none") return null;
  const isOwn = onlyLooks || mode === "observe" || type === "broker";
  return `${type}:${name}${isOwn ? ` (${runbook})` : ""}`;
}

function* runs(states: States): Generator<Run> {
  for (const { run } of states.values()) if (run !== null) yield run;
}

/** The execution, other than `except`, that holds one of `holds`, with what it holds; null when none does. */
export function holderOf(
  states: States,
  holds: readonly string[],
  except: string,
): { readonly executionId: string; readonly hold: string } | null {
  for (const run of runs(states)) {
    if (hasEnded(run) || run.executionId === except) continue;
    const hold = run.holds.find((held) => holds.includes(held));
    if (hold !== undefined) return { executionId: run.executionId, hold };
  }
  return null;
}

/** The execution that was started for the alert; null when none was. */
export function executionOfAlert(states: States, alertId: string): string | null {
  for (const run of runs(states)) if (run.alertId === alertId) return run.executionId;
  return null;
}

interface Wanted {
  readonly name: string;
  readonly target: RunbookTarget;
}

function isOf(run: Run, { name, target }: Wanted): boolean {
  return run.name === name && run.target.type === target.type && run.target.name === target.name;
}

/** The execution of the same runbook on the same target that has not ended; null when there is none. */
export function underWay(states: States, wanted: Wanted): string | null {
  for (const run of runs(states)) {
    if (!hasEnded(run) && isOf(run, wanted)) return run.executionId;
  }
  return null;
}

/**
 * Until when the runbook is not started again by itself for this target, and after which execution; null when it may be.
 * What has changed nothing needs no time to take effect, but a look that found nothing is not repeated at once either.
 */
export function coolingUntil(
  states: States,
  wanted: Wanted,
  now: number,
): { readonly executionId: string; readonly until: number } | null {
  let last: { executionId: string; until: number } | null = null;
  for (const run of runs(states)) {
    if (run.endedAt === null || !isOf(run, wanted)) continue;
    const cooldownMs = hasActed(run)
      ? run.cooldownMs
      : Math.min(run.cooldownMs, MAX_IDLE_COOLDOWN_MS);
    const until = run.endedAt + cooldownMs;
    // A wall clock that went back must not hold it up for longer than the cooldown.
    if (until <= now || run.endedAt > now) continue;
    if (last === null || until > last.until) last = { executionId: run.executionId, until };
  }
  return last;
}

/** Cooldown of an execution that has changed nothing. */
const MAX_IDLE_COOLDOWN_MS = 60_000;

/** What asks to begin; `tenant`: whose the target is, null: nobody's. */
export interface Arrival extends Wanted {
  readonly alertId: string | null;
  readonly tenant: string | null;
}

/**
 * Why one more may not begin, with the bound that it would go beyond; null: it may. Alerts share their half, so that no
 * tenant, and no runbook, keeps all the others from being repaired.
 */
export function fullFor(
  states: States,
  { name, target, alertId, tenant }: Arrival,
): { readonly why: string; readonly bound: number } | null {
  const open = [...runs(states)].filter((run) => !hasEnded(run));
  if (open.length >= MAX_OPEN_EXECUTIONS) {
    return { why: `${open.length} executions have not ended`, bound: MAX_OPEN_EXECUTIONS };
  }
  if (alertId === null || isWhole(target)) return null;
  const byAlerts = open.filter((run) => run.alertId !== null && !isWhole(run.target));
  const shares = [
    [byAlerts.length, MAX_OPEN_BY_ALERTS, "that alerts have started"],
    [
      byAlerts.filter((run) => run.name === name).length,
      MAX_OPEN_BY_ALERTS_OF_RUNBOOK,
      `of runbook ${name} that alerts have started`,
    ],
    [
      tenant === null ? 0 : byAlerts.filter((run) => run.tenant === tenant).length,
      MAX_OPEN_BY_ALERTS_OF_TENANT,
      `for tenant ${tenant} that alerts have started`,
    ],
  ] as const;
  const full = shares.find(([count, bound]) => count >= bound);
  if (full === undefined) return null;
  const [count, bound, which] = full;
  return { why: `${count} executions ${which} have not ended`, bound };
}

/** For the broker itself: there is one at a time of each runbook, whoever started it. */
function isWhole({ type }: RunbookTarget): boolean {
  return type === "broker" || type === "none";
}

/** Ids of those that ended, but for the newest that are kept. */
export function endedBeyond(states: States, kept: number): string[] {
  return [...runs(states)].filter(hasEnded)
    .sort((a, b) => b.startedAt - a.startedAt)
    .slice(kept)
    .map(({ executionId }) => executionId);
}

/** Those that `filter` lets through, newest first. */
export function wantedRuns(states: States, filter: ExecutionFilter): Run[] {
  const { name, state, target, alertId } = filter;
  return [...runs(states)].filter((run) =>
    (name === undefined || run.name === name) &&
    (state === undefined || run.state === state) &&
    (alertId === undefined || run.alertId === alertId) &&
    (target === undefined || run.target.name === target ||
      `${run.target.type}:${run.target.name}` === target)
  ).sort((a, b) => b.startedAt - a.startedAt || (a.executionId < b.executionId ? -1 : 1));
}
