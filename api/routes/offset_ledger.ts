// Owns the routes of a group's offset ledger: history, snapshots, rollback and reset.
// Refuses to own the ledger (actors/group/ledger/) and whether offsets may be moved: the group decides.
// Invariant: a dry run asks the group exactly what the real run asks.
import { z } from "zod";
import type { Broker, TopicPartition } from "../../actors/broker.ts";
import type { PastPlace } from "../../actors/group/ledger/types.ts";
import type { MoveReply, OffsetTarget } from "../../actors/group/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import {
  groupParams,
  integerText,
  partition,
  reason,
  refuseInternalGroup,
  topicName,
} from "../fields.ts";
import { resolveOffset } from "../offset_query.ts";
import { nextCursor, pageQuery } from "../paging.ts";
import { countMessages } from "../redelivery_count.ts";
import { pastPlace, type PastPlaceQuery, type ResetPlace, resetPlace } from "../past_place.ts";
import { invalidRequest } from "../plain_data.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";
import { existingTopic, refuseUnknownPartition } from "../topic_lookup.ts";

const TAG = "Groups";
const PATH = "/api/groups/{group}";
/** Partitions looked into at the same time. */
const MAX_PARALLEL_LOOKS = 16;
/** Log that is read to count messages exactly; beyond it offsets are counted. */
const MAX_COUNTED_BYTES = 64 * 1_048_576;

const ms = z.int().meta({ description: "ms since the epoch" });
const action = z.enum([
  "commit",
  "rewind",
  "rollback",
  "reset",
  "dropped",
  "deleted",
  "refused",
]).meta({
  description:
    "A commit; a commit that went back; an operator's rollback or reset; the topic, its partition or the group is gone. `refused`, told only when asked for: a commit that would have gone back (OFFSET_ROLLBACK), ten a minute at most.",
});

const entrySchema = z.strictObject({
  at: ms,
  action,
  topic: z.string(),
  partition: z.int(),
  previous: z.int().nullable().meta({ description: "Offset before; null: none." }),
  offset: z.int().nullable().meta({ description: "Offset after; null: none any more." }),
  principal: z.string().nullable().meta({ description: "Who; null: the broker itself." }),
  memberId: z.string().nullable().meta({ description: "null: not a member." }),
  generation: z.int().nullable(),
  reason: z.string().nullable(),
  cause: z.string().nullable().meta({ description: "Of a rollback or reset: where to." }),
}).meta({ id: "OffsetHistoryEntry" });

const snapshotSchema = z.strictObject({
  snapshotId: z.string(),
  at: ms,
  automatic: z.boolean().meta({ description: "Taken by the broker, not asked for." }),
  principal: z.string().nullable(),
  offsets: z.array(z.strictObject({ topic: z.string(), partition: z.int(), offset: z.int() })),
}).meta({ id: "OffsetsSnapshot" });

const movedSchema = z.strictObject({
  dryRun: z.boolean(),
  changes: z.array(z.strictObject({
    topic: z.string(),
    partition: z.int(),
    from: z.int().nullable().meta({ description: "Committed before; null: nothing." }),
    to: z.int(),
    redeliver: z.int().meta({
      description:
        "Messages that are delivered again. Far back, where counting them would take long, offsets are counted.",
    }),
  })).meta({ description: "Partitions whose offset changes." }),
  totalRedeliver: z.int(),
}).meta({ id: "MovedOffsets" });

const only = {
  topic: topicName.optional().meta({ description: "Only this topic." }),
  partition: partition.optional().meta({ description: "Only this partition; needs a topic." }),
};
const dryRun = z.boolean().default(false)
  .meta({ description: "Changes nothing and answers what would change." });

const rollbackSchema = z.strictObject({ to: pastPlace, ...only, dryRun, reason })
  .meta({ id: "RollbackOffsets" });

const resetSchema = z.strictObject({
  topic: topicName,
  partition: partition.optional().meta({ description: "Only this partition; default all." }),
  to: resetPlace,
  dryRun,
  reason,
}).meta({ id: "ResetOffsets" });

type Rollback = z.output<typeof rollbackSchema>;
type Reset = z.output<typeof resetSchema>;

/** Routes of the offset ledger. */
export function offsetLedgerRoutes(dependencies: ApiDependencies): Route[] {
  return [...readingRoutes(dependencies), ...movingRoutes(dependencies)];
}

function readingRoutes({ broker, limits }: ApiDependencies): Route[] {
  const page = pageQuery(limits).shape;
  return [
    defineRoute({
      method: "GET",
      path: `${PATH}/offsets/history`,
      operationId: "listOffsetHistory",
      tag: TAG,
      summary: "Every change of a group's offsets, newest first",
      description:
        "Who, when, from where to where and why. It is kept as long as the broker keeps the history of groups, also when the group is deleted. A page may hold less than `limit` and still have a `nextCursor`.",
      params: groupParams,
      query: z.strictObject({
        topic: topicName.optional(),
        partition: integerText(partition).optional(),
        action: action.optional().meta({
          description: "Only these: `rewind` and `refused` tell of members that lost their place.",
        }),
        ...page,
      }),
      responses: {
        200: {
          description: "A page of changes",
          schema: z.strictObject({ history: z.array(entrySchema), nextCursor }),
        },
      },
      errors: ["UNKNOWN_GROUP", "CORRUPT_LOG", "STORAGE_FAILED", "LEADER_NOT_AVAILABLE"],
      handler: async ({ params: { group }, query: { action, ...query } }) => {
        const actions = action === undefined ? {} : { actions: [action] };
        const found = await broker.ledger.history(group, { ...defined(query), ...actions });
        return { data: { history: found.entries, ...cursorOf(found.next) } };
      },
    }),
    defineRoute({
      method: "GET",
      path: `${PATH}/offsets/snapshots`,
      operationId: "listOffsetSnapshots",
      tag: TAG,
      summary: "Snapshots of a group's offsets, newest first",
      params: groupParams,
      query: z.strictObject(page),
      responses: {
        200: {
          description: "A page of snapshots",
          schema: z.strictObject({ snapshots: z.array(snapshotSchema), nextCursor }),
        },
      },
      errors: ["UNKNOWN_GROUP", "CORRUPT_LOG", "STORAGE_FAILED", "LEADER_NOT_AVAILABLE"],
      handler: async ({ params: { group }, query }) => {
        const found = await broker.ledger.snapshots(group, defined(query));
        return { data: { snapshots: found.snapshots, ...cursorOf(found.next) } };
      },
    }),
  ];
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

/** Without the fields that were not given. */
function defined<T extends object>(fields: T): Defined<T> {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as Defined<T>;
}

function cursorOf(next: string | null): { nextCursor?: string } {
  return next === null ? {} : { nextCursor: next };
}

function movingRoutes(dependencies: ApiDependencies): Route[] {
  const { broker } = dependencies;
  return [
    defineRoute({
      method: "POST",
      path: `${PATH}/offsets:snapshot`,
      operationId: "snapshotOffsets",
      tag: TAG,
      summary: "Write a group's offsets down, to roll back to",
      params: groupParams,
      body: z.strictObject({}),
      bodyOptional: true,
      responses: { 201: { description: "The snapshot", schema: snapshotSchema } },
      errors: ["UNKNOWN_GROUP", "FORBIDDEN"],
      handler: async ({ params: { group }, principal }) => {
        refuseInternalGroup(group);
        const data = await broker.group({ type: "SnapshotOffsets", group, principal });
        return { status: 201, data };
      },
    }),
    defineRoute({
      method: "POST",
      path: `${PATH}/offsets:rollback`,
      operationId: "rollbackOffsets",
      tag: TAG,
      summary: "Put a group's offsets back to a snapshot or a time",
      description:
        "The group must be empty or paused, for a dry run too. What had no offset then, or was made later, goes to the log start; what is no longer in the log, to the nearest that is.",
      params: groupParams,
      body: rollbackSchema,
      bodyExample: { to: { snapshotId: "s7-1767225600000" }, dryRun: true, reason: "bad deploy" },
      responses: { 200: { description: "What changed, or would", schema: movedSchema } },
      errors: [
        "UNKNOWN_GROUP",
        "UNKNOWN_SNAPSHOT",
        "UNKNOWN_TOPIC",
        "UNKNOWN_PARTITION",
        "GROUP_NOT_EMPTY",
        "CONCURRENT_TRANSACTIONS",
        "FORBIDDEN",
      ],
      handler: async ({ params: { group }, body, principal }) => {
        refuseInternalGroup(group);
        const targets = await rollbackTargets(broker, group, body);
        const { dryRun, reason } = body;
        const cause = "snapshotId" in body.to
          ? `snapshot ${body.to.snapshotId}`
          : `time ${timeInWords(body.to.time)}`;
        const move = { group, targets, dryRun, reason, principal, cause };
        const moved = await broker.group({ type: "MoveOffsets", action: "rollback", ...move });
        return { data: await shown(dependencies, moved) };
      },
    }),
    defineRoute({
      method: "POST",
      path: `${PATH}/offsets:reset`,
      operationId: "resetOffsets",
      tag: TAG,
      summary: "Set a group's offsets in a topic",
      description:
        "The group must be empty or paused, for a dry run too. `+n` and `-n` stop at the ends of the log.",
      params: groupParams,
      body: resetSchema,
      bodyExample: { topic: "orders", to: "-100", dryRun: true, reason: "process again" },
      responses: { 200: { description: "What changed, or would", schema: movedSchema } },
      errors: [
        "UNKNOWN_GROUP",
        "UNKNOWN_TOPIC",
        "UNKNOWN_PARTITION",
        "OFFSET_OUT_OF_RANGE",
        "GROUP_NOT_EMPTY",
        "CONCURRENT_TRANSACTIONS",
        "FORBIDDEN",
      ],
      statuses: { OFFSET_OUT_OF_RANGE: 400 },
      handler: async ({ params: { group }, body, principal }) => {
        refuseInternalGroup(group);
        const targets = await resetTargets(broker, body);
        const { dryRun, reason } = body;
        const cause = inWords(body.to);
        const move = { group, targets, dryRun, reason, principal, cause };
        const moved = await broker.group({ type: "MoveOffsets", action: "reset", ...move });
        return { data: await shown(dependencies, moved) };
      },
    }),
  ];
}

/** The group counts offsets; a caller is told messages, where that differs. */
async function shown(
  { broker, limits: { maxDecompressedBytes } }: ApiDependencies,
  { dryRun, changes: moved }: MoveReply,
) {
  const budget = { bytesLeft: MAX_COUNTED_BYTES };
  const changes = await inParallel(moved, async (change) => {
    const range = { from: change.to, to: change.to + change.redeliver };
    const options = { ...range, budget, maxDecompressedBytes };
    return { ...change, redeliver: await countMessages(broker, change, options) };
  });
  const totalRedeliver = changes.reduce((sum, { redeliver }) => sum + redeliver, 0);
  return { dryRun, changes, totalRedeliver };
}

function inWords(to: ResetPlace): string {
  switch (to.kind) {
    case "offset":
      return `offset ${to.offset}`;
    case "relative":
      return to.by < 0 ? `${to.by}` : `+${to.by}`;
    case "time":
      return `@${timeInWords(to.timestampMs)}`;
    default:
      return to.kind;
  }
}

/** ECMAScript knows no dates beyond this. */
const LAST_DATE_MS = 8.64e15;

function timeInWords(timestampMs: number): string {
  return timestampMs > LAST_DATE_MS ? `${timestampMs}` : new Date(timestampMs).toISOString();
}

/** Every partition that has an offset now or had one then, as far as it still exists. */
async function rollbackTargets(
  broker: Broker,
  group: string,
  { to, topic, partition }: Rollback,
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

async function resetTargets(
  broker: Broker,
  { topic, partition, to }: Reset,
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

async function inParallel<T, R>(
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
