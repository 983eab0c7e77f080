// Owns the client's front door: one object from which producers, consumers and single requests come.
// Refuses to own any of them (client/); no `Deno.*` and no `node:`, so that it loads in a browser.
// Invariant: what it imports of the broker is the record batch format and the error codes alone.
import {
  Admin,
  type CommitRequest,
  type CommitResult,
  type GroupLag,
  type ReadRequest,
  type ReadResult,
  type TopicDescription,
  type TopicSpec,
} from "./client/admin.ts";
import { Brokers } from "./client/brokers.ts";
import { ClusterTransport } from "./client/cluster_transport.ts";
import { Consumer } from "./client/consumer.ts";
import type { ConsumerOptions } from "./client/consumer_options.ts";
import { WaybillError } from "./client/errors.ts";
import {
  type ClientPorts,
  type Fetch,
  type PortOptions,
  resolvePorts,
  type WebSocketClass,
} from "./client/ports.ts";
import { GroupAdmin } from "./client/group_admin.ts";
import { Producer } from "./client/producer.ts";
import type { ProducerOptions } from "./client/producer_options.ts";
import { type TransactionalOptions, TransactionalProducer } from "./client/transactions.ts";
import { Transformer, type TransformOptions } from "./client/transform.ts";
import { type Credential, FetchTransport, type Transport } from "./client/transport.ts";
import { type Codecs, installCodecs } from "../storage/format/compression.ts";

export type {
  CommitRequest,
  CommitResult,
  GroupLag,
  PartitionDescription,
  ReadRequest,
  ReadResult,
  TopicDescription,
  TopicSpec,
} from "./client/admin.ts";
export { ConsumedMessage, MessageBatch } from "./client/consumed.ts";
export { type Committable, Consumer } from "./client/consumer.ts";
export type {
  ConsumerEvents,
  ConsumerOptions,
  Lagging,
  Revocation,
} from "./client/consumer_options.ts";
export {
  type DeliveredRun,
  type FailedRun,
  type MessageOutcome,
  SendManyError,
  type SendManyResult,
  type SendResult,
} from "./client/delivery.ts";
export { type ClientErrorCode, wasNotReached, WaybillError } from "./client/errors.ts";
export type { PartitionOffset, TopicPartition } from "./client/frames.ts";
export type {
  Canary,
  CanaryChange,
  CanaryRates,
  CanarySettings,
  GroupAdmin,
  MovedOffsets,
  OffsetHistoryEntry,
  OffsetHistoryQuery,
  OffsetReset,
  OffsetRollback,
  OffsetsSnapshot,
} from "./client/group_admin.ts";
export type { NackOptions } from "./client/nacks.ts";
export type { Json, Outgoing, OutgoingMessage } from "./client/outgoing.ts";
export type { Fetch, PortOptions, WebSocketClass, WebSocketLike } from "./client/ports.ts";
export { Producer } from "./client/producer.ts";
export type { ProducerOptions } from "./client/producer_options.ts";
export type { Acks } from "./client/publish.ts";
export { Message } from "./client/received.ts";
export {
  Transaction,
  type TransactionalOptions,
  TransactionalProducer,
  type TransactionOffset,
} from "./client/transactions.ts";
export type { Credential } from "./client/transport.ts";
export { Transformer, type TransformOptions } from "./client/transform.ts";

export interface WaybillClientOptions extends PortOptions {
  /**
   * Address of the broker, for example `http://127.0.0.1:8080`; of a cluster, those of some of its brokers. One that
   * does not answer is passed over for the next.
   */
  readonly url: string | readonly string[];
  /**
   * Whether a cluster is asked for its other brokers, so that publishes go straight to who leads a partition, and
   * requests go on when all that are named in `url` are gone; default true. False where they can be reached through
   * `url` alone, a proxy for instance. It takes `describe` on the cluster; without that, `url` is what there is.
   */
  readonly discover?: boolean;
  /**
   * API key or JWT; or a function that gives it, asked at each request and each connection, so that tokens which expire are
   * followed by the next. It should remember the one it has.
   */
  readonly token?: Credential;
  /** Default: the runtime's. */
  readonly fetch?: Fetch;
  /**
   * Default: the runtime's. Node has one from version 22 on (in 20 behind `--experimental-websocket`); before that hand
   * in the class of the package `ws`.
   */
  readonly WebSocket?: WebSocketClass;
  /** Reads compressed batches, which other clients may have published; without them UNSUPPORTED_COMPRESSION. */
  readonly codecs?: Codecs;
}

/** Topics by name. See Admin for errors. */
export interface Topics {
  create(spec: TopicSpec): Promise<TopicDescription>;
  list(
    page?: { limit?: number; cursor?: string },
  ): Promise<{ topics: readonly TopicDescription[]; nextCursor?: string }>;
  describe(topic: string): Promise<TopicDescription>;
  update(topic: string, change: Omit<Partial<TopicSpec>, "name">): Promise<TopicDescription>;
  delete(topic: string): Promise<void>;
}

interface Closable {
  readonly closed: Promise<void>;
  close(): Promise<void>;
}

/**
 * A client of one broker, or of a cluster through any of its brokers. For Deno, Node from version 20 on, and browsers.
 *
 * The CRC-32C of record batches is computed by `crc32c` if it is handed in, else by the native module `@node-rs/crc32`
 * if the runtime finds it, else in plain TypeScript.
 */
export class WaybillClient {
  readonly topics: Topics;
  /** Groups as operators see them: pause, resume, and the ledger of offsets with its ways back. */
  readonly groups: GroupAdmin;
  readonly #options: WaybillClientOptions;
  readonly #ports: ClientPorts;
  readonly #brokers: Brokers;
  readonly #transport: Transport;
  readonly #admin: Admin;
  readonly #open = new Set<Closable>();

  constructor(options: WaybillClientOptions) {
    this.#options = options;
    this.#ports = resolvePorts(options);
    if (options.codecs !== undefined) installCodecs(options.codecs);
    const { clock, timers } = this.#ports;
    const urls = typeof options.url === "string" ? [options.url] : options.url;
    const brokers = new Brokers(urls, this.#ports);
    const exchange = {
      token: options.token,
      // Called as a bare function: a browser's fetch refuses any other receiver.
      fetch: options.fetch ?? ((url: string, init: RequestInit) => fetch(url, init)),
      clock,
      timers,
    };
    this.#brokers = brokers;
    this.#transport = new ClusterTransport({
      brokers,
      clock,
      discover: options.discover ?? true,
      open: (url) => new FetchTransport({ url, ...exchange }),
    });
    const admin = new Admin(this.#transport, this.#ports);
    this.#admin = admin;
    this.groups = new GroupAdmin(admin);
    this.topics = {
      create: (spec) => admin.createTopic(spec),
      list: (page) => admin.listTopics(page),
      describe: (topic) => admin.describeTopic(topic),
      update: (topic, change) => admin.updateTopic(topic, change),
      delete: (topic) => admin.deleteTopic(topic),
    };
  }

  /** A producer; close it, or the client, to send what it still holds. */
  producer(options: ProducerOptions = {}): Producer {
    const producer = new Producer(this.#transport, this.#ports, options);
    return this.#opened(producer);
  }

  /** A member of a group; it connects when it is iterated. NO_WEBSOCKET when there is none. */
  consumer(options: ConsumerOptions): Consumer {
    const WebSocket = this.#options.WebSocket ??
      (globalThis as { WebSocket?: WebSocketClass }).WebSocket;
    if (WebSocket === undefined) {
      const detail = "this runtime has no WebSocket: hand one in, for example of the package ws";
      throw new WaybillError("NO_WEBSOCKET", detail, { retryable: false });
    }
    const { token } = this.#options;
    const brokers = this.#brokers;
    const env = { brokers, token, WebSocket, transport: this.#transport, ports: this.#ports };
    const consumer = new Consumer(env, options);
    return this.#opened(consumer);
  }

  /** A producer whose messages become visible by transactions, together with offsets of groups. */
  transactional(options: TransactionalOptions): TransactionalProducer {
    return new TransactionalProducer(this.#transport, this.#ports, options);
  }

  /**
   * Consumes, transforms and produces exactly once: what `transform` sends and the offsets of what it was given are
   * committed in one transaction. It starts at once, and goes on until it is closed.
   */
  transform(options: TransformOptions): Transformer {
    return this.#opened(
      new Transformer({
        ports: this.#ports,
        consumer: (consumerOptions) => this.consumer(consumerOptions),
        producer: this.transactional(options),
      }, options),
    );
  }

  /** Reads a partition without a group. UNKNOWN_TOPIC, UNKNOWN_PARTITION, OFFSET_OUT_OF_RANGE (valid range in `details`). */
  read(request: ReadRequest): Promise<ReadResult> {
    return this.#admin.read(request);
  }

  /** Commits offsets for a group from outside of it. OFFSET_ROLLBACK, STALE_GENERATION, OFFSET_OUT_OF_RANGE. */
  commit(request: CommitRequest): Promise<CommitResult> {
    return this.#admin.commit(request);
  }

  /** How far a group is behind. UNKNOWN_GROUP. */
  lag(group: string): Promise<GroupLag> {
    return this.#admin.lag(group);
  }

  /** Closes every producer and consumer that came from here. Rejects as the first of them did. */
  async close(): Promise<void> {
    const closed = await Promise.allSettled([...this.#open].map((part) => part.close()));
    for (const outcome of closed) {
      if (outcome.status === "rejected") throw outcome.reason;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Remembers what has to be closed with the client. */
  #opened<T extends Closable>(part: T): T {
    this.#open.add(part);
    part.closed.then(() => this.#open.delete(part));
    return part;
  }
}
