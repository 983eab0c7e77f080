// Owns one threshold judged by the deciders alone, in virtual time.
// Refuses to own the settings and samples of a test. Invariant: each sample is judged as it comes.
import type { Sample } from "../../actors/measurement/types.ts";
import { judge, MAX_SAMPLE_GAP_MS } from "../../actors/threshold/decide.ts";
import { KNOWN_THRESHOLDS } from "../../actors/threshold/defaults.ts";
import { isPartial, readingsOf } from "../../actors/threshold/signals.ts";
import { type AlertsState, evolveAlerts, NO_ALERTS } from "../../actors/threshold/state.ts";
import type {
  Alert,
  AlertSignals,
  Threshold,
  ThresholdName,
  ThresholdSettings,
} from "../../actors/threshold/types.ts";
import { SampleRun } from "./sample_run.ts";

/** Of 10,000 publishes. */
export const requests = (failures: number): Partial<Sample> => ({
  publishRequests: 10_000,
  publishFailures: failures,
});
export const MEBIBYTE = 1_048_576;
/** One partition has this share of 8 MiB. */
export const share = (share: number): Partial<Sample> => ({
  partitions: [
    { topic: "orders", partition: 3, bytes: share * 8 * MEBIBYTE, share, hotKey: "k" },
    { topic: "orders", partition: 4, bytes: (1 - share) * 8 * MEBIBYTE, share: 1 - share },
  ],
});

export class Judged {
  state: AlertsState = NO_ALERTS;
  readonly words: string[] = [];
  readonly run = new SampleRun((sample) => this.observe(sample));
  signals: AlertSignals = { audit: null };
  threshold: Threshold;
  unfollowed = 0;
  readonly #samples: Sample[] = [];
  #alerts = 0;

  constructor(readonly name: ThresholdName, settings: Partial<ThresholdSettings> = {}) {
    const { definition, defaults } = KNOWN_THRESHOLDS.get(name)!;
    this.threshold = { ...definition, ...defaults, ...settings, updatedAt: null, updatedBy: null };
  }

  observe(sample: Sample): void {
    const last = this.#samples.at(-1);
    this.#samples.push(sample);
    const { at, monotonic } = sample;
    const gapped = last !== undefined && monotonic - last.monotonic > MAX_SAMPLE_GAP_MS;
    const { windowSeconds } = this.threshold;
    const context = { nodeId: "1", windowSeconds, signals: this.signals };
    const readings = new Map([[this.name, readingsOf(this.name, this.#samples, context)]]);
    const partial = new Set(isPartial(this.name, sample) ? [this.name] : []);
    const observation = { at, monotonic, gapped, thresholds: [this.threshold], readings, partial };
    const decision = judge(this.state, observation, () => `a${++this.#alerts}`);
    const { events, volatile, words } = decision;
    this.state = evolveAlerts(this.state, [...volatile, ...events]);
    this.words.push(...words.map(({ kind }) => kind));
    this.unfollowed = decision.unfollowed;
  }

  get alert(): Alert | null {
    return this.state.live.values().next().value?.alert ?? null;
  }

  get status(): string {
    return this.alert?.state ?? (this.state.resolved.length > 0 ? "resolved" : "none");
  }
}
