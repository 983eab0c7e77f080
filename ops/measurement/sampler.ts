// Owns measuring the broker once a second: one sample, handed to everybody who listens, and those of the last minutes.
// Refuses to own what is counted (edge_counters.ts, the actors) and judging samples (actors/threshold).
// Invariant: a sample is made of memory alone; what takes time (lags, disk space) is looked at beside it, and taken as last seen.
import type { Broker } from "../../actors/broker.ts";
import type { ReplicationFigures } from "../../actors/cluster/cluster_watch.ts";
import type {
  ActivitySource,
  CanaryActivity,
  Sample,
  SampleListener,
  Samples,
} from "../../actors/measurement/types.ts";
import { MAX_SAMPLED_CANARIES, MAX_SAMPLED_PROBLEMS } from "../../actors/measurement/types.ts";
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";
import { GroupGrowth } from "./group_growth.ts";
import { Growth, HistogramGrowth, largestTenants, NamedGrowth } from "./between_samples.ts";
import type { EdgeCounters } from "./edge_counters.ts";
import type { EventLoopWatch } from "./event_loop_watch.ts";
import type { HotKeys } from "./hot_keys.ts";
import type { LagWatch } from "./lag_watch.ts";
import type { SyncWatch } from "./measured_disk.ts";
import { type PartitionChanges, PartitionWatch } from "./partition_watch.ts";
import { SideLook } from "./side_look.ts";

export const SAMPLE_MS = 1_000;
/** Samples that are kept, and of each what its lists hold then. */
const HISTORY_SAMPLES = 900;
const KEPT_LAGS = 20;
const KEPT_GROUPS = 50;
const KEPT_PARTITIONS = 5;
/** Jobs change slowly, and looking at them takes all of them. */
const JOBS_EVERY_MS = 10_000;

const SUMMED = [
  "rebalances",
  "retries",
  "deadLetters",
  "duplicatesSuppressed",
  "leaderChanges",
  "inSyncChanges",
  "canariesWithdrawn",
] as const;
type SummedName = typeof SUMMED[number];

export interface SamplerOptions {
  readonly broker: Broker;
  /** What has happened in this process. */
  readonly activity: ActivitySource["activity"];
  readonly clock: Clock;
  readonly timers: Timers;
  readonly edge: EdgeCounters;
  readonly syncs: SyncWatch;
  readonly loop: EventLoopWatch;
  readonly lags: LagWatch;
  readonly hotKeys: HotKeys;
  readonly diskFreeBytes: () => Promise<number | null>;
  readonly memoryBytes: () => number;
  /** What is seen of the cluster; left out: nobody replicates, what is stored is stored everywhere. */
  readonly replication?: () => ReplicationFigures;
  /** Hears of looks that failed, and of listeners that threw. */
  readonly report: (message: string, error: unknown) => void;
}

type ReplicationSample = Pick<
  Sample,
  | "replicationDelayMs"
  | "underReplicatedPartitions"
  | "offlinePartitions"
  | "leaderChanges"
  | "inSyncChanges"
>;

export class Sampler implements Samples {
  readonly #history: Sample[] = [];
  readonly #listeners = new Set<SampleListener>();
  readonly #partitions: PartitionWatch;
  readonly #counts = new Growth();
  readonly #clusterCounts = new Growth();
  readonly #failures = new NamedGrowth();
  readonly #breaches = new NamedGrowth();
  readonly #byGroup = new GroupGrowth();
  readonly #publishLatency: HistogramGrowth;
  readonly #endToEnd: HistogramGrowth;
  readonly #syncLatency: HistogramGrowth;
  readonly #looks: {
    readonly lags: SideLook;
    readonly keys: SideLook;
    readonly space: SideLook;
    readonly jobs: SideLook;
  };
  #diskFreeBytes: number | null = null;
  #jobs: Readonly<Record<string, number>> = {};
  #busiest: PartitionChanges["busiest"] = [];
  #latest: Sample | null = null;
  readonly #totals: Record<SummedName, number> = {
    rebalances: 0,
    retries: 0,
    deadLetters: 0,
    duplicatesSuppressed: 0,
    leaderChanges: 0,
    inSyncChanges: 0,
    canariesWithdrawn: 0,
  };
  #atMs: number;
  #cancel: Cancel | null = null;
  #stopped = false;

  constructor(private readonly options: SamplerOptions) {
    const { edge, syncs, clock, lags, hotKeys } = options;
    this.#publishLatency = new HistogramGrowth(edge.publishLatency);
    this.#endToEnd = new HistogramGrowth(edge.endToEnd);
    this.#syncLatency = new HistogramGrowth(syncs.latency);
    this.#partitions = new PartitionWatch(() =>
      new Promise((resolve) => void options.timers.after(0, resolve))
    );
    this.#atMs = clock.monotonic();
    const look = (what: string, everyMs: number, run: () => Promise<void>) =>
      new SideLook({ clock, everyMs, run, onError: (error) => options.report(what, error) });
    this.#looks = {
      lags: look("lags could not be measured", SAMPLE_MS, () => lags.look()),
      keys: look("hot keys could not be found", SAMPLE_MS, () => hotKeys.look(this.#busiest)),
      space: look("disk space is not known", SAMPLE_MS, () => this.#lookAtSpace()),
      jobs: look("jobs could not be counted", JOBS_EVERY_MS, () => this.#lookAtJobs()),
    };
  }

  /** Looks for the first time, and samples each second from then on, until `stop`. */
  start(): void {
    this.#lookAround();
    this.#arm();
  }

  /** Resolves when nothing asks the broker any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    // Not for the disk's space: a disk that hangs would keep the broker from ending.
    const { lags, keys, jobs } = this.#looks;
    await Promise.all([lags, keys, jobs].map((look) => look.settled()));
  }

  latest(): Sample | null {
    return this.#latest;
  }

  /** Since the broker has started, as of the last sample. */
  readonly totals = (): Readonly<Record<SummedName, number>> => this.#totals;

  history(): readonly Sample[] {
    return this.#history;
  }

  onSample(listener: SampleListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #arm(): void {
    this.#cancel = this.options.timers.after(SAMPLE_MS, () => void this.#take());
  }

  async #take(): Promise<void> {
    try {
      const sample = await this.#sample();
      if (this.#stopped) return;
      this.#keep(sample);
      for (const listener of this.#listeners) this.#tell(listener, sample);
      this.#lookAround();
    } catch (error) {
      this.options.report("the broker could not be measured", error);
    }
    if (!this.#stopped) this.#arm();
  }

  #tell(listener: SampleListener, sample: Sample): void {
    try {
      listener(sample);
    } catch (error) {
      this.options.report("somebody who listens to samples failed", error);
    }
  }

  #keep(sample: Sample): void {
    this.#latest = sample;
    for (const name of SUMMED) this.#totals[name] += sample[name];
    const { judgedLags: _lags, rebalancesByGroup: _groups, ...kept } = sample;
    this.#history.push({
      ...kept,
      lags: sample.lags.slice(0, KEPT_LAGS),
      groups: sample.groups.slice(0, KEPT_GROUPS),
      partitions: sample.partitions.slice(0, KEPT_PARTITIONS),
    });
    if (this.#history.length > HISTORY_SAMPLES) this.#history.shift();
  }

  #lookAround(): void {
    for (const look of Object.values(this.#looks)) look.go();
  }

  async #sample(): Promise<Sample> {
    const { broker, clock, edge, loop, lags, hotKeys, memoryBytes } = this.options;
    const duplicates = await duplicatesOf(broker);
    const { rebalances, retries, deadLetters, canariesWithdrawn, ...activity } = this.options
      .activity();
    const { waiting, partitions, canaries } = activity;
    // Taken at once: the maps go on while partitions are looked at.
    const byGroup = this.#byGroup.take(activity, (group) => lags.tenantOf(group));
    const changes = await this.#partitions.look(partitions);
    this.#busiest = changes.busiest;
    const monotonic = clock.monotonic();
    const seconds = (monotonic - this.#atMs) / 1_000;
    this.#atMs = monotonic;
    return {
      at: clock.now(),
      monotonic,
      seconds,
      ...this.#counts.take({
        publishRequests: edge.publishRequests,
        publishFailures: edge.publishFailures,
        publishMessages: edge.publishMessages,
        publishBytes: edge.publishBytes,
        deliveredMessages: edge.deliveredMessages,
        deliveredBytes: edge.deliveredBytes,
        duplicatesSuppressed: duplicates,
        ...{ rebalances, retries, deadLetters, canariesWithdrawn },
      }),
      ...byGroup,
      publishFailuresByCode: Object.fromEntries(this.#failures.take(edge.publishFailuresByCode)),
      publishLatencyMs: this.#publishLatency.take(),
      endToEndMs: this.#endToEnd.take(),
      ...this.#replication(changes),
      waitingCommands: waiting + changes.waiting,
      jobs: this.#jobs,
      storageBytes: changes.storageBytes,
      diskFreeBytes: this.#diskFreeBytes,
      eventLoopDelayMs: loop.takeMaxMs(),
      syncLatencyMs: this.#syncs(),
      memoryBytes: memoryBytes(),
      partitions: hotKeys.named(changes.busiest),
      lags: lags.lags(),
      ...lags.judged(),
      groups: lags.groups(),
      quotaBreaches: largestTenants(this.#breaches.take(edge.quotaRefusalsByTenant)),
      ...sampledCanaries(canaries),
      problems: broker.health().problems.slice(0, MAX_SAMPLED_PROBLEMS),
    };
  }

  /** In a cluster what becomes of partitions is decided there, and not by what this broker has of them. */
  #replication(
    { leaderChanges, inSyncChanges, offline }: PartitionChanges,
  ): ReplicationSample {
    const seen = this.options.replication?.() ?? null;
    if (seen === null) {
      return { replicationDelayMs: 0, leaderChanges, inSyncChanges, offlinePartitions: offline };
    }
    const { delayMs, underReplicatedPartitions, offlinePartitions, ...counts } = seen;
    return {
      replicationDelayMs: delayMs,
      underReplicatedPartitions,
      offlinePartitions,
      ...this.#clusterCounts.take(counts),
    };
  }

  /** A sync that hangs has no duration yet, and is the slowest all the same. */
  #syncs(): Sample["syncLatencyMs"] {
    const { p50, p99 } = this.#syncLatency.take();
    const oldestMs = this.options.syncs.oldestMs();
    return oldestMs > Math.max(p99 ?? 0, SAMPLE_MS)
      ? { p50: p50 ?? oldestMs, p99: oldestMs }
      : { p50, p99 };
  }

  async #lookAtSpace(): Promise<void> {
    this.#diskFreeBytes = await this.options.diskFreeBytes();
  }

  async #lookAtJobs(): Promise<void> {
    const counts: Record<string, number> = {};
    for (const { state } of await this.options.broker.jobs.list()) {
      counts[state] = (counts[state] ?? 0) + 1;
    }
    this.#jobs = counts;
  }
}

/** Those that were withdrawn are what somebody has to look at. */
function sampledCanaries(
  canaries: readonly CanaryActivity[],
): Pick<Sample, "canaries" | "canariesByState"> {
  const withdrawn = canaries.filter(({ state }) => state === "withdrawn");
  const running = canaries.filter(({ state }) => state === "running");
  return {
    canaries: [...withdrawn, ...running].slice(0, MAX_SAMPLED_CANARIES),
    canariesByState: { running: running.length, withdrawn: withdrawn.length },
  };
}

/** Publishes that were found to be repeats, since the broker has started. */
async function duplicatesOf(broker: Broker): Promise<number> {
  const [producers, messageKeys, requestKeys] = await Promise.all([
    broker.producers.counters(),
    broker.messageKeyCounts(),
    broker.requestKeys.counts(),
  ]);
  return producers.duplicatesSuppressed + messageKeys.duplicates + requestKeys.replayed;
}
