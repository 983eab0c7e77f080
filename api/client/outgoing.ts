// Owns what a message to publish may be, and taking it apart into the parts of a record.
// Refuses to own where the record goes (partitioner.ts) or how it is laid out (record_writer.ts).
// Invariant: the rules are those of the contract: text as UTF-8, other JSON as JSON text that says so, null a tombstone.
import { WaybillError } from "./errors.ts";
import { writeVarint } from "../../storage/format/varint.ts";

export type Json = string | number | boolean | null | readonly Json[] | {
  readonly [name: string]: Json | undefined;
};

/** A message to publish. Bytes must not be changed before the message is settled. */
export interface OutgoingMessage {
  readonly key?: string | Uint8Array | null;
  /** Text and bytes are stored as they are, other JSON as JSON text; null or nothing is a tombstone. */
  readonly value?: Json | Uint8Array;
  readonly headers?: Readonly<Record<string, string | Uint8Array>>;
  /** ms since the epoch; default now. */
  readonly timestamp?: number;
  /** Default: by key as Kafka's clients do, without key sticky per batch. */
  readonly partition?: number;
  /**
   * Unique in the topic, for a day if the broker is not told otherwise: a message whose key is known is not stored again,
   * whoever sends it, and is reported where the first is. It is stored as header `idempotency-key`.
   */
  readonly idempotencyKey?: string;
}

/** A message, or its value alone. */
export type Outgoing = OutgoingMessage | string | Uint8Array;

/** One record in parts; one object is used again for every message, so that publishing makes no garbage of them. */
export interface RecordParts {
  key: Uint8Array | null;
  value: string | Uint8Array | null;
  /** Count and headers as they stand in the record. */
  headers: Uint8Array;
  /** Names and values of the headers, without their lengths. */
  headerContentBytes: number;
  timestamp: number;
  /** The partition asked for, -1 when none was. */
  partition: number;
  /** Null when the message has none. */
  idempotencyKey: Uint8Array | null;
}

/** What a message that waits is counted as beyond its own bytes. */
const HELD_OVERHEAD_BYTES = 128;
const IDEMPOTENCY_KEY_HEADER = "idempotency-key";
/** What the broker takes. */
const MAX_IDEMPOTENCY_KEY_CHARS = 1_024;
const NO_HEADERS = new Uint8Array([0]);
const encoder = new TextEncoder();
const JSON_HEADER: readonly [string, string] = ["content-type", "application/json"];
const JSON_ONLY = encodeHeaders([JSON_HEADER]);
const JSON_ONLY_BYTES = JSON_HEADER[0].length + JSON_HEADER[1].length;

export function emptyParts(): RecordParts {
  return {
    key: null,
    value: null,
    headers: NO_HEADERS,
    headerContentBytes: 0,
    timestamp: 0,
    partition: -1,
    idempotencyKey: null,
  };
}

/** Takes messages apart. Keys that are text are encoded into a scratch buffer: `parts.key` holds until the next call. */
export class MessageReader {
  #keyScratch = new Uint8Array(1024);

  /** Fills `parts` from `message`. INVALID_REQUEST when it is none. */
  read(message: Outgoing, now: number, parts: RecordParts): void {
    parts.timestamp = Math.floor(now);
    parts.partition = -1;
    parts.headers = NO_HEADERS;
    parts.headerContentBytes = 0;
    parts.idempotencyKey = null;
    if (typeof message === "string" || message instanceof Uint8Array) {
      parts.key = null;
      parts.value = message;
      return;
    }
    if (typeof message !== "object" || message === null) throw invalid("a message is an object");
    parts.key = this.#key(message.key);
    if (message.timestamp !== undefined) parts.timestamp = natural(message.timestamp, "timestamp");
    if (message.partition !== undefined) parts.partition = natural(message.partition, "partition");
    const isJson = readValue(message.value, parts);
    const { headers, idempotencyKey } = message;
    if (isJson || headers !== undefined || idempotencyKey !== undefined) {
      readHeaders(message, isJson, parts);
    }
  }

  #key(key: string | Uint8Array | null | undefined): Uint8Array | null {
    if (key === undefined || key === null) return null;
    if (key instanceof Uint8Array) return key;
    if (typeof key !== "string") throw invalid("a key is text or bytes");
    if (key.length * 3 > this.#keyScratch.length) this.#keyScratch = new Uint8Array(key.length * 3);
    return this.#keyScratch.subarray(0, encoder.encodeInto(key, this.#keyScratch).written);
  }
}

/** Puts the value into `parts`; true when it is JSON other than text. INVALID_REQUEST when it is no JSON. */
function readValue(value: Json | Uint8Array | undefined, parts: RecordParts): boolean {
  if (typeof value === "string" || value instanceof Uint8Array) {
    parts.value = value;
    return false;
  }
  if (value === undefined || value === null) {
    parts.value = null;
    return false;
  }
  try {
    const text = JSON.stringify(value) as string | undefined;
    if (text === undefined) throw new Error(`${typeof value} is not JSON`);
    parts.value = text;
  } catch (cause) {
    throw invalid(`the value cannot be written as JSON: ${(cause as Error).message}`);
  }
  return true;
}

function readHeaders(
  { headers: given, idempotencyKey }: OutgoingMessage,
  isJson: boolean,
  parts: RecordParts,
): void {
  if (given === undefined && idempotencyKey === undefined) {
    parts.headers = JSON_ONLY;
    parts.headerContentBytes = JSON_ONLY_BYTES;
    return;
  }
  const headers: (readonly [string, string | Uint8Array])[] = Object.entries(given ?? {});
  for (const [name, value] of headers) {
    if (typeof value !== "string" && !(value instanceof Uint8Array)) {
      throw invalid(`header ${JSON.stringify(name)} is neither text nor bytes`);
    }
  }
  if (isJson && !saysJson(headers)) headers.push(JSON_HEADER);
  parts.idempotencyKey = readIdempotencyKey(headers, idempotencyKey);
  parts.headers = encodeHeaders(headers);
  parts.headerContentBytes = contentBytes(parts.headers, headers.length);
}

/** The key, which is put among the headers where it is not yet. INVALID_REQUEST when both tell different ones. */
function readIdempotencyKey(
  headers: (readonly [string, string | Uint8Array])[],
  key: string | undefined,
): Uint8Array | null {
  const given = headers.find(([name]) => name === IDEMPOTENCY_KEY_HEADER)?.[1];
  if (key === undefined) return given === undefined || given.length === 0 ? null : bytesOf(given);
  if (typeof key !== "string" || key.length === 0 || key.length > MAX_IDEMPOTENCY_KEY_CHARS) {
    throw invalid(`an idempotency key is text of 1 to ${MAX_IDEMPOTENCY_KEY_CHARS} characters`);
  }
  if (given === undefined) headers.push([IDEMPOTENCY_KEY_HEADER, key]);
  else if (given !== key) {
    throw invalid(`header ${IDEMPOTENCY_KEY_HEADER} is not what idempotencyKey says`);
  }
  return bytesOf(key);
}

function bytesOf(text: string | Uint8Array): Uint8Array {
  return typeof text === "string" ? encoder.encode(text) : text;
}

/** Whether the content type is told; INVALID_REQUEST when it is another: readers would not find the JSON again. */
function saysJson(headers: readonly (readonly [string, string | Uint8Array])[]): boolean {
  const told = headers.find(([name]) => name.toLowerCase() === JSON_HEADER[0]);
  if (told === undefined) return false;
  const type = typeof told[1] === "string" ? told[1].split(";", 1)[0]!.trim().toLowerCase() : "";
  if (type === JSON_HEADER[1]) return true;
  throw invalid(`header ${told[0]}: a value that is not text is stored as ${JSON_HEADER[1]}`);
}

/** Header count, then for each: name length, name, value length, value. */
function encodeHeaders(headers: readonly (readonly [string, string | Uint8Array])[]): Uint8Array {
  let bound = 5;
  for (const [name, value] of headers) bound += 10 + (name.length + value.length) * 3;
  const bytes = new Uint8Array(bound);
  let at = writeVarint(bytes, 0, headers.length);
  for (const [name, value] of headers) {
    at = putField(bytes, at, encoder.encode(name));
    at = putField(bytes, at, typeof value === "string" ? encoder.encode(value) : value);
  }
  return bytes.subarray(0, at);
}

function putField(bytes: Uint8Array, at: number, field: Uint8Array): number {
  const start = writeVarint(bytes, at, field.length);
  bytes.set(field, start);
  return start + field.length;
}

/** What the headers hold at most: a length takes at least one byte, as does the count. */
function contentBytes(encoded: Uint8Array, count: number): number {
  return encoded.length - 1 - 2 * count;
}

function natural(value: number, name: string): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw invalid(`${name} ${value} is not an integer from 0 to 2^53 - 1`);
}

function invalid(detail: string): WaybillError {
  return new WaybillError("INVALID_REQUEST", detail, { retryable: false });
}

/** Bytes that a message is counted as while it waits to be encoded, text as ASCII. */
export function heldSize(message: Outgoing): number {
  if (typeof message === "string" || message instanceof Uint8Array) {
    return message.length + HELD_OVERHEAD_BYTES;
  }
  if (typeof message !== "object" || message === null) return HELD_OVERHEAD_BYTES;
  const { key, value } = message;
  const isPlain = typeof value === "string" || value instanceof Uint8Array;
  const valueBytes = isPlain ? value.length : jsonLength(value);
  return valueBytes + (key?.length ?? 0) + HELD_OVERHEAD_BYTES;
}

/** 0 for what is no JSON: it is refused when its turn comes. */
function jsonLength(value: unknown): number {
  try {
    return JSON.stringify(value)?.length ?? 0;
  } catch {
    return 0;
  }
}
