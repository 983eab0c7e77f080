// Owns one run of a cluster drill, from nothing to its report.
// Refuses to own what the drill does (scenarios/) and how reports look (../report.ts).
// Invariant: it always comes to a report, also of a drill that ended early; no process, namespace or file outlives it.
import { Acting } from "../acting.ts";
import { reportOf } from "../report_of.ts";
import type { DrillReport, Findings, TimelineEntry } from "../types.ts";
import { failuresOf, NOTHING_FOUND } from "../verdict.ts";
import { ClusterScene } from "./cluster_scene.ts";
import type { ClusterDrill, ClusterRunOptions } from "./types.ts";

/** Longest that one drill may take, and what each kill adds; beyond it it has failed. */
const DRILL_LIMIT_MS = 240_000;
const KILL_LIMIT_MS = 45_000;

export interface ClusterDrillOptions extends ClusterRunOptions {
  readonly signal: AbortSignal;
  readonly onEntry?: (entry: TimelineEntry) => void;
}

/** Runs `drill`. Rejects only with the signal's reason, when that is aborted. */
export async function runClusterDrill(
  drill: ClusterDrill,
  options: ClusterDrillOptions,
): Promise<DrillReport> {
  const { signal, onEntry = () => {} } = options;
  const startedAt = new Date().toISOString();
  const limit = AbortSignal.timeout(DRILL_LIMIT_MS + options.kills * KILL_LIMIT_MS);
  const timeline = Acting.timeline(onEntry);
  const scene = new ClusterScene(
    { ...options, onEntry, signal: AbortSignal.any([signal, limit]) },
    timeline,
  );
  let findings = NOTHING_FOUND;
  let early: string | null = null;
  try {
    findings = await drill.run(scene);
  } catch (error) {
    early = `it ended early: ${(error as Error).message}`;
    for (const words of scene.lastWords()) scene.tell("step", words);
  } finally {
    await scene.close();
  }
  signal.throwIfAborted();
  const failures = early === null ? clusterFailuresOf(drill, findings) : [early];
  const isEarlyAck = options.acks === "leader";
  return reportOf({ ...drill, name: drill.name + (isEarlyAck ? ".acks-leader" : "") }, {
    findings,
    failures,
    repairs: true,
    command: commandOf(drill, options),
    startedAt,
    timeline,
    alerts: [],
    executions: [],
  });
}

/** Why it failed. A control has failed when nothing was lost, or nobody noticed. */
export function clusterFailuresOf(
  { isControl = false, targets }: Pick<ClusterDrill, "isControl" | "targets">,
  findings: Findings,
): string[] {
  if (!isControl) return failuresOf(findings, targets);
  const { acknowledged, lost } = findings.messages;
  const failures: string[] = [];
  if (acknowledged === 0) failures.push("nothing was acknowledged: it shows nothing");
  if (!(lost > 0)) failures.push("the checker tells of no loss, where there has to be one");
  return failures;
}

function commandOf({ name }: ClusterDrill, { acks, kills, perSecond }: ClusterRunOptions): string {
  const early = acks === "leader" ? " --acks leader" : "";
  const times = name === "broker-killed" ? ` --kills ${kills}` : "";
  return `deno task drill cluster ${name}${times}${early} --rate ${perSecond}`;
}
