// Owns counting what the edges tell: publishes, deliveries, answers, since the broker has started.
// Refuses to own what is made of the counts (sampler.ts, ../metrics).
// Invariant: counters only grow; nothing that callers choose is a name here, but for a bounded number of tenants.
import type {
  Answered,
  Delivered,
  DeliveryPath,
  Published,
  Telemetry,
} from "../../api/telemetry.ts";
import { ERROR_CODES } from "../../storage/broker_error.ts";
import { LatencyHistogram } from "./latency_histogram.ts";

/** Tenants whose refusals are counted apart; those of others count as OTHER_TENANTS. */
const MAX_TENANTS = 1_000;
export const OTHER_TENANTS = "other";

export class EdgeCounters implements Telemetry {
  publishRequests = 0;
  /** Answered 5xx, in whole or in part. */
  publishFailures = 0;
  publishMessages = 0;
  publishBytes = 0;
  readonly publishFailuresByCode = new Map<string, number>();
  readonly publishLatency = new LatencyHistogram();
  deliveredMessages = 0;
  deliveredBytes = 0;
  readonly deliveredByPath = new Map<DeliveryPath, { messages: number; bytes: number }>();
  /** Of what members of groups were given. */
  readonly endToEnd = new LatencyHistogram();
  readonly answersByStatus = new Map<number, number>();
  readonly refusalsByCode = new Map<string, number>();
  readonly quotaRefusalsByTenant = new Map<string, number>();

  published({ messages, bytes, durationMs, code }: Published): void {
    this.publishRequests++;
    this.publishLatency.observe(durationMs);
    if (code === null) {
      this.publishMessages += messages;
      this.publishBytes += bytes;
      return;
    }
    count(this.publishFailuresByCode, code);
    if (isBrokersFault(code)) this.publishFailures++;
  }

  delivered({ group, messages, bytes, ageMs, path }: Delivered): void {
    this.deliveredMessages += messages;
    this.deliveredBytes += bytes;
    const sums = this.deliveredByPath.get(path);
    if (sums === undefined) this.deliveredByPath.set(path, { messages, bytes });
    else {
      sums.messages += messages;
      sums.bytes += bytes;
    }
    if (group !== null && ageMs !== null) this.endToEnd.observe(ageMs);
  }

  answered({ status, code, quotaOf }: Answered): void {
    count(this.answersByStatus, status);
    if (code !== null) count(this.refusalsByCode, code);
    if (quotaOf === undefined) return;
    const refusals = this.quotaRefusalsByTenant;
    const isKept = refusals.has(quotaOf) || refusals.size < MAX_TENANTS;
    count(refusals, isKept ? quotaOf : OTHER_TENANTS);
  }
}

function count<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function isBrokersFault(code: string): boolean {
  const known = (ERROR_CODES as Readonly<Record<string, { httpStatus: number }>>)[code];
  return known === undefined || known.httpStatus >= 500;
}
