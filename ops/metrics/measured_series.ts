// Owns the metrics of what is measured: rates, latencies, lags, disk and memory, with a bounded number of series.
// Refuses to own measuring (../measurement).
// Invariant: labels are codes, statuses, states and paths of a fixed list, or names of groups and topics within a bound.
import type { Registry } from "prom-client";
import type { Sample } from "../../actors/measurement/types.ts";
import type { Measuring } from "../measurement/measuring.ts";
import { addHistogram, addSeries, type Point, type SeriesDefinition } from "./series.ts";

/** Groups, and their partitions, with the largest lags; how many are left out is told. */
const MAX_GROUPS = 500;
const MAX_LAGS = 2_000;

export type Measured = Pick<Measuring, "edge" | "syncs" | "sampler" | "lags">;

/** Registers all of them. */
export function addMeasured(registry: Registry, measured: Measured): void {
  for (const definition of [...edgeSeries(measured), ...brokerSeries(measured)]) {
    addSeries(registry, definition);
  }
  for (const definition of lagSeries(measured)) addSeries(registry, definition);
  const { edge, syncs } = measured;
  const histograms = [
    ["publish_duration", "from a publish request to its answer", edge.publishLatency],
    ["end_to_end", "from a message's timestamp until a member was given it", edge.endToEnd],
    ["sync_duration", "syncs of the logs", syncs.latency],
  ] as const;
  for (const [name, help, histogram] of histograms) {
    addHistogram(registry, { name: `waybill_${name}_seconds`, help }, histogram);
  }
}

function edgeSeries({ edge }: Measured): SeriesDefinition[] {
  return [
    series("publish_requests_total", "requests to publish", () => edge.publishRequests),
    series(
      "publish_broker_failures_total",
      "requests to publish that the broker could not serve (5xx)",
      () => edge.publishFailures,
    ),
    series(
      "publish_failures_total",
      "requests to publish that were not stored, or only in part, by code",
      () => byName(edge.publishFailuresByCode, "code"),
    ),
    series("published_messages_total", "messages stored", () => edge.publishMessages),
    series("published_bytes_total", "bytes of batches stored", () => edge.publishBytes),
    series(
      "delivered_messages_total",
      "messages handed to readers",
      () => [...edge.deliveredByPath].map(([path, { messages }]) => [messages, { path }]),
    ),
    series(
      "delivered_bytes_total",
      "bytes handed to readers",
      () => [...edge.deliveredByPath].map(([path, { bytes }]) => [bytes, { path }]),
    ),
    series(
      "responses_total",
      "answers by HTTP status",
      () => byName(edge.answersByStatus, "status"),
    ),
    series("refusals_total", "refusals by code", () => byName(edge.refusalsByCode, "code")),
  ];
}

function brokerSeries({ sampler }: Measured): SeriesDefinition[] {
  const latest = (value: (sample: Sample) => number | null) => () => {
    const sample = sampler.latest();
    return sample === null ? null : value(sample);
  };
  const { totals } = sampler;
  return [
    series("rebalances_total", "rebalances of groups", () => totals().rebalances),
    series("retries_total", "messages that were nacked and come again", () => totals().retries),
    series("dead_letters_total", "messages no retry is left for", () => totals().deadLetters),
    series(
      "canaries_withdrawn_total",
      "canaries that did worse than the rest of their group",
      () => totals().canariesWithdrawn,
    ),
    series(
      "canaries",
      "groups with a canary, by its state",
      () =>
        Object.entries(sampler.latest()?.canariesByState ?? {}).map(([state, n]) => [n, { state }]),
    ),
    series(
      "group_canary_percent",
      "share of its group's partitions that a canary was given; of the withdrawn ones first, and at most a hundred",
      () =>
        (sampler.latest()?.canaries ?? []).map(({ group, version, state, percent }) => [
          percent,
          { group, version, state },
        ]),
    ),
    series(
      "duplicates_suppressed_total",
      "publishes that were found to be repeats",
      () => totals().duplicatesSuppressed,
    ),
    series(
      "leader_changes_total",
      "partitions that this broker began to lead",
      () => totals().leaderChanges,
    ),
    series(
      "in_sync_changes_total",
      "changes of who is in sync with what this broker leads",
      () => totals().inSyncChanges,
    ),
    series(
      "replication_delay_seconds",
      "of what this broker leads, how long the in-sync copy furthest behind has been so; 0 on one node",
      latest(({ replicationDelayMs }) => replicationDelayMs / 1_000),
    ),
    series(
      "under_replicated_partitions",
      "of what this broker leads, partitions with fewer copies in sync than they are to have; 0 on one node",
      latest((sample) => sample.underReplicatedPartitions ?? 0),
    ),
    series(
      "offline_partitions",
      "partitions that do not serve, of the whole cluster and so the same at every broker",
      latest((sample) => sample.offlinePartitions),
    ),
    series(
      "mailbox_waiting",
      "commands and appends that wait in mailboxes",
      latest((sample) => sample.waitingCommands),
    ),
    series(
      "jobs",
      "replays and redrives by state",
      () => Object.entries(sampler.latest()?.jobs ?? {}).map(([state, n]) => [n, { state }]),
    ),
    series(
      "event_loop_delay_seconds",
      "longest that the event loop was held up within the last second",
      latest(({ eventLoopDelayMs }) => eventLoopDelayMs / 1_000),
    ),
    series("storage_bytes", "bytes of all logs", latest((sample) => sample.storageBytes)),
    series(
      "disk_free_bytes",
      "free bytes of the file system with the data",
      latest((sample) => sample.diskFreeBytes),
    ),
    series("memory_bytes", "resident memory", latest((sample) => sample.memoryBytes)),
    series("problems", "what /readyz complains of", latest(({ problems }) => problems.length)),
  ];
}

function lagSeries({ lags }: Measured): SeriesDefinition[] {
  const groups = () => lags.groups(MAX_GROUPS);
  return [
    series(
      "group_lag",
      "messages that a group has yet to read",
      () => groups().map(({ group, totalLag }) => [totalLag, { group }]),
    ),
    series(
      "group_stalled_lag",
      "those of partitions whose member makes no progress: more members would not help",
      () => groups().map(({ group, stalledLag }) => [stalledLag, { group }]),
    ),
    series(
      "group_lag_seconds",
      "age of the oldest message that a group has yet to read",
      () => groups().map(({ group, maxLagSeconds }) => [maxLagSeconds ?? 0, { group }]),
    ),
    series(
      "group_members",
      "members of a group",
      () => groups().map(({ group, members }) => [members, { group }]),
    ),
    {
      name: "kafka_consumergroup_lag",
      help:
        "messages that a group has yet to read of a partition, under the name that known dashboards use",
      points: () =>
        lags.lags(MAX_LAGS).map(({ group, topic, partition, lag }) => [
          lag,
          { consumergroup: group, topic, partition: String(partition) },
        ]),
    },
    series(
      "group_lag_left_out",
      "groups and partitions whose lags are left out here for their number",
      () => [
        [Math.max(0, lags.groupCount - MAX_GROUPS), { of: "groups" }],
        [Math.max(0, lags.partitionCount - MAX_LAGS), { of: "partitions" }],
      ],
    ),
    series(
      "group_lag_unknown",
      "groups whose lag is not known: not looked at yet, or behind and without room to be remembered",
      () => lags.unknownCount,
    ),
  ];
}

function series(
  name: string,
  help: string,
  points: () => readonly Point[] | number | null,
): SeriesDefinition {
  return { name: `waybill_${name}`, help, points };
}

function byName(counts: ReadonlyMap<string | number, number>, label: string): Point[] {
  return [...counts].map(([name, count]) => [count, { [label]: String(name) }]);
}
