// Owns which jobs that ended are kept, and how many of one owner may be.
// Refuses to own their states, and forgetting them (job_set.ts).
// Invariant: pure. Who makes many jobs makes the broker forget its own, never those of others; and none is forgotten while
// its Idempotency-Key counts, unless the owners of most have more than fits at all. Dry runs have done nothing, and make
// no room for themselves among those that have.
import type { Owner } from "../ownership.ts";
import { isFinished, type Job, type JobState, needsRunner } from "./state.ts";

type States = ReadonlyMap<string, JobState>;

export interface KeptJobs {
  /** Jobs that ended, but for those that have redriven something, and dry runs. */
  readonly finished: number;
  /** Jobs that have: with them goes the knowledge of what they had redriven. */
  readonly redrives: number;
  readonly dryRuns: number;
  /** A job that ended less than this ago is kept beyond these bounds: its Idempotency-Key counts. */
  readonly windowMs: number;
  /** Beyond this many of each of the first two kinds also such go. */
  readonly most: number;
}

interface Ended {
  readonly jobId: string;
  readonly job: Job;
}

/** Ids of the jobs that ended and are not to be `kept`; first those of the owner that has most, the oldest first. */
export function finishedBeyond(states: States, kept: KeptJobs, now: number): string[] {
  const ended: Ended[] = [];
  for (const state of states.values()) {
    const { jobId, job } = state;
    if (job !== null && isFinished(job.phase) && !needsRunner(state)) ended.push({ jobId, job });
  }
  ended.sort((a, b) => a.job.createdAt - b.job.createdAt);
  const { dryRun = [], idle = [], redrove = [] } = Object.groupBy(ended, ({ job }) => kindOf(job));
  const { finished, redrives, dryRuns, most } = kept;
  const mayGo = ({ job }: Ended) => !isRecent(job, kept.windowMs, now);
  const always = () => true;
  const gone = [
    ...beyond(dryRun, { bound: dryRuns, mayGo: always }),
    ...[[idle, finished] as const, [redrove, redrives] as const].flatMap(([jobs, bound]) => {
      const old = new Set(beyond(jobs, { bound, mayGo }));
      const left = jobs.filter((each) => !old.has(each));
      return [...old, ...beyond(left, { bound: Math.max(bound, most), mayGo: always })];
    }),
  ];
  return gone.map(({ jobId }) => jobId);
}

/** How many jobs of `owner` (null: nobody) count against its bound, dry runs left out. */
export function countKept(
  states: States,
  owner: Owner | null,
  { windowMs, now }: { readonly windowMs: number; readonly now: number },
): number {
  const name = nameOf(owner);
  let count = 0;
  for (const { job } of states.values()) {
    if (job === null || job.dryRun || nameOf(job.owner) !== name) continue;
    if (!isFinished(job.phase) || isRecent(job, windowMs, now)) count++;
  }
  return count;
}

function kindOf(job: Job): "dryRun" | "idle" | "redrove" {
  if (job.dryRun) return "dryRun";
  return job.redriven.some((runs) => runs.length > 0) ? "redrove" : "idle";
}

function isRecent(job: Job, windowMs: number, now: number): boolean {
  return (job.finishedAt ?? job.createdAt) + windowMs > now;
}

/** Of `jobs`, oldest first, as many as are beyond `bound`, as far as they `mayGo` and are of one that has more than its share. */
function beyond(
  jobs: readonly Ended[],
  { bound, mayGo }: { readonly bound: number; readonly mayGo: (each: Ended) => boolean },
): Ended[] {
  const excess = jobs.length - bound;
  if (excess <= 0) return [];
  const owners = [...Map.groupBy(jobs, ({ job }) => nameOf(job.owner)).values()].map((all) => ({
    size: all.length,
    able: all.filter(mayGo),
    next: 0,
  }));
  const share = bound / owners.length;
  const gone: Ended[] = [];
  while (gone.length < excess) {
    const able = owners.filter(({ able, next, size }) => next < able.length && size > share);
    if (able.length === 0) break;
    const most = able.reduce((most, each) => each.size > most.size ? each : most);
    gone.push(most.able[most.next++]!);
    most.size--;
  }
  return gone;
}

/** Tenants have no spaces in their names; nobody's is none of them. */
function nameOf(owner: Owner | null | undefined): string {
  return owner ? `${owner.tenant} ${owner.principal}` : "";
}
