// Owns consuming without sockets: a broker in memory and virtual time, a stream hub over it, clients that are arrays.
// Refuses to own any rule of consuming. Invariant: everything a client was sent is in `frames`, in order.
import { crc32c } from "@node-rs/crc32";
import { decode } from "@msgpack/msgpack";
import type { LocalBroker } from "../../actors/local_broker.ts";
import type { Broker } from "../../actors/broker.ts";
import { LOCAL_ADMINISTRATOR } from "../../api/auth/access.ts";
import { NO_TELEMETRY, type Telemetry } from "../../api/telemetry.ts";
import { AclAuthorizer } from "../../api/auth/authorizer.ts";
import { yieldToEventLoop } from "../../api/event_loop.ts";
import type { StreamRequest } from "../../api/stream/connection_parts.ts";
import { StreamHub } from "../../api/stream/hub.ts";
import { STREAM_LIMITS, type StreamLimits } from "../../api/stream/limits.ts";
import type { FrameSocket } from "../../api/stream/outbox.ts";
import { encodeBatch, type RecordInput } from "../../storage/format/encode.ts";
import { type MemoryBrokerOptions, memoryBrokerStores, TOPIC_CONFIG } from "./memory_broker.ts";
import { settle, type VirtualClock } from "./virtual_time.ts";

// deno-lint-ignore no-explicit-any -- what a test reads out of a frame is checked by its assertions
export type Frame = any;

export const STREAM_REQUEST: StreamRequest = {
  group: "billing",
  principal: "tests",
  access: LOCAL_ADMINISTRATOR,
  topics: ["orders"],
  transport: "websocket",
  format: "json",
  autoOffsetReset: "earliest",
  maxInFlight: 1_000,
  maxBatchBytes: 262_144,
  autoCommit: false,
  sessionTimeoutMs: 30_000,
};

/** A socket whose buffer is emptied at once, or only by `read` when `stuck`. */
export class FakeSocket implements FrameSocket {
  bufferedAmount = 0;
  stuck = false;
  closedWith: { code: number; reason: string } | null = null;
  isCut = false;
  readonly sent: (string | Uint8Array)[] = [];
  readonly frames: Frame[] = [];

  send(data: string | Uint8Array): void {
    this.sent.push(data);
    this.frames.push(frameOf(data));
    if (this.stuck) this.bufferedAmount += data.length;
  }

  read(): void {
    this.bufferedAmount = 0;
  }

  close(code: number, reason: string): void {
    this.closedWith ??= { code, reason };
  }

  cut(): void {
    this.isCut = true;
  }
}

/** A batch frame is its header with `batches` beside it. */
function frameOf(data: string | Uint8Array): Frame {
  if (typeof data === "string") return JSON.parse(data);
  if (data[0]! >= 0x80) return decode(data);
  const headerBytes = new DataView(data.buffer, data.byteOffset).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(data.subarray(4, 4 + headerBytes)));
  return { ...header, batches: data.subarray(4 + headerBytes) };
}

/** One consuming client of the hub. */
export class FakeClient {
  readonly socket = new FakeSocket();
  readonly #accepted: ReturnType<StreamHub["accept"]>;
  readonly opened: Promise<void>;

  constructor(hub: StreamHub, request: StreamRequest) {
    this.#accepted = hub.accept(request, this.socket);
    this.opened = this.#accepted.connection.open();
  }

  get frames(): Frame[] {
    return this.socket.frames;
  }

  /** Null while the server has not closed. */
  get closeCode(): number | null {
    return this.socket.closedWith?.code ?? null;
  }

  get memberId(): string {
    return this.#accepted.connection.memberId!;
  }

  send(frame: object | string): void {
    this.#accepted.connection.receive(typeof frame === "string" ? frame : JSON.stringify(frame));
  }

  sendBytes(bytes: Uint8Array): void {
    this.#accepted.connection.receive(bytes);
  }

  /** The socket is gone. */
  gone(): Promise<void> {
    return this.#accepted.gone();
  }

  ofType(type: string): Frame[] {
    return this.frames.filter((frame) => frame.type === type);
  }

  last(type: string): Frame {
    return this.ofType(type).at(-1);
  }

  /** Messages in the order in which they came, of one partition or of all. */
  messages(partition?: number): Frame[] {
    return this.ofType("messages")
      .filter((frame) => partition === undefined || frame.partition === partition)
      .flatMap((frame) => frame.messages);
  }

  offsets(partition = 0): number[] {
    return this.messages(partition).map((message) => message.offset);
  }

  commit(offset: number, options: { partition?: number; id?: string | number } = {}): void {
    const { partition = 0, id } = options;
    const offsets = [{ topic: "orders", partition, offset }];
    this.send({ type: "commit", offsets, ...(id === undefined ? {} : { id }) });
  }
}

export interface StreamWorldOptions extends MemoryBrokerOptions {
  readonly partitions?: number;
  readonly limits?: Partial<StreamLimits>;
  /** Hears what is delivered. */
  readonly telemetry?: Telemetry;
  /** Puts something between the hub and the broker. */
  readonly wrap?: (broker: LocalBroker) => Broker;
}

/** A broker with topic `orders`, a hub over it, and time that moves when told to. */
export class StreamWorld {
  private constructor(
    readonly broker: LocalBroker,
    readonly time: VirtualClock,
    readonly hub: StreamHub,
    readonly faults: unknown[],
  ) {}

  static async open(options: StreamWorldOptions = {}): Promise<StreamWorld> {
    const { time, randomness, open } = memoryBrokerStores({
      group: { initialRebalanceDelayMs: 0, rebalanceDelayMs: 0, ...options.group },
    });
    const broker = await open();
    const partitions = options.partitions ?? 1;
    await broker.createTopic({ name: "orders", partitions, config: TOPIC_CONFIG });
    const faults: unknown[] = [];
    const hub = new StreamHub({
      authorizer: new AclAuthorizer(broker.acls),
      broker: options.wrap?.(broker) ?? broker,
      clock: time,
      timers: time,
      randomness,
      yieldToEventLoop,
      limits: { ...STREAM_LIMITS, ...options.limits },
      telemetry: options.telemetry ?? NO_TELEMETRY,
      onError: (error) => faults.push(error),
    });
    return new StreamWorld(broker, time, hub, faults);
  }

  connect(request: Partial<StreamRequest> = {}): FakeClient {
    return new FakeClient(this.hub, { ...STREAM_REQUEST, ...request });
  }

  /** A client that has its assignment. */
  async consumer(request: Partial<StreamRequest> = {}): Promise<FakeClient> {
    const client = this.connect(request);
    await this.until(() => client.last("assigned") !== undefined, "an assignment");
    return client;
  }

  /** One batch of `count` messages; their values tell their order. */
  async publish(
    count: number,
    options: { partition?: number; bytes?: number } = {},
  ): Promise<void> {
    const { partition = 0, bytes = 0 } = options;
    const records: RecordInput[] = Array.from({ length: count }, (_, index) => ({
      key: null,
      value: bytes === 0 ? `message ${index}` : "x".repeat(bytes),
      headers: [],
      timestamp: this.time.now(),
    }));
    const batch = encodeBatch(records, { crc32c });
    await this.broker.append({ topic: "orders", partition }, [batch], { acks: "all" });
    await this.calm();
  }

  /** Lets everything happen that needs no time. */
  async calm(): Promise<void> {
    for (let turn = 0; turn < CALM_TURNS; turn++) await this.time.advance(0);
  }

  /** Waits, in virtual time where nothing else happens, for something that must come true. */
  async until(isTrue: () => boolean, what: string): Promise<void> {
    for (let turn = 0; turn < MAX_TURNS; turn++) {
      if (isTrue()) return;
      await settle();
      await this.time.advance(turn < CALM_TURNS ? 0 : 10);
    }
    throw new Error(`${what} did not come`);
  }

  async close(): Promise<void> {
    await this.hub.drain();
    await this.broker.close();
  }
}

const CALM_TURNS = 30;
const MAX_TURNS = 500;
