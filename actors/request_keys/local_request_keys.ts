// Owns request keys as this process serves them: the topic `__requests`, its index, and the port in front.
// Refuses to own what a request key means (request_keys.ts).
// Invariant: a broker that never saw an Idempotency-Key has no trace of them.
import type { MetadataStore } from "../../storage/metadata.ts";
import type { Crc32c, Randomness, Timers } from "../../storage/ports.ts";
import type { SnapshotStore } from "../../storage/snapshots.ts";
import type { Topic, TopicPartition } from "../broker.ts";
import { type KeysInCluster, MessageKeys } from "../message_keys/message_keys.ts";
import { DEFAULT_MESSAGE_KEY_SETTINGS } from "../message_keys/types.ts";
import type { Partition } from "../partition/partition.ts";
import type { Reach } from "../reach.ts";
import type { CatalogEvent } from "../topic/decide.ts";
import { RequestKeys } from "./request_keys.ts";
import { RequestLog } from "./request_log.ts";
import { ReachedRequestPartition } from "./request_partition.ts";
import { tenantOf } from "./request_names.ts";
import type { RequestKeyCounts, RequestKeySettings, RequestKeysPort } from "./types.ts";

/** The internal topic that holds intents and responses. */
export const REQUESTS_TOPIC = "__requests";
export const REQUESTS_PARTITIONS = 4;
/** An intent and a response. */
const RECORDS_PER_REQUEST = 2;
const HOUR_MS = 3_600_000;
/** What is older than its time goes by whole segments. */
const SEGMENT_HOURS = 12;

export interface LocalRequestKeysOptions {
  readonly settings: RequestKeySettings;
  readonly metadata: MetadataStore;
  readonly snapshots: SnapshotStore;
  readonly timers: Timers;
  readonly randomness: Randomness;
  readonly crc32c: Crc32c;
  /** Wall time, ms, that does not jump. */
  now(): number;
  monotonic(): number;
  topic(name: string): Topic | null;
  /** Rejects with UNKNOWN_TOPIC, UNKNOWN_PARTITION, LEADER_NOT_AVAILABLE. */
  partition(at: TopicPartition): Promise<Partition>;
  partitions(name: string): readonly Partition[];
  /** Left out: the broker is alone. */
  readonly cluster?: (KeysInCluster & { readonly reach: Reach }) | undefined;
  /** Makes `__requests` when it is not there, and resolves when it can be used. */
  ensureTopic(config: { retentionHours: number; segmentHours: number }): Promise<void>;
  report(event: { level: "warning"; message: string; error?: unknown }): void;
}

export class LocalRequestKeys implements RequestKeysPort {
  readonly #counts = { replayed: 0, reused: 0, inUse: 0, resumed: 0 };
  readonly #requests: RequestKeys;
  readonly #log: RequestLog;
  #ensured: Promise<void> | null = null;

  private constructor(
    private readonly options: LocalRequestKeysOptions,
    private readonly index: MessageKeys,
  ) {
    const { crc32c, now, partitions, cluster, partition } = options;
    this.#log = new RequestLog({
      topic: REQUESTS_TOPIC,
      crc32c,
      now,
      partitionCount: () =>
        cluster === undefined
          ? partitions(REQUESTS_TOPIC).length
          : options.topic(REQUESTS_TOPIC)?.partitionCount ?? 0,
      fetch: (number, offset, how) =>
        cluster === undefined
          ? partitions(REQUESTS_TOPIC)[number]!.fetch(offset, how)
          : cluster.reach.fetch({ topic: REQUESTS_TOPIC, partition: number }, offset, how),
      append: (at, batches, keys) => index.append(at, batches, keys),
      find: (key) => index.find(REQUESTS_TOPIC, key),
    });
    this.#requests = new RequestKeys({
      ...options,
      ...(cluster === undefined ? {} : { homeEpoch: () => cluster.homeEpoch(REQUESTS_TOPIC) }),
      partition: async (at, home) => {
        if (cluster === undefined || home === null) return await partition(at);
        const { topicId } = options.topic(REQUESTS_TOPIC)!;
        return new ReachedRequestPartition(cluster.reach, at, { topicId, ...home });
      },
      log: async () => {
        await this.#ensure();
        return this.#log;
      },
      count: (what) => this.#counts[what]++,
    });
  }

  /** Starts to load what is known of requests, when there is any. */
  static async open(options: LocalRequestKeysOptions): Promise<LocalRequestKeys> {
    const { windowMs, maxRequests } = options.settings;
    const maxKeys = maxRequests * RECORDS_PER_REQUEST;
    const topic = options.topic(REQUESTS_TOPIC);
    const index = await MessageKeys.open(
      {
        ...options,
        namespace: "request-keys",
        ownerOf: tenantOf,
        settings: {
          ...DEFAULT_MESSAGE_KEY_SETTINGS,
          windowMs,
          maxKeys,
          maxKeysPerTopic: maxKeys,
        },
      },
      topic === null ? [] : [topic],
    );
    return new LocalRequestKeys(options, index);
  }

  lookup: RequestKeysPort["lookup"] = (request) => this.#requests.lookup(request);

  begin: RequestKeysPort["begin"] = (request) => this.#requests.begin(request);

  append: RequestKeysPort["append"] = (request, at, batches) =>
    this.#requests.append(request, at, batches);

  complete: RequestKeysPort["complete"] = (request, response) =>
    this.#requests.complete(request, response);

  release: RequestKeysPort["release"] = (request) => this.#requests.release(request);

  counts(): Promise<RequestKeyCounts> {
    const { keys, expired, evicted } = this.index.counts();
    const { running } = this.#requests;
    // Those under way and those that came to no answer have one record only.
    return Promise.resolve({
      keys: Math.ceil(keys / RECORDS_PER_REQUEST),
      running,
      ...this.#counts,
      expired: Math.ceil(expired / RECORDS_PER_REQUEST),
      evicted: Math.ceil(evicted / RECORDS_PER_REQUEST),
    });
  }

  /** See MessageKeys. */
  homeChanged(topic: Topic, isHome: boolean): Promise<void> {
    if (!isHome) this.#requests.leave();
    return this.index.homeChanged(topic, isHome);
  }

  follow(event: CatalogEvent): void {
    this.index.follow(event);
  }

  /** Partitions must still be open. */
  close(): Promise<void> {
    return this.index.close();
  }

  /** What is found again after a start counts from then: it may be needed for twice the window. */
  #ensure(): Promise<void> {
    const { settings, ensureTopic } = this.options;
    const retentionHours = Math.ceil(2 * settings.windowMs / HOUR_MS) + 24;
    return this.#ensured ??= ensureTopic({ retentionHours, segmentHours: SEGMENT_HOURS }).catch(
      (error) => {
        this.#ensured = null;
        throw error;
      },
    );
  }
}
