// Owns bytes that a peer never says, the same every time.
// Refuses to be what a protocol knows. Invariant: a short frame of random bytes each, within what a handshake may be.
import { seededRandomness } from "./seeded_randomness.ts";

export function hostileBytes(count: number): Uint8Array<ArrayBuffer>[] {
  const random = seededRandomness(6);
  return Array.from({ length: count }, () => {
    const bytes = new Uint8Array(5 + random.integer(1_000));
    for (let at = 4; at < bytes.length; at++) bytes[at] = random.integer(256);
    new DataView(bytes.buffer).setUint32(0, bytes.length - 4);
    return bytes;
  });
}
