// Owns what may be done to a job: its life, and that its chunks follow each other one by one.
// Refuses to own reading and sending (runner.ts), time and the journal.
// Invariant: pure; a chunk is planned only when the one before is completed, and completed at most once.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Owner } from "../ownership.ts";
import type { At, Decision } from "../runtime/keyed_decider.ts";
import type {
  ChunkCompleted,
  ChunkPlan,
  JobCount,
  JobEvent,
  JobIdentity,
  JobSpec,
} from "./events.ts";
import { evolveJob } from "./evolve.ts";
import { isAtEnd, isFinished, type Job, type JobState, needsRunner } from "./state.ts";
import type { JobError } from "./types.ts";
import { unknownJob } from "./unknown_job.ts";

interface Order {
  readonly principal: string;
  readonly reason: string | null;
}

/**
 * Errors: NOT_FOUND of all but Create; Create, Repeat IDEMPOTENCY_KEY_REUSED; Pause, Resume, Cancel INVALID_JOB_STATE. The
 * reply is always the state that the command left behind.
 */
export type JobCommand =
  | (Order & {
    readonly type: "Create";
    readonly owner?: Owner;
    readonly fingerprint: string;
    readonly dryRun: boolean;
    readonly spec: JobSpec;
    readonly count: JobCount;
  })
  /** The request that made the job came again. */
  | { readonly type: "Repeat"; readonly fingerprint: string }
  /** The runner begins; ignored unless the job is pending. */
  | { readonly type: "Start"; readonly producer: JobIdentity }
  /** The runner has done a chunk, and says what it does next; a plan is ignored when the job may not go on. */
  | {
    readonly type: "Advance";
    readonly completed: Pick<ChunkCompleted, "chunk" | "undeliverable" | "elapsedMs"> | null;
    readonly plan: ChunkPlan | null;
  }
  /** A partition has forgotten the job's producer: what is `unsent` of the chunk goes under another one. */
  | {
    readonly type: "Reidentify";
    readonly chunk: number;
    readonly unsent: readonly number[];
    readonly producer: JobIdentity;
  }
  /** Nothing is left to plan. */
  | { readonly type: "Complete" }
  | { readonly type: "Fail"; readonly error: JobError }
  | (Order & { readonly type: "Pause" })
  | (Order & { readonly type: "Resume"; readonly owner?: Owner | null })
  | (Order & { readonly type: "Cancel" })
  | { readonly type: "Describe" }
  | { readonly type: "Forget" }
  /** Writes the whole state down, so that no event before it is needed any more. Made by the journal's retention. */
  | { readonly type: "RecordState" }
  /** Says that the journal holds all there is from `fromOffset` on. Sent to no job, by the journal's retention. */
  | { readonly type: "CompleteJournal"; readonly fromOffset: number }
  | { readonly type: "Recovered" };

/** What leaves a job's actor: word that somebody must work on it. */
export interface JobEffect {
  readonly type: "run";
  /** Id of the dead letter topic that no other job may redrive meanwhile; null for a replay. */
  readonly aloneOn: string | null;
}

export type JobDecision = Decision<JobEvent, never, JobEffect>;

/** What `command` leads to in `state`. Throws BrokerError to refuse it. */
export function decideJob(
  state: JobState,
  command: JobCommand,
  { at }: { readonly at: At },
): JobDecision {
  const now = { v: 1, at: at.wall } as const;
  if (command.type === "Recovered") {
    return { events: [], volatile: [], effects: effectsOf(state), reply: state };
  }
  if (command.type === "CompleteJournal") {
    return recorded(state, { ...now, type: "JournalCompleted", fromOffset: command.fromOffset });
  }
  if (command.type === "RecordState") {
    if (state.job === null) return nothing(state);
    return recorded(state, { ...now, type: "JobStateRecorded", state });
  }
  if (command.type === "Create") return create(state, command, now);
  const job = existing(state);
  switch (command.type) {
    case "Repeat":
      return repeat(state, job, command.fingerprint);
    case "Start":
      if (job.phase !== "pending" || job.plan !== null) return nothing(state);
      return decided(state, [{ ...now, type: "JobStarted", producer: command.producer }]);
    case "Advance":
      return decided(state, advance(job, command, now));
    case "Reidentify": {
      if (job.plan?.chunk !== command.chunk) return nothing(state);
      const { chunk, unsent, producer } = command;
      return decided(state, [{ ...now, type: "JobReidentified", chunk, unsent, producer }]);
    }
    case "Complete":
      if (job.phase !== "running" || job.plan !== null || !isAtEnd(job)) return nothing(state);
      return decided(state, [{ ...now, type: "JobCompleted" }]);
    case "Fail":
      if (job.phase === "failed" || isFinished(job.phase)) return nothing(state);
      return decided(state, [{ ...now, type: "JobFailed", error: command.error }]);
    case "Pause":
    case "Resume":
    case "Cancel":
      return order(state, job, { command, now });
    case "Describe":
      return nothing(state);
    case "Forget":
      if (!isFinished(job.phase) || job.plan !== null) return nothing(state);
      return decided(state, [{ ...now, type: "JobForgotten" }]);
  }
}

type Stamp = { readonly v: 1; readonly at: number };

function create(
  state: JobState,
  command: Extract<JobCommand, { type: "Create" }>,
  now: Stamp,
): JobDecision {
  const { fingerprint, principal, owner, reason, dryRun, spec, count } = command;
  const owned = owner === undefined ? {} : { owner };
  if (state.job !== null) return repeat(state, state.job, fingerprint);
  const events: JobEvent[] = [
    { ...now, type: "JobCreated", fingerprint, principal, ...owned, reason, dryRun, spec, count },
  ];
  if (dryRun) events.push({ ...now, type: "JobCompleted" });
  return decided(state, events);
}

function repeat(state: JobState, job: Job, fingerprint: string): JobDecision {
  if (job.fingerprint === fingerprint) return nothing(state);
  throw new BrokerError(
    "IDEMPOTENCY_KEY_REUSED",
    `this Idempotency-Key made job ${state.jobId} of another request`,
    { jobId: state.jobId },
  );
}

function advance(
  job: Job,
  { completed, plan }: Extract<JobCommand, { type: "Advance" }>,
  now: Stamp,
): JobEvent[] {
  const events: JobEvent[] = [];
  let open = job.plan;
  if (completed !== null && open?.chunk === completed.chunk) {
    events.push({ ...now, type: "ChunkCompleted", ...completed });
    open = null;
  }
  const chunk = job.chunk + events.length;
  const mayPlan = job.phase === "running" && open === null && plan?.chunk === chunk;
  if (mayPlan) events.push({ ...now, type: "ChunkPlanned", plan });
  return events;
}

function order(
  state: JobState,
  job: Job,
  { command, now }: {
    command: Extract<JobCommand, { type: "Pause" | "Resume" | "Cancel" }>;
    now: Stamp;
  },
): JobDecision {
  const { principal, reason } = command;
  const { phase } = job;
  const by = { ...now, principal, reason };
  switch (command.type) {
    case "Pause":
      if (phase === "paused") return nothing(state);
      if (phase !== "pending" && phase !== "running") throw wrongState(state.jobId, phase, "pause");
      return decided(state, [{ ...by, type: "JobPaused" }]);
    case "Resume":
      if (phase === "pending" || phase === "running") return nothing(state);
      if (isFinished(phase)) throw wrongState(state.jobId, phase, "resume");
      return decided(state, [{ ...by, type: "JobResumed", ...ownedAnew(command.owner) }]);
    case "Cancel":
      if (phase === "cancelled") return nothing(state);
      if (phase === "completed") throw wrongState(state.jobId, phase, "cancel");
      return decided(state, [{ ...by, type: "JobCancelled" }]);
  }
}

function ownedAnew(owner: Owner | null | undefined): { readonly owner?: Owner | null } {
  return owner === undefined ? {} : { owner };
}

function decided(state: JobState, events: readonly JobEvent[]): JobDecision {
  const after = events.reduce(evolveJob, state);
  return { events, volatile: [], effects: effectsOf(after), reply: after };
}

/** Changes nothing but the journal. */
function recorded(state: JobState, event: JobEvent): JobDecision {
  return { events: [event], volatile: [], effects: [], reply: state, large: true };
}

function effectsOf(state: JobState): readonly JobEffect[] {
  if (!needsRunner(state)) return [];
  const { kind, sources } = state.job!.spec;
  return [{ type: "run", aloneOn: kind === "redrive" ? sources[0]?.topicId ?? null : null }];
}

function nothing(state: JobState): JobDecision {
  return { events: [], volatile: [], effects: [], reply: state };
}

function existing({ jobId, job }: JobState): Job {
  if (job !== null) return job;
  throw unknownJob(jobId);
}

function wrongState(jobId: string, phase: string, action: string): BrokerError {
  return new BrokerError("INVALID_JOB_STATE", `job ${jobId} is ${phase}: it cannot ${action}`, {
    jobId,
    state: phase,
  });
}
