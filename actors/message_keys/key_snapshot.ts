// Owns the bytes of a snapshot of one topic's keys.
// Refuses to own when it is written (message_keys.ts) and its checksum (the snapshot store).
// Invariant: bytes that are not wholly understood give nothing at all; the log is read instead.
import type { OwnedColumns } from "./shared_key_table.ts";

export const KEY_SNAPSHOT_VERSION = 1;

/** Keys found below these offsets, by partition. A partition that is not there was not looked at. */
export interface KeySnapshot {
  readonly nextOffsets: readonly number[];
  readonly keys: OwnedColumns;
}

const HEAD_BYTES = 16;
const BYTES_PER_KEY = 4 * 4 + 4 + 8 + 8;
const BYTES_PER_OWNER = 4;
/** In the head, of a snapshot that has a column of owners; older ones have 0 there. */
const HAS_OWNERS = 1;

/** `snapshot` in the byte order of every machine that Deno runs on (little-endian). */
export function encodeKeySnapshot({ nextOffsets, keys }: KeySnapshot): Uint8Array {
  const count = keys.partitions.length;
  const owners = keys.owners ?? new Uint32Array(0);
  const size = HEAD_BYTES + nextOffsets.length * 8 + count * BYTES_PER_KEY;
  const bytes = new Uint8Array(size + owners.byteLength);
  const flags = keys.owners === undefined ? 0 : HAS_OWNERS;
  new Uint32Array(bytes.buffer, 0, 3).set([nextOffsets.length, count, flags]);
  // Columns of 8 bytes come first, so that each lies where its type must.
  let at = HEAD_BYTES;
  for (
    const column of [
      Float64Array.from(nextOffsets),
      keys.offsets,
      keys.timesMs,
      keys.hashes,
      keys.partitions,
      owners,
    ]
  ) {
    bytes.set(new Uint8Array(column.buffer, column.byteOffset, column.byteLength), at);
    at += column.byteLength;
  }
  return bytes;
}

/** What `encodeKeySnapshot` wrote, null for anything else. */
export function decodeKeySnapshot(stored: Uint8Array): KeySnapshot | null {
  if (stored.length < HEAD_BYTES) return null;
  const bytes = stored.slice();
  const head = new Uint32Array(bytes.buffer, 0, 3);
  const [partitions, count, flags] = head as unknown as [number, number, number];
  if (flags > HAS_OWNERS) return null;
  const bytesPerKey = BYTES_PER_KEY + (flags === HAS_OWNERS ? BYTES_PER_OWNER : 0);
  if (bytes.length !== HEAD_BYTES + partitions * 8 + count * bytesPerKey) return null;
  let at = HEAD_BYTES;
  const doubles = (length: number) => {
    const column = new Float64Array(bytes.buffer, at, length);
    at += length * 8;
    return column;
  };
  const integers = (length: number) => {
    const column = new Uint32Array(bytes.buffer, at, length);
    at += length * 4;
    return column;
  };
  const nextOffsets = [...doubles(partitions)];
  const offsets = doubles(count);
  const timesMs = doubles(count);
  return {
    nextOffsets,
    keys: {
      offsets,
      timesMs,
      hashes: integers(count * 4),
      partitions: integers(count),
      ...(flags === HAS_OWNERS ? { owners: integers(count) } : {}),
    },
  };
}
