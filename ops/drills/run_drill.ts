// Owns one run of a drill, from an empty directory to its report.
// Refuses to own what the drill does (scenarios/) and how reports look (report.ts).
// Invariant: it always comes to a report, also of a drill that ended early; no process and no file outlives it.
import { VERSION } from "../version.ts";
import { Scene } from "./scene.ts";
import type { Drill, DrillReport, Findings, TimelineEntry } from "./types.ts";
import { failuresOf, NOTHING_FOUND } from "./verdict.ts";

/** Longest that one drill may take; beyond it it has failed. */
const DRILL_LIMIT_MS = 120_000;

export interface DrillOptions {
  readonly repairs: boolean;
  readonly signal: AbortSignal;
  readonly onEntry?: (entry: TimelineEntry) => void;
}

/** Runs `drill`. Rejects only with the signal's reason, when that is aborted. */
export async function runDrill(drill: Drill, options: DrillOptions): Promise<DrillReport> {
  const { repairs, signal, onEntry = () => {} } = options;
  const startedAt = new Date().toISOString();
  const limit = AbortSignal.timeout(DRILL_LIMIT_MS);
  const scene = await Scene.open({ repairs, onEntry, signal: AbortSignal.any([signal, limit]) });
  let findings = NOTHING_FOUND;
  let early: string | null = null;
  try {
    findings = await drill.run(scene);
  } catch (error) {
    early = `it ended early: ${(error as Error).message}`;
    const log = scene.stage.log().trim().split("\n").slice(-3).join(" / ");
    if (log !== "") scene.tell("step", `the broker said last: ${log}`);
  } finally {
    await scene.close();
  }
  signal.throwIfAborted();
  return reportOf(drill, { findings, early, repairs, startedAt, scene });
}

function reportOf(
  drill: Drill,
  { findings, early, repairs, startedAt, scene }: {
    findings: Findings;
    early: string | null;
    repairs: boolean;
    startedAt: string;
    scene: Scene;
  },
): DrillReport {
  const { name, title, injects, repair, control, targets } = drill;
  const { messages, rtoMs, rpo, checks, measured } = findings;
  const failures = early === null ? failuresOf(findings, targets) : [early];
  return {
    drill: name,
    ...{ title, injects, repair, control, repairs: repairs ? "on" : "off", startedAt },
    durationMs: Math.round(scene.timeline.elapsedMs),
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
    alerts: scene.watch.alerts,
    executions: scene.watch.executions,
    timeline: scene.timeline.entries(),
    machine: {
      cores: navigator.hardwareConcurrency,
      os: `${Deno.build.os} ${Deno.osRelease()}`,
      deno: Deno.version.deno,
      version: VERSION,
    },
  };
}
