// Owns what an overview tells of samples: how the broker stands, and how it got there.
// Refuses to own measuring (the samples) and sending (stream.ts, ../routes/overview.ts).
// Invariant: bounded, whatever the samples hold; figures of a second are rates, so that samples of any length compare.
import { z } from "zod";
import { sharedAmongTenants } from "../../actors/measurement/fair_share.ts";
import { TROUBLE_KINDS } from "../../actors/measurement/group_trouble.ts";
import type { KeySight } from "../auth/key_sight.ts";
import type { GroupSample, LagSample, Sample } from "../../actors/measurement/types.ts";

/** Of the samples' lists: those with the largest lags, the most bytes. */
const MAX_GROUPS = 50;
const MAX_LAGS = 50;
const MAX_PARTITIONS = 10;
/** How a group's lag went: one value for so many samples. */
const TREND_SAMPLES = 10;
/** Groups with a trend. */
const MAX_TRENDS = 50;

const quantiles = z.strictObject({
  p50: z.number().nullable(),
  p95: z.number().nullable(),
  p99: z.number().nullable(),
}).meta({ description: "Milliseconds; null: nothing happened." });

export const pointSchema = z.strictObject({
  at: z.number().meta({ description: "Wall time, ms." }),
  publishRequestsPerSecond: z.number(),
  publishFailuresPerSecond: z.number().meta({ description: "What the broker answered 5xx." }),
  publishedMessagesPerSecond: z.number(),
  publishedBytesPerSecond: z.number(),
  deliveredMessagesPerSecond: z.number(),
  deliveredBytesPerSecond: z.number(),
  publishLatencyMs: quantiles,
  endToEndMs: quantiles.meta({
    description: "From a message's timestamp until a member was given it, ms.",
  }),
  syncLatencyMs: z.strictObject({ p50: z.number().nullable(), p99: z.number().nullable() }),
  eventLoopDelayMs: z.number(),
  replicationDelayMs: z.number(),
  duplicatesSuppressed: z.number().meta({ description: "Counts are since the point before." }),
  deadLetters: z.number(),
  retries: z.number(),
  rebalances: z.number(),
  leaderChanges: z.number(),
  inSyncChanges: z.number(),
  offlinePartitions: z.number(),
  totalLag: z.number().meta({ description: "Over the groups with the largest lags." }),
  waitingCommands: z.number(),
  storageBytes: z.number(),
  diskFreeBytes: z.number().nullable(),
  memoryBytes: z.number(),
  problems: z.int(),
}).meta({ id: "OverviewPoint" });

export type OverviewPoint = z.infer<typeof pointSchema>;

const groupSchema = z.strictObject({
  group: z.string(),
  state: z.string(),
  members: z.int(),
  totalLag: z.number(),
  stalledLag: z.number().meta({ description: "More members would not help with it." }),
  maxLagSeconds: z.number().nullable(),
  trouble: z.strictObject({
    kind: z.enum(TROUBLE_KINDS),
    since: z.number().meta({ description: "Wall time, ms." }),
    why: z.string(),
  }).nullable().meta({ description: "Why the group is behind, and since when; null: it is well." }),
});

export const nowSchema = z.strictObject({
  ready: z.boolean(),
  problems: z.array(z.string()),
  point: pointSchema,
  groups: z.array(groupSchema).meta({ description: "Largest lag first." }),
  lags: z.array(z.strictObject({
    group: z.string(),
    topic: z.string(),
    partition: z.int(),
    lag: z.number(),
    lagSeconds: z.number().nullable(),
    status: z.enum(["ok", "lagging", "stalled", "idle", "unassigned"]),
  })).meta({ description: "Largest first." }),
  partitions: z.array(z.strictObject({
    topic: z.string(),
    partition: z.int(),
    bytes: z.number(),
    share: z.number(),
    hotKey: z.string().optional().meta({ description: "Told to whoever may read the topic." }),
  })).meta({ description: "Those that got the most bytes." }),
  failuresByCode: z.record(z.string(), z.number()),
  quotaBreaches: z.record(z.string(), z.number()).meta({ description: "Refusals by tenant." }),
  jobs: z.record(z.string(), z.number()).meta({ description: "Replays and redrives by state." }),
}).meta({ id: "OverviewNow" });

export type OverviewNow = z.infer<typeof nowSchema>;

export const overviewSchema = z.strictObject({
  nodeId: z.string(),
  version: z.string(),
  now: nowSchema.nullable().meta({ description: "null in the broker's first second." }),
  history: z.array(pointSchema).meta({ description: "Oldest first, of 15 minutes at most." }),
  trends: z.record(z.string(), z.array(z.number())).meta({
    description: "Total lag by group, oldest first, one value for ten seconds.",
  }),
  lagTrends: z.array(z.strictObject({
    group: z.string(),
    topic: z.string(),
    partition: z.int(),
    values: z.array(z.number()),
  })).meta({
    description:
      "The same of the partitions with the largest lags, for as long as they have been among them.",
  }),
}).meta({ id: "Overview" });

export type Overview = z.infer<typeof overviewSchema>;

/** One sample as a point of a chart. */
export function pointOf(sample: Sample): OverviewPoint {
  const perSecond = (count: number) => sample.seconds > 0 ? count / sample.seconds : 0;
  return {
    at: sample.at,
    publishRequestsPerSecond: perSecond(sample.publishRequests),
    publishFailuresPerSecond: perSecond(sample.publishFailures),
    publishedMessagesPerSecond: perSecond(sample.publishMessages),
    publishedBytesPerSecond: perSecond(sample.publishBytes),
    deliveredMessagesPerSecond: perSecond(sample.deliveredMessages),
    deliveredBytesPerSecond: perSecond(sample.deliveredBytes),
    publishLatencyMs: sample.publishLatencyMs,
    endToEndMs: sample.endToEndMs,
    syncLatencyMs: sample.syncLatencyMs,
    eventLoopDelayMs: sample.eventLoopDelayMs,
    replicationDelayMs: sample.replicationDelayMs,
    duplicatesSuppressed: sample.duplicatesSuppressed,
    deadLetters: sample.deadLetters,
    retries: sample.retries,
    rebalances: sample.rebalances,
    leaderChanges: sample.leaderChanges,
    inSyncChanges: sample.inSyncChanges,
    offlinePartitions: sample.offlinePartitions,
    totalLag: sample.groups.reduce((sum, { totalLag }) => sum + totalLag, 0),
    waitingCommands: sample.waitingCommands,
    storageBytes: sample.storageBytes,
    diskFreeBytes: sample.diskFreeBytes,
    memoryBytes: sample.memoryBytes,
    problems: sample.problems.length,
  };
}

/** How the broker stands by its newest sample. */
export function nowOf(sample: Sample): OverviewNow {
  return {
    ready: sample.problems.length === 0,
    problems: [...sample.problems],
    point: pointOf(sample),
    groups: toldGroups(sample.groups),
    lags: sharedAmongTenants(sample.lags, MAX_LAGS).map(({ tenant: _tenant, ...one }) => one),
    partitions: sample.partitions.slice(0, MAX_PARTITIONS),
    failuresByCode: sample.publishFailuresByCode,
    quotaBreaches: sample.quotaBreaches,
    jobs: sample.jobs,
  };
}

/** `now` as it may be told to somebody. */
export function seenNow(now: OverviewNow, mayRead: KeySight): OverviewNow {
  const partitions = now.partitions.map((one) => {
    const { hotKey: _, ...rest } = one;
    return mayRead(one.topic) ? one : rest;
  });
  return { ...now, partitions };
}

/** Those in trouble come before those with more lag: none of them is to be missed. */
function toldGroups(groups: readonly GroupSample[]): OverviewNow["groups"] {
  const inTrouble = groups.filter(({ trouble = null }) => trouble !== null);
  const well = groups.filter(({ trouble = null }) => trouble === null);
  const troubled = sharedAmongTenants(inTrouble, MAX_GROUPS);
  const kept = new Set([...troubled, ...sharedAmongTenants(well, MAX_GROUPS - troubled.length)]);
  return groups.filter((one) => kept.has(one)).map(({ tenant: _tenant, ...one }) => (
    { ...one, trouble: one.trouble ?? null }
  ));
}

/** How the lags of the groups went that lag most now. */
export function trendsOf(
  history: readonly Pick<Sample, "groups">[],
): Record<string, number[]> {
  const names = (history.at(-1)?.groups ?? []).slice(0, MAX_TRENDS).map(({ group }) => group);
  const steps = stepsOf(history).map(({ groups }) =>
    new Map(groups.map(({ group, totalLag }) => [group, totalLag]))
  );
  return Object.fromEntries(
    names.map((name) => [name, steps.map((lags) => lags.get(name) ?? 0)]),
  );
}

/** How the lags of the partitions went that lag most now. */
export function lagTrendsOf(history: readonly Pick<Sample, "lags">[]): Overview["lagTrends"] {
  const keyOf = ({ group, topic, partition }: LagPlace) => `${group} ${topic} ${partition}`;
  const newest = sharedAmongTenants(history.at(-1)?.lags ?? [], MAX_LAGS);
  const steps = stepsOf(history).map(({ lags }) =>
    new Map(lags.map((one) => [keyOf(one), one.lag]))
  );
  return newest.map((one) => {
    const { group, topic, partition } = one;
    const known = steps.map((lags) => lags.get(keyOf(one)) ?? null);
    // Where it was not among the largest, nobody knows what it was.
    const values = known.slice(known.lastIndexOf(null) + 1).filter((value) => value !== null);
    return { group, topic, partition, values };
  });
}

type LagPlace = Pick<LagSample, "group" | "topic" | "partition">;

/** One sample of each step; the newest ends one, so that a trend ends with what is true now. */
function stepsOf<One>(history: readonly One[]): One[] {
  const offset = (history.length - 1) % TREND_SAMPLES;
  return history.filter((_, index) => index % TREND_SAMPLES === offset);
}
