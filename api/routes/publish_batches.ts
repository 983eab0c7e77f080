// Owns publishing ready record batches to one partition: the cheapest way in, for clients that encode themselves.
// Refuses to own the check of a batch (storage/format/validate.ts) and offsets (the broker assigns them).
// Invariant: a batch is stored as it came or refused as a whole request; it is never encoded again, unless records in it
// have idempotency keys that the topic knows.
import { z } from "zod";
import type { Asker } from "../../actors/ownership.ts";
import { hasProducer, lastOffsetDeltaAt, readHeader } from "../../storage/format/record_batch.ts";
import { validateBatches } from "../../storage/format/validate.ts";
import type { Access } from "../auth/access.ts";
import { askerOf } from "../auth/asker.ts";
import { appendKeyedBatches, holdKeys, KEY_HEADER_BYTES } from "../batch_keys.ts";
import { offset, partition, partitionParams, topicName } from "../fields.ts";
import { BATCH_TYPE } from "../media.ts";
import { invalidRequest } from "../plain_data.ts";
import {
  bodyHashOf,
  carryOutOnce,
  ONCE_REQUEST_HEADERS,
  ONCE_RESPONSE_HEADERS,
  type OnceAppend,
  type OncePlan,
} from "../request_once.ts";
import { requestKeyOf } from "../request_key.ts";
import type { PublishTelling } from "../request_telling.ts";
import { type ApiDependencies, bytesBody, defineRoute, type Route } from "../route.ts";
import { refuseUnknownPartition } from "../topic_lookup.ts";
import { appendAsAsked, checkTransactional, transactionFields } from "../transaction_publish.ts";
import { acksField } from "../publish_schema.ts";
import { durabilityField, PUBLISH_ERRORS, publishableTopic } from "./publish.ts";

/** What the encoding of one record adds to its key, value and headers, many headers included. */
const RECORD_OVERHEAD_BYTES = 65_536;

type Acks = z.output<typeof acksField>;

const publishedBatchesSchema = z.strictObject({
  topic: topicName,
  partition,
  results: z.array(z.strictObject({
    partition,
    offset: offset.meta({ description: "Of the first record of the batch." }),
    lastOffset: offset,
    duplicate: z.boolean(),
    records: z.array(z.strictObject({ partition, offset, duplicate: z.boolean() })).optional().meta(
      {
        description: "Each record's own place, when the topic had some of their idempotency keys.",
      },
    ),
  })).meta({ description: "One for each batch, in order." }),
  acks: z.enum(["all", "leader", "none"]),
  durability: durabilityField,
  inSyncReplicas: z.int(),
  highWatermark: z.int(),
}).meta({ id: "PublishedBatches" });

/** The route for ready batches. */
export function publishBatchesRoutes(dependencies: ApiDependencies): Route[] {
  return [
    defineRoute({
      method: "POST",
      path: "/api/topics/{topic}/partitions/{partition}/messages",
      operationId: "publishBatches",
      tag: "Messages",
      summary: "Publish record batches to a partition",
      description: "The body is one or more record batches (Kafka's format, magic 2) behind each " +
        "other. A compressed one may unfold to 8 MiB, or to one message of the topic if that is larger. " +
        "Offsets in them are ignored. Batches that name their producer are stored once: a " +
        "repeat is answered with its first offset. In others a record with header " +
        "`idempotency-key` is stored once in its topic, but within a transaction.",
      params: partitionParams,
      query: z.strictObject({ acks: acksField, ...transactionFields }),
      body: bytesBody,
      binaryBody: { mediaType: BATCH_TYPE, description: "Record batches, magic 2, concatenated." },
      requestHeaders: ONCE_REQUEST_HEADERS,
      responses: {
        200: {
          description: "All are stored",
          schema: publishedBatchesSchema,
          headers: ONCE_RESPONSE_HEADERS,
        },
      },
      errors: [...PUBLISH_ERRORS, "CORRUPT_BATCH", "UNSUPPORTED_COMPRESSION"],
      publishes: true,
      handler: async ({ params, query, body, request: { headers }, access, published }) => {
        const { broker } = dependencies;
        const publish = { request: query, bytes: body, access, asker: askerOf(access), published };
        const key = requestKeyOf(headers);
        if (key === null) return { data: await publishBatches(dependencies, params, publish) };
        const { topic, partition } = params;
        const bodyHash = `${await bodyHashOf(body)}/${topic}/${partition}`;
        const plan: OncePlan = {
          topic,
          partitionCount: 1,
          partitions: [partition],
          run: async (append) => {
            const data = await publishBatches(dependencies, params, { ...publish, append });
            return { status: 200, isWhole: true, data };
          },
        };
        const { principal, tenant } = access;
        const named = { principal, tenant, key, bodyHash };
        return await carryOutOnce(broker, named, () => Promise.resolve(plan));
      },
    }),
  ];
}

async function publishBatches(
  { broker, crc32c, limits, quota }: ApiDependencies,
  at: { topic: string; partition: number },
  { request, bytes, access, asker, append, published }: {
    request: { acks: Acks; transactionId?: string };
    bytes: Uint8Array;
    access: Access;
    asker: Asker | undefined;
    published: PublishTelling;
    /** Of a request with an Idempotency-Key. */
    append?: OnceAppend;
  },
) {
  const topic = publishableTopic(broker, at.topic);
  refuseUnknownPartition(topic, at.partition, "partition");
  if (bytes.length === 0) throw invalidRequest([{ path: "", message: "the body is empty" }]);
  const valid = validateBatches(bytes, {
    crc32c,
    maxBatches: limits.maxBatchesPerRequest,
    maxRecords: limits.maxBatchRecordsPerRequest,
    maxRecordBytes: topic.config.maxMessageBytes,
    maxDecompressedBytes: limits.maxDecompressedBytes,
    // Whoever reads one record of a batch unfolds all of it.
    maxBatchDecompressedBytes: Math.max(
      limits.maxBatchDecompressedBytes,
      topic.config.maxMessageBytes + RECORD_OVERHEAD_BYTES,
    ),
    allowTransactional: request.transactionId !== undefined,
    headerOfInterest: KEY_HEADER_BYTES,
  });
  const batches = valid.map((batch) => bytes.subarray(batch.at, batch.at + batch.sizeBytes));
  const messages = batches.reduce((sum, batch) => sum + lastOffsetDeltaAt(batch, 0) + 1, 0);
  published.to(topic.name, { messages, bytes: bytes.length });
  quota.publish(access, topic, { messages, bytes: bytes.length });
  const { acks, transactionId } = request;
  if (transactionId === undefined && holdKeys(valid)) {
    const { results, receipt } = await appendKeyedBatches({ broker, crc32c, limits }, at, batches);
    const { durability, inSyncReplicas, highWatermark } = receipt;
    return { ...at, results, acks, durability, inSyncReplicas, highWatermark };
  }
  const { producerId, baseSequence } = readHeader(batches[0]!, 0);
  const counted = producerId < 0 ? {} : { sequence: baseSequence };
  if (append !== undefined) refuseMixed(batches);
  if (transactionId !== undefined) checkTransactional({ acks, transactionId, messages: [] });
  const receipt = append !== undefined && transactionId === undefined && producerId < 0
    ? await append(at, batches)
    : await appendAsAsked(broker, at, { batches, asker, request: { ...request, ...counted } });
  const { durability, inSyncReplicas, highWatermark } = receipt;
  const results = batches.map((batch, index) => {
    const first = receipt.baseOffsets[index]!;
    const lastOffset = first + lastOffsetDeltaAt(batch, 0);
    return {
      partition: at.partition,
      offset: first,
      lastOffset,
      duplicate: receipt.duplicates[index]!,
    };
  });
  return { ...at, results, acks, durability, inSyncReplicas, highWatermark };
}

/** An attempt that broke off is found again by the sequence of its producer or by the request's own mark, not by both. */
function refuseMixed(batches: readonly Uint8Array[]): void {
  const named = batches.filter((batch) => hasProducer(batch, 0)).length;
  if (named === 0 || named === batches.length) return;
  const message = "with an Idempotency-Key all batches name their producer, or none does";
  throw invalidRequest([{ path: "producerId", message }]);
}
