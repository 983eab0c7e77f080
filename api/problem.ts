// Owns the one place where an error becomes a response: RFC 9457 problem details.
// Refuses to own the table of codes (storage/broker_error.ts) or logging (the app's `onError` hook).
// Invariant: nothing but a BrokerError's code, message and details ever reaches a caller: no stack, no cause.
import { z } from "zod";
import { asBrokerError, type BrokerError, type ErrorCode } from "../storage/broker_error.ts";
import { isMsgpack, PROBLEM_TYPE, renderData } from "./media.ts";

/** Seconds after which to try again when the error does not say (`retryAfterMs` or `retryAfterSeconds` in its details). */
const DEFAULT_RETRY_AFTER_SECONDS = 1;

/** What a problem body always holds; an error's details stand beside these. */
export const problemSchema = z.looseObject({
  type: z.string().meta({ description: "Where the code is explained, relative to the broker." }),
  title: z.string(),
  status: z.int(),
  detail: z.string().meta({ description: "What was refused and why, for people." }),
  code: z.string().meta({ description: "Stable, upper snake case: what programs branch on." }),
  retryable: z.boolean().meta({ description: "Whether the same request may succeed later." }),
  requestId: z.string(),
  errors: z.array(z.strictObject({ path: z.string(), message: z.string() })).optional()
    .meta({ description: "INVALID_REQUEST: each fault with the path of what is wrong." }),
}).meta({
  id: "Problem",
  description:
    "Problem details (RFC 9457). The details of an error, the valid range of an offset for example, stand beside these.",
  examples: [{
    type: "/docs#UNKNOWN_TOPIC",
    title: "Unknown topic",
    status: 404,
    detail: 'there is no topic "orders"',
    code: "UNKNOWN_TOPIC",
    retryable: false,
    requestId: "5b0c1d3e-8f61-4a39-9d58-0d6a4c1f7f10",
  }],
});

export type Problem = z.infer<typeof problemSchema>;

/** Where and how a problem is shown. */
export interface ProblemOptions {
  readonly requestId: string;
  /** Media type that the caller accepts; anything but MessagePack gets problem+json. */
  readonly mediaType: string;
  /** Statuses that a route gives to codes instead of those of the table. */
  readonly statuses?: Partial<Readonly<Record<ErrorCode, number>>>;
}

/** The problem body of an error; foreign errors become INTERNAL without any of their own words. */
export function problemOf(error: unknown, options: ProblemOptions): Problem {
  const known = asBrokerError(error);
  const status = options.statuses?.[known.code] ?? known.httpStatus;
  const standard: Problem = {
    type: `/docs#${known.code}`,
    title: titleOf(known.code),
    status,
    detail: known.message,
    code: known.code,
    retryable: known.retryable,
    requestId: options.requestId,
  };
  // Twice: first for the order that people read, then so that no detail can take a standard name.
  return { ...standard, ...known.details, ...standard };
}

/** The response to an error, in the caller's format, with `Retry-After` on 429 and 503. */
export function problemResponse(error: unknown, options: ProblemOptions): Response {
  const problem = problemOf(error, options);
  const headers: Record<string, string> = {
    "content-type": isMsgpack(options.mediaType) ? options.mediaType : PROBLEM_TYPE,
    "x-request-id": options.requestId,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...extraHeaders(asBrokerError(error), problem.status),
  };
  return new Response(renderData(problem, options.mediaType), { status: problem.status, headers });
}

function extraHeaders(error: BrokerError, status: number): Record<string, string> {
  if (status === 429 || status === 503) {
    const { retryAfterSeconds, retryAfterMs } = error.details;
    const asked = typeof retryAfterMs === "number" ? retryAfterMs / 1_000 : retryAfterSeconds;
    const seconds = typeof asked === "number" ? Math.ceil(asked) : DEFAULT_RETRY_AFTER_SECONDS;
    return { "retry-after": String(Math.max(1, seconds)) };
  }
  if (status === 401) return { "www-authenticate": 'Bearer realm="waybill"' };
  if (status === 405 && Array.isArray(error.details.allow)) {
    return { allow: error.details.allow.join(", ") };
  }
  if (status === 426) return { upgrade: "websocket" };
  return {};
}

/** `UNKNOWN_TOPIC` as `Unknown topic`. */
export function titleOf(code: string): string {
  const words = code.toLowerCase().replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
