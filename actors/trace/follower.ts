// Owns keeping the index of traces current: reads on in every partition, in small pieces, a piece each in turn.
// Refuses to own what is found (batch_traces.ts), the table (trace_index.ts), and when there is time (traces.ts).
// Invariant: what lies between a partition's `start` and `next` was looked at, but for batches told as passed over; publishing
// waits for none of it, and what is too much to be looked at is left out and told.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Clock } from "../../storage/ports.ts";
import type { Topic, TopicPartition } from "../broker.ts";
import type { Partition } from "../partition/partition.ts";
import { tracesIn } from "./batch_traces.ts";
import { TraceIndex, type TraceRun } from "./trace_index.ts";
import type { FoundMessages, TraceSettings } from "./types.ts";

/** One piece: read and looked at in a millisecond or two. */
const PIECE_BYTES = 262_144;
/** Partitions asked whether they have something new before others have their turn. */
const TURN_PARTITIONS = 500;
/** Fewer messages behind are caught up with, however large. */
const NEAR_MESSAGES = 1_000;
/** What is looked at before others have their turn. */
const TURN_BYTES = 1_048_576;
/** A partition that could not be read is tried again then. */
const RETRY_MS = 10_000;

/** `leads` is false where another broker leads it, which tells of it; left out: it does not. */
export type FollowedPartition =
  & Pick<Partition, "fetch" | "readable" | "info">
  & Partial<Pick<Partition, "leads">>;

export interface FollowerOptions {
  readonly settings: TraceSettings;
  readonly clock: Pick<Clock, "monotonic">;
  topics(): Iterable<Topic>;
  topic(name: string): Topic | null;
  /** In order, as far as they are open. */
  partitionsOf(topic: string): readonly FollowedPartition[];
  yieldTurn(): Promise<void>;
}

const UNTOLD = -1;

/** How far one partition has been looked at. */
interface Followed extends TopicPartition {
  readonly topicId: string;
  readonly createdAt: number;
  /** Null until it was first looked at. */
  range: { start: number; next: number } | null;
  /** Timestamp of the first message that is known; null: all that is stored is known; UNTOLD until one was read. */
  startMs: number | null;
  /** Batches from there on could not be looked into. */
  hasGaps: boolean;
  /** It could not be read when that was tried last. */
  isDown: boolean;
  retryAt: number;
}

/** A run with where it lies. */
export type PlacedRun = FoundMessages;

/** What is known of some topics. */
export interface Coverage {
  /** See FoundTrace. */
  readonly indexedFrom: number | null;
  /** Something after that was not looked at. */
  readonly hasGaps: boolean;
}

export class TraceFollower {
  readonly #index: TraceIndex;
  /** By topic id. */
  #followed = new Map<string, Followed[]>();
  /** By the number that the index knows them by. Those of deleted topics stay empty. */
  readonly #places: (Followed | null)[] = [];
  readonly #numbers = new Map<Followed, number>();
  /** All of them, and which was looked at last. */
  #order: Followed[] = [];
  #at = 0;

  constructor(private readonly options: FollowerOptions) {
    this.#index = new TraceIndex(options.settings.maxRuns, (run) => this.#forgotten(run));
  }

  /** Looks at what is new, of `maxBytes` about; resolves to what it cost. Never two at a time. */
  async follow(maxBytes: number): Promise<number> {
    this.#notice();
    let [costBytes, turnBytes, looked, idle] = [0, 0, 0, 0];
    while (costBytes < maxBytes && idle < this.#order.length) {
      // Where the last look ended: a few that are written to all the time do not keep the others waiting.
      this.#at = (this.#at + 1) % this.#order.length;
      const cost = await this.#look(this.#order[this.#at]!);
      idle = cost > 0 ? 0 : idle + 1;
      costBytes += cost;
      turnBytes += cost;
      if (++looked % TURN_PARTITIONS !== 0 && turnBytes < TURN_BYTES) continue;
      turnBytes = 0;
      await this.options.yieldTurn();
    }
    return costBytes;
  }

  /** Runs of the trace in these topics, newest first; `isCut`: there are more. */
  find(
    traceId: string,
    topics: ReadonlySet<string>,
    max: number,
  ): { runs: PlacedRun[]; isCut: boolean } {
    const found = this.#index.find(traceId, max + 1, (place) => {
      const topic = this.#places[place]?.topic;
      return topic !== undefined && topics.has(topic);
    });
    const runs = found.slice(0, max).map(({ place, firstOffset, lastOffset, at }) => {
      const { topic, partition, createdAt } = this.#places[place]!;
      return { topic, partition, createdAt, firstOffset, lastOffset, at };
    });
    return { runs, isCut: found.length > max };
  }

  coverage(topics: ReadonlySet<string>): Coverage {
    let indexedFrom: number | null = null;
    let hasGaps = false;
    for (const one of this.#order) {
      if (!topics.has(one.topic)) continue;
      const partition = this.#partitionOf(one);
      if (partition?.leads === false) continue;
      if (one.startMs !== null) indexedFrom = Math.max(indexedFrom ?? 0, one.startMs);
      hasGaps ||= one.hasGaps || one.isDown || one.startMs === UNTOLD || partition === null ||
        lacks(one, partition);
    }
    return { indexedFrom, hasGaps };
  }

  /** Topics that came and grew are followed, those that are gone are not any more. */
  #notice(): void {
    const followed = new Map<string, Followed[]>();
    this.#order = [];
    for (const topic of this.options.topics()) {
      if (topic.internal) continue;
      const known = this.#followed.get(topic.topicId) ?? [];
      while (known.length < topic.partitionCount) known.push(this.#newOf(topic, known.length));
      followed.set(topic.topicId, known);
      for (const one of known) this.#order.push(one);
    }
    for (const [topicId, gone] of this.#followed) {
      if (followed.has(topicId)) continue;
      for (const one of gone) this.#forget(one);
    }
    this.#followed = followed;
  }

  /** Null while it is not open, and when its topic has gone meanwhile. */
  #partitionOf({ topic, topicId, partition }: Followed): FollowedPartition | null {
    if (this.options.topic(topic)?.topicId !== topicId) return null;
    return this.options.partitionsOf(topic)[partition] ?? null;
  }

  async #look(one: Followed): Promise<number> {
    const partition = this.#partitionOf(one);
    if (partition === null || partition.leads === false) return 0;
    if (!this.#isBehind(one, partition)) return 0;
    return await this.#piece(one, partition);
  }

  #newOf({ name, topicId, createdAt }: Topic, partition: number): Followed {
    const at = { topic: name, partition, topicId, createdAt };
    const state = { hasGaps: false, isDown: false, retryAt: -Infinity };
    return { ...at, range: null, startMs: null, ...state };
  }

  #forget(one: Followed): void {
    const number = this.#numbers.get(one);
    if (number !== undefined) this.#places[number] = null;
    this.#numbers.delete(one);
  }

  #placeOf(one: Followed): number {
    const known = this.#numbers.get(one);
    if (known !== undefined) return known;
    const number = this.#places.push(one) - 1;
    this.#numbers.set(one, number);
    return number;
  }

  #isBehind(one: Followed, partition: FollowedPartition): boolean {
    if (this.options.clock.monotonic() < one.retryAt) return false;
    try {
      const { startOffset, endOffset } = partition.readable();
      const isBehind = (one.range?.next ?? startOffset) < endOffset;
      if (!isBehind) one.isDown = false;
      return isBehind;
    } catch (error) {
      this.#failed(one, error);
      return false;
    }
  }

  /** Not readable now: whoever reads it hears why, and the partition itself tells of damage. */
  #failed(one: Followed, error: unknown): void {
    if (!(error instanceof BrokerError)) throw error;
    one.isDown = true;
    one.retryAt = this.options.clock.monotonic() + RETRY_MS;
  }

  /** Looks at one piece; resolves to what it cost, 0 when there was nothing yet. */
  async #piece(one: Followed, partition: FollowedPartition): Promise<number> {
    try {
      const range = this.#rangeOf(one, partition);
      const fetched = await partition.fetch(range.next, {
        maxBytes: PIECE_BYTES,
        isolation: "read_committed",
      });
      const found = tracesIn(fetched, range.next, PIECE_BYTES);
      const place = found.runs.length === 0 ? 0 : this.#placeOf(one);
      for (const { traceId, ...run } of found.runs) this.#index.add(traceId, { place, ...run });
      if (one.startMs === UNTOLD && found.costBytes > 0) one.startMs = Math.max(0, found.firstMs);
      range.next = found.next;
      one.hasGaps ||= found.passedOver > 0;
      one.isDown = false;
      return found.costBytes;
    } catch (error) {
      this.#failed(one, error);
      return 0;
    }
  }

  /** Where to look on: never further back than a look goes, nor where nothing is any more. */
  #rangeOf(one: Followed, partition: FollowedPartition): { start: number; next: number } {
    const { startOffset, endOffset } = partition.readable();
    const next = Math.max(one.range?.next ?? startOffset, startOffset);
    const range = one.range ??= { start: next, next };
    range.next = next;
    if (endOffset - next <= NEAR_MESSAGES) return range;
    const from = endOffset - this.#lookBackOffsets(partition, endOffset - startOffset);
    if (from <= next) return range;
    [range.start, range.next] = [from, from];
    one.startMs = UNTOLD;
    one.hasGaps = false;
    return range;
  }

  /** How many messages a look back is, by their size so far. */
  #lookBackOffsets(partition: FollowedPartition, messages: number): number {
    const { lookBackBytes, lookBackMessages, totalLookBackBytes } = this.options.settings;
    const { sizeBytes, archivedBytes = 0 } = partition.info();
    const share = Math.floor(totalLookBackBytes / Math.max(1, this.#order.length));
    const messageBytes = Math.max(1, (sizeBytes + archivedBytes) / Math.max(1, messages));
    // What was archived is not fetched from afar for this.
    const bytes = Math.min(lookBackBytes, share, sizeBytes);
    return Math.min(lookBackMessages, Math.max(NEAR_MESSAGES, Math.floor(bytes / messageBytes)));
  }

  /** A run made room for a new one: what is known of its partition begins behind it. */
  #forgotten({ place, lastOffset, at }: TraceRun): void {
    const one = this.#places[place];
    if (one === null || one === undefined || one.range === null) return;
    one.range.start = Math.max(one.range.start, lastOffset + 1);
    one.startMs = Math.max(one.startMs ?? 0, at);
  }
}

/** Messages that readers are shown lie behind what was looked at. */
function lacks({ range }: Followed, partition: FollowedPartition): boolean {
  const { logStartOffset, lastStableOffset } = partition.info();
  return (range?.next ?? logStartOffset) < lastStableOffset;
}
