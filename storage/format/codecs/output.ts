// Owns a buffer with a position, and the two copies LZ formats are made of, fast for the short ones that nearly all are.
// Refuses to check bounds or to grow: codecs do, before they write.
// Invariant: `at` is where the next byte goes.

/** Above this a call into the engine beats a loop. */
const LONG_BYTES = 64;

export class Output {
  constructor(readonly bytes: Uint8Array, public at: number) {}

  byte(value: number): void {
    this.bytes[this.at++] = value;
  }

  /** Little-endian. */
  uint16(value: number): void {
    this.bytes[this.at++] = value;
    this.bytes[this.at++] = value >> 8;
  }

  /** Copies `source` from `from` to `end`. */
  copy(source: Uint8Array, from: number, end: number): void {
    const { bytes } = this;
    let at = this.at;
    if (end - from > LONG_BYTES) {
      bytes.set(source.subarray(from, end), at);
      at += end - from;
    } else {
      while (from < end) bytes[at++] = source[from++]!;
    }
    this.at = at;
  }

  /** Writes `length` bytes that repeat those `distance` before, themselves included where they overlap. */
  repeat(distance: number, length: number): void {
    const { bytes } = this;
    let at = this.at;
    const end = at + length;
    if (length > LONG_BYTES && distance >= length) {
      bytes.copyWithin(at, at - distance, end - distance);
    } else if (length > LONG_BYTES && distance === 1) {
      bytes.fill(bytes[at - 1]!, at, end);
    } else {
      for (; at < end; at++) bytes[at] = bytes[at - distance]!;
    }
    this.at = end;
  }
}
