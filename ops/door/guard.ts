// Owns the watch over a server's connections: finding them, looking at each again and again, ending those whose time is up.
// Refuses to own the judgement (connection.ts), what WebSockets hold (sockets.ts), and what only the kernel can do (kernel.ts).
// Invariant: one look is bounded in time; a connection is ended only while its descriptor is still its own.
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";
import {
  Connection,
  type DoorLimits,
  type EndReason,
  excess,
  MIN_BODY_BYTES_PER_SECOND,
  PRESSURE_SHARE,
} from "./connection.ts";
import type { DoorCounts } from "./counts.ts";
import type { Kernel } from "./kernel.ts";
import { SocketWatch } from "./sockets.ts";
import type { Visit, Visits } from "./visits.ts";

/** Time between two looks, and what one look takes at most: half a millisecond for either. */
const LOOK_MS = 50;
const MAX_DESCRIPTORS_PER_LOOK = 512;
/** Descriptors are given out lowest first: behind this many free ones there are hardly more. */
const FREE_BEFORE_END = 256;
/** As often the free ones are not trusted: somebody may have opened many and closed the first of them. */
const WHOLE_ROUND_MS = 30_000;
/** A WebSocket whose connection was not found by then is gone. */
const MAX_SEARCH_MS = 60_000;
/** Of what this process may have open; the rest is for files. */
const CONNECTION_SHARE_OF_FILES = 0.5;
/**
 * Connections that one look ends: each takes 50 us. Many that came together have their time-outs together; only where room
 * is short do they go at once.
 */
const MAX_ENDS_PER_LOOK = 32;
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

export class Guard {
  readonly #options: GuardOptions;
  readonly #maxConnections: number;
  readonly #maxDescriptors: number;
  /** By descriptor. */
  readonly #connections = new Map<number, Connection>();
  readonly #byEnd = new Map<string, Connection>();
  readonly #sockets: SocketWatch;
  /** WebSockets whose connection has not been found yet. */
  #searched: Visit[] = [];
  #endsLeft = 0;
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
    options.visits.onSocket = (visit) => this.#socketCame(visit);
    this.#sockets = new SocketWatch({
      kernel: options.kernel,
      timers: options.timers,
      end: (connection, reason) => this.#end(connection, reason),
      onError: (error) => this.#failed(error),
    });
    this.#maxDescriptors = 2 * this.#maxConnections + FREE_BEFORE_END;
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
    this.#sockets.stop();
  }

  #later(): void {
    this.#cancel = this.#options.timers.after(LOOK_MS, () => {
      try {
        this.look();
      } catch (error) {
        this.#failed(error);
      }
      this.#later();
    });
  }

  /** A broker whose connections are not watched is better than none. */
  #failed(error: unknown): void {
    this.#options.report("error", "a look at the connections failed", error);
  }

  /** One look; by itself every `LOOK_MS`. */
  look(): void {
    const nowMs = this.#options.clock.monotonic();
    const { visits } = this.#options;
    visits.nowMs = nowMs;
    this.#endsLeft = MAX_ENDS_PER_LOOK;
    for (const id of visits.takeAsked()) this.#byEnd.get(id)?.asked();
    this.#busy = new Set([...visits.underWay].map((visit) => visit.endId));
    this.#late = this.#lateBodies(nowMs);
    this.#findSockets(nowMs);
    this.#lookAtDescriptors(nowMs);
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

  /** Before it can send: what comes until a socket is found comes as fast as the machine can. */
  #socketCame(visit: Visit): void {
    const connection = this.#byEnd.get(visit.endId) ?? this.#newAt(visit.endId);
    if (connection === null) this.#searched.push(visit);
    else this.#sockets.add(connection, visit);
  }

  /** The connection at the end `id`, among the descriptors that nobody has looked at yet. */
  #newAt(id: string): Connection | null {
    const { clock, kernel } = this.#options;
    const nowMs = clock.monotonic();
    for (let fd = 0, free = 0; free < FREE_BEFORE_END && fd < this.#maxDescriptors; fd++) {
      if (this.#connections.has(fd)) continue;
      const fingerprint = kernel.fingerprint(fd);
      if (fingerprint === 0) free++;
      else if (this.#found(fd, fingerprint, nowMs)?.end.id === id) {
        return this.#connections.get(fd)!;
      }
    }
    return null;
  }

  #findSockets(nowMs: number): void {
    this.#searched = this.#searched.filter((visit) => {
      const connection = this.#byEnd.get(visit.endId);
      if (connection === undefined) return nowMs - visit.startedMs < MAX_SEARCH_MS;
      this.#sockets.add(connection, visit);
      return false;
    });
  }

  #lookAtDescriptors(nowMs: number): void {
    const end = this.#nextDescriptor + MAX_DESCRIPTORS_PER_LOOK;
    while (this.#nextDescriptor < end) {
      const fd = this.#nextDescriptor++;
      this.#lookAt(fd, nowMs);
      const isBehind = fd > this.#highest && this.#free >= FREE_BEFORE_END;
      const isLast = fd >= this.#maxDescriptors;
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
    const isPressed = this.#isPressed;
    const reason = connection.judge({ traffic, nowMs, isBusy, isPressed }, limits);
    if (reason !== null && this.#mayEnd(isPressed)) this.#end(connection, reason);
  }

  get #isPressed(): boolean {
    return this.#connections.size > this.#maxConnections * PRESSURE_SHARE;
  }

  #mayEnd(isPressed: boolean): boolean {
    return isPressed || this.#endsLeft-- > 0;
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
        if (this.#mayEnd(this.#isPressed)) this.#end(each, "too many connections of its address");
      }
    }
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
    this.#sockets.forget(connection);
  }

  #tell(nowMs: number): void {
    if (this.#ended.size === 0 || nowMs - this.#reportedMs < REPORT_MS) return;
    const what = [...this.#ended].map(([reason, count]) => `${reason} (${count})`).join(", ");
    this.#ended.clear();
    this.#reportedMs = nowMs;
    this.#options.report("info", `connections were ended: ${what}`);
  }
}
