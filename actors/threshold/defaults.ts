// Owns the thresholds that a broker has: what each looks at, and how it is set unless somebody changes it.
// Refuses to own changes (thresholds.ts), how values are measured (signals.ts) and what runbooks do (ops/runbooks/).
// A runbook is started in mode auto where what it does by itself takes nothing away and can be taken back, or where it only
// looks; in approve where it moves offsets, drops messages or costs money. Where no runbook would help there is none.
// Invariant: every name has exactly one definition; names never change, since settings and runbooks are kept under them.
import {
  type AlertResource,
  type Severity,
  THRESHOLD_NAMES,
  type ThresholdDefinition,
  type ThresholdName,
  type ThresholdSettings,
  type ThresholdUnit,
} from "./types.ts";

const MEBIBYTE = 1_048_576;
/** Least traffic at which one partition's share of it tells anything. */
export const MIN_HOT_BYTES_PER_SECOND = MEBIBYTE;

/** What is known of one threshold from the start. */
export interface KnownThreshold {
  readonly definition: ThresholdDefinition;
  readonly defaults: ThresholdSettings;
}

type Described = Pick<ThresholdDefinition, "describes" | "unit" | "labels">;
type Set = Pick<ThresholdSettings, "limit" | "severity"> & Partial<ThresholdSettings>;

/** A P1 that nobody takes is told again after 5 minutes, a P2 after half an hour. */
const ESCALATE_AFTER_SECONDS: Readonly<Record<Severity, number | null>> = Object.freeze({
  P1: 300,
  P2: 1_800,
  P3: null,
});

function known(described: Described, set: Set): Omit<KnownThreshold, "definition"> & Described {
  return {
    ...described,
    defaults: Object.freeze({
      forSeconds: 0,
      windowSeconds: 0,
      enabled: true,
      runbook: null,
      mode: "observe",
      clearLimit: null,
      clearForSeconds: 60,
      escalateAfterSeconds: ESCALATE_AFTER_SECONDS[set.severity],
      ...set,
    }),
  };
}

function of(unit: ThresholdUnit, labels: readonly string[], describes: string): Described {
  return { unit, labels, describes };
}

const THRESHOLDS: Readonly<Record<ThresholdName, ReturnType<typeof known>>> = {
  "publish-failure-rate": known(
    of(
      "ratio",
      [],
      "Publish requests that the broker failed (5xx), of all that reached a topic in the window.",
    ),
    {
      limit: 0.005,
      clearLimit: 0.0025,
      windowSeconds: 60,
      forSeconds: 300,
      severity: "P1",
      runbook: "partition-actor-down",
      mode: "auto",
    },
  ),
  "replication-delay": known(
    of(
      "seconds",
      [],
      "How far the slowest in-sync replica is behind its leader; 0 on a single node.",
    ),
    { limit: 3, clearLimit: 2, forSeconds: 180, severity: "P1" },
  ),
  "under-replicated": known(
    of(
      "partitions",
      [],
      "Partitions that a broker leads with fewer replicas in sync than they are to have; 0 on a single node.",
    ),
    { limit: 0, forSeconds: 60, severity: "P2", runbook: "under-replicated", mode: "auto" },
  ),
  "consumer-lag": known(
    of(
      "messages",
      ["group", "topic", "partition"],
      "Messages of one partition that a group is behind.",
    ),
    { limit: 500_000, clearLimit: 400_000, severity: "P1", runbook: "lag-growing", mode: "auto" },
  ),
  "rebalance-rate": known(
    of("rebalances", ["group"], "Rebalances of one group in the window."),
    { limit: 6, clearLimit: 4, windowSeconds: 600, severity: "P2" },
  ),
  "dead-letter-rate": known(
    of("messages", [], "Messages that became dead letters in the window."),
    {
      limit: 2_000,
      clearLimit: 1_000,
      windowSeconds: 60,
      severity: "P1",
      runbook: "dead-letter-flood",
      mode: "auto",
    },
  ),
  "retry-rate": known(
    of("messages", [], "Redeliveries that were asked for in the window."),
    {
      limit: 10_000,
      clearLimit: 5_000,
      windowSeconds: 60,
      forSeconds: 60,
      severity: "P2",
      runbook: "retry-storm",
      mode: "auto",
    },
  ),
  "stalled-consumer": known(
    of("partitions", ["group"], "Partitions of a group that have a member and do not move."),
    { limit: 0, forSeconds: 60, severity: "P2", runbook: "consumer-bug", mode: "approve" },
  ),
  "hot-partition": known(
    of(
      "ratio",
      ["topic", "partition"],
      "Share of all bytes appended in the window that one partition got, from 1 MiB/s on.",
    ),
    {
      limit: 0.8,
      clearLimit: 0.6,
      windowSeconds: 60,
      forSeconds: 120,
      severity: "P3",
      runbook: "hot-partition",
      mode: "auto",
    },
  ),
  "quota-breaches": known(
    of(
      "requests",
      ["tenant"],
      "Requests of a tenant that were refused for its quota in the window.",
    ),
    {
      limit: 100,
      clearLimit: 10,
      windowSeconds: 60,
      forSeconds: 60,
      severity: "P3",
      runbook: "tenant-over-quota",
      mode: "approve",
    },
  ),
  "storage-budget": known(
    of(
      "bytes",
      [],
      "Bytes of all topics on this broker, archive apart. Set a budget and enable it.",
    ),
    {
      limit: 100 * 1_024 * MEBIBYTE,
      forSeconds: 60,
      severity: "P2",
      enabled: false,
      runbook: "storage-over-budget",
      mode: "approve",
    },
  ),
  "disk-usage": known(
    of("ratio", [], "Bytes of all topics, of these and what is free on their file system."),
    {
      limit: 0.85,
      clearLimit: 0.8,
      forSeconds: 60,
      severity: "P1",
      runbook: "storage-over-budget",
      mode: "approve",
    },
  ),
  "disk-slow": known(
    of("milliseconds", [], "99th percentile of the logs' syncs, as a mean over the window."),
    { limit: 500, clearLimit: 250, windowSeconds: 30, forSeconds: 60, severity: "P2" },
  ),
  "broker-problem": known(
    of(
      "problems",
      ["topic", "partition"],
      "What stops the broker from serving all of it, as /readyz tells.",
    ),
    {
      limit: 0,
      forSeconds: 15,
      severity: "P1",
      clearForSeconds: 10,
      runbook: "partition-actor-down",
      mode: "auto",
    },
  ),
  "canary-withdrawn": known(
    of(
      "canaries",
      ["group", "version"],
      "A group's canary did worse than the rest and was withdrawn; until it is removed or set anew.",
    ),
    { limit: 0, severity: "P2", clearForSeconds: 0 },
  ),
  "audit-broken": known(
    of("faults", [], "The audit log was found altered, or cannot be read."),
    { limit: 0, severity: "P1" },
  ),
};

/** Every threshold, in the order of THRESHOLD_NAMES. */
export const KNOWN_THRESHOLDS: ReadonlyMap<ThresholdName, KnownThreshold> = new Map(
  THRESHOLD_NAMES.map((name) => {
    const { defaults, ...described } = THRESHOLDS[name];
    const definition = Object.freeze({ name, comparison: "above" as const, ...described });
    return [name, { definition, defaults }];
  }),
);

/** Whether `name` is that of a threshold. */
export function isThresholdName(name: string): name is ThresholdName {
  return (THRESHOLD_NAMES as readonly string[]).includes(name);
}

/** What alerts of the threshold are about: the target of the runbook that they start. */
export function resourceTypesOf(name: ThresholdName): readonly AlertResource["type"][] {
  const { labels } = KNOWN_THRESHOLDS.get(name)!.definition;
  // A partition that does not serve, or what else there is.
  if (name === "broker-problem") return ["partition", "broker"];
  if (labels.includes("group")) return ["group"];
  if (labels.includes("partition")) return ["partition"];
  return labels.includes("tenant") ? ["tenant"] : ["broker"];
}
