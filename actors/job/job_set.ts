// Owns all jobs of a broker: their actor over the internal topic `__jobs`, and which of them are worked on when.
// Refuses to own decisions (decide.ts) and the work itself (runner.ts).
// Invariant: at most one runner a job, and one redrive at a time of a dead letter topic, so that each sees what those
// before it have redriven.
import { BrokerError } from "../../storage/broker_error.ts";
import type { TopicPartition } from "../broker.ts";
import { JournaledActor, type JournaledActorPorts } from "../partition/journaled_actor.ts";
import type { Partition } from "../partition/partition.ts";
import type { RetainOptions } from "../runtime/journal_retention.ts";
import { Slots } from "../../storage/turns.ts";
import type { Revivable } from "../runtime/revived_actors.ts";
import type { JobCommand, JobEffect } from "./decide.ts";
import type { JobEvent } from "./events.ts";
import { JOB_DECIDER, JOURNAL_WINDOW_MS, JOURNAL_WORDS } from "./keyed_job.ts";
import { countOpen, redrivenIn, type SourcePartition } from "./job_queries.ts";
import { countKept, finishedBeyond, type KeptJobs } from "./kept_jobs.ts";
import { JobPlaces } from "./places.ts";
import type { JobBroker } from "./ports.ts";
import { countJob, resolveJob } from "./resolve.ts";
import { JobRunner } from "./runner.ts";
import { type JobState, viewOf } from "./state.ts";
import type {
  JobError,
  JobOrder,
  JobRequest,
  Jobs,
  JobSource,
  JobView,
  OffsetRun,
  OwnedJob,
} from "./types.ts";
import { type PublishLimits, TenantPace } from "./tenant_pace.ts";
import { unknownJob } from "./unknown_job.ts";

/** Jobs that are worked on at the same time, not counting those that only wait; others are pending meanwhile. */
const MAX_RUNNING_JOBS = 16;
/** Requests whose ranges are counted at the same time: each reads up to some hundred megabytes. */
const MAX_COUNTED_AT_ONCE = 2;
/** Jobs that have not ended; more are refused. */
const MAX_OPEN_JOBS = 1_000;
/** Jobs of one owner that have not ended, or ended less than a window ago, dry runs left out; more are refused. */
const MAX_JOBS_OF_OWNER = 1_000;
/** Jobs that have ended and are still shown; the oldest beyond are forgotten, and what they had redriven with them. */
const KEPT_JOBS: KeptJobs = Object.freeze({
  finished: 1_000,
  redrives: 10_000,
  dryRuns: 1_000,
  windowMs: 24 * 3_600_000,
  most: 10_000,
});

export interface JobSetOptions {
  /** The partition of `__jobs`. */
  readonly partition: Partition;
  readonly broker: JobBroker;
  /** What holds for a tenant now: the jobs of its principals are held to it. */
  readonly limitsOf: (tenant: string) => PublishLimits;
  readonly ports: JournaledActorPorts;
}

interface Run {
  readonly runner: JobRunner;
  /** Something happened to the job since the runner last looked. */
  again: boolean;
  readonly ended: Promise<void>;
}

export class JobSet implements Jobs {
  readonly #options: JobSetOptions;
  readonly #actor: JournaledActor<JobState, JobCommand, JobEvent, never, JobEffect>;
  readonly #runs = new Map<string, Run>();
  readonly #waiting = new Map<string, JobError>();
  readonly #pace: TenantPace;
  readonly #places = new JobPlaces(MAX_RUNNING_JOBS);
  readonly #counting = new Slots(MAX_COUNTED_AT_ONCE);
  /** By dead letter topic that is being redriven. */
  readonly #redrives = new Map<string, { readonly slot: Slots; users: number }>();
  /** Requests under way: a repeat waits for the first. */
  readonly #submitting = new Map<string, Promise<void>>();
  #closing = false;

  private constructor(options: JobSetOptions) {
    this.#options = options;
    this.#pace = new TenantPace(options.limitsOf);
    this.#actor = new JournaledActor({
      id: "jobs/0",
      partition: options.partition,
      decider: JOB_DECIDER,
      words: JOURNAL_WORDS,
      windowMs: JOURNAL_WINDOW_MS,
      perform: (jobId, effect) => this.#run(jobId, effect),
      ports: options.ports,
    });
  }

  /** Loads all jobs, and goes on with those that are under way. */
  static async open(options: JobSetOptions): Promise<JobSet> {
    const jobs = new JobSet(options);
    await jobs.#actor.start();
    return jobs;
  }

  async submit(request: JobRequest): Promise<{ job: JobView; repeated: boolean }> {
    const { jobId } = request;
    while (this.#submitting.has(jobId)) await this.#submitting.get(jobId);
    const submitted = this.#submit(request);
    this.#submitting.set(jobId, submitted.then(() => undefined, () => undefined));
    try {
      return await submitted;
    } finally {
      this.#submitting.delete(jobId);
    }
  }

  async #submit(request: JobRequest): Promise<{ job: JobView; repeated: boolean }> {
    const { jobId, fingerprint, principal, owner, reason, dryRun } = request;
    const known = await this.#actor.query((states) => states.has(jobId));
    // A repeat is answered by what it made before, whatever has become of the range since.
    if (known) {
      const state = await this.#actor.ask(jobId, { type: "Repeat", fingerprint });
      return { job: this.#shown(state), repeated: true };
    }
    await this.#refuseWhenFull(request);
    const { broker } = this.#options;
    const spec = await resolveJob(broker, request);
    const redriven = (source: JobSource) => this.#redrivenIn(source, jobId);
    const { timers } = this.#options.ports;
    const yieldTurn = () => new Promise<void>((resolve) => void timers.after(0, resolve));
    const options = { dryRun, redriven, yieldTurn };
    const count = await this.#counting.run(() => countJob(broker, spec, options));
    const state = await this.#actor.ask(jobId, {
      type: "Create",
      fingerprint,
      principal,
      ...(owner === undefined ? {} : { owner }),
      reason,
      dryRun,
      spec,
      count,
    });
    void this.#forgetOldest();
    return { job: this.#shown(state), repeated: false };
  }

  async list(): Promise<readonly JobView[]> {
    const states = await this.#actor.query((all) => [...all.values()]);
    return states.filter(({ job }) => job !== null).map((state) => this.#shown(state))
      .sort((a, b) => b.createdAt - a.createdAt || (a.jobId < b.jobId ? -1 : 1));
  }

  async get(jobId: string): Promise<JobView> {
    return this.#shown(await this.#actor.ask(jobId, { type: "Describe" }));
  }

  async owned(): Promise<readonly OwnedJob[]> {
    const states = await this.#actor.query((all) => [...all.values()]);
    return states.flatMap((state) => {
      const { owner = null, phase } = state.job ?? {};
      const isUnderWay = phase === "pending" || phase === "running";
      return owner === null || !isUnderWay ? [] : [{ job: this.#shown(state), owner }];
    });
  }

  pause(order: JobOrder): Promise<JobView> {
    return this.#order("Pause", order);
  }

  resume(order: JobOrder): Promise<JobView> {
    return this.#order("Resume", order);
  }

  cancel(order: JobOrder): Promise<JobView> {
    return this.#order("Cancel", order);
  }

  async redriven(at: TopicPartition): Promise<readonly OffsetRun[]> {
    const topic = this.#options.broker.topic(at.topic);
    if (topic === null) return [];
    const source = { topicId: topic.topicId, partition: at.partition };
    return await this.#redrivenIn(source, null);
  }

  /** Keeps the journal to its window, as JournaledActor does. */
  applyRetention(
    now: number,
    options: Pick<RetainOptions, "minDroppableOffsets"> = {},
  ): Promise<void> {
    return this.#actor.applyRetention(now, options);
  }

  /** What keeps jobs from running, empty when nothing does. */
  problems(): string[] {
    return this.#actor.problems();
  }

  /** What keeps its actor running. */
  get actors(): readonly Revivable[] {
    return this.#actor.actors;
  }

  /** Stops between two chunks; the next start goes on. */
  async close(): Promise<void> {
    this.#closing = true;
    for (const { runner } of this.#runs.values()) runner.stop();
    await Promise.all([...this.#runs.values()].map(({ ended }) => ended));
    await this.#actor.close();
  }

  async #order(type: "Pause" | "Resume" | "Cancel", order: JobOrder): Promise<JobView> {
    const { jobId, principal, owner, reason } = order;
    const owned = type !== "Resume" || owner === undefined ? {} : { owner };
    const state = await this.#actor.ask(jobId, { type, principal, reason, ...owned });
    this.#runs.get(jobId)?.runner.wake();
    return this.#shown(state);
  }

  #shown({ jobId, job }: JobState): JobView {
    if (job === null) throw unknownJob(jobId);
    return viewOf(jobId, job, this.#waiting.get(jobId) ?? null);
  }

  async #refuseWhenFull({ owner, dryRun }: JobRequest): Promise<void> {
    const open = await this.#actor.query(countOpen);
    if (open >= MAX_OPEN_JOBS) {
      throw new BrokerError("OVERLOADED", `${open} jobs have not ended, no more are taken`, {
        maxOpenJobs: MAX_OPEN_JOBS,
      });
    }
    if (dryRun) return;
    const within = { windowMs: KEPT_JOBS.windowMs, now: this.#options.ports.clock.now() };
    const count = await this.#actor.query((states) => countKept(states, owner ?? null, within));
    if (count < MAX_JOBS_OF_OWNER) return;
    const whose = owner === undefined ? "that belong to nobody" : `of ${owner.principal}`;
    throw new BrokerError(
      "LIMIT_REACHED",
      `${count} jobs ${whose} have not ended, or ended less than 24 hours ago: no more are taken, since the ` +
        "Idempotency-Keys of those must be known",
      { maxJobs: MAX_JOBS_OF_OWNER },
    );
  }

  async #forgetOldest(): Promise<void> {
    const now = this.#options.ports.clock.now();
    const forgotten = await this.#actor.query((states) => finishedBeyond(states, KEPT_JOBS, now))
      .catch(() => []);
    for (const jobId of forgotten) {
      await this.#actor.ask(jobId, { type: "Forget" }).catch(() => undefined);
    }
  }

  #redrivenIn(at: SourcePartition, except: string | null): Promise<readonly OffsetRun[]> {
    return this.#actor.query((states) => redrivenIn(states, at, except));
  }

  /** Somebody must work on the job: a runner does, or will once there is a place. */
  #run(jobId: string, { aloneOn }: JobEffect): void {
    if (this.#closing) return;
    const under = this.#runs.get(jobId);
    if (under !== undefined) {
      under.again = true;
      return;
    }
    const { broker, ports: { clock, timers, crc32c } } = this.#options;
    const runner = new JobRunner({
      jobId,
      ask: (command) => this.#actor.ask(jobId, command),
      broker,
      clock,
      timers,
      crc32c,
      aside: (aside) => this.#places.aside(aside),
      redrivenElsewhere: (source) => this.#redrivenIn(source, jobId),
      pace: this.#pace,
      onWaiting: (error) => {
        if (error === null) this.#waiting.delete(jobId);
        else this.#waiting.set(jobId, error);
      },
    });
    const ended = Promise.withResolvers<void>();
    const run: Run = { runner, again: false, ended: ended.promise };
    this.#runs.set(jobId, run);
    void this.#workOn(run, aloneOn).finally(() => {
      this.#runs.delete(jobId);
      this.#waiting.delete(jobId);
      ended.resolve();
    });
  }

  async #workOn(run: Run, aloneOn: string | null): Promise<void> {
    const work = () => this.#places.run(() => run.runner.run());
    do {
      run.again = false;
      await (aloneOn === null ? work() : this.#alone(aloneOn, work));
    } while (run.again && !this.#closing);
  }

  async #alone(topicId: string, work: () => Promise<void>): Promise<void> {
    const redrive = this.#redrives.get(topicId) ?? { slot: new Slots(1), users: 0 };
    this.#redrives.set(topicId, redrive);
    redrive.users++;
    try {
      await redrive.slot.run(work);
    } finally {
      redrive.users--;
      if (redrive.users === 0) this.#redrives.delete(topicId);
    }
  }
}
