// Owns parsing JSON text of strangers strictly: what JSON.parse lets pass silently is refused here.
// Refuses to own shapes and reading bytes.
// Invariant: no key that was sent is lost, and no number that was sent is changed.
import { inspectData, invalidRequest, writtenAs } from "./plain_data.ts";
import { utf8Text } from "./utf8_text.ts";

const QUOTE = '"';
const BACKSLASH = 0x5c;
const COLON = 0x3a;

/**
 * The data of JSON `bytes` (UTF-8). Throws INVALID_REQUEST for invalid UTF-8, malformed JSON, duplicate keys, integers that
 * a double cannot carry exactly, and all that `inspectData` refuses.
 */
export function parseJson(bytes: Uint8Array, maxDepth: number): unknown {
  return parseJsonText(decodeText(bytes), maxDepth);
}

function parseJsonText(text: string, maxDepth: number): unknown {
  const { data, keyCount } = readChecked(text, maxDepth);
  if (keyCount === countKeys(text)) return data;
  throw invalidRequest([{ path: "", message: "the JSON body has a duplicate key in an object" }]);
}

/** As `parseJson`, of text that is stored already: of a duplicate key the last counts, as everywhere where JSON is read. */
export function readJsonText(text: string, maxDepth: number): unknown {
  return readChecked(text, maxDepth).data;
}

function readChecked(text: string, maxDepth: number): { data: unknown; keyCount: number } {
  const data = parseText(text);
  const { keyCount, unsafeIntegers } = inspectData(data, { maxDepth });
  if (unsafeIntegers > 0) {
    const refuseUnsafe = firstInexactInteger(text);
    if (refuseUnsafe !== -1) inspectData(data, { maxDepth, refuseUnsafe });
  }
  return { data, keyCount };
}

function decodeText(bytes: Uint8Array): string {
  const text = utf8Text(bytes);
  if (text === null) throw invalidRequest([{ path: "", message: "the body is not valid UTF-8" }]);
  return text;
}

function parseText(text: string): unknown {
  if (text === "") throw invalidRequest([{ path: "", message: "the body is empty" }]);
  try {
    return JSON.parse(text);
  } catch (cause) {
    // The engine's message quotes the body, which may hold what nobody should log.
    throw invalidRequest([{ path: "", message: "the body is not valid JSON" }], cause);
  }
}

/**
 * Keys in valid JSON text, duplicates too: strings that a colon follows. Jumps from quote to quote with `indexOf`, since a
 * loop over every character would cost more than parsing.
 */
export function countKeys(text: string): number {
  let count = 0;
  let open = text.indexOf(QUOTE);
  while (open !== -1) {
    let close = text.indexOf(QUOTE, open + 1);
    while (text.charCodeAt(close - 1) === BACKSLASH && isEscaped(text, close)) {
      close = text.indexOf(QUOTE, close + 1);
    }
    let after = close + 1;
    let code = text.charCodeAt(after);
    while (code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09) {
      code = text.charCodeAt(++after);
    }
    if (code === COLON) count++;
    open = text.indexOf(QUOTE, after);
  }
  return count;
}

function isEscaped(text: string, at: number): boolean {
  let backslashes = 0;
  while (text.charCodeAt(at - 1 - backslashes) === BACKSLASH) backslashes++;
  return backslashes % 2 === 1;
}

/** Index among the unsafe integers, in the order of a depth-first walk, of the first that the text states otherwise; -1 if none. */
function firstInexactInteger(text: string): number {
  let index = 0;
  let found = -1;
  JSON.parse(text, (_key: string, value: unknown, context?: { source?: string }) => {
    if (typeof value !== "number" || !Number.isInteger(value) || Number.isSafeInteger(value)) {
      return value;
    }
    const source = context?.source ?? "";
    const exact = !/^-?\d+$/.test(source) || writtenAs(value, BigInt(source));
    if (!exact && found === -1) found = index;
    index++;
    return value;
  });
  return found;
}
