// Owns a broker as a producer meets it: a transport over nothing, in virtual time, that stores what it is sent and fails as told.
// Refuses to own any rule of the producer. Invariant: what it stored is in `stored`, decoded, in order; it checks every batch it gets.
import { crc32c } from "@node-rs/crc32";
import { decideProducerAppend, openedPartition } from "../../actors/partition/decide.ts";
import { producerOfBatch } from "../../actors/partition/producer_headers.ts";
import { evolveProducer, type ProducerEntry } from "../../actors/partition/producer_state.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { errorFromAnswer, WaybillError } from "../../api/client/errors.ts";
import { Producer } from "../../api/client/producer.ts";
import type { ProducerOptions } from "../../api/client/producer_options.ts";
import type { ClientPorts } from "../../api/client/ports.ts";
import type { Transport, TransportAnswer, TransportRequest } from "../../api/client/transport.ts";
import { decodeBatch, type DecodedRecord } from "../../storage/format/decode.ts";
import { validateBatches } from "../../storage/format/validate.ts";
import { seededRandomness } from "./seeded_randomness.ts";
import { VirtualClock } from "./virtual_time.ts";

/** What becomes of a publish. "lost": stored, but the answer never arrives. "dropped": neither. */
export type Fate = "stored" | "lost" | "dropped" | "hangs" | {
  readonly status: number;
  readonly code: string;
  readonly retryAfter?: string;
};

export interface Publish {
  readonly topic: string;
  readonly partition: number;
  readonly records: readonly DecodedRecord[];
  readonly batches: number;
  readonly bytes: number;
  /** Counts publishes from 0. */
  readonly index: number;
  /** Virtual monotonic time at which it came, ms. */
  readonly at: number;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class FakeTransport implements Transport {
  readonly time: VirtualClock;
  topics: Record<string, { partitions: number; maxMessageBytes?: number }> = {
    t: { partitions: 3 },
  };
  latencyMs = 1;
  fate: (publish: Publish) => Fate = () => "stored";
  /** Of `GET /api/topics/{topic}`. */
  metadataFate: (asked: number) => Fate = () => "stored";
  metadataAsked = 0;
  /** Of `POST /api/producers`. */
  producerFate: (asked: number) => Fate = () => "stored";
  producersAsked = 0;
  /** What each partition knows of producers, by `topic/partition`; clearing it is what an expiry does. */
  readonly producers = new Map<string, Map<number, ProducerEntry>>();
  readonly publishes: Publish[] = [];
  readonly stored = new Map<string, DecodedRecord[]>();
  inFlight = 0;
  maxInFlight = 0;
  readonly #inFlightOf = new Map<string, number>();
  /** Set when two requests of one partition were on their way together. */
  overlapped = false;

  constructor(time: VirtualClock) {
    this.time = time;
  }

  /** Values stored in a partition, as text. */
  values(partition: number, topic = "t"): string[] {
    return (this.stored.get(`${topic}/${partition}`) ?? [])
      .map(({ value }) => value === null ? "null" : decoder.decode(value));
  }

  allValues(): string[] {
    return [...this.stored.keys()].sort().flatMap((key) => {
      const [topic, partition] = key.split("/");
      return this.values(Number(partition), topic!);
    });
  }

  async send(request: TransportRequest): Promise<TransportAnswer> {
    const [path] = request.path.split("?");
    const [, , , topic, , partition] = path!.split("/");
    if (path === "/api/producers") return await this.#newProducer(request);
    if (request.method === "GET") return await this.#metadata(decodeURIComponent(topic!), request);
    const key = `${topic}/${partition}`;
    this.inFlight++;
    this.maxInFlight = Math.max(this.maxInFlight, this.inFlight);
    const before = this.#inFlightOf.get(key) ?? 0;
    if (before > 0) this.overlapped = true;
    this.#inFlightOf.set(key, before + 1);
    try {
      return await this.#publish(topic!, Number(partition), request);
    } finally {
      this.inFlight--;
      this.#inFlightOf.set(key, this.#inFlightOf.get(key)! - 1);
    }
  }

  async #newProducer(request: TransportRequest): Promise<TransportAnswer> {
    const fate = this.producerFate(this.producersAsked++);
    await this.#sleep(request);
    await this.#suffer(fate, request);
    return answer({ producerId: 1_000 + this.producersAsked, producerEpoch: 0 });
  }

  async #metadata(topic: string, request: TransportRequest): Promise<TransportAnswer> {
    const fate = this.metadataFate(this.metadataAsked++);
    await this.#sleep(request);
    await this.#suffer(fate, request);
    const known = this.topics[topic];
    if (known === undefined) throw problem(404, "UNKNOWN_TOPIC");
    const partitions = Array.from({ length: known.partitions }, (_, partition) => ({ partition }));
    return answer({ name: topic, maxMessageBytes: known.maxMessageBytes ?? 1_048_576, partitions });
  }

  async #publish(
    topic: string,
    partition: number,
    request: TransportRequest,
  ): Promise<TransportAnswer> {
    // As a real one does: what the sender does with its buffer afterwards must not matter.
    const body = (request.body as Uint8Array).slice();
    const spans = validateBatches(body, {
      crc32c,
      maxBatches: 1_000,
      maxRecords: 10_000,
      maxRecordBytes: 16_777_216,
      maxDecompressedBytes: 0,
    });
    const decoded = spans.map(({ at }) => decodeBatch(body, at, { maxDecompressedBytes: 0 }));
    const records = decoded.flat();
    const facts = spans.map(({ at, recordCount }) => ({
      lastOffsetDelta: recordCount - 1,
      producer: producerOfBatch(body, at),
    }));
    const publish: Publish = {
      topic,
      partition,
      records,
      batches: spans.length,
      bytes: body.length,
      index: this.publishes.length,
      at: this.time.monotonic(),
    };
    this.publishes.push(publish);
    const fate = this.fate(publish);
    await this.#sleep(request);
    if (fate !== "stored" && fate !== "lost") await this.#suffer(fate, request);
    if (partition >= (this.topics[topic]?.partitions ?? 0)) throw problem(404, "UNKNOWN_PARTITION");
    const log = this.stored.get(`${topic}/${partition}`) ?? [];
    this.stored.set(`${topic}/${partition}`, log);
    const { baseOffsets, duplicates } = this.#append(`${topic}/${partition}`, log, facts);
    decoded.forEach((each, index) => duplicates[index] || log.push(...each));
    if (fate === "lost") throw broken();
    const results = spans.map(({ recordCount }, index) => {
      const offset = baseOffsets[index]!;
      const lastOffset = offset + recordCount - 1;
      return { partition, offset, lastOffset, duplicate: duplicates[index]! };
    });
    return answer({ topic, partition, results, acks: "all" });
  }

  /** As a partition decides. */
  #append(
    key: string,
    log: readonly DecodedRecord[],
    batches: Parameters<typeof decideProducerAppend>[1]["batches"],
  ): { baseOffsets: readonly number[]; duplicates: readonly boolean[] } {
    const producers = this.producers.get(key) ?? new Map<number, ProducerEntry>();
    this.producers.set(key, producers);
    const state = openedPartition({
      name: key,
      nodeId: "1",
      leaderEpoch: 0,
      logStartOffset: 0,
      flushedOffset: log.length,
    });
    const command = { leaderEpoch: 0, batches, at: 0, mayOpen: true };
    try {
      const decision = decideProducerAppend(state, command, producers);
      for (const event of decision.producerEvents) {
        if (event.type !== "ProducerAppended") continue;
        const { producerId } = event.batch;
        producers.set(producerId, evolveProducer(producers.get(producerId), event));
      }
      return decision;
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
      throw problem(error.httpStatus, error.code, undefined, error.details);
    }
  }

  async #suffer(fate: Fate, request: TransportRequest): Promise<void> {
    if (fate === "dropped" || fate === "lost") throw broken();
    if (fate === "hangs") await this.#sleep(request, request.timeoutMs * 2);
    if (typeof fate === "object") throw problem(fate.status, fate.code, fate.retryAfter);
  }

  /** Ends early as a real transport does: by timeout or abort. */
  #sleep(request: TransportRequest, delayMs = this.latencyMs): Promise<void> {
    return new Promise((resolve, reject) => {
      const isLate = delayMs > request.timeoutMs;
      const cancel = this.time.after(Math.min(delayMs, request.timeoutMs), () => {
        if (isLate) reject(new WaybillError("TIMEOUT", "too late", { retryable: true }));
        else resolve();
      });
      request.signal?.addEventListener("abort", () => {
        cancel();
        reject(new WaybillError("CLIENT_CLOSED", "given up", { retryable: false }));
      });
    });
  }
}

function answer(body: unknown): TransportAnswer {
  return { status: 200, header: () => null, body: encoder.encode(JSON.stringify(body)) };
}

function broken(): WaybillError {
  return new WaybillError("NETWORK_ERROR", "connection reset", { retryable: true });
}

function problem(
  status: number,
  code: string,
  retryAfter?: string,
  details: Readonly<Record<string, unknown>> = {},
): WaybillError {
  return errorFromAnswer({
    status,
    header: (name) => name === "retry-after" ? retryAfter ?? null : null,
    text: JSON.stringify({
      code,
      detail: code,
      retryable: status === 429 || status === 503,
      status,
      requestId: "r1",
      ...details,
    }),
    now: 0,
  });
}

export interface ProducerUnderTest {
  readonly time: VirtualClock;
  readonly transport: FakeTransport;
  readonly ports: ClientPorts;
  producer(options?: ProducerOptions): Producer;
}

/** A fake broker with topic `t` of three partitions, and producers for it. */
export function producerUnderTest(seed = 1): ProducerUnderTest {
  const time = new VirtualClock();
  const transport = new FakeTransport(time);
  const randomness = seededRandomness(seed);
  const ports: ClientPorts = { clock: time, timers: time, randomness, crc: { crc32c } };
  return { time, transport, ports, producer: (options) => new Producer(transport, ports, options) };
}

/** How a promise stands after virtual time has moved: its value, its error's code, or "pending". */
export function watch<T>(
  promise: Promise<T>,
): { value: T | undefined; code: string; error: unknown } {
  const seen: { value: T | undefined; code: string; error: unknown } = {
    value: undefined,
    code: "pending",
    error: null,
  };
  promise.then((value) => Object.assign(seen, { value, code: "done" }), (error) => {
    Object.assign(seen, { error, code: (error as WaybillError).code ?? String(error) });
  });
  return seen;
}
