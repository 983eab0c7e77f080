// Owns the watch over WebSockets: how much of a message that is not whole each holds, and which of them hold too much.
// Refuses to own finding their connections and ending them (guard.ts), and the judgement over a message (connection.ts).
// Invariant: one look is bounded in time; each socket is looked at in its turn, and one that has begun a message at every look
// as far as the bound goes.
import type { Cancel, Timers } from "../../storage/ports.ts";
import {
  type Connection,
  type EndReason,
  MAX_UNFINISHED_BYTES,
  UnfinishedMessage,
} from "./connection.ts";
import type { Kernel } from "./kernel.ts";
import type { Visit } from "./visits.ts";

/** Time between two looks: a machine can send some ten megabytes to itself in it. */
const LOOK_MS = 5;
/** What one look takes of those that have begun a message, and of the others: 70 us for either at most. */
const MAX_SOCKETS_PER_LOOK = 128;
/** What a WebSocket may hold without counting: control frames. */
const UNCOUNTED_BYTES = 4_096;
/** What the kernel takes ahead for a WebSocket: its frames are small, and what sends without end has its turns bounded. */
const RECEIVE_BYTES = 262_144;

interface Socket {
  readonly visit: Visit;
  readonly message: UnfinishedMessage;
  bytes: number;
}

export interface SocketWatchOptions {
  readonly kernel: Kernel;
  readonly timers: Timers;
  /** Is to call `forget`. */
  readonly end: (connection: Connection, reason: EndReason) => void;
  /** Hears of faults; the watch goes on. */
  readonly onError: (error: unknown) => void;
}

export class SocketWatch {
  readonly #sockets = new Map<Connection, Socket>();
  /** Those of which a message has come in part, the one that was looked at longest ago first. */
  readonly #begun = new Set<Connection>();
  #turn = this.#sockets.keys();
  #bytes = 0;
  #cancel: Cancel | null = null;

  constructor(private readonly options: SocketWatchOptions) {}

  get size(): number {
    return this.#sockets.size;
  }

  has(connection: Connection): boolean {
    return this.#sockets.has(connection);
  }

  /** From now on what comes on the connection is frames. */
  add(connection: Connection, visit: Visit): void {
    const { kernel } = this.options;
    kernel.limitReceiveBuffer(connection.fd, RECEIVE_BYTES);
    const received = kernel.traffic(connection.fd)?.receivedBytes ?? 0;
    this.#sockets.set(connection, { visit, message: new UnfinishedMessage(received), bytes: 0 });
    if (this.#cancel === null) this.#later();
  }

  forget(connection: Connection): void {
    this.#bytes -= this.#sockets.get(connection)?.bytes ?? 0;
    this.#sockets.delete(connection);
    this.#begun.delete(connection);
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  #later(): void {
    this.#cancel = this.options.timers.after(LOOK_MS, () => {
      try {
        this.#look();
      } catch (error) {
        this.options.onError(error);
      }
      if (this.#sockets.size > 0) this.#later();
      else this.#cancel = null;
    });
  }

  #look(): void {
    const looked = new Set([...this.#begun].slice(0, MAX_SOCKETS_PER_LOOK));
    for (const connection of this.#next(MAX_SOCKETS_PER_LOOK)) looked.add(connection);
    for (const connection of looked) this.#lookAt(connection, this.#sockets.get(connection)!);
    if (this.#bytes <= MAX_UNFINISHED_BYTES) return;
    for (const [connection] of [...this.#sockets].sort(([, a], [, b]) => b.bytes - a.bytes)) {
      if (this.#bytes <= MAX_UNFINISHED_BYTES) return;
      this.options.end(connection, "message too large");
    }
  }

  /** The next of all sockets, round and round. */
  #next(max: number): Connection[] {
    const next: Connection[] = [];
    while (next.length < Math.min(max, this.#sockets.size)) {
      const { value, done } = this.#turn.next();
      if (done) this.#turn = this.#sockets.keys();
      else next.push(value);
    }
    return next;
  }

  #lookAt(connection: Connection, socket: Socket): void {
    const { kernel, end } = this.options;
    if (socket.visit.isCut) return end(connection, "does not close");
    const traffic = kernel.traffic(connection.fd);
    if (traffic === null) return;
    const bytes = socket.message.bytes(traffic.receivedBytes, socket.visit.messages);
    const counted = bytes > UNCOUNTED_BYTES ? bytes : 0;
    this.#bytes += counted - socket.bytes;
    socket.bytes = counted;
    this.#begun.delete(connection);
    if (counted > 0) this.#begun.add(connection);
    if (socket.message.isTooLarge(bytes)) end(connection, "message too large");
  }
}
