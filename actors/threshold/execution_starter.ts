// Owns starting a runbook for each alert that fires and names one.
// Refuses to own runbooks, and what becomes of an execution.
// Invariant: one start at a time for one alert; what may succeed later is tried again while the alert fires, nothing else.
import { asBrokerError } from "../../storage/broker_error.ts";
import type { Alert, AlertRunbooks } from "./types.ts";

/** Pause before a start that may succeed later is tried again. */
const RETRY_MS = 30_000;

export interface ExecutionStarterOptions {
  readonly started: (alertId: string, executionId: string) => void;
  /** False: that was known already. */
  readonly refused: (alertId: string, problem: string) => boolean;
  report(event: { level: "warning"; message: string; error?: unknown }): void;
}

export class ExecutionStarter {
  #runbooks: AlertRunbooks | null = null;
  /** By alert: when it may be tried next, monotonic ms; Infinity: not again, or under way. */
  readonly #notBefore = new Map<string, number>();

  constructor(private readonly options: ExecutionStarterOptions) {}

  use(runbooks: AlertRunbooks): void {
    this.#runbooks = runbooks;
    this.#notBefore.clear();
  }

  /** Starts what is missing; `firing` are all alerts that fire. */
  startMissing(firing: readonly Alert[], monotonic: number): void {
    const runbooks = this.#runbooks;
    if (runbooks === null) return;
    const alertIds = new Set(firing.map(({ alertId }) => alertId));
    for (const alertId of this.#notBefore.keys()) {
      if (!alertIds.has(alertId)) this.#notBefore.delete(alertId);
    }
    for (const alert of firing) {
      if (alert.runbook === null || alert.executionId !== null) continue;
      if ((this.#notBefore.get(alert.alertId) ?? -Infinity) > monotonic) continue;
      this.#notBefore.set(alert.alertId, Infinity);
      void this.#start(runbooks, { ...alert, runbook: alert.runbook }, monotonic);
    }
  }

  async #start(
    runbooks: AlertRunbooks,
    alert: Alert & { readonly runbook: string },
    monotonic: number,
  ): Promise<void> {
    const { alertId, name, resource: target, runbook, mode } = alert;
    const reason = `alert ${name} on ${target.type} ${target.name}`;
    try {
      const { executionId } = await runbooks.start({ runbook, target, mode, alertId, reason });
      this.options.started(alertId, executionId);
    } catch (error) {
      const { retryable: isRetryable, message: problem } = asBrokerError(error);
      if (isRetryable && this.#notBefore.has(alertId)) {
        this.#notBefore.set(alertId, monotonic + RETRY_MS);
      }
      if (!this.options.refused(alertId, problem)) return;
      const message = `runbook ${runbook} could not be started for alert ${alertId} (${name})`;
      this.options.report({ level: "warning", message, error });
    }
  }
}
