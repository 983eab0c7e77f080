// Owns what is asked of all jobs together: how many are open, which may be forgotten, what they have redriven.
// Refuses to own their states. Invariant: pure, and keeps no reference to the states that it is given.
import { union } from "./runs.ts";
import { isFinished, type JobState, needsRunner } from "./state.ts";
import type { JobSource, OffsetRun } from "./types.ts";

type States = ReadonlyMap<string, JobState>;
export type SourcePartition = Pick<JobSource, "topicId" | "partition">;

/** Jobs that have not ended. */
export function countOpen(states: States): number {
  let open = 0;
  for (const { job } of states.values()) if (job !== null && !isFinished(job.phase)) open++;
  return open;
}

export interface KeptJobs {
  /** Jobs that ended, but for those that have redriven something. */
  readonly finished: number;
  /** Jobs that have: with them goes the knowledge of what they had redriven. */
  readonly redrives: number;
}

/** Ids of the jobs that ended, but for the newest that are `kept`. */
export function finishedBeyond(states: States, kept: KeptJobs): string[] {
  const finished = [...states.values()]
    .filter((state) => state.job !== null && isFinished(state.job.phase) && !needsRunner(state))
    .sort((a, b) => b.job!.createdAt - a.job!.createdAt);
  const hasRedriven = ({ job }: JobState) => job!.redriven.some((runs) => runs.length > 0);
  return [
    ...finished.filter((state) => !hasRedriven(state)).slice(kept.finished),
    ...finished.filter(hasRedriven).slice(kept.redrives),
  ].map(({ jobId }) => jobId);
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
