// Owns what can happen to a job: the journalled events, which are also its audit.
// Refuses to own what they do to a job (evolve.ts) and when they happen (decide.ts).
// Invariant: a journalled event never changes its meaning; a new meaning is a new version with an upcast from the old.
import { type EventVersions, upcast } from "../group/events.ts";
import type { Owner } from "../ownership.ts";
import type { JobError, JobSource, JobTarget, LetterFilter, OffsetRun } from "./types.ts";

/** `at` is wall time in ms, for the record. */
interface Journalled {
  readonly v: 1;
  readonly at: number;
}

/** What a job is to do, resolved to topics and offsets when it was created. */
export interface JobSpec {
  readonly kind: "replay" | "redrive";
  readonly sources: readonly JobSource[];
  readonly target: JobTarget;
  /** Null: every message. */
  readonly filter: LetterFilter | null;
  readonly includeRedriven: boolean;
  readonly ratePerSecond: number | null;
}

/** What a job was found to be about before it began. */
export interface JobCount {
  readonly total: number;
  readonly totalExact: boolean;
  readonly skipped: number;
  readonly alreadyRedriven: number;
}

export interface JobIdentity {
  readonly producerId: number;
  readonly producerEpoch: number;
}

/**
 * One append to one partition, or one redelivery to a group. The record at `runs` of the source get the sequences from
 * `baseSequence` on; a redelivery has the number `baseSequence` among the job's.
 */
export interface ChunkSend {
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  readonly baseSequence: number;
  /** Offsets in the source. */
  readonly runs: readonly OffsetRun[];
  /** A redelivery of dead letters: the offsets of the messages they came from. Else those of `runs` are meant. */
  readonly offsets?: readonly number[];
}

/** What a job does next, decided before it is done: after a crash exactly this is done again. */
export interface ChunkPlan {
  /** Counts from 0. */
  readonly chunk: number;
  readonly source: number;
  /** Where reading goes on in that source afterwards. */
  readonly next: number;
  readonly sends: readonly ChunkSend[];
  readonly skipped: number;
  readonly alreadyRedriven: number;
}

export interface JobCreated extends Journalled {
  readonly type: "JobCreated";
  readonly fingerprint: string;
  readonly principal: string;
  /** In whose rights it is done; absent: in those of an administrator, or of an old journal. */
  readonly owner?: Owner;
  readonly reason: string | null;
  readonly dryRun: boolean;
  readonly spec: JobSpec;
  readonly count: JobCount;
}

/** It runs, from now on under this producer identity, with sequences from 0. */
export interface JobStarted extends Journalled {
  readonly type: "JobStarted";
  readonly producer: JobIdentity;
}

export interface ChunkPlanned extends Journalled {
  readonly type: "ChunkPlanned";
  readonly plan: ChunkPlan;
}

/** From now on it goes under this identity, with sequences from 0: `unsent` of the plan too, the rest of which is done. */
export interface JobReidentified extends Journalled {
  readonly type: "JobReidentified";
  readonly chunk: number;
  readonly unsent: readonly number[];
  readonly producer: JobIdentity;
}

/** All of the plan is where it belongs, but for `undeliverable`: indexes of sends whose target was gone. */
export interface ChunkCompleted extends Journalled {
  readonly type: "ChunkCompleted";
  readonly chunk: number;
  readonly undeliverable: readonly number[];
  readonly elapsedMs: number;
}

export interface JobPaused extends Journalled {
  readonly type: "JobPaused";
  readonly principal: string;
  readonly reason: string | null;
}

export interface JobResumed extends Journalled {
  readonly type: "JobResumed";
  readonly principal: string;
  /** In whose rights it goes on; absent: as before. */
  readonly owner?: Owner | null;
  readonly reason: string | null;
}

export interface JobCancelled extends Journalled {
  readonly type: "JobCancelled";
  readonly principal: string;
  readonly reason: string | null;
}

export interface JobCompleted extends Journalled {
  readonly type: "JobCompleted";
}

export interface JobFailed extends Journalled {
  readonly type: "JobFailed";
  readonly error: JobError;
}

/** It ended long ago, and newer ones need the room. */
export interface JobForgotten extends Journalled {
  readonly type: "JobForgotten";
}

/** All that the events before this one amount to: a state as `decodeJobState` reads it. */
export interface JobStateRecorded extends Journalled {
  readonly type: "JobStateRecorded";
  readonly state: unknown;
}

/** Of no job: from `fromOffset` on, the journal holds all that is known. */
export interface JournalCompleted extends Journalled {
  readonly type: "JournalCompleted";
  readonly fromOffset: number;
}

export type JobEvent =
  | JobCreated
  | JobStarted
  | ChunkPlanned
  | JobReidentified
  | ChunkCompleted
  | JobPaused
  | JobResumed
  | JobCancelled
  | JobCompleted
  | JobFailed
  | JobForgotten
  | JobStateRecorded
  | JournalCompleted;

/** The versions written today. */
const CURRENT_VERSIONS: Readonly<Record<JobEvent["type"], number>> = Object.freeze({
  JobCreated: 1,
  JobStarted: 1,
  ChunkPlanned: 1,
  JobReidentified: 1,
  ChunkCompleted: 1,
  JobPaused: 1,
  JobResumed: 1,
  JobCancelled: 1,
  JobCompleted: 1,
  JobFailed: 1,
  JobForgotten: 1,
  JobStateRecorded: 1,
  JournalCompleted: 1,
});

const JOB_EVENT_VERSIONS: EventVersions = { current: CURRENT_VERSIONS, upcasters: new Map() };

/** The event that `stored` (parsed JSON of the journal) is, in the version of today. Throws a plain Error when it is none. */
export function upcastJobEvent(stored: unknown): JobEvent {
  return upcast(stored, JOB_EVENT_VERSIONS) as unknown as JobEvent;
}
