// Owns the port through which the edges tell what they did: published, delivered, answered.
// Refuses to own counting (ops/measurement) and what becomes of the counts (metrics, thresholds, the dashboard).
// Invariant: it hears and returns; nothing waits for it, and it never throws into a request.

import type { OffsetSpan } from "../actors/trace/types.ts";

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

/** Offsets that are found one after the other. */
export class FoundSpans {
  readonly spans: { from: number; to: number }[] = [];

  /** `from` is not below what was added before. */
  add(from: number, to: number): void {
    const last = this.spans.at(-1);
    if (last?.to === from) last.to = to;
    else this.spans.push({ from, to });
  }
}

/** The offsets of `records`, which are in order. */
export function spansOf(records: readonly { readonly offset: number }[]): readonly OffsetSpan[] {
  const found = new FoundSpans();
  for (const { offset } of records) found.add(offset, offset + 1);
  return found.spans;
}

/** How messages got to a reader: a stream, a member's poll, or a read of a partition. */
export type DeliveryPath = "websocket" | "http" | "read";

/** Messages of one partition that were handed to a reader. */
export interface Delivered {
  /** Null for reads without a group. */
  readonly group: string | null;
  /** Null where there is none, or it is not known yet. */
  readonly member: string | null;
  readonly topic: string;
  readonly partition: number;
  /** Which offsets, in order. */
  readonly spans: readonly OffsetSpan[];
  /** Which delivery of them it is, from 1 on. */
  readonly attempt: number;
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

/** All of `ears` hear everything. */
export function telemetryOf(...ears: readonly Telemetry[]): Telemetry {
  const heard = ears.filter((ear) => ear !== NO_TELEMETRY);
  if (heard.length === 1) return heard[0]!;
  return {
    published: (event) => heard.forEach((ear) => ear.published(event)),
    delivered: (event) => heard.forEach((ear) => ear.delivered(event)),
    answered: (event) => heard.forEach((ear) => ear.answered(event)),
  };
}

/** Hears nothing. */
export const NO_TELEMETRY: Telemetry = {
  published() {},
  delivered() {},
  answered() {},
};
