// Owns what is asked of all jobs together: how many are open, what they have redriven.
// Refuses to own their states, and which of those that ended are kept (kept_jobs.ts). Invariant: pure, and keeps no reference to the states that it is given.
import { union } from "./runs.ts";
import { isFinished, type JobState } from "./state.ts";
import type { JobSource, OffsetRun } from "./types.ts";

type States = ReadonlyMap<string, JobState>;
export type SourcePartition = Pick<JobSource, "topicId" | "partition">;

/** Jobs that have not ended. */
export function countOpen(states: States): number {
  let open = 0;
  for (const { job } of states.values()) if (job !== null && !isFinished(job.phase)) open++;
  return open;
}

/** What jobs other than `except` have redriven of a partition, or may have: what is planned counts. */
export function redrivenIn(
  states: States,
  at: SourcePartition,
  except: string | null,
): readonly OffsetRun[] {
  let runs: readonly OffsetRun[] = [];
  for (const { jobId, job } of states.values()) {
    if (job === null || jobId === except || job.spec.kind !== "redrive") continue;
    for (const [index, { topicId, partition }] of job.spec.sources.entries()) {
      if (topicId !== at.topicId || partition !== at.partition) continue;
      runs = union(runs, job.redriven[index]!);
      if (job.plan?.source !== index) continue;
      for (const send of job.plan.sends) runs = union(runs, send.runs);
    }
  }
  return runs;
}
