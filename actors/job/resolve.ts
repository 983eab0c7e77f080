// Owns turning what an operator asks for into what a job is to do: topics, offsets, and how many messages that is.
// Refuses to own the job's life (decide.ts) and work (runner.ts).
// Invariant: a job is only made for a range that can be read and for targets that exist.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Topic, TopicPartition } from "../broker.ts";
import { DEAD_LETTER_PREFIX, deadLetterTopic } from "../group/retry/dead_letter_record.ts";
import { unknownTopic } from "../topic/unknown_topic.ts";
import type { JobCount, JobSpec } from "./events.ts";
import { fateOf, type PlanContext } from "./plan.ts";
import { logStartsFor } from "./log_starts.ts";
import type { JobBroker } from "./ports.ts";
import { countSource, readSource, type SourceRead } from "./source.ts";
import type {
  JobRequest,
  JobSource,
  JobTarget,
  OffsetRun,
  Place,
  RedriveRequest,
  ReplayRequest,
} from "./types.ts";

/** Bytes that are read to count a range while somebody waits; the rest of a longer one is estimated. */
const MAX_COUNTED_BYTES = 256 * 1_048_576;
/** The same where each message must be looked at. */
const MAX_LOOKED_THROUGH_BYTES = 32 * 1_048_576;
/** After a read of this size others get their turn. */
const TURN_BYTES = 256 * 1_024;

/** The job that `request` means. Errors: see `Jobs.submit`. */
export async function resolveJob(broker: JobBroker, request: JobRequest): Promise<JobSpec> {
  return request.kind === "replay"
    ? await resolveReplay(broker, request)
    : await resolveRedrive(broker, request);
}

async function resolveReplay(broker: JobBroker, request: ReplayRequest): Promise<JobSpec> {
  const topic = writable(broker, request.topic);
  const source = await sourceIn(broker, topic, { ...request, clamped: false });
  return {
    kind: "replay",
    sources: [source],
    target: await replayTarget(broker, topic, request.target),
    filter: null,
    includeRedriven: false,
    ratePerSecond: request.ratePerSecond,
  };
}

async function replayTarget(
  broker: JobBroker,
  source: Topic,
  target: ReplayRequest["target"],
): Promise<JobTarget> {
  if (target !== null && "group" in target) {
    await broker.requireGroup(target.group);
    return { kind: "group", group: target.group };
  }
  const { name, topicId } = target === null ? source : writable(broker, target.topic);
  return { kind: "topic", topic: name, topicId };
}

async function resolveRedrive(broker: JobBroker, request: RedriveRequest): Promise<JobSpec> {
  const { group, filter, includeRedriven, ratePerSecond } = request;
  const letters = lettersOf(broker, request.topic);
  if (group !== null) await broker.requireGroup(group);
  const sources: JobSource[] = [];
  if (letters !== null) {
    const all = Array.from({ length: letters.partitionCount }, (_, partition) => partition);
    const clamped = request.partition === null;
    if (clamped) await refuseBeyondAll(broker, letters, request);
    for (const partition of request.partition === null ? all : [request.partition]) {
      sources.push(await sourceIn(broker, letters, { ...request, partition, clamped }));
    }
  }
  return {
    kind: "redrive",
    sources,
    target: group === null ? { kind: "origin" } : { kind: "group", group },
    filter: group === null ? filter : { ...filter, group },
    includeRedriven,
    ratePerSecond,
  };
}

/** Null: the topic exists, and nothing of it was ever given up. */
function lettersOf(broker: JobBroker, name: string): Topic | null {
  const letters = broker.topic(deadLetterTopic(name));
  if (letters !== null) return letters;
  const named = broker.topic(name);
  if (named === null) throw unknownTopic(name);
  return name.startsWith(DEAD_LETTER_PREFIX) ? named : null;
}

/** An offset is looked for in each partition, and some are longer than others; one that is in none is a mistake. */
async function refuseBeyondAll(
  broker: JobBroker,
  { name, partitionCount }: Topic,
  { from, to }: RedriveRequest,
): Promise<void> {
  let highWatermark = 0;
  for (let partition = 0; partition < partitionCount; partition++) {
    const info = await broker.partitionInfo({ topic: name, partition });
    highWatermark = Math.max(highWatermark, info.highWatermark);
  }
  for (const place of [from, to]) {
    if (place.kind !== "offset" || place.offset <= highWatermark) continue;
    throw new BrokerError(
      "OFFSET_OUT_OF_RANGE",
      `offset ${place.offset} is beyond the end of every partition of ${name}: ${highWatermark}`,
      { topic: name, offset: place.offset, highWatermark },
    );
  }
}

async function sourceIn(
  broker: JobBroker,
  topic: Topic,
  range: { partition: number; from: Place; to: Place; clamped: boolean },
): Promise<JobSource> {
  const { partition, clamped } = range;
  if (partition >= topic.partitionCount) {
    throw new BrokerError(
      "UNKNOWN_PARTITION",
      `topic ${topic.name} has ${topic.partitionCount} partitions, there is no ${partition}`,
      { topic: topic.name, partition, partitions: topic.partitionCount },
    );
  }
  const at = { topic: topic.name, partition };
  const { logStartOffset, highWatermark } = await broker.partitionInfo(at);
  const offsetOf = async (place: Place): Promise<number> => {
    if (place.kind === "earliest") return logStartOffset;
    if (place.kind === "latest") return highWatermark;
    if (place.kind === "offset" && !clamped) return place.offset;
    const offset = place.kind === "offset"
      ? place.offset
      : await offsetOfTime(broker, at, { timestampMs: place.timestampMs, highWatermark });
    return Math.min(Math.max(offset, logStartOffset), highWatermark);
  };
  const from = await offsetOf(range.from);
  const to = await offsetOf(range.to);
  if (Math.min(from, to) < logStartOffset || Math.max(from, to) > highWatermark) {
    throw new BrokerError(
      "OFFSET_OUT_OF_RANGE",
      `the range from ${from} to ${to} of ${topic.name}/${partition} is not within ` +
        `${logStartOffset} to ${highWatermark}`,
      { logStartOffset, highWatermark },
    );
  }
  if (from > to) {
    throw new BrokerError("INVALID_REQUEST", `the range from ${from} to ${to} goes backwards`, {
      from,
      to,
    });
  }
  return { topic: topic.name, topicId: topic.topicId, partition, from, to };
}

/** A log finds the batch in which a time lies; the message is looked for in it. */
async function offsetOfTime(
  broker: JobBroker,
  at: TopicPartition,
  { timestampMs, highWatermark }: { timestampMs: number; highWatermark: number },
): Promise<number> {
  let offset = await broker.offsetForTime(at, timestampMs);
  while (offset < highWatermark) {
    const { records, next } = await readSource(broker, at, { offset, to: highWatermark });
    const first = records.find((record) => record.timestamp >= timestampMs);
    if (first !== undefined) return first.offset;
    if (next === offset) break;
    offset = next;
  }
  return offset;
}

function writable(broker: JobBroker, name: string): Topic {
  const topic = broker.topic(name);
  if (topic === null) throw unknownTopic(name);
  if (topic.internal) {
    throw new BrokerError("INTERNAL_TOPIC", `topic ${name} is internal and read-only`, {
      topic: name,
    });
  }
  return topic;
}

/**
 * How many messages `spec` is about, as far as they can be counted in reasonable time. A job waits for transactions that
 * are open, so it may yet send what they hold; a dry run counts what it could send now.
 */
export async function countJob(
  broker: JobBroker,
  spec: JobSpec,
  options: {
    readonly dryRun: boolean;
    readonly redriven: (source: JobSource) => Promise<readonly OffsetRun[]>;
    /** Resolves when others have had their turn. */
    readonly yieldTurn: () => Promise<void>;
  },
): Promise<JobCount> {
  const count = { total: 0, totalExact: true, skipped: 0, alreadyRedriven: 0 };
  const onlyHeaders = spec.kind === "replay";
  let left = onlyHeaders ? MAX_COUNTED_BYTES : MAX_LOOKED_THROUGH_BYTES;
  for (const source of spec.sources) {
    const known = onlyHeaders || spec.includeRedriven ? [] : await options.redriven(source);
    let offset = source.from;
    while (offset < source.to && left > 0) {
      const range = { offset, to: source.to };
      const { next, sizeBytes } = onlyHeaders
        ? await addAll(count, await countSource(broker, source, range))
        : await addLetters(count, await readSource(broker, source, range), {
          broker,
          spec,
          source,
          redriven: known,
        });
      if (next === offset) break;
      left -= sizeBytes;
      offset = next;
      if (sizeBytes >= TURN_BYTES) await options.yieldTurn();
    }
    if (offset === source.to) continue;
    const to = options.dryRun ? await readableEnd(broker, source) : source.to;
    if (offset >= to) continue;
    count.total += to - offset;
    count.totalExact = false;
  }
  return count;
}

/** Where reading what is committed ends within `source`, now. */
async function readableEnd(broker: JobBroker, source: JobSource): Promise<number> {
  return Math.min(source.to, (await broker.partitionInfo(source)).lastStableOffset);
}

type Counting = { -readonly [Key in keyof JobCount]: JobCount[Key] };

function addAll<Read extends { messages: number }>(count: Counting, read: Read): Read {
  count.total += read.messages;
  return read;
}

async function addLetters(
  count: Counting,
  read: SourceRead,
  { broker, spec, source, redriven }: {
    broker: JobBroker;
    spec: JobSpec;
    source: JobSource;
    redriven: readonly OffsetRun[];
  },
): Promise<SourceRead> {
  const logStarts = await logStartsFor(broker, spec, read.records);
  const context: PlanContext = { topic: (name) => broker.topic(name), redriven, logStarts };
  for (const record of read.records) {
    const fate = fateOf(record, { spec, source }, context);
    if (typeof fate !== "string") count.total++;
    else if (fate === "undeliverable") count.skipped++;
    else if (fate === "redriven") count.alreadyRedriven++;
  }
  return read;
}
