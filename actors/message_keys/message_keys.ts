// Owns the message keys of all topics: which topics have some, snapshots of them, the bound over all, the counts.
// Refuses to own the keys of one topic (topic_keys.ts) and how batches are appended (the partition).
// Invariant: that a topic has keys is durable before its first keyed append, so that others need never be looked at.
import type { MetadataKey, MetadataStore } from "../../storage/metadata.ts";
import type { Cancel, Timers } from "../../storage/ports.ts";
import type { SnapshotStore } from "../../storage/snapshots.ts";
import type { AppendReceipt, Topic, TopicPartition } from "../broker.ts";
import type { Partition } from "../partition/partition.ts";
import type { Reach } from "../reach.ts";
import type { CatalogEvent } from "../topic/decide.ts";
import { unknownTopic } from "../topic/unknown_topic.ts";
import type { KeyPlace } from "./key_table.ts";
import {
  decodeKeySnapshot,
  encodeKeySnapshot,
  KEY_SNAPSHOT_VERSION,
  type KeySnapshot,
} from "./key_snapshot.ts";
import { type KeyedPartitions, OwnPartitions, ReachedPartitions } from "./keyed_partitions.ts";
import { TopicKeys } from "./topic_keys.ts";
import type { BatchKeys, MessageKeyCounts, MessageKeySettings } from "./types.ts";

/** With more partitions than that, the metadata store is not told where each began: they are read from their start. */
const MAX_NOTED_PARTITIONS = 2_000;
/** Keys that go at once from the topic that has most, when there are too many over all. */
const EVICTED_AT_ONCE = 256;
/** A snapshot is due after so many new keys, and an eighth of those there are; or after so many messages of any kind. */
const SNAPSHOT_MIN_KEYS = 1_000;
const SNAPSHOT_KEY_FRACTION = 8;
const SNAPSHOT_MESSAGES = 1_000_000;
/** And after so long, when there is anything new. */
const SNAPSHOT_MAX_AGE_MS = 300_000;

export interface MessageKeysOptions {
  /** Under which metadata and snapshots are kept: no two over the same topics. */
  readonly namespace: "message-keys" | "request-keys";
  readonly settings: MessageKeySettings;
  readonly metadata: MetadataStore;
  readonly snapshots: SnapshotStore;
  readonly timers: Timers;
  /** Wall time, ms, that does not jump. */
  now(): number;
  /** See `TopicKeysOptions`. */
  readonly ownerOf?: (key: string) => string;
  /** The topic of that name, null when there is none. */
  topic(name: string): Topic | null;
  partitions(name: string): readonly Pick<Partition, "append" | "fetch" | "readable">[];
  /** Left out: the broker is alone. */
  readonly cluster?: KeysInCluster | undefined;
  report(event: { level: "warning"; message: string; error?: unknown }): void;
}

/** The keys of a topic are known to whoever leads its partition 0: that is their home. */
export interface KeysInCluster {
  readonly reach: Pick<Reach, "append" | "fetch" | "fenceKeys">;
  /** Epoch in which this broker leads partition 0 of the topic; throws the refusal of that partition where it does not. */
  homeEpoch(topic: string): number;
}

interface KeyedTopic {
  readonly name: string;
  readonly keys: TopicKeys;
  /** Keys that came since the last snapshot, and how far that reaches. */
  newKeys: number;
  savedOffsets: readonly number[];
  savedAtMs: number;
}

export class MessageKeys {
  /** By topic id. */
  readonly #topics = new Map<string, KeyedTopic>();
  /** Topics with keys that are not known here, by id: deleted meanwhile, or just made by another broker. */
  readonly #unknown = new Set<string>();
  readonly #counts = { duplicates: 0, expired: 0, evicted: 0, recovered: 0 };
  #cancel: Cancel | null = null;
  #tending: Promise<void> = Promise.resolve();
  #closing = false;

  private constructor(private readonly options: MessageKeysOptions) {}

  /** Starts to load the keys of every topic that has some; appends with keys wait for that, others do not. */
  static async open(options: MessageKeysOptions, topics: Iterable<Topic>): Promise<MessageKeys> {
    const messageKeys = new MessageKeys(options);
    const byId = new Map([...topics].map((topic) => [topic.topicId, topic]));
    for (const { key } of await options.metadata.list([options.namespace])) {
      const topicId = key[1]!;
      const topic = byId.get(topicId);
      if (topic === undefined) messageKeys.#unknown.add(topicId);
      else void messageKeys.#loadSoon(topic);
    }
    messageKeys.#schedule();
    return messageKeys;
  }

  /** See `Broker.append` with `idempotencyKeys`. */
  async append(
    at: TopicPartition,
    batches: readonly Uint8Array[],
    keys: BatchKeys,
  ): Promise<AppendReceipt> {
    const { topic, partition } = at;
    return await this.#keysOf(topic).append({ partition, batches, keys });
  }

  /** Of messages of other topics, with their keys: see `TopicKeys.appendCopies`. */
  async appendCopies(
    at: TopicPartition,
    batches: readonly Uint8Array[],
    keys: BatchKeys,
  ): Promise<AppendReceipt> {
    const { topic, partition } = at;
    return await this.#keysOf(topic).appendCopies({ partition, batches, keys });
  }

  /** Where the message of `topic` with this key is, null when there is none. */
  async find(topic: string, key: string): Promise<KeyPlace | null> {
    return await this.#keysOf(topic).find(key);
  }

  counts(): MessageKeyCounts {
    let keys = 0;
    let pending = 0;
    for (const topic of this.#topics.values()) {
      keys += topic.keys.size;
      pending += topic.keys.pending;
    }
    return { topics: this.#topics.size, keys, pending, ...this.#counts };
  }

  /** What happens to topics: the keys of one that is gone go too. */
  follow(event: CatalogEvent): void {
    if (event.type === "TopicDeleted") void this.#forget(event.topic.topicId);
    if (event.type !== "TopicCreated") return;
    if (this.#unknown.delete(event.topic.topicId)) void this.#loadSoon(event.topic);
  }

  /** Writes what has no snapshot yet. Partitions must still be open. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#cancel?.();
    await this.#tending;
    for (const [topicId, topic] of this.#topics) {
      if (!topic.keys.isHome) continue;
      if (topic.newKeys > 0 || this.#unsavedMessages(topic) > 0) await this.#save(topicId, topic);
    }
  }

  #keysOf(name: string): TopicKeys {
    const topic = this.options.topic(name);
    if (topic === null) throw unknownTopic(name);
    return this.#keyed(topic).keys;
  }

  #keyed(topic: Topic): KeyedTopic {
    const { topicId, name } = topic;
    const known = this.#topics.get(topicId);
    if (known !== undefined) return known;
    const { settings: { windowMs, maxKeysPerTopic }, now, snapshots } = this.options;
    const keyed: KeyedTopic = {
      name,
      newKeys: 0,
      savedOffsets: [],
      savedAtMs: now(),
      keys: new TopicKeys({
        name,
        windowMs,
        maxKeys: maxKeysPerTopic,
        ownerOf: this.options.ownerOf,
        hasTrueTimes: this.options.namespace === "request-keys",
        now,
        partitions: this.#partitionsOf(topic),
        declare: (ends) => this.#declare(topic, ends),
        loadSnapshot: async () => {
          const stored = await snapshots.load(this.#snapshotId(topicId));
          if (stored === null || stored.version !== KEY_SNAPSHOT_VERSION) return null;
          const snapshot = decodeKeySnapshot(stored.bytes);
          keyed.savedOffsets = snapshot?.nextOffsets ?? [];
          return snapshot;
        },
        yieldTurn: () => new Promise((resolve) => this.options.timers.after(0, resolve)),
        count: (what, by) => {
          if (what !== "added") this.#counts[what] += by;
          else {
            keyed.newKeys += by;
            this.#makeRoom(keyed);
          }
        },
      }),
    };
    this.#topics.set(topicId, keyed);
    return keyed;
  }

  #partitionsOf({ topicId, name }: Topic): KeyedPartitions {
    const { partitions, cluster } = this.options;
    const topic = (): Topic => {
      const now = this.options.topic(name);
      if (now?.topicId !== topicId) throw unknownTopic(name);
      return now;
    };
    if (cluster === undefined) return new OwnPartitions(() => topic() && partitions(name), name);
    const { reach } = cluster;
    return new ReachedPartitions({ reach, topic, homeEpoch: () => cluster.homeEpoch(name) });
  }

  /** Makes it durable, once, that the topic has keys from here on. */
  async #declare({ topicId }: Topic, ends: readonly number[]): Promise<readonly number[]> {
    const { metadata } = this.options;
    const key: MetadataKey = [this.options.namespace, topicId];
    const entry = await metadata.get(key);
    if (entry !== null) return (entry.value as { since: readonly number[] }).since;
    const since = ends.length > MAX_NOTED_PARTITIONS ? [] : ends;
    // Lost to another: its word counts, and it cannot have come later than any keyed append.
    if (
      await metadata.commit({ checks: [{ key, version: null }], sets: [{ key, value: { since } }] })
    ) {
      return since;
    }
    return ((await metadata.get(key))?.value as { since: readonly number[] } | undefined)?.since ??
      [];
  }

  /**
   * This broker has come to lead partition 0 of the topic, or leads it no more: whoever is the home knows the keys that the
   * topic has, others keep nothing of them but a snapshot.
   */
  async homeChanged(topic: Topic, isHome: boolean): Promise<void> {
    if (isHome) return await this.#loadDeclared(topic);
    const keyed = this.#topics.get(topic.topicId);
    if (keyed !== undefined) await this.#letGo(topic.topicId, keyed);
  }

  async #loadDeclared(topic: Topic): Promise<void> {
    const { metadata, report } = this.options;
    try {
      const entry = await metadata.get([this.options.namespace, topic.topicId]);
      if (entry !== null) await this.#loadSoon(topic);
    } catch (error) {
      const message = `message keys of ${topic.name} are loaded when one is published`;
      report({ level: "warning", message, error });
    }
  }

  async #letGo(topicId: string, keyed: KeyedTopic): Promise<void> {
    if (!keyed.keys.isLoaded) return keyed.keys.drop();
    try {
      const snapshot = keyed.newKeys > 0 ? keyed.keys.snapshot() : null;
      keyed.keys.drop();
      if (snapshot !== null) await this.#store(topicId, keyed, snapshot);
    } catch {
      // The topic is gone.
      keyed.keys.drop();
    }
  }

  async #loadSoon(topic: Topic): Promise<void> {
    const { keys } = this.#keyed(topic);
    if (!keys.isHome) return;
    try {
      await keys.ready();
    } catch (error) {
      const message = `message keys of ${topic.name} are not loaded yet`;
      this.options.report({ level: "warning", message, error });
    }
  }

  #makeRoom(newest: KeyedTopic): void {
    const { maxKeys } = this.options.settings;
    // While no topic is near the bound, neither are all of them: that saves adding up for each key.
    if (newest.newKeys % EVICTED_AT_ONCE !== 0) return;
    let total = 0;
    let largest = newest;
    for (const topic of this.#topics.values()) {
      total += topic.keys.size;
      if (topic.keys.size > largest.keys.size) largest = topic;
    }
    if (total > maxKeys) largest.keys.evict(Math.max(EVICTED_AT_ONCE, total - maxKeys));
  }

  async #forget(topicId: string): Promise<void> {
    this.#unknown.delete(topicId);
    this.#topics.delete(topicId);
    const { metadata, snapshots, report } = this.options;
    try {
      await snapshots.remove(this.#snapshotId(topicId));
      await metadata.commit({ checks: [], deletes: [[this.options.namespace, topicId]] });
    } catch (error) {
      report({ level: "warning", message: `message keys of a deleted topic are left`, error });
    }
  }

  #schedule(): void {
    const { timers, settings } = this.options;
    this.#cancel = timers.after(settings.snapshotIntervalMs, () => {
      this.#tending = this.#tend().finally(() => {
        if (!this.#closing) this.#schedule();
      });
    });
  }

  async #tend(): Promise<void> {
    // A topic that another broker has just made would be known by now.
    for (const topicId of this.#unknown) await this.#forget(topicId);
    for (const [topicId, topic] of this.#topics) {
      if (this.#closing) return;
      if (!topic.keys.isHome) {
        await this.#letGo(topicId, topic);
        continue;
      }
      try {
        await topic.keys.ready();
        await topic.keys.tend();
        if (this.#isDue(topic)) await this.#save(topicId, topic);
      } catch {
        // A partition is offline, which health tells: keys wait, as everything else there does.
      }
    }
  }

  #isDue(topic: KeyedTopic): boolean {
    const { newKeys, keys, savedAtMs } = topic;
    if (newKeys >= Math.max(SNAPSHOT_MIN_KEYS, keys.size / SNAPSHOT_KEY_FRACTION)) return true;
    const messages = this.#unsavedMessages(topic);
    if (messages >= SNAPSHOT_MESSAGES) return true;
    return messages > 0 && this.options.now() - savedAtMs >= SNAPSHOT_MAX_AGE_MS;
  }

  /** Messages that would be looked at after a start now; 0 where a partition is offline, which then has no snapshot either. */
  #unsavedMessages({ keys, savedOffsets }: KeyedTopic): number {
    try {
      return keys.nextOffsets().reduce((sum, next, at) => sum + next - (savedOffsets[at] ?? 0), 0);
    } catch {
      return 0;
    }
  }

  #snapshotId(topicId: string): string {
    return `${this.options.namespace}/${topicId}`;
  }

  /** Never rejects: a snapshot is only a cache. */
  async #save(topicId: string, topic: KeyedTopic): Promise<void> {
    try {
      await topic.keys.ready();
      await this.#store(topicId, topic, topic.keys.snapshot());
    } catch (error) {
      const message = `message keys of ${topic.name} have no snapshot`;
      this.options.report({ level: "warning", message, error });
    }
  }

  /** Never rejects. */
  async #store(topicId: string, topic: KeyedTopic, snapshot: KeySnapshot): Promise<void> {
    const { snapshots, report, now } = this.options;
    topic.newKeys = 0;
    topic.savedAtMs = now();
    try {
      await snapshots.save(this.#snapshotId(topicId), {
        version: KEY_SNAPSHOT_VERSION,
        nextOffset: 0,
        bytes: encodeKeySnapshot(snapshot),
      });
      topic.savedOffsets = snapshot.nextOffsets;
      if (this.#topics.get(topicId) !== topic) await snapshots.remove(this.#snapshotId(topicId));
    } catch (error) {
      report({
        level: "warning",
        message: `message keys of ${topic.name} have no snapshot`,
        error,
      });
    }
  }
}
