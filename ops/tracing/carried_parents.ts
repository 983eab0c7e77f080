// Owns finding the trace contexts that messages carry in their headers.
// Refuses to own what is made of them. Invariant: bounded: so many contexts, each once; what cannot be read carries none.
import { type Link, type SpanContext, TraceFlags } from "@opentelemetry/api";
import type { FetchResult } from "../../actors/broker.ts";
import { isVisible } from "../../actors/partition/visible_batches.ts";
import { mayCarry, recordsAt } from "../../actors/trace/batch_traces.ts";
import { traceParentIn } from "../../actors/trace/trace_id.ts";
import type { OffsetSpan } from "../../actors/trace/types.ts";
import { batchSpans, readHeader } from "../../storage/format/record_batch.ts";

/** Of one span: more are of no use to anybody who looks. */
export const MAX_LINKS = 32;

/** Contexts of the messages at the offsets `spans` (all of them where left out), each once. */
export function carriedIn(
  fetched: Pick<FetchResult, "batches" | "aborted">,
  spans?: readonly OffsetSpan[],
): SpanContext[] {
  const { batches } = fetched;
  const found = new Map<string, SpanContext>();
  for (const { at } of batchSpans(batches)) {
    const header = readHeader(batches, at);
    if (!isVisible(header, fetched) || !mayCarry(batches, at, header)) continue;
    for (const record of recordsAt(batches, at) ?? []) {
      const isWanted = spans === undefined ||
        spans.some(({ from, to }) => record.offset >= from && record.offset < to);
      const parent = isWanted ? traceParentIn(record) : null;
      if (parent === null) continue;
      const { traceId, spanId, flags } = parent;
      const traceFlags = flags & TraceFlags.SAMPLED;
      found.set(traceId + spanId, { traceId, spanId, traceFlags, isRemote: true });
      if (found.size === MAX_LINKS) return [...found.values()];
    }
  }
  return [...found.values()];
}

export function linksTo(contexts: readonly SpanContext[]): Link[] {
  return contexts.slice(0, MAX_LINKS).map((context) => ({ context }));
}

/** The first, where all are of one trace; null where they are of several or there is none. */
export function onlyTrace(contexts: readonly SpanContext[]): SpanContext | null {
  const [first] = contexts;
  if (first === undefined) return null;
  return contexts.every(({ traceId }) => traceId === first.traceId) ? first : null;
}
