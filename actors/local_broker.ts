// Owns the broker of this process: puts catalog, partitions and group coordinator together behind the Broker port.
// Refuses to own what any of them decides, and how ports are made (main.ts).
// Invariant: it answers as a remote broker could: plain data in, plain data out, errors as BrokerErrors.
import { BrokerError } from "../storage/broker_error.ts";
import type { LogStore } from "../storage/log.ts";
import type { MetadataStore } from "../storage/metadata.ts";
import type { Clock, Crc32c, Randomness, Timers } from "../storage/ports.ts";
import type { SnapshotStore } from "../storage/snapshots.ts";
import type {
  AppendReceipt,
  Broker,
  FetchOptions,
  FetchResult,
  PartitionInfo,
  Topic,
  TopicConfig,
  TopicDescription,
  TopicPartition,
  WaitOptions,
} from "./broker.ts";
import { GroupCoordinator } from "./group/coordinator.ts";
import type { OffsetLedger } from "./group/ledger/types.ts";
import type { DeadLetterWriter } from "./group/retry/dead_letter_writer.ts";
import { localDeadLetters } from "./group/retry/local_dead_letters.ts";
import { keyHashesAt } from "./group/retry/stored_messages.ts";
import type { GroupSettings } from "./group/state.ts";
import type {
  GroupCommand,
  GroupNotification,
  GroupReply,
  GroupSummary,
  PartitionCounts,
} from "./group/types.ts";
import { jobBroker } from "./job/broker_port.ts";
import { JobSet } from "./job/job_set.ts";
import type { Jobs } from "./job/types.ts";
import { MessageKeys } from "./message_keys/message_keys.ts";
import {
  type BatchKeys,
  DEFAULT_MESSAGE_KEY_SETTINGS,
  type MessageKeyCounts,
  type MessageKeySettings,
} from "./message_keys/types.ts";
import { ByteBudget } from "./partition/byte_budget.ts";
import { LeaderEpochs } from "./partition/leader_epochs.ts";
import { PartitionSet } from "./partition/partition_set.ts";
import { DEFAULT_PRODUCER_BOUNDS, ProducerCensus } from "./partition/producer_census.ts";
import { ProducerIds } from "./partition/producer_ids.ts";
import type { MarkerCommand, MarkerReceipt, Producers } from "./partition/types.ts";
import {
  LocalRequestKeys,
  REQUESTS_PARTITIONS,
  REQUESTS_TOPIC,
} from "./request_keys/local_request_keys.ts";
import {
  DEFAULT_REQUEST_KEY_SETTINGS,
  type RequestKeySettings,
  type RequestKeysPort,
} from "./request_keys/types.ts";
import type { RuntimeLog } from "./runtime/reports.ts";
import { identityOf } from "./topic/cluster_identity.ts";
import { TopicCatalog } from "./topic/topic_catalog.ts";
import {
  TransactionCoordinator,
  TRANSACTIONS_PARTITIONS,
  TRANSACTIONS_TOPIC,
} from "./transaction/coordinator.ts";
import { localTransactionGroups, localTransactionLogs } from "./transaction/local_ports.ts";
import type { Transactions } from "./transaction/types.ts";
import { TopicChanges } from "./topic_changes.ts";

/** The internal topic that holds the journals of all consumer groups. */
export const GROUPS_TOPIC = "__groups";
/** The internal topic that holds the journal of all replay and redrive jobs. */
export const JOBS_TOPIC = "__jobs";

export interface LocalBrokerSettings {
  readonly nodeId: string;
  readonly maxPendingPublishBytes: number;
  readonly retentionIntervalMs: number;
  /** Used when `__groups` is made, never afterwards. */
  readonly groupsPartitions: number;
  readonly group: GroupSettings;
  /** Default: `DEFAULT_MESSAGE_KEY_SETTINGS`. */
  readonly messageKeys?: Partial<MessageKeySettings>;
  /** Default: `DEFAULT_REQUEST_KEY_SETTINGS`. */
  readonly requestKeys?: Partial<RequestKeySettings>;
}

export interface LocalBrokerPorts {
  readonly metadata: MetadataStore;
  readonly logs: LogStore;
  readonly snapshots: SnapshotStore;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly randomness: Randomness;
  readonly crc32c: Crc32c;
  readonly runtimeLog: RuntimeLog;
  report(event: { level: "info" | "warning" | "error"; message: string; error?: unknown }): void;
}

const INTERNAL_TOPIC_CONFIG: TopicConfig = {
  replicationFactor: 1,
  minInsyncReplicas: 1,
  retentionHours: 0,
  retentionBytes: null,
  cleanupPolicy: "delete",
  durability: "fsync",
  maxMessageBytes: 1_048_576,
  segmentBytes: 64 * 1_048_576,
  segmentHours: 720,
};

export class LocalBroker implements Broker {
  readonly nodeId: string;
  readonly producers: Producers;
  readonly requestKeys: RequestKeysPort;
  readonly jobs: Jobs;
  readonly transactions: Transactions;
  private draining = false;
  private closing = false;
  private cancelRetention: (() => void) | null = null;
  private retention: Promise<void> = Promise.resolve();
  private readonly stopping = new AbortController();

  private constructor(
    readonly clusterId: string,
    private readonly settings: LocalBrokerSettings,
    private readonly parts: {
      ports: LocalBrokerPorts;
      catalog: TopicCatalog;
      partitions: PartitionSet;
      groups: GroupCoordinator;
      jobs: JobSet;
      transactions: TransactionCoordinator;
      producers: Producers;
      changes: TopicChanges;
      deadLetters: DeadLetterWriter;
      census: ProducerCensus;
      messageKeys: MessageKeys;
      requestKeys: LocalRequestKeys;
      /** When the process began to start: from there on only the monotonic clock is trusted. */
      started: { readonly wall: number; readonly monotonic: number };
    },
  ) {
    this.nodeId = settings.nodeId;
    this.producers = parts.producers;
    this.requestKeys = parts.requestKeys;
    this.jobs = parts.jobs;
    this.transactions = parts.transactions;
  }

  /** Opens everything the metadata store knows of; resolves when it can serve. */
  static async open(settings: LocalBrokerSettings, ports: LocalBrokerPorts): Promise<LocalBroker> {
    const { metadata, logs, clock, timers, randomness } = ports;
    // Taken first: the wall clock may jump while a long recovery runs.
    const started = { wall: clock.now(), monotonic: clock.monotonic() };
    const clusterId = await identityOf(metadata, randomness);
    const epochs = await LeaderEpochs.open(metadata);
    const catalog = await TopicCatalog.open(metadata);
    await ensureInternalTopic(catalog, ports, [GROUPS_TOPIC, settings.groupsPartitions]);
    await ensureInternalTopic(catalog, ports, [JOBS_TOPIC, 1]);
    await ensureInternalTopic(catalog, ports, [TRANSACTIONS_TOPIC, TRANSACTIONS_PARTITIONS]);
    const census = new ProducerCensus(DEFAULT_PRODUCER_BOUNDS);
    const partitions = new PartitionSet({
      nodeId: settings.nodeId,
      logs,
      clock,
      timers,
      epochs,
      census,
      snapshots: ports.snapshots,
      crc32c: ports.crc32c,
      budget: new ByteBudget(settings.maxPendingPublishBytes, "publishes that wait for the disk"),
      report: (event) => ports.report(event),
    });
    await partitions.openAll(catalog.topics());
    for (const problem of partitions.missingArchive()) {
      const message = `${problem}: they cannot be read`;
      ports.report({ level: "warning", message });
    }
    const groups = await GroupCoordinator.open({
      partitions: partitions.ofTopic(GROUPS_TOPIC),
      settings: settings.group,
      partitionCounts: (topics) => countsOf(catalog, topics),
      keyHashes: (at, offsets) =>
        keyHashesAt(
          async (at, offset, options) => await partitions.get(at).fetch(offset, options),
          at,
          offsets,
        ),
      ports,
    });
    const producers = producersOf(metadata, { census, partitions });
    const topic = (name: string) => catalog.topic(name);
    const jobs = await JobSet.open({
      partition: partitions.ofTopic(JOBS_TOPIC)[0]!,
      broker: jobBroker({ topic, partitions, groups, producers }),
      ports,
    });
    const transactions = await TransactionCoordinator.open({
      partitions: partitions.ofTopic(TRANSACTIONS_TOPIC),
      ports: {
        ...ports,
        logs: localTransactionLogs({ topic, partitions, groups }),
        groups: localTransactionGroups({ topic, partitions, groups }),
        allocateProducerId: async () => (await producers.allocate()).producerId,
        report: (event) => ports.report(event),
      },
    });
    const changes = new TopicChanges({ ports, catalog, partitions, groups });
    const defaultConfig = INTERNAL_TOPIC_CONFIG;
    const letters = { topic, changes, partitions, groups, producers, defaultConfig, ports };
    const deadLetters = localDeadLetters(letters);
    const keyPorts = {
      ...ports,
      now: () => Math.floor(started.wall + clock.monotonic() - started.monotonic),
      topic,
      partitions: (name: string) => partitions.ofTopic(name),
    };
    const messageKeys = await MessageKeys.open({
      ...keyPorts,
      namespace: "message-keys",
      settings: { ...DEFAULT_MESSAGE_KEY_SETTINGS, ...settings.messageKeys },
    }, catalog.topics());
    const requestKeys = await LocalRequestKeys.open({
      ...keyPorts,
      settings: { ...DEFAULT_REQUEST_KEY_SETTINGS, ...settings.requestKeys },
      monotonic: () => clock.monotonic(),
      partition: (at) => partitions.get(at),
      ensureTopic: async (config) => {
        await ensureInternalTopic(catalog, ports, [REQUESTS_TOPIC, REQUESTS_PARTITIONS], config);
        await partitions.settled(catalog.topic(REQUESTS_TOPIC)!);
      },
    });
    catalog.onEvent((event) => messageKeys.follow(event));
    const parts = {
      ports,
      catalog,
      partitions,
      groups,
      jobs,
      transactions,
      producers,
      changes,
      deadLetters,
      census,
      messageKeys,
      requestKeys,
      started,
    };
    const broker = new LocalBroker(clusterId, settings, parts);
    changes.resume();
    broker.scheduleRetention();
    return broker;
  }

  async createTopic(
    spec: { name: string; partitions: number; config: TopicConfig },
  ): Promise<TopicDescription> {
    this.refuseWhenClosing();
    return await this.describeStill(spec.name, await this.parts.changes.create(spec));
  }

  async updateTopic(
    name: string,
    change: { partitions?: number; config?: Partial<TopicConfig> },
  ): Promise<TopicDescription> {
    this.refuseWhenClosing();
    return await this.describeStill(name, await this.parts.changes.update(name, change));
  }

  async deleteTopic(name: string): Promise<void> {
    this.refuseWhenClosing();
    await this.parts.changes.delete(name);
  }

  topic(name: string): Topic | null {
    return this.parts.catalog.topic(name);
  }

  describeTopic(name: string): Promise<TopicDescription> {
    const topic = this.topic(name);
    if (topic === null) return Promise.reject(unknownTopic(name));
    const partitions = this.parts.partitions.ofTopic(name).map((partition) => partition.info());
    return Promise.resolve({ ...topic, partitions });
  }

  /** What became of `topic`, not of another that has taken its name meanwhile. */
  private describeStill(name: string, topic: Topic | null): Promise<TopicDescription> {
    if (topic?.topicId === this.topic(name)?.topicId) return this.describeTopic(name);
    return Promise.reject(unknownTopic(name));
  }

  topicNames(): readonly string[] {
    return this.parts.catalog.names();
  }

  onTopicsChanged(listener: () => void): () => void {
    return this.parts.catalog.onEvent(() => listener());
  }

  // deno-lint-ignore require-await -- a refusal must be a rejection, as it would be from afar
  async partitionInfo(at: TopicPartition): Promise<PartitionInfo> {
    return this.parts.partitions.get(at).info();
  }

  async append(
    at: TopicPartition,
    batches: readonly Uint8Array[],
    options: { acks: "all" | "leader" | "none"; idempotencyKeys?: BatchKeys },
  ): Promise<AppendReceipt> {
    this.refuseWhenClosing();
    const partition = this.parts.partitions.get(at);
    if (options.idempotencyKeys === undefined) return await partition.append(batches, options);
    return await this.parts.messageKeys.append(at, batches, options.idempotencyKeys);
  }

  messageKeyCounts(): Promise<MessageKeyCounts> {
    return Promise.resolve(this.parts.messageKeys.counts());
  }

  async writeMarker(at: TopicPartition, marker: MarkerCommand): Promise<MarkerReceipt> {
    return { offset: await this.parts.partitions.get(at).writeMarker(marker) };
  }

  async fetch(at: TopicPartition, offset: number, options: FetchOptions): Promise<FetchResult> {
    return await this.parts.partitions.get(at).fetch(offset, options);
  }

  async waitForData(at: TopicPartition, offset: number, options: WaitOptions): Promise<void> {
    if (this.draining) this.refuse();
    await this.parts.partitions.get(at).waitForData(offset, options);
  }

  async offsetForTime(at: TopicPartition, timestampMs: number): Promise<number> {
    return await this.parts.partitions.get(at).offsetForTime(timestampMs);
  }

  async group<C extends GroupCommand>(command: C): Promise<GroupReply<C>> {
    if (command.type !== "Leave") this.refuseWhenClosing();
    return await this.parts.groups.execute(command);
  }

  get ledger(): OffsetLedger {
    return this.parts.groups.ledger;
  }

  groups(): Promise<readonly GroupSummary[]> {
    return this.parts.groups.summaries();
  }

  onGroupNotification(
    at: { group: string; memberId: string },
    listener: (notification: GroupNotification) => void,
  ): () => void {
    return this.parts.groups.onNotification(at, listener);
  }

  health(): { ready: boolean; problems: readonly string[] } {
    const { partitions, groups, jobs, transactions } = this.parts;
    const problems = [
      ...partitions.offline(),
      ...partitions.missingArchive(),
      ...groups.problems(),
      ...jobs.problems(),
      ...transactions.problems(),
    ];
    if (this.draining || this.closing) problems.push("the broker is shutting down");
    return { ready: problems.length === 0, problems };
  }

  /** Answers those who wait for data at once, and lets nobody wait any more: for a shutdown that is about to come. */
  endWaits(): void {
    this.draining = true;
    this.parts.partitions.wakeAll();
  }

  /** Stops new work, finishes what was accepted, writes every clean marker. */
  async close(): Promise<void> {
    if (this.closing) return;
    this.closing = true;
    this.cancelRetention?.();
    this.stopping.abort();
    await this.retention;
    await this.parts.deadLetters.close();
    await this.parts.changes.close();
    try {
      await this.parts.jobs.close();
      await this.parts.transactions.close();
      await this.parts.groups.close();
      await this.parts.messageKeys.close();
      await this.parts.requestKeys.close();
    } finally {
      await this.parts.partitions.closeAll();
    }
  }

  private refuseWhenClosing(): void {
    if (this.closing) this.refuse();
  }

  private refuse(): never {
    throw new BrokerError("SHUTTING_DOWN", "the broker is shutting down");
  }

  private scheduleRetention(): void {
    const { timers, report } = this.parts.ports;
    this.cancelRetention = timers.after(this.settings.retentionIntervalMs, () => {
      this.retention = this.parts.partitions
        .applyRetention(this.parts.catalog.topics(), this.trustedNow(), {
          signal: this.stopping.signal,
          messageKeyMs: this.settings.messageKeys?.windowMs ??
            DEFAULT_MESSAGE_KEY_SETTINGS.windowMs,
        })
        .then(() => this.parts.groups.applyRetention(this.trustedNow()))
        .then(() => this.parts.transactions.applyRetention(this.trustedNow()))
        .then(() => this.parts.jobs.applyRetention(this.trustedNow()))
        .catch((error) => report({ level: "error", message: "retention failed", error }))
        .finally(() => {
          if (!this.closing) this.scheduleRetention();
        });
    });
  }

  /** A wall clock that jumps ahead must not make retention drop anything early: time may only have passed. */
  private trustedNow(): number {
    const { ports: { clock }, started } = this.parts;
    const elapsed = clock.monotonic() - started.monotonic;
    return Math.min(clock.now(), started.wall + elapsed);
  }
}

function producersOf(
  metadata: MetadataStore,
  { census, partitions }: { census: ProducerCensus; partitions: PartitionSet },
): Producers {
  const ids = new ProducerIds(metadata);
  return {
    allocate: () => ids.allocate(),
    // deno-lint-ignore require-await -- a refusal must be a rejection, as it would be from afar
    nextSequence: async (at, producer) => partitions.get(at).nextSequence(producer),
    counters: () => Promise.resolve(census.counters()),
  };
}

function unknownTopic(name: string): BrokerError {
  return new BrokerError("UNKNOWN_TOPIC", `there is no topic ${name}`, { topic: name });
}

function countsOf(catalog: TopicCatalog, topics: readonly string[]): PartitionCounts {
  const counts: Record<string, number> = {};
  for (const name of topics) {
    const topic = catalog.topic(name);
    if (topic !== null) counts[name] = topic.partitionCount;
  }
  return counts;
}

async function ensureInternalTopic(
  catalog: TopicCatalog,
  ports: LocalBrokerPorts,
  [name, partitions]: readonly [string, number],
  config: Partial<TopicConfig> = {},
): Promise<void> {
  const known = catalog.topic(name)?.config;
  if (known !== undefined) {
    const { retentionHours = known.retentionHours } = config;
    if (known.retentionHours === retentionHours) return;
    await catalog.execute({ type: "UpdateTopic", name, config, brokers: 1 });
    return;
  }
  await catalog.execute({
    type: "CreateTopic",
    topicId: ports.randomness.uuid(),
    name,
    partitions,
    config: { ...INTERNAL_TOPIC_CONFIG, ...config },
    at: ports.clock.now(),
    brokers: 1,
  });
}
