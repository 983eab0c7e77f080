// Owns checking that bytes are UTF-8, without making a string of them.
// Refuses to own conversion: TextEncoder and TextDecoder do that.
// Invariant: says yes exactly where a fatal TextDecoder would not throw (Unicode 15, table 3-7).

/** Whether `bytes` from `at` to `end` are well-formed UTF-8. */
export function isUtf8(bytes: Uint8Array, at: number, end: number): boolean {
  while (at < end) {
    const lead = bytes[at++]!;
    if (lead < 0x80) continue;
    const following = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    if (lead < 0xc2 || lead > 0xf4 || at + following > end) return false;
    const second = bytes[at]!;
    // Overlong forms, surrogates and what is beyond U+10FFFF all show in the second byte.
    if (second < (lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80)) return false;
    if (second > (lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf)) return false;
    for (let index = 1; index < following; index++) {
      if ((bytes[at + index]! & 0xc0) !== 0x80) return false;
    }
    at += following;
  }
  return true;
}
