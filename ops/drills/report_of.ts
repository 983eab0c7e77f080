// Owns putting together what is known of a drill that is over.
// Refuses to own how that looks (report.ts) and when it has passed (verdict.ts).
// Invariant: a report holds nothing that was not measured or observed; it passed only where nothing is held against it.
import { VERSION } from "../version.ts";
import type { Timeline } from "./timeline.ts";
import type { AlertSeen, DrillReport, DrillStory, ExecutionSeen, Findings } from "./types.ts";

export interface Outcome {
  readonly findings: Findings;
  /** Why it failed; empty when it passed. */
  readonly failures: readonly string[];
  readonly repairs: boolean;
  readonly command: string;
  /** RFC 3339. */
  readonly startedAt: string;
  readonly timeline: Timeline;
  readonly alerts: readonly AlertSeen[];
  readonly executions: readonly ExecutionSeen[];
}

export function reportOf(drill: DrillStory, outcome: Outcome): DrillReport {
  const { name, title, injects, repair, control, targets } = drill;
  const { findings, failures, repairs, command, startedAt, timeline, alerts, executions } = outcome;
  const { messages, rtoMs, rpo, checks, measured } = findings;
  return {
    drill: name,
    command,
    ...{ title, injects, repair, control, repairs: repairs ? "on" : "off", startedAt },
    durationMs: Math.round(timeline.elapsedMs),
    passed: failures.length === 0,
    failures,
    messages,
    recovery: {
      rtoMs,
      rtoTargetMs: targets.rtoMs,
      rpoMs: rpo.ms,
      rpoMessages: rpo.messages,
      rpoTargetMs: targets.rpoMs,
    },
    checks,
    measured,
    alerts,
    executions,
    timeline: timeline.entries(),
    machine: {
      cores: navigator.hardwareConcurrency,
      os: `${Deno.build.os} ${Deno.osRelease()}`,
      deno: Deno.version.deno,
      version: VERSION,
    },
  };
}
