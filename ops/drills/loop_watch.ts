// Owns following the broker's alerts and runbooks from outside, and telling each change once.
// Refuses to own waiting for one of them, and what they mean.
// Invariant: it sees what any operator sees through the API; while the broker is away it waits and goes on.
import type { Timeline } from "./timeline.ts";
import type { AlertSeen, ExecutionSeen } from "./types.ts";
import { pause } from "../demo/waiting.ts";

const LOOK_EVERY_MS = 150;
const ANSWER_WITHIN_MS = 5_000;
const PAGE_ENTRIES = 100;
const MAX_DETAIL_CHARS = 160;

// deno-lint-ignore no-explicit-any -- the broker's answers are described by its OpenAPI document
type Json = any;

export interface LoopWatchOptions {
  /** Where the broker is; null while there is none. */
  readonly url: () => string | null;
  /** Null: none is needed. */
  readonly token: () => string | null;
  readonly timeline: Timeline;
  readonly signal: AbortSignal;
}

export class LoopWatch {
  readonly #alerts = new Map<string, AlertSeen>();
  readonly #executions = new Map<string, ExecutionSeen>();
  readonly #facts = new Map<string, Readonly<Record<string, unknown>>>();
  /** What was told of each step and alert last. */
  readonly #told = new Map<string, string>();

  constructor(private readonly options: LoopWatchOptions) {}

  /** In the order in which they were seen first. */
  get alerts(): readonly AlertSeen[] {
    return [...this.#alerts.values()];
  }

  get executions(): readonly ExecutionSeen[] {
    return [...this.#executions.values()];
  }

  /** The alert of that threshold that has come as far as `state`; null when none has. */
  alert(name: string, state: "firing" | "resolved"): AlertSeen | null {
    const isFarEnough = ({ firedAt, resolvedAt }: AlertSeen) =>
      state === "firing" ? firedAt !== null : firedAt !== null && resolvedAt !== null;
    return this.alerts.findLast((alert) => alert.name === name && isFarEnough(alert)) ?? null;
  }

  /** The newest execution of a runbook; null when there is none. */
  execution(name: string): ExecutionSeen | null {
    return this.executions.findLast((execution) => execution.name === name) ?? null;
  }

  /** Whether the newest execution of a runbook has come to its end, whichever. */
  hasEnded(name: string): boolean {
    return (this.execution(name)?.endedAt ?? null) !== null;
  }

  /** What the steps of an execution have found. */
  factsOf({ executionId }: ExecutionSeen): Readonly<Record<string, unknown>> {
    return this.#facts.get(executionId) ?? {};
  }

  /** How far a step of the newest execution of a runbook is; null while there is none. */
  step(runbook: string, name: string): string | null {
    return this.execution(runbook)?.steps.find((step) => step.name === name)?.state ?? null;
  }

  /** Looks again and again until the signal. */
  async run(): Promise<void> {
    const { signal } = this.options;
    while (!signal.aborted) {
      await this.look();
      await pause(LOOK_EVERY_MS, signal).catch(() => undefined);
    }
  }

  /** Looks once. */
  async look(): Promise<void> {
    const alerts = await this.#get(`/api/alerts?limit=${PAGE_ENTRIES}`);
    if (alerts !== null) this.#sawAlerts(alerts.alerts);
    const executions = await this.#get(`/api/runbooks/executions?limit=${PAGE_ENTRIES}`);
    for (const each of (executions?.executions ?? []).toReversed()) this.#sawExecution(each);
  }

  #sawAlerts(alerts: readonly Json[]): void {
    for (const alert of alerts.toReversed()) this.#sawAlert(alert);
    const ids = new Set(alerts.map(({ alertId }) => alertId));
    for (const { alertId, state } of this.alerts) {
      // One that went before it fired is told of no more.
      if (state === "pending" && !ids.has(alertId)) this.#alerts.delete(alertId);
    }
  }

  #sawAlert(alert: Json): void {
    const { alertId, name, severity, state, limit, worst } = alert;
    const resource = `${alert.resource.type} ${alert.resource.name}`;
    const { since, firedAt, resolvedAt, executionId } = alert;
    this.#alerts.set(alertId, {
      ...{ alertId, name, severity, state, resource, limit, worst },
      ...{ since, firedAt, resolvedAt, executionId },
    });
    // One that was pending for less than a look is told of when it fires.
    const word = state === "pending" ? "is pending" : state === "firing" ? "fires" : "is resolved";
    const figures = state === "resolved" ? "" : `: ${round(worst)} above ${round(limit)}`;
    this.#tell(alertId, state, "alert", `${severity} ${name} of ${resource} ${word}${figures}`);
  }

  #sawExecution(execution: Json): void {
    const { executionId, name, mode, state, by, startedAt, endedAt, rtoMs, rpo, outcome } =
      execution;
    const target = `${execution.target.type} ${execution.target.name}`.trim();
    const steps = execution.steps.map((step: Json) => ({
      name: step.name,
      state: step.state,
      detail: step.error === undefined
        ? step.detail
        : `${step.detail ?? ""} ${step.error.code}: ${step.error.detail}`.trim(),
    }));
    this.#executions.set(executionId, {
      ...{ executionId, name, target, mode, state, by, startedAt, endedAt, rtoMs, rpo, outcome },
      steps,
    });
    this.#facts.set(executionId, execution.facts);
    const started = `${name} for ${target}, mode ${mode}, started by ${by}`;
    this.#tell(executionId, "started", "runbook", started);
    for (const step of steps) {
      if (step.state === "pending" || step.state === "running") continue;
      const detail = step.detail === null ? "" : `: ${step.detail.slice(0, MAX_DETAIL_CHARS)}`;
      const id = `${executionId}/${step.name}`;
      this.#tell(id, step.state, "runbook", `${name} › ${step.name} ${step.state}${detail}`);
    }
    if (endedAt !== null) {
      this.#tell(`${executionId}/end`, state, "runbook", `${name} ended: ${outcome ?? state}`);
    }
  }

  #tell(id: string, what: string, kind: "alert" | "runbook", text: string): void {
    if (this.#told.get(id) === what) return;
    this.#told.set(id, what);
    this.options.timeline.add(kind, text);
  }

  /** Null when there was no good answer. */
  async #get(path: string): Promise<Json | null> {
    const { signal } = this.options;
    const [url, token] = [this.options.url(), this.options.token()];
    if (url === null) return null;
    try {
      const response = await fetch(url + path, {
        headers: token === null ? {} : { authorization: `Bearer ${token}` },
        signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_WITHIN_MS)]),
      });
      if (response.ok) return await response.json();
      await response.body?.cancel();
    } catch {
      // The broker is away: the next look will tell.
    }
    return null;
  }
}

function round(value: number): string {
  return Number(value.toPrecision(4)).toLocaleString("en-US", { maximumFractionDigits: 4 });
}
