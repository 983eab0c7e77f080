// Owns how each threshold's values follow from samples.
// Refuses to own limits and what becomes of a value (decide.ts). Pure.
// Invariant: a value is made of the samples of its window alone; where nothing can be said of a resource, nothing is.
import type { LagSample, Sample } from "../measurement/types.ts";
import { MIN_HOT_BYTES_PER_SECOND } from "./defaults.ts";
import type { AlertResource, AlertSignals, ThresholdName } from "./types.ts";

/** Names in a detail, and characters of each. */
const MAX_NAMED = 5;
const MAX_NAMED_CHARS = 200;

/** A value of one resource. */
export interface Reading {
  readonly resource: AlertResource;
  /** Null: not known just now, everything stays as it is. A resource without a reading is not above its limit. */
  readonly value: number | null;
  readonly detail: string | null;
  /** Whose it is; left out: nobody's. Places are shared among tenants. */
  readonly tenant?: string;
}

export interface MeasureContext {
  readonly nodeId: string;
  readonly windowSeconds: number;
  readonly signals: AlertSignals;
}

/** Samples of the window, oldest first, one at least. */
type Window = readonly [Sample, ...Sample[]];
type Measure = (window: Window, context: MeasureContext) => readonly Reading[];

/** What `name` makes of `samples` (oldest first, the newest last, which may reach beyond the window). */
export function readingsOf(
  name: ThresholdName,
  samples: readonly Sample[],
  context: MeasureContext,
): readonly Reading[] {
  const newest = samples.at(-1);
  if (newest === undefined) return [];
  return MEASURES[name](inWindow(samples, newest, context.windowSeconds), context);
}

/** Thresholds that look at lags: of resources without a reading it is not known whether they are well. */
const OF_LAGS: ReadonlySet<ThresholdName> = new Set(["consumer-lag", "stalled-consumer"]);

/** Whether resources that have no reading by `newest` may be above the limit all the same: they were not looked at. */
export function isPartial(name: ThresholdName, newest: Sample): boolean {
  return OF_LAGS.has(name) && (newest.unjudgedLags ?? 0) > 0;
}

/** All that lag, as far as they are known. */
function lagsOf({ judgedLags, lags }: Sample): readonly LagSample[] {
  return judgedLags ?? lags;
}

function inWindow(samples: readonly Sample[], newest: Sample, windowSeconds: number): Window {
  const after = newest.monotonic - windowSeconds * 1_000;
  let first = samples.length - 1;
  while (first > 0 && samples[first - 1]!.monotonic > after) first--;
  return windowSeconds === 0 ? [newest] : samples.slice(first) as unknown as Window;
}

function ofBroker({ nodeId }: MeasureContext): AlertResource {
  return { type: "broker", name: nodeId, labels: {} };
}

/** A count over the window. */
function sumOf(window: Window, context: MeasureContext, count: (sample: Sample) => number) {
  return window.reduce((sum, sample) => sum + count(sample) * weightOf(sample, context), 0);
}

/** The same by name. */
function sumsOf(
  window: Window,
  context: MeasureContext,
  counts: (sample: Sample) => Readonly<Record<string, number>> | undefined,
): Map<string, number> {
  const sums = new Map<string, number>();
  for (const sample of window) {
    for (const [name, count] of Object.entries(counts(sample) ?? {})) {
      sums.set(name, (sums.get(name) ?? 0) + count * weightOf(sample, context));
    }
  }
  return sums;
}

/** A sample that is longer than the window counts as much of it as the window is. */
function weightOf({ seconds }: Sample, { windowSeconds }: MeasureContext): number {
  return windowSeconds > 0 && seconds > windowSeconds ? windowSeconds / seconds : 1;
}

/** The most first: `billing on orders 2312`. */
function mostOf(sums: ReadonlyMap<string, number>): string | null {
  const sorted = [...sums].sort((a, b) => b[1] - a[1]);
  return listed(sorted.map(([name, count]) => `${name} ${Math.round(count)}`));
}

function meanOf(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return null;
  return known.reduce((sum, value) => sum + value, 0) / known.length;
}

/** All of a kind, with the groups and topics that have most of it. */
function counted(kind: "deadLetters" | "retries"): Measure {
  return (window, context) => [{
    resource: ofBroker(context),
    value: sumOf(window, context, (sample) => sample[kind]),
    detail: mostOf(sumsOf(window, context, (sample) => sample[`${kind}ByPlace`])),
  }];
}

const rebalances: Measure = (window, context) => {
  const groups = new Map<string, { sum: number; tenant: string | undefined }>();
  for (const sample of window) {
    for (const { group, tenant, rebalances } of sample.rebalancesByGroup ?? []) {
      const sum = (groups.get(group)?.sum ?? 0) + rebalances * weightOf(sample, context);
      groups.set(group, { sum, tenant });
    }
  }
  return [...groups].map(([group, { sum, tenant }]) => ({
    resource: { type: "group" as const, name: group, labels: { group } },
    value: sum,
    detail: null,
    ...ofTenant(tenant),
  }));
};

function gauged(value: (sample: Sample) => number | null): Measure {
  return (window, context) => {
    const mean = meanOf(window.map(value));
    return mean === null ? [] : [{ resource: ofBroker(context), value: mean, detail: null }];
  };
}

const failureRate: Measure = (window, context) => {
  const requests = sumOf(window, context, (sample) => sample.publishRequests);
  if (requests === 0) return [];
  const failures = sumOf(window, context, (sample) => sample.publishFailures);
  const detail = mostOf(sumsOf(window, context, (sample) => sample.publishFailuresByCode));
  return [{ resource: ofBroker(context), value: failures / requests, detail }];
};

const lag: Measure = (window) => {
  const newest = window.at(-1)!;
  const sums = new Map<string, { sum: number; count: number }>();
  for (const sample of window) {
    for (const { group, topic, partition, lag } of lagsOf(sample)) {
      const key = `${group} ${topic} ${partition}`;
      const { sum, count } = sums.get(key) ?? { sum: 0, count: 0 };
      sums.set(key, { sum: sum + lag, count: count + 1 });
    }
  }
  return lagsOf(newest).map(({ group, tenant, topic, partition, lagSeconds, status }) => {
    const { sum, count } = sums.get(`${group} ${topic} ${partition}`)!;
    const labels = { group, topic, partition: String(partition) };
    const behind = lagSeconds === null ? "" : `, ${Math.round(lagSeconds)} s behind`;
    return {
      resource: { type: "group" as const, name: group, labels },
      value: sum / count,
      detail: `${status}${behind}`,
      ...ofTenant(tenant),
    };
  });
};

const stalled: Measure = (window) => {
  const all = lagsOf(window.at(-1)!).filter(({ status }) => status === "stalled");
  return [...Map.groupBy(all, ({ group }) => group)].map(([group, stuck]) => ({
    resource: { type: "group" as const, name: group, labels: { group } },
    value: stuck.length,
    detail: listed(stuck.map(({ topic, partition }) => `${topic}/${partition}`)),
    ...ofTenant(stuck[0]!.tenant),
  }));
};

function ofTenant(tenant: string | undefined): Pick<Reading, "tenant"> {
  return tenant === undefined ? {} : { tenant };
}

const hotPartition: Measure = (window) => {
  let total = 0;
  let seconds = 0;
  const byPartition = new Map<
    string,
    { topic: string; partition: number; bytes: number; hotKey: string | null }
  >();
  for (const sample of window) {
    seconds += sample.seconds;
    const [most] = sample.partitions;
    // Those beyond the list count too.
    if (most !== undefined && most.share > 0) total += most.bytes / most.share;
    for (const { topic, partition, bytes, hotKey } of sample.partitions) {
      const key = `${topic}/${partition}`;
      const before = byPartition.get(key);
      byPartition.set(key, {
        topic,
        partition,
        bytes: bytes + (before?.bytes ?? 0),
        hotKey: hotKey ?? before?.hotKey ?? null,
      });
    }
  }
  if (total < MIN_HOT_BYTES_PER_SECOND * seconds || total === 0) return [];
  // Nobody can give the broker's own journals more partitions.
  const others = [...byPartition].filter(([, { topic }]) => !topic.startsWith("__"));
  return others.map(([name, { topic, partition, bytes, hotKey }]) => ({
    resource: { type: "partition" as const, name, labels: { topic, partition: String(partition) } },
    value: bytes / total,
    detail: hotKey === null ? null : `hot key ${cut(hotKey)}`,
  }));
};

const quotaBreaches: Measure = (window, context) => {
  const tenants = new Set(window.flatMap(({ quotaBreaches }) => Object.keys(quotaBreaches)));
  return [...tenants].map((tenant) => ({
    resource: { type: "tenant" as const, name: tenant, labels: { tenant } },
    value: sumOf(window, context, ({ quotaBreaches }) => quotaBreaches[tenant] ?? 0),
    detail: null,
  }));
};

const OFFLINE = /^partition (?<topic>[A-Za-z0-9._-]+)\/(?<partition>\d+) is offline/;
/** Its end, or about to be: nothing to wake anybody for. */
const SHUTTING_DOWN = "the broker is shutting down";

const brokerProblem: Measure = (window, context) => {
  const problems = window.at(-1)!.problems.filter((problem) => problem !== SHUTTING_DOWN);
  const others: string[] = [];
  const readings: Reading[] = [];
  for (const problem of problems) {
    const { topic, partition } = OFFLINE.exec(problem)?.groups ?? {};
    if (topic === undefined || partition === undefined) {
      others.push(problem);
      continue;
    }
    const resource = {
      type: "partition" as const,
      name: `${topic}/${partition}`,
      labels: { topic, partition },
    };
    readings.push({ resource, value: 1, detail: cut(problem) });
  }
  if (others.length === 0) return readings;
  return [
    ...readings,
    { resource: ofBroker(context), value: others.length, detail: listed(others) },
  ];
};

const auditBroken: Measure = (_window, context) => {
  const { audit } = context.signals;
  const resource = ofBroker(context);
  if (audit === null) return [{ resource, value: null, detail: null }];
  const { fault } = audit;
  return [{ resource, value: fault === null ? 0 : 1, detail: fault === null ? null : cut(fault) }];
};

const withdrawnCanaries: Measure = (window) =>
  window.at(-1)!.canaries.filter(({ state }) => state === "withdrawn").map(
    ({ group, version, reason }) => ({
      resource: { type: "group" as const, name: group, labels: { group, version } },
      value: 1,
      detail: reason === null ? null : cut(`version ${version}: ${reason}`),
    }),
  );

const diskUsage = gauged(({ storageBytes, diskFreeBytes }) => {
  if (diskFreeBytes === null || storageBytes + diskFreeBytes === 0) return null;
  return storageBytes / (storageBytes + diskFreeBytes);
});

const MEASURES: Readonly<Record<ThresholdName, Measure>> = {
  "publish-failure-rate": failureRate,
  "replication-delay": gauged(({ replicationDelayMs }) => replicationDelayMs / 1_000),
  "under-replicated": gauged(({ underReplicatedPartitions }) => underReplicatedPartitions ?? 0),
  "consumer-lag": lag,
  "rebalance-rate": rebalances,
  "dead-letter-rate": counted("deadLetters"),
  "retry-rate": counted("retries"),
  "stalled-consumer": stalled,
  "hot-partition": hotPartition,
  "quota-breaches": quotaBreaches,
  "storage-budget": gauged(({ storageBytes }) => storageBytes),
  "disk-usage": diskUsage,
  "disk-slow": gauged(({ syncLatencyMs }) => syncLatencyMs.p99),
  "broker-problem": brokerProblem,
  "audit-broken": auditBroken,
  "canary-withdrawn": withdrawnCanaries,
};

/** The first few, in words; null when there are none. */
function listed(all: readonly string[]): string | null {
  if (all.length === 0) return null;
  const named = all.slice(0, MAX_NAMED).map(cut).join(", ");
  return all.length > MAX_NAMED ? `${named} and ${all.length - MAX_NAMED} more` : named;
}

function cut(text: string): string {
  return text.length > MAX_NAMED_CHARS ? `${text.slice(0, MAX_NAMED_CHARS)}…` : text;
}
