// Owns the way from the bytes of a publish request to record batches by partition: all of it that needs no broker.
// Refuses to own appending them and the answer (routes/publish.ts), and on which thread this runs.
// Invariant: what comes out passed every check; it is plain data and buffers of their own, so it can cross threads.
import type { Topic } from "../actors/broker.ts";
import { IDEMPOTENCY_KEY_HEADER } from "../actors/message_keys/types.ts";
import { unknownTopic } from "../actors/topic/unknown_topic.ts";
import type { Clock, Crc32c, Randomness } from "../storage/ports.ts";
import { checkedBytes } from "./checked_data.ts";
import { refuseInternalTopic } from "./fields.ts";
import type { ApiLimits } from "./limits.ts";
import { idempotencyKeyOf } from "./incoming_message.ts";
import { invalidRequest } from "./plain_data.ts";
import { producerStampOf } from "./producer_stamp.ts";
import { type Publish, publishSchema } from "./publish_schema.ts";
import { checkTransactional } from "./transaction_publish.ts";
import { type Divided, encodeShares, type Share, shareOut } from "./publish_shares.ts";

/** A publish request as it came. */
export interface RawPublish {
  readonly bytes: Uint8Array;
  /** JSON or MessagePack. */
  readonly mediaType: string;
  /** A valid W3C traceparent, or null. */
  readonly traceparent: string | null;
  /** The request has an Idempotency-Key. */
  readonly once?: {
    /** Chooses the partition of messages that name none; in [0, 1). */
    readonly chance: number;
    /** Divide among as many partitions as the topic had then; undefined: as it has now. */
    readonly partitionCount?: number;
  };
}

/** What is to be appended, and what the request said beside its messages. */
export interface PreparedPublish {
  readonly request: Omit<Publish, "messages">;
  readonly topic: Topic;
  /** Messages in the request. */
  readonly count: number;
  readonly shares: readonly Share[];
  /** See `Divided`. */
  readonly repeats: Divided["repeats"];
}

/** Prepares on this thread or another. Rejects with INVALID_REQUEST, UNKNOWN_TOPIC, MESSAGE_TOO_LARGE and so on. */
export type PublishPreparer = (
  raw: RawPublish,
  topicToWrite: TopicToWrite,
) => Promise<PreparedPublish>;

/** The topic of that name, null when there is none. Throws where whoever publishes may not write to it. */
export type TopicToWrite = (name: string) => Topic | null | Promise<Topic | null>;

export interface PreparationPorts {
  readonly limits: ApiLimits;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly crc32c: Crc32c;
  readonly yieldToEventLoop: () => Promise<void>;
}

/** True where a publish may hold data of any shape: the values of its messages. */
export function publishIsFreeFormAt(path: readonly (string | number)[]): boolean {
  return path.length === 3 && path[2] === "value";
}

/** A preparer on this thread. */
export function publishPreparer(ports: PreparationPorts): PublishPreparer {
  const { limits } = ports;
  const schema = publishSchema(limits);
  return async ({ bytes, mediaType, traceparent, once }, topicToWrite) => {
    const body = checkedBytes(bytes, mediaType, {
      schema,
      limits,
      freeFormAt: publishIsFreeFormAt,
    }) as Publish;
    const { messages, ...request } = body;
    refuseInternalTopic(request.topic);
    // Before anything that only its configuration could refuse.
    const found = topicToWrite(request.topic);
    const current = found instanceof Promise ? await found : found;
    if (current === null) throw unknownTopic(request.topic);
    const topic = once === undefined ? current : asItWas(current, once.partitionCount);
    const { partition } = request;
    checkTransactional(body);
    const inTransaction = body.transactionId !== undefined;
    const producer = inTransaction ? null : producerStampOf(body);
    const isSequenced = producer !== null || inTransaction;
    if (isSequenced) refuseKeys(messages);
    const deduplicate = !isSequenced;
    const division = { messages, partition, topic, traceparent, deduplicate, chance: once?.chance };
    const { shares, repeats } = await shareOut(ports, division);
    // A stamp is of one partition, so of the only share.
    if (producer !== null) shares[0]!.producer = producer;
    await encodeShares(ports, shares);
    return { request, topic, count: messages.length, shares, repeats };
  };
}

/** What was divided by key is divided alike when it comes again, though the topic has grown. */
function asItWas(topic: Topic, partitionCount: number | undefined): Topic {
  return partitionCount === undefined ? topic : { ...topic, partitionCount };
}

/** To leave known messages out would tear a hole into a producer's sequence, which deduplicates by itself. */
function refuseKeys(messages: Publish["messages"]): void {
  const index = messages.findIndex((message) => idempotencyKeyOf(message) !== null);
  if (index < 0) return;
  const message =
    "messages of a transaction or of a producer with sequence numbers cannot have one";
  const isField = messages[index]!.idempotencyKey !== undefined;
  const field = isField ? "idempotencyKey" : `headers.${IDEMPOTENCY_KEY_HEADER}`;
  throw invalidRequest([{ path: `messages[${index}].${field}`, message }]);
}
