// Owns which partitions this broker has open: opens them at start and when topics grow, closes and removes them.
// Refuses to own what a partition does (partition.ts) and which topics there are (../topic/).
// Invariant: one partition object, so one writer, per log; data is removed only for topics the catalog has deleted.
import { BrokerError } from "../../storage/broker_error.ts";
import type { LogConfig, LogStore } from "../../storage/log.ts";
import type { Clock, Timers } from "../../storage/ports.ts";
import type { Topic, TopicPartition } from "../broker.ts";
import type { RemovedTopic } from "../topic/decide.ts";
import type { ByteBudget } from "./byte_budget.ts";
import type { LeaderEpochs } from "./leader_epochs.ts";
import { Partition, type PartitionOptions } from "./partition.ts";

/** Logs opened, closed or cleaned at the same time. */
const MAX_PARALLEL = 16;
const INDEX_INTERVAL_BYTES = 4096;
const HOUR_MS = 3_600_000;

export interface PartitionSetOptions {
  readonly nodeId: string;
  readonly logs: LogStore;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly budget: ByteBudget;
  readonly epochs: LeaderEpochs;
  readonly report: PartitionOptions["report"];
}

export class PartitionSet {
  /** By topic id, then by partition number: a name may be taken anew while the old data is still being removed. */
  private readonly open = new Map<string, Partition[]>();
  private readonly idsByName = new Map<string, string>();

  constructor(private readonly options: PartitionSetOptions) {}

  /** Opens every partition the topics have and that is not open yet. */
  async openAll(topics: Iterable<Topic>): Promise<void> {
    const missing: { topic: Topic; partition: number }[] = [];
    for (const topic of topics) {
      const opened = this.open.get(topic.topicId) ?? [];
      this.open.set(topic.topicId, opened);
      this.idsByName.set(topic.name, topic.topicId);
      for (let partition = opened.length; partition < topic.partitionCount; partition++) {
        missing.push({ topic, partition });
      }
    }
    const opened = await inParallel(missing, ({ topic, partition }) =>
      Partition.open({
        ...this.options,
        name: `${topic.name}/${partition}`,
        partition,
        logName: logName(topic.topicId, partition),
        logConfig: logConfig(topic),
      }));
    missing.forEach(({ topic, partition }, index) => {
      this.open.get(topic.topicId)![partition] = opened[index]!;
    });
  }

  /** Throws UNKNOWN_TOPIC or UNKNOWN_PARTITION. */
  get(at: TopicPartition): Partition {
    const topicId = this.idsByName.get(at.topic);
    const partitions = topicId === undefined ? undefined : this.open.get(topicId);
    if (partitions === undefined) {
      throw new BrokerError("UNKNOWN_TOPIC", `there is no topic ${at.topic}`, { topic: at.topic });
    }
    const partition = partitions[at.partition];
    if (partition === undefined) {
      throw new BrokerError(
        "UNKNOWN_PARTITION",
        `topic ${at.topic} has no partition ${at.partition}, it has ${partitions.length}`,
        { topic: at.topic, partition: at.partition, partitions: partitions.length },
      );
    }
    return partition;
  }

  ofTopic(name: string): readonly Partition[] {
    return this.open.get(this.idsByName.get(name) ?? "") ?? [];
  }

  /** The topic's settings changed, or it has more partitions now. */
  async reconfigure(topic: Topic): Promise<void> {
    await inParallel(
      this.ofTopic(topic.name),
      (partition) => partition.configure(logConfig(topic)),
    );
    await this.openAll([topic]);
  }

  /** Closes the topic's partitions at once and removes its data. */
  async remove(topic: RemovedTopic): Promise<void> {
    const partitions = this.open.get(topic.topicId) ?? [];
    this.open.delete(topic.topicId);
    if (this.idsByName.get(topic.name) === topic.topicId) this.idsByName.delete(topic.name);
    await inParallel(partitions, (partition) => partition.close().catch(() => undefined));
    const numbers = Array.from({ length: topic.partitionCount }, (_, number) => number);
    await inParallel(numbers, (number) => this.options.logs.remove(logName(topic.topicId, number)));
  }

  /** Drops what each topic's retention allows. A partition that fails does not stop the others. */
  async applyRetention(topics: Iterable<Topic>, now: number): Promise<void> {
    for (const topic of topics) {
      const { retentionHours, retentionBytes, cleanupPolicy } = topic.config;
      if (cleanupPolicy === "compact") continue;
      const retentionMs = retentionHours === 0 ? null : retentionHours * HOUR_MS;
      if (retentionMs === null && retentionBytes === null) continue;
      for (const partition of this.ofTopic(topic.name)) {
        try {
          await partition.applyRetention({ now, retentionMs, retentionBytes });
        } catch (error) {
          this.options.report({
            level: "warning",
            message: `retention of ${topic.name} failed`,
            error,
          });
        }
      }
    }
  }

  /** Wakes all who wait for data. */
  wakeAll(): void {
    for (const partition of [...this.open.values()].flat()) partition.wakeAll();
  }

  /** Closes every partition; rejects afterwards when some could not be closed cleanly. */
  async closeAll(): Promise<void> {
    const failures: unknown[] = [];
    await inParallel(
      [...this.open.values()].flat(),
      (partition) => partition.close().catch((error) => failures.push(error)),
    );
    this.open.clear();
    this.idsByName.clear();
    if (failures.length === 0) return;
    throw new AggregateError(failures, `${failures.length} partitions did not close cleanly`);
  }

  /** Names and reasons of partitions that do not serve. */
  offline(): string[] {
    return [...this.idsByName.keys()].flatMap((topic) =>
      this.ofTopic(topic).map((partition) => partition.info())
        .filter((info) => info.state === "offline")
        .map((info) =>
          `partition ${topic}/${info.partition} is offline: ${info.error ?? "opening"}`
        )
    );
  }
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
  };
}

async function inParallel<T, R>(items: readonly T[], run: (item: T) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const index = next++;
      results[index] = await run(items[index]!);
    }
  };
  await Promise.all(Array.from({ length: Math.min(MAX_PARALLEL, items.length) }, worker));
  return results;
}
