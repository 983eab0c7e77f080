// Owns the port on which other brokers come in: strangers are bounded and have little time, then they are served.
// Refuses to own what they call. Invariant: nothing of a connection is looked at before its handshake is done; of one
// broker and lane there is one connection, the newest.
import type { PeerHandler } from "../../actors/cluster/peers.ts";
import type { Clock, Timers } from "../../storage/ports.ts";
import { close } from "./frame_link.ts";
import { FrameReader } from "./frames.ts";
import { type PeerTie, proveAsDialled } from "./handshake.ts";
import { ServedConnection } from "./served_connection.ts";
import { type PeerBounds, PeerProtocolError, type PeerReport, type PeerSocket } from "./types.ts";

/** Refused strangers are told of so often at most. */
const REPORT_EVERY_MS = 10_000;

export interface PeerDoorOptions {
  readonly cluster: string;
  readonly nodeId: string;
  readonly key: CryptoKey;
  readonly clock: Pick<Clock, "monotonic">;
  readonly timers: Timers;
  readonly bounds: PeerBounds;
  readonly handlerOf: (method: string) => PeerHandler | null;
  readonly report: PeerReport;
}

export class PeerDoor {
  readonly #strangers = new Set<PeerSocket>();
  /** By broker and lane. */
  readonly #served = new Map<string, ServedConnection>();
  #reportedAt = -Infinity;
  #unreported = 0;
  #closed = false;

  constructor(private readonly options: PeerDoorOptions) {}

  /** Connections that have not proved whose they are. */
  get strangers(): number {
    return this.#strangers.size;
  }

  /** Takes the socket over; resolves when its handshake is over, one way or the other. */
  async enter(socket: PeerSocket): Promise<void> {
    const { bounds, timers } = this.options;
    if (
      this.#closed || this.#strangers.size >= bounds.maxStrangers ||
      this.#served.size >= bounds.maxConnections
    ) return close(socket);
    this.#strangers.add(socket);
    const cancel = timers.after(bounds.handshakeMs, () => close(socket));
    try {
      await this.#admit(socket);
    } catch (error) {
      close(socket);
      if (!this.#closed) this.#refused(error);
    } finally {
      cancel();
      this.#strangers.delete(socket);
    }
  }

  close(): void {
    this.#closed = true;
    for (const socket of this.#strangers) close(socket);
    const why = new Error("this broker is shutting down");
    for (const served of [...this.#served.values()]) served.end(why);
  }

  async #admit(socket: PeerSocket): Promise<void> {
    const { cluster, nodeId, key, bounds } = this.options;
    let served: ServedConnection | null = null;
    const reader = new FrameReader(socket, () => served?.heard());
    const maxBytes = bounds.maxHandshakeBytes;
    const tie = await proveAsDialled({ reader, socket, key, maxBytes }, { cluster, nodeId });
    if (this.#closed) throw new PeerProtocolError("this broker is shutting down");
    served = this.#serve({ tie, socket, reader });
  }

  #serve(
    { tie, socket, reader }: {
      readonly tie: PeerTie;
      readonly socket: PeerSocket;
      readonly reader: FrameReader;
    },
  ): ServedConnection {
    const { nodeId, clock, timers, bounds, handlerOf, report } = this.options;
    const name = `${tie.lane} ${tie.from}`;
    // What the older one still holds comes from before: it must not follow what comes now.
    this.#served.get(name)?.end(new Error("the broker has connected anew"));
    const served = new ServedConnection({
      nodeId,
      from: tie.from,
      socket,
      reader,
      clock,
      timers,
      bounds,
      handlerOf,
      report,
      ended: () => {
        if (this.#served.get(name) === served) this.#served.delete(name);
      },
    });
    this.#served.set(name, served);
    return served;
  }

  #refused(error: unknown): void {
    const now = this.options.clock.monotonic();
    if (now - this.#reportedAt < REPORT_EVERY_MS) {
      this.#unreported++;
      return;
    }
    const others = this.#unreported === 0 ? "" : `, and ${this.#unreported} before it`;
    this.#reportedAt = now;
    this.#unreported = 0;
    const message = `somebody who is no peer was refused at the peers' port${others}`;
    this.options.report({ level: "warning", message, error });
  }
}
