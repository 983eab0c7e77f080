// Owns one round of upkeep over all topics: who is dropped, archived or compacted by which policy, and in which order.
// Refuses to own how a log does it (storage/) and when a round is due (local_broker.ts).
// Invariant: no log that is to be archived is dropped while this broker has no archive; one partition that fails or waits
// for the archive stops no other; those that need no archive come first.
import type { RetentionPolicy } from "../../storage/log.ts";
import type { Topic } from "../broker.ts";
import { IDEMPOTENCY_KEY_HEADER } from "../message_keys/types.ts";
import { Slots } from "../../storage/turns.ts";
import type { Partition } from "./partition.ts";

/** Partitions that are moved to the archive at the same time. */
const MAX_ARCHIVING = 4;
const HOUR_MS = 3_600_000;
/** A topic that does not say: consumers have a day to hear that a key is gone. */
export const DEFAULT_TOMBSTONE_HOURS = 24;
/** As long as producers are remembered at least. */
const COMPACTED_PRODUCER_MS = 7 * 24 * HOUR_MS;

export interface UpkeepRound {
  readonly topics: readonly Topic[];
  partitionsOf(topic: string): readonly Partition[];
  /** Whether logs can be archived: see LogStore. */
  readonly archives: boolean;
  /** Trusted wall time, ms. */
  readonly now: number;
  /** How long keys of messages are remembered. */
  readonly messageKeyMs: number;
  readonly signal: AbortSignal;
  report(event: { level: "warning"; message: string; error?: unknown }): void;
}

/** Drops and archives. What fails is reported and comes again in the next round. */
export async function keepLogs(round: UpkeepRound): Promise<void> {
  const { topics } = round;
  for (const topic of topics) {
    if (!isCompacted(topic) && !isArchived(topic)) await retain(round, topic);
  }
  const slots = new Slots(MAX_ARCHIVING);
  const archived = topics.filter((topic) => !isCompacted(topic) && isArchived(topic));
  await Promise.all(archived.flatMap((topic) => archive(round, topic, slots)));
}

/** Compacts one log after the other. What fails is reported and comes again in the next round. */
export async function compactLogs(round: UpkeepRound): Promise<void> {
  for (const topic of round.topics) if (isCompacted(topic)) await compact(round, topic);
}

function isArchived({ config }: Topic): boolean {
  return config.archive === true;
}

function isCompacted({ config }: Topic): boolean {
  return config.cleanupPolicy === "compact";
}

function policyOf(
  { config }: Topic,
  { now, signal }: UpkeepRound,
): Omit<RetentionPolicy, "keepFrom"> {
  const { retentionHours, retentionBytes } = config;
  const retentionMs = retentionHours === 0 ? null : retentionHours * HOUR_MS;
  return { now, retentionMs, retentionBytes, signal };
}

async function retain(round: UpkeepRound, topic: Topic): Promise<void> {
  const policy = policyOf(topic, round);
  if (policy.retentionMs === null && policy.retentionBytes === null) return;
  for (const partition of round.partitionsOf(topic.name)) {
    await attempt(round, `retention of ${topic.name}`, () => partition.applyRetention(policy));
  }
}

function archive(round: UpkeepRound, topic: Topic, slots: Slots): Promise<void>[] {
  if (!round.archives) {
    const message =
      `${topic.name} is to be archived and no archive is configured: nothing is dropped`;
    round.report({ level: "warning", message });
    return [];
  }
  const hours = topic.config.archiveRetentionHours ?? 0;
  const retentionMs = hours === 0 ? null : hours * HOUR_MS;
  const policy = { ...policyOf(topic, round), archive: { retentionMs } };
  return round.partitionsOf(topic.name).map((partition) =>
    slots.run(() =>
      attempt(round, `archiving of ${topic.name}`, () => partition.applyRetention(policy))
    )
  );
}

async function compact(round: UpkeepRound, topic: Topic): Promise<void> {
  const { now, signal, messageKeyMs } = round;
  const tombstoneMs = (topic.config.tombstoneHours ?? DEFAULT_TOMBSTONE_HOURS) * HOUR_MS;
  const remembered = { header: IDEMPOTENCY_KEY_HEADER, ms: messageKeyMs };
  const policy = { now, tombstoneMs, producerMs: COMPACTED_PRODUCER_MS, remembered, signal };
  for (const partition of round.partitionsOf(topic.name)) {
    await attempt(round, `compaction of ${topic.name}`, () => partition.compact(policy));
  }
}

async function attempt(
  { report, signal }: UpkeepRound,
  what: string,
  work: () => Promise<void>,
): Promise<void> {
  if (signal.aborted) return;
  try {
    await work();
  } catch (error) {
    report({ level: "warning", message: `${what} failed`, error });
  }
}
