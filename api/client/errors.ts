// Owns the one error type that users of the client meet, and how a problem body becomes one.
// Refuses to own when to try again: the sender and the consumer branch on `code` and `retryable`.
// Invariant: whatever goes wrong reaches the caller as a WaybillError with a code.
import { BrokerError } from "../../storage/broker_error.ts";

/** Codes that are made on this side of the wire; all others are the broker's (`storage/broker_error.ts`). */
export type ClientErrorCode =
  /** The buffer holds `maxBufferedBytes`; wait for room and try again. */
  | "BUFFER_FULL"
  /** No answer within `deliveryTimeoutMs`: the message may or may not have been stored. */
  | "DELIVERY_TIMEOUT"
  /** One request took longer than its timeout. */
  | "TIMEOUT"
  /** The broker could not be reached, or the connection broke before the answer. */
  | "NETWORK_ERROR"
  /**
   * The broker's certificate is not trusted or has expired, or one side speaks TLS and the other does not: trying again is
   * no use.
   */
  | "TLS_FAILED"
  /** The function that was handed in for tokens has thrown; a WaybillError of it is passed on as it is. */
  | "NO_TOKEN"
  /** The answer was not what the protocol promises. */
  | "BAD_RESPONSE"
  /** The producer, consumer or client was closed. */
  | "CLIENT_CLOSED"
  /** The partition is not, or no longer, assigned to this consumer. */
  | "NOT_ASSIGNED"
  /** This runtime has no WebSocket and none was handed in. */
  | "NO_WEBSOCKET";

export interface WaybillErrorFields {
  readonly retryable: boolean;
  /** HTTP status, 0 when there was no answer. */
  readonly status?: number;
  readonly requestId?: string;
  /** What the broker asked to wait before the next attempt. */
  readonly retryAfterMs?: number;
  /** The other members of the problem body. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** What went wrong, by stable `code`; `message` is the `detail` of the problem body, for people. */
export class WaybillError extends Error {
  override name = "WaybillError";
  readonly retryable: boolean;
  readonly status: number;
  readonly detail: string;
  readonly requestId: string | undefined;
  readonly retryAfterMs: number | undefined;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    readonly code: ClientErrorCode | (string & Record<never, never>),
    detail: string,
    fields: WaybillErrorFields,
  ) {
    super(detail, fields.cause === undefined ? undefined : { cause: fields.cause });
    this.detail = detail;
    this.retryable = fields.retryable;
    this.status = fields.status ?? 0;
    this.requestId = fields.requestId;
    this.retryAfterMs = fields.retryAfterMs;
    this.details = fields.details ?? {};
  }
}

/** What runtimes say of certificates that are refused, and of one side alone that speaks TLS. */
const TLS_FAULT = new RegExp([
  "invalid peer certificate",
  "InvalidContentType",
  "invalid HTTP version parsed",
  "SELF_SIGNED_CERT",
  "UNABLE_TO_(?:VERIFY|GET_ISSUER)",
  "CERT_(?:HAS_EXPIRED|NOT_YET_VALID|UNTRUSTED)",
  "ERR_TLS_CERT_ALTNAME_INVALID",
  "ERR_SSL_WRONG_VERSION_NUMBER|WRONG_VERSION_NUMBER",
].join("|"));
/** Causes of causes that are looked at. */
const MAX_CAUSES = 8;

/** What is wrong with TLS, if that is why `error` came about; null for any other fault. */
export function tlsFaultOf(error: unknown): string | null {
  return causeThatSays(TLS_FAULT, error);
}

/** What runtimes say when there was no connection, so that nothing was sent. Browsers say nothing of the kind. */
const NOT_REACHED = new RegExp([
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
  "UND_ERR_CONNECT_TIMEOUT",
  "tcp connect error",
  "dns error",
].join("|"));

/** Whether it is known that the request did not get as far as a broker; false where the runtime does not tell. */
export function wasNotReached(error: WaybillError): boolean {
  return error.code === "NETWORK_ERROR" && causeThatSays(NOT_REACHED, error) !== null;
}

function causeThatSays(pattern: RegExp, error: unknown): string | null {
  for (let depth = 0; error instanceof Error && depth < MAX_CAUSES; depth++) {
    const code = (error as { code?: unknown }).code;
    const said = `${typeof code === "string" ? `${code}: ` : ""}${error.message}`;
    if (pattern.test(said)) return said;
    error = error.cause;
  }
  return null;
}

const KNOWN_MEMBERS = new Set(["code", "detail", "retryable", "requestId", "status", "type"]);

/** What an error answer needs to be read. `header` gives a response header, null when it is not there. */
export interface ErrorAnswer {
  readonly status: number;
  readonly header: (name: string) => string | null;
  readonly text: string;
  /** Wall time in ms, for a `Retry-After` that is a date. */
  readonly now: number;
}

/** The error in a problem+json answer; any other body becomes `BAD_RESPONSE`, retryable by its status. */
export function errorFromAnswer(answer: ErrorAnswer): WaybillError {
  const problem = parseObject(answer.text);
  const retryAfterMs = parseRetryAfter(answer.header("retry-after"), answer.now);
  const requestId = stringOr(problem?.requestId, answer.header("x-request-id") ?? undefined);
  const retryableStatus = answer.status === 429 || answer.status === 503;
  if (problem === null || typeof problem.code !== "string") {
    const detail = `the broker answered ${answer.status} without a problem body`;
    const gateway = answer.status === 502 || answer.status === 504;
    return new WaybillError("BAD_RESPONSE", detail, {
      retryable: retryableStatus || gateway,
      status: answer.status,
      requestId,
      retryAfterMs,
    });
  }
  const rest = Object.entries(problem).filter(([name]) => !KNOWN_MEMBERS.has(name));
  return new WaybillError(problem.code, stringOr(problem.detail, problem.code), {
    retryable: typeof problem.retryable === "boolean" ? problem.retryable : retryableStatus,
    status: answer.status,
    requestId,
    retryAfterMs,
    details: Object.fromEntries(rest),
  });
}

/** `error` as a WaybillError: itself, what the codec threw under its own code, or `code` around it. */
export function asWaybillError(error: unknown, code: ClientErrorCode): WaybillError {
  if (error instanceof WaybillError) return error;
  if (error instanceof BrokerError) {
    return new WaybillError(error.code, error.message, {
      retryable: false,
      details: error.details,
      cause: error,
    });
  }
  const detail = error instanceof Error ? error.message : String(error);
  const retryable = code === "NETWORK_ERROR" || code === "TIMEOUT" || code === "BUFFER_FULL";
  return new WaybillError(code, detail, { retryable, cause: error });
}

/** `Retry-After` in ms: seconds or an HTTP date (RFC 9110, 10.2.3); undefined when absent or unreadable. */
export function parseRetryAfter(value: string | null, now: number): number | undefined {
  if (value === null || value.trim() === "") return undefined;
  const seconds = Number(value);
  if (Number.isFinite(seconds)) return seconds >= 0 ? seconds * 1000 : undefined;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? value as Record<string, unknown>
      : null;
  } catch {
    return null;
  }
}

function stringOr<T>(value: unknown, otherwise: T): string | T {
  return typeof value === "string" ? value : otherwise;
}
