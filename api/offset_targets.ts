// Owns where each partition's offset is to go when a group is rolled back or reset.
// Refuses to own the move (the group's) and the past (actors/group/ledger/).
// Invariant: every target lies in a partition that exists, with the ends that its log has now.
import type { Broker, TopicPartition } from "../actors/broker.ts";
import type { PastPlace } from "../actors/group/ledger/types.ts";
import type { OffsetTarget } from "../actors/group/types.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { resolveOffset } from "./offset_query.ts";
import type { PastPlaceQuery, ResetPlace } from "./past_place.ts";
import { invalidRequest } from "./plain_data.ts";
import { existingTopic, refuseUnknownPartition } from "./topic_lookup.ts";

/** Partitions looked into at the same time. */
const MAX_PARALLEL_LOOKS = 16;

export interface RollbackRequest {
  readonly to: PastPlaceQuery;
  readonly topic?: string | undefined;
  readonly partition?: number | undefined;
}

export interface ResetRequest {
  readonly topic: string;
  readonly partition?: number | undefined;
  readonly to: ResetPlace;
}

/** Every partition that has an offset now or had one then, as far as it still exists. */
export async function rollbackTargets(
  broker: Broker,
  group: string,
  { to, topic, partition }: RollbackRequest,
): Promise<OffsetTarget[]> {
  refuseAskedFor(broker, { topic, partition });
  const past = await broker.ledger.offsetsAt(group, placeOf(to));
  const { offsets: current } = await broker.group({ type: "Describe", group });
  const then = new Map(past.offsets.map((entry) => [keyOf(entry), entry.offset]));
  const all = new Map([...past.offsets, ...current].map((entry) => [keyOf(entry), entry]));
  const wanted = [...all.values()].filter((at) =>
    (topic === undefined || at.topic === topic) &&
    (partition === undefined || at.partition === partition) &&
    at.partition < (broker.topic(at.topic)?.partitionCount ?? 0)
  );
  return await inParallel(wanted, async (at) => {
    const { logStartOffset, highWatermark } = await broker.partitionInfo(at);
    const isYounger = (broker.topic(at.topic)?.createdAt ?? 0) > past.at;
    const offset = (isYounger ? undefined : then.get(keyOf(at))) ?? logStartOffset;
    return targetOf(at, { kind: "offset", offset }, [logStartOffset, highWatermark]);
  });
}

function placeOf(to: PastPlaceQuery): PastPlace {
  return "snapshotId" in to ? to : { timeMs: to.time };
}

/** Throws UNKNOWN_TOPIC, UNKNOWN_PARTITION, OFFSET_OUT_OF_RANGE. */
export async function resetTargets(
  broker: Broker,
  { topic, partition, to }: ResetRequest,
): Promise<OffsetTarget[]> {
  const { partitionCount } = refuseAskedFor(broker, { topic, partition })!;
  const partitions = partition === undefined
    ? Array.from({ length: partitionCount }, (_, number) => number)
    : [partition];
  return await inParallel(partitions, async (number) => {
    const at = { topic, partition: number };
    const { logStartOffset, highWatermark } = await broker.partitionInfo(at);
    const range: [number, number] = [logStartOffset, highWatermark];
    if (to.kind === "relative") return targetOf(at, to, range);
    if (to.kind === "offset") refuseOutOfRange(at, to.offset, range);
    const offset = await resolveOffset(broker, at, to);
    return targetOf(at, { kind: "offset", offset }, range);
  });
}

function refuseAskedFor(
  broker: Broker,
  { topic, partition }: { topic?: string | undefined; partition?: number | undefined },
): { partitionCount: number } | null {
  if (topic !== undefined) {
    const found = existingTopic(broker, topic);
    if (partition !== undefined) refuseUnknownPartition(found, partition, "partition");
    return found;
  }
  if (partition === undefined) return null;
  throw invalidRequest([{ path: "partition", message: "needs a topic" }]);
}

function refuseOutOfRange(
  { topic, partition }: TopicPartition,
  offset: number,
  [logStartOffset, highWatermark]: readonly [number, number],
): void {
  if (offset >= logStartOffset && offset <= highWatermark) return;
  throw new BrokerError(
    "OFFSET_OUT_OF_RANGE",
    `offset ${offset} of ${topic}/${partition} is not from ${logStartOffset} to ${highWatermark}`,
    { topic, partition, offset, logStartOffset, highWatermark },
  );
}

function targetOf(
  { topic, partition }: TopicPartition,
  to: OffsetTarget["to"],
  [logStartOffset, endOffset]: readonly [number, number],
): OffsetTarget {
  return { topic, partition, to, logStartOffset, endOffset };
}

function keyOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`;
}

/** What `look` finds for each of `items`, in their order. */
export async function inParallel<T, R>(
  items: readonly T[],
  look: (item: T) => Promise<R>,
): Promise<R[]> {
  const found: R[] = [];
  for (let at = 0; at < items.length; at += MAX_PARALLEL_LOOKS) {
    const some = items.slice(at, at + MAX_PARALLEL_LOOKS);
    found.push(...await Promise.all(some.map(look)));
  }
  return found;
}
