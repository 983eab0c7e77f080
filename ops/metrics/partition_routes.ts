// Owns `GET /metrics/partitions`: what there is a figure of for each partition, on a path of its own since they may be many.
// Refuses to own the figures of the whole broker (routes.ts).
// Invariant: bounded, and how many partitions are left out is told.
import { Registry } from "prom-client";
import type { Broker, PartitionInfo } from "../../actors/broker.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { RouteModule } from "../../api/route.ts";
import type { LagWatch } from "../measurement/lag_watch.ts";
import { scrapedRoute } from "./scraped.ts";
import { addSeries, type Labels, type Point } from "./series.ts";

/** Partitions of topics, and of groups. */
const MAX_PARTITIONS = 10_000;
const MAX_LAGS = 20_000;

interface Described {
  readonly labels: Labels;
  readonly info: PartitionInfo;
}

/** The route of the partitions' figures; without `lags` those of groups are left out. */
export function partitionMetricsRoutes(lags: LagWatch | null): RouteModule {
  return ({ broker }) => [
    scrapedRoute({
      path: "/metrics/partitions",
      operationId: "getPartitionMetrics",
      summary: "Figures of each partition in Prometheus' text form",
      description: `Of ${MAX_PARTITIONS} partitions at most, internal topics left out.`,
      registry: async () => {
        const { described, leftOut } = await describeAll(broker);
        const registry = new Registry();
        addPartitions(registry, described);
        addSeries(registry, {
          name: "waybill_partitions_left_out",
          help: "partitions that are left out here for their number",
          points: () => leftOut,
        });
        if (lags !== null) addLags(registry, lags);
        return registry;
      },
    }),
  ];
}

async function describeAll(
  broker: Broker,
): Promise<{ described: readonly Described[]; leftOut: number }> {
  const described: Described[] = [];
  let leftOut = 0;
  for (const name of broker.topicNames()) {
    const topic = broker.topic(name);
    if (topic === null || topic.internal) continue;
    if (described.length >= MAX_PARTITIONS) {
      leftOut += topic.partitionCount;
      continue;
    }
    for (const info of await partitionsOf(broker, name)) {
      const labels = { topic: name, partition: String(info.partition) };
      if (described.length < MAX_PARTITIONS) described.push({ labels, info });
      else leftOut++;
    }
  }
  return { described, leftOut };
}

/** None of a topic that has gone meanwhile. */
async function partitionsOf(broker: Broker, name: string): Promise<readonly PartitionInfo[]> {
  try {
    return (await broker.describeTopic(name)).partitions;
  } catch (error) {
    if (error instanceof BrokerError) return [];
    throw error;
  }
}

function addPartitions(registry: Registry, described: readonly Described[]): void {
  const of = (value: (info: PartitionInfo) => number) => () =>
    described.map(({ labels, info }): Point => [value(info), labels]);
  const figures:
    readonly (readonly [name: string, help: string, (info: PartitionInfo) => number])[] = [
      [
        "waybill_partition_online",
        "1 when it serves",
        ({ state }) => state === "online" ? 1 : 0,
      ],
      ["waybill_partition_in_sync_replicas", "replicas in sync", ({ isr }) => isr.length],
      ["waybill_partition_leader_epoch", "leader epoch", ({ leaderEpoch }) => leaderEpoch],
      ["waybill_partition_log_start_offset", "log start", (info) => info.logStartOffset],
      ["waybill_partition_log_end_offset", "log end", (info) => info.logEndOffset],
      ["waybill_partition_high_watermark", "what may be read", (info) => info.highWatermark],
      ["waybill_partition_size_bytes", "bytes on disk", ({ sizeBytes }) => sizeBytes],
      [
        "waybill_partition_archived_bytes",
        "bytes in the archive",
        ({ archivedBytes }) => archivedBytes ?? 0,
      ],
      [
        "kafka_topic_partition_current_offset",
        "high watermark, under the name that known dashboards use",
        (info) => info.highWatermark,
      ],
    ];
  for (const [name, help, value] of figures) addSeries(registry, { name, help, points: of(value) });
}

function addLags(registry: Registry, lags: LagWatch): void {
  const all = lags.lags(MAX_LAGS).map((lag) => ({
    ...lag,
    labels: { consumergroup: lag.group, topic: lag.topic, partition: String(lag.partition) },
  }));
  addSeries(registry, {
    name: "kafka_consumergroup_lag",
    help: "messages that a group has yet to read of a partition",
    points: () => all.map(({ lag, labels }) => [lag, labels]),
  });
  addSeries(registry, {
    name: "waybill_consumergroup_lag_seconds",
    help: "age of the oldest of them",
    points: () => all.map(({ lagSeconds, labels }) => [lagSeconds ?? 0, labels]),
  });
  addSeries(registry, {
    name: "waybill_consumergroup_status",
    help: "1, with what the lag says of the consumer",
    points: () => all.map(({ status, labels }) => [1, { ...labels, status }]),
  });
}
