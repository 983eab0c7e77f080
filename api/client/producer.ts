// Owns what an application publishes with: send, sendMany, enqueue, flush, close.
// Refuses to own batching (accumulator.ts), waiting (admission.ts), sending (sender.ts) or topics (topic_cache.ts).
// Invariant: every message that was accepted is reported once, as stored or as failed; those of one partition are
// stored in the order in which they were handed in.
import { Accumulator } from "./accumulator.ts";
import { type Admission, type AdmissionOwner, Admissions } from "./admission.ts";
import { BufferPool } from "./buffer_pool.ts";
import { BulkDelivery, type SendManyResult, type SendResult, SingleDelivery } from "./delivery.ts";
import { EnqueueOwner } from "./enqueue_owner.ts";
import { WaybillError } from "./errors.ts";
import { Identities } from "./identity.ts";
import { heldSize, type Outgoing } from "./outgoing.ts";
import { Placer } from "./placer.ts";
import type { ClientPorts } from "./ports.ts";
import {
  type ProducerOptions,
  type ResolvedProducerOptions,
  resolveProducerOptions,
} from "./producer_options.ts";
import { Sender } from "./sender.ts";
import { loadTopicMetadata, TopicCache } from "./topic_cache.ts";
import type { Transport } from "./transport.ts";

const MIN_SWEEP_MS = 10;
const MAX_SWEEP_MS = 1_000;

/**
 * Publishes messages in batches, each partition in order, several partitions at once.
 *
 * Each message is stored once: the producer has an id of its own and numbers its messages, so that the broker knows a
 * request that is sent again because its answer was lost. What could not be settled within `deliveryTimeoutMs` may or may
 * not be stored, and what the application hands in again is a new message (`idempotencyKey` is for that).
 * With `acks: "none"` the broker answers before the messages are durable.
 *
 * Errors of all methods are WaybillErrors. Codes made here: BUFFER_FULL, DELIVERY_TIMEOUT (may or may not be stored),
 * CLIENT_CLOSED, BAD_RESPONSE, MESSAGE_TOO_LARGE, INVALID_REQUEST; all others are the broker's.
 */
export class Producer {
  readonly #options: ResolvedProducerOptions;
  readonly #ports: ClientPorts;
  readonly #pool: BufferPool;
  readonly #accumulator: Accumulator;
  readonly #sender: Sender;
  readonly #topics: TopicCache;
  readonly #admissions: Admissions;
  readonly #enqueued: EnqueueOwner;
  readonly #softLimitBytes: number;
  readonly #roomWaiters: (() => void)[] = [];
  readonly #identities: Identities | null;
  readonly #abort = new AbortController();
  #cancelSweep: (() => void) | null = null;
  #closing: Promise<void> | null = null;
  #onClosed: () => void = () => {};
  /** Resolves when it has been closed, in whatever way that went. */
  readonly closed: Promise<void> = new Promise((resolve) => this.#onClosed = resolve);

  constructor(transport: Transport, ports: ClientPorts, options: ProducerOptions = {}) {
    const resolved = resolveProducerOptions(options);
    this.#options = resolved;
    this.#ports = ports;
    this.#softLimitBytes = Math.floor(resolved.maxBufferedBytes / 2);
    this.#enqueued = new EnqueueOwner(resolved);
    this.#pool = new BufferPool(resolved.maxBufferedBytes, resolved.maxRequestBytes);
    const onReady = {
      onReady: (queue: Parameters<Sender["ready"]>[0]) => this.#sender.ready(queue),
    };
    this.#accumulator = new Accumulator(resolved, this.#pool, { ports, events: onReady });
    const { idempotent, requestTimeoutMs: timeoutMs } = resolved;
    const { signal } = this.#abort;
    this.#identities = idempotent ? new Identities({ transport, timeoutMs, signal }) : null;
    this.#topics = this.#makeTopics(transport);
    this.#admissions = new Admissions({
      placer: new Placer({
        accumulator: this.#accumulator,
        limits: resolved,
        ageMs: (topic) => this.#topics.ageMs(topic),
      }),
      pool: this.#pool,
      ports,
      onPressure: () => this.#accumulator.wakeAll(),
      onMetadataWanted: (topic) => this.#topics.refresh(topic),
    });
    this.#sender = this.#makeSender(transport);
  }

  /** Bytes of memory that hold messages which are not settled; at most `maxBufferedBytes`. */
  get bufferedBytes(): number {
    return this.#pool.takenBytes;
  }

  /** Publishes one message; resolves when the broker has answered for it. */
  send(topic: string, message: Outgoing): Promise<SendResult>;
  /** Publishes several; resolves to where each was stored, in the order given. Rejects with a SendManyError. */
  send(topic: string, messages: readonly Outgoing[]): Promise<SendResult[]>;
  send(
    topic: string,
    messages: Outgoing | readonly Outgoing[],
  ): Promise<SendResult | SendResult[]> {
    if (isList(messages)) return this.sendMany(topic, messages).then((sent) => sent.results());
    return new Promise((resolve, reject) => {
      this.#admit(topic, [messages], new SingleDelivery(resolve, reject));
    });
  }

  /**
   * Publishes many messages with one promise for all; waits for room on the way, so the list may be larger than the
   * buffer. It must not be changed until then. Rejects with a SendManyError that tells what became of each.
   */
  sendMany(topic: string, messages: readonly Outgoing[]): Promise<SendManyResult> {
    const delivery = new BulkDelivery(topic, messages.length);
    if (messages.length > 0) this.#admit(topic, messages, delivery);
    return delivery.promise;
  }

  /**
   * Takes one message without a promise; failures show in `flush` and `onError`. Returns false when it would be good to
   * await `ready()` before the next. Throws BUFFER_FULL when there is no room, CLIENT_CLOSED, INVALID_REQUEST,
   * MESSAGE_TOO_LARGE; the message was then not taken.
   */
  enqueue(topic: string, message: Outgoing): boolean {
    if (this.#closing !== null) throw closed();
    const known = this.#topics.topic(topic);
    const outcome = this.#admissions.placeNow(known, message, this.#enqueued);
    if (outcome === "no-room") throw this.#full();
    if (outcome === "must-wait") {
      const heldBytes = heldSize(message);
      if (!this.#admissions.canHold([heldBytes])) throw this.#full();
      this.#admissions.wait(known, this.#admission([message], this.#enqueued, { heldBytes }));
    }
    this.#startSweep();
    return this.bufferedBytes <= this.#softLimitBytes;
  }

  /** Resolves when `enqueue` has room again: half of the buffer or more is free. */
  ready(): Promise<void> {
    if (this.bufferedBytes <= this.#softLimitBytes) return Promise.resolve();
    return new Promise((resolve) => this.#roomWaiters.push(resolve));
  }

  /**
   * Sends all that was handed in before, without waiting for company; resolves when all of it is settled. Rejects with
   * the first failure of a message that was given to `enqueue`, if there was one since the last flush
   * (`details.failedCount` tells how many); `send` and `sendMany` tell their own.
   */
  async flush(): Promise<void> {
    const inLine = this.#admissions.topics();
    const names = new Set(inLine.map(({ name }) => name));
    const placed = inLine.map((topic) =>
      new Promise<void>((resolve) => {
        const onDone = () => resolve(this.#sendOut((name) => name === topic.name));
        const marker = { ...this.#admission([], this.#enqueued, { heldBytes: 0 }), onDone };
        this.#admissions.wait(topic, marker);
      })
    );
    await Promise.all([...placed, this.#sendOut((name) => !names.has(name))]);
    this.#enqueued.throwFailures();
  }

  /**
   * Takes nothing more, flushes, and lets go of every timer. What is not settled after `timeoutMs` (default
   * `deliveryTimeoutMs`) fails with CLIENT_CLOSED. Rejects as `flush` does.
   */
  close(options: { timeoutMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.timeoutMs ?? this.#options.deliveryTimeoutMs);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(timeoutMs: number): Promise<void> {
    const cancel = this.#ports.timers.after(timeoutMs, () => this.#giveUp());
    try {
      await this.flush();
    } finally {
      cancel();
      this.#giveUp();
      this.#onClosed();
    }
  }

  #giveUp(): void {
    const error = closed();
    this.#sender.abandon(error);
    this.#abort.abort();
    this.#admissions.refuseAll(error);
    this.#accumulator.stop();
    this.#topics.stop();
    this.#cancelSweep?.();
    this.#cancelSweep = null;
    this.#wakeRoomWaiters();
  }

  /** Ends the wait for company of these topics; resolves when what is there now is settled. */
  async #sendOut(isMeant: (topic: string) => boolean): Promise<void> {
    const queues = [...this.#accumulator.active].filter(({ topic }) => isMeant(topic));
    await Promise.all(queues.map((queue) => {
      this.#accumulator.closeOpen(queue);
      const last = queue.chunks[queue.chunks.length - 1];
      return last && new Promise<void>((resolve) => last.onSettled.push(resolve));
    }));
  }

  #admit(topicName: string, messages: readonly Outgoing[], owner: AdmissionOwner): void {
    const refuse = (error: WaybillError) => {
      for (const message of messages) owner.refused(topicName, error, message);
    };
    if (this.#closing !== null) return refuse(closed());
    if (this.#admissions.waiting >= this.#options.maxWaitingSends) return refuse(this.#full());
    const topic = this.#topics.topic(topicName);
    const waitForRoom = this.#options.onFull === "wait";
    // While the caller waits, the memory of what has no place yet is the caller's own.
    const isHeld = !waitForRoom && this.#admissions.mustWait(topic);
    const sizes = isHeld ? messages.map(heldSize) : [];
    if (isHeld && !this.#admissions.canHold(sizes)) return refuse(this.#full());
    const heldBytes = sizes.reduce((sum, size) => sum + size, 0);
    const softLimitBytes = waitForRoom && messages.length > 1 ? this.#softLimitBytes : Infinity;
    const admission = this.#admission(messages, owner, { heldBytes, softLimitBytes });
    if (this.#admissions.admit(topic, admission, { waitForRoom }) === "no-room") {
      const error = this.#full();
      for (const message of messages.slice(admission.next)) {
        owner.refused(topicName, error, message);
      }
    }
    this.#startSweep();
  }

  #admission(
    messages: readonly Outgoing[],
    owner: AdmissionOwner,
    bounds: { heldBytes: number; softLimitBytes?: number },
  ): Admission {
    const deadline = this.#ports.clock.monotonic() + this.#options.deliveryTimeoutMs;
    return { messages, next: 0, owner, deadline, softLimitBytes: Infinity, ...bounds };
  }

  #makeTopics(transport: Transport): TopicCache {
    const { metadataMaxAgeMs, requestTimeoutMs } = this.#options;
    return new TopicCache({
      maxAgeMs: metadataMaxAgeMs,
      ports: this.#ports,
      load: (topic) => {
        // Both are needed before the first message can go.
        this.#identities?.prepare();
        return loadTopicMetadata(transport, topic, {
          timeoutMs: requestTimeoutMs,
          now: () => this.#ports.clock.monotonic(),
        });
      },
      onLoaded: (topic, error) => {
        if (error === null) this.#admissions.pump(topic);
        else this.#admissions.metadataFailed(topic, error);
        this.#wakeRoomWaiters();
      },
      isWanted: (topic) => this.#admissions.isWaiting(topic),
    });
  }

  #makeSender(transport: Transport): Sender {
    const { acks, maxParallelRequests, requestTimeoutMs, backoff } = this.#options;
    return new Sender({
      transport,
      ports: this.#ports,
      accumulator: this.#accumulator,
      acks,
      identities: this.#identities,
      maxParallelRequests,
      requestTimeoutMs,
      backoff,
      onDispatch: (queue) => this.#topics.dispatched(queue),
      leaderOf: (queue) => this.#topics.leaderOf(queue),
      onLeaderDoubted: (queue) => this.#topics.doubtLeader(queue),
      onRoom: () => {
        this.#admissions.pumpAll();
        this.#wakeRoomWaiters();
      },
      partitionExists: (queue) => this.#topics.confirmPartition(queue),
    });
  }

  #wakeRoomWaiters(): void {
    if (this.bufferedBytes > this.#softLimitBytes && this.#closing === null) return;
    for (const resolve of this.#roomWaiters.splice(0)) resolve();
  }

  /** One timer looks for what has waited too long, as long as anything waits. */
  #startSweep(): void {
    if (this.#cancelSweep !== null) return;
    const everyMs = Math.min(
      MAX_SWEEP_MS,
      Math.max(MIN_SWEEP_MS, this.#options.deliveryTimeoutMs / 20),
    );
    this.#cancelSweep = this.#ports.timers.after(everyMs, () => {
      this.#cancelSweep = null;
      const now = this.#ports.clock.monotonic();
      this.#sender.expire(now);
      this.#admissions.expire(now);
      this.#wakeRoomWaiters();
      if (this.#accumulator.active.size > 0 || this.#admissions.waiting > 0) this.#startSweep();
    });
  }

  #full(): WaybillError {
    const { maxBufferedBytes, maxWaitingSends } = this.#options;
    const detail = `${this.bufferedBytes} of ${maxBufferedBytes} bytes are taken, ` +
      `${this.#admissions.waiting} of ${maxWaitingSends} calls wait`;
    return new WaybillError("BUFFER_FULL", detail, { retryable: true });
  }
}

function isList(messages: Outgoing | readonly Outgoing[]): messages is readonly Outgoing[] {
  return Array.isArray(messages);
}

function closed(): WaybillError {
  return new WaybillError("CLIENT_CLOSED", "the producer is closed", { retryable: false });
}
