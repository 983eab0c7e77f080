// Owns brokers' peers on real loopback sockets for tests, and a relay between them that can freeze, cut and record.
// Refuses to own what they say to each other. Invariant: nothing of it outlives `close`.
import { TcpPeers, type TcpPeersOptions } from "../../ops/peer/tcp_peers.ts";
import type { PeerAddress } from "../../ops/peer/peer_lane.ts";
import { systemClock, systemRandomness, systemTimers } from "../../ops/system_ports.ts";

export const PEER_SECRET = "a secret for tests, long enough";

export class PeerScene {
  /** Where brokers are taken to be; a test may move them. */
  readonly addresses = new Map<string, PeerAddress>();
  readonly reports: { level: string; message: string; error?: unknown }[] = [];
  readonly #ends: (() => Promise<void> | void)[] = [];

  async open(nodeId: string, options: Partial<TcpPeersOptions> = {}): Promise<TcpPeers> {
    const peers = await TcpPeers.open({
      nodeId,
      cluster: "tests",
      secret: PEER_SECRET,
      listen: { host: "127.0.0.1", port: 0 },
      incarnation: () => 1,
      addressOf: (of) => this.addresses.get(of) ?? null,
      clock: systemClock,
      timers: systemTimers,
      randomness: systemRandomness,
      report: (event) => this.reports.push(event),
      ...options,
    });
    this.addresses.set(nodeId, peers.address);
    this.#ends.push(() => peers.close());
    return peers;
  }

  /** Brokers reach `nodeId` through it from now on. */
  relay(nodeId: string): Relay {
    const relay = new Relay(this.addresses.get(nodeId)!);
    this.addresses.set(nodeId, relay.address);
    this.#ends.push(() => relay.close());
    return relay;
  }

  /** A bare connection to the broker's door. */
  async stranger(nodeId: string): Promise<Deno.TcpConn> {
    const { host: hostname, port } = this.addresses.get(nodeId)!;
    const connection = await Deno.connect({ hostname, port });
    this.#ends.push(() => closeQuietly(connection));
    return connection;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of this.#ends.reverse()) await end();
  }
}

export class Relay {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #open = new Set<Deno.Conn>();
  readonly #serving: Promise<void>;
  /** What whoever dialled has said, by connection. */
  readonly recorded: Uint8Array[][] = [];
  readonly #frozen = { there: Promise.resolve(), back: Promise.resolve() };
  #thaws: (() => void)[] = [];

  constructor(private readonly to: PeerAddress) {
    this.#serving = this.#serve();
  }

  get address(): PeerAddress {
    return { host: "127.0.0.1", port: (this.#listener.addr as Deno.NetAddr).port };
  }

  /** From now on nothing passes, and nobody is told. */
  freeze(): void {
    this.#freeze("there");
    this.#freeze("back");
  }

  freezeAnswers(): void {
    this.#freeze("back");
  }

  thaw(): void {
    for (const thaw of this.#thaws.splice(0)) thaw();
  }

  #freeze(way: "there" | "back"): void {
    this.#frozen[way] = new Promise((resolve) => this.#thaws.push(resolve));
  }

  cut(): void {
    for (const connection of this.#open) closeQuietly(connection);
    this.#open.clear();
  }

  async close(): Promise<void> {
    this.#listener.close();
    this.thaw();
    this.cut();
    await this.#serving.catch(() => {});
  }

  async #serve(): Promise<void> {
    for await (const near of this.#listener) {
      const { host: hostname, port } = this.to;
      const far = await Deno.connect({ hostname, port });
      this.#open.add(near).add(far);
      const said: Uint8Array[] = [];
      this.recorded.push(said);
      void this.#pump(near, far, { way: "there", said });
      void this.#pump(far, near, { way: "back", said: [] });
    }
  }

  async #pump(
    from: Deno.Conn,
    to: Deno.Conn,
    { way, said }: { way: "there" | "back"; said: Uint8Array[] },
  ): Promise<void> {
    const buffer = new Uint8Array(65_536);
    try {
      for (;;) {
        const count = await from.read(buffer);
        if (count === null) break;
        await this.#frozen[way];
        const bytes = buffer.slice(0, count);
        said.push(bytes);
        for (let written = 0; written < count;) written += await to.write(bytes.subarray(written));
      }
    } catch {
      // Cut.
    }
    closeQuietly(from);
    closeQuietly(to);
  }
}

function closeQuietly(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // Closed already.
  }
}
