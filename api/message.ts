// Owns what a stored record looks like to those who read messages, as data and as ready JSON text.
// Refuses to own the way in (routes/publish.ts) and transport framing.
// Invariant: a value comes back as JSON only if it could have been published as that JSON; nothing is lost in doubt.
import { z } from "zod";
import type { TopicPartition } from "../actors/broker.ts";
import type { DecodedRecord } from "../storage/format/decode.ts";
import { offset, partition, topicName } from "./fields.ts";
import { readJsonText } from "./json_text.ts";
import { utf8Text } from "./utf8_text.ts";

/** Header that says what a value is; JSON values are stored with it. */
export const CONTENT_TYPE_HEADER = "content-type";
export const JSON_CONTENT_TYPE = "application/json";
/** JSON nested deeper than any that can be published comes back as text. */
const MAX_VALUE_DEPTH = 64;

export const messageSchema = z.strictObject({
  topic: topicName,
  partition,
  offset,
  timestamp: z.int().min(-1).meta({ description: "ms since the epoch; -1 when it has none." }),
  key: z.string().nullable(),
  keyBase64: z.string().optional().meta({
    description: "A key that is not UTF-8 (`key` is then null).",
  }),
  value: z.unknown().optional().meta({
    description: "JSON for JSON values, text for UTF-8, null for a tombstone.",
  }),
  valueBase64: z.string().optional().meta({
    description: "Instead of `value`: a value that is neither JSON nor UTF-8.",
  }),
  headers: z.record(z.string(), z.string()),
  headersBase64: z.record(z.string(), z.string()).optional().meta({
    description: "Headers whose values are not UTF-8.",
  }),
  attempt: z.int().min(1).optional().meta({ description: "Above 1: a redelivery." }),
}).meta({
  id: "Message",
  description: "A message as readers get it.",
  examples: [{
    topic: "orders",
    partition: 0,
    offset: 42,
    timestamp: 1_767_225_600_000,
    key: "customer-7",
    value: { total: 12.5 },
    headers: { "content-type": "application/json" },
  }],
});

/** A message as readers get it. Timestamps in ms since the epoch. */
export interface Message {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly timestamp: number;
  readonly key: string | null;
  readonly keyBase64?: string;
  readonly value?: unknown;
  readonly valueBase64?: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly headersBase64?: Readonly<Record<string, string>>;
  readonly attempt?: number;
}

/** Where a record was read, and which delivery of it this is. */
export interface MessagePlace extends TopicPartition {
  readonly attempt?: number;
}

/** The message that `record` holds. */
export function messageFromRecord(record: DecodedRecord, place: MessagePlace): Message {
  const { topic, partition, attempt } = place;
  const { offset, timestamp } = record;
  // Headers come last, in the order in which a message is told.
  const message = { topic, partition, offset, timestamp, key: null } as Building;
  if (record.key !== null) putKey(message, record.key);
  putValue(message, record);
  if (record.headers.length === 0) message.headers = {};
  else Object.assign(message, headersOf(record.headers));
  if (attempt !== undefined) message.attempt = attempt;
  return message;
}

type Building = { -readonly [Key in keyof Message]: Message[Key] };

function putKey(message: Building, bytes: Uint8Array): void {
  message.key = utf8Text(bytes);
  if (message.key === null) message.keyBase64 = bytes.toBase64();
}

function putValue(message: Building, record: DecodedRecord): void {
  const text = record.value === null ? null : utf8Text(record.value);
  if (record.value === null) message.value = null;
  else if (text === null) message.valueBase64 = record.value.toBase64();
  else {
    const json = isJson(record.headers) ? jsonOf(text) : null;
    message.value = json === null ? text : json.value;
  }
}

/** `JSON.stringify(messageFromRecord(…))` in one line, but JSON values as they were written, digit for digit. */
export function messageJson(record: DecodedRecord, place: MessagePlace): string {
  const { headers } = record;
  const rest = headers.length === 0 ? ',"headers":{}' : fieldsJson(headersOf(headers));
  const attempt = place.attempt === undefined ? "" : `,"attempt":${place.attempt}`;
  return `{"topic":"${place.topic}","partition":${place.partition},"offset":${record.offset}` +
    `,"timestamp":${record.timestamp}${keyJson(record.key)}${valueJson(record)}${rest}${attempt}}`;
}

function keyJson(bytes: Uint8Array | null): string {
  if (bytes === null) return ',"key":null';
  const key = utf8Text(bytes);
  if (key !== null) return `,"key":${JSON.stringify(key)}`;
  return `,"key":null,"keyBase64":"${bytes.toBase64()}"`;
}

function valueJson(record: DecodedRecord): string {
  if (record.value === null) return ',"value":null';
  const text = utf8Text(record.value);
  if (text === null) return `,"valueBase64":"${record.value.toBase64()}"`;
  if (!isJson(record.headers) || jsonOf(text) === null) return `,"value":${JSON.stringify(text)}`;
  // Line breaks can only stand between tokens: inside of JSON strings they are escaped.
  return `,"value":${LINE_BREAK.test(text) ? text.replaceAll(/[\r\n]+/g, " ") : text}`;
}

const LINE_BREAK = /[\r\n]/;

/** The fields of an object, each behind a comma. */
function fieldsJson(fields: object): string {
  return `,${JSON.stringify(fields).slice(1, -1)}`;
}

/** JSON as it could have been published; null for any other text. */
function jsonOf(text: string): { value: unknown } | null {
  try {
    return { value: readJsonText(text, MAX_VALUE_DEPTH) };
  } catch {
    return null;
  }
}

function isJson(headers: DecodedRecord["headers"]): boolean {
  for (const [name, value] of headers) {
    if (value !== null && name.toLowerCase() === CONTENT_TYPE_HEADER) {
      return utf8Text(value)?.split(";", 1)[0]?.trim().toLowerCase() === JSON_CONTENT_TYPE;
    }
  }
  return false;
}

function headersOf(
  headers: DecodedRecord["headers"],
): Pick<Message, "headers" | "headersBase64"> {
  const texts: Record<string, string> = {};
  let binary: Record<string, string> | undefined;
  for (const [name, value] of headers) {
    const text = value === null ? "" : utf8Text(value);
    if (text !== null) put(texts, name, text);
    else put(binary ??= {}, name, value!.toBase64());
  }
  return binary === undefined ? { headers: texts } : { headers: texts, headersBase64: binary };
}

/** A header may be named `__proto__` by those who write batches: it must not become a prototype. */
function put(into: Record<string, string>, name: string, value: string): void {
  if (name === "__proto__") {
    Object.defineProperty(into, name, {
      value,
      enumerable: true,
      configurable: true,
      writable: true,
    });
  } else into[name] = value;
}
