// Owns publishing: choosing partitions, making batches, appending them, telling what became of each message.
// Refuses to own what a message may be (incoming_message.ts) and durability (the broker).
// Invariant: nothing is stored unless every message of the request passed every check.
import { z } from "zod";
import type { AppendReceipt, Broker, Topic } from "../../actors/broker.ts";
import { asBrokerError, type BrokerError } from "../../storage/broker_error.ts";
import { encodeBatch, type RecordInput } from "../../storage/format/encode.ts";
import { partitionForKey } from "../../storage/format/murmur2.ts";
import { offset, partition, refuseInternalTopic, topicName } from "../fields.ts";
import {
  type IncomingContext,
  incomingMessageSchema,
  recordOf,
  unknownFieldError,
} from "../incoming_message.ts";
import type { ApiLimits } from "../limits.ts";
import { invalidRequest } from "../plain_data.ts";
import { type ApiDependencies, defineRoute, type Reply, type Route } from "../route.ts";
import { existingTopic, refuseUnknownPartition } from "../topic_lookup.ts";

/** Messages and UTF-16 units of values after which other requests get their turn. */
const SLICE_MESSAGES = 1_000;
const SLICE_UNITS = 1_048_576;
/** W3C trace context, version 00 or a later one that starts alike. */
const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

export const acksField = z.enum(["all", "leader", "none"]).default("all").meta({
  description: "What to wait for: every in-sync replica, the leader, or nothing.",
});

function publishSchema(limits: ApiLimits) {
  return z.strictObject({
    topic: topicName,
    messages: z.array(incomingMessageSchema).min(1).max(limits.maxMessagesPerRequest),
    acks: acksField,
    partition: partition.optional().meta({ description: "For messages that name none." }),
  }, { error: unknownFieldError }).meta({ id: "Publish" });
}

type Publish = z.output<ReturnType<typeof publishSchema>>;

const failureSchema = z.strictObject({
  code: z.string(),
  detail: z.string(),
  retryable: z.boolean(),
});

export const durabilityField = z.enum(["fsync", "os", "none"]).meta({
  description:
    "What the messages have reached: the disk, the operating system, or nothing for sure.",
});

const publishedSchema = z.strictObject({
  topic: topicName,
  results: z.array(z.strictObject({
    partition,
    offset: offset.optional(),
    duplicate: z.boolean().optional(),
    error: failureSchema.optional(),
  })).meta({ description: "In the order of the messages." }),
  acks: z.enum(["all", "leader", "none"]),
  durability: durabilityField,
  inSyncReplicas: z.int(),
}).meta({ id: "Published" });

/** Routes of publishing JSON or MessagePack. */
export function publishRoutes(dependencies: ApiDependencies): Route[] {
  return [
    defineRoute({
      method: "POST",
      path: "/api/messages:publish",
      operationId: "publishMessages",
      tag: "Messages",
      summary: "Publish messages to a topic",
      description: "Without a partition the key decides (murmur2, as Kafka's clients do); " +
        "messages without key go together to one partition a request.",
      body: publishSchema(dependencies.limits),
      bytesAllowedAt: (path) => path.length === 3 && path[2] === "value",
      bodyExample: {
        topic: "orders",
        messages: [{ key: "customer-7", value: { total: 12.5 } }, { value: "plain text" }],
      },
      requestHeaders: { traceparent: "W3C trace context, stored with each message." },
      responses: {
        200: {
          description: "All messages are stored",
          schema: publishedSchema,
          example: {
            topic: "orders",
            results: [{ partition: 0, offset: 42, duplicate: false }],
            acks: "all",
            durability: "fsync",
            inSyncReplicas: 1,
          },
        },
        207: { description: "Some are: the others have an `error`", schema: publishedSchema },
      },
      errors: [
        "UNKNOWN_TOPIC",
        "UNKNOWN_PARTITION",
        "INTERNAL_TOPIC",
        "MESSAGE_TOO_LARGE",
        "QUOTA_EXCEEDED",
        "DISK_FULL",
        "STORAGE_FAILED",
        "LEADER_NOT_AVAILABLE",
        "NOT_ENOUGH_REPLICAS",
      ],
      handler: ({ body, request, requestId }) =>
        publish(dependencies, body, { headers: request.headers, requestId }),
    }),
  ];
}

async function publish(
  dependencies: ApiDependencies,
  body: Publish,
  { headers, requestId }: { headers: Headers; requestId: string },
): Promise<Reply> {
  refuseLater(headers);
  const topic = publishableTopic(dependencies.broker, body.topic);
  const shares = await shareOut(dependencies, { body, topic, traceparent: traceOf(headers) });
  for (const share of shares) await encodeShare(dependencies, share);
  const append = async (share: Share) => {
    const at = { topic: topic.name, partition: share.partition };
    try {
      share.receipt = await dependencies.broker.append(at, share.batches, { acks: body.acks });
    } catch (error) {
      share.error = asBrokerError(error);
      // A fault of the broker's own must be heard of even when other partitions took their share.
      if (share.error !== error) dependencies.onError(error, requestId);
    }
  };
  await Promise.all(shares.map(append));
  return replyOf(body, shares);
}

/** What is not deduplicated must not look as if it were. */
function refuseLater(headers: Headers): void {
  if (!headers.has("idempotency-key")) return;
  throw invalidRequest([{
    path: "Idempotency-Key",
    message: "not supported by this version of the broker yet",
  }]);
}

/** The topic, if it is there and users may write to it. */
export function publishableTopic(broker: Broker, name: string): Topic {
  refuseInternalTopic(name);
  return existingTopic(broker, name);
}

function traceOf(headers: Headers): string | null {
  const traceparent = headers.get("traceparent");
  return traceparent !== null && TRACEPARENT.test(traceparent) ? traceparent : null;
}

/** What goes to one partition. */
interface Share {
  readonly partition: number;
  readonly records: RecordInput[];
  /** Where its messages stand in the request. */
  readonly indexes: number[];
  batches: Uint8Array[];
  /** Index among `records` of the first of each batch. */
  starts: number[];
  receipt?: AppendReceipt;
  error?: BrokerError;
}

/** Checks every message and gives it to its partition. */
async function shareOut(
  { clock, limits, randomness, yieldToEventLoop }: ApiDependencies,
  options: { body: Publish; topic: Topic; traceparent: string | null },
): Promise<Share[]> {
  const { body: { messages, partition }, topic, traceparent } = options;
  const { maxMessageBytes } = topic.config;
  const context = { limits, maxMessageBytes, traceparent, timestamp: clock.now() };
  if (partition !== undefined) refuseUnknownPartition(topic, partition, "partition");
  const chooser = new PartitionChooser(topic, partition, randomness.fraction());
  const shares = new Map<number, Share>();
  let units = 0;
  for (let index = 0; index < messages.length; index++) {
    const message = messages[index]!;
    const record = recordOf(message, index, context satisfies IncomingContext);
    const target = chooser.choose(message, index);
    let share = shares.get(target);
    if (share === undefined) {
      share = { partition: target, records: [], indexes: [], batches: [], starts: [] };
      shares.set(target, share);
    }
    share.records.push(record);
    share.indexes.push(index);
    units += record.value?.length ?? 0;
    if (index % SLICE_MESSAGES === SLICE_MESSAGES - 1 || units > SLICE_UNITS) {
      units = 0;
      await yieldToEventLoop();
    }
  }
  return [...shares.values()];
}

class PartitionChooser {
  readonly #encoder = new TextEncoder();

  /** `chance` in [0, 1) picks the partition of all messages that have neither partition nor key. */
  constructor(
    readonly topic: Topic,
    readonly partition: number | undefined,
    readonly chance: number,
  ) {}

  choose(
    message: { partition?: number | undefined; key?: string | null | undefined },
    index: number,
  ): number {
    if (message.partition !== undefined) {
      refuseUnknownPartition(this.topic, message.partition, `messages[${index}].partition`);
      return message.partition;
    }
    if (this.partition !== undefined) return this.partition;
    const { partitionCount } = this.topic;
    if (partitionCount === 1) return 0;
    if (message.key === undefined || message.key === null) {
      return Math.floor(this.chance * partitionCount);
    }
    return partitionForKey(this.#encoder.encode(message.key), partitionCount);
  }
}

/** Encodes the records of a share into batches of bounded size, letting others run between them. */
async function encodeShare(
  { limits, crc32c, yieldToEventLoop }: ApiDependencies,
  share: Share,
): Promise<void> {
  const { records } = share;
  let start = 0;
  let units = 0;
  for (let index = 0; index < records.length; index++) {
    units += records[index]!.value?.length ?? 0;
    const end = index + 1;
    const full = units >= limits.batchTargetBytes || end - start >= limits.batchTargetMessages;
    if (!full && end < records.length) continue;
    const part = start === 0 && end === records.length ? records : records.slice(start, end);
    share.batches.push(encodeBatch(part, { crc32c }));
    share.starts.push(start);
    start = end;
    units = 0;
    if (full) await yieldToEventLoop();
  }
}

type Result =
  | { partition: number; offset: number; duplicate: false }
  | { partition: number; error: z.input<typeof failureSchema> };

function replyOf(body: Publish, shares: readonly Share[]): Reply {
  const failed = shares.filter((share) => share.error !== undefined);
  if (failed.length === shares.length) throw failed[0]!.error;
  const results = new Array<Result>(body.messages.length);
  for (const share of shares) fillResults(results, share);
  const receipts = shares.flatMap((share) => share.receipt ?? []);
  const head = {
    acks: body.acks,
    durability: weakestDurability(receipts),
    inSyncReplicas: Math.min(...receipts.map((receipt) => receipt.inSyncReplicas)),
  };
  return {
    status: failed.length > 0 ? 207 : 200,
    data: { topic: body.topic, results, ...head },
  };
}

function fillResults(results: Result[], share: Share): void {
  const { partition, indexes, starts, receipt } = share;
  if (receipt === undefined) {
    const { code, message, retryable } = share.error!;
    const failure: Result = { partition, error: { code, detail: message, retryable } };
    for (const index of indexes) results[index] = failure;
    return;
  }
  for (let batch = 0; batch < starts.length; batch++) {
    const start = starts[batch]!;
    const end = starts[batch + 1] ?? indexes.length;
    const base = receipt.baseOffsets[batch]!;
    for (let record = start; record < end; record++) {
      results[indexes[record]!] = { partition, offset: base + record - start, duplicate: false };
    }
  }
}

/** The weakest of what the receipts promise is what can be promised of all. */
function weakestDurability(receipts: readonly AppendReceipt[]): AppendReceipt["durability"] {
  const order = ["none", "os", "fsync"] as const;
  return order.find((durability) =>
    receipts.some((receipt) => receipt.durability === durability)
  ) ?? "none";
}
