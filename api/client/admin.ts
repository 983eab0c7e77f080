// Owns single requests beside publishing and consuming: topics, stateless reads, commits by HTTP, lag.
// Refuses to own any state: each call is one request, repeated where that can do no harm.
// Invariant: a request that is not safe to repeat is repeated only when the broker said that it did nothing.
import type { DecodedRecord } from "../../storage/format/decode.ts";
import { backoffMs, DEFAULT_BACKOFF } from "./backoff.ts";
import { asWaybillError, type WaybillError } from "./errors.ts";
import type { PartitionOffset } from "./frames.ts";
import type { ClientPorts } from "./ports.ts";
import { Message, recordsIn } from "./received.ts";
import {
  BATCH_CONTENT_TYPE,
  parseJson,
  type Transport,
  type TransportRequest,
} from "./transport.ts";

/** Attempts at one request. */
const MAX_ATTEMPTS = 5;
const DEFAULT_TIMEOUT_MS = 30_000;

export interface TopicSpec {
  readonly name: string;
  readonly partitions?: number;
  readonly replicationFactor?: number;
  readonly minInsyncReplicas?: number;
  /** 0 keeps for ever. */
  readonly retentionHours?: number;
  readonly retentionBytes?: number | null;
  readonly cleanupPolicy?: "delete" | "compact";
  readonly durability?: "fsync" | "os";
  readonly maxMessageBytes?: number;
  readonly segmentBytes?: number;
  readonly segmentHours?: number;
  /** What retention lets go goes into the broker's archive first. */
  readonly archive?: boolean;
  /** 0 keeps for ever. */
  readonly archiveRetentionHours?: number;
  readonly tombstoneHours?: number;
  /** Of all who publish or read together; null: no limit. */
  readonly publishBytesPerSecond?: number | null;
  readonly publishMessagesPerSecond?: number | null;
  readonly consumeBytesPerSecond?: number | null;
}

export interface PartitionDescription {
  readonly partition: number;
  readonly leader: string | null;
  readonly isr: readonly string[];
  readonly leaderEpoch: number;
  readonly logStartOffset: number;
  readonly logEndOffset: number;
  readonly highWatermark: number;
}

export interface TopicDescription extends Required<Omit<TopicSpec, "partitions">> {
  readonly topicId: string;
  readonly partitions: readonly PartitionDescription[];
}

export interface ReadRequest {
  readonly topic: string;
  readonly partition: number;
  /** An offset, `earliest` (default), `latest`, or `@` and a time (ms or RFC 3339). */
  readonly offset?: number | "earliest" | "latest" | `@${string}`;
  readonly maxMessages?: number;
  readonly maxBytes?: number;
  /** How long to wait when there is nothing yet. */
  readonly waitMs?: number;
  readonly isolation?: "read_committed" | "read_uncommitted";
}

export interface ReadResult {
  readonly messages: readonly Message[];
  readonly nextOffset: number;
  readonly highWatermark: number;
  readonly logStartOffset: number;
}

export interface CommitRequest {
  readonly groupId: string;
  readonly memberId?: string;
  readonly generation?: number;
  readonly offsets: readonly (PartitionOffset & { readonly metadata?: string })[];
  /** Lets offsets go back; needs `reason`. */
  readonly allowRewind?: boolean;
  readonly reason?: string;
}

export interface CommitResult {
  readonly groupId: string;
  readonly results: readonly (PartitionOffset & { readonly previous: number | null })[];
}

export interface GroupLag {
  readonly groupId: string;
  readonly state: string;
  readonly totalLag: number;
  readonly partitions: readonly {
    readonly topic: string;
    readonly partition: number;
    /** Null: none; lag then counts from the log start. */
    readonly committedOffset: number | null;
    readonly highWatermark: number;
    readonly lag: number;
    readonly lagSeconds: number | null;
    readonly memberId: string | null;
    readonly status: "ok" | "lagging" | "stalled" | "idle" | "unassigned";
  }[];
}

/** Requests with retries. All methods reject with WaybillErrors. */
export class Admin {
  constructor(readonly transport: Transport, readonly ports: ClientPorts) {}

  /** TOPIC_ALREADY_EXISTS, INVALID_REQUEST, INVALID_PARTITIONS, INVALID_REPLICATION_FACTOR. */
  createTopic(spec: TopicSpec): Promise<TopicDescription> {
    return this.json("POST", "/api/topics", spec);
  }

  /** A page of topics in the order of their names. */
  listTopics(
    page: { limit?: number; cursor?: string } = {},
  ): Promise<{ topics: readonly TopicDescription[]; nextCursor?: string }> {
    return this.json("GET", `/api/topics${queryOf({ ...page })}`);
  }

  /** UNKNOWN_TOPIC. */
  describeTopic(topic: string): Promise<TopicDescription> {
    return this.json("GET", topicPath(topic));
  }

  /** Changes configuration, or raises the number of partitions. UNKNOWN_TOPIC, INVALID_PARTITIONS. */
  updateTopic(topic: string, change: Omit<Partial<TopicSpec>, "name">): Promise<TopicDescription> {
    return this.json("PATCH", topicPath(topic), change);
  }

  /** UNKNOWN_TOPIC. */
  async deleteTopic(topic: string): Promise<void> {
    await this.delete(topicPath(topic));
  }

  /** Messages of one partition, without a group. UNKNOWN_TOPIC, UNKNOWN_PARTITION, OFFSET_OUT_OF_RANGE. */
  async read(request: ReadRequest): Promise<ReadResult> {
    const { topic, partition, maxMessages = 1_000, ...query } = request;
    const answer = await this.#send({
      method: "GET",
      path: `${topicPath(topic)}/partitions/${partition}/messages${queryOf(query)}`,
      headers: { accept: BATCH_CONTENT_TYPE },
      timeoutMs: DEFAULT_TIMEOUT_MS + (request.waitMs ?? 0),
    });
    const number = (name: string) => Number(answer.header(`waybill-${name}`));
    const nextOffset = number("next-offset");
    const logStartOffset = number("log-start-offset");
    const resolved = answer.header("waybill-offset") === null ? logStartOffset : number("offset");
    const from = typeof request.offset === "number" ? request.offset : resolved;
    const { crc32c } = this.ports.crc;
    const found = recordsIn(answer.body, { from, to: nextOffset, crc32c });
    const records = fromTime(found, request.offset);
    const cut = records[maxMessages];
    return {
      messages: records.slice(0, maxMessages).map((record) =>
        new Message(topic, partition, record)
      ),
      nextOffset: cut === undefined ? nextOffset : cut.offset,
      highWatermark: number("high-watermark"),
      logStartOffset,
    };
  }

  /** OFFSET_ROLLBACK, STALE_GENERATION, OFFSET_OUT_OF_RANGE, UNKNOWN_MEMBER. */
  commit(request: CommitRequest): Promise<CommitResult> {
    return this.json("POST", "/api/offsets:commit", request);
  }

  /** UNKNOWN_GROUP. */
  lag(group: string): Promise<GroupLag> {
    return this.json("GET", `/api/groups/${encodeURIComponent(group)}/lag`);
  }

  /** One JSON request, with retries. */
  async json<T>(
    method: TransportRequest["method"],
    path: string,
    body?: unknown,
  ): Promise<T> {
    const headers = { accept: "application/json", "content-type": "application/json" };
    const request = { method, path, headers, timeoutMs: DEFAULT_TIMEOUT_MS };
    const text = body === undefined ? {} : { body: JSON.stringify(body) };
    return parseJson<T>(await this.#send({ ...request, ...text }));
  }

  /** A request that answers nothing. */
  async delete(path: string): Promise<void> {
    await this.#send({ method: "DELETE", path, timeoutMs: DEFAULT_TIMEOUT_MS });
  }

  async #send(request: TransportRequest) {
    for (let attempt = 1;; attempt++) {
      try {
        return await this.transport.send(request);
      } catch (fault) {
        const error = asWaybillError(fault, "NETWORK_ERROR");
        if (attempt === MAX_ATTEMPTS || !mayRepeat(request, error)) throw error;
        await this.#pause(attempt, error.retryAfterMs);
      }
    }
  }

  #pause(attempt: number, retryAfterMs: number | undefined): Promise<void> {
    const { timers, randomness } = this.ports;
    const waitMs = backoffMs({ attempt, retryAfterMs }, DEFAULT_BACKOFF, randomness);
    return new Promise((resolve) => void timers.after(waitMs, resolve));
  }
}

/** The first batch holds the time asked for, but may start before it. */
function fromTime(records: DecodedRecord[], offset: ReadRequest["offset"]): DecodedRecord[] {
  if (typeof offset !== "string" || !offset.startsWith("@")) return records;
  const text = offset.slice(1);
  const time = /^\d+$/.test(text) ? Number(text) : Date.parse(text);
  const first = records.findIndex(({ timestamp }) => timestamp >= time);
  return first < 0 ? records : records.slice(first);
}

/** After a lost answer only reads are repeated: a topic that was made would then be said to exist already. */
function mayRepeat(request: TransportRequest, error: WaybillError): boolean {
  return error.retryable &&
    (request.method === "GET" || error.status === 429 || error.status === 503);
}

function topicPath(topic: string): string {
  return `/api/topics/${encodeURIComponent(topic)}`;
}

/** With its question mark; empty when nothing is given. */
export function queryOf(query: Readonly<Record<string, string | number | undefined>>): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  if (given.length === 0) return "";
  return `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}
