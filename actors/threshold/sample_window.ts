// Owns the samples that thresholds look at: those of this broker, and those that other brokers have sent.
// Refuses to own what is made of them (signals.ts) and when (alerts.ts).
// Invariant: bounded in time, and in brokers; of one resource that several have measured the worst reading counts.
import type { Sample } from "../measurement/types.ts";
import { isPartial, type Reading, readingsOf } from "./signals.ts";
import { type AlertSignals, MAX_WINDOW_SECONDS, type ThresholdName } from "./types.ts";

/** Brokers whose samples are kept. */
const MAX_OTHERS = 256;
/** A broker that has sent nothing for so long is not known just now: what it alone measures stays as it is. */
const LATE_MS = 5_000;
/** And after so long is gone. */
const GONE_MS = 60_000;

/** Oldest first, of the longest window of one broker. */
export class SampleWindow {
  readonly #samples: Sample[] = [];

  get samples(): readonly Sample[] {
    return this.#samples;
  }

  get last(): Sample | undefined {
    return this.#samples.at(-1);
  }

  /** False for one that is not newer than the last. `keepsLags`: of older samples too. */
  add(sample: Sample, { keepsLags }: { readonly keepsLags: boolean }): boolean {
    const before = this.#samples.at(-1);
    if (before !== undefined && sample.monotonic <= before.monotonic) return false;
    if (before !== undefined) this.#samples.splice(-1, 1, withoutLists(before, keepsLags));
    this.#samples.push(sample);
    const oldest = sample.monotonic - MAX_WINDOW_SECONDS * 1_000;
    let gone = 0;
    while (this.#samples[gone]!.monotonic <= oldest) gone++;
    if (gone > 0) this.#samples.splice(0, gone);
    return true;
  }
}

/** Without what only the newest is asked for: the lists of fifteen minutes would be some 30 MB. */
function withoutLists(sample: Sample, keepsLags: boolean): Sample {
  const { judgedLags: _judged, ...kept } = sample;
  return { ...kept, groups: [], problems: [], lags: keepsLags ? sample.lags : [] };
}

interface Other {
  window: SampleWindow;
  signals: AlertSignals;
  /** By this broker's monotonic clock. */
  heardAtMs: number;
}

/** What other brokers have measured. */
export class OtherSamples {
  readonly #others = new Map<string, Other>();
  #judgesSinceMs = -Infinity;

  hear(
    nodeId: string,
    { sample, signals, keepsLags }: {
      readonly sample: Sample;
      readonly signals: AlertSignals;
      readonly keepsLags: boolean;
    },
    nowMs: number,
  ): void {
    const known = this.#others.get(nodeId);
    if (known === undefined && this.#others.size >= MAX_OTHERS) return;
    const other = known ?? { window: new SampleWindow(), signals, heardAtMs: nowMs };
    // It was started anew: its clock has begun again.
    if (!other.window.add(sample, { keepsLags })) {
      other.window = new SampleWindow();
      other.window.add(sample, { keepsLags });
    }
    other.signals = signals;
    other.heardAtMs = nowMs;
    this.#others.set(nodeId, other);
  }

  /** From `nowMs` on this broker may be the one that judges: others have to be heard first. */
  begin(nowMs: number): void {
    this.#others.clear();
    this.#judgesSinceMs = nowMs;
  }

  /** Lets go of brokers that are gone. */
  sweep(nowMs: number): void {
    for (const [nodeId, { heardAtMs }] of this.#others) {
      if (nowMs - heardAtMs > GONE_MS) this.#others.delete(nodeId);
    }
  }

  /** `own`, and what others have measured lately; of each resource the worst. */
  withOthers(
    own: readonly Reading[],
    name: ThresholdName,
    { windowSeconds, nowMs }: { readonly windowSeconds: number; readonly nowMs: number },
  ): readonly Reading[] {
    if (this.#others.size === 0) return own;
    const byResource = new Map<string, Reading>();
    const take = (reading: Reading) => {
      const key = `${reading.resource.type} ${reading.resource.name}`;
      const other = byResource.get(key);
      if (other === undefined || isWorse(reading, other)) byResource.set(key, reading);
    };
    own.forEach(take);
    for (const [nodeId, { window, signals, heardAtMs }] of this.#others) {
      if (nowMs - heardAtMs > LATE_MS) continue;
      readingsOf(name, window.samples, { nodeId, windowSeconds, signals }).forEach(take);
    }
    return [...byResource.values()];
  }

  /** Whether resources without a reading may be above the limit all the same. */
  isPartial(name: ThresholdName, nowMs: number): boolean {
    if (nowMs - this.#judgesSinceMs < LATE_MS) return true;
    return this.#others.values().some(({ window, heardAtMs }) =>
      nowMs - heardAtMs > LATE_MS || isPartial(name, window.last!)
    );
  }
}

function isWorse({ value }: Reading, than: Reading): boolean {
  return value !== null && (than.value === null || value > than.value);
}
