// Owns the bytes of a key ring's file. Refuses to own what the keys are for (key_ring.ts).
// Invariant: what is decoded is what was encoded, whole, or nothing.
import type { Crc32c } from "../ports.ts";
import type { WrappedKey } from "./master_keys.ts";

/** One data key. */
export interface RingEntry {
  /** Counted from 1 in each log; 32 bits. */
  readonly keyId: number;
  /** It has sealed nothing of the log before this offset, nor from `endOffset` on; null: it is the one of the log's end. */
  readonly baseOffset: number;
  readonly endOffset: number | null;
  readonly wrapped: WrappedKey;
}

interface Kept {
  readonly version: number;
  readonly keys: readonly RingEntry[];
}

const VERSION = 1;

export function encodeRing(entries: readonly RingEntry[], crc32c: Crc32c): Uint8Array {
  const utf8 = new TextEncoder();
  const body = utf8.encode(JSON.stringify({ version: VERSION, keys: entries }));
  return utf8.encode(`${crc32c(body)}\n${new TextDecoder().decode(body)}`);
}

/** Null for what is no ring, or damaged. */
export function decodeRing(bytes: Uint8Array, crc32c: Crc32c): readonly RingEntry[] | null {
  const end = bytes.indexOf(0x0a);
  if (end < 0) return null;
  const text = new TextDecoder();
  const body = bytes.subarray(end + 1);
  if (text.decode(bytes.subarray(0, end)) !== String(crc32c(body))) return null;
  try {
    const { version, keys } = JSON.parse(text.decode(body)) as Kept;
    return version === VERSION && Array.isArray(keys) ? keys : null;
  } catch {
    return null;
  }
}
