// Owns carrying out one job: reading, sending, and saying after each chunk what is done and what comes next.
// Refuses to own decisions (decide.ts, plan.ts) and which jobs run when (job_set.ts).
// Invariant: nothing is sent that is not in a durable plan. A plan is sent under the job's producer identity with the
// sequences it names, so that sending it again, after a crash or an unknown outcome, appends nothing twice.
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import type { DecodedRecord } from "../../storage/format/decode.ts";
import { encodeBatch } from "../../storage/format/encode.ts";
import type { Cancel, Clock, Crc32c, Timers } from "../../storage/ports.ts";
import type { JobCommand } from "./decide.ts";
import type { ChunkCompleted, ChunkPlan, ChunkSend, JobIdentity } from "./events.ts";
import { evolveJob } from "./evolve.ts";
import { logStartsFor } from "./log_starts.ts";
import { outgoing } from "./outgoing.ts";
import { Pacer } from "./pacer.ts";
import { MAX_CHUNK_MESSAGES, planChunk } from "./plan.ts";
import type { JobBroker } from "./ports.ts";
import { offsetsIn } from "./runs.ts";
import { readSource } from "./source.ts";
import { isAtEnd, isFinished, type Job, type JobState, needsRunner } from "./state.ts";
import type { JobError, JobSource, OffsetRun } from "./types.ts";

/** Wait after an error that may pass: doubles from the first to the last. */
const RETRY_FIRST_MS = 100;
const RETRY_LAST_MS = 5_000;
/** Wait for messages that cannot be read yet: an open transaction holds them. */
const UNREADABLE_WAIT_MS = 200;
/** Bytes read without finding anything to send before that is written down. */
const MAX_FRUITLESS_BYTES = 16 * 1_048_576;
/** Waits up to this long are not worth a line in the journal of their own. */
const SHORT_WAIT_MS = 20;

export interface JobRunnerOptions {
  readonly jobId: string;
  /** One command to the job's actor. */
  readonly ask: (command: JobCommand) => Promise<JobState>;
  readonly broker: JobBroker;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly crc32c: Crc32c;
  /** What other jobs have redriven, or may have, of a dead letter topic's partition. */
  readonly redrivenElsewhere: (source: JobSource) => Promise<readonly OffsetRun[]>;
  /** Hears what the job waits for; null when it goes on. */
  readonly onWaiting: (error: JobError | null) => void;
}

type Records = ReadonlyMap<number, DecodedRecord>;
type Completed = Pick<ChunkCompleted, "chunk" | "undeliverable" | "elapsedMs">;

export class JobRunner {
  readonly #options: JobRunnerOptions;
  #stopped = false;
  #retryMs = RETRY_FIRST_MS;
  #wakeUp: (() => void) | null = null;
  #pacer: Pacer | null = null;
  /** What the plan under way sends, when it was read for planning. */
  #records: Records = new Map();

  constructor(options: JobRunnerOptions) {
    this.#options = options;
  }

  /** Resolves when there is nothing more to do for the job, or when stopped. Never rejects. */
  async run(): Promise<void> {
    while (!this.#stopped) {
      try {
        const state = await this.#options.ask({ type: "Describe" });
        if (await this.#work(state)) return;
      } catch (error) {
        if (await this.#failed(asBrokerError(error))) return;
      }
    }
  }

  /** Ends waits: the job has changed. */
  wake(): void {
    this.#wakeUp?.();
  }

  /** Starts nothing more; what is under way is finished. */
  stop(): void {
    this.#stopped = true;
    this.wake();
  }

  /** True when there is nothing more to do. */
  async #work(first: JobState): Promise<boolean> {
    const { ask, broker } = this.#options;
    let state = first;
    if (!needsRunner(state)) return true;
    this.#pacer ??= new Pacer(state.job!.spec.ratePerSecond);
    if (state.job!.phase === "pending") {
      state = await ask({ type: "Start", producer: await broker.allocateProducer() });
    }
    while (!this.#stopped && needsRunner(state)) {
      const job = state.job!;
      state = job.plan === null ? await this.#plan(state, null) : await this.#carryOut(state, job);
      this.#noteProgress();
    }
    return !needsRunner(state);
  }

  #noteProgress(): void {
    this.#retryMs = RETRY_FIRST_MS;
    this.#options.onWaiting(null);
  }

  /** Sends the plan of `job`, and plans on in the same step when the rate allows it. */
  async #carryOut(state: JobState, job: Job): Promise<JobState> {
    const { clock, ask } = this.#options;
    const plan = job.plan!;
    const startMs = clock.monotonic();
    const undeliverable = await this.#send(job, plan);
    const elapsedMs = Math.max(0, Math.round(clock.monotonic() - startMs));
    const completed = { chunk: plan.chunk, undeliverable, elapsedMs };
    const mayGoOn = job.phase === "running" && !this.#stopped &&
      this.#pacer!.waitMs(clock.monotonic()) <= SHORT_WAIT_MS;
    if (mayGoOn) {
      const after = evolveJob(state, {
        v: 1,
        at: clock.now(),
        type: "ChunkCompleted",
        ...completed,
      });
      return await this.#plan(after, completed);
    }
    return await ask(done(completed));
  }

  /** Waits for the rate, then plans the next chunk of `state`, which `completed` has led to but is not written yet. */
  async #plan(state: JobState, completed: Completed | null): Promise<JobState> {
    const { ask, clock } = this.#options;
    const job = state.job!;
    if (isAtEnd(job)) {
      if (completed !== null) await ask(done(completed));
      return await ask({ type: "Complete" });
    }
    const pacer = this.#pacer!;
    const waitMs = pacer.waitMs(clock.monotonic());
    if (waitMs > 0) {
      await this.#sleep(waitMs);
      if (completed === null) state = await ask({ type: "Describe" });
      if (this.#stopped || state.job!.phase !== "running") {
        return completed === null ? state : await ask(done(completed));
      }
    }
    const plan = await this.#readOr(state.job!, () => completed !== null && ask(done(completed)));
    if (plan === null) {
      if (completed !== null) return await ask(done(completed));
      await this.#sleep(UNREADABLE_WAIT_MS);
      return await ask({ type: "Describe" });
    }
    pacer.sent(this.#records.size, clock.monotonic());
    return await ask({ type: "Advance", completed, plan });
  }

  /** The next chunk; when there is an error instead, what was done so far is written down first. */
  async #readOr(job: Job, onError: () => unknown): Promise<ChunkPlan | null> {
    try {
      return await this.#read(job, this.#pacer!.burst(MAX_CHUNK_MESSAGES));
    } catch (error) {
      await onError();
      throw error;
    }
  }

  /** The next chunk; null when nothing can be read yet. Keeps the records that it sends. */
  async #read(job: Job, maxMessages: number): Promise<ChunkPlan | null> {
    const { broker } = this.#options;
    const source = job.spec.sources[job.source]!;
    this.#requireTopics(job, source);
    const redriven = job.spec.kind === "replay" || job.spec.includeRedriven
      ? []
      : await this.#options.redrivenElsewhere(source);
    let fruitless: ChunkPlan | null = null;
    for (let sizeBytes = 0; sizeBytes < MAX_FRUITLESS_BYTES;) {
      const cursor: Job = fruitless === null ? job : { ...job, next: fruitless.next };
      const read = await readSource(broker, source, { offset: cursor.next, to: source.to });
      if (read.next === cursor.next && read.records.length === 0) break;
      const context = {
        topic: (name: string) => broker.topic(name),
        redriven,
        maxMessages,
        logStarts: await logStartsFor(broker, job.spec, read.records),
      };
      const found = planChunk(cursor, read, context);
      const plan: ChunkPlan = fruitless === null ? found : {
        ...found,
        skipped: found.skipped + fruitless.skipped,
        alreadyRedriven: found.alreadyRedriven + fruitless.alreadyRedriven,
      };
      if (plan.sends.length > 0 || plan.next >= source.to) {
        this.#records = recordsFor(plan, read.records);
        return plan;
      }
      fruitless = plan;
      sizeBytes += read.sizeBytes;
    }
    this.#records = new Map();
    return fruitless;
  }

  /** A topic that was deleted, and perhaps made anew under its name, is not what the job was about. */
  #requireTopics(job: Job, source: JobSource): void {
    const topics = [source, ...job.spec.target.kind === "topic" ? [job.spec.target] : []];
    for (const { topic, topicId } of topics) {
      if (this.#options.broker.topic(topic)?.topicId === topicId) continue;
      const message = `topic ${topic}, which the job is about, was deleted`;
      throw new BrokerError("UNKNOWN_TOPIC", message, { topic });
    }
  }

  /** Sends all of `plan`; resolves to the indexes of what could not be delivered since its target is gone. */
  async #send(job: Job, plan: ChunkPlan): Promise<readonly number[]> {
    let records: Records;
    try {
      records = await this.#recordsOf(job, plan);
    } catch (error) {
      if (asBrokerError(error).retryable || !isFinished(job.phase)) throw error;
      return plan.sends.map((_, index) => index);
    }
    const one = (send: ChunkSend) => () => this.#sendOne(job, { send, plan, records });
    const work = plan.sends.map(one);
    const outcomes = job.spec.target.kind === "group"
      ? await inTurn(work)
      : await Promise.allSettled(work.map((each) => each()));
    const undeliverable: number[] = [];
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome.status === "fulfilled") continue;
      const error = asBrokerError(outcome.reason);
      if (!mayLeaveOut(job, error)) throw error;
      undeliverable.push(index);
    }
    return undeliverable;
  }

  async #sendOne(
    job: Job,
    { send, plan, records }: { send: ChunkSend; plan: ChunkPlan; records: Records },
  ): Promise<void> {
    const { broker, jobId, clock, crc32c } = this.#options;
    const { topic, partition, baseSequence } = send;
    if (broker.topic(topic)?.topicId !== send.topicId) {
      throw new BrokerError("UNKNOWN_TOPIC", `there is no topic ${topic} any more`, { topic });
    }
    if (job.spec.target.kind === "group") {
      const { group } = job.spec.target;
      await broker.redeliver({
        group,
        jobId,
        chunk: baseSequence,
        topic,
        partition,
        offsets: send.offsets ?? [...offsetsIn(send.runs)],
        principal: job.principal,
      });
      return;
    }
    const { kind, sources } = job.spec;
    const options = { jobId, kind, source: sources[plan.source]!, now: clock.now() };
    const batch = encodeBatch(
      [...offsetsIn(send.runs)].map((offset) => outgoing(records.get(offset)!, options)),
      { crc32c, baseSequence, ...job.producer as JobIdentity },
    );
    await broker.append({ topic, partition }, [batch], { acks: "all" });
  }

  /** The messages that `plan` names; read again when a crash lies between planning and sending. */
  async #recordsOf(job: Job, plan: ChunkPlan): Promise<Records> {
    const offsets = plan.sends.flatMap(({ runs }) => [...offsetsIn(runs)]);
    if (job.spec.target.kind === "group") return new Map();
    if (offsets.every((offset) => this.#records.has(offset))) return this.#records;
    const source = job.spec.sources[plan.source]!;
    this.#requireTopics(job, source);
    const records = new Map<number, DecodedRecord>();
    const wanted = new Set(offsets);
    for (let offset = Math.min(...offsets); offset < plan.next;) {
      const read = await readSource(this.#options.broker, source, { offset, to: plan.next });
      for (const record of read.records) {
        if (wanted.has(record.offset)) records.set(record.offset, record);
      }
      if (read.next === offset) break;
      offset = read.next;
    }
    if (records.size === wanted.size) return records;
    const { topic, partition } = source;
    throw new BrokerError(
      "OFFSET_OUT_OF_RANGE",
      `messages of ${topic}/${partition} went while the job was sending them`,
      { topic, partition, missing: wanted.size - records.size },
    );
  }

  /** True when the job goes no further. */
  async #failed(error: BrokerError): Promise<boolean> {
    const { ask, onWaiting } = this.#options;
    const shown = { code: error.code, detail: error.message };
    if (error.code === "NOT_FOUND") return true;
    if (!error.retryable) {
      try {
        return !needsRunner(await ask({ type: "Fail", error: shown }));
      } catch {
        // The actor cannot hear it now: what failed is tried again, and fails again.
      }
    }
    onWaiting(shown);
    await this.#sleep(this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_LAST_MS);
    return false;
  }

  async #sleep(delayMs: number): Promise<void> {
    if (this.#stopped) return;
    let cancel: Cancel = () => {};
    await new Promise<void>((resolve) => {
      this.#wakeUp = resolve;
      cancel = this.#options.timers.after(delayMs, resolve);
    });
    this.#wakeUp = null;
    cancel();
  }
}

/** A group takes the redeliveries of a job in their order only: none goes before those ahead of it are settled. */
async function inTurn(
  work: readonly (() => Promise<void>)[],
): Promise<PromiseSettledResult<void>[]> {
  const outcomes: PromiseSettledResult<void>[] = [];
  for (const each of work) {
    const [outcome] = await Promise.allSettled([each()]);
    outcomes.push(outcome!);
    if (outcome!.status === "rejected" && asBrokerError(outcome!.reason).retryable) break;
  }
  return outcomes;
}

function done(completed: Completed): JobCommand {
  return { type: "Advance", completed, plan: null };
}

/** A letter whose origin has gone is left out; a job that was cancelled leaves out whatever it cannot send. */
function mayLeaveOut(job: Job, error: BrokerError): boolean {
  if (error.retryable) return false;
  if (isFinished(job.phase)) return true;
  const gone = error.code === "UNKNOWN_TOPIC" || error.code === "UNKNOWN_PARTITION" ||
    error.code === "OFFSET_OUT_OF_RANGE";
  return gone && job.spec.kind === "redrive";
}

function recordsFor(plan: ChunkPlan, records: readonly DecodedRecord[]): Records {
  const sent = new Set(plan.sends.flatMap(({ runs }) => [...offsetsIn(runs)]));
  return new Map(
    records.filter(({ offset }) => sent.has(offset)).map((record) => [record.offset, record]),
  );
}
