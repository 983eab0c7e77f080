// Owns CRC-32C (Castagnoli, RFC 3720 appendix B.4) in plain TypeScript, for where no native one can be loaded.
// Refuses to choose between itself and a native one: whoever composes does.
// Invariant: the result is an unsigned 32-bit integer.

const POLYNOMIAL_REVERSED = 0x82f63b78;
/** Table k holds the effect of a byte that k further bytes follow: eight bytes are folded in at once. */
const TABLES = makeTables(8);
const [T0, T1, T2, T3, T4, T5, T6, T7] = TABLES as [
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
];

/** CRC-32C of `bytes`, unsigned. */
export function crc32c(bytes: Uint8Array): number {
  const wholeEnd = bytes.length - (bytes.length % 8);
  let crc = -1;
  let at = 0;
  for (; at < wholeEnd; at += 8) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    crc = T7[crc & 255]! ^ T6[(crc >>> 8) & 255]! ^ T5[(crc >>> 16) & 255]! ^ T4[crc >>> 24]! ^
      T3[bytes[at + 4]!]! ^ T2[bytes[at + 5]!]! ^ T1[bytes[at + 6]!]! ^ T0[bytes[at + 7]!]!;
  }
  for (; at < bytes.length; at++) crc = T0[(crc ^ bytes[at]!) & 255]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

function makeTables(count: number): Int32Array[] {
  const first = new Int32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL_REVERSED : 0);
    first[byte] = crc;
  }
  const tables = [first];
  while (tables.length < count) {
    const previous = tables.at(-1)!;
    tables.push(previous.map((crc) => first[crc & 255]! ^ (crc >>> 8)));
  }
  return tables;
}
