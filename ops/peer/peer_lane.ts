// Owns this broker's way to one other broker on one lane: connecting when it is needed, waiting before trying again.
// Refuses to own what goes over it (dialled_connection.ts).
// Invariant: calls leave in the order in which they were made, and one attempt to connect runs at a time.
import type { Clock, Randomness, Timers } from "../../storage/ports.ts";
import { DialledConnection } from "./dialled_connection.ts";
import { close } from "./frame_link.ts";
import { FrameReader } from "./frames.ts";
import { proveAsDialer } from "./handshake.ts";
import type { OutgoingCall } from "./outgoing_call.ts";
import { type Lane, type PeerBounds, PeerProtocolError, type PeerSocket } from "./types.ts";

export interface PeerAddress {
  readonly host: string;
  readonly port: number;
}

export interface PeerLaneOptions {
  readonly cluster: string;
  readonly from: string;
  readonly to: string;
  readonly lane: Lane;
  readonly key: CryptoKey;
  readonly clock: Pick<Clock, "monotonic">;
  readonly timers: Timers;
  readonly randomness: Pick<Randomness, "fraction">;
  readonly bounds: PeerBounds;
  readonly addressOf: (nodeId: string) => PeerAddress | null;
  /** Rejects when `signal` is aborted. */
  readonly dial: (address: PeerAddress, signal: AbortSignal) => Promise<PeerSocket>;
}

interface Failure {
  readonly at: PeerAddress | null;
  readonly until: number;
  readonly count: number;
  readonly why: unknown;
}

export class PeerLane {
  #connection: Promise<DialledConnection> | null = null;
  #failure: Failure | null = null;
  #waiting = 0;
  readonly #closing = new AbortController();

  constructor(private readonly options: PeerLaneOptions) {}

  /** Sends it as soon as there is a connection, or ends it. */
  send(call: OutgoingCall): void {
    const { bounds } = this.options;
    if (this.#waiting >= bounds.maxCalls) return call.lost("too much is asked of it already");
    this.#waiting++;
    // Always one wait behind the other, whether the connection is there already or not: that keeps their order.
    this.#connected().then(
      (connection) => connection.send(call),
      (error) => call.lost(error instanceof Error ? error.message : String(error), error),
    ).finally(() => this.#waiting--);
  }

  close(): void {
    this.#closing.abort(new Error("this broker is shutting down"));
  }

  #connected(): Promise<DialledConnection> {
    if (this.#connection !== null) return this.#connection;
    const refusal = this.#refusal();
    if (refusal !== null) return Promise.reject(refusal);
    const connection = this.#connect();
    this.#connection = connection;
    return connection;
  }

  /** Why it is not even tried now. */
  #refusal(): Error | null {
    if (this.#closing.signal.aborted) return this.#closing.signal.reason as Error;
    const { addressOf, clock, to } = this.options;
    const address = addressOf(to);
    if (address === null) return new Error("nobody knows where it is");
    const failure = this.#failure;
    if (failure === null || clock.monotonic() >= failure.until) return null;
    // Elsewhere than where it could not be reached.
    if (failure.at?.host !== address.host || failure.at.port !== address.port) return null;
    return new Error("it could not be connected just now", { cause: failure.why });
  }

  async #connect(): Promise<DialledConnection> {
    const { addressOf, to } = this.options;
    const address = addressOf(to)!;
    try {
      const connection = await this.#open(address);
      this.#failure = null;
      return connection;
    } catch (error) {
      this.#connection = null;
      this.#failed(address, error);
      throw error;
    }
  }

  /** One time for all of it: connecting and the proofs. */
  async #open(address: PeerAddress): Promise<DialledConnection> {
    const { timers, bounds, dial } = this.options;
    const giveUp = new AbortController();
    const late = new PeerProtocolError(`no handshake in ${bounds.handshakeMs} ms`);
    const cancel = timers.after(bounds.handshakeMs, () => giveUp.abort(late));
    const closed = () => giveUp.abort(this.#closing.signal.reason);
    this.#closing.signal.addEventListener("abort", closed);
    let socket: PeerSocket | null = null;
    try {
      socket = await dial(address, giveUp.signal);
      giveUp.signal.throwIfAborted();
      giveUp.signal.addEventListener("abort", () => close(socket!));
      return await this.#proved(socket);
    } catch (error) {
      if (socket !== null) close(socket);
      throw giveUp.signal.aborted ? giveUp.signal.reason : error;
    } finally {
      cancel();
      this.#closing.signal.removeEventListener("abort", closed);
    }
  }

  async #proved(socket: PeerSocket): Promise<DialledConnection> {
    const { cluster, from, to, lane, key, bounds, clock, timers } = this.options;
    let connection: DialledConnection | null = null;
    const reader = new FrameReader(socket, () => connection?.heard());
    const maxBytes = bounds.maxHandshakeBytes;
    await proveAsDialer({ reader, socket, key, maxBytes }, { cluster, from, to, lane });
    const hangUp = () => connection?.end(this.#closing.signal.reason);
    connection = new DialledConnection({
      to,
      socket,
      reader,
      clock,
      timers,
      bounds,
      ended: () => {
        this.#closing.signal.removeEventListener("abort", hangUp);
        this.#connection = null;
      },
    });
    this.#closing.signal.addEventListener("abort", hangUp);
    return connection;
  }

  #failed(at: PeerAddress, why: unknown): void {
    const { clock, randomness, bounds: { minBackoffMs, maxBackoffMs } } = this.options;
    const count = (this.#failure?.count ?? 0) + 1;
    const backoffMs = Math.min(maxBackoffMs, minBackoffMs * 2 ** Math.min(count - 1, 20));
    const until = clock.monotonic() + backoffMs * (0.5 + randomness.fraction() / 2);
    this.#failure = { at, until, count, why };
  }
}
