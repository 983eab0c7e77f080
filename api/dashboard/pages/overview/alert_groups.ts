// Owns gathering alerts that belong together: one entry for a group that lags on ten partitions.
// Refuses to own which belong together (the broker's group key says). Invariant: pure; the order of the first of each stays.
import type { Alert } from "../../../../actors/threshold/types.ts";

export interface AlertGroup {
  readonly key: string;
  readonly state: Alert["state"];
  /** One at least; worst value first. */
  readonly alerts: readonly Alert[];
}

/** Why runbooks that alerts ask for have not started, each once; one that an alert among them has started is at work. */
export function startProblems(
  alerts: readonly Pick<Alert, "runbook" | "executionId" | "runbookProblem">[],
): string[] {
  const started = new Set(
    alerts.filter(({ executionId }) => executionId !== null).map(({ runbook }) => runbook),
  );
  const problems = alerts.flatMap(({ runbook, runbookProblem }) =>
    runbook === null || runbookProblem === null || started.has(runbook)
      ? []
      : [`runbook ${runbook} has not started: ${runbookProblem}`]
  );
  return [...new Set(problems)];
}

/** Alerts of the same group key and state together. */
export function alertGroups(alerts: readonly Alert[]): AlertGroup[] {
  const groups = Map.groupBy(alerts, ({ groupKey, state }) => `${state} ${groupKey}`);
  return [...groups.values()].map((members) => ({
    key: members[0]!.groupKey,
    state: members[0]!.state,
    alerts: members.toSorted((a, b) => b.value - a.value),
  }));
}
