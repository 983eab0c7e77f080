// Owns where reading of a partition starts: at the group's committed offset, else where autoOffsetReset says.
// Refuses to own committing and assignment.
// Invariant: a committed offset is read after the question was asked, never one remembered from before.
import type { Broker, PartitionInfo, TopicPartition } from "../../actors/broker.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { latestOffset } from "../offset_query.ts";
import { partitionKey, type StartOffset } from "./held_partition.ts";

export type AutoOffsetReset = "earliest" | "latest";

/** Committed offsets by partition key. */
export type GroupOffsets = ReadonlyMap<string, number> & {
  /** Where a transaction is about to commit another: reading must not start there before it has ended. */
  readonly staged?: ReadonlySet<string>;
};

/**
 * Committed offsets of groups by partition key. Those who ask while an answer is under way share the next one: members
 * that are assigned together cost two looks at the group, not one each.
 */
export class CommittedOffsets {
  readonly #running = new Map<string, Promise<GroupOffsets>>();
  readonly #next = new Map<string, Promise<GroupOffsets>>();

  constructor(private readonly broker: Pick<Broker, "group">) {}

  /** Errors: those of Describe, but a group nobody knows has committed nothing. */
  read(group: string): Promise<GroupOffsets> {
    const running = this.#running.get(group);
    if (running === undefined) return this.#start(group);
    let next = this.#next.get(group);
    if (next === undefined) {
      const start = () => {
        this.#next.delete(group);
        return this.#start(group);
      };
      next = running.then(start, start);
      this.#next.set(group, next);
    }
    return next;
  }

  #start(group: string): Promise<GroupOffsets> {
    const running = this.#describe(group).finally(() => {
      if (this.#running.get(group) === running) this.#running.delete(group);
    });
    this.#running.set(group, running);
    return running;
  }

  async #describe(group: string): Promise<GroupOffsets> {
    try {
      const description = await this.broker.group({ type: "Describe", group });
      const offsets = description.offsets
        .map((entry) => [partitionKey(entry), entry.offset] as const);
      const staged = new Set(description.staged.map(partitionKey));
      return Object.assign(new Map(offsets), staged.size === 0 ? {} : { staged });
    } catch (error) {
      if (error instanceof BrokerError && error.code === "UNKNOWN_GROUP") return new Map();
      throw error;
    }
  }
}

/** Where to start. Errors: UNKNOWN_TOPIC, UNKNOWN_PARTITION, and the partition's own while it is offline. */
export async function startOffset(
  broker: Pick<Broker, "partitionInfo">,
  at: TopicPartition,
  options: { committed: number | null; autoOffsetReset: AutoOffsetReset },
): Promise<StartOffset> {
  const info = await broker.partitionInfo(at);
  if (info.state === "offline") {
    const why = info.error ?? `${partitionKey(at)} has no leader`;
    throw new BrokerError("LEADER_NOT_AVAILABLE", why, { ...at });
  }
  return startWithin(info, options);
}

/**
 * The same within a known range. A leader that is new may not know yet how far its followers are: its high watermark lies
 * below what was committed under the one before, while its log holds all of that. `logEndOffset` tells so where it is known.
 */
export function startWithin(
  range:
    & Pick<
      PartitionInfo,
      "logStartOffset" | "highWatermark" | "lastStableOffset" | "leaderEpoch"
    >
    & Partial<Pick<PartitionInfo, "logEndOffset">>,
  options: { committed: number | null; autoOffsetReset: AutoOffsetReset },
): StartOffset {
  const { logStartOffset, highWatermark, leaderEpoch } = range;
  const { committed } = options;
  const end = Math.max(highWatermark, range.logEndOffset ?? 0);
  const inRange = committed !== null && committed >= logStartOffset && committed <= end;
  const offset = options.autoOffsetReset === "earliest" ? logStartOffset : latestOffset(range);
  const found = { committed, highWatermark, leaderEpoch };
  if (inRange) return { ...found, offset: committed };
  if (committed === null) return { ...found, offset };
  return { ...found, offset, reset: { committed, logStartOffset, highWatermark } };
}
