// Owns consuming with the client SDK without sockets: its WebSocket is an array of frames to a stream hub in memory.
// Refuses to own any rule of consuming. Invariant: frames arrive in order, each in a turn of its own, until the line is cut.
import { setImmediate } from "node:timers";
import { crc32c } from "@node-rs/crc32";
import { type Access, LOCAL_ADMINISTRATOR } from "../../api/auth/access.ts";
import { Brokers } from "../../api/client/brokers.ts";
import { Consumer } from "../../api/client/consumer.ts";
import type { ConsumedMessage } from "../../api/client/consumed.ts";
import type { ConsumerOptions } from "../../api/client/consumer_options.ts";
import { WaybillError } from "../../api/client/errors.ts";
import type { WebSocketClass, WebSocketLike } from "../../api/client/ports.ts";
import type { Transport } from "../../api/client/transport.ts";
import type { StreamHub } from "../../api/stream/hub.ts";
import { streamQuery } from "../../api/stream/query.ts";
import { seededRandomness } from "./seeded_randomness.ts";
import { type Frame, StreamWorld, type StreamWorldOptions } from "./stream_fakes.ts";

type Listener = (event: never) => void;

/** One connection of the SDK. */
export class LineSocket implements WebSocketLike {
  binaryType = "blob";
  readyState = 0;
  /** Frames that the SDK sent. */
  readonly sent: Frame[] = [];
  /** Frames get lost from now on, and nobody is told. */
  silent = false;
  readonly #listeners = new Map<string, Listener[]>();
  readonly #accepted: ReturnType<StreamHub["accept"]> | null = null;

  readonly #line: Line;

  constructor(readonly url: string, readonly protocols: string[], line: Line) {
    this.#line = line;
    line.sockets.push(this);
    if (line.refuseConnections) {
      setImmediate(() => this.#close(1006, ""));
      return;
    }
    const address = new URL(url);
    const query = streamQuery(line.world.hub.services.limits)
      .parse(Object.fromEntries(address.searchParams));
    const request = {
      ...query,
      group: address.pathname.split("/")[3]!,
      principal: "tests",
      access: line.access,
      maxBatchBytes: query.maxBatchBytes ?? 65_536,
      transport: "websocket" as const,
    };
    const accepted = line.world.hub.accept(request, {
      bufferedAmount: 0,
      send: (data) => this.#deliver(data as string | Uint8Array<ArrayBuffer>),
      close: (code, reason) => {
        setImmediate(() => {
          if (!this.silent) this.#close(code, reason);
        });
      },
    });
    this.#accepted = accepted;
    setImmediate(() => {
      if (this.readyState !== 0) return;
      this.readyState = 1;
      void accepted.connection.open();
    });
  }

  addEventListener(type: string, listener: Listener): void {
    const listeners = this.#listeners.get(type) ?? [];
    this.#listeners.set(type, [...listeners, listener]);
  }

  send(data: string): void {
    if (this.readyState !== 1) throw new Error(`sent in state ${this.readyState}`);
    this.sent.push(JSON.parse(data));
    if (!this.silent) setImmediate(() => this.#accepted?.connection.receive(data));
  }

  close(code = 1000): void {
    this.#close(code, "");
  }

  /** The connection breaks: both sides notice. */
  cut(): void {
    this.#close(1006, "");
  }

  /** The broker closes. */
  shut(code: number, reason: string): void {
    this.#close(code, reason);
  }

  ofType(type: string): Frame[] {
    return this.sent.filter((frame) => frame.type === type);
  }

  /** A frame that the hub did not send. */
  inject(frame: Frame): void {
    this.#emit("message", { data: typeof frame === "string" ? frame : JSON.stringify(frame) });
  }

  #deliver(data: string | Uint8Array<ArrayBuffer>): void {
    const copy = typeof data === "string" ? data : this.#line.damaged(data.slice()).buffer;
    setImmediate(() => {
      if (this.readyState === 1 && !this.silent) this.#emit("message", { data: copy });
    });
  }

  #close(code: number, reason: string): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.#emit("close", { code, reason });
    void this.#accepted?.gone();
  }

  #emit(type: string, event: object): void {
    for (const listener of this.#listeners.get(type) ?? []) listener(event as never);
  }
}

/** What lies between the SDK and the hub. */
export interface Line {
  readonly world: StreamWorld;
  readonly sockets: LineSocket[];
  refuseConnections: boolean;
  /** What becomes of a message frame on its way. */
  damaged: (frame: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>;
  /** As whom connections come in. */
  access: Access;
  /** What HTTP requests are answered with. */
  http: WaybillError;
}

export interface ConsumerWorld {
  readonly world: StreamWorld;
  readonly line: Line;
  /** Codes of what went to `onError`. */
  readonly errors: string[];
  consumer(options?: Partial<ConsumerOptions>): Consumer;
  /** The connection of now. */
  socket(): LineSocket;
}

/** A broker in memory with topic `orders`, and consumers of it through the SDK. */
export async function consumerWorld(
  options: StreamWorldOptions & { readonly urls?: readonly string[] } = {},
): Promise<ConsumerWorld> {
  const world = await StreamWorld.open(options);
  const upgrade = new WaybillError("UPGRADE_REQUIRED", "x", { retryable: false, status: 426 });
  const line: Line = {
    world,
    sockets: [],
    refuseConnections: false,
    damaged: (frame) => frame,
    access: LOCAL_ADMINISTRATOR,
    http: upgrade,
  };
  const WebSocket = class extends LineSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols, line);
    }
  } as unknown as WebSocketClass;
  const transport: Transport = { send: () => Promise.reject(line.http) };
  const randomness = seededRandomness(7);
  const ports = { clock: world.time, timers: world.time, randomness, crc: { crc32c } };
  const urls = options.urls ?? ["http://broker"];
  const brokers = new Brokers(urls, { clock: world.time, randomness: { fraction: () => 0 } });
  const errors: string[] = [];
  return {
    world,
    line,
    errors,
    socket: () => line.sockets.at(-1)!,
    consumer: (more) =>
      new Consumer({ brokers, token: "secret", WebSocket, transport, ports }, {
        group: "billing",
        topics: ["orders"],
        autoOffsetReset: "earliest",
        onError: (error) => errors.push(error.code),
        ...more,
      }),
  };
}

/** Reads messages in the background into a list, as an application that is as fast as they come. */
export class Reader {
  readonly messages: ConsumedMessage[] = [];
  /** Handed to each message before it counts as read. */
  onMessage: (message: ConsumedMessage) => unknown = () => {};
  error: WaybillError | null = null;
  ended = false;

  constructor(readonly consumer: Consumer) {
    void this.#run();
  }

  /** `partition/offset` of each. */
  get places(): string[] {
    return this.messages.map(({ partition, offset }) => `${partition}/${offset}`);
  }

  offsets(partition = 0): number[] {
    return this.messages.filter((message) => message.partition === partition)
      .map(({ offset }) => offset);
  }

  async #run(): Promise<void> {
    try {
      for await (const message of this.consumer) {
        this.messages.push(message);
        await this.onMessage(message);
      }
      this.ended = true;
    } catch (error) {
      this.error = error as WaybillError;
    }
  }
}
