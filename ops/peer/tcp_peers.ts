// Owns the Peers port over TCP, inside TLS when there are files for it: a door of its own, a lane each way and purpose.
// Refuses to own what methods mean, and where brokers are (`addressOf`).
// Invariant: only brokers that know the cluster's secret call or are called; a client's token opens nothing here. Deno's
// TLS listener asks for no client certificate, so that the secret is needed inside TLS too.
import type {
  PeerCallOptions,
  PeerHandler,
  PeerRequest,
  Peers,
} from "../../actors/cluster/peers.ts";
import type { Clock, Randomness, Timers } from "../../storage/ports.ts";
import { secretKey } from "./handshake.ts";
import { encodeMessage, KIND } from "./message.ts";
import { OutgoingCall, unavailable } from "./outgoing_call.ts";
import { PeerDoor } from "./peer_door.ts";
import { type PeerAddress, PeerLane } from "./peer_lane.ts";
import {
  type Lane,
  PEER_BOUNDS,
  type PeerBounds,
  type PeerReport,
  type PeerSocket,
} from "./types.ts";

/** PEM texts. Other brokers' certificates must name the host at which they are reached. */
export interface PeerTls {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

export interface TcpPeersOptions {
  readonly nodeId: string;
  /** Name of the cluster. */
  readonly cluster: string;
  readonly secret: string;
  readonly tls?: PeerTls;
  /** Port 0 picks a free one. */
  readonly listen: PeerAddress;
  /** Of this broker's registration now. */
  readonly incarnation: () => number;
  /** Where a broker is reached, as it is registered. */
  readonly addressOf: (nodeId: string) => PeerAddress | null;
  readonly clock: Pick<Clock, "monotonic">;
  readonly timers: Timers;
  readonly randomness: Pick<Randomness, "fraction">;
  readonly report: PeerReport;
  readonly bounds?: Partial<PeerBounds>;
}

export class TcpPeers implements Peers {
  readonly #handlers = new Map<string, PeerHandler>();
  /** By lane and broker: as many as brokers were ever called. */
  readonly #lanes = new Map<string, PeerLane>();
  readonly #bounds: PeerBounds;
  readonly #door: PeerDoor;
  #accepting: Promise<void>;
  #closed = false;

  private constructor(
    private readonly options: TcpPeersOptions,
    private readonly key: CryptoKey,
    private readonly listener: Deno.Listener,
  ) {
    this.#bounds = { ...PEER_BOUNDS, ...options.bounds };
    const handlerOf = (method: string) => this.#handlers.get(method) ?? null;
    this.#door = new PeerDoor({ ...options, key, bounds: this.#bounds, handlerOf });
    this.#accepting = this.#accept();
  }

  /** Listens from now on. Rejects when the address is taken, or the secret is too short. */
  static async open(options: TcpPeersOptions): Promise<TcpPeers> {
    const key = await secretKey(options.secret);
    const { tls, listen: { host: hostname, port } } = options;
    const listener = tls === undefined
      ? Deno.listen({ hostname, port })
      : Deno.listenTls({ hostname, port, cert: tls.cert, key: tls.key });
    return new TcpPeers(options, key, listener);
  }

  /** Where it listens. */
  get address(): PeerAddress {
    const { hostname, port } = this.listener.addr as Deno.NetAddr;
    return { host: hostname, port };
  }

  /** Connections at the door that have not proved whose they are. */
  get strangers(): number {
    return this.#door.strangers;
  }

  handle(method: string, handler: PeerHandler): void {
    if (this.#handlers.has(method)) throw new Error(`${method} has a handler already`);
    this.#handlers.set(method, handler);
  }

  async call<T>(to: string, request: PeerRequest, options: PeerCallOptions): Promise<T> {
    const { nodeId, timers, incarnation } = this.options;
    if (to === nodeId) throw new Error("a broker does not call itself");
    if (this.#closed) throw unavailable(to, "this broker is shutting down");
    const { method, args, lane = "control" } = request;
    const said = [method, incarnation(), args ?? null];
    const encode = (id: number) => encodeMessage(KIND.request, id, said);
    const call = new OutgoingCall({ ...options, timers, to, method, encode });
    if (!call.hasEnded) this.#laneTo(to, lane).send(call);
    return await call.result as T;
  }

  /** Ends every call, either way, and every connection. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.listener.close();
    this.#door.close();
    for (const lane of this.#lanes.values()) lane.close();
    await this.#accepting;
  }

  #laneTo(to: string, lane: Lane): PeerLane {
    const name = `${lane} ${to}`;
    const known = this.#lanes.get(name);
    if (known !== undefined) return known;
    const { nodeId: from } = this.options;
    const dial = (address: PeerAddress, signal: AbortSignal) => this.#dial(address, signal);
    const { key } = this;
    const made = new PeerLane({ ...this.options, from, to, lane, key, bounds: this.#bounds, dial });
    this.#lanes.set(name, made);
    return made;
  }

  async #dial({ host: hostname, port }: PeerAddress, signal: AbortSignal): Promise<PeerSocket> {
    const { tls } = this.options;
    const connection = await Deno.connect({ hostname, port, signal });
    connection.setNoDelay(true);
    if (tls === undefined) return connection;
    try {
      const secured = await Deno.startTls(connection, { hostname, caCerts: [tls.ca] });
      return secured;
    } catch (error) {
      close(connection);
      throw error;
    }
  }

  async #accept(): Promise<void> {
    for (;;) {
      try {
        const connection = await this.listener.accept();
        if ("setNoDelay" in connection) (connection as Deno.TcpConn).setNoDelay(true);
        void this.#door.enter(connection);
      } catch (error) {
        if (this.#closed) return;
        // Of one connection that was reset before it was taken, or too many open files.
        this.options.report({ level: "warning", message: "a peer could not come in", error });
        await new Promise<void>((resolve) => this.options.timers.after(ACCEPT_PAUSE_MS, resolve));
      }
    }
  }
}

const ACCEPT_PAUSE_MS = 20;

function close(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // The attempt to secure it may have closed it.
  }
}
