// Owns one run of a drill, from an empty directory to its report.
// Refuses to own what the drill does (scenarios/) and how reports look (report.ts).
// Invariant: it always comes to a report, also of a drill that ended early; no process and no file outlives it.
import { reportOf } from "./report_of.ts";
import { Scene } from "./scene.ts";
import type { Drill, DrillReport, TimelineEntry } from "./types.ts";
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
  return reportOf(drill, {
    findings,
    failures: early === null ? failuresOf(findings, drill.targets) : [early],
    repairs,
    command: `deno task drill ${drill.name}${repairs ? "" : " --repairs off"}`,
    startedAt,
    timeline: scene.timeline,
    alerts: scene.watch.alerts,
    executions: scene.watch.executions,
  });
}
