// Owns carrying out a request with an Idempotency-Key once: asking who may, keeping the answer, telling it again.
// Refuses to own what the request does (routes/publish.ts, routes/publish_batches.ts) and what is known of keys (the broker).
// Invariant: an answer is told only after it is kept; a request that came to no whole answer may be tried again.
import type { AppendReceipt, Broker, TopicPartition } from "../actors/broker.ts";
import type { NamedRequest } from "../actors/request_keys/types.ts";
import { murmur2 } from "../storage/format/murmur2.ts";
import type { ErrorCode } from "../storage/broker_error.ts";
import { REQUEST_KEY_HEADER } from "./request_key.ts";
import type { Reply } from "./route.ts";

const encoder = new TextEncoder();

/** What routes that take the header document. */
export const ONCE_REQUEST_HEADERS = {
  [REQUEST_KEY_HEADER]:
    "Names this request: the same key and body are carried out once, and answered alike, " +
    "for a day if not configured otherwise.",
};
export const ONCE_RESPONSE_HEADERS = {
  "Idempotency-Replayed": "`true` when this is what an earlier request with this key has done.",
};
export const ONCE_ERRORS: readonly ErrorCode[] = [
  "IDEMPOTENCY_KEY_REUSED",
  "IDEMPOTENCY_KEY_IN_USE",
];

/** In the place of chance for a request with this key: a repeat goes where the first went. */
export function chanceOf(key: string): number {
  return (murmur2(encoder.encode(key)) >>> 0) / 2 ** 32;
}

/** Digest of a body. */
export async function bodyHashOf(bytes: Uint8Array): Promise<string> {
  const whole = bytes as Uint8Array<ArrayBuffer>;
  return new Uint8Array(await crypto.subtle.digest("SHA-256", whole)).toHex();
}

/** How an attempt does its appends: each partition at most once. */
export type OnceAppend = (
  at: TopicPartition,
  batches: readonly Uint8Array[],
) => Promise<AppendReceipt>;

/** What carrying out a request takes. */
export interface OncePlan {
  readonly topic: string;
  readonly partitionCount: number;
  /** Partitions to which `append` is called. */
  readonly partitions: readonly number[];
  run(append: OnceAppend): Promise<OnceOutcome>;
}

/** What an attempt came to. */
export interface OnceOutcome {
  readonly data: unknown;
  /** False: some of it failed, so it is told but not kept. */
  readonly isWhole: boolean;
  readonly status: number;
}

/**
 * Runs what `plan` makes, unless the request was answered before. `plan` is told among how many partitions an earlier
 * attempt was divided. Rejects as they do, and with IDEMPOTENCY_KEY_REUSED, IDEMPOTENCY_KEY_IN_USE.
 */
export async function carryOutOnce(
  { requestKeys }: Broker,
  request: NamedRequest,
  plan: (partitionCount: number | undefined) => Promise<OncePlan>,
): Promise<Reply> {
  const known = await requestKeys.lookup(request);
  if (known.state === "completed") return replayed(known.response);
  const { run, ...planned } = await plan(
    known.state === "known" ? known.partitionCount : undefined,
  );
  const begun = await requestKeys.begin({ ...request, ...planned });
  if (begun.state === "completed") return replayed(begun.response);
  const { principal, tenant, key } = request;
  const running = { principal, tenant, key, token: begun.token };
  let appended = 0;
  try {
    const { data, isWhole, status } = await run(async (at, batches) => {
      const receipt = await requestKeys.append(running, at, batches);
      if (receipt.duplicates.includes(false)) appended++;
      // It is the request's own first attempt that was there before.
      return { ...receipt, duplicates: receipt.duplicates.map(() => false) };
    });
    if (!isWhole) return { status, data };
    await requestKeys.complete(running, data);
    const isRepeat = begun.isResumed && planned.partitions.length > 0 && appended === 0;
    return isRepeat ? replayed(data) : { status, data };
  } finally {
    // After completion there is nothing to release any more.
    await requestKeys.release(running);
  }
}

const REPLAYED = { "idempotency-replayed": "true" };

function replayed(data: unknown): Reply {
  return { data, headers: REPLAYED };
}

/** Whether an earlier request has done what `reply` says. */
export function isReplayed(reply: Reply): boolean {
  return reply.headers === REPLAYED;
}
