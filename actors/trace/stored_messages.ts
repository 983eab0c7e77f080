// Owns what the messages of a trace say themselves: reads them again where the index has them, and tells of each.
// Refuses to own the index (follower.ts) and what happened to them elsewhere (group_walk.ts, deliveries.ts).
// Invariant: what is no longer in the log, or is another message, is not told; reading stays within a budget.
import { BrokerError } from "../../storage/broker_error.ts";
import type { DecodedRecord } from "../../storage/format/decode.ts";
import {
  type BatchHeader,
  batchSpans,
  CODEC_MASK,
  readHeader,
  TRANSACTIONAL_BIT,
} from "../../storage/format/record_batch.ts";
import { compressionOf } from "../../storage/format/compression.ts";
import {
  DEAD_LETTER_HEADERS as NAMES,
  deadLetterTopic,
} from "../group/retry/dead_letter_record.ts";
import { type Letter, letterOf } from "../job/letter.ts";
import { REPLAY_JOB } from "../job/outgoing.ts";
import { isVisible } from "../partition/visible_batches.ts";
import { MAX_UNFOLDED_BYTES, recordsAt } from "./batch_traces.ts";
import type { FollowedPartition, PlacedRun } from "./follower.ts";
import { traceParentIn } from "./trace_id.ts";
import type { TraceDetail, TraceEvent } from "./types.ts";

/** Read and unfolded for one answer, and before others have their turn. */
const MAX_READ_BYTES = 64 * 1_048_576;
const TURN_BYTES = 4 * 1_048_576;
const FETCH_BYTES = 65_536;
const MAX_TEXT_CHARS = 200;
const decoder = new TextDecoder();

export interface StoredMessagesOptions {
  readonly traceId: string;
  /** Newest first. */
  readonly runs: readonly PlacedRun[];
  readonly maxEvents: number;
  /** Null while it is not open. */
  partition(run: PlacedRun): FollowedPartition | null;
  /** Null when nothing is known of the job any more. */
  kindOfJob(jobId: string): Promise<"replay" | "redrive" | null>;
  yieldTurn(): Promise<void>;
}

export interface StoredMessages {
  readonly events: readonly TraceEvent[];
  /** Where messages of the trace were found. */
  readonly runs: readonly PlacedRun[];
  readonly isCut: boolean;
}

interface ReadBatch {
  readonly header: BatchHeader;
  readonly records: readonly DecodedRecord[];
}

/** Tells of the messages themselves. */
export async function storedMessages(options: StoredMessagesOptions): Promise<StoredMessages> {
  const reading = new Reading(options);
  for (const run of options.runs) {
    if (!await reading.take(run)) break;
  }
  const { events, found: runs, isCut } = reading;
  return { events, runs, isCut };
}

class Reading {
  readonly events: TraceEvent[] = [];
  readonly found: PlacedRun[] = [];
  isCut = false;
  #readBytes = 0;
  #turnBytes = 0;
  /** Runs next to each other often lie in one batch. */
  #last: { readonly of: FollowedPartition; readonly batch: ReadBatch } | null = null;
  readonly #jobs = new Map<string, "replay" | "redrive" | null>();

  constructor(private readonly options: StoredMessagesOptions) {}

  /** False when a bound was reached. */
  async take(run: PlacedRun): Promise<boolean> {
    const { traceId, maxEvents, partition: find, yieldTurn } = this.options;
    if (this.#readBytes >= MAX_READ_BYTES || this.events.length >= maxEvents) {
      this.isCut = true;
      return false;
    }
    const partition = find(run);
    const batch = partition === null ? null : await this.#batchOf(partition, run);
    if (batch === null) return true;
    const records = batch.records.filter((record) =>
      record.offset >= run.firstOffset && record.offset <= run.lastOffset &&
      traceParentIn(record)?.traceId === traceId
    );
    await this.#tell(run, batch.header, records);
    if (this.#turnBytes >= TURN_BYTES) {
      this.#turnBytes = 0;
      await yieldTurn();
    }
    return true;
  }

  /** The first batch that holds something of the run; null when none is left that readers are shown. */
  async #batchOf(partition: FollowedPartition, run: PlacedRun): Promise<ReadBatch | null> {
    if (this.#last?.of === partition && holdsSome(this.#last.batch.header, run)) {
      return this.#last.batch;
    }
    try {
      const fetched = await partition.fetch(run.firstOffset, {
        maxBytes: FETCH_BYTES,
        isolation: "read_committed",
      });
      for (const { at, sizeBytes } of batchSpans(fetched.batches)) {
        const header = readHeader(fetched.batches, at);
        if (!holdsSome(header, run)) continue;
        if (!isVisible(header, fetched)) return null;
        const records = recordsAt(fetched.batches, at);
        this.#charge(records === null ? MAX_UNFOLDED_BYTES : Math.max(sizeBytes, sizeOf(records)));
        if (records === null) return null;
        this.#last = { of: partition, batch: { header, records } };
        return this.#last.batch;
      }
      return null;
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
      // Retention that went by meanwhile leaves out nothing that is still there.
      if (error.code !== "OFFSET_OUT_OF_RANGE") this.isCut = true;
      return null;
    }
  }

  #charge(bytes: number): void {
    this.#readBytes += bytes;
    this.#turnBytes += bytes;
  }

  async #tell(
    run: PlacedRun,
    header: BatchHeader,
    records: readonly DecodedRecord[],
  ): Promise<void> {
    let plain: DecodedRecord[] = [];
    const tellPlain = () => {
      if (plain.length > 0) this.events.push(published(run, header, plain));
      plain = [];
    };
    for (const record of records) {
      if (this.events.length >= this.options.maxEvents) {
        this.isCut = true;
        break;
      }
      const letter = letterOf(record);
      const jobId = textOf(record, REPLAY_JOB);
      if (jobId === null && !isLetter(run, letter)) {
        if (plain.length > 0 && plain.at(-1)!.offset + 1 !== record.offset) tellPlain();
        plain.push(record);
        continue;
      }
      tellPlain();
      this.events.push(
        jobId === null
          ? deadLettered(run, record, letter)
          : copied(run, record, { letter, jobId, kind: await this.#kindOf(jobId) }),
      );
    }
    tellPlain();
    if (records.length === 0) return;
    const [firstOffset, lastOffset] = [records[0]!.offset, records.at(-1)!.offset];
    this.found.push({ ...run, firstOffset, lastOffset, at: records[0]!.timestamp });
  }

  async #kindOf(jobId: string): Promise<"replay" | "redrive" | null> {
    const known = this.#jobs.get(jobId);
    if (known !== undefined) return known;
    const kind = await this.options.kindOfJob(jobId);
    this.#jobs.set(jobId, kind);
    return kind;
  }
}

function holdsSome(
  { baseOffset, lastOffsetDelta }: BatchHeader,
  { firstOffset, lastOffset }: PlacedRun,
): boolean {
  return lastOffset >= baseOffset && firstOffset <= baseOffset + lastOffsetDelta;
}

function sizeOf(records: readonly DecodedRecord[]): number {
  return records.reduce(
    (sum, { key, value }) => sum + (key?.length ?? 0) + (value?.length ?? 0),
    0,
  );
}

/** Anybody may have written what looks like one: it is one only where letters of its origin lie. */
function isLetter({ topic }: PlacedRun, { origin, group }: Letter): boolean {
  return origin !== null && group !== null && deadLetterTopic(origin.topic) === topic;
}

function textOf({ headers }: DecodedRecord, name: string): string | null {
  const value = headers.find(([given]) => given === name)?.[1] ?? null;
  return value === null ? null : decoder.decode(value).slice(0, MAX_TEXT_CHARS);
}

function published(
  { topic, partition }: PlacedRun,
  { attributes, leaderEpoch, producerId }: BatchHeader,
  records: readonly DecodedRecord[],
): TraceEvent {
  const [first, last] = [records[0]!, records.at(-1)!];
  const detail: TraceDetail = {
    leaderEpoch,
    compression: compressionOf(attributes & CODEC_MASK),
    ...(producerId < 0 ? {} : { producerId }),
    ...((attributes & TRANSACTIONAL_BIT) === 0 ? {} : { transactional: true }),
  };
  const place = { topic, partition, offset: first.offset };
  const more = records.length === 1 ? {} : { lastOffset: last.offset };
  return { at: first.timestamp, kind: "published", ...place, ...more, detail };
}

/** Told of the message that failed. */
function deadLettered(run: PlacedRun, record: DecodedRecord, letter: Letter): TraceEvent {
  const { origin, group, code, reason } = letter;
  const attempts = Number(textOf(record, NAMES.attempts) ?? NaN);
  const detail: TraceDetail = {
    ...(code === null ? {} : { code: code.slice(0, MAX_TEXT_CHARS) }),
    ...(reason === null ? {} : { reason: reason.slice(0, MAX_TEXT_CHARS) }),
    ...(letter.isLost ? { payload: "lost" } : {}),
  };
  return {
    at: record.timestamp,
    kind: "dead-lettered",
    ...origin!,
    group: group!,
    ...(Number.isSafeInteger(attempts) ? { attempt: attempts } : {}),
    related: { topic: run.topic, partition: run.partition, offset: record.offset },
    detail,
  };
}

/** Told of the copy. */
function copied(
  { topic, partition }: PlacedRun,
  record: DecodedRecord,
  { letter: { origin }, jobId, kind }: {
    letter: Letter;
    jobId: string;
    kind: "replay" | "redrive" | null;
  },
): TraceEvent {
  return {
    at: record.timestamp,
    kind: kind === "redrive" ? "redriven" : "replayed",
    topic,
    partition,
    offset: record.offset,
    ...(origin === null ? {} : { related: origin }),
    // Anybody may write such a header: a job that nobody knows (any more) vouches for nothing.
    detail: { jobId, ...(kind === null ? { isJobKnown: false } : {}) },
  };
}
