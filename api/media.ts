// Owns media types: which body format a request brought, which one its caller accepts, and rendering data in it.
// Refuses to own what the data means, or status codes.
// Invariant: JSON is what a caller gets who does not say otherwise.
import { encode } from "@msgpack/msgpack";
import { BrokerError } from "../storage/broker_error.ts";

export const JSON_TYPE = "application/json";
export const MSGPACK_TYPE = "application/msgpack";
export const VENDOR_MSGPACK_TYPE = "application/vnd.msgpack";
export const PROBLEM_TYPE = "application/problem+json";
export const NDJSON_TYPE = "application/x-ndjson";
export const BATCH_TYPE = "application/vnd.waybill.batch";

/** What every route can answer in, best first. */
export const DATA_TYPES: readonly string[] = [JSON_TYPE, MSGPACK_TYPE, VENDOR_MSGPACK_TYPE];

/** Room for the deepest value that may be published, inside a list of messages inside an answer. */
const MAX_ENCODE_DEPTH = 100;
/** An Accept header longer than this is not worth reading. */
const MAX_ACCEPT_CHARS = 2_048;

/** True for both names of MessagePack. */
export function isMsgpack(mediaType: string): boolean {
  return mediaType === MSGPACK_TYPE || mediaType === VENDOR_MSGPACK_TYPE;
}

/** Plain data as a body of the given type; MessagePack where the type says so, else JSON. */
export function renderData(data: unknown, mediaType: string): string | Uint8Array<ArrayBuffer> {
  if (!isMsgpack(mediaType)) return JSON.stringify(data);
  return encode(data, { ignoreUndefined: true, maxDepth: MAX_ENCODE_DEPTH });
}

/**
 * The media type of `offered` (best first) that `accept` prefers (RFC 9110, 12.5.1); null when it takes none of them.
 * No header is any type; a caller that takes problem+json takes JSON.
 */
export function negotiate(accept: string | null, offered: readonly string[]): string | null {
  if (accept === null || accept === "" || accept === "*/*") return offered[0] ?? null;
  if (offered.includes(accept)) return accept;
  if (accept.length > MAX_ACCEPT_CHARS) return null;
  const ranges = accept.split(",").map(parseRange);
  let best: string | null = null;
  let bestQuality = 0;
  for (const type of offered) {
    const quality = qualityOf(type, ranges);
    if (quality > bestQuality) {
      best = type;
      bestQuality = quality;
    }
  }
  return best;
}

interface MediaRange {
  readonly type: string;
  readonly quality: number;
}

function parseRange(text: string): MediaRange {
  const [type = "", ...parameters] = text.split(";").map((part) => part.trim().toLowerCase());
  const weight = parameters.find((parameter) => parameter.startsWith("q="));
  const quality = weight === undefined ? 1 : Number(weight.slice(2));
  return {
    type: type === PROBLEM_TYPE ? JSON_TYPE : type,
    quality: Number.isFinite(quality) ? quality : 0,
  };
}

/** The most specific range that covers `type` decides. */
function qualityOf(type: string, ranges: readonly MediaRange[]): number {
  const family = `${type.slice(0, type.indexOf("/"))}/*`;
  for (const pattern of [type, family, "*/*"]) {
    const range = ranges.find((candidate) => candidate.type === pattern);
    if (range !== undefined) return range.quality;
  }
  return 0;
}

/**
 * The media type of a request's body; `fallback` when it names none. Throws UNSUPPORTED_MEDIA_TYPE for one that is not
 * in `allowed`, for a charset other than UTF-8 and for a compressed body.
 */
export function bodyType(headers: Headers, allowed: readonly string[]): string {
  const encoding = headers.get("content-encoding");
  if (encoding !== null && encoding.toLowerCase() !== "identity") {
    throw unsupported(
      `content-encoding ${shown(encoding)} is not supported, send the body as it is`,
    );
  }
  const header = headers.get("content-type");
  if (header === null || header === "") {
    if (allowed.includes(JSON_TYPE)) return JSON_TYPE;
    throw unsupported(`name the body's content-type: ${allowed.join(", ")}`);
  }
  if (allowed.includes(header)) return header;
  const [type = "", ...parameters] = header.split(";").map((part) => part.trim().toLowerCase());
  const charset = parameters.find((parameter) => parameter.startsWith("charset="));
  const isUtf8 = charset === undefined || /^charset="?utf-?8"?$/.test(charset);
  if (allowed.includes(type) && isUtf8) return type;
  throw unsupported(`content-type ${shown(header)} is not one of ${allowed.join(", ")}`);
}

function unsupported(message: string): BrokerError {
  return new BrokerError("UNSUPPORTED_MEDIA_TYPE", message);
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
