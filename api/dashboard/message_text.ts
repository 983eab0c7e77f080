// Owns what of a message can be shown and searched as text: key, value, bytes.
// Refuses to own drawing it. Invariant: pure; what is not text is told as bytes, never guessed at.
import type { Message } from "./answers.ts";
import { jsonText } from "./exact_json.ts";
import { plural } from "./format.ts";

const BYTES_A_LINE = 16;
/** Lines of a dump. */
const MAX_LINES = 256;
const PREVIEW_CHARS = 160;

/** The key in one line; null: the message has none. */
export function keyText({ key, keyBase64 }: Message): string | null {
  return key ?? (keyBase64 === undefined ? null : `base64 ${keyBase64}`);
}

export type ValueKind = "JSON" | "text" | "binary" | "nothing";

export function valueKind({ value, valueBase64 }: Message): ValueKind {
  if (valueBase64 !== undefined) return "binary";
  if (value === null || value === undefined) return "nothing";
  return typeof value === "string" ? "text" : "JSON";
}

/** The value for a row of a table. */
export function valuePreview(message: Message): string {
  const { value, valueBase64 } = message;
  const kind = valueKind(message);
  if (kind === "nothing") return "no value";
  if (kind === "binary") return plural(Uint8Array.fromBase64(valueBase64!).length, "byte");
  const text = jsonText(value);
  return text.length > PREVIEW_CHARS ? `${text.slice(0, PREVIEW_CHARS)}…` : text;
}

/** The whole value: JSON indented, bytes as a dump. */
export function valueText(message: Message): string {
  return message.valueBase64 === undefined
    ? jsonText(message.value, { indent: 2 })
    : hexDump(Uint8Array.fromBase64(message.valueBase64));
}

/** What is copied: the value as it would be published. */
export function copyText({ value, valueBase64 }: Message): string {
  return valueBase64 ?? jsonText(value);
}

/** Offset, bytes as hex, and as text where they are printable ASCII. */
export function hexDump(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length && lines.length < MAX_LINES; at += BYTES_A_LINE) {
    const some = [...bytes.subarray(at, at + BYTES_A_LINE)];
    const hex = some.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = some.map((byte) => byte > 31 && byte < 127 ? String.fromCharCode(byte) : ".");
    const width = BYTES_A_LINE * 3 - 1;
    lines.push(`${at.toString(16).padStart(6, "0")}  ${hex.padEnd(width)}  ${text.join("")}`);
  }
  const shown = lines.length * BYTES_A_LINE;
  if (shown < bytes.length) lines.push(`… ${plural(bytes.length - shown, "more byte")}`);
  return lines.join("\n");
}

/** Whether key or value contain `part`, upper or lower case; bytes are not searched. */
export function contains(message: Message, part: string): boolean {
  const wanted = part.toLowerCase();
  return (message.key ?? "").toLowerCase().includes(wanted) ||
    (message.valueBase64 === undefined && jsonText(message.value).toLowerCase().includes(wanted));
}

/** Of the header `traceparent`; null where there is none. */
export function traceIdOf({ headers }: Pick<Message, "headers">): string | null {
  return /^[0-9a-f]{2}-([0-9a-f]{32})-/.exec(headers.traceparent ?? "")?.[1] ?? null;
}
