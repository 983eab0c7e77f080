// Owns the port through which the edges tell what they did: published, delivered, answered.
// Refuses to own counting (ops/measurement) and what becomes of the counts (metrics, thresholds, the dashboard).
// Invariant: it hears and returns; nothing waits for it, and it never throws into a request.

/** A publish request that reached its topic; a request's duplicates count as published. */
export interface Published {
  readonly topic: string;
  /** Of the request; 0 where it was refused before it was parsed. */
  readonly messages: number;
  /** Of the batches as they are stored. */
  readonly bytes: number;
  /** From the first byte of the request to the answer. */
  readonly durationMs: number;
  /** Of the problem that it was answered with; null when it was stored. */
  readonly code: string | null;
}

/** How messages got to a reader: a stream, a member's poll, or a read of a partition. */
export type DeliveryPath = "websocket" | "http" | "read";

/** Messages of one partition that were handed to a reader. */
export interface Delivered {
  /** Null for reads without a group. */
  readonly group: string | null;
  readonly topic: string;
  readonly messages: number;
  readonly bytes: number;
  /** Of the newest of them, by its timestamp: end to end for who reads at the end of the log. Null: it has no time. */
  readonly ageMs: number | null;
  readonly path: DeliveryPath;
}

/** Age at `nowMs` (wall time) of a message with this timestamp; null where it has none. */
export function ageMsAt(nowMs: number, timestamp: number): number | null {
  return timestamp < 0 ? null : Math.max(0, nowMs - timestamp);
}

/** An answer of the HTTP edge; upgrades count when they are made. */
export interface Answered {
  readonly operationId: string;
  readonly status: number;
  /** Of the problem; null for a success. */
  readonly code: string | null;
  readonly durationMs: number;
  /** Of a refusal for a quota of a tenant: which one. */
  readonly quotaOf?: string;
}

/** Hears what the edges do. Called on hot paths: each call costs well under 1 us. */
export interface Telemetry {
  published(event: Published): void;
  delivered(event: Delivered): void;
  answered(event: Answered): void;
}

/** Hears nothing. */
export const NO_TELEMETRY: Telemetry = {
  published() {},
  delivered() {},
  answered() {},
};
