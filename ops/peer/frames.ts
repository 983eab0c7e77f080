// Owns frames on a socket: a length of four bytes, then so many bytes; reading them whole, writing them in order.
// Refuses to own what is in them. Invariant: a length is checked before anything is allocated for it; a frame is written
// whole or the socket ends.
import { PeerProtocolError, type PeerSocket } from "./types.ts";

const LENGTH_BYTES = 4;
const BUFFER_BYTES = 65_536;
/** Smaller pieces are written together, larger ones as they are. */
const GATHERED_BELOW_BYTES = 16_384;

export class FrameReader {
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #start = 0;
  #end = 0;

  constructor(
    private readonly socket: Pick<PeerSocket, "read">,
    /** Called whenever anything has arrived. */
    private readonly heard: () => void = () => {},
  ) {}

  /** The next frame, in memory of its own; null at the end of the connection. PeerProtocolError beyond `maxBytes`. */
  async next(maxBytes: number): Promise<Uint8Array | null> {
    while (this.#end - this.#start < LENGTH_BYTES) {
      if (!await this.#more()) {
        if (this.#end > this.#start) throw new PeerProtocolError("a frame is cut short");
        return null;
      }
    }
    const view = new DataView(this.#buffer.buffer, this.#start, LENGTH_BYTES);
    const length = view.getUint32(0);
    if (length > maxBytes) {
      throw new PeerProtocolError(`a frame of ${length} bytes, ${maxBytes} at most`);
    }
    this.#start += LENGTH_BYTES;
    return await this.#take(length);
  }

  async #take(length: number): Promise<Uint8Array> {
    const frame = new Uint8Array(length);
    let filled = Math.min(length, this.#end - this.#start);
    frame.set(this.#buffer.subarray(this.#start, this.#start + filled));
    this.#start += filled;
    while (filled < length) {
      const count = await this.socket.read(frame.subarray(filled));
      if (count === null) throw new PeerProtocolError("a frame is cut short");
      filled += count;
      this.heard();
    }
    return frame;
  }

  async #more(): Promise<boolean> {
    this.#buffer.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
    const count = await this.socket.read(this.#buffer.subarray(this.#end));
    if (count === null) return false;
    this.#end += count;
    this.heard();
    return true;
  }
}

/** Something to write; `begin` is asked when its turn has come, false: it is left out. */
export interface OutgoingFrame {
  readonly parts: readonly Uint8Array[];
  readonly bytes: number;
  begin?(): boolean;
}

export class FrameWriter {
  #queue: OutgoingFrame[] = [];
  #waitingBytes = 0;
  #running = false;
  #ended = false;

  constructor(
    private readonly socket: Pick<PeerSocket, "write">,
    /** `failed`: the socket takes nothing any more. `written`: there is more room than before. */
    private readonly tell: { failed(error: unknown): void; written(): void },
  ) {}

  /** Of frames that are not written yet. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Whoever calls bounds how much waits. */
  push(frame: OutgoingFrame): void {
    if (this.#ended) return;
    this.#queue.push(frame);
    this.#waitingBytes += frame.bytes;
    if (!this.#running) void this.#run();
  }

  end(): void {
    this.#ended = true;
    this.#queue = [];
    this.#waitingBytes = 0;
  }

  async #run(): Promise<void> {
    this.#running = true;
    try {
      // What is pushed in one go leaves together.
      await Promise.resolve();
      while (this.#queue.length > 0 && !this.#ended) {
        const { pieces, bytes } = this.#gather();
        for (const piece of pieces) await this.#write(piece);
        if (this.#ended) break;
        this.#waitingBytes -= bytes;
        this.tell.written();
      }
    } catch (error) {
      if (!this.#ended) this.tell.failed(error);
    } finally {
      this.#running = false;
    }
  }

  /** Frames to write next: small ones together, up to a buffer full. */
  #gather(): { pieces: Uint8Array[]; bytes: number } {
    const pieces: Uint8Array[] = [];
    let small: Uint8Array[] = [];
    let bytes = 0;
    let count = 0;
    const join = () => {
      if (small.length > 0) pieces.push(joined(small));
      small = [];
    };
    while (count < this.#queue.length && bytes < BUFFER_BYTES) {
      const frame = this.#queue[count++]!;
      bytes += frame.bytes;
      if (frame.begin !== undefined && !frame.begin()) continue;
      for (const part of frame.parts) {
        if (part.length < GATHERED_BELOW_BYTES) small.push(part);
        else {
          join();
          pieces.push(part);
        }
      }
    }
    join();
    this.#queue.splice(0, count);
    return { pieces, bytes };
  }

  async #write(piece: Uint8Array): Promise<void> {
    for (let written = 0; written < piece.length && !this.#ended;) {
      written += await this.socket.write(written === 0 ? piece : piece.subarray(written));
    }
  }
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  if (pieces.length === 1) return pieces[0]!;
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
