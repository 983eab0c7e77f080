// Owns what goes out on one socket: encoding control frames, counting what is buffered, refusing to buffer without end.
// Refuses to own which frames are sent when.
// Invariant: messages are handed to the socket only while it, and all sockets together, buffer less than their bounds.
import { encodeFrame, type ServerFrame, type StreamFormat } from "./frames.ts";
import type { StreamLimits } from "./limits.ts";

/** As much of a WebSocket as a session needs. */
export interface FrameSocket {
  /** Bytes handed over and not sent yet; 0 once closing. */
  readonly bufferedAmount: number;
  send(data: string | Uint8Array): void;
  close(code: number, reason: string): void;
  /** Breaks it off when it has been closed for a while and is not gone; where nobody can, it stays until the system ends it. */
  cut?(): void;
}

/** Bytes that all sessions together hold. */
export class BufferBudget {
  /** That wait in sockets, or to be let in from them. */
  totalBytes = 0;
  /** That were fetched, and can be fetched again. */
  keptBytes = 0;
}

export type OutboxLimits = Pick<
  StreamLimits,
  | "maxBufferedBytes"
  | "maxUnreadBytes"
  | "maxTotalBufferedBytes"
  | "maxBufferedAtAllBytes"
  | "tightTurnBytes"
  | "maxTightUnreadBytes"
>;

export interface OutboxOptions {
  readonly socket: FrameSocket;
  readonly format: StreamFormat;
  readonly limits: OutboxLimits;
  readonly budget: BufferBudget;
  /** The client makes the server talk and does not read: it is to be closed. */
  readonly onTooSlow: () => void;
}

export class Outbox {
  readonly #options: OutboxOptions;
  #closed = false;
  #gone = false;
  #sentBytes = 0;
  /** What the budget was told last. */
  #bufferedBytes = 0;
  /** Of control frames, since the client had read everything. */
  #controlBytes = 0;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get format(): StreamFormat {
    return this.#options.format;
  }

  /** Bytes handed to the socket since it opened. */
  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** Of those, bytes that have left the socket's buffer. */
  get flushedBytes(): number {
    return this.#sentBytes - this.#measure();
  }

  /** Whether messages may be sent now. */
  get writable(): boolean {
    if (this.#closed) return false;
    const { budget, limits } = this.#options;
    const buffered = this.#measure();
    if (buffered >= limits.maxBufferedBytes) return false;
    if (buffered > 0) return !this.isTight;
    return budget.totalBytes < limits.maxBufferedAtAllBytes;
  }

  /** Of `bytes` that a turn may have, those that it may have now. */
  turnBytes(bytes: number): number {
    return this.isTight ? Math.min(bytes, this.#options.limits.tightTurnBytes) : bytes;
  }

  /** All sockets together are full: memory is not for what may be fetched again. */
  get isTight(): boolean {
    const { budget, limits } = this.#options;
    return budget.totalBytes >= limits.maxTotalBufferedBytes;
  }

  /** Sends a control frame. Unlike messages it is not held back, so a client that reads none of them has to go. */
  send(frame: ServerFrame): void {
    if (this.#closed) return;
    const { format, limits, onTooSlow } = this.#options;
    this.#measure();
    if (this.isTight && this.#controlBytes > limits.maxTightUnreadBytes) return onTooSlow();
    const data = encodeFrame(frame, format);
    this.sendEncoded(data);
    this.#controlBytes += data.length;
    if (this.#bufferedBytes > limits.maxUnreadBytes) onTooSlow();
  }

  /** A heartbeat is left out when something else waits to be read anyway. */
  heartbeat(): void {
    if (!this.#closed && this.#measure() === 0) this.send({ type: "heartbeat" });
  }

  /** Sends an encoded frame and counts it. */
  sendEncoded(data: string | Uint8Array): void {
    if (this.#closed) return;
    const before = this.#measure();
    this.#options.socket.send(data);
    this.#sentBytes += this.#measure() - before;
  }

  /** The last word. What is buffered stays in the budget until the socket is gone. */
  close(code: number, reason: string): void {
    if (this.#closed) return;
    this.#measure();
    this.#closed = true;
    this.#options.socket.close(code, reason);
  }

  /** The socket is gone, and its buffer with it: what was in it last is counted as never flushed. */
  gone(): void {
    if (this.#gone) return;
    this.#closed = this.#gone = true;
    this.#options.budget.totalBytes -= this.#bufferedBytes;
  }

  #measure(): number {
    if (this.#closed) return this.#bufferedBytes;
    const buffered = this.#options.socket.bufferedAmount;
    this.#options.budget.totalBytes += buffered - this.#bufferedBytes;
    this.#bufferedBytes = buffered;
    if (buffered === 0) this.#controlBytes = 0;
    return buffered;
  }
}
