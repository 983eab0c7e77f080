// Owns the state of one job: its shape, its start, its form in a snapshot, how it is shown.
// Refuses to own how it changes (evolve.ts).
// Invariant: plain JSON, never changed in place; `plan` is what may be half done, everything else is done or not begun.
import type { Owner } from "../ownership.ts";
import type { ChunkPlan, JobIdentity, JobSpec } from "./events.ts";
import type { JobError, JobPhase, JobStep, JobView, OffsetRun } from "./types.ts";

export interface Job {
  readonly fingerprint: string;
  readonly principal: string;
  /** In whose rights it is done; null or, in older snapshots, absent: in those of an administrator. */
  readonly owner?: Owner | null;
  readonly reason: string | null;
  readonly dryRun: boolean;
  readonly spec: JobSpec;
  readonly phase: JobPhase;
  readonly total: number;
  readonly totalExact: boolean;
  readonly producer: JobIdentity | null;
  /** Next sequence under `producer` by `<topicId>/<partition>`; of redeliveries under `group`. */
  readonly sequences: Readonly<Record<string, number>>;
  /** Index of the source that is read, and where in it. */
  readonly source: number;
  readonly next: number;
  /** Chunks completed: the number of the next one. */
  readonly chunk: number;
  readonly plan: ChunkPlan | null;
  readonly done: number;
  readonly skipped: number;
  readonly alreadyRedriven: number;
  /** By source, what of it was redriven; empty for a replay. */
  readonly redriven: readonly (readonly OffsetRun[])[];
  readonly activeMs: number;
  readonly error: JobError | null;
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly finishedAt: number | null;
  readonly steps: readonly JobStep[];
}

export interface JobState {
  readonly jobId: string;
  readonly job: Job | null;
}

/** A job of which nothing is known. */
export function initialJob(jobId: string): JobState {
  return { jobId, job: null };
}

/** Ended for good. */
export function isFinished(phase: JobPhase): boolean {
  return phase === "completed" || phase === "cancelled";
}

/** Nothing is left to plan. */
export function isAtEnd({ spec: { sources }, source, next }: Job): boolean {
  return source >= sources.length || (source === sources.length - 1 && next >= sources[source]!.to);
}

/**
 * Whether somebody must work on it. A chunk that is planned is finished also when the job was paused or cancelled
 * meanwhile: after a crash nobody knows how much of it was done.
 */
export function needsRunner({ job }: JobState): boolean {
  if (job === null) return false;
  if (job.phase === "pending" || job.phase === "running") return true;
  return job.plan !== null && job.phase !== "failed";
}

/** The job as it is shown; `waitingFor` is what a running one waits for. */
export function viewOf(jobId: string, job: Job, waitingFor: JobError | null): JobView {
  const { spec, phase } = job;
  return {
    jobId,
    kind: spec.kind,
    state: phase,
    dryRun: job.dryRun,
    principal: job.principal,
    reason: job.reason,
    sources: spec.sources.map((source, index) => ({ ...source, next: nextIn(job, index) })),
    target: spec.target,
    filter: spec.filter,
    ratePerSecond: spec.ratePerSecond,
    total: job.total,
    totalExact: job.totalExact,
    done: job.done,
    skipped: job.skipped,
    alreadyRedriven: job.alreadyRedriven,
    rate: rateOf(job),
    error: job.error ?? (phase === "running" || phase === "pending" ? waitingFor : null),
    createdAt: job.createdAt,
    startedAt: job.startedAt,
    finishedAt: job.finishedAt,
    steps: job.steps,
  };
}

/** Of what took less, a rate would say how long one chunk took. */
const MIN_RATED_MS = 1_000;

function rateOf({ done, activeMs }: Job): number {
  return Math.round(done * 10_000 / Math.max(activeMs, MIN_RATED_MS)) / 10;
}

function nextIn(job: Job, index: number): number {
  const { from, to } = job.spec.sources[index]!;
  if (index === job.source) return job.next;
  return index < job.source ? to : from;
}

/** Raised when the meaning of an encoded state changes; other snapshots are then as good as none. */
export const JOB_STATE_VERSION = 1;

/** Reads a state from a snapshot. Throws a plain Error for anything that is no state at all. */
export function decodeJobState(stored: unknown): JobState {
  const state = stored as JobState | null;
  if (typeof state !== "object" || state === null || typeof state.jobId !== "string") {
    throw new Error("a stored job state is none");
  }
  return state;
}
