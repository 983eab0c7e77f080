// Owns transactions as an application uses them: begin, send, commit with offsets, abort.
// Refuses to own batches (transaction_batches.ts) and the consume-transform-produce loop (transform.ts).
// Invariant: after a send that failed nothing is committed; every request may be repeated, since each is told apart.
import { backoffMs, type BackoffPolicy, DEFAULT_BACKOFF } from "./backoff.ts";
import type { SendResult } from "./delivery.ts";
import { asWaybillError, WaybillError } from "./errors.ts";
import type { PartitionOffset } from "./frames.ts";
import type { Outgoing } from "./outgoing.ts";
import type { ClientPorts } from "./ports.ts";
import { type PartitionPart, partsOf, transactionBatch } from "./transaction_batches.ts";
import {
  BATCH_CONTENT_TYPE,
  parseJson,
  type Transport,
  type TransportRequest,
} from "./transport.ts";

/** Attempts at one request whose outcome is not known. */
const MAX_ATTEMPTS = 10;
const DEFAULT_TIMEOUT_MS = 30_000;
const SEQUENCES = 0x8000_0000;
/** What is known of a topic is asked for again after this. */
const METADATA_MAX_AGE_MS = 60_000;
/** Topics that are known at the same time. */
const MAX_KNOWN_TOPICS = 1_000;

/** Partitions of a topic, and when they were counted, monotonic ms. */
interface KnownTopic {
  readonly partitions: number;
  readonly at: number;
}

export interface TransactionalOptions {
  /** Name of this producer for ever: another one that begins under it fences this one. */
  readonly transactionalId: string;
  /** The broker aborts a transaction that is open for longer; default 60,000 ms. */
  readonly timeoutMs?: number;
  /** Of one request; default 30,000 ms. */
  readonly requestTimeoutMs?: number;
  readonly backoff?: BackoffPolicy;
}

/** What a group has consumed when the transaction commits. */
export interface TransactionOffset extends PartitionOffset {
  readonly groupId: string;
  readonly metadata?: string;
  /** Refused when it no longer owns the partition: give it where there is one. */
  readonly memberId?: string;
  readonly generation?: number;
}

interface Begun {
  readonly transactionId: string;
  readonly producerId: number;
  readonly producerEpoch: number;
}

/** Requests of one transactional producer, repeated while their outcome is not known. */
class Requests {
  constructor(
    readonly transport: Transport,
    readonly ports: ClientPorts,
    readonly options: TransactionalOptions,
  ) {}

  async json<T>(method: "GET" | "POST", path: string, body?: unknown): Promise<T> {
    const headers = { accept: "application/json", "content-type": "application/json" };
    return await this.send({
      method,
      path,
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  }

  async send<T>(request: Omit<TransportRequest, "timeoutMs">): Promise<T> {
    const { requestTimeoutMs: timeoutMs = DEFAULT_TIMEOUT_MS } = this.options;
    for (let attempt = 1;; attempt++) {
      try {
        return parseJson<T>(await this.transport.send({ ...request, timeoutMs }));
      } catch (fault) {
        const error = asWaybillError(fault, "NETWORK_ERROR");
        if (attempt === MAX_ATTEMPTS || !error.retryable) throw error;
        await this.#pause(attempt, error.retryAfterMs);
      }
    }
  }

  #pause(attempt: number, retryAfterMs: number | undefined): Promise<void> {
    const { backoff = DEFAULT_BACKOFF } = this.options;
    const waitMs = backoffMs({ attempt, retryAfterMs }, backoff, this.ports.randomness);
    return new Promise((resolve) => void this.ports.timers.after(waitMs, resolve));
  }
}

/** A producer whose messages become visible by transactions. One transaction at a time. */
export class TransactionalProducer {
  readonly #requests: Requests;
  readonly #topics = new Map<string, KnownTopic>();
  #current: Transaction | null = null;

  constructor(transport: Transport, ports: ClientPorts, options: TransactionalOptions) {
    this.#requests = new Requests(transport, ports, options);
  }

  /**
   * Begins a transaction. Whoever held the transactional id is fenced, and what it left open is aborted first.
   * CONCURRENT_TRANSACTIONS, INVALID_REQUEST; a plain Error while this producer's last one is neither committed nor aborted.
   */
  async begin(): Promise<Transaction> {
    if (this.#current !== null && !this.#current.ended) {
      throw new Error("the transaction before is neither committed nor aborted");
    }
    const { transactionalId, timeoutMs } = this.#requests.options;
    const body = timeoutMs === undefined ? { transactionalId } : { transactionalId, timeoutMs };
    const begun = await this.#requests.json<Begun>("POST", "/api/transactions", body);
    this.#current = new Transaction(this.#requests, begun, this.#topics);
    return this.#current;
  }
}

/** An open transaction. */
export class Transaction {
  readonly transactionId: string;
  readonly #requests: Requests;
  readonly #begun: Begun;
  /** Shared with the transactions before and after. */
  readonly #topics: Map<string, KnownTopic>;
  /** Next sequence by topic and partition. */
  readonly #sequences = new Map<string, number>();
  #turn: Promise<unknown> = Promise.resolve();
  #failure: WaybillError | null = null;
  #ended = false;

  constructor(requests: Requests, begun: Begun, topics: Map<string, KnownTopic>) {
    this.#requests = requests;
    this.#begun = begun;
    this.transactionId = begun.transactionId;
    this.#topics = topics;
  }

  /** Committed or aborted, as far as this side goes. */
  get ended(): boolean {
    return this.#ended;
  }

  /**
   * Publishes within the transaction; resolves to where each message is, in their order, when all are stored. After a
   * rejection the transaction can only be aborted. PRODUCER_FENCED, INVALID_TRANSACTION_STATE (timed out), and those of
   * any publish.
   */
  send(topic: string, messages: Outgoing | readonly Outgoing[]): Promise<SendResult[]> {
    const list = isList(messages) ? messages : [messages];
    const sent = this.#turn.then(() => this.#send(topic, list));
    this.#turn = sent.catch(() => {});
    return sent;
  }

  /**
   * Makes all of it visible, and commits the groups' offsets with it. Rejects with what went wrong before, with
   * OFFSET_ROLLBACK, STALE_GENERATION, UNKNOWN_MEMBER (it stays open: abort it), PRODUCER_FENCED,
   * INVALID_TRANSACTION_STATE. After NETWORK_ERROR or TIMEOUT the outcome is not known: `commit` may be called again.
   */
  async commit({ offsets = [] }: { offsets?: readonly TransactionOffset[] } = {}): Promise<void> {
    await this.#turn;
    if (this.#failure !== null) throw this.#failure;
    await this.#requests.json("POST", `${this.#path()}:commit`, { offsets });
    this.#ended = true;
  }

  /** Drops all of it. A transaction that the broker has ended, or that was fenced, is none to abort: that is no error. */
  async abort(): Promise<void> {
    await this.#turn;
    this.#ended = true;
    try {
      await this.#requests.json("POST", `${this.#path()}:abort`);
    } catch (error) {
      const { code } = asWaybillError(error, "NETWORK_ERROR");
      if (code !== "PRODUCER_FENCED" && code !== "UNKNOWN_TRANSACTION") throw error;
    }
  }

  async #send(topic: string, messages: readonly Outgoing[]): Promise<SendResult[]> {
    if (this.#ended) throw over();
    if (this.#failure !== null) throw this.#failure;
    try {
      const partitions = await this.#partitionsOf(topic);
      const { clock, randomness } = this.#requests.ports;
      const sticky = Math.floor(randomness.fraction() * partitions);
      const parts = partsOf(messages, { topic, partitions, sticky, now: clock.now() });
      const results = new Array<SendResult>(messages.length);
      for (const part of parts) {
        const base = await this.#publish(topic, part);
        part.indexes.forEach((index, record) => {
          results[index] = { topic, partition: part.partition, offset: base + record };
        });
      }
      return results;
    } catch (error) {
      this.#topics.delete(topic);
      this.#failure = asWaybillError(error, "BAD_RESPONSE");
      throw this.#failure;
    }
  }

  /** Offset of the first. */
  async #publish(topic: string, { partition, records }: PartitionPart): Promise<number> {
    const { producerId, producerEpoch, transactionId } = this.#begun;
    const key = `${topic}/${partition}`;
    const baseSequence = this.#sequences.get(key) ?? 0;
    const producing = { producerId, producerEpoch, baseSequence };
    const path = `/api/topics/${encodeURIComponent(topic)}/partitions/${partition}/messages`;
    const { results } = await this.#requests.send<{ results: readonly { offset: number }[] }>({
      method: "POST",
      path: `${path}?transactionId=${encodeURIComponent(transactionId)}`,
      headers: { "content-type": BATCH_CONTENT_TYPE, accept: "application/json" },
      body: transactionBatch(records, producing, this.#requests.ports.crc.crc32c),
    });
    this.#sequences.set(key, (baseSequence + records.length) % SEQUENCES);
    return results[0]!.offset;
  }

  async #partitionsOf(topic: string): Promise<number> {
    const at = this.#requests.ports.clock.monotonic();
    const known = this.#topics.get(topic);
    if (known !== undefined && at - known.at < METADATA_MAX_AGE_MS) return known.partitions;
    const path = `/api/topics/${encodeURIComponent(topic)}`;
    const described = await this.#requests.json<{ partitions: unknown[] }>("GET", path);
    const partitions = described.partitions.length;
    if (this.#topics.size >= MAX_KNOWN_TOPICS) this.#topics.clear();
    this.#topics.set(topic, { partitions, at });
    return partitions;
  }

  #path(): string {
    return `/api/transactions/${encodeURIComponent(this.transactionId)}`;
  }
}

function over(): WaybillError {
  const detail = "the transaction is committed or aborted";
  return new WaybillError("INVALID_TRANSACTION_STATE", detail, { retryable: false });
}

function isList(messages: Outgoing | readonly Outgoing[]): messages is readonly Outgoing[] {
  return Array.isArray(messages);
}
