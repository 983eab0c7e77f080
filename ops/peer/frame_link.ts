// Owns a proved connection as a stream of frames both ways: reading, writing, silence, and its one end.
// Refuses to own what frames say (dialled_connection.ts, served_connection.ts).
// Invariant: it ends once, whatever fails first; after that nothing is taken or written.
import type { Clock, Timers } from "../../storage/ports.ts";
import { type FrameReader, FrameWriter, type OutgoingFrame } from "./frames.ts";
import { Keepalive } from "./keepalive.ts";
import { type PeerBounds, PeerProtocolError, type PeerSocket } from "./types.ts";

export interface ConnectionOptions {
  readonly socket: PeerSocket;
  readonly reader: FrameReader;
  readonly clock: Pick<Clock, "monotonic">;
  readonly timers: Timers;
  readonly bounds: PeerBounds;
  /** Called once. */
  readonly ended: (why: unknown) => void;
}

export interface FrameLinkOptions extends ConnectionOptions {
  /** A frame has come; what it throws ends the connection. */
  readonly take: (frame: Uint8Array) => void;
  /** There is more room for what is to be written than before. */
  readonly written?: () => void;
  /** As Keepalive's. */
  readonly ping?: () => void;
}

export class FrameLink {
  readonly #writer: FrameWriter;
  readonly #keepalive: Keepalive;
  #ended = false;

  constructor(private readonly options: FrameLinkOptions) {
    const { socket, clock, timers, bounds, ping, written = () => {} } = options;
    this.#writer = new FrameWriter(socket, { failed: (error) => this.end(error), written });
    this.#keepalive = new Keepalive({
      clock,
      timers,
      bounds,
      ...(ping === undefined ? {} : { ping }),
      silent: () => this.end(new PeerProtocolError(`nothing was heard for ${bounds.silenceMs} ms`)),
    });
    void this.#read();
  }

  get hasEnded(): boolean {
    return this.#ended;
  }

  /** Of frames that are not written yet. */
  get waitingBytes(): number {
    return this.#writer.waitingBytes;
  }

  heard(): void {
    this.#keepalive.heard();
  }

  /** Whoever calls bounds how much waits. */
  push(frame: OutgoingFrame): void {
    this.#writer.push(frame);
  }

  end(why: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#keepalive.end();
    this.#writer.end();
    close(this.options.socket);
    this.options.ended(why);
  }

  async #read(): Promise<void> {
    const { reader, bounds, take } = this.options;
    try {
      for (;;) {
        const frame = await reader.next(bounds.maxFrameBytes);
        if (frame === null) throw new PeerProtocolError("the other side has hung up");
        take(frame);
      }
    } catch (error) {
      this.end(error);
    }
  }
}

export function close(socket: PeerSocket): void {
  try {
    socket.close();
  } catch {
    // It was closed by the other side's end of it.
  }
}
