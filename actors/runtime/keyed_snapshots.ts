// Owns how the states of a shard are written as a snapshot and read back.
// Refuses to own when that happens (keyed_actor.ts) and what a state is (the decider).
// Invariant: other actors run between slices of `SLICE_CHARS`; bytes that are not wholly understood give no state at all.
import type { KeyedDecider } from "./keyed_decider.ts";

/** Characters of JSON written or read without letting others run: about a millisecond. */
export const SLICE_CHARS = 256 * 1_024;
const FORMAT = 1;
const NEWLINE = 10;

type Encoding<State> = Pick<
  KeyedDecider<State, { type: string }, unknown, unknown, unknown>,
  "encodeState" | "decodeState" | "isGone"
>;

export interface SnapshotCodecOptions<State> {
  readonly decider: Encoding<State>;
  /** Resolves when others have had their turn. */
  readonly yieldTurn: () => Promise<void>;
}

/**
 * `states` as bytes: one line of JSON a key after a header line. Null when they are longer than `maxBytes`.
 * The states are values, so the shard may go on meanwhile.
 */
export async function encodeStates<State>(
  states: readonly (readonly [string, State])[],
  options: SnapshotCodecOptions<State> & { readonly maxBytes: number },
): Promise<Uint8Array | null> {
  const encoder = new TextEncoder();
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  let slice = JSON.stringify({ format: FORMAT, keys: states.length }) + "\n";
  const flush = () => {
    const chunk = encoder.encode(slice);
    chunks.push(chunk);
    sizeBytes += chunk.length;
    slice = "";
  };
  for (const [key, state] of states) {
    slice += JSON.stringify([key, options.decider.encodeState(state)]) + "\n";
    if (slice.length < SLICE_CHARS) continue;
    flush();
    if (sizeBytes > options.maxBytes) return null;
    await options.yieldTurn();
  }
  flush();
  return sizeBytes > options.maxBytes ? null : concatenated(chunks, sizeBytes);
}

/** The states in `bytes`. Throws whatever is wrong with them. */
export async function decodeStates<State>(
  bytes: Uint8Array,
  options: SnapshotCodecOptions<State>,
): Promise<Map<string, State>> {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const states = new Map<string, State>();
  let expected = -1;
  let sinceYield = 0;
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf(NEWLINE, at);
    if (end === -1) throw new Error("the last line is cut off");
    const line: unknown = JSON.parse(decoder.decode(bytes.subarray(at, end)));
    if (expected === -1) {
      expected = keysOf(line);
    } else {
      const [key, stored] = keyedState(line);
      const state = options.decider.decodeState(stored);
      if (!options.decider.isGone(state)) states.set(key, state);
      expected -= 1;
    }
    sinceYield += end + 1 - at;
    at = end + 1;
    if (sinceYield < SLICE_CHARS) continue;
    sinceYield = 0;
    await options.yieldTurn();
  }
  if (expected !== 0) throw new Error(`${expected} states are missing`);
  return states;
}

function keysOf(header: unknown): number {
  const { format, keys } = header as { format?: unknown; keys?: unknown };
  if (format !== FORMAT || typeof keys !== "number") throw new Error("unknown format");
  return keys;
}

function keyedState(line: unknown): [string, unknown] {
  if (!Array.isArray(line) || line.length !== 2 || typeof line[0] !== "string") {
    throw new Error("a line is no pair of key and state");
  }
  return [line[0], line[1]];
}

function concatenated(chunks: readonly Uint8Array[], sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
