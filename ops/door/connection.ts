// Owns what is known of one connection, and the judgement whether it has had its time.
// Refuses to own the kernel's counters (kernel.ts), requests (visits.ts), and ending it (guard.ts).
// Invariant: pure: the same observations in the same order give the same judgement; a connection whose request is under
// way, or that is a WebSocket, is never ended for being quiet.
import type { RemoteEnd, Traffic } from "./kernel.ts";

/** Bounds of connections; times in ms. */
export interface DoorLimits {
  readonly maxConnections: number;
  /** Of one address, or of one /64 network of IPv6. */
  readonly maxConnectionsPerAddress: number;
  /** From the first byte of a request, or from connecting, to the end of its header. */
  readonly headerTimeoutMs: number;
  /** From the header to the end of the body, beside a second for each `MIN_BODY_BYTES_PER_SECOND` of it. */
  readonly bodyTimeoutMs: number;
  /** Without a request. */
  readonly idleTimeoutMs: number;
}

export const MIN_BODY_BYTES_PER_SECOND = 16_384;
/** While more than this share of the connections is taken, those without a request are kept for this long only. */
export const PRESSURE_SHARE = 0.75;
export const PRESSED_IDLE_TIMEOUT_MS = 5_000;
/** An answer of which the other end takes nothing for this long is given up. */
export const UNREAD_TIMEOUT_MS = 60_000;
/**
 * A WebSocket message that is not whole may have this many bytes: the largest that a session takes, and its framing. The
 * runtime gathers fragments without a bound.
 */
export const MAX_UNFINISHED_MESSAGE_BYTES = 1_048_576 + 65_536;
/** Messages that are not whole, over all WebSockets. */
export const MAX_UNFINISHED_BYTES = 64 * 1_048_576;

/** Why a connection is ended. */
export type EndReason =
  | "no request"
  | "half-sent header"
  | "half-sent body"
  | "idle"
  | "does not read"
  | "message too large"
  | "does not close"
  | "too many connections"
  | "too many connections of its address";

export interface Observed {
  readonly traffic: Traffic;
  readonly nowMs: number;
  /** A request of it is being answered. */
  readonly isBusy: boolean;
  /** More than `PRESSURE_SHARE` of the connections is taken. */
  readonly isPressed: boolean;
}

export interface ConnectionFacts {
  readonly end: RemoteEnd;
  readonly sinceMs: number;
  /** Whether the server sends before it is asked: a handshake. */
  readonly isSecure: boolean;
}

/** One connection of clients. */
export class Connection {
  readonly end: RemoteEnd;
  readonly sinceMs: number;
  readonly #isSecure: boolean;
  /** When something was first seen of a request that is not whole. */
  #partialSinceMs: number | null = null;
  #unreadSinceMs: number | null = null;
  #ackedBytes = 0;
  #hasAsked = false;
  #idleSinceMs: number;
  isBusy = false;

  constructor(
    readonly fd: number,
    readonly fingerprint: number,
    { end, sinceMs, isSecure }: ConnectionFacts,
  ) {
    this.end = end;
    this.sinceMs = sinceMs;
    this.#isSecure = isSecure;
    this.#idleSinceMs = sinceMs;
  }

  /** A request of this connection was seen. */
  asked(): void {
    this.#hasAsked = true;
  }

  /** Places in the order in which connections go when there are too many: the lowest first. */
  get worth(): number {
    if (this.isBusy) return 2;
    return this.#partialSinceMs === null && this.#hasAsked ? 1 : 0;
  }

  get idleSinceMs(): number {
    return this.#idleSinceMs;
  }

  /** Why it has to end now; null when it may go on. To be asked at every look. */
  judge({ traffic, nowMs, isBusy, isPressed }: Observed, limits: DoorLimits): EndReason | null {
    this.isBusy = isBusy;
    if (this.#isUnread(traffic, nowMs)) return "does not read";
    if (isBusy || (!this.#isSecure && traffic.segmentsOut > 0)) this.#hasAsked = true;
    if (isBusy) {
      this.#partialSinceMs = null;
      this.#idleSinceMs = nowMs;
      return null;
    }
    if (!this.#hasAsked) {
      return nowMs - this.sinceMs >= limits.headerTimeoutMs ? "no request" : null;
    }
    this.#idleSinceMs = Math.max(this.#idleSinceMs, nowMs - traffic.lastSentMs);
    // Something came after the last answer: the beginning of a request.
    if (traffic.lastReceivedMs < traffic.lastSentMs) {
      this.#partialSinceMs ??= nowMs;
      return nowMs - this.#partialSinceMs >= limits.headerTimeoutMs ? "half-sent header" : null;
    }
    this.#partialSinceMs = null;
    const idleTimeoutMs = isPressed
      ? Math.min(limits.idleTimeoutMs, PRESSED_IDLE_TIMEOUT_MS)
      : limits.idleTimeoutMs;
    return nowMs - this.#idleSinceMs >= idleTimeoutMs ? "idle" : null;
  }

  #isUnread({ notSentBytes, ackedBytes }: Traffic, nowMs: number): boolean {
    if (notSentBytes === 0 || ackedBytes !== this.#ackedBytes) {
      this.#ackedBytes = ackedBytes;
      this.#unreadSinceMs = null;
      return false;
    }
    this.#unreadSinceMs ??= nowMs;
    return nowMs - this.#unreadSinceMs >= UNREAD_TIMEOUT_MS;
  }
}

/** What has come on a WebSocket since its last whole message. */
export class UnfinishedMessage {
  #messages = 0;
  #baseBytes: number;
  #wasTooLarge = false;

  constructor(receivedBytes: number) {
    this.#baseBytes = receivedBytes;
  }

  /** Bytes of it, control frames and framing included. `messages` counts those that came whole. */
  bytes(receivedBytes: number, messages: number): number {
    if (messages !== this.#messages) {
      this.#messages = messages;
      this.#baseBytes = receivedBytes;
    }
    return receivedBytes - this.#baseBytes;
  }

  /** Whether it is too large for good: whole messages may just wait to be heard, so two looks have to agree. */
  isTooLarge(bytes: number): boolean {
    const before = this.#wasTooLarge;
    this.#wasTooLarge = bytes > MAX_UNFINISHED_MESSAGE_BYTES;
    return before && this.#wasTooLarge;
  }
}

/** Those of `connections` that have to go for `max` to be kept: the least worth, and of them the longest without request. */
export function excess(connections: readonly Connection[], max: number): Connection[] {
  if (connections.length <= max) return [];
  const order = [...connections].sort((a, b) =>
    a.worth - b.worth || (a.worth === 2 ? b.sinceMs - a.sinceMs : a.idleSinceMs - b.idleSinceMs)
  );
  return order.slice(0, connections.length - max);
}
