// Owns the alerts of this broker: judging samples, what holds in memory, writing it down, telling whoever listens.
// Refuses to own the life of an alert (decide.ts), measuring (signals.ts), settings (thresholds.ts) and delivery (ops/).
// Invariant: an alert fires and is told even while nothing can be written; what is written is all that fired, in order.
import { BrokerError } from "../../storage/broker_error.ts";
import type { MetadataStore } from "../../storage/metadata.ts";
import type { Clock, Randomness, Timers } from "../../storage/ports.ts";
import type { Sample } from "../measurement/types.ts";
import type { Journal } from "../runtime/journal.ts";
import type { Home } from "../runtime/supervisor.ts";
import type { RetainedPartition, RetainOptions } from "../runtime/journal_retention.ts";
import { AlertJournal } from "./alert_journal.ts";
import { retainAlerts } from "./alert_retention.ts";
import { alertViews, isWanted, shown } from "./alert_views.ts";
import {
  type AlertWord,
  decideAcknowledge,
  decideSilence,
  judge,
  MAX_SAMPLE_GAP_MS,
} from "./decide.ts";
import type { AlertEvent } from "./events.ts";
import { ExecutionStarter } from "./execution_starter.ts";
import { OtherSamples, SampleWindow } from "./sample_window.ts";
import { isPartial, readingsOf } from "./signals.ts";
import { type AlertsState, evolveAlerts, NO_ALERTS } from "./state.ts";
import { Thresholds } from "./thresholds.ts";
import {
  type Alert,
  type AlertFilter,
  type AlertNews,
  type AlertOrder,
  type AlertRunbooks,
  type Alerts,
  type AlertSignals,
  type NewThreshold,
  type Threshold,
  type ThresholdName,
} from "./types.ts";

/** The internal topic that holds the journal. */
export const ALERTS_TOPIC = "__alerts";
/** Pause before a journal that could not be read is read again. */
const LOAD_RETRY_MS = 10_000;
const NO_SIGNALS: AlertSignals = Object.freeze({ audit: null });

export interface AlertsPorts {
  readonly nodeId: string;
  /** Of the journal: alerts are judged where it is led. Left out: here. */
  readonly home?: Pick<Home, "leads" | "onLeadership">;
  readonly metadata: MetadataStore;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly randomness: Randomness;
  /** Both throw where it is not open. */
  journal(): Journal;
  partition(): RetainedPartition;
  report(event: { level: "warning" | "error"; message: string; error?: unknown }): void;
}

export class LocalAlerts implements Alerts {
  readonly #journal: AlertJournal;
  readonly #starter: ExecutionStarter;
  readonly #newsListeners = new Set<(news: AlertNews) => void>();
  readonly #changeListeners = new Set<() => void>();
  #state: AlertsState = NO_ALERTS;
  #own = new SampleWindow();
  readonly #others = new OtherSamples();
  #loaded = false;
  #loading = false;
  #loadAfterMs = -Infinity;
  /** Whether the last write failed, or the last observation had too many alerts: said once. */
  #isWritingBroken = false;
  #isFull = false;
  #completeFrom = 0;
  #closing = false;

  private constructor(
    private readonly ports: AlertsPorts,
    private readonly settings: Thresholds,
  ) {
    this.#journal = new AlertJournal(() => ports.journal());
    this.#starter = new ExecutionStarter({
      report: (event) => ports.report(event),
      started: (alertId, executionId) => {
        const at = ports.clock.now();
        this.#apply([{ v: 1, type: "AlertExecutionStarted", at, alertId, executionId }]);
        this.#changed();
      },
      refused: (alertId, problem) => this.#refused(alertId, problem),
    });
    settings.onChanged(() => this.#changed());
  }

  /** Reads settings and alerts. Where the journal cannot be read now, that is done later, and alerts fire meanwhile. */
  static async open(ports: AlertsPorts): Promise<LocalAlerts> {
    const alerts = new LocalAlerts(ports, await Thresholds.open(ports));
    ports.home?.onLeadership((leads) => alerts.#moved(leads));
    if (ports.home?.leads !== false) await alerts.#load();
    return alerts;
  }

  observe(sample: Sample, signals: AlertSignals = NO_SIGNALS): void {
    if (this.#closing || this.ports.home?.leads === false) return;
    const { at, monotonic } = sample;
    const { last } = this.#own;
    if (!this.#own.add(sample, { keepsLags: this.#keepsLags() })) return;
    if (!this.#loaded && monotonic >= this.#loadAfterMs) void this.#load();
    const nowMs = this.ports.clock.monotonic();
    this.#others.sweep(nowMs);
    const thresholds = this.settings.list();
    const { nodeId, randomness } = this.ports;
    const readings = new Map(
      thresholds.filter(({ enabled }) => enabled).map(({ name, windowSeconds }) => [
        name,
        this.#others.withOthers(
          readingsOf(name, this.#own.samples, { nodeId, windowSeconds, signals }),
          name,
          { windowSeconds, nowMs },
        ),
      ]),
    );
    const gapped = last !== undefined && monotonic - last.monotonic > MAX_SAMPLE_GAP_MS;
    const partial = new Set(
      [...readings.keys()].filter((name) =>
        isPartial(name, sample) || this.#others.isPartial(name, nowMs)
      ),
    );
    const observation = { at, monotonic, gapped, thresholds, readings, partial };
    const decision = judge(this.#state, observation, () => randomness.uuid());
    const { events, volatile, words, unfollowed } = decision;
    this.#state = evolveAlerts(this.#state, volatile);
    this.#apply(events);
    this.#reportFull(unfollowed);
    this.#tell(words);
    this.#starter.startMissing(this.#firing(), monotonic);
    if (events.length + volatile.length > 0) this.#changed();
  }

  /** What another broker has measured of itself: judged with this broker's own next sample. */
  hear(nodeId: string, sample: Sample, signals: AlertSignals = NO_SIGNALS): void {
    if (this.#closing || this.ports.home?.leads === false) return;
    const keepsLags = this.#keepsLags();
    this.#others.hear(nodeId, { sample, signals, keepsLags }, this.ports.clock.monotonic());
  }

  list(filter: AlertFilter = {}): readonly Alert[] {
    return alertViews(this.#state, this.ports.clock.now())
      .filter((alert) => isWanted(alert, filter));
  }

  find(alertId: string): Alert | null {
    return this.list().find((alert) => alert.alertId === alertId) ?? null;
  }

  async acknowledge(order: AlertOrder): Promise<Alert> {
    return await this.#command(
      order.alertId,
      "acknowledged",
      (at) => decideAcknowledge(this.#state, order, at),
    );
  }

  async silence(order: AlertOrder & { readonly until: number }): Promise<Alert> {
    return await this.#command(
      order.alertId,
      "silenced",
      (at) => decideSilence(this.#state, order, at),
    );
  }

  thresholds(): readonly Threshold[] {
    return this.settings.list();
  }

  threshold(name: ThresholdName): Threshold {
    return this.settings.find(name);
  }

  putThreshold(threshold: NewThreshold): Promise<Threshold> {
    return this.settings.put(threshold);
  }

  resetThreshold(name: ThresholdName): Promise<Threshold> {
    return this.settings.reset(name);
  }

  onNews(listener: (news: AlertNews) => void): () => void {
    this.#newsListeners.add(listener);
    return () => this.#newsListeners.delete(listener);
  }

  onChanged(listener: () => void): () => void {
    this.#changeListeners.add(listener);
    return () => this.#changeListeners.delete(listener);
  }

  useRunbooks(runbooks: AlertRunbooks): void {
    this.#starter.use(runbooks);
  }

  /**
   * Drops of the journal what is older than 90 days, once all that is known has been written down after it. `now` is
   * trusted wall time. What cannot be done now is done at the next call.
   */
  async applyRetention(
    now: number,
    options: Pick<RetainOptions, "minDroppableOffsets"> = {},
  ): Promise<void> {
    if (!this.#loaded || this.#closing) return;
    try {
      const of = { state: () => this.#state, journal: this.#journal, clock: this.ports.clock };
      const partition = this.ports.partition();
      const completeFrom = this.#completeFrom;
      this.#completeFrom = await retainAlerts(of, { ...options, partition, completeFrom, now });
    } catch (error) {
      const message = "retention of the journal of alerts failed";
      this.ports.report({ level: "warning", message, error });
    }
  }

  /** Judges no more, and writes down what is not written yet; what cannot be is said and lost. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.settings.close();
    if (this.#loaded) await this.#journal.flush().catch(() => undefined);
    const lost = this.#journal.unwritten.length + this.#journal.dropped;
    if (lost === 0) return;
    const message = `${lost} events of alerts could not be written`;
    this.ports.report({ level: "warning", message });
  }

  /** Whoever comes to lead the journal goes on with what is written; whoever leads it no longer knows of nothing. */
  #moved(leads: boolean): void {
    this.#loaded = false;
    this.#journal.forget();
    this.#state = NO_ALERTS;
    this.#own = new SampleWindow();
    this.#others.begin(this.ports.clock.monotonic());
    this.#loadAfterMs = -Infinity;
    if (leads) void this.#load();
    this.#changed();
  }

  async #load(): Promise<void> {
    if (this.#loading) return;
    this.#loading = true;
    try {
      const events: AlertEvent[] = [];
      await this.#journal.load((event) => {
        if (event.type === "JournalCompleted") this.#completeFrom = event.fromOffset;
        events.push(event);
      });
      const before = this.#state;
      const written = evolveAlerts(NO_ALERTS, [...events, ...this.#journal.unwritten]);
      const followed = [...before.live].filter(([series, { alert: { alertId } }]) =>
        (written.live.get(series)?.alert.alertId ?? alertId) === alertId
      ).map(([series, live]) => ({ type: "Followed" as const, series, ...live }));
      this.#state = evolveAlerts(written, followed);
      this.#loaded = true;
      this.#write();
    } catch (error) {
      this.#loadAfterMs = this.ports.clock.monotonic() + LOAD_RETRY_MS;
      const message = "the journal of alerts cannot be read: earlier alerts are not known";
      this.ports.report({ level: "error", message, error });
    } finally {
      this.#loading = false;
    }
  }

  #keepsLags(): boolean {
    return this.settings.find("consumer-lag").windowSeconds > 0;
  }

  /** In memory at once, written behind. */
  #apply(events: readonly AlertEvent[]): void {
    this.#state = evolveAlerts(this.#state, events);
    this.#journal.add(events);
    if (this.#journal.unwritten.length > 0) this.#write();
  }

  #write(): void {
    if (!this.#loaded) return;
    this.#journal.flush().then(() => {
      this.#isWritingBroken = false;
    }, (error) => {
      if (this.#isWritingBroken) return;
      this.#isWritingBroken = true;
      const message = "alerts cannot be written down just now; they fire all the same";
      this.ports.report({ level: "warning", message, error });
    });
  }

  async #command(
    alertId: string,
    kind: "acknowledged" | "silenced",
    decide: (at: number) => readonly AlertEvent[],
  ): Promise<Alert> {
    if (this.#closing) throw new BrokerError("SHUTTING_DOWN", "the broker is shutting down");
    if (!this.#loaded) {
      throw new BrokerError("LEADER_NOT_AVAILABLE", "the journal of alerts is not open");
    }
    const { clock } = this.ports;
    const events = decide(clock.now());
    this.#state = evolveAlerts(this.#state, events);
    this.#journal.add(events);
    await this.#journal.flush();
    const alert = this.find(alertId)!;
    if (events.length > 0) this.#announce({ kind, groupKey: alert.groupKey, alerts: [alert] });
    this.#changed();
    return alert;
  }

  #refused(alertId: string, problem: string): boolean {
    // When the broker stops, nothing is started any more: that is no news of the alert.
    if (this.#closing || this.find(alertId)?.runbookProblem === problem) return false;
    const at = this.ports.clock.now();
    this.#apply([{ v: 1, type: "AlertExecutionRefused", at, alertId, problem }]);
    this.#changed();
    return true;
  }

  #firing(): Alert[] {
    return [...this.#state.live.values()].map(({ alert }) => alert)
      .filter(({ state }) => state === "firing");
  }

  #reportFull(unfollowed: number): void {
    const isFull = unfollowed > 0;
    if (isFull && !this.#isFull) {
      const message = `there are too many alerts: ${unfollowed} resources are not followed`;
      this.ports.report({ level: "warning", message });
    }
    this.#isFull = isFull;
  }

  #tell(words: readonly AlertWord[]): void {
    if (words.length === 0) return;
    const now = this.ports.clock.now();
    const byId = new Map(
      [...this.#firing(), ...this.#state.resolved].map((alert) => [alert.alertId, alert]),
    );
    const news = new Map<string, { kind: AlertWord["kind"]; alerts: Alert[] }>();
    for (const { kind, alertId } of words) {
      const alert = byId.get(alertId);
      if (alert === undefined) continue;
      const key = `${kind} ${alert.groupKey}`;
      const together = news.get(key) ?? { kind, alerts: [] };
      together.alerts.push(shown(this.#state, alert, now));
      news.set(key, together);
    }
    for (const { kind, alerts } of news.values()) {
      this.#announce({ kind, groupKey: alerts[0]!.groupKey, alerts });
    }
  }

  #announce(news: AlertNews): void {
    for (const listener of [...this.#newsListeners]) listener(news);
  }

  #changed(): void {
    for (const listener of [...this.#changeListeners]) listener();
  }
}
