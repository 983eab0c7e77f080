// Owns the watch over a server's connections: finding them, looking at each again and again, ending those whose time is up.
// Refuses to own the judgement (connection.ts) and what of it only the kernel can do (kernel.ts).
// Invariant: one look is bounded in time; a connection is ended only while its descriptor is still its own.
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";
import {
  Connection,
  type DoorLimits,
  type EndReason,
  excess,
  MAX_UNFINISHED_BYTES,
  MIN_BODY_BYTES_PER_SECOND,
  PRESSURE_SHARE,
  UnfinishedMessage,
} from "./connection.ts";
import type { DoorCounts } from "./counts.ts";
import type { Kernel } from "./kernel.ts";
import type { Visit, Visits } from "./visits.ts";

/** Time between two looks, and what one look takes at most: half a millisecond for either. */
const LOOK_MS = 50;
const MAX_DESCRIPTORS_PER_LOOK = 512;
const MAX_SOCKETS_PER_LOOK = 512;
/** While WebSockets hold more than this of unfinished messages, the next look is sooner. */
const HURRY_BYTES = 4 * 1_048_576;
const HURRIED_LOOK_MS = 10;
/** Descriptors are given out lowest first: behind this many free ones there are hardly more. */
const FREE_BEFORE_END = 256;
/** As often the free ones are not trusted: somebody may have opened many and closed the first of them. */
const WHOLE_ROUND_MS = 30_000;
/** A WebSocket whose connection was not found by then is gone. */
const MAX_SEARCH_MS = 60_000;
/** What a WebSocket may hold without counting: control frames. */
const UNCOUNTED_BYTES = 4_096;
/** Of what this process may have open; the rest is for files. */
const CONNECTION_SHARE_OF_FILES = 0.5;
const REPORT_MS = 60_000;

export interface GuardOptions {
  readonly kernel: Kernel;
  readonly visits: Visits;
  readonly port: number;
  readonly isSecure: boolean;
  readonly limits: DoorLimits;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Hears what was ended, at most once a minute, and of faults. */
  readonly report: (level: "info" | "error", message: string, error?: unknown) => void;
}

interface Socket {
  readonly visit: Visit;
  readonly message: UnfinishedMessage;
  bytes: number;
}

export class Guard {
  readonly #options: GuardOptions;
  readonly #maxConnections: number;
  /** By descriptor. */
  readonly #connections = new Map<number, Connection>();
  readonly #byEnd = new Map<string, Connection>();
  readonly #sockets = new Map<Connection, Socket>();
  /** WebSockets whose connection has not been found yet. */
  #searched: Visit[] = [];
  #socketBytes = 0;
  #nextSocket = 0;
  #nextDescriptor = 0;
  #highest = 0;
  #free = 0;
  #isWholeRound = false;
  #wholeRoundMs: number;
  #late: ReadonlySet<string> = new Set();
  #busy: ReadonlySet<string> = new Set();
  readonly #ended = new Map<EndReason, number>();
  #endedInAll = 0;
  #reportedMs: number;
  #cancel: Cancel | null = null;

  constructor(options: GuardOptions) {
    this.#options = options;
    const files = options.kernel.maxOpenFiles() * CONNECTION_SHARE_OF_FILES;
    this.#maxConnections = Math.min(options.limits.maxConnections, Math.floor(files));
    this.#reportedMs = this.#wholeRoundMs = options.clock.monotonic();
    options.visits.nowMs = this.#reportedMs;
    this.#later();
  }

  counts(): DoorCounts {
    return {
      connections: this.#connections.size,
      sockets: this.#sockets.size,
      ended: this.#endedInAll,
    };
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  #later(): void {
    const afterMs = this.#socketBytes > HURRY_BYTES ? HURRIED_LOOK_MS : LOOK_MS;
    this.#cancel = this.#options.timers.after(afterMs, () => {
      try {
        this.look();
      } catch (error) {
        // A broker whose connections are not watched is better than none.
        this.#options.report("error", "a look at the connections failed", error);
      }
      this.#later();
    });
  }

  /** One look; by itself every `LOOK_MS`. */
  look(): void {
    const nowMs = this.#options.clock.monotonic();
    const { visits } = this.#options;
    visits.nowMs = nowMs;
    for (const id of visits.takeAsked()) this.#byEnd.get(id)?.asked();
    this.#busy = new Set([...visits.underWay].map((visit) => visit.endId));
    this.#late = this.#lateBodies(nowMs);
    this.#findSockets(nowMs);
    this.#lookAtDescriptors(nowMs);
    this.#lookAtSockets();
    this.#tell(nowMs);
  }

  #lateBodies(nowMs: number): ReadonlySet<string> {
    const { visits, limits: { bodyTimeoutMs } } = this.#options;
    const late = new Set<string>();
    for (const visit of visits.underWay) {
      // A set keeps the order in which they came.
      if (nowMs - visit.startedMs < bodyTimeoutMs) break;
      const bytes = visit.awaitedBytes;
      if (bytes === null) continue;
      const allowedMs = bodyTimeoutMs + bytes / MIN_BODY_BYTES_PER_SECOND * 1_000;
      if (nowMs - visit.startedMs >= allowedMs) late.add(visit.endId);
    }
    return late;
  }

  #findSockets(nowMs: number): void {
    const searched = [...this.#searched, ...this.#options.visits.takeSockets()];
    this.#searched = searched.filter((visit) => {
      const connection = this.#byEnd.get(visit.endId);
      if (connection === undefined) return nowMs - visit.startedMs < MAX_SEARCH_MS;
      const received = this.#options.kernel.traffic(connection.fd)?.receivedBytes ?? 0;
      const message = new UnfinishedMessage(received);
      this.#sockets.set(connection, { visit, message, bytes: 0 });
      return false;
    });
  }

  #lookAtDescriptors(nowMs: number): void {
    const end = this.#nextDescriptor + MAX_DESCRIPTORS_PER_LOOK;
    while (this.#nextDescriptor < end) {
      const fd = this.#nextDescriptor++;
      this.#lookAt(fd, nowMs);
      const isBehind = fd > this.#highest && this.#free >= FREE_BEFORE_END;
      const isLast = fd >= 2 * this.#maxConnections + FREE_BEFORE_END;
      if (isLast || (isBehind && !this.#isWholeRound)) return this.#endRound(nowMs);
    }
  }

  #lookAt(fd: number, nowMs: number): void {
    const { kernel } = this.#options;
    const fingerprint = kernel.fingerprint(fd);
    let connection = this.#connections.get(fd);
    if (connection !== undefined && connection.fingerprint !== fingerprint) {
      this.#forget(connection);
      connection = undefined;
    }
    if (fingerprint === 0) {
      this.#free++;
      return;
    }
    this.#free = 0;
    this.#highest = Math.max(this.#highest, fd);
    connection ??= this.#found(fd, fingerprint, nowMs) ?? undefined;
    if (connection !== undefined) this.#judge(connection, nowMs);
  }

  #found(fd: number, fingerprint: number, nowMs: number): Connection | null {
    const { kernel, port, isSecure } = this.#options;
    if (kernel.localPort(fd) !== port) return null;
    const end = kernel.remoteEnd(fd);
    if (end === null) return null;
    const connection = new Connection(fd, fingerprint, { end, sinceMs: nowMs, isSecure });
    this.#connections.set(fd, connection);
    this.#byEnd.set(end.id, connection);
    return connection;
  }

  #judge(connection: Connection, nowMs: number): void {
    const { kernel, limits } = this.#options;
    const traffic = kernel.traffic(connection.fd);
    if (traffic === null) return;
    const { id } = connection.end;
    if (this.#late.has(id)) return this.#end(connection, "half-sent body");
    const isBusy = this.#busy.has(id) || this.#sockets.has(connection);
    const isPressed = this.#connections.size > this.#maxConnections * PRESSURE_SHARE;
    const reason = connection.judge({ traffic, nowMs, isBusy, isPressed }, limits);
    if (reason !== null) this.#end(connection, reason);
  }

  #endRound(nowMs: number): void {
    this.#isWholeRound = nowMs - this.#wholeRoundMs >= WHOLE_ROUND_MS;
    if (this.#isWholeRound) this.#wholeRoundMs = nowMs;
    this.#nextDescriptor = 0;
    this.#free = 0;
    this.#highest = 0;
    for (const fd of this.#connections.keys()) this.#highest = Math.max(this.#highest, fd);
    const all = [...this.#connections.values()];
    for (const each of excess(all, this.#maxConnections)) this.#end(each, "too many connections");
    const { maxConnectionsPerAddress } = this.#options.limits;
    if (this.#connections.size <= maxConnectionsPerAddress) return;
    for (const [, members] of Map.groupBy(all, ({ end }) => end.network)) {
      for (const each of excess(members, maxConnectionsPerAddress)) {
        this.#end(each, "too many connections of its address");
      }
    }
  }

  #lookAtSockets(): void {
    const sockets = [...this.#sockets];
    const count = Math.min(sockets.length, MAX_SOCKETS_PER_LOOK);
    for (let looked = 0; looked < count; looked++) {
      this.#nextSocket = (this.#nextSocket + 1) % sockets.length;
      this.#lookAtSocket(...sockets[this.#nextSocket]!);
    }
    if (this.#socketBytes <= MAX_UNFINISHED_BYTES) return;
    sockets.sort(([, a], [, b]) => b.bytes - a.bytes);
    for (const [connection] of sockets) {
      if (this.#socketBytes <= MAX_UNFINISHED_BYTES) return;
      this.#end(connection, "message too large");
    }
  }

  #lookAtSocket(connection: Connection, socket: Socket): void {
    if (socket.visit.isCut) return this.#end(connection, "does not close");
    const traffic = this.#options.kernel.traffic(connection.fd);
    if (traffic === null) return;
    const bytes = socket.message.bytes(traffic.receivedBytes, socket.visit.messages);
    const counted = bytes > UNCOUNTED_BYTES ? bytes : 0;
    this.#socketBytes += counted - socket.bytes;
    socket.bytes = counted;
    if (socket.message.isTooLarge(bytes)) this.#end(connection, "message too large");
  }

  #end(connection: Connection, reason: EndReason): void {
    const { kernel } = this.#options;
    const { fd, fingerprint } = connection;
    if (kernel.fingerprint(fd) === fingerprint) kernel[reason === "idle" ? "end" : "reset"](fd);
    this.#forget(connection);
    this.#ended.set(reason, (this.#ended.get(reason) ?? 0) + 1);
    this.#endedInAll++;
  }

  #forget(connection: Connection): void {
    this.#connections.delete(connection.fd);
    const { id } = connection.end;
    if (this.#byEnd.get(id) === connection) this.#byEnd.delete(id);
    this.#socketBytes -= this.#sockets.get(connection)?.bytes ?? 0;
    this.#sockets.delete(connection);
  }

  #tell(nowMs: number): void {
    if (this.#ended.size === 0 || nowMs - this.#reportedMs < REPORT_MS) return;
    const what = [...this.#ended].map(([reason, count]) => `${reason} (${count})`).join(", ");
    this.#ended.clear();
    this.#reportedMs = nowMs;
    this.#options.report("info", `connections were ended: ${what}`);
  }
}
