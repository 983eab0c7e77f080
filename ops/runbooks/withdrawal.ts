// Owns ending executions that wait for approval of what is no longer needed: their alert has resolved.
// Refuses to own what has begun to change something: that goes on, or is taken back by somebody.
// Invariant: as long as an alert that names the execution is not resolved, it goes on waiting.
import type { Execution, Runbooks } from "../../actors/runbook/types.ts";
import type { Alerts } from "../../actors/threshold/types.ts";

const WHY = "the alert resolved before anybody approved";

interface Withdrawal {
  readonly alerts: Pick<Alerts, "list" | "onChanged">;
  readonly runbooks: Pick<Runbooks, "executions" | "onChanged" | "withdraw">;
  report(event: { level: "warning"; message: string; error: unknown }): void;
}

/** From now on what waits for approval ends when its alert does. Resolves when what waits already is known. */
export async function withdrawWhenResolved(
  { alerts, runbooks, report }: Withdrawal,
): Promise<void> {
  /** Alert of each execution that waits. Bounded by the executions that alerts may have open. */
  const waiting = new Map<string, string>();
  const withdraw = (executionId: string) => {
    // Told once: where it fails, it still ends by itself, as what nobody approves does.
    waiting.delete(executionId);
    runbooks.withdraw(executionId, WHY).catch((error) => {
      const message = `execution ${executionId} of a runbook could not be withdrawn`;
      report({ level: "warning", message, error });
    });
  };
  const look = () => {
    if (waiting.size === 0) return;
    const known = alerts.list();
    const needed = new Set(
      known.filter(({ state }) => state !== "resolved").map(({ executionId }) => executionId),
    );
    const resolved = new Set(
      known.filter(({ state }) => state === "resolved").map(({ alertId }) => alertId),
    );
    for (const [executionId, alertId] of waiting) {
      if (resolved.has(alertId) && !needed.has(executionId)) withdraw(executionId);
    }
  };
  const follow = ({ executionId, alertId, state }: Execution) => {
    if (alertId !== null && state === "waiting") waiting.set(executionId, alertId);
    else waiting.delete(executionId);
  };
  alerts.onChanged(look);
  runbooks.onChanged((execution) => {
    follow(execution);
    if (execution.state === "waiting") look();
  });
  for (const execution of await runbooks.executions({ state: "waiting" })) follow(execution);
  look();
}
