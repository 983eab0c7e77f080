// Owns what a refusal for a quota says.
// Refuses to own when one is made, and how it is shown (../problem.ts, headers.ts).
// Invariant: it names the quota, whose it is, its limit, and when there is room again.
import type { QuotaName } from "../../actors/quota/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";

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

export function quotaExceeded({ quota, owner, limit, retryAfterMs }: QuotaRefusal): BrokerError {
  const who = "tenant" in owner ? `tenant ${owner.tenant}` : `topic ${owner.topic}`;
  const detail = `${who} has a quota of ${limit} ${UNITS[quota]}`;
  return new BrokerError("QUOTA_EXCEEDED", detail, { quota, ...owner, limit, retryAfterMs });
}

/** What `error` says when it is a refusal for a quota of a tenant or topic; null for any other. */
export function refusalOf(error: unknown): QuotaRefusal | null {
  if (!(error instanceof BrokerError) || error.code !== "QUOTA_EXCEEDED") return null;
  const { quota, tenant, topic, limit, retryAfterMs } = error.details;
  if (typeof quota !== "string" || typeof retryAfterMs !== "number") return null;
  const owner = typeof tenant === "string" ? { tenant } : { topic: String(topic) };
  return { quota: quota as QuotaName, owner, limit: Number(limit), retryAfterMs };
}
