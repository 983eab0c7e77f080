// Owns what a refusal for a quota says.
// Refuses to own when one is made, and how it is shown (../problem.ts, headers.ts).
// Invariant: it names the quota, whose it is, its limit, and when there is room again.
import type { QuotaName } from "../../actors/quota/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { Rate } from "./rate.ts";

/** Whose quota it is. */
export type QuotaOwner = { readonly tenant: string } | { readonly topic: string };

export interface QuotaRefusal {
  readonly quota: QuotaName;
  readonly owner: QuotaOwner;
  readonly limit: number;
  /** When there is room, as far as that depends on time alone. */
  readonly retryAfterMs: number;
}

/** What to say where room comes with what others do, not with time. */
export const UNKNOWN_DELAY_MS = 1_000;

const UNITS: Readonly<Record<QuotaName, string>> = {
  publishBytesPerSecond: "bytes published a second",
  publishMessagesPerSecond: "messages published a second",
  consumeBytesPerSecond: "bytes consumed a second",
  requestsPerSecond: "requests a second",
  connections: "consumers at once",
  topics: "topics",
  inFlightBytes: "bytes of requests at once",
};

/** QUOTA_EXCEEDED. One of a rate has a place behind those refused before, until `letGo` is called. */
export class QuotaExceeded extends BrokerError {
  constructor(
    message: string,
    details: Readonly<Record<string, unknown>>,
    /** Null: room does not come with time. Safe to call again. */
    readonly letGo: (() => void) | null,
  ) {
    super("QUOTA_EXCEEDED", message, details);
  }
}

export function quotaExceeded(
  { quota, owner, limit, retryAfterMs }: QuotaRefusal,
  letGo: (() => void) | null = null,
): QuotaExceeded {
  const who = "tenant" in owner ? `tenant ${owner.tenant}` : `topic ${owner.topic}`;
  const unit = limit === 1 ? UNITS[quota].replace("s ", " ") : UNITS[quota];
  const detail = `${who} has a quota of ${limit} ${unit}`;
  return new QuotaExceeded(detail, { quota, ...owner, limit, retryAfterMs }, letGo);
}

/** LIMIT_REACHED: to try again helps only when topics are deleted, or the quota is raised. */
export function topicLimitReached(tenant: string, limit: number): BrokerError {
  const detail = `tenant ${tenant} has a quota of ${limit} ${UNITS.topics}: delete some first`;
  return new BrokerError("LIMIT_REACHED", detail, { quota: "topics", tenant, limit });
}

/** A refusal for `count` of a rate; whoever tells it lets it go. */
export function rateExceeded(
  { quota, owner }: Pick<QuotaRefusal, "quota" | "owner">,
  rate: Rate,
  { count, nowMs }: { readonly count: number; readonly nowMs: number },
): QuotaExceeded {
  const retryAfterMs = rate.turnMs(count, nowMs);
  return quotaExceeded({ quota, owner, limit: rate.limit!, retryAfterMs }, rate.hold(count));
}

/** What `error` says when it is a refusal for a quota of a tenant or topic; null for any other. */
export function refusalOf(error: unknown): QuotaRefusal | null {
  if (!(error instanceof QuotaExceeded)) return null;
  const { quota, tenant, topic, limit, retryAfterMs } = error.details;
  const owner = typeof tenant === "string" ? { tenant } : { topic: String(topic) };
  return {
    quota: quota as QuotaName,
    owner,
    limit: Number(limit),
    retryAfterMs: Number(retryAfterMs),
  };
}
