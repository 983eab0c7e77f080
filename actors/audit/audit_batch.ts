// Owns how audit entries lie in a record batch: one record each, its value the entry's canonical JSON.
// Refuses to own the log that batches lie in, and which entry follows which (chain.ts).
// Invariant: the entries of a batch decide every byte of it, so that no byte can be changed unnoticed.
import { decodeBatch } from "../../storage/format/decode.ts";
import { encodeBatch } from "../../storage/format/encode.ts";
import {
  baseOffsetAt,
  lastOffsetDeltaAt,
  setBaseOffset,
  setLeaderEpoch,
  sizeBytesAt,
} from "../../storage/format/record_batch.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { Crc32c } from "../../storage/ports.ts";
import { canonicalJson } from "./chain.ts";
import type { AuditEntry } from "./types.ts";

const MAX_DECOMPRESSED_BYTES = 64 * 1_048_576;
const OUTCOMES: ReadonlySet<unknown> = new Set(["intended", "success", "failure", "unknown"]);
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A batch of `entries`, at least one, whose offset and epoch are not assigned yet. */
export function auditBatch(entries: readonly AuditEntry[], crc32c: Crc32c): Uint8Array {
  return batchOf(entries.map((entry) => [entry, canonicalJson(entry)]), crc32c);
}

/** Of entries, each with its canonical JSON. */
function batchOf(
  entries: readonly (readonly [AuditEntry, string | Uint8Array])[],
  crc32c: Crc32c,
): Uint8Array {
  const records = entries.map(([{ at }, value]) => ({
    key: null,
    value,
    headers: [],
    timestamp: at,
  }));
  return encodeBatch(records, { crc32c });
}

/** What was found in a batch: its entries up to the first that is none. */
export interface FoundBatch {
  readonly baseOffset: number;
  readonly nextOffset: number;
  readonly sizeBytes: number;
  readonly entries: readonly AuditEntry[];
  /** What of it is not as this log writes it; null when all is. */
  readonly fault: BatchFault | null;
}

export interface BatchFault {
  readonly reason: string;
  /** Entries of the batch that come before it. */
  readonly after: number;
}

/** Reads the batch at `at`, whatever is in it. */
export function readAuditBatch(bytes: Uint8Array, at: number, crc32c: Crc32c): FoundBatch {
  const [baseOffset, sizeBytes] = [baseOffsetAt(bytes, at), sizeBytesAt(bytes, at)];
  const nextOffset = baseOffset + lastOffsetDeltaAt(bytes, at) + 1;
  const entries: AuditEntry[] = [];
  const values: Uint8Array[] = [];
  const place = { baseOffset, nextOffset, sizeBytes };
  const found = (reason: string | null, after = entries.length): FoundBatch => {
    return { ...place, entries, fault: reason === null ? null : { reason, after } };
  };
  try {
    const limits = { maxDecompressedBytes: MAX_DECOMPRESSED_BYTES };
    for (const { value } of decodeBatch(bytes, at, limits)) {
      const entry = value === null ? null : parsedEntry(value);
      if (entry === null) return found("what stands there is no audit entry");
      entries.push(entry);
      values.push(value!);
    }
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error;
    return found(error.message);
  }
  const leaderEpoch = entries[0]?.leaderEpoch;
  if (leaderEpoch === undefined) return found("there is a batch without entries");
  // A value is the canonical JSON of its entry, else it would not be one.
  const written = batchOf(entries.map((entry, index) => [entry, values[index]!]), crc32c);
  setBaseOffset(written, 0, baseOffset);
  setLeaderEpoch(written, 0, leaderEpoch);
  const stored = bytes.subarray(at, at + sizeBytes);
  return found(isSame(written, stored) ? null : "it is stored in other bytes than were written", 0);
}

/** The entry, if it is in canonical form; null when it is not. */
function parsedEntry(value: Uint8Array): AuditEntry | null {
  try {
    const text = decoder.decode(value);
    const entry: unknown = JSON.parse(text);
    return isEntry(entry) && canonicalJson(entry) === text ? entry : null;
  } catch {
    return null;
  }
}

function isEntry(value: unknown): value is AuditEntry {
  if (typeof value !== "object" || value === null) return false;
  const { version, sequence, at, intent, leaderEpoch, outcome, previousHash, hash, actor, action } =
    value as Record<string, unknown>;
  const numbers = [sequence, at, leaderEpoch, intent ?? 0];
  const texts = [previousHash, hash, actor, action];
  return version === 1 && numbers.every((number) => Number.isSafeInteger(number)) &&
    texts.every((text) => typeof text === "string") && OUTCOMES.has(outcome);
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false;
  return true;
}
