// Owns the two copies an LZ decoder is made of, fast for the short ones that are nearly all.
// Refuses to check bounds: decoders do, before they call.
// Invariant: a repeat may overlap what it makes, and then repeats it.

/** Above this a call into the engine beats a loop. */
const LONG_BYTES = 32;

/** Copies `count` bytes of `from` at `fromAt` to `to` at `toAt`. */
export function copyLiterals(
  from: Uint8Array,
  to: Uint8Array,
  where: { fromAt: number; toAt: number; count: number },
): void {
  const { fromAt, toAt, count } = where;
  if (count > LONG_BYTES) to.set(from.subarray(fromAt, fromAt + count), toAt);
  else for (let index = 0; index < count; index++) to[toAt + index] = from[fromAt + index]!;
}

/** Writes `length` bytes at `at` that repeat those `distance` before. */
export function copyRepeat(
  bytes: Uint8Array,
  at: number,
  repeat: { distance: number; length: number },
): void {
  const { distance, length } = repeat;
  const from = at - distance;
  if (length > LONG_BYTES && distance >= length) bytes.copyWithin(at, from, from + length);
  else if (length > LONG_BYTES && distance === 1) bytes.fill(bytes[from]!, at, at + length);
  else for (let index = 0; index < length; index++) bytes[at + index] = bytes[from + index]!;
}
