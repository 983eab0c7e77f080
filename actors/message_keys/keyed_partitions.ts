// Owns how the keys of a topic reach its partitions: directly on a broker alone, through `Reach` in a cluster, where the
// keys are known to the leader of partition 0 and the other partitions may be led anywhere.
// Refuses to own the keys (topic_keys.ts) and what a partition refuses of an older home (../partition/key_fence.ts).
// Invariant: below `readable` nothing is appended any more, and all that is there is acknowledged and can be read.
import { BrokerError } from "../../storage/broker_error.ts";
import { Slots } from "../../storage/turns.ts";
import type { AppendReceipt, FetchOptions, FetchResult, Topic } from "../broker.ts";
import type { Partition } from "../partition/partition.ts";
import type { KeysTerm, OffsetRange } from "../partition/types.ts";
import type { Reach } from "../reach.ts";
import { unknownPartition } from "../topic/unknown_topic.ts";

/** Partitions that are asked at the same time by a home that begins. */
const MAX_PARALLEL = 16;
const NOTHING: OffsetRange = Object.freeze({ startOffset: 0, endOffset: 0 });

/** All partitions of one topic. Methods throw when the topic is gone, and where a partition is known not to serve. */
export interface KeyedPartitions {
  readonly count: number;
  /** In which this broker is the home of the keys: in another one it knows nothing. Throws the refusal of one that is none. */
  term(): string;
  /** Begins the term of now: what was appended in older ones is readable when it resolves, and nothing more of theirs comes. */
  begin(): Promise<void>;
  /** The same of what this home itself has appended, where the outcome is not known. */
  settle(partition: number): Promise<void>;
  readable(partition: number): OffsetRange;
  /** With acks "all". */
  append(partition: number, batches: readonly Uint8Array[]): Promise<AppendReceipt>;
  fetch(partition: number, offset: number, options: FetchOptions): Promise<FetchResult>;
}

/** Of a broker that has all of them: nothing that was appended directly can come late. */
export class OwnPartitions implements KeyedPartitions {
  constructor(
    private readonly all: () => readonly Pick<Partition, "append" | "fetch" | "readable">[],
    private readonly name: string,
  ) {}

  get count(): number {
    return this.all().length;
  }

  term(): string {
    return "";
  }

  begin(): Promise<void> {
    return Promise.resolve();
  }

  settle(): Promise<void> {
    return Promise.resolve();
  }

  readable(partition: number): OffsetRange {
    return this.#at(partition).readable();
  }

  append(partition: number, batches: readonly Uint8Array[]): Promise<AppendReceipt> {
    return this.#at(partition).append(batches, { acks: "all" });
  }

  fetch(partition: number, offset: number, options: FetchOptions): Promise<FetchResult> {
    return this.#at(partition).fetch(offset, options);
  }

  #at(partition: number) {
    const found = this.all()[partition];
    if (found === undefined) throw new Error(`${this.name} has no partition ${partition}`);
    return found;
  }
}

export interface ReachedPartitionsOptions {
  readonly reach: Pick<Reach, "append" | "fetch" | "fenceKeys">;
  /** Throws UNKNOWN_TOPIC when it is gone. */
  topic(): Topic;
  /** Epoch in which this broker leads partition 0 of the topic; throws the refusal of that partition where it does not. */
  homeEpoch(): number;
}

/** Of a broker in a cluster, while it is the home. */
export class ReachedPartitions implements KeyedPartitions {
  #term: KeysTerm | null = null;
  #rounds = 0;
  /** By partition, since the term has begun. */
  #readable: OffsetRange[] = [];

  constructor(private readonly options: ReachedPartitionsOptions) {}

  get count(): number {
    return this.options.topic().partitionCount;
  }

  /** Partitions that come later may have had another home before this broker has heard of them. */
  term(): string {
    return `${this.options.homeEpoch()}/${this.count}`;
  }

  async begin(): Promise<void> {
    const term = this.#raised(this.options.homeEpoch());
    const slots = new Slots(MAX_PARALLEL);
    const numbers = Array.from({ length: this.count }, (_, number) => number);
    await Promise.all(numbers.map((number) => slots.run(() => this.#fence(number, term))));
  }

  async settle(partition: number): Promise<void> {
    const { leaderEpoch } = this.#current();
    await this.#fence(partition, this.#raised(leaderEpoch));
  }

  readable(partition: number): OffsetRange {
    return this.#readable[partition] ?? NOTHING;
  }

  async append(partition: number, batches: readonly Uint8Array[]): Promise<AppendReceipt> {
    const keysTerm = this.#current();
    const { reach } = this.options;
    const receipt = await reach.append(this.#at(partition), batches, { keysTerm });
    this.#grown(partition, receipt.highWatermark);
    return receipt;
  }

  async fetch(partition: number, offset: number, options: FetchOptions): Promise<FetchResult> {
    return await this.options.reach.fetch(this.#at(partition), offset, options);
  }

  /** Acknowledged in this term or before: whatever is appended from now on lies above. */
  #grown(partition: number, highWatermark: number): void {
    const { startOffset, endOffset } = this.readable(partition);
    this.#readable[partition] = { startOffset, endOffset: Math.max(endOffset, highWatermark) };
  }

  #current(): KeysTerm {
    if (this.#term !== null) return this.#term;
    throw this.#noHome();
  }

  #noHome(): BrokerError {
    const message = `the home of ${this.options.topic().name}'s keys has changed`;
    return new BrokerError("LEADER_NOT_AVAILABLE", message);
  }

  #raised(leaderEpoch: number): KeysTerm {
    const { topicId } = this.options.topic();
    if (this.#term?.leaderEpoch !== leaderEpoch) this.#readable = [];
    return this.#term = { topicId, leaderEpoch, round: ++this.#rounds };
  }

  async #fence(partition: number, term: KeysTerm): Promise<void> {
    const { startOffset, endOffset } = await this.options.reach.fenceKeys(
      this.#at(partition),
      term,
    );
    if (this.#term?.leaderEpoch !== term.leaderEpoch) throw this.#noHome();
    const known = this.readable(partition);
    this.#readable[partition] = {
      startOffset: Math.max(known.startOffset, startOffset),
      endOffset: Math.max(known.endOffset, endOffset),
    };
  }

  #at(partition: number): { topic: string; partition: number } {
    const topic = this.options.topic();
    if (partition < topic.partitionCount) return { topic: topic.name, partition };
    throw unknownPartition({ topic: topic.name, partition }, topic.partitionCount);
  }
}
