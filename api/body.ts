// Owns reading a request's body whole, within its bound, and parsing it by its media type.
// Refuses to own which types a route takes and what shape the data has.
// Invariant: never holds more than `maxBytes` of a body and one chunk, twice while it grows, nor all requests together more
// than their budget of what was sent.
import { BrokerError } from "../storage/broker_error.ts";
import type { HeldBytes } from "./body_budget.ts";
import { parseJson } from "./json_text.ts";
import { isMsgpack } from "./media.ts";
import { parseMsgpack } from "./msgpack_bytes.ts";
import { type InspectOptions, invalidRequest } from "./plain_data.ts";

/**
 * A body with a declared length up to this is read in one piece, which is memory from the first byte on: 250 sockets that
 * declare 15 MB each and then fall silent would hold 1.6 GB. A larger one is gathered as it comes.
 */
const MAX_AT_ONCE_BYTES = 262_144;
/** In which small pieces of a body are gathered; twice as much each time that it is full, up to the latter. */
const FIRST_BUFFER_BYTES = 4_096;
const MAX_BUFFER_BYTES = 65_536;

/**
 * The bytes of the body; empty when there is none. Throws REQUEST_TOO_LARGE, OVERLOADED, QUOTA_EXCEEDED, INVALID_REQUEST when it broke
 * off. What is read is taken from `held`, whoever made that releases it.
 */
export async function readBody(
  request: Request,
  maxBytes: number,
  held: HeldBytes,
): Promise<Uint8Array> {
  const declared = request.headers.get("content-length");
  if (declared !== null && Number(declared) > maxBytes) {
    await request.body?.cancel();
    throw tooLarge(maxBytes);
  }
  try {
    // The server holds a body to its declared length, so this cannot grow past the bound. To touch `request.body` would
    // make a stream of it, which doubles the cost of reading.
    if (declared !== null && Number(declared) <= MAX_AT_ONCE_BYTES) {
      const bytes = new Uint8Array(await request.arrayBuffer());
      held.take(bytes.length);
      return bounded(bytes, maxBytes);
    }
    if (request.body === null) return new Uint8Array(0);
    return await collect(request.body, maxBytes, held);
  } catch (error) {
    if (error instanceof BrokerError) throw error;
    throw invalidRequest([{ path: "", message: "the body broke off" }], error);
  }
}

/**
 * Lets a body go that nobody will read, so that its connection can go on: Deno closes those with an unread one. What says it
 * is larger than `maxBytes`, or nothing of its length, is not worth the reading.
 */
export async function skipBody(request: Request, maxBytes: number): Promise<void> {
  const declared = request.headers.get("content-length");
  if (request.bodyUsed || declared === null || !(Number(declared) <= maxBytes)) return;
  await request.body?.cancel();
}

/**
 * Each piece is copied at once: the runtime hands over buffers of 64 KiB, however little is in them, and a client that
 * sends its body byte by byte would hold one of these for each byte.
 */
/**
 * The runtime hands over buffers of 64 KiB, however little is in them, and a client that sends its body byte by byte would
 * hold one of these for each byte: pieces that fill less than half of theirs are copied together.
 */
async function collect(
  body: ReadableStream<Uint8Array>,
  maxBytes: number,
  held: HeldBytes,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let small = new Uint8Array(FIRST_BUFFER_BYTES);
  let used = 0;
  let size = 0;
  const flush = () => {
    if (used > 0) parts.push(small.slice(0, used));
    used = 0;
  };
  for await (const chunk of body) {
    size += chunk.length;
    if (size > maxBytes) throw tooLarge(maxBytes);
    held.take(chunk.length);
    if (2 * chunk.length >= chunk.buffer.byteLength) {
      flush();
      parts.push(chunk);
      continue;
    }
    if (used + chunk.length > small.length) {
      flush();
      const doubled = Math.min(2 * small.length, MAX_BUFFER_BYTES);
      small = new Uint8Array(Math.max(doubled, chunk.length));
    }
    small.set(chunk, used);
    used += chunk.length;
  }
  flush();
  return parts.length === 1 ? parts[0]! : joined(parts, size);
}

function joined(parts: readonly Uint8Array[], size: number): Uint8Array {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function bounded(bytes: Uint8Array, maxBytes: number): Uint8Array {
  if (bytes.length > maxBytes) throw tooLarge(maxBytes);
  return bytes;
}

function tooLarge(maxBytes: number): BrokerError {
  return new BrokerError("REQUEST_TOO_LARGE", `the body is larger than ${maxBytes} bytes`, {
    maxBodyBytes: maxBytes,
  });
}

/** The data of a JSON or MessagePack body. Throws INVALID_REQUEST. */
export function parseBody(bytes: Uint8Array, mediaType: string, options: InspectOptions): unknown {
  return isMsgpack(mediaType) ? parseMsgpack(bytes, options) : parseJson(bytes, options);
}
