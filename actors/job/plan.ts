// Owns what becomes of each message that a job reads, and the cutting of what is read into chunks.
// Refuses to own reading (source.ts) and sending (runner.ts).
// Invariant: pure; a plan names every offset that it sends, so whoever carries it out needs to decide nothing.
import type { DecodedRecord } from "../../storage/format/decode.ts";
import { partitionForKey } from "../../storage/format/murmur2.ts";
import type { Topic } from "../broker.ts";
import { deadLetterTopic } from "../group/retry/dead_letter_record.ts";
import type { ChunkPlan, ChunkSend, JobSpec } from "./events.ts";
import { GROUP_SEQUENCE, sequenceKey } from "./evolve.ts";
import { isMeant, letterOf } from "./letter.ts";
import type { LogStarts } from "./log_starts.ts";
import { hasOffset, runsOf } from "./runs.ts";
import { nextSequence } from "./sequences.ts";
import type { SourceRead } from "./source.ts";
import type { Job } from "./state.ts";
import type { JobSource, OffsetRun } from "./types.ts";

/** Keys, values and headers in one chunk, unless its first message alone has more. */
const MAX_CHUNK_BYTES = 1_048_576;
export const MAX_CHUNK_MESSAGES = 1_000;

/** What planning needs to know beside the job. */
export interface PlanContext {
  topic(name: string): Topic | null;
  /** Offsets of the source that other jobs have redriven; empty when that does not matter. */
  readonly redriven: readonly OffsetRun[];
  /** Of partitions that letters came from, when a group is to read them again. */
  readonly logStarts: LogStarts;
}

interface Route {
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  /** Offset of the message a dead letter came from; null when it is the record's own. */
  readonly offset: number | null;
}

/** A message goes somewhere, or is left out: not meant, redriven before, or impossible to send. */
export type Fate = Route | "not meant" | "redriven" | "undeliverable";

/** What becomes of `record`, read from `source`. */
export function fateOf(
  record: DecodedRecord,
  at: { readonly spec: JobSpec; readonly source: JobSource },
  context: PlanContext,
): Fate {
  const { spec, source } = at;
  if (spec.kind === "redrive") return fateOfLetter(record, at, context);
  const { topic, topicId, partition } = source;
  if (spec.target.kind !== "topic") return { topic, topicId, partition, offset: null };
  const target = context.topic(spec.target.topic);
  if (target?.topicId !== spec.target.topicId) return "undeliverable";
  const same = target.topicId === topicId ||
    target.partitionCount === context.topic(topic)?.partitionCount;
  return {
    ...spec.target,
    partition: same ? partition : partitionIn(target, record, partition),
    offset: null,
  };
}

/** As publishing would choose it; without a key, messages of one partition stay together. */
function partitionIn(target: Topic, record: DecodedRecord, partition: number): number {
  const { partitionCount } = target;
  return record.key === null
    ? partition % partitionCount
    : partitionForKey(record.key, partitionCount);
}

function fateOfLetter(
  record: DecodedRecord,
  { spec, source }: { readonly spec: JobSpec; readonly source: JobSource },
  context: PlanContext,
): Fate {
  const letter = letterOf(record);
  if (!isMeant(letter, spec.filter ?? {})) return "not meant";
  if (hasOffset(context.redriven, record.offset)) return "redriven";
  if (letter.origin === null || letter.isLost) return "undeliverable";
  const { topic, partition, offset } = letter.origin;
  // Whoever may write to a topic of dead letters must not choose where somebody else's redrive sends what.
  if (deadLetterTopic(topic) !== source.topic) return "undeliverable";
  const origin = context.topic(topic);
  if (origin === null || origin.internal || partition >= origin.partitionCount) {
    return "undeliverable";
  }
  if (offset < (context.logStarts.get(`${topic}/${partition}`) ?? 0)) return "undeliverable";
  return { topic, topicId: origin.topicId, partition, offset };
}

/** The next chunk of `job` out of what was read at its cursor; no more than `maxMessages` of it. */
export function planChunk(
  job: Job,
  read: SourceRead,
  options: PlanContext & { readonly maxMessages: number },
): ChunkPlan {
  const source = job.spec.sources[job.source]!;
  const targets = new Map<string, { route: Route; offsets: number[]; origins: number[] }>();
  const left = { skipped: 0, alreadyRedriven: 0 };
  let next = read.next;
  let messages = 0;
  let sizeBytes = 0;
  for (const record of read.records) {
    const fate = fateOf(record, { spec: job.spec, source }, options);
    if (fate === "undeliverable") left.skipped++;
    else if (fate === "redriven") left.alreadyRedriven++;
    if (typeof fate === "string") continue;
    sizeBytes += contentBytes(record);
    if (messages === options.maxMessages || (sizeBytes > MAX_CHUNK_BYTES && messages > 0)) {
      next = record.offset;
      break;
    }
    messages++;
    const key = sequenceKey(fate);
    const target = targets.get(key) ?? { route: fate, offsets: [], origins: [] };
    target.offsets.push(record.offset);
    target.origins.push(fate.offset ?? record.offset);
    targets.set(key, target);
  }
  return { chunk: job.chunk, source: job.source, next, sends: sendsOf(job, targets), ...left };
}

function sendsOf(
  job: Job,
  targets: ReadonlyMap<string, { route: Route; offsets: number[]; origins: number[] }>,
): ChunkSend[] {
  const toGroup = job.spec.target.kind === "group";
  return [...targets].map(([key, { route, offsets, origins }], index) => {
    const { topic, topicId, partition } = route;
    const known = job.sequences[toGroup ? GROUP_SEQUENCE : key] ?? 0;
    return {
      topic,
      topicId,
      partition,
      baseSequence: toGroup ? nextSequence(known, index) : known,
      runs: runsOf(offsets),
      ...(toGroup && job.spec.kind === "redrive" ? { offsets: rising(origins) } : {}),
    };
  });
}

/** One message may have become a dead letter more than once; its group gets it once. */
function rising(offsets: readonly number[]): number[] {
  return [...new Set(offsets)].sort((a, b) => a - b);
}

function contentBytes({ key, value, headers }: DecodedRecord): number {
  let sizeBytes = (key?.length ?? 0) + (value?.length ?? 0);
  for (const [name, header] of headers) sizeBytes += name.length + (header?.length ?? 0);
  return sizeBytes;
}
