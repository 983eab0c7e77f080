// Owns where a group stands on each partition that it reads, and how far that is behind.
// Refuses to own rates (lag_growing.ts) and seconds behind (api/group_lag.ts).
// Invariant: a partition of which nothing was ever committed counts from the start of its log, as in the group's lag.
import type { TopicPartition } from "../../actors/broker.ts";
import { partitionsReadBy } from "../../api/group_lag.ts";
import type { RunbookPorts } from "./definition.ts";

/** Partitions of a group that are looked at. */
const MAX_PARTITIONS = 2_000;

export interface Position extends TopicPartition {
  readonly memberId: string | null;
  readonly committed: number;
  readonly end: number;
}

/** Messages behind. */
export function lagAt({ end, committed }: Position): number {
  return Math.max(0, end - committed);
}

/** Of every partition of the topics that the group has read or subscribed to. Throws UNKNOWN_GROUP. */
export async function positionsOf({ broker }: RunbookPorts, group: string): Promise<Position[]> {
  const description = await broker.group({ type: "Describe", group });
  const { offsets, members } = description;
  const keyOf = ({ topic, partition }: TopicPartition) => `${topic}/${partition}`;
  const committed = new Map(offsets.map((one) => [keyOf(one), one.offset]));
  const owners = new Map(
    members.flatMap(({ memberId, assignment }) =>
      assignment.map((at) => [keyOf(at), memberId] as const)
    ),
  );
  return await Promise.all(
    partitionsReadBy(broker, description).slice(0, MAX_PARTITIONS).map(async (at) => {
      const { logStartOffset, highWatermark } = await broker.partitionInfo(at);
      return {
        ...at,
        memberId: owners.get(keyOf(at)) ?? null,
        committed: Math.max(logStartOffset, committed.get(keyOf(at)) ?? logStartOffset),
        end: highWatermark,
      };
    }),
  );
}

/** Messages that the group is behind in all. Throws UNKNOWN_GROUP. */
export async function lagOf(ports: RunbookPorts, group: string): Promise<number> {
  return (await positionsOf(ports, group)).reduce((sum, position) => sum + lagAt(position), 0);
}
