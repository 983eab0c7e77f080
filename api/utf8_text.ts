// Owns telling UTF-8 from other bytes, and turning it into text, as fast as the engine can.
// Refuses to own what is done with bytes that are none.
// Invariant: text comes from valid UTF-8 only; nothing is ever replaced, a byte order mark is kept.
import { isUtf8 } from "node:buffer";

/** What a lenient decoder puts in place of what is not UTF-8. */
const REPLACEMENT = "\uFFFD";
/** A strict one takes seven times as long. */
const lenient = new TextDecoder("utf-8", { ignoreBOM: true });

/** The text that `bytes` are; null when they are not valid UTF-8. */
export function utf8Text(bytes: Uint8Array): string | null {
  const text = lenient.decode(bytes);
  // The character itself may have been sent: only then are the bytes looked at.
  return text.includes(REPLACEMENT) && !isUtf8(bytes) ? null : text;
}
