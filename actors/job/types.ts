// Owns the vocabulary of replay and redrive jobs: what is asked for, how a job is told, the port that edges use.
// Refuses to own any decision (decide.ts) or IO (runner.ts).
// Invariant: all of it is plain data, so that whoever asks may be elsewhere.
import type { TopicPartition } from "../broker.ts";
import type { Owner } from "../ownership.ts";

/** A place in a partition as an operator names it. */
export type Place =
  | { readonly kind: "offset"; readonly offset: number }
  | { readonly kind: "earliest" }
  | { readonly kind: "latest" }
  /** First message with a timestamp of at least `timestampMs`. */
  | { readonly kind: "time"; readonly timestampMs: number };

/** Offsets `[from, to)`. */
export interface OffsetRun {
  readonly from: number;
  readonly to: number;
}

/** What both kinds of jobs are asked for with. */
interface JobRequestBase {
  /** Made by the edge: the same for a repeat of the same request. */
  readonly jobId: string;
  /** Tells requests apart that share a jobId. */
  readonly fingerprint: string;
  readonly principal: string;
  /** In whose rights it is done; left out: in those of an administrator. */
  readonly owner?: Owner;
  readonly reason: string | null;
  readonly dryRun: boolean;
}

/** Null target: the same topic and partition. */
export interface ReplayRequest extends JobRequestBase {
  readonly kind: "replay";
  readonly topic: string;
  readonly partition: number;
  readonly from: Place;
  readonly to: Place;
  readonly target: { readonly topic: string } | { readonly group: string } | null;
  readonly ratePerSecond: number | null;
}

/** Which dead letters; every field given must match. */
export interface LetterFilter {
  readonly code?: string;
  /** Text that the reason contains. */
  readonly reason?: string;
  /** Group in which the message failed. */
  readonly group?: string;
  /** Partition and offset of the message that failed. */
  readonly partition?: number;
  readonly offset?: number;
}

export interface RedriveRequest extends JobRequestBase {
  readonly kind: "redrive";
  /** The dead letter topic, or the topic whose messages its letters were. */
  readonly topic: string;
  /** One partition of the dead letter topic; null: all. */
  readonly partition: number | null;
  /** Letters of this group only, and to it alone. */
  readonly group: string | null;
  readonly from: Place;
  readonly to: Place;
  readonly filter: LetterFilter;
  /** Letters that a job has redriven before are redriven again. */
  readonly includeRedriven: boolean;
  readonly ratePerSecond: number | null;
}

export type JobRequest = ReplayRequest | RedriveRequest;

export type JobPhase = "pending" | "running" | "paused" | "completed" | "failed" | "cancelled";

/** One range that a job reads. */
export interface JobSource extends TopicPartition, OffsetRun {
  readonly topicId: string;
}

/** Where a job sends what it reads. `origin`: to where each dead letter came from. */
export type JobTarget =
  | { readonly kind: "topic"; readonly topic: string; readonly topicId: string }
  | { readonly kind: "group"; readonly group: string }
  | { readonly kind: "origin" };

/** One line of a job's history. */
export interface JobStep {
  /** Wall time, ms. */
  readonly at: number;
  readonly action:
    | "created"
    | "started"
    | "paused"
    | "resumed"
    | "cancelled"
    | "completed"
    | "failed";
  /** Null: the broker itself. */
  readonly principal: string | null;
  readonly reason: string | null;
}

export interface JobError {
  readonly code: string;
  readonly detail: string;
}

/** A job as it is shown. Times are wall times in ms. */
export interface JobView {
  readonly jobId: string;
  readonly kind: "replay" | "redrive";
  readonly state: JobPhase;
  readonly dryRun: boolean;
  readonly principal: string;
  readonly reason: string | null;
  /** `next` is where reading goes on. */
  readonly sources: readonly (JobSource & { readonly next: number })[];
  readonly target: JobTarget;
  readonly filter: LetterFilter | null;
  readonly ratePerSecond: number | null;
  /** Messages to send; an upper bound when not `totalExact`. A dry run leaves out those of open transactions. */
  readonly total: number;
  readonly totalExact: boolean;
  /** Messages sent. */
  readonly done: number;
  /** Letters that could not be sent: what they came from is gone or unknown. */
  readonly skipped: number;
  /** Letters left out because a job has redriven them before. */
  readonly alreadyRedriven: number;
  /** Messages a second while it ran. */
  readonly rate: number;
  /** Why it failed, or what a running one waits for. */
  readonly error: JobError | null;
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly finishedAt: number | null;
  /** Oldest first; the oldest beyond a bound are only in the journal. */
  readonly steps: readonly JobStep[];
}

/** Who changes a job, and why. */
export interface JobOrder {
  readonly jobId: string;
  readonly principal: string;
  /** Of a resume: in whose rights it goes on; null: in those of an administrator. Left out: as before. */
  readonly owner?: Owner | null;
  readonly reason: string | null;
}

/** A job that is done in the rights of somebody who may lose them. */
export interface OwnedJob {
  readonly job: JobView;
  readonly owner: Owner;
}

/**
 * Replay and redrive jobs. Errors of all: NOT_FOUND (no such job), ACTOR_DOWN, OVERLOADED, DISK_FULL, STORAGE_FAILED,
 * SHUTTING_DOWN, and those named.
 */
export interface Jobs {
  /**
   * Creates the job, or answers the one that this request has created before (`repeated`). A dry run is a job that is
   * completed at once, with the counts. INVALID_REQUEST, UNKNOWN_TOPIC, UNKNOWN_PARTITION, UNKNOWN_GROUP,
   * OFFSET_OUT_OF_RANGE, IDEMPOTENCY_KEY_REUSED; LIMIT_REACHED when its owner has too many jobs that must be known.
   */
  submit(request: JobRequest): Promise<{ readonly job: JobView; readonly repeated: boolean }>;
  /** Newest first. */
  list(): Promise<readonly JobView[]>;
  get(jobId: string): Promise<JobView>;
  /** Those that are pending or running, and not in the rights of an administrator. */
  owned(): Promise<readonly OwnedJob[]>;
  /** INVALID_JOB_STATE when it has ended; pausing a paused one is no error, and so on. */
  pause(order: JobOrder): Promise<JobView>;
  /** A job that failed may be resumed too: it goes on where it stopped. */
  resume(order: JobOrder): Promise<JobView>;
  cancel(order: JobOrder): Promise<JobView>;
  /** Offsets of a dead letter topic's partition that jobs have redriven, in order. */
  redriven(at: TopicPartition): Promise<readonly OffsetRun[]>;
}
