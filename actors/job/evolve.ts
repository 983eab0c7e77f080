// Owns what each event does to a job.
// Refuses to own whether it may happen (decide.ts).
// Invariant: total and pure; sequences, cursor and counts move only when a chunk is completed, all at once.
import { nextSequence } from "./sequences.ts";
import type {
  ChunkCompleted,
  ChunkSend,
  JobCreated,
  JobEvent,
  JobReidentified,
  JobSpec,
} from "./events.ts";
import { countOf, union } from "./runs.ts";
import { decodeJobState, initialJob, type Job, type JobState } from "./state.ts";
import type { JobStep } from "./types.ts";

/** Steps of its history that a job shows. */
export const MAX_STEPS = 100;

/** Those that change a job that is there. */
type StepEvent = Exclude<
  JobEvent,
  { type: "JobCreated" | "JobForgotten" | "JobStateRecorded" | "JournalCompleted" }
>;

/** The state after `event`. */
export function evolveJob(state: JobState, event: JobEvent): JobState {
  if (event.type === "JobForgotten") return initialJob(state.jobId);
  if (event.type === "JobCreated") return { ...state, job: created(event) };
  if (event.type === "JobStateRecorded") return decodeJobState(event.state);
  if (event.type === "JournalCompleted") return state;
  return state.job === null ? state : { ...state, job: evolved(state.job, event) };
}

function evolved(job: Job, event: StepEvent): Job {
  switch (event.type) {
    case "JobStarted":
      return withStep({
        ...job,
        phase: "running",
        producer: event.producer,
        sequences: {},
        startedAt: job.startedAt ?? event.at,
      }, { at: event.at, action: "started", principal: null, reason: null });
    case "ChunkPlanned":
      return { ...job, plan: event.plan };
    case "JobReidentified":
      return reidentified(job, event);
    case "ChunkCompleted":
      return chunkCompleted(job, event);
    case "JobPaused":
      return withStep({ ...job, phase: "paused" }, orderStep(event, "paused"));
    case "JobResumed":
      // With a chunk under way the identity is kept: the chunk may be half done under it.
      return withStep({
        ...job,
        owner: event.owner === undefined ? job.owner ?? null : event.owner,
        phase: job.plan === null ? "pending" : "running",
        error: null,
        finishedAt: null,
      }, orderStep(event, "resumed"));
    case "JobCancelled":
      return withStep(
        { ...job, phase: "cancelled", finishedAt: event.at },
        orderStep(event, "cancelled"),
      );
    case "JobCompleted": {
      const found = job.dryRun ? {} : { total: job.done, totalExact: true };
      return withStep(
        { ...job, ...found, phase: "completed", finishedAt: event.at },
        { at: event.at, action: "completed", principal: null, reason: null },
      );
    }
    case "JobFailed":
      return withStep({
        ...job,
        phase: "failed",
        error: event.error,
        finishedAt: event.at,
      }, { at: event.at, action: "failed", principal: null, reason: event.error.detail });
  }
}

function created(event: JobCreated): Job {
  const { fingerprint, principal, owner = null, reason, dryRun, spec, count, at } = event;
  const job: Job = {
    fingerprint,
    principal,
    owner,
    reason,
    dryRun,
    spec,
    phase: "pending",
    total: count.total,
    totalExact: count.totalExact,
    producer: null,
    sequences: {},
    ...cursorAt(spec, { source: 0, next: spec.sources[0]?.from ?? 0 }),
    chunk: 0,
    plan: null,
    done: 0,
    skipped: dryRun ? count.skipped : 0,
    alreadyRedriven: dryRun ? count.alreadyRedriven : 0,
    redriven: spec.kind === "redrive" ? spec.sources.map(() => []) : [],
    activeMs: 0,
    error: null,
    createdAt: at,
    startedAt: null,
    finishedAt: null,
    steps: [],
  };
  return withStep(job, { at, action: "created", principal, reason });
}

function chunkCompleted(job: Job, event: ChunkCompleted): Job {
  const { plan } = job;
  if (plan === null || plan.chunk !== event.chunk) return job;
  const undeliverable = new Set(event.undeliverable);
  const sent = plan.sends.filter((_, index) => !undeliverable.has(index));
  const missed = plan.sends.filter((_, index) => undeliverable.has(index));
  return {
    ...job,
    ...cursorAt(job.spec, plan),
    plan: null,
    chunk: plan.chunk + 1,
    sequences: sequencesAfter(job, sent),
    done: job.done + messagesIn(sent),
    skipped: job.skipped + plan.skipped + messagesIn(missed),
    alreadyRedriven: job.alreadyRedriven + plan.alreadyRedriven,
    redriven: redrivenAfter(job, plan.source, sent),
    activeMs: job.activeMs + event.elapsedMs,
  };
}

function reidentified(job: Job, { chunk, unsent, producer }: JobReidentified): Job {
  const { plan } = job;
  if (plan === null || plan.chunk !== chunk) return job;
  const left = new Set(unsent);
  const sent = plan.sends.filter((_, index) => !left.has(index));
  // Each send is to a partition of its own, and the first one there under the new identity.
  const sends = plan.sends.filter((_, index) => left.has(index))
    .map((send) => ({ ...send, baseSequence: 0 }));
  return {
    ...job,
    producer,
    sequences: {},
    plan: { ...plan, sends },
    done: job.done + messagesIn(sent),
    redriven: redrivenAfter(job, plan.source, sent),
  };
}

function messagesIn(sends: readonly ChunkSend[]): number {
  return sends.reduce((count, { runs }) => count + countOf(runs), 0);
}

/** The end of a source is the start of the next one that holds anything. */
function cursorAt(
  { sources }: JobSpec,
  cursor: Pick<Job, "source" | "next">,
): Pick<Job, "source" | "next"> {
  let { source, next } = cursor;
  while (source + 1 < sources.length && next >= sources[source]!.to) {
    source++;
    next = sources[source]!.from;
  }
  return { source, next };
}

function sequencesAfter(job: Job, sent: readonly ChunkSend[]): Job["sequences"] {
  const sequences = { ...job.sequences };
  for (const send of sent) {
    const toGroup = job.spec.target.kind === "group";
    const key = toGroup ? GROUP_SEQUENCE : sequenceKey(send);
    sequences[key] = nextSequence(send.baseSequence, toGroup ? 1 : countOf(send.runs));
  }
  return sequences;
}

function redrivenAfter(job: Job, source: number, sent: readonly ChunkSend[]): Job["redriven"] {
  if (job.spec.kind !== "redrive") return job.redriven;
  let runs = job.redriven[source]!;
  for (const send of sent) runs = union(runs, send.runs);
  return job.redriven.map((old, index) => index === source ? runs : old);
}

/** Numbers redeliveries, which have no partition of their own. */
export const GROUP_SEQUENCE = "group";

export function sequenceKey({ topicId, partition }: Pick<ChunkSend, "topicId" | "partition">) {
  return `${topicId}/${partition}`;
}

function orderStep(
  event: { at: number; principal: string; reason: string | null },
  action: JobStep["action"],
): JobStep {
  return { at: event.at, action, principal: event.principal, reason: event.reason };
}

function withStep(job: Job, step: JobStep): Job {
  return { ...job, steps: [...job.steps, step].slice(-MAX_STEPS) };
}
