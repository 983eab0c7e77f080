// Owns what objectives come to: availability and latency of publishing, how much of the error budget is burnt.
// Refuses to own drawing it and where figures come from. Invariant: pure; where nothing was asked for nothing is told.

/** Of requests to publish: this share is to be served. */
export const AVAILABILITY = 0.9995;
/** 99 of 100 requests to publish are to be answered within it. */
export const LATENCY_P99_MS = 30;

export interface Availability {
  readonly requests: number;
  readonly failures: number;
  /** From 0 to 1; null: nobody asked. */
  readonly share: number | null;
  /** How many times as fast as the budget allows it is used: 1 uses it up exactly by the end of its time. */
  readonly burn: number | null;
  /** Failures that would have been allowed. */
  readonly allowed: number;
}

export function availabilityOf(requests: number, failures: number): Availability {
  const budget = 1 - AVAILABILITY;
  const ratio = requests > 0 ? failures / requests : null;
  return {
    requests,
    failures,
    share: ratio === null ? null : 1 - ratio,
    burn: ratio === null ? null : ratio / budget,
    allowed: requests * budget,
  };
}

interface Point {
  readonly at: number;
  readonly publishRequestsPerSecond: number;
  readonly publishFailuresPerSecond: number;
  readonly publishLatencyMs: { readonly p99: number | null };
}

/** A gap in the history that is longer than this was not measured. */
const MAX_GAP_SECONDS = 5;

/** Rates of the history, added up over the time that each stands for. */
export function availabilityOfHistory(history: readonly Point[]): Availability {
  let requests = 0;
  let failures = 0;
  history.forEach((point, index) => {
    const before = history[index - 1];
    const seconds = before === undefined
      ? 1
      : Math.min(MAX_GAP_SECONDS, Math.max(0, (point.at - before.at) / 1_000));
    requests += point.publishRequestsPerSecond * seconds;
    failures += point.publishFailuresPerSecond * seconds;
  });
  return availabilityOf(Math.round(requests), Math.round(failures));
}

export interface LatencyKept {
  /** Seconds in which something was published. */
  readonly measured: number;
  /** Of these, how many had a p99 within the objective. */
  readonly within: number;
  readonly worstMs: number | null;
}

export function latencyKept(history: readonly Point[]): LatencyKept {
  const all = history.map(({ publishLatencyMs }) => publishLatencyMs.p99)
    .filter((p99) => p99 !== null);
  return {
    measured: all.length,
    within: all.filter((p99) => p99 <= LATENCY_P99_MS).length,
    worstMs: all.length === 0 ? null : Math.max(...all),
  };
}

export interface SinceStart {
  readonly availability: Availability;
  /** The p99 lies between these, ms, as far as the histogram tells; null: nothing was published. */
  readonly p99Ms: { readonly above: number; readonly upTo: number } | null;
}

/** Counters of the metrics' text: they count since the broker's start. */
export function sinceStart(metrics: string): SinceStart {
  const valueOf = (name: string) =>
    Number(new RegExp(`^${name} (\\S+)`, "m").exec(metrics)?.[1] ?? NaN);
  const buckets = [
    ...metrics.matchAll(/^waybill_publish_duration_seconds_bucket\{le="([^"]+)"\} (\S+)/gm),
  ].map(([, limit, count]) => ({
    upToMs: limit === "+Inf" ? Infinity : Number(limit) * 1_000,
    count: Number(count),
  }));
  const total = buckets.at(-1)?.count ?? 0;
  const index = buckets.findIndex(({ count }) => count >= total * 0.99);
  return {
    availability: availabilityOf(
      valueOf("waybill_publish_requests_total") || 0,
      valueOf("waybill_publish_broker_failures_total") || 0,
    ),
    p99Ms: total === 0
      ? null
      : { above: buckets[index - 1]?.upToMs ?? 0, upTo: buckets[index]!.upToMs },
  };
}
