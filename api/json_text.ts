// Owns parsing JSON text of strangers strictly: what JSON.parse lets pass silently is refused here.
// Refuses to own shapes and reading bytes.
// Invariant: no key that was sent is lost, and no number that was sent is changed.
import { refuseInexact, scanJson } from "./json_scan.ts";
import { inspectData, type InspectOptions, invalidRequest } from "./plain_data.ts";
import { utf8Text } from "./utf8_text.ts";

/**
 * The data of JSON `bytes` (UTF-8). Throws INVALID_REQUEST for invalid UTF-8, malformed JSON, duplicate keys, integers that
 * a double cannot carry exactly, and all that `inspectData` refuses.
 */
export function parseJson(bytes: Uint8Array, options: InspectOptions): unknown {
  return parseJsonText(decodeText(bytes), options);
}

/** The same of text that has been decoded. */
export function parseJsonText(text: string, options: InspectOptions): unknown {
  const { keyCount, inexactAt } = scanJson(text, options);
  const data = parseText(text);
  if (inspectData(data, options).keyCount !== keyCount) {
    throw invalidRequest([{ path: "", message: "the JSON body has a duplicate key in an object" }]);
  }
  refuseInexact(text, inexactAt);
  return data;
}

/** As `parseJson`, of text that is stored already: of a duplicate key the last counts, as everywhere where JSON is read. */
export function readJsonText(text: string, maxDepth: number): unknown {
  const data = parseText(text);
  const { unsafeIntegers } = inspectData(data, { maxDepth });
  if (unsafeIntegers > 0) refuseInexact(text, scanJson(text, { maxDepth }).inexactAt);
  return data;
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
