// Owns the route that publishes JSON or MessagePack: what may be asked, appending, telling what became of each message.
// Refuses to own what a message may be (incoming_message.ts), dividing them (publish_shares.ts) and durability (the broker).
// Invariant: nothing is stored unless every message of the request passed every check.
import { z } from "zod";
import type { AppendReceipt, Broker, Topic, TopicPartition } from "../../actors/broker.ts";
import type { Asker } from "../../actors/ownership.ts";
import type { ErrorCode } from "../../storage/broker_error.ts";
import type { Access } from "../auth/access.ts";
import { topicNeed } from "../auth/access_entry.ts";
import { askerOf } from "../auth/asker.ts";
import type { Need } from "../auth/authorizer.ts";
import { offset, partition, refuseInternalTopic, topicName } from "../fields.ts";
import { appendKeyed, refusalOf } from "../keyed_append.ts";
import { PRODUCER_ERRORS } from "../producer_stamp.ts";
import {
  type PreparedPublish,
  publishIsFreeFormAt,
  publishPreparer,
  type RawPublish,
  type TopicToWrite,
} from "../publish_preparation.ts";
import { type KeyedPublish, publishOnce } from "../publish_once.ts";
import { publishSchema } from "../publish_schema.ts";
import { fillResults, keyedBatches, type Result, type Share } from "../publish_shares.ts";
import {
  isReplayed,
  ONCE_ERRORS,
  ONCE_REQUEST_HEADERS,
  ONCE_RESPONSE_HEADERS,
  type OnceAppend,
} from "../request_once.ts";
import { requestKeyOf } from "../request_key.ts";
import type { PublishTelling } from "../request_telling.ts";
import { type ApiDependencies, defineRoute, type Reply, type Route } from "../route.ts";
import { existingTopic } from "../topic_lookup.ts";
import { appendAsAsked } from "../transaction_publish.ts";

/** W3C trace context, version 00 or a later one that starts alike. */
const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

/** What any publish may be refused for. */
export const PUBLISH_ERRORS: readonly ErrorCode[] = [
  "UNKNOWN_TOPIC",
  "UNKNOWN_PARTITION",
  "INTERNAL_TOPIC",
  "MESSAGE_TOO_LARGE",
  ...PRODUCER_ERRORS,
  "UNKNOWN_TRANSACTION",
  ...ONCE_ERRORS,
  "QUOTA_EXCEEDED",
  "DISK_FULL",
  "STORAGE_FAILED",
  "LEADER_NOT_AVAILABLE",
  "NOT_ENOUGH_REPLICAS",
];

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
  const { broker } = dependencies;
  const prepare = dependencies.preparePublish ?? publishPreparer(dependencies);
  const topicToWrite = (authorize: (need: Need) => void): TopicToWrite => (name) => {
    authorize({ operation: "write", resource: "topic", name });
    return broker.topic(name);
  };
  return [
    defineRoute({
      method: "POST",
      path: "/api/messages:publish",
      operationId: "publishMessages",
      tag: "Messages",
      summary: "Publish messages to a topic",
      description: "Without a partition the key decides (murmur2, as Kafka's clients do); " +
        "messages without key go together to one partition a request. A message with an " +
        "`idempotencyKey` is stored once in its topic.",
      body: publishSchema(dependencies.limits),
      freeFormAt: publishIsFreeFormAt,
      prepare: ({ bytes, mediaType, request: { headers }, authorize }) => {
        const key = requestKeyOf(headers);
        const raw = { bytes, mediaType, traceparent: traceOf(headers) };
        return key === null ? prepare(raw, topicToWrite(authorize)) : Promise.resolve({ key, raw });
      },
      bodyExample: {
        topic: "orders",
        messages: [{ key: "customer-7", value: { total: 12.5 } }, { value: "plain text" }],
      },
      requestHeaders: {
        traceparent: "W3C trace context, stored with each message.",
        ...ONCE_REQUEST_HEADERS,
      },
      responses: {
        200: {
          description: "All messages are stored",
          schema: publishedSchema,
          headers: ONCE_RESPONSE_HEADERS,
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
      errors: PUBLISH_ERRORS,
      publishes: true,
      handler: async ({ body, requestId, access, authorize, published }) => {
        const asker = askerOf(access);
        const prepared = body as unknown as PreparedPublish | KeyedPublish;
        const onError = (error: unknown) => dependencies.onError(error, requestId);
        if (!("key" in prepared)) {
          return await publish(dependencies, prepared, { onError, access, asker, published });
        }
        const carryOut = (prepared: PreparedPublish, append?: OnceAppend) =>
          publish(dependencies, prepared, { onError, access, asker, append, published });
        const prepareOnce = (raw: RawPublish) => prepare(raw, topicToWrite(authorize));
        const reply = await publishOnce(broker, prepared, {
          access,
          prepare: prepareOnce,
          carryOut,
        });
        // An answer of before is told to nobody who may not publish there any more.
        if (isReplayed(reply)) {
          authorize(topicNeed("write", (reply.data as { readonly topic: string }).topic));
        }
        return reply;
      },
    }),
  ];
}

async function publish(
  dependencies: ApiDependencies,
  prepared: PreparedPublish,
  { onError, access, asker, append: appendOnce, published }: {
    onError: (error: unknown) => void;
    access: Access;
    asker: Asker | undefined;
    published: PublishTelling;
    append?: OnceAppend | undefined;
  },
): Promise<Reply> {
  const { broker, quota } = dependencies;
  const { request, topic, shares, count } = prepared;
  const bytes = storedBytes(shares);
  published.to(topic.name, { messages: count, bytes });
  quota.publish(access, topic, { messages: count, bytes });
  const append = async (share: Share) => {
    const at = { topic: topic.name, partition: share.partition };
    if (share.keys !== undefined) {
      return await appendKeyedShare(dependencies, at, { share, onError });
    }
    try {
      share.receipt = appendOnce !== undefined
        ? await appendOnce(at, share.batches)
        : await appendAsAsked(broker, at, { batches: share.batches, request, asker });
    } catch (error) {
      // A fault of the broker's own must be heard of even when other partitions took their share.
      share.error = refusalOf(error, onError);
    }
  };
  await Promise.all(shares.map(append));
  const failed = shares.find(({ error }) => error !== undefined);
  if (failed !== undefined) published.failed(failed.error!.code);
  return replyOf(prepared);
}

function storedBytes(shares: readonly Share[]): number {
  let bytes = 0;
  for (const { batches } of shares) {
    for (const batch of batches) bytes += batch.length;
  }
  return bytes;
}

/** As any share, but for messages that the topic has already. */
async function appendKeyedShare(
  dependencies: ApiDependencies,
  at: TopicPartition,
  { share, onError }: { share: Share; onError: (error: unknown) => void },
): Promise<void> {
  const { placed, receipt, error } = await appendKeyed(dependencies, at, keyedBatches(share));
  share.placed = placed;
  if (receipt !== undefined) share.receipt = receipt;
  else share.error = refusalOf(error, onError);
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

function replyOf({ request, shares, count, repeats }: PreparedPublish): Reply {
  const failed = shares.filter((share) => share.error !== undefined);
  const isAnyPlaced = shares.some(({ receipt, placed }) =>
    receipt !== undefined || (placed?.size ?? 0) > 0
  );
  if (!isAnyPlaced) throw failed[0]!.error;
  const results = new Array<Result>(count);
  for (const share of shares) fillResults(results, share);
  for (const [index, first] of repeats) results[index] = asRepeat(results[first]!);
  const receipts = shares.flatMap((share) => share.receipt ?? []);
  const head = {
    acks: request.acks,
    durability: weakestDurability(receipts),
    inSyncReplicas: receipts.reduce(
      (least, receipt) => Math.min(least, receipt.inSyncReplicas),
      receipts[0]?.inSyncReplicas ?? 0,
    ),
  };
  return {
    status: failed.length > 0 ? 207 : 200,
    data: { topic: request.topic, results, ...head },
  };
}

function asRepeat(first: Result): Result {
  return "error" in first ? first : { ...first, duplicate: true };
}

/** The weakest of what the receipts promise is what can be promised of all. */
function weakestDurability(receipts: readonly AppendReceipt[]): AppendReceipt["durability"] {
  const order = ["none", "os", "fsync"] as const;
  return order.find((durability) =>
    receipts.some((receipt) => receipt.durability === durability)
  ) ?? "none";
}
