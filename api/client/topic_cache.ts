// Owns what the producer knows of topics: partition count, largest message, who waits to learn it, the sticky partition.
// Refuses to own messages or the requests that carry them.
// Invariant: at most one lookup per topic is on its way; a topic that is not there is forgotten at once.
import { partitionForKey } from "../../storage/format/murmur2.ts";
import type { Cancel, Randomness } from "../../storage/ports.ts";
import { PartitionQueue } from "./accumulator.ts";
import { backoffMs, DEFAULT_BACKOFF } from "./backoff.ts";
import { asWaybillError, WaybillError } from "./errors.ts";
import type { ClientPorts } from "./ports.ts";
import { nodesIn } from "./nodes.ts";
import { parseJson, type Transport } from "./transport.ts";

/** Topics remembered at most; beyond it the oldest that holds no messages is forgotten. */
export const MAX_CACHED_TOPICS = 10_000;
/** A keyless batch looks at this many partitions for one that is idle. */
const MAX_STICKY_PROBES = 16;
/** In a cluster leaders move by themselves: they are asked for again after this while messages go to them, … */
export const LEADERS_MAX_AGE_MS = 30_000;
/** … and no sooner than this where one has failed, or is missing. */
export const LEADERS_MIN_AGE_MS = 250;

export interface TopicMetadata {
  readonly partitionCount: number;
  /** Infinity when the broker does not say. */
  readonly maxMessageBytes: number;
  /** Node id of each partition's leader; null where there is none, or the broker does not say. */
  readonly leaders: readonly (string | null)[];
  /** Whether more than one broker is named. */
  readonly isSpread: boolean;
  /** Monotonic, ms. */
  readonly loadedAt: number;
}

/** One topic as the producer sees it. */
export class ProducerTopic {
  metadata: TopicMetadata | null = null;
  readonly queues: PartitionQueue[] = [];
  /** Where messages without key go until the batch there is full or sent; -1 when that is to be chosen. */
  sticky = -1;
  #cursor: number;

  constructor(readonly name: string, randomness: Randomness) {
    // Many producers that start together should not all begin at partition 0.
    this.#cursor = Math.floor(randomness.fraction() * 0x7fffffff);
  }

  queue(partition: number): PartitionQueue {
    return this.queues[partition] ??= new PartitionQueue(this.name, partition);
  }

  /** Partition for a message that names none; the metadata must be there. */
  partitionFor(key: Uint8Array | null): number {
    const { partitionCount } = this.metadata!;
    if (key !== null) return partitionForKey(key, partitionCount);
    if (this.sticky < 0 || this.sticky >= partitionCount) {
      this.sticky = this.#chooseSticky(partitionCount);
    }
    return this.sticky;
  }

  /** The next in turn that has nothing waiting, so that one slow partition does not collect what has no key. */
  #chooseSticky(partitionCount: number): number {
    const probes = Math.min(partitionCount, MAX_STICKY_PROBES);
    this.#cursor++;
    for (let probe = 0; probe < probes; probe++) {
      const partition = (this.#cursor + probe) % partitionCount;
      if ((this.queues[partition]?.chunks.length ?? 0) === 0) {
        this.#cursor += probe;
        return partition;
      }
    }
    return this.#cursor % partitionCount;
  }
}

/** Asks the broker about a topic. Errors: UNKNOWN_TOPIC and those of the transport. */
export async function loadTopicMetadata(
  transport: Transport,
  topic: string,
  options: { timeoutMs: number; now: () => number },
): Promise<TopicMetadata> {
  const path = `/api/topics/${encodeURIComponent(topic)}`;
  const answer = await transport.send({ method: "GET", path, timeoutMs: options.timeoutMs });
  const body = parseJson<{ partitions?: { leader?: unknown }[]; maxMessageBytes?: number }>(answer);
  if (!Array.isArray(body.partitions) || body.partitions.length === 0) {
    throw new WaybillError("BAD_RESPONSE", `the broker does not tell the partitions of ${topic}`, {
      retryable: false,
      status: answer.status,
    });
  }
  const leaders = body.partitions.map(({ leader }) => typeof leader === "string" ? leader : null);
  const nodes = nodesIn(body);
  transport.sighted?.(nodes);
  return {
    partitionCount: body.partitions.length,
    maxMessageBytes: body.maxMessageBytes ?? Infinity,
    leaders,
    isSpread: nodes.size > 1,
    loadedAt: options.now(),
  };
}

export interface TopicCacheOptions {
  readonly maxAgeMs: number;
  readonly ports: Pick<ClientPorts, "clock" | "timers" | "randomness">;
  readonly load: (topic: string) => Promise<TopicMetadata>;
  /** A lookup has ended: metadata is there, or `error` says why not. A retryable one is tried again. */
  readonly onLoaded: (topic: ProducerTopic, error: WaybillError | null) => void;
  /** Whether anything waits for the topic's metadata. */
  readonly isWanted: (topic: ProducerTopic) => boolean;
}

export class TopicCache {
  readonly #topics = new Map<string, ProducerTopic>();
  /** Topics that are being looked up, or wait until they may be again. */
  readonly #busy = new Set<ProducerTopic>();
  readonly #cancels = new Set<Cancel>();
  readonly #options: TopicCacheOptions;
  /** More than one broker was named: leaders can move. */
  #isSpread = false;

  constructor(options: TopicCacheOptions) {
    this.#options = options;
  }

  /** The topic, made known if it was not; its metadata may be missing. */
  topic(name: string): ProducerTopic {
    let topic = this.#topics.get(name);
    if (topic === undefined) {
      if (this.#topics.size >= MAX_CACHED_TOPICS) this.#forgetOne();
      topic = new ProducerTopic(name, this.#options.ports.randomness);
      this.#topics.set(name, topic);
    }
    return topic;
  }

  /** How long ago the metadata was learnt; Infinity when there is none. */
  ageMs(topic: ProducerTopic): number {
    return topic.metadata === null
      ? Infinity
      : this.#options.ports.clock.monotonic() - topic.metadata.loadedAt;
  }

  /** Asks the broker again, unless that is under way. */
  refresh(topic: ProducerTopic, attempt = 1): void {
    if (this.#busy.has(topic)) return;
    this.#busy.add(topic);
    this.#options.load(topic.name).then(
      (metadata) => this.#loaded(topic, metadata),
      (error) => this.#failed(topic, asWaybillError(error, "NETWORK_ERROR"), attempt),
    );
  }

  /** Asks whether the partition is there after all. */
  async confirmPartition(queue: PartitionQueue): Promise<boolean> {
    const metadata = await this.#options.load(queue.topic);
    const topic = this.#topics.get(queue.topic);
    if (topic !== undefined) this.#keep(topic, metadata);
    return queue.partition < metadata.partitionCount;
  }

  /** The partition's batch is on its way: what has no key goes elsewhere now, and old metadata is asked for again. */
  dispatched(queue: PartitionQueue): void {
    const topic = this.#topics.get(queue.topic);
    if (topic === undefined) return;
    if (topic.sticky === queue.partition) topic.sticky = -1;
    const { maxAgeMs } = this.#options;
    const boundMs = this.#isSpread ? Math.min(maxAgeMs, LEADERS_MAX_AGE_MS) : maxAgeMs;
    if (this.ageMs(topic) > boundMs) this.refresh(topic);
    else if (this.leaderOf(queue) === null) this.doubtLeader(queue);
  }

  /** Node id of the partition's leader as far as it is known. */
  leaderOf(queue: PartitionQueue): string | null {
    return this.#topics.get(queue.topic)?.metadata?.leaders[queue.partition] ?? null;
  }

  /** Asks again who leads, where it can be another one. */
  doubtLeader(queue: PartitionQueue): void {
    const topic = this.#topics.get(queue.topic);
    if (topic === undefined || !this.#isSpread) return;
    if (this.ageMs(topic) >= LEADERS_MIN_AGE_MS) this.refresh(topic);
  }

  /** Gives up every lookup that waits. */
  stop(): void {
    for (const cancel of this.#cancels) cancel();
    this.#cancels.clear();
  }

  #loaded(topic: ProducerTopic, metadata: TopicMetadata): void {
    this.#busy.delete(topic);
    this.#keep(topic, metadata);
    this.#options.onLoaded(topic, null);
  }

  #keep(topic: ProducerTopic, metadata: TopicMetadata): void {
    topic.metadata = metadata;
    this.#isSpread ||= metadata.isSpread;
  }

  #failed(topic: ProducerTopic, error: WaybillError, attempt: number): void {
    const { timers, randomness } = this.#options.ports;
    if (!error.retryable) {
      this.#busy.delete(topic);
      topic.metadata = null;
      if (error.code === "UNKNOWN_TOPIC" && isIdle(topic)) this.#topics.delete(topic.name);
      this.#options.onLoaded(topic, error);
      return;
    }
    this.#options.onLoaded(topic, error);
    const { retryAfterMs } = error;
    const waitMs = backoffMs({ attempt, retryAfterMs }, DEFAULT_BACKOFF, randomness);
    const cancel = timers.after(waitMs, () => {
      this.#cancels.delete(cancel);
      this.#busy.delete(topic);
      if (this.#options.isWanted(topic)) this.refresh(topic, attempt + 1);
    });
    this.#cancels.add(cancel);
  }

  #forgetOne(): void {
    for (const [name, topic] of this.#topics) {
      if (!isIdle(topic) || this.#busy.has(topic)) continue;
      this.#topics.delete(name);
      return;
    }
  }
}

function isIdle(topic: ProducerTopic): boolean {
  return topic.queues.every((queue) => queue === undefined || queue.chunks.length === 0);
}
