// Owns how record batches lie in Deno KV: pieces of a batch under its base offset, grouped into atomics.
// Refuses to own a log's state (kv_log.ts); what is not below its head's end does not count.
// Invariant: every atomic is below Deno KV's limits (64 KiB a value, 1,000 mutations, 80 KiB of keys, 800 KiB in all).
import { HEADER_BYTES, sizeBytesAt } from "../format/record_batch.ts";
import type { BatchPlace } from "../memory/batch_list.ts";
import { concatenate } from "../memory/batch_list.ts";
import { asStorage, commitAtomic } from "./kv_database.ts";

/** Bytes of a batch in one value: below 64 KiB with what serialization adds. */
export const PIECE_BYTES = 60_000;
/** Bytes of pieces in one atomic; the keys and the head come on top. */
const ATOMIC_BYTES = 700_000;
/** Keys of the longest log name are 560 bytes. */
const ATOMIC_PIECES = 100;
/** Entries that are read at once. */
const READ_BATCH = 100;

/** Bytes to store under a key. */
export interface Piece {
  readonly key: Deno.KvKey;
  readonly bytes: Uint8Array;
}

/** Key of a piece; numbers keep their order as key parts. */
export function pieceKey(name: string, baseOffset: number, index: number): Deno.KvKey {
  return ["batches", name, baseOffset, index];
}

/** The pieces of one batch. */
export function piecesOf(name: string, baseOffset: number, bytes: Uint8Array): Piece[] {
  const pieces: Piece[] = [];
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    const key = pieceKey(name, baseOffset, pieces.length);
    pieces.push({ key, bytes: bytes.subarray(at, at + PIECE_BYTES) });
  }
  return pieces;
}

/** `pieces` in groups, each of which fits one atomic together with a head. */
export function groupPieces(pieces: readonly Piece[]): Piece[][] {
  const groups: Piece[][] = [];
  let sizeBytes = Infinity;
  for (const piece of pieces) {
    const full = sizeBytes + piece.bytes.length > ATOMIC_BYTES;
    if (full || groups.at(-1)!.length === ATOMIC_PIECES) {
      groups.push([]);
      sizeBytes = 0;
    }
    groups.at(-1)!.push(piece);
    sizeBytes += piece.bytes.length;
  }
  return groups;
}

/**
 * The batches with base offsets in [`from`, `to`), each put together from its pieces, as far as they are there. A batch
 * whose pieces do not add up to its own length is given as it is: whoever asks must check.
 */
export async function* readBatches(
  kv: Deno.Kv,
  name: string,
  range: { from: number; to: number },
): AsyncGenerator<{ baseOffset: number; bytes: Uint8Array }> {
  const selector = { start: pieceKey(name, range.from, 0), end: pieceKey(name, range.to, 0) };
  const listed = kv.list<Uint8Array>(selector, { batchSize: READ_BATCH })[Symbol.asyncIterator]();
  let baseOffset = -1;
  let parts: Uint8Array[] = [];
  for (;;) {
    const next = await asStorage(`read log ${name}`, () => listed.next());
    if (!next.done && next.value.key[2] === baseOffset) {
      parts.push(next.value.value);
      continue;
    }
    if (parts.length > 0) yield { baseOffset, bytes: concatenate(parts) };
    if (next.done) return;
    baseOffset = Number(next.value.key[2]);
    parts = [next.value.value];
  }
}

/** Whether `bytes` are the batch at `place`, by its length; the CRC is for the caller to check. */
export function fills(place: BatchPlace, bytes: Uint8Array): boolean {
  return bytes.length === place.sizeBytes && bytes.length >= HEADER_BYTES &&
    sizeBytesAt(bytes, 0) === bytes.length;
}

/**
 * Deletes every piece with a base offset in [`from`, `to`), each atomic of which happens only while `check` holds.
 * False when it no longer does.
 */
export async function deletePieces(
  kv: Deno.Kv,
  name: string,
  options: { from: number; to: number; check: Deno.AtomicCheck },
): Promise<boolean> {
  const selector = { start: pieceKey(name, options.from, 0), end: pieceKey(name, options.to, 0) };
  for (;;) {
    const keys: Deno.KvKey[] = [];
    await asStorage(`look for pieces of log ${name}`, async () => {
      for await (const { key } of kv.list(selector, { limit: ATOMIC_PIECES })) keys.push(key);
    });
    if (keys.length === 0) return true;
    const operation = kv.atomic().check(options.check);
    for (const key of keys) operation.delete(key);
    if (!(await commitAtomic(`delete pieces of log ${name}`, operation)).ok) return false;
  }
}
