// Owns how the retries of a group lie in a snapshot: the rows as columns of varints, so that 100,000 are about a megabyte.
// Refuses to own the rest of the group's state (../state.ts), and the queue, which is made anew.
// Invariant: what is read is what was written; the same retries are written alike however their rows lie in memory.
import { Cursor, writeVarlong } from "../../../storage/format/varint.ts";
import { NO_ROWS, type Rows, RowSet } from "./rows.ts";
import { DEAD, ENTRIES, NO_RETRIES, PLACES, type RetryState } from "./state.ts";

type Stored = Omit<RetryState, "entries" | "done" | "dead"> & {
  readonly entries: string;
  readonly done: string;
  /** Missing when it was written before these were remembered. */
  readonly dead?: string;
};

const MAX_VARLONG_BYTES = 10;

export function encodeRetries(retry: RetryState): Stored {
  return {
    ...retry,
    entries: encodeRows(ENTRIES, retry.entries),
    done: encodeRows(PLACES, retry.done),
    dead: encodeRows(DEAD, retry.dead),
  };
}

/** Throws a plain Error for what `encodeRetries` did not make. A group written before there were retries has none. */
export function decodeRetries(stored: unknown): RetryState {
  if (stored === undefined) return NO_RETRIES;
  const { entries, done, dead, ...rest } = stored as Stored;
  return {
    ...rest,
    entries: decodeRows(ENTRIES, entries),
    done: decodeRows(PLACES, done),
    dead: dead === undefined ? NO_ROWS : decodeRows(DEAD, dead),
  };
}

/** Each number as the difference to the one above it. */
function encodeRows(set: RowSet, rows: Rows): string {
  const bytes = new Uint8Array(MAX_VARLONG_BYTES * (1 + rows.size * set.width));
  const above: number[] = new Array(set.width).fill(0);
  let end = writeVarlong(bytes, 0, rows.size);
  for (const chunk of rows.chunks) {
    for (let at = 0; at < chunk.length; at++) {
      const column = at % set.width;
      end = writeVarlong(bytes, end, chunk[at]! - above[column]!);
      above[column] = chunk[at]!;
    }
  }
  return bytes.subarray(0, end).toBase64();
}

function decodeRows(set: RowSet, text: string): Rows {
  const bytes = Uint8Array.fromBase64(text);
  const cursor = new Cursor(bytes, 0, bytes.length);
  const count = cursor.varlong();
  const above: number[] = new Array(set.width).fill(0);
  const flat: number[] = [];
  for (let at = 0; at < count * set.width; at++) {
    const column = at % set.width;
    above[column]! += cursor.varlong();
    flat.push(above[column]!);
  }
  if (cursor.at !== bytes.length) throw new Error("stored retries go on after their end");
  return set.put({ size: 0, chunks: [] }, flat);
}
