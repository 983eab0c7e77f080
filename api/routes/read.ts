// Owns stateless reading of a partition: as data, as ready batches, or one message a line.
// Refuses to own groups and what a message looks like (message.ts).
// Invariant: the same request reads the same messages; waiting ends when data, time or the caller's patience does.
import { z } from "zod";
import type { Broker, FetchOptions, FetchResult, TopicPartition } from "../../actors/broker.ts";
import type { AnswerHold } from "../answer_budget.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { batchSpans, maxTimestampAt, readHeader } from "../../storage/format/record_batch.ts";
import { endedError } from "../auth/access.ts";
import { integerText, offset, partitionParams } from "../fields.ts";
import { visibleBatches } from "../hidden_batches.ts";
import type { ApiLimits } from "../limits.ts";
import { BATCH_TYPE, JSON_TYPE, NDJSON_TYPE } from "../media.ts";
import { type Message, messageFromRecord, messageJson, messageSchema } from "../message.ts";
import { messageLines } from "../message_lines.ts";
import { offsetText, resolveOffset } from "../offset_query.ts";
import { endOffsetOf, RecordReader } from "../record_reader.ts";
import type { ConsumerQuota } from "../quota/consumer_quota.ts";
import { sizeOf } from "../stream/parcels.ts";
import { type ApiDependencies, defineRoute, type Reply, type Route } from "../route.ts";
import type { OffsetSpan } from "../../actors/trace/types.ts";
import { ageMsAt, FoundSpans } from "../telemetry.ts";

/** A read that does not wait for data is held back so long at most when its tenant or topic has no quota left. */
const HELD_READ_MS = 5_000;
/** Bytes of content after which other requests get their turn. */
const SLICE_BYTES = 1_048_576;

function readQuery(limits: ApiLimits) {
  return z.strictObject({
    offset: offsetText.prefault("earliest"),
    maxMessages: integerText(z.int().min(1).max(limits.maxReadMessages)).prefault(100)
      .meta({ description: "Most messages in the answer." }),
    maxBytes: integerText(z.int().min(1).max(limits.maxReadBytes)).optional().meta({
      description: "Most bytes of messages in the answer; one message is always told. " +
        `Default ${limits.defaultReadBytes}, with x-ndjson none.`,
    }),
    waitMs: integerText(z.int().min(0).max(limits.maxWaitMs)).prefault(0)
      .meta({ description: "How long to wait when there is nothing yet." }),
    isolation: z.enum(["read_committed", "read_uncommitted"]).default("read_committed").meta({
      description: "read_committed shows nothing of a transaction that is open or was aborted, " +
        "and nothing behind the first open one.",
    }),
    zone: z.string().min(1).max(100).optional().meta({
      description: "Of whoever reads: a broker of that zone that has a replica answers from it, " +
        "as far as it knows what may be read.",
    }),
  });
}

type ReadQuery = z.output<ReturnType<typeof readQuery>>;

const readSchema = z.strictObject({
  messages: z.array(messageSchema),
  nextOffset: offset.meta({ description: "Ask for it next." }),
  highWatermark: offset.meta({ description: "Messages below it can be read." }),
  logStartOffset: offset.meta({ description: "Messages below it are gone." }),
}).meta({ id: "ReadMessages" });

/** The route that reads a partition. */
export function readRoutes(dependencies: ApiDependencies): Route[] {
  return [
    defineRoute({
      method: "GET",
      path: "/api/topics/{topic}/partitions/{partition}/messages",
      operationId: "readMessages",
      tag: "Messages",
      summary: "Read messages of a partition",
      params: partitionParams,
      query: readQuery(dependencies.limits),
      produces: [NDJSON_TYPE, BATCH_TYPE],
      responses: {
        200: {
          description: "Messages from the offset on",
          schema: readSchema,
          otherTypes: {
            [NDJSON_TYPE]: "One message a line, until maxMessages or the end of the partition.",
            [BATCH_TYPE]:
              "Record batches as they are stored; the first may start before the offset.",
          },
          headers: {
            "waybill-offset": `With ${BATCH_TYPE}: the offset that was asked for, as a number.`,
            "waybill-next-offset": `With ${BATCH_TYPE}: as nextOffset.`,
            "waybill-high-watermark": `With ${BATCH_TYPE}: as highWatermark.`,
            "waybill-log-start-offset": `With ${BATCH_TYPE}: as logStartOffset.`,
          },
        },
      },
      errors: [
        "UNKNOWN_TOPIC",
        "UNKNOWN_PARTITION",
        "OFFSET_OUT_OF_RANGE",
        "CORRUPT_LOG",
        "STORAGE_FAILED",
        "ARCHIVE_UNAVAILABLE",
        "LEADER_NOT_AVAILABLE",
      ],
      handler: async (context) => {
        const { params, query: asked, accept, request, requestId, access, authorize, hold } =
          context;
        const { quota } = dependencies;
        const consumer = quota.reader(access);
        const { signal } = request;
        const waitMs = Math.max(asked.waitMs, HELD_READ_MS);
        await quota.heldBack(consumer, { topic: params.topic, waitMs, signal });
        const wanted = withinRoom(asked, consumer.roomBytes(params.topic), dependencies.limits);
        const { isolation } = wanted;
        const from = await resolveOffset(dependencies.broker, params, {
          ...wanted.offset,
          isolation,
        });
        const place: Place = { ...params, from, signal, consumer, hold };
        const first = await firstFetch(dependencies, place, wanted);
        // Memory for what is read may have been short.
        const query = { ...wanted, maxBytes: hold.bytes };
        if (accept === BATCH_TYPE) return batchResponse(dependencies, place, first);
        if (accept === NDJSON_TYPE) {
          const mayStill = () => {
            const end = access.ended();
            if (end !== null) throw endedError(end);
            authorize({ operation: "read", resource: "topic", name: params.topic });
          };
          return lineResponse(dependencies, { place, query: asked, first, requestId, mayStill });
        }
        return await readReply(dependencies, { place, query, first, json: accept === JSON_TYPE });
      },
    }),
  ];
}

interface Place extends TopicPartition {
  readonly from: number;
  readonly signal: AbortSignal;
  readonly consumer: ConsumerQuota;
  /** Holds what has been read. */
  readonly hold: AnswerHold;
}

/** No more is read than may be delivered; a stream of lines is held back as it goes. */
function withinRoom(query: ReadQuery, roomBytes: number, limits: ApiLimits): ReadQuery {
  if (roomBytes === Infinity) return query;
  const maxBytes = Math.min(query.maxBytes ?? limits.defaultReadBytes, Math.ceil(roomBytes));
  return { ...query, maxBytes: Math.max(1, maxBytes) };
}

async function firstFetch(
  { broker, limits }: ApiDependencies,
  place: Place,
  query: ReadQuery,
): Promise<FetchResult> {
  const { topic, partition, from, signal, hold } = place;
  const { isolation, waitMs, zone } = query;
  const near = zone === undefined ? {} : { zone };
  const wantBytes = query.maxBytes ?? limits.defaultReadBytes;
  const fetch = async () =>
    await fetchFrom(broker, place, { maxBytes: await hold.room(wantBytes), isolation, ...near });
  const found = await fetch();
  if (found.batches.length > 0 || waitMs === 0) return found;
  hold.release();
  await broker.waitForData({ topic, partition }, from, { timeoutMs: waitMs, signal, isolation });
  return await fetch();
}

/** The valid range is told with OFFSET_OUT_OF_RANGE as users know it: up to the high watermark. */
async function fetchFrom(
  broker: Broker,
  place: Place,
  options: FetchOptions,
): Promise<FetchResult> {
  const { topic, partition, from } = place;
  try {
    return await broker.fetch({ topic, partition }, from, options);
  } catch (error) {
    if (!(error instanceof BrokerError) || error.code !== "OFFSET_OUT_OF_RANGE") throw error;
    const { logStartOffset, highWatermark } = await broker.partitionInfo({ topic, partition });
    throw new BrokerError(
      "OFFSET_OUT_OF_RANGE",
      `offset ${from} of ${topic}/${partition} is not from ${logStartOffset} to ${highWatermark}`,
      { topic, partition, offset: from, logStartOffset, highWatermark },
    );
  }
}

function batchResponse(
  dependencies: ApiDependencies,
  { from, topic, partition, consumer, hold }: Place,
  fetched: FetchResult,
): Reply {
  hold.cover(fetched.batches.length);
  const headers = {
    "waybill-offset": String(from),
    "waybill-next-offset": String(endOffsetOf(fetched.batches, from)),
    "waybill-high-watermark": String(fetched.highWatermark),
    "waybill-log-start-offset": String(fetched.logStartOffset),
  };
  const visible = visibleBatches(fetched.batches, fetched.aborted);
  consumer.delivered(topic, visible.length);
  tellOf(dependencies, { topic, partition }, amountOf(visible));
  const body = visible as Uint8Array<ArrayBuffer>;
  return { headers, bytes: { mediaType: BATCH_TYPE, body } };
}

function lineResponse(
  dependencies: ApiDependencies,
  options: {
    place: Place;
    query: ReadQuery;
    first: FetchResult;
    requestId: string;
    /** Throws when whoever reads may not any more. */
    mayStill: () => void;
  },
): Response {
  const { broker, quota, limits, onError, yieldToEventLoop } = dependencies;
  const { place, query, first, requestId, mayStill } = options;
  const { topic, partition, consumer, signal, hold } = place;
  const { isolation, zone } = query;
  const near = zone === undefined ? {} : { zone };
  // As much as it was given at first, for one fetch after the other until the last line has been taken.
  const pageBytes = hold.bytes;
  const charged = (fetched: FetchResult) => {
    hold.settle(pageBytes);
    hold.cover(fetched.batches.length);
    consumer.delivered(topic, fetched.batches.length);
    tellOf(dependencies, { topic, partition }, amountOf(fetched.batches));
    return fetched;
  };
  const body = messageLines({
    at: { topic, partition },
    bounds: {
      offset: place.from,
      maxMessages: query.maxMessages,
      maxBytes: query.maxBytes ?? Infinity,
      maxDecompressedBytes: limits.maxDecompressedBytes,
    },
    first: charged(first),
    fetchFrom: async (from) => {
      await quota.heldBack(consumer, { topic, waitMs: Infinity, signal });
      mayStill();
      const roomBytes = Math.ceil(consumer.roomBytes(topic));
      const maxBytes = Math.min(limits.defaultReadBytes, roomBytes, pageBytes);
      const options = { maxBytes, isolation, ...near };
      return charged(await broker.fetch({ topic, partition }, from, options));
    },
    yieldToEventLoop,
    onError: (error) => onError(error, requestId),
    onEnd: () => hold.release(),
  });
  hold.keep();
  return new Response(body, {
    headers: { "content-type": NDJSON_TYPE, "cache-control": "no-store" },
  });
}

interface Amount {
  /** Of what was read; of whole batches some may lie before what was asked for. */
  readonly spans: readonly OffsetSpan[];
  readonly messages: number;
  readonly bytes: number;
  readonly newestMs: number;
}

function tellOf(
  { telemetry, clock }: ApiDependencies,
  at: TopicPartition,
  { spans, messages, bytes, newestMs }: Amount,
): void {
  if (messages === 0) return;
  const ageMs = ageMsAt(clock.now(), newestMs);
  const nobody = { group: null, member: null };
  telemetry.delivered({
    ...nobody,
    ...at,
    spans,
    attempt: 1,
    messages,
    bytes,
    ageMs,
    path: "read",
  });
}

/** Of whole batches, which may start before what was asked for. */
function amountOf(batches: Uint8Array): Amount {
  let messages = 0;
  let newestMs = -1;
  const found = new FoundSpans();
  for (const { at } of batchSpans(batches)) {
    const { baseOffset: from, lastOffsetDelta, recordCount } = readHeader(batches, at);
    messages += recordCount;
    newestMs = maxTimestampAt(batches, at);
    found.add(from, from + lastOffsetDelta + 1);
  }
  return { spans: found.spans, messages, bytes: batches.length, newestMs };
}

async function readReply(
  dependencies: ApiDependencies,
  options: { place: Place; query: ReadQuery; first: FetchResult; json: boolean },
): Promise<Reply> {
  const { limits, yieldToEventLoop } = dependencies;
  const { place: { topic, partition, from, consumer, hold }, query, first, json } = options;
  const reader = new RecordReader({
    offset: from,
    maxMessages: query.maxMessages,
    maxBytes: query.maxBytes ?? limits.defaultReadBytes,
    maxDecompressedBytes: limits.maxDecompressedBytes,
  });
  const at = { topic, partition };
  const messages: Message[] = [];
  const texts: string[] = [];
  let textBytes = 0;
  let sliceBytes = 0;
  let bytes = 0;
  let newestMs = -1;
  const found = new FoundSpans();
  for (const record of reader.records(first)) {
    found.add(record.offset, record.offset + 1);
    if (json) {
      texts.push(`${texts.length === 0 ? "" : ","}${messageJson(record, at)}`);
      textBytes += texts.at(-1)!.length;
    } else messages.push(messageFromRecord(record, at));
    bytes += sizeOf(record);
    newestMs = record.timestamp;
    sliceBytes += record.value?.length ?? 0;
    if (sliceBytes > SLICE_BYTES) {
      sliceBytes = 0;
      hold.cover(textBytes);
      await yieldToEventLoop();
    }
  }
  hold.cover(textBytes);
  consumer.delivered(topic, bytes);
  const count = texts.length + messages.length;
  tellOf(dependencies, at, { spans: found.spans, messages: count, bytes, newestMs });
  const { highWatermark, logStartOffset } = first;
  const rest = { nextOffset: reader.nextOffset, highWatermark, logStartOffset };
  if (!json) return { data: { messages, ...rest } };
  // Values that are JSON go out as they came in: `{"messages":[…],` and the rest without its opening brace.
  return { json: () => ['{"messages":[', ...texts, `],${JSON.stringify(rest).slice(1)}`] };
}
