// Owns which partitions this broker has open: opens them at start and when topics grow, closes and removes them.
// Refuses to own what a partition does (partition.ts) and which topics there are (../topic/).
// Invariant: one partition object, so one writer, per log; data is removed only for topics the catalog has deleted.
import { BrokerError } from "../../storage/broker_error.ts";
import type { LogConfig, LogStore } from "../../storage/log.ts";
import type { Clock, Crc32c, Timers } from "../../storage/ports.ts";
import type { SnapshotStore } from "../../storage/snapshots.ts";
import type { Revival, Topic, TopicPartition } from "../broker.ts";
import type { PartitionActivity } from "../measurement/types.ts";
import type { RemovedTopic } from "../topic/decide.ts";
import { unknownPartition, unknownTopic } from "../topic/unknown_topic.ts";
import type { ByteBudget } from "./byte_budget.ts";
import type { LeaderEpochs } from "./leader_epochs.ts";
import type { ProducerCensus } from "./producer_census.ts";
import type { PartitionRecord } from "../cluster/types.ts";
import { minInsyncOfRecord } from "../cluster/min_insync.ts";
import type { ReplicationPorts } from "./replica.ts";
import { KeyedTurns } from "../runtime/keyed_turns.ts";
import { Slots } from "../../storage/turns.ts";
import { producerSnapshotId } from "./partition_producers.ts";
import { compactLogs, keepLogs, type UpkeepRound } from "./log_upkeep.ts";
import { OpeningWaits, stillOpening } from "./opening_waits.ts";
import { Partition, type PartitionOptions } from "./partition.ts";

/** Logs opened, closed or cleaned at the same time. */
const MAX_PARALLEL = 16;
/** What is to be archived beyond that waits for the next round, so that others can drop theirs. */
const MAX_ROUND_MS = 60_000;
const INDEX_INTERVAL_BYTES = 4096;
const HOUR_MS = 3_600_000;

/** An opening wakes those who wait for others of the topic too; these wait on so many times. */
const MAX_OPENING_WAITS = 100;

export interface PartitionSetOptions {
  readonly nodeId: string;
  readonly logs: LogStore;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly budget: ByteBudget;
  readonly epochs: LeaderEpochs;
  readonly census: ProducerCensus;
  readonly snapshots: SnapshotStore;
  readonly crc32c: Crc32c;
  /** In a cluster: what makes its partitions replicas. */
  readonly replication?: ReplicationPorts;
  /** As the catalog knows it: that comes before its partitions are open. */
  topic(name: string): Topic | null;
  readonly report: PartitionOptions["report"];
}

/** What began or ceased to lead here: see `Partition.leads`. */
export type LeadershipListener = (topic: Topic, partition: number, leads: boolean) => void;

export class PartitionSet {
  /** By topic id, then by partition number: a name may be taken anew while the old data is still being removed. */
  private readonly open = new Map<string, Partition[]>();
  private readonly idsByName = new Map<string, string>();
  /** By topic id. */
  private readonly turns = new KeyedTurns();
  private readonly slots = new Slots(MAX_PARALLEL);
  private readonly openings: OpeningWaits;
  private readonly leadershipListeners = new Set<LeadershipListener>();
  private closed = false;
  private compacting: Promise<void> | null = null;

  constructor(private readonly options: PartitionSetOptions) {
    this.openings = new OpeningWaits(options.timers);
  }

  /** Opens every partition the topics have and that is not open yet. */
  async openAll(topics: Iterable<Topic>): Promise<void> {
    await Promise.all([...topics].map((topic) => this.reconfigure(topic)));
  }

  /** Resolves when all that was asked for the topic until now has been done. */
  async settled(topic: Topic): Promise<void> {
    await this.turns.run(topic.topicId, () => Promise.resolve());
  }

  /** In the topic's turn: whoever grows or removes it meanwhile comes after. */
  private async openMissing(topic: Topic): Promise<void> {
    const partitions = this.open.get(topic.topicId);
    if (partitions === undefined || this.closed) return;
    const missing: number[] = [];
    for (let partition = partitions.length; partition < topic.partitionCount; partition++) {
      missing.push(partition);
    }
    const opened = await Promise.all(
      missing.map((partition) => this.slots.run(() => this.openOne(topic, partition))),
    );
    if (this.open.get(topic.topicId) === partitions && !this.closed) {
      partitions.push(...opened);
      this.openings.wake(topic.topicId);
      if (this.options.replication !== undefined) this.watchLeadership(topic, missing, opened);
    } else await Promise.all(opened.map((partition) => partition.close().catch(() => undefined)));
  }

  /** In a cluster: hears each time that a partition begins or ceases to lead here. */
  onLeadership(listener: LeadershipListener): () => void {
    this.leadershipListeners.add(listener);
    return () => this.leadershipListeners.delete(listener);
  }

  private watchLeadership(
    topic: Topic,
    numbers: readonly number[],
    opened: readonly Partition[],
  ): void {
    opened.forEach((partition, index) => {
      const tell = (leads: boolean) => {
        for (const listener of [...this.leadershipListeners]) {
          listener(topic, numbers[index]!, leads);
        }
      };
      partition.onLeadership(tell);
      if (partition.leads) tell(true);
    });
  }

  private openOne(topic: Topic, partition: number): Promise<Partition> {
    return Partition.open({
      ...this.options,
      name: `${topic.name}/${partition}`,
      partition,
      logName: logName(topic.topicId, partition),
      ...(topic.tenant === undefined ? {} : { owner: topic.tenant }),
      ...this.replicaOf(topic, partition),
      logConfig: logConfig(topic),
    });
  }

  private replicaOf(
    { topicId, name }: Topic,
    partition: number,
  ): Pick<PartitionOptions, "replica"> {
    const { replication: ports, logs, snapshots } = this.options;
    if (ports === undefined) return {};
    const minInsync = (record: PartitionRecord) => {
      const topic = this.options.topic(name);
      return topic === null ? 1 : minInsyncOfRecord(topic, record);
    };
    const removeData = async () => {
      const log = logName(topicId, partition);
      await snapshots.remove(producerSnapshotId(log));
      await logs.remove(log);
    };
    return { replica: { topicId, ports, minInsync, removeData } };
  }

  /** Null while it is opening. Throws UNKNOWN_TOPIC, UNKNOWN_PARTITION, SHUTTING_DOWN. */
  find(at: TopicPartition): Partition | null {
    const topic = this.options.topic(at.topic);
    if (topic === null) throw unknownTopic(at.topic);
    const partition = this.open.get(topic.topicId)?.[at.partition];
    if (partition !== undefined) return partition;
    const { partitionCount } = topic;
    if (at.partition >= partitionCount) {
      throw unknownPartition(at, partitionCount);
    }
    if (this.closed) throw new BrokerError("SHUTTING_DOWN", "the broker is shutting down");
    return null;
  }

  /** As `find`; throws LEADER_NOT_AVAILABLE while it is opening. */
  get(at: TopicPartition): Partition {
    const partition = this.find(at);
    if (partition === null) throw stillOpening(at);
    return partition;
  }

  /** As `get`, but waits a while for one that is opening. */
  async opened(at: TopicPartition): Promise<Partition> {
    for (let waits = 0; waits < MAX_OPENING_WAITS; waits++) {
      const partition = this.find(at);
      if (partition !== null) return partition;
      await this.openings.changed(this.options.topic(at.topic)!.topicId, at);
    }
    throw stillOpening(at);
  }

  ofTopic(name: string): readonly Partition[] {
    return this.open.get(this.idsByName.get(name) ?? "") ?? [];
  }

  /** The topic is new, its settings changed, or it has more partitions now. */
  async reconfigure(topic: Topic): Promise<void> {
    if (this.closed) return;
    if (!this.open.has(topic.topicId)) this.open.set(topic.topicId, []);
    this.idsByName.set(topic.name, topic.topicId);
    await this.turns.run(topic.topicId, async () => {
      const partitions = this.open.get(topic.topicId) ?? [];
      await Promise.all(partitions.map((partition) => this.configure(partition, topic)));
      await this.openMissing(topic);
    });
  }

  /** One whose disk fails just now takes the settings over when its log is opened again. */
  private async configure(partition: Partition, topic: Topic): Promise<void> {
    try {
      await this.slots.run(() => partition.configure(logConfig(topic)));
    } catch (error) {
      const message = `a log of ${topic.name} did not take over changed settings yet`;
      this.options.report({ level: "warning", message, error });
    }
  }

  /** Closes the topic's partitions and removes its data. It is unknown at once. */
  async remove(topic: RemovedTopic): Promise<void> {
    const partitions = this.open.get(topic.topicId) ?? [];
    this.open.delete(topic.topicId);
    if (this.idsByName.get(topic.name) === topic.topicId) this.idsByName.delete(topic.name);
    this.openings.wake(topic.topicId);
    await this.turns.run(topic.topicId, async () => {
      const { slots, options: { logs, snapshots } } = this;
      await Promise.all(partitions.map((partition) => partition.close().catch(() => undefined)));
      const numbers = Array.from({ length: topic.partitionCount }, (_, number) => number);
      await Promise.all(
        numbers.map((number) =>
          slots.run(async () => {
            const name = logName(topic.topicId, number);
            await snapshots.remove(producerSnapshotId(name));
            await logs.remove(name);
          })
        ),
      );
    });
  }

  /**
   * Drops and archives as each topic says, and begins to compact where that is not under way: that may take long, and
   * holds up nothing. A partition that fails does not stop the others.
   */
  async applyRetention(
    topics: Iterable<Topic>,
    now: number,
    { signal, messageKeyMs }: { signal: AbortSignal; messageKeyMs: number },
  ): Promise<void> {
    const { logs, timers } = this.options;
    for (const partition of [...this.open.values()].flat()) partition.sweep();
    const late = new AbortController();
    const cancel = timers.after(MAX_ROUND_MS, () => late.abort());
    const round: UpkeepRound = {
      topics: [...topics],
      now,
      messageKeyMs,
      signal,
      archives: logs.archives === true,
      partitionsOf: (topic) => this.ofTopic(topic),
      report: (event) => this.options.report(event),
    };
    try {
      await keepLogs({ ...round, signal: AbortSignal.any([signal, late.signal]) });
    } finally {
      cancel();
    }
    this.compacting ??= compactLogs(round).finally(() => this.compacting = null);
  }

  /** Wakes all who wait for data. */
  wakeAll(): void {
    for (const partition of [...this.open.values()].flat()) partition.wakeAll();
  }

  /** Closes every partition; rejects afterwards when some could not be closed cleanly. */
  async closeAll(): Promise<void> {
    this.closed = true;
    this.openings.wakeAll();
    await this.turns.settled();
    const failures: unknown[] = [];
    const partitions = [...this.open.values()].flat();
    await Promise.all(
      partitions.map((partition) =>
        this.slots.run(() => partition.close()).catch((error) => failures.push(error))
      ),
    );
    this.open.clear();
    this.idsByName.clear();
    if (failures.length === 0) return;
    throw new AggregateError(failures, `${failures.length} partitions did not close cleanly`);
  }

  /** Topics with messages in an archive, where there is none any more to read them from. */
  missingArchive(): string[] {
    return [...this.idsByName.keys()].filter((topic) =>
      this.ofTopic(topic).some(({ missesArchive }) => missesArchive)
    ).map((topic) => `topic ${topic} has messages in an archive, and no archive is configured`);
  }

  /** Names and reasons of partitions that a read found corrupt. */
  unreadable(): string[] {
    return [...this.idsByName.keys()].flatMap((topic) =>
      this.ofTopic(topic).flatMap((partition) => {
        const found = partition.unreadable;
        if (found === null) return [];
        const name = `partition ${topic}/${partition.info().partition}`;
        return [`${name} cannot be read at offset ${found.offset}: ${found.message}`];
      })
    );
  }

  /** Of every open partition. */
  *activity(): Generator<PartitionActivity> {
    for (const topic of [...this.idsByName.keys()]) {
      for (const partition of this.ofTopic(topic)) yield partition.activity(topic);
    }
  }

  /** Opens the logs of all partitions that do not serve, now. */
  async reviveAll(): Promise<Revival[]> {
    const offline = [...this.idsByName.keys()].flatMap((topic) =>
      this.ofTopic(topic).filter((partition) => !partition.isOnline)
        .map((partition) => ({ topic, partition }))
    );
    return await Promise.all(offline.map(({ topic, partition }) => {
      const at = { topic, partition: partition.info().partition };
      return this.slots.run(() => revival(at, partition));
    }));
  }

  /** Opens the log of one partition now, unless it serves. Errors: see `opened`. */
  async revive(at: TopicPartition): Promise<Revival[]> {
    const partition = await this.opened(at);
    return partition.isOnline ? [] : [await revival(at, partition)];
  }

  /** Names and reasons of partitions that do not serve. */
  offline(): string[] {
    return [...this.idsByName.keys()].flatMap((topic) =>
      this.ofTopic(topic).filter((partition) => !partition.isOnline)
        .map((partition) => partition.info())
        .map((info) =>
          `partition ${topic}/${info.partition} is offline: ${info.error ?? "opening"}`
        )
    );
  }
}

async function revival(at: TopicPartition, partition: Partition): Promise<Revival> {
  const error = await partition.revive();
  return { what: `partition ${at.topic}/${at.partition}`, error };
}

function logName(topicId: string, partition: number): string {
  return `topics/${topicId}/${partition}`;
}

function logConfig(topic: Topic): LogConfig {
  return {
    durability: topic.config.durability,
    segmentBytes: topic.config.segmentBytes,
    segmentMs: topic.config.segmentHours * HOUR_MS,
    indexIntervalBytes: INDEX_INTERVAL_BYTES,
    encryption: topic.config.encryption ?? "none",
  };
}
