// Owns the hash by which message keys are told apart: 128 bits of the UTF-8 bytes of a key.
// Refuses to own what is kept under it. It is no cryptographic hash: who writes to a topic can only fool himself.
// Invariant: the same bytes, the same hash, in every run and release: snapshots hold hashes.

/** Four unsigned 32-bit lanes. */
export type KeyHash = Uint32Array;

/** Seed, odd multiplier and rotation of each lane: where they differ, lanes collide independently of each other. */
const LANES = [
  [0x8f1bbcdc, 0x9e3779b1, 15],
  [0x5a827999, 0x85ebca77, 13],
  [0x6ed9eba1, 0xc2b2ae3d, 17],
  [0xca62c1d6, 0x27d4eb2f, 11],
] as const;

const encoder = new TextEncoder();
/** Keys up to this many UTF-16 units are written here instead of into a buffer of their own. */
const SHORT_KEY_UNITS = 256;
const scratch = new Uint8Array(SHORT_KEY_UNITS * 3);

/** The hash of `key` as UTF-8. */
export function hashKey(key: string): KeyHash {
  if (key.length > SHORT_KEY_UNITS) return hashKeyBytes(encoder.encode(key));
  const { written } = encoder.encodeInto(key, scratch);
  return hashKeyBytes(scratch.subarray(0, written));
}

/** The hash of a key that is UTF-8 bytes. */
export function hashKeyBytes(bytes: Uint8Array): KeyHash {
  const hash = new Uint32Array(4);
  for (let lane = 0; lane < 4; lane++) {
    const [seed, multiplier, rotation] = LANES[lane]!;
    let state = seed ^ bytes.length;
    for (let at = 0; at < bytes.length; at++) {
      state = Math.imul(state ^ bytes[at]!, multiplier);
      state = (state << rotation) | (state >>> (32 - rotation));
    }
    hash[lane] = avalanche(state);
  }
  return hash;
}

/** Every bit of the result depends on every bit of `state`. */
function avalanche(state: number): number {
  let mixed = Math.imul(state ^ (state >>> 16), 0x7feb352d);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x846ca68b);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
