// Owns reading the trace id out of a message's headers (W3C Trace Context, `traceparent`).
// Refuses to own where messages are. Invariant: what is not wholly right is none; the first such header counts.
import type { DecodedRecord } from "../../storage/format/decode.ts";

const HEADER = "traceparent";
/** `00-<32 hex>-<16 hex>-<2 hex>`; a later version may go on after that. */
const PREFIX_CHARS = 55;
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;
const NO_TRACE = "0".repeat(32);
const NO_SPAN = "0".repeat(16);
const decoder = new TextDecoder("latin1");

/** What a traceparent says. */
export interface TraceParent {
  readonly traceId: string;
  readonly spanId: string;
  readonly flags: number;
}

/** What `text` says; null when it is no traceparent. */
export function traceParentOf(text: string): TraceParent | null {
  const [, version, traceId, spanId, flags] = TRACEPARENT.exec(text.slice(0, PREFIX_CHARS)) ?? [];
  if (traceId === undefined || version === "ff") return null;
  if (traceId === NO_TRACE || spanId === NO_SPAN) return null;
  const isWhole = text.length === PREFIX_CHARS ||
    (version !== "00" && text.charAt(PREFIX_CHARS) === "-");
  return isWhole ? { traceId, spanId: spanId!, flags: parseInt(flags!, 16) } : null;
}

/** The same of a record's headers. */
export function traceParentIn({ headers }: Pick<DecodedRecord, "headers">): TraceParent | null {
  for (const [name, value] of headers) {
    if (name.length !== HEADER.length || name.toLowerCase() !== HEADER) continue;
    return value === null ? null : traceParentOf(decoder.decode(value));
  }
  return null;
}
