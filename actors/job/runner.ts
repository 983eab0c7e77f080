// Owns carrying out one job: reading, sending, and saying after each chunk what is done and what comes next.
// Refuses to own decisions (decide.ts, plan.ts) and which jobs run when (job_set.ts).
// Invariant: nothing is sent that is not in a durable plan. A plan is sent under the job's producer identity with the
// sequences it names, so that sending it again, after a crash or an unknown outcome, appends nothing twice.
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import type { Cancel, Clock, Crc32c, Timers } from "../../storage/ports.ts";
import type { JobCommand } from "./decide.ts";
import type { ChunkCompleted, ChunkPlan } from "./events.ts";
import { evolveJob } from "./evolve.ts";
import { type LogStarts, logStartsFor } from "./log_starts.ts";
import { Pacer } from "./pacer.ts";
import { MAX_CHUNK_MESSAGES, planChunk } from "./plan.ts";
import type { Aside } from "./places.ts";
import type { JobBroker } from "./ports.ts";
import { type Records, recordsFor, requireTopics, sendChunk } from "./sender.ts";
import { readSource, type SourceRead } from "./source.ts";
import { isAtEnd, type Job, type JobState, needsRunner } from "./state.ts";
import type { SentAmount, TenantPace } from "./tenant_pace.ts";
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
/** Longest wait for room in the owner's quota before it is looked at again: it may be raised meanwhile. */
const MAX_HOLD_MS = 1_000;

export interface JobRunnerOptions {
  readonly jobId: string;
  /** One command to the job's actor. */
  readonly ask: (command: JobCommand) => Promise<JobState>;
  readonly broker: JobBroker;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly crc32c: Crc32c;
  /** Waits without keeping others from working. */
  readonly aside: (aside: Aside) => Promise<void>;
  /** What other jobs have redriven, or may have, of a dead letter topic's partition. */
  readonly redrivenElsewhere: (source: JobSource) => Promise<readonly OffsetRun[]>;
  /** How fast the jobs of the owner's tenant may publish. */
  readonly pace: TenantPace;
  /** Hears what the job waits for; null when it goes on. */
  readonly onWaiting: (error: JobError | null) => void;
}

const NOTHING: Records = new Map();

type Completed = Pick<ChunkCompleted, "chunk" | "undeliverable" | "elapsedMs">;

export class JobRunner {
  readonly #options: JobRunnerOptions;
  #stopped = false;
  #retryMs = RETRY_FIRST_MS;
  #wakeUp: (() => void) | null = null;
  #pacer: Pacer | null = null;
  /** What a chunk sends, when it was read for planning. */
  #read: { readonly chunk: number; readonly records: Records } = { chunk: -1, records: NOTHING };
  /** What was read and is not planned yet. */
  #ahead: Ahead | null = null;
  /** The chunk that this runner has planned and nobody has tried to send. */
  #untried: number | null = null;
  /** Monotonic time up to which the job's work is accounted for. */
  #activeSinceMs = 0;

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
    this.#activeSinceMs = this.#options.clock.monotonic();
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
    const isFirstTry = this.#untried === plan.chunk;
    this.#untried = null;
    const { undeliverable, forgotten } = await sendChunk(job, plan, {
      ...this.#options,
      records: this.#read.chunk === plan.chunk ? this.#read.records : NOTHING,
    });
    if (forgotten.length > 0) {
      return await this.#reidentify(plan, { isFirstTry, unsent: [...undeliverable, ...forgotten] });
    }
    const nowMs = clock.monotonic();
    const elapsedMs = Math.max(0, Math.round(nowMs - this.#activeSinceMs));
    this.#activeSinceMs = nowMs;
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

  /**
   * A partition that has not heard of the producer for long has forgotten it. What was never tried before is surely not
   * there, and goes under a new identity; of anything else nobody can tell.
   */
  async #reidentify(
    plan: ChunkPlan,
    { isFirstTry, unsent }: { isFirstTry: boolean; unsent: readonly number[] },
  ): Promise<JobState> {
    const { ask, broker } = this.#options;
    if (!isFirstTry) {
      throw new BrokerError(
        "OUT_OF_ORDER_SEQUENCE",
        `whether chunk ${plan.chunk} was sent is not known any more: its partition has forgotten the job's producer`,
        { chunk: plan.chunk },
      );
    }
    const producer = await broker.allocateProducer();
    return await ask({ type: "Reidentify", chunk: plan.chunk, unsent, producer });
  }

  /** Waits for the rate, then plans the next chunk of `state`, which `completed` has led to but is not written yet. */
  async #plan(state: JobState, completed: Completed | null): Promise<JobState> {
    const { ask, clock } = this.#options;
    const job = state.job!;
    if (isAtEnd(job)) {
      if (completed !== null) await ask(done(completed));
      return await ask({ type: "Complete" });
    }
    const tenant = payerOf(job);
    const heldMs = tenant === null ? 0 : this.#options.pace.waitMs(tenant, clock.monotonic());
    if (heldMs > 0) {
      if (completed !== null) return await ask(done(completed));
      await this.#sleep(Math.min(heldMs, MAX_HOLD_MS));
      return await ask({ type: "Describe" });
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
    const plan = await this.#nextChunkOr(
      state.job!,
      () => completed !== null && ask(done(completed)),
    );
    if (plan === null) {
      if (completed !== null) return await ask(done(completed));
      await this.#sleep(UNREADABLE_WAIT_MS);
      return await ask({ type: "Describe" });
    }
    pacer.sent(this.#read.records.size, clock.monotonic());
    if (tenant !== null) {
      this.#options.pace.sent(tenant, amountOf(this.#read.records), clock.monotonic());
    }
    this.#untried = plan.chunk;
    return await ask({ type: "Advance", completed, plan });
  }

  /** The next chunk; when there is an error instead, what was done so far is written down first. */
  async #nextChunkOr(job: Job, onError: () => unknown): Promise<ChunkPlan | null> {
    try {
      return await this.#nextChunk(job, this.#pacer!.burst(MAX_CHUNK_MESSAGES));
    } catch (error) {
      await onError();
      throw error;
    }
  }

  /** The next chunk; null when nothing can be read yet. Keeps the records that it sends. */
  async #nextChunk(job: Job, maxMessages: number): Promise<ChunkPlan | null> {
    const { broker } = this.#options;
    const source = job.spec.sources[job.source]!;
    requireTopics(job, source, broker);
    const redriven = job.spec.kind === "replay" || job.spec.includeRedriven
      ? []
      : await this.#options.redrivenElsewhere(source);
    let fruitless: ChunkPlan | null = null;
    for (let sizeBytes = 0; sizeBytes < MAX_FRUITLESS_BYTES;) {
      const cursor: Job = fruitless === null ? job : { ...job, next: fruitless.next };
      const { read, logStarts } = await this.#readFrom(source, cursor);
      if (read.next === cursor.next && read.records.length === 0) break;
      const context = {
        topic: (name: string) => broker.topic(name),
        redriven,
        maxMessages,
        logStarts,
      };
      const found = planChunk(cursor, read, context);
      const plan: ChunkPlan = fruitless === null ? found : {
        ...found,
        skipped: found.skipped + fruitless.skipped,
        alreadyRedriven: found.alreadyRedriven + fruitless.alreadyRedriven,
      };
      this.#ahead = aheadOf(plan, { read, logStarts });
      if (plan.sends.length > 0 || plan.next >= source.to) {
        this.#read = { chunk: plan.chunk, records: recordsFor(plan, read.records) };
        return plan;
      }
      fruitless = plan;
      sizeBytes += read.sizeBytes;
    }
    this.#read = { chunk: -1, records: NOTHING };
    return fruitless;
  }

  /** What lies at the job's cursor; what was read for the chunk before is not read again. */
  async #readFrom(source: JobSource, { source: index, next, spec }: Job): Promise<ReadAhead> {
    const ahead = this.#ahead;
    this.#ahead = null;
    if (ahead?.source === index && ahead.from === next) return ahead;
    const { broker } = this.#options;
    const read = await readSource(broker, source, { offset: next, to: source.to });
    return { read, logStarts: await logStartsFor(broker, spec, read.records) };
  }

  /** True when the job goes no further. */
  async #failed(error: BrokerError): Promise<boolean> {
    const { ask, onWaiting } = this.#options;
    const shown = { code: error.code, detail: error.message };
    if (error.code === "NOT_FOUND") return true;
    if (!error.retryable) {
      try {
        if (!needsRunner(await ask({ type: "Fail", error: shown }))) return true;
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
    const wait = () => this.#wait(delayMs);
    // Giving the place up for less would only make it wait for another.
    if (delayMs <= SHORT_WAIT_MS) return await wait();
    const forget = () => {
      this.#read = { chunk: -1, records: NOTHING };
      this.#ahead = null;
    };
    await this.#options.aside({ wait, forget });
  }

  async #wait(delayMs: number): Promise<void> {
    let cancel: Cancel = () => {};
    await new Promise<void>((resolve) => {
      this.#wakeUp = resolve;
      cancel = this.#options.timers.after(delayMs, resolve);
    });
    this.#wakeUp = null;
    cancel();
  }
}

/** Whose quota is charged; null: nobody's, of an administrator's job, or when nothing is published. */
function payerOf({ owner, spec }: Job): string | null {
  return spec.target.kind === "group" ? null : owner?.tenant ?? null;
}

function amountOf(records: Records): SentAmount {
  let bytes = 0;
  for (const { key, value, headers } of records.values()) {
    bytes += (key?.length ?? 0) + (value?.length ?? 0);
    for (const [name, text] of headers) bytes += name.length + (text?.length ?? 0);
  }
  return { messages: records.size, bytes };
}

interface ReadAhead {
  readonly read: SourceRead;
  readonly logStarts: LogStarts;
}

interface Ahead extends ReadAhead {
  readonly source: number;
  readonly from: number;
}

/** What of `read` lies behind `plan`. */
function aheadOf(plan: ChunkPlan, { read, logStarts }: ReadAhead): Ahead | null {
  const { source, next: from } = plan;
  if (from >= read.next) return null;
  const records = read.records.filter(({ offset }) => offset >= from);
  return { source, from, read: { ...read, records, sizeBytes: 0 }, logStarts };
}

function done(completed: Completed): JobCommand {
  return { type: "Advance", completed, plan: null };
}
