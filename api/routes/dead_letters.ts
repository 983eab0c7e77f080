// Owns the route that lists dead letters.
// Refuses to own writing them (the groups' actor) and redriving them (jobs).
// Invariant: a page is found in bounded time: it may be short, or empty, and still have a next one.
import { z } from "zod";
import type { Broker, FetchResult } from "../../actors/broker.ts";
import {
  DEAD_LETTER_HEADERS,
  DEAD_LETTER_PREFIX,
  deadLetterTopic,
} from "../../actors/group/retry/dead_letter_record.ts";
import { hasOffset } from "../../actors/job/runs.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { DecodedRecord } from "../../storage/format/decode.ts";
import { groupName, integerText, offset, partition, topicName } from "../fields.ts";
import type { ApiLimits } from "../limits.ts";
import { messageFromRecord, messageSchema } from "../message.ts";
import { cursorOfKey, keyOfCursor, nextCursor, pageQuery } from "../paging.ts";
import type { ConsumerQuota } from "../quota/consumer_quota.ts";
import { RecordReader } from "../record_reader.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";
import { sizeOf } from "../stream/parcels.ts";
import { utf8Text } from "../utf8_text.ts";

/** Fetches of one request, and bytes of each: what a filter lets through may be rare. */
const MAX_FETCHES = 32;
const FETCH_BYTES = 1_048_576;
/** Keys, values and headers of one page. */
const MAX_PAGE_BYTES = 8 * 1_048_576;
/** What one page unfolds at most, wanted or not, beyond its last batch; and after how much of it others have their turn. */
const MAX_PAGE_UNFOLDED_BYTES = 64 * 1_048_576;
const TURN_UNFOLDED_BYTES = 4 * 1_048_576;
/** A request that has found nothing yet is held back so long at most when its tenant or topic has no quota left. */
const HELD_READ_MS = 5_000;

export const deadLetterSchema = messageSchema.extend({
  origin: z.strictObject({
    topic: z.string(),
    partition: z.int(),
    offset: z.int(),
    group: z.string(),
  }).meta({ description: "The message that failed, and the group in which it did." }),
  reason: z.string(),
  code: z.string(),
  attempts: z.int().meta({ description: "Deliveries that failed." }),
  redriven: z.literal(true).optional().meta({
    description:
      "A job has sent it back, or is about to: no other does, unless `includeRedriven` says so.",
  }),
}).meta({ id: "DeadLetter" });

/** The route of dead letters. */
export function deadLetterRoutes(dependencies: ApiDependencies): Route[] {
  const { broker, authorizer, limits, quota, yieldToEventLoop } = dependencies;
  return [
    defineRoute({
      method: "GET",
      path: "/api/dlq",
      operationId: "listDeadLetters",
      tag: "Retries and dead letters",
      summary: "List dead letters, by topic and partition, oldest first",
      query: pageQuery(limits).extend({
        topic: topicName.optional().meta({ description: "Topic of the messages that failed." }),
        partition: integerText(partition).optional().meta({ description: "Its partition." }),
        offset: integerText(offset).optional().meta({ description: "Their offset in it." }),
        group: groupName.optional().meta({ description: "Group in which they failed." }),
        code: z.string().min(1).max(100).optional(),
        reason: z.string().min(1).max(1_000).optional()
          .meta({ description: "Text that the reason contains." }),
      }),
      responses: {
        200: {
          description: "A page of dead letters",
          schema: z.strictObject({ deadLetters: z.array(deadLetterSchema), nextCursor }),
        },
      },
      errors: [
        "UNKNOWN_TOPIC",
        "FORBIDDEN",
        "CORRUPT_LOG",
        "STORAGE_FAILED",
        "ARCHIVE_UNAVAILABLE",
        "LEADER_NOT_AVAILABLE",
      ],
      handler: async ({ query: { limit, cursor, ...filter }, access, authorize, request }) => {
        const { topic } = filter;
        // To whom the topic is known an empty list would say that nothing failed.
        if (topic !== undefined && authorizer.sees(access, "topic", topic)) {
          const name = topic.startsWith(DEAD_LETTER_PREFIX) ? topic : deadLetterTopic(topic);
          authorize({ operation: "read", resource: "topic", name });
        }
        const mayRead = (topic: string) => authorizer.allows(access, "read", "topic", topic);
        const consumer = quota.reader(access);
        const { signal } = request;
        const room = (topic: string) =>
          quota.heldBack(consumer, { topic, waitMs: HELD_READ_MS, signal });
        const scan = new Scan({
          broker,
          mayRead,
          limits,
          yieldToEventLoop,
          filter,
          limit,
          consumer,
          room,
        });
        const next = await scan.run(cursor === undefined ? null : placeOfCursor(cursor));
        return {
          data: {
            deadLetters: await withRedriven(broker, scan.found),
            ...(next === null ? {} : { nextCursor: cursorOfKey(next.join("/")) }),
          },
        };
      },
    }),
  ];
}

/** Says of each letter whether a job has redriven it. */
async function withRedriven(
  broker: Pick<Broker, "jobs">,
  letters: readonly DeadLetterMessage[],
): Promise<(DeadLetterMessage & { readonly redriven?: true })[]> {
  const keyOf = ({ topic, partition }: DeadLetterMessage) => `${topic}/${partition}`;
  const redriven = new Map<string, Awaited<ReturnType<Broker["jobs"]["redriven"]>>>();
  for (const letter of letters) {
    if (redriven.has(keyOf(letter))) continue;
    const { topic, partition } = letter;
    redriven.set(keyOf(letter), await broker.jobs.redriven({ topic, partition }));
  }
  return letters.map((letter) =>
    hasOffset(redriven.get(keyOf(letter))!, letter.offset) ? { ...letter, redriven: true } : letter
  );
}

interface Filter {
  readonly topic?: string | undefined;
  readonly partition?: number | undefined;
  readonly offset?: number | undefined;
  readonly group?: string | undefined;
  readonly code?: string | undefined;
  readonly reason?: string | undefined;
}

/** Topic of dead letters, partition, offset to read on from. */
type Place = readonly [topic: string, partition: number, offset: number];

function placeOfCursor(cursor: string): Place {
  const [topic, partition, offset] = keyOfCursor(cursor).split("/");
  const place = [topic ?? "", Number(partition), Number(offset)] as const;
  if (!Number.isSafeInteger(place[1]) || !Number.isSafeInteger(place[2])) {
    throw new BrokerError("INVALID_REQUEST", "the cursor is not one of this list");
  }
  return place;
}

type DeadLetterMessage = ReturnType<typeof shownLetter>;

/** One look through the topics of dead letters, as far as the bounds of a request allow. */
class Scan {
  readonly found: DeadLetterMessage[] = [];
  #fetches = 0;
  #bytes = 0;
  #unfoldedBytes = 0;

  constructor(
    private readonly options: {
      readonly broker: Broker;
      /** Whoever asks may read the topic: others are as if there were none. */
      readonly mayRead: (topic: string) => boolean;
      readonly limits: Pick<ApiLimits, "maxDecompressedBytes">;
      readonly yieldToEventLoop: () => Promise<void>;
      readonly filter: Filter;
      readonly limit: number;
      readonly consumer: ConsumerQuota;
      /** Resolves when something of the topic may be told. Throws QUOTA_EXCEEDED. */
      readonly room: (topic: string) => Promise<void>;
    },
  ) {}

  /** Where to go on; null when all was seen. */
  async run(from: Place | null): Promise<Place | null> {
    for (const topic of this.#topics()) {
      if (from !== null && topic < from[0]) continue;
      const partitions = this.options.broker.topic(topic)?.partitionCount ?? 0;
      for (let partition = 0; partition < partitions; partition++) {
        const isHere = from !== null && from[0] === topic;
        if (isHere && partition < from[1]) continue;
        const { filter } = this.options;
        if (filter.partition !== undefined && filter.partition !== partition) continue;
        const start = isHere && partition === from[1] ? from[2] : 0;
        const left = await this.#partition(topic, partition, start).catch(nothingYet);
        if (left !== null) return [topic, partition, left];
      }
    }
    return null;
  }

  #topics(): string[] {
    const { broker, mayRead, filter: { topic } } = this.options;
    const names = broker.topicNames()
      .filter((name) => name.startsWith(DEAD_LETTER_PREFIX) && mayRead(name));
    return names.filter((name) =>
      topic === undefined || name === topic || name === deadLetterTopic(topic)
    );
  }

  /** Offset to go on from when a bound was reached, null when the partition was seen to its end. */
  async #partition(topic: string, partition: number, start: number): Promise<number | null> {
    const { broker, consumer, room, yieldToEventLoop } = this.options;
    const { logStartOffset, highWatermark } = await broker.partitionInfo({ topic, partition });
    let offset = Math.max(start, logStartOffset);
    while (offset < highWatermark) {
      if (this.#isFull || this.#fetches >= MAX_FETCHES) return offset;
      if (this.#fetches === 0) await room(topic);
      // Who has waited once waits no more: the page is short.
      else if (consumer.delayMs(topic) > 0) return offset;
      this.#fetches++;
      const at = { topic, partition };
      const isolation = "read_committed" as const;
      const fetched = await broker.fetch(at, offset, { maxBytes: FETCH_BYTES, isolation });
      if (fetched.batches.length === 0) break;
      const { next, isLast } = await this.#take(fetched, at, offset);
      if (isLast) return next;
      offset = next;
      await yieldToEventLoop();
    }
    return null;
  }

  get #isFull(): boolean {
    return this.found.length >= this.options.limit || this.#bytes >= MAX_PAGE_BYTES ||
      this.#unfoldedBytes >= MAX_PAGE_UNFOLDED_BYTES;
  }

  /** Where to go on, and whether the page ends there. What is told counts for the quota. */
  async #take(
    fetched: FetchResult,
    at: { topic: string; partition: number },
    offset: number,
  ): Promise<{ readonly next: number; readonly isLast: boolean }> {
    const { limits: { maxDecompressedBytes }, filter, consumer, yieldToEventLoop } = this.options;
    const reader = new RecordReader({
      offset,
      maxMessages: Infinity,
      maxBytes: Infinity,
      maxDecompressedBytes,
    });
    let turnBytes = 0;
    for (const record of reader.records(fetched)) {
      const bytes = sizeOf(record);
      const letter = letterOf(record);
      if (letter !== null && isWanted(letter, filter)) {
        this.found.push(shownLetter(record, { at, letter }));
        this.#bytes += bytes;
        consumer.delivered(at.topic, bytes);
      }
      this.#unfoldedBytes += bytes;
      if (this.#isFull || consumer.roomBytes(at.topic) <= 0) {
        return { next: record.offset + 1, isLast: true };
      }
      turnBytes += bytes;
      if (turnBytes < TURN_UNFOLDED_BYTES) continue;
      turnBytes = 0;
      await yieldToEventLoop();
    }
    return { next: reader.nextOffset, isLast: false };
  }
}

/** The first letter of a topic makes its partitions while others look; a topic may also go meanwhile. */
function nothingYet(error: unknown): null {
  const isAbsent = error instanceof BrokerError &&
    (error.code === "UNKNOWN_TOPIC" || error.code === "UNKNOWN_PARTITION");
  if (isAbsent) return null;
  throw error;
}

interface Letter {
  readonly origin: { topic: string; partition: number; offset: number; group: string };
  readonly reason: string;
  readonly code: string;
  readonly attempts: number;
}

/** What the headers say; null for a message that somebody else has put among the dead letters. */
function letterOf({ headers }: DecodedRecord): Letter | null {
  const texts = new Map<string, string>();
  for (const [name, value] of headers) {
    if (value !== null) texts.set(name, utf8Text(value) ?? "");
  }
  const names = DEAD_LETTER_HEADERS;
  const topic = texts.get(names.topic);
  const group = texts.get(names.group);
  const [partition, offset, attempts] = [names.partition, names.offset, names.attempts]
    .map((name) => Number(texts.get(name) ?? NaN)) as [number, number, number];
  if (topic === undefined || group === undefined) return null;
  if (![partition, offset, attempts].every(Number.isSafeInteger)) return null;
  return {
    origin: { topic, partition, offset, group },
    reason: texts.get(names.reason) ?? "",
    code: texts.get(names.code) ?? "",
    attempts,
  };
}

function isWanted({ origin, reason, code }: Letter, filter: Filter): boolean {
  return (filter.topic === undefined || filter.topic === origin.topic ||
    filter.topic === deadLetterTopic(origin.topic)) &&
    (filter.partition === undefined || filter.partition === origin.partition) &&
    (filter.offset === undefined || filter.offset === origin.offset) &&
    (filter.group === undefined || filter.group === origin.group) &&
    (filter.code === undefined || filter.code === code) &&
    (filter.reason === undefined || reason.includes(filter.reason));
}

function shownLetter(
  record: DecodedRecord,
  { at, letter }: { at: { topic: string; partition: number }; letter: Letter },
) {
  return { ...messageFromRecord(record, at), ...letter };
}
