// Owns the loop consume, transform, produce: each batch of messages, what is made of it and its offset in one transaction.
// Refuses to own transactions (transactions.ts) and consuming (consumer.ts).
// Invariant: the offset of what was read is committed with what was made of it or not at all; after any doubt it reads
// again from what is committed.
import { backoffMs, type BackoffPolicy } from "./backoff.ts";
import type { ConsumedMessage, MessageBatch } from "./consumed.ts";
import type { Consumer } from "./consumer.ts";
import type { ConsumerOptions } from "./consumer_options.ts";
import { asWaybillError, WaybillError } from "./errors.ts";
import type { ClientPorts } from "./ports.ts";
import type { Transaction, TransactionalOptions, TransactionalProducer } from "./transactions.ts";

export interface TransformOptions extends
  TransactionalOptions,
  Pick<
    ConsumerOptions,
    "group" | "topics" | "clientId" | "instanceId" | "version" | "autoOffsetReset"
  > {
  /**
   * Makes something of messages of one partition, and sends it with `transaction.send`. A rejection aborts the
   * transaction, and the messages come again.
   */
  readonly transform: (
    messages: readonly ConsumedMessage[],
    transaction: Transaction,
  ) => Promise<void> | void;
  /** Messages that the broker sends ahead; default that of a consumer. */
  readonly maxInFlight?: number;
  readonly sessionTimeoutMs?: number;
  /** Hears of what the loop goes on from. */
  readonly onError?: (error: WaybillError) => void;
}

/** Between a failure and the next reading. */
const RESTART_BACKOFF: BackoffPolicy = { baseMs: 100, maxMs: 5_000 };
/** What another attempt cannot cure. */
const FATAL = new Set([
  "PRODUCER_FENCED",
  "UNAUTHENTICATED",
  "FORBIDDEN",
  "UNKNOWN_TOPIC",
  "NO_WEBSOCKET",
  "INVALID_REQUEST",
]);

export interface TransformEnv {
  readonly ports: ClientPorts;
  readonly consumer: (options: ConsumerOptions) => Consumer;
  readonly producer: TransactionalProducer;
}

/** A running consume-transform-produce loop. */
export class Transformer {
  readonly #env: TransformEnv;
  readonly #options: TransformOptions;
  #consumer: Consumer | null = null;
  #closed = false;
  #failures = 0;
  #hasTakenOver = false;
  #wake: () => void = () => {};
  /** Resolves when it has ended by `close`; rejects with PRODUCER_FENCED when another instance has taken over, and the like. */
  readonly done: Promise<void>;

  constructor(env: TransformEnv, options: TransformOptions) {
    this.#env = env;
    this.#options = options;
    this.done = this.#run();
    // Whoever does not look at it is told by `close`.
    this.done.catch(() => {});
  }

  /** What was read and is not committed goes to other members. Rejects as `done`. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wake();
    await this.#consumer?.close();
    await this.done;
  }

  get closed(): Promise<void> {
    return this.done.catch(() => {});
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      const consumer = this.#env.consumer(this.#consumerOptions());
      this.#consumer = consumer;
      try {
        await this.#takeOver();
        for await (const batch of consumer.batches()) {
          await this.#one(consumer, batch);
          this.#failures = 0;
        }
      } catch (fault) {
        const error = asWaybillError(fault, "BAD_RESPONSE");
        if (FATAL.has(error.code)) throw error;
        if (!this.#closed) this.#options.onError?.(error);
      } finally {
        // Only a new member starts at what is committed, and not behind what it has read before.
        await consumer.close();
      }
      if (!this.#closed) await this.#pause();
    }
  }

  /** What an instance before this one left open would hold up readers until its time is over. */
  async #takeOver(): Promise<void> {
    if (this.#hasTakenOver) return;
    const transaction = await this.#env.producer.begin();
    this.#hasTakenOver = true;
    await transaction.abort();
  }

  async #one(consumer: Consumer, batch: MessageBatch): Promise<void> {
    const { group: groupId, transform } = this.#options;
    const transaction = await this.#env.producer.begin();
    try {
      await transform(batch.messages, transaction);
      const { topic, partition, offset } = batch;
      const { memberId } = consumer;
      const member = memberId === null ? {} : { memberId };
      await transaction.commit({ offsets: [{ groupId, topic, partition, offset, ...member }] });
    } catch (error) {
      await transaction.abort().catch(() => {});
      throw error;
    }
    // It is committed: this only tells the consumer's window so, and may be late.
    consumer.commit(batch).catch(() => {});
  }

  #consumerOptions(): ConsumerOptions {
    const { group, topics, clientId, instanceId, version, autoOffsetReset } = this.#options;
    const { maxInFlight, sessionTimeoutMs, onError } = this.#options;
    const named = {
      clientId,
      instanceId,
      version,
      autoOffsetReset,
      maxInFlight,
      sessionTimeoutMs,
      onError,
    };
    const given = Object.entries(named).filter(([, value]) => value !== undefined);
    return { group, topics, ...Object.fromEntries(given) };
  }

  #pause(): Promise<void> {
    this.#failures++;
    const { timers, randomness } = this.#env.ports;
    const waitMs = backoffMs({ attempt: this.#failures }, RESTART_BACKOFF, randomness);
    return new Promise((resolve) => {
      const cancel = timers.after(waitMs, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
  }
}
