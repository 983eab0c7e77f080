// Owns the RateLimit-Policy and RateLimit headers (draft-ietf-httpapi-ratelimit-headers-10).
// Refuses to own which rates a response tells of (request_use.ts).
// Invariant: only rates with a limit are told of; `q` and `r` are in the unit of the policy, `w` and `t` in seconds.
import { BURST_MS } from "../../actors/quota/token_bucket.ts";
import type { QuotaName } from "../../actors/quota/types.ts";
import type { Rate } from "./rate.ts";

/** What responses document. */
export const RATE_LIMIT_HEADERS = {
  "RateLimit-Policy":
    'Where a quota applies: `"<quota>";q=<limit>;w=<seconds>` of each (IETF draft ratelimit-headers).',
  RateLimit: 'What is left of each: `"<quota>";r=<left>;t=<seconds until all of it is back>`.',
};

/** Quota units that are not requests. */
const UNITS: Partial<Readonly<Record<QuotaName, string>>> = {
  publishBytesPerSecond: "content-bytes",
  consumeBytesPerSecond: "content-bytes",
  publishMessagesPerSecond: "messages",
};

export type NamedRate = readonly [name: QuotaName, rate: Rate];

/** Sets both headers, or none when no rate has a limit. */
export function setRateLimits(
  headers: Headers,
  rates: readonly NamedRate[],
  nowMs: number,
): void {
  const limited = rates.filter(([, rate]) => rate.limit !== null);
  if (limited.length === 0) return;
  headers.set("ratelimit-policy", limited.map(policyOf).join(", "));
  headers.set("ratelimit", limited.map((named) => leftOf(named, nowMs)).join(", "));
}

/** The same of one rate that is known only by what a refusal says: there is nothing left of it. */
export function addRefusedRate(
  headers: Headers,
  refused: { readonly quota: QuotaName; readonly limit: number; readonly retryAfterMs: number },
): void {
  const { quota, limit, retryAfterMs } = refused;
  headers.append("ratelimit-policy", policyText(quota, limit));
  headers.append("ratelimit", `"${quota}";r=0;t=${Math.ceil(retryAfterMs / 1_000)}`);
}

function policyOf([name, rate]: NamedRate): string {
  return policyText(name, rate.limit!);
}

function policyText(name: QuotaName, limit: number): string {
  const unit = UNITS[name];
  return `"${name}";q=${limit};w=${BURST_MS / 1_000}${unit === undefined ? "" : `;qu="${unit}"`}`;
}

function leftOf([name, rate]: NamedRate, nowMs: number): string {
  const left = Math.max(0, Math.floor(rate.available(nowMs)));
  return `"${name}";r=${left};t=${Math.ceil(rate.fullInMs(nowMs) / 1_000)}`;
}
