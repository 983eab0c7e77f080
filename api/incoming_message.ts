// Owns the way from a published message to a record: its schema, its bounds, what its value is stored as.
// Refuses to own partitions, batches and answers (routes/publish.ts).
// Invariant: a message is refused here or can be stored as it is; nothing is dropped or replaced in silence.
import { Buffer } from "node:buffer";
import { z } from "zod";
import { IDEMPOTENCY_KEY_HEADER } from "../actors/message_keys/types.ts";
import { BrokerError } from "../storage/broker_error.ts";
import type { RecordInput } from "../storage/format/encode.ts";
import { partition, timestampMs } from "./fields.ts";
import type { ApiLimits } from "./limits.ts";
import { CONTENT_TYPE_HEADER, JSON_CONTENT_TYPE } from "./message.ts";
import { invalidRequest } from "./plain_data.ts";

const MAX_IDEMPOTENCY_KEY_CHARS = 1_024;

export const incomingMessageSchema = z.strictObject({
  key: z.string().nullish().meta({ description: "Messages of one key go to one partition." }),
  value: z.unknown().optional().meta({
    description: "Text is stored as UTF-8, other JSON as JSON text, null or none as a tombstone. " +
      "In MessagePack it may be bytes.",
  }),
  valueBase64: z.string().optional().meta({ description: "Instead of `value`: bytes." }),
  headers: z.record(z.string().min(1), z.string()).optional(),
  timestamp: timestampMs.optional(),
  partition: partition.optional(),
  idempotencyKey: z.string().min(1).max(MAX_IDEMPOTENCY_KEY_CHARS)
    .refine((key) => key.isWellFormed(), "must be text, without lone surrogates").optional().meta({
      description:
        "Unique in the topic for a day, if not configured otherwise: a repeat is answered " +
        "with the first offset. It is stored as header `idempotency-key`, and that header counts as it. Neither goes " +
        "with `sequence` or `transactionId`.",
    }),
}).meta({ id: "NewMessage" });

export type IncomingMessage = z.output<typeof incomingMessageSchema>;

/** What all messages of a request share. */
export interface IncomingContext {
  readonly limits: ApiLimits;
  readonly maxMessageBytes: number;
  /** For messages that have none; ms. */
  readonly timestamp: number;
  /** A valid W3C traceparent of the request, stored with every message that has none. */
  readonly traceparent: string | null;
}

/** The key under which a message is stored once in its topic: its own word or its header; null when it has none. */
export function idempotencyKeyOf(
  message: Pick<IncomingMessage, "idempotencyKey" | "headers">,
): string | null {
  const { idempotencyKey, headers } = message;
  if (idempotencyKey !== undefined) return idempotencyKey;
  return headers?.[IDEMPOTENCY_KEY_HEADER] || null;
}

type HeaderList = (readonly [string, string])[];

const NO_HEADERS: HeaderList = [];
/** A UTF-16 unit becomes at most this many bytes of UTF-8. */
const MAX_BYTES_PER_UNIT = 3;

/** The record of messages[index]. Throws INVALID_REQUEST, MESSAGE_TOO_LARGE. */
export function recordOf(
  message: IncomingMessage,
  index: number,
  context: IncomingContext,
): RecordInput {
  const headers = headersOf(message, index, context);
  const record: RecordInput = {
    key: message.key ?? null,
    value: valueOf(message, index),
    headers,
    timestamp: message.timestamp ?? context.timestamp,
  };
  checkSize(record, index, context);
  return record;
}

function headersOf(message: IncomingMessage, index: number, context: IncomingContext): HeaderList {
  const { traceparent } = context;
  const isJson = isJsonValue(message.value);
  const { idempotencyKey } = message;
  const isPlain = !isJson && idempotencyKey === undefined;
  if (message.headers === undefined && traceparent === null && isPlain) return NO_HEADERS;
  const headers: HeaderList = message.headers === undefined ? [] : Object.entries(message.headers);
  if (isJson) addContentType(headers, index);
  if (traceparent !== null && !has(headers, "traceparent")) {
    headers.push(["traceparent", traceparent]);
  }
  if (idempotencyKey !== undefined) addIdempotencyKey(headers, idempotencyKey, index);
  return headers;
}

function addIdempotencyKey(headers: HeaderList, key: string, index: number): void {
  const given = headers.find(([name]) => name === IDEMPOTENCY_KEY_HEADER);
  if (given === undefined) headers.push([IDEMPOTENCY_KEY_HEADER, key]);
  else if (given[1] !== key) {
    throw invalidRequest([{
      path: `messages[${index}].headers.${IDEMPOTENCY_KEY_HEADER}`,
      message: "is not what idempotencyKey says",
    }]);
  }
}

function isJsonValue(value: unknown): boolean {
  return value !== undefined && value !== null && typeof value !== "string" &&
    !(value instanceof Uint8Array);
}

function addContentType(headers: HeaderList, index: number): void {
  const given = headers.find(([name]) => name.toLowerCase() === CONTENT_TYPE_HEADER);
  if (given === undefined) headers.push([CONTENT_TYPE_HEADER, JSON_CONTENT_TYPE]);
  else if (given[1].split(";", 1)[0]!.trim().toLowerCase() !== JSON_CONTENT_TYPE) {
    throw invalidRequest([{
      path: `messages[${index}].headers.${given[0]}`,
      message: `a value that is not text is stored as ${JSON_CONTENT_TYPE}, nothing else`,
    }]);
  }
}

function has(headers: HeaderList, name: string): boolean {
  return headers.some(([given]) => given.toLowerCase() === name);
}

function valueOf(message: IncomingMessage, index: number): string | Uint8Array | null {
  const { value, valueBase64 } = message;
  if (valueBase64 !== undefined) {
    if (value === undefined) return bytesOf(valueBase64, index);
    throw invalidRequest([{
      path: `messages[${index}]`,
      message: "value and valueBase64 exclude each other",
    }]);
  }
  if (typeof value === "string") return value;
  if (value === undefined || value === null) return null;
  return value instanceof Uint8Array ? value : JSON.stringify(value);
}

function bytesOf(base64: string, index: number): Uint8Array {
  try {
    return Uint8Array.fromBase64(base64, { lastChunkHandling: "strict" });
  } catch (cause) {
    const path = `messages[${index}].valueBase64`;
    throw invalidRequest([{ path, message: "is not base64 with padding" }], cause);
  }
}

function checkSize(record: RecordInput, index: number, context: IncomingContext): void {
  const { limits, maxMessageBytes } = context;
  const { key, value, headers } = record;
  const headerBytes = headers.length === 0 ? 0 : headerSize(headers, index, limits);
  const keyBytes = sizeOf(key, limits.maxKeyBytes);
  if (keyBytes > limits.maxKeyBytes) {
    throw invalidRequest([{
      path: `messages[${index}].key`,
      message: `is ${keyBytes} bytes long, at most ${limits.maxKeyBytes} are allowed`,
    }]);
  }
  let sizeBytes = headerBytes + keyBytes + sizeOf(value, maxMessageBytes - headerBytes - keyBytes);
  if (sizeBytes <= maxMessageBytes) return;
  // Bounds from above may have added up to too much: only exact sizes may refuse.
  sizeBytes = exactSize(key) + exactSize(value);
  for (const [name, text] of headers) sizeBytes += exactSize(name) + exactSize(text);
  if (sizeBytes <= maxMessageBytes) return;
  throw new BrokerError(
    "MESSAGE_TOO_LARGE",
    `messages[${index}] is ${sizeBytes} bytes long, the topic allows ${maxMessageBytes}`,
    { path: `messages[${index}]`, sizeBytes, maxMessageBytes },
  );
}

function headerSize(headers: RecordInput["headers"], index: number, limits: ApiLimits): number {
  const path = `messages[${index}].headers`;
  if (headers.length > limits.maxHeadersPerMessage) {
    const message = `at most ${limits.maxHeadersPerMessage} headers are allowed`;
    throw invalidRequest([{ path, message }]);
  }
  let sizeBytes = 0;
  for (const [name, value] of headers) sizeBytes += exactSize(name) + exactSize(value);
  if (sizeBytes <= limits.maxHeaderBytesPerMessage) return sizeBytes;
  const message =
    `are ${sizeBytes} bytes long, at most ${limits.maxHeaderBytesPerMessage} are allowed`;
  throw invalidRequest([{ path, message }]);
}

/** Bytes of `field`: exact, or a bound from above where that is within `limitBytes` and measuring is saved. */
function sizeOf(field: string | Uint8Array | null, limitBytes: number): number {
  if (typeof field !== "string") return field === null ? 0 : field.length;
  const bound = field.length * MAX_BYTES_PER_UNIT;
  return bound <= limitBytes ? bound : exactSize(field);
}

function exactSize(field: string | Uint8Array | null): number {
  if (field === null) return 0;
  return typeof field === "string" ? Buffer.byteLength(field) : field.length;
}
