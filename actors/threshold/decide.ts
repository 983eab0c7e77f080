// Owns the life of an alert: when it is pending, fires, escalates and is resolved, and what may be done to it.
// Refuses to own how values are measured (signals.ts), time, the journal, and telling anybody.
// Invariant: pure; durations are those of the monotonic clock between samples that followed each other, so neither a jump
// of the wall clock nor a time in which nobody measured makes an alert fire or end.
import { BrokerError } from "../../storage/broker_error.ts";
import { type AlertEvent, type AlertVolatile, NO_PROGRESS, type Progress } from "./events.ts";
import type { Reading } from "./signals.ts";
import { type AlertsState, type LiveAlert, liveById, seriesOf } from "./state.ts";
import {
  type Alert,
  type AlertOrder,
  type AlertResource,
  type AlertValue,
  MAX_ALERT_SAMPLES,
  MAX_LIVE_ALERTS_PER_THRESHOLD,
  MAX_RESERVED_PER_TENANT,
  RESERVED_LIVE_ALERTS,
  type Threshold,
  type ThresholdName,
} from "./types.ts";

/** Between samples further apart than this nobody knows what was: durations begin anew. */
export const MAX_SAMPLE_GAP_MS = 30_000;
/** Times that an alert is told again when nobody acknowledges it. */
export const MAX_ESCALATIONS = 3;

/** What one sample says under all thresholds. */
export interface Observation {
  /** Wall time, and the monotonic clock, ms. */
  readonly at: number;
  readonly monotonic: number;
  /** The sample before was too long ago. */
  readonly gapped: boolean;
  readonly thresholds: readonly Threshold[];
  readonly readings: ReadonlyMap<ThresholdName, readonly Reading[]>;
  /** Of these, resources without a reading are not known to be well. */
  readonly partial?: ReadonlySet<ThresholdName>;
}

/** Something to tell, of one alert. */
export interface AlertWord {
  readonly kind: "fired" | "escalated" | "resolved";
  readonly alertId: string;
}

export interface AlertsDecision {
  readonly events: readonly AlertEvent[];
  readonly volatile: readonly AlertVolatile[];
  readonly words: readonly AlertWord[];
  /** Resources that are not followed, since there are too many alerts. */
  readonly unfollowed: number;
}

/** What follows from an observation. `newId` names alerts. */
export function judge(
  state: AlertsState,
  observation: Observation,
  newId: () => string,
): AlertsDecision {
  const judgement = new Judgement(state, observation, newId);
  const seen = new Set<string>();
  for (const threshold of observation.thresholds) {
    if (!threshold.enabled) continue;
    for (const reading of observation.readings.get(threshold.name) ?? []) {
      const series = seriesOf(threshold.name, reading.resource);
      if (seen.has(series)) continue;
      seen.add(series);
      judgement.take(threshold, { series, reading });
    }
  }
  const byName = new Map(observation.thresholds.map((threshold) => [threshold.name, threshold]));
  for (const [series, live] of state.live) {
    if (seen.has(series)) continue;
    judgement.miss(series, { live, threshold: byName.get(live.alert.name) });
  }
  return judgement;
}

class Judgement implements AlertsDecision {
  readonly events: AlertEvent[] = [];
  readonly volatile: AlertVolatile[] = [];
  readonly words: AlertWord[] = [];
  unfollowed = 0;
  readonly #live = new Map<ThresholdName, number>();
  /** Those that this observation made. */
  readonly #begun = new Set<string>();
  /** Live alerts by tenant; of thresholds that are crowded alone. */
  readonly #tenants = new Map<ThresholdName, Map<string | undefined, number>>();

  constructor(
    private readonly state: AlertsState,
    private readonly now: Observation,
    private readonly newId: () => string,
  ) {
    for (const { alert: { name } } of state.live.values()) this.#count(name);
  }

  #count(name: ThresholdName): void {
    this.#live.set(name, (this.#live.get(name) ?? 0) + 1);
  }

  /** The last places are for tenants that have few. */
  #hasRoomFor(name: ThresholdName, tenant: string | undefined): boolean {
    const live = this.#live.get(name) ?? 0;
    if (live < MAX_LIVE_ALERTS_PER_THRESHOLD) return true;
    if (live >= MAX_LIVE_ALERTS_PER_THRESHOLD + RESERVED_LIVE_ALERTS) return false;
    return (this.#tenantsOf(name).get(tenant) ?? 0) < MAX_RESERVED_PER_TENANT;
  }

  /** Whose the live alerts of a threshold are, as far as they were measured. */
  #tenantsOf(name: ThresholdName): Map<string | undefined, number> {
    const known = this.#tenants.get(name);
    if (known !== undefined) return known;
    const counts = new Map<string | undefined, number>();
    for (const { resource, tenant } of this.now.readings.get(name) ?? []) {
      const series = seriesOf(name, resource);
      if (!this.state.live.has(series) && !this.#begun.has(series)) continue;
      counts.set(tenant, (counts.get(tenant) ?? 0) + 1);
    }
    this.#tenants.set(name, counts);
    return counts;
  }

  /** A resource that was measured. */
  take(threshold: Threshold, { series, reading }: { series: string; reading: Reading }): void {
    const live = this.state.live.get(series);
    const { value } = reading;
    if (value === null) {
      if (live?.alert.state === "firing") this.#remind(series, live, threshold);
      return;
    }
    if (live === undefined) {
      if (value > threshold.limit) this.#begin(threshold, { series, reading, value });
    } else if (live.alert.state === "pending") {
      this.#goOn(live, threshold, { series, reading, value });
    } else this.#watch(live, threshold, { series, reading, value });
  }

  /** A live alert whose resource nothing was measured of, or whose threshold is off. */
  miss(
    series: string,
    { live, threshold }: { live: LiveAlert; threshold: Threshold | undefined },
  ): void {
    const isOff = threshold?.enabled !== true;
    if (!isOff && this.now.partial?.has(live.alert.name) === true) {
      if (live.alert.state === "firing") this.#remind(series, live, threshold);
      return;
    }
    if (live.alert.state === "pending") this.volatile.push({ type: "PendingDropped", series });
    else if (isOff) this.#resolve(live, live.alert.value, "the threshold was switched off");
    else this.#clear(live, threshold, { series, value: live.alert.value });
  }

  #begin(
    threshold: Threshold,
    { series, reading, value }: { series: string; reading: Reading; value: number },
  ): void {
    if (!this.#hasRoomFor(threshold.name, reading.tenant)) {
      this.unfollowed++;
      return;
    }
    this.#count(threshold.name);
    this.#begun.add(series);
    const ofTenants = this.#tenants.get(threshold.name);
    ofTenants?.set(reading.tenant, (ofTenants.get(reading.tenant) ?? 0) + 1);
    const { at, monotonic } = this.now;
    const alert = newAlert(threshold, { alertId: this.newId(), reading, value, at });
    const progress = { ...NO_PROGRESS, aboveSince: monotonic, seen: 1 };
    this.#advance({ alert, progress }, threshold, series);
  }

  #goOn(
    live: LiveAlert,
    threshold: Threshold,
    { series, reading, value }: { series: string; reading: Reading; value: number },
  ): void {
    if (value <= threshold.limit) {
      this.volatile.push({ type: "PendingDropped", series });
      return;
    }
    const { at, monotonic, gapped } = this.now;
    const { alert, progress } = live;
    const { limit, severity, runbook, mode } = threshold;
    const followed = {
      ...alert,
      ...{ limit, severity, runbook, mode, value, detail: reading.detail },
      since: gapped ? at : alert.since,
      worst: Math.max(alert.worst, value),
    };
    const since = gapped ? { ...progress, aboveSince: monotonic } : progress;
    this.#advance(sampled(followed, since, { at, value }), threshold, series);
  }

  /** Pending, until it has been above for long enough. */
  #advance(live: LiveAlert, threshold: Threshold, series: string): void {
    const { at, monotonic } = this.now;
    const { alert, progress } = live;
    const aboveMs = monotonic - (progress.aboveSince ?? monotonic);
    this.volatile.push({ type: "Followed", series, alert, progress });
    if (aboveMs < threshold.forSeconds * 1_000) return;
    const fired: Alert = { ...alert, state: "firing", firedAt: at };
    this.events.push({ v: 1, type: "AlertFired", at, alert: fired });
    this.#remind(series, { alert: fired, progress }, threshold);
  }

  /** Firing. */
  #watch(
    live: LiveAlert,
    threshold: Threshold,
    { series, reading, value }: { series: string; reading: Reading; value: number },
  ): void {
    if (value <= (threshold.clearLimit ?? threshold.limit)) {
      return this.#clear(live, threshold, { series, value });
    }
    const { alert, progress } = live;
    const worst = Math.max(alert.worst, value);
    const followed = { ...alert, value, worst, detail: reading.detail };
    this.#remind(
      series,
      { alert: followed, progress: { ...progress, clearSince: null } },
      threshold,
    );
  }

  #clear(
    { alert, progress }: LiveAlert,
    threshold: Threshold,
    { series, value }: { series: string; value: number },
  ): void {
    const { monotonic, gapped } = this.now;
    const clearSince = gapped ? monotonic : progress.clearSince ?? monotonic;
    const live = { alert: { ...alert, value }, progress: { ...progress, clearSince } };
    if (monotonic - clearSince >= threshold.clearForSeconds * 1_000) {
      this.#resolve(live, value, null);
    } else this.#remind(series, live, threshold);
  }

  #resolve({ alert, progress }: LiveAlert, value: number, reason: string | null): void {
    const { alertId } = alert;
    this.events.push({ v: 1, type: "AlertResolved", at: this.now.at, alertId, value, reason });
    if (progress.toldAt !== null) this.words.push({ kind: "resolved", alertId });
  }

  /** Follows a firing alert, and tells somebody of it where that is due. */
  #remind(series: string, { alert, progress }: LiveAlert, threshold: Threshold): void {
    const { at, monotonic } = this.now;
    const { alertId, escalations } = alert;
    const isSilenced = (this.state.silences.get(series)?.until ?? 0) > at;
    const { escalateAfterSeconds } = threshold;
    let { toldAt } = progress;
    if (isSilenced) toldAt = toldAt === null ? null : monotonic;
    else if (toldAt === null) {
      toldAt = monotonic;
      this.words.push({ kind: "fired", alertId });
    } else if (
      alert.acknowledgedBy === null && escalations < MAX_ESCALATIONS &&
      escalateAfterSeconds !== null && monotonic - toldAt >= escalateAfterSeconds * 1_000
    ) {
      toldAt = monotonic;
      const again = escalations + 1;
      this.events.push({ v: 1, type: "AlertEscalated", at, alertId, escalations: again });
      this.words.push({ kind: "escalated", alertId });
    }
    // Events come after what is volatile, and keep its progress.
    this.volatile.push({ type: "Followed", series, alert, progress: { ...progress, toldAt } });
  }
}

function newAlert(
  { name, unit, limit, severity, runbook, mode }: Threshold,
  { alertId, reading, value, at }: {
    alertId: string;
    reading: Reading;
    value: number;
    at: number;
  },
): Alert {
  return {
    alertId,
    name,
    severity,
    state: "pending",
    resource: reading.resource,
    groupKey: groupKeyOf(name, reading.resource),
    unit,
    since: at,
    firedAt: null,
    resolvedAt: null,
    value,
    worst: value,
    limit,
    samples: [{ at, value }],
    detail: reading.detail,
    runbook,
    mode,
    executionId: null,
    runbookProblem: null,
    acknowledgedBy: null,
    acknowledgedAt: null,
    silencedUntil: null,
    silencedBy: null,
    escalations: 0,
  };
}

function groupKeyOf(name: ThresholdName, resource: AlertResource): string {
  return `${name}/${resource.type}:${resource.name}`;
}

/** With one sample more; every other one goes when there are too many. The newest is always there. */
function sampled(alert: Alert, progress: Progress, newest: AlertValue): LiveAlert {
  const { seen, stride } = progress;
  // The newest of before stays only when its turn was.
  const kept = (seen - 1) % stride === 0 ? alert.samples : alert.samples.slice(0, -1);
  if (kept.length < MAX_ALERT_SAMPLES) {
    return {
      alert: { ...alert, samples: [...kept, newest] },
      progress: { ...progress, seen: seen + 1 },
    };
  }
  const thinned = kept.filter((_, index) => index % 2 === 0);
  return {
    alert: { ...alert, samples: [...thinned, newest] },
    progress: { ...progress, seen: seen + 1, stride: stride * 2 },
  };
}

/** What acknowledging an alert leads to; nothing when it was by the same before. Throws NOT_FOUND, INVALID_ALERT_STATE. */
export function decideAcknowledge(
  state: AlertsState,
  { alertId, principal }: AlertOrder,
  at: number,
): readonly AlertEvent[] {
  const live = liveById(state, alertId);
  const ended = state.resolved.find((resolved) => resolved.alertId === alertId);
  const alert = live?.alert ?? ended;
  if (alert === undefined) throw unknownAlert(alertId);
  if (alert.state !== "firing") {
    throw new BrokerError(
      "INVALID_ALERT_STATE",
      `alert ${alertId} is ${alert.state}: only a firing one can be acknowledged`,
      { alertId, state: alert.state },
    );
  }
  if (alert.acknowledgedBy === principal) return [];
  return [{ v: 1, type: "AlertAcknowledged", at, alertId, by: principal }];
}

/** What silencing an alert's resource leads to, whether the alert still lives or not. Throws NOT_FOUND. */
export function decideSilence(
  state: AlertsState,
  { alertId, principal, until }: AlertOrder & { readonly until: number },
  at: number,
): readonly AlertEvent[] {
  const alert = liveById(state, alertId)?.alert ??
    state.resolved.find((resolved) => resolved.alertId === alertId);
  if (alert === undefined) throw unknownAlert(alertId);
  const series = seriesOf(alert.name, alert.resource);
  return [{ v: 1, type: "SeriesSilenced", at, series, until, by: principal }];
}

function unknownAlert(alertId: string): BrokerError {
  return new BrokerError("NOT_FOUND", `there is no alert ${alertId}`, { alertId });
}
