// Owns sending one planned chunk: its messages to where they belong, each partition's in one batch.
// Refuses to own what is planned (plan.ts) and what comes after (runner.ts).
// Invariant: it sends what the plan names, under the job's identity and the plan's sequences, and nothing else; sending a
// chunk again appends nothing twice.
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import type { DecodedRecord } from "../../storage/format/decode.ts";
import { encodeBatch } from "../../storage/format/encode.ts";
import type { Clock, Crc32c } from "../../storage/ports.ts";
import { namedKeyOf } from "../message_keys/key_scan.ts";
import type { ChunkPlan, ChunkSend, JobIdentity } from "./events.ts";
import { outgoing } from "./outgoing.ts";
import type { JobBroker } from "./ports.ts";
import { offsetsIn } from "./runs.ts";
import { readSource } from "./source.ts";
import { isFinished, type Job } from "./state.ts";
import type { JobSource } from "./types.ts";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Messages by their offsets in the source. */
export type Records = ReadonlyMap<number, DecodedRecord>;

export interface SenderOptions {
  readonly jobId: string;
  readonly broker: JobBroker;
  readonly clock: Clock;
  readonly crc32c: Crc32c;
}

/** Indexes of the plan's sends; those in none of the lists were sent. */
export interface SendOutcome {
  /** Their target is gone. */
  readonly undeliverable: readonly number[];
  /** The partition has forgotten the producer: nothing of these was appended by this call. */
  readonly forgotten: readonly number[];
}

/**
 * Sends all of the job's plan; `records` are those of it that are known, others are read. Rejects with what keeps it from
 * that; some of it may then have been sent.
 */
export async function sendChunk(
  job: Job,
  plan: ChunkPlan,
  options: SenderOptions & { readonly records: Records },
): Promise<SendOutcome> {
  let records: Records;
  try {
    records = await recordsOf(job, plan, options);
  } catch (error) {
    if (asBrokerError(error).retryable || !isFinished(job.phase)) throw error;
    return { undeliverable: plan.sends.map((_, index) => index), forgotten: [] };
  }
  const source = job.spec.sources[plan.source]!;
  const work = plan.sends.map((send) => () => sendOne(job, send, { ...options, records, source }));
  const outcomes = job.spec.target.kind === "group"
    ? await inTurn(work)
    : await Promise.allSettled(work.map((each) => each()));
  const undeliverable: number[] = [];
  const forgotten: number[] = [];
  let firstError: BrokerError | null = null;
  for (const [index, outcome] of outcomes.entries()) {
    if (outcome.status === "fulfilled") continue;
    const error = asBrokerError(outcome.reason);
    if (mayLeaveOut(job, error)) undeliverable.push(index);
    else if (isForgotten(error)) forgotten.push(index);
    else firstError ??= error;
  }
  if (firstError !== null) throw firstError;
  return { undeliverable, forgotten };
}

/** Those of `records` that `plan` sends. */
export function recordsFor(plan: ChunkPlan, records: readonly DecodedRecord[]): Records {
  const sent = new Set(plan.sends.flatMap(({ runs }) => [...offsetsIn(runs)]));
  return new Map(
    records.filter(({ offset }) => sent.has(offset)).map((record) => [record.offset, record]),
  );
}

/** Throws UNKNOWN_TOPIC: one that was deleted, and perhaps made anew under its name, is not what the job is about. */
export function requireTopics(job: Job, source: JobSource, broker: JobBroker): void {
  const { target } = job.spec;
  const topics = target.kind === "topic" ? [source, target] : [source];
  for (const { topic, topicId } of topics) {
    if (broker.topic(topic)?.topicId === topicId) continue;
    const message = `topic ${topic}, which the job is about, was deleted`;
    throw new BrokerError("UNKNOWN_TOPIC", message, { topic });
  }
}

async function sendOne(
  job: Job,
  send: ChunkSend,
  options: SenderOptions & { records: Records; source: JobSource },
): Promise<void> {
  const { broker, jobId, clock, crc32c, records, source } = options;
  const { topic, partition, baseSequence, runs } = send;
  if (broker.topic(topic)?.topicId !== send.topicId) {
    throw new BrokerError("UNKNOWN_TOPIC", `there is no topic ${topic} any more`, { topic });
  }
  const { kind, target } = job.spec;
  if (target.kind === "group") {
    const offsets = send.offsets ?? [...offsetsIn(runs)];
    const { principal } = job;
    const { group } = target;
    const chunk = baseSequence;
    await broker.redeliver({ group, jobId, chunk, topic, partition, offsets, principal });
    return;
  }
  const now = clock.now();
  const originals = [...offsetsIn(runs)].map((offset) => records.get(offset)!);
  const messages = originals.map((record) => outgoing(record, { jobId, kind, source, now }));
  const identity = job.producer as JobIdentity;
  const batch = encodeBatch(messages, { crc32c, baseSequence, ...identity });
  const keys = kind === "replay" && topic !== source.topic ? originals.map(keyOfCopy) : [];
  // In their own topic they count as their originals, which it has.
  if (keys.every((key) => key === null)) {
    await broker.append({ topic, partition }, [batch]);
  } else await broker.appendCopies({ topic, partition }, batch, keys);
}

function keyOfCopy(record: DecodedRecord): string | null {
  const key = namedKeyOf(record);
  return key === null ? null : decoder.decode(key);
}

/** The messages that `plan` names; read again when a crash lies between planning and sending. */
async function recordsOf(
  job: Job,
  plan: ChunkPlan,
  { broker, records: known }: SenderOptions & { readonly records: Records },
): Promise<Records> {
  if (job.spec.target.kind === "group") return known;
  const wanted = new Set(plan.sends.flatMap(({ runs }) => [...offsetsIn(runs)]));
  if ([...wanted].every((offset) => known.has(offset))) return known;
  const source = job.spec.sources[plan.source]!;
  requireTopics(job, source, broker);
  const records = new Map<number, DecodedRecord>();
  for (let offset = Math.min(...wanted); offset < plan.next;) {
    const read = await readSource(broker, source, { offset, to: plan.next });
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

/** A letter whose origin has gone is left out; a job that was cancelled leaves out whatever it cannot send. */
function mayLeaveOut(job: Job, error: BrokerError): boolean {
  if (error.retryable) return false;
  if (isFinished(job.phase)) return true;
  const gone = error.code === "UNKNOWN_TOPIC" || error.code === "UNKNOWN_PARTITION" ||
    error.code === "OFFSET_OUT_OF_RANGE";
  return gone && job.spec.kind === "redrive";
}

function isForgotten(error: BrokerError): boolean {
  return error.code === "OUT_OF_ORDER_SEQUENCE" && error.details.expectedSequence === 0;
}
