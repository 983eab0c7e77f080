// Owns samples for tests of what judges them: quiet ones, changed as a test says, one behind the other in virtual time.
// Refuses to own measuring. Invariant: a sample comes every second unless a test says otherwise.
import type { LagSample, Sample } from "../../actors/measurement/types.ts";
import { VirtualClock } from "./virtual_time.ts";

const QUIET: Sample = {
  at: 0,
  monotonic: 0,
  seconds: 1,
  publishRequests: 0,
  publishFailures: 0,
  publishFailuresByCode: {},
  publishMessages: 0,
  publishBytes: 0,
  deliveredMessages: 0,
  deliveredBytes: 0,
  publishLatencyMs: { p50: null, p95: null, p99: null },
  endToEndMs: { p50: null, p95: null, p99: null },
  replicationDelayMs: 0,
  rebalances: 0,
  deadLetters: 0,
  retries: 0,
  duplicatesSuppressed: 0,
  leaderChanges: 0,
  inSyncChanges: 0,
  offlinePartitions: 0,
  waitingCommands: 0,
  jobs: {},
  storageBytes: 0,
  diskFreeBytes: null,
  eventLoopDelayMs: 0,
  syncLatencyMs: { p50: null, p99: null },
  memoryBytes: 0,
  partitions: [],
  lags: [],
  groups: [],
  quotaBreaches: {},
  canaries: [],
  canariesByState: { running: 0, withdrawn: 0 },
  canariesWithdrawn: 0,
  problems: [],
};

/** A quiet sample with `changes`. */
export function sampleOf(changes: Partial<Sample> = {}): Sample {
  return { ...QUIET, ...changes };
}

/** Lag of `orders/<partition>` in `group`. */
export function lagOf(
  lag: number,
  of: Partial<Pick<LagSample, "group" | "partition" | "status">> = {},
): Partial<Sample> {
  const { group = "billing", partition = 0, status = "lagging" } = of;
  return { lags: [{ group, topic: "orders", partition, lag, lagSeconds: 12, status }] };
}

/** Hands samples to `observe`, one each second of virtual time. */
export class SampleRun {
  constructor(
    readonly observe: (sample: Sample) => void,
    readonly time: VirtualClock = new VirtualClock(),
  ) {}

  /** Seconds since virtual time began. */
  get second(): number {
    return this.time.monotonic() / 1_000;
  }

  /** One sample each second for `seconds`, all with `changes`. */
  async feed(seconds: number, changes: Partial<Sample> = {}): Promise<void> {
    for (let i = 0; i < seconds; i++) await this.after(1_000, changes);
  }

  /** One sample, `ms` later. */
  async after(ms: number, changes: Partial<Sample> = {}): Promise<void> {
    await this.time.advance(ms);
    this.observe(sampleOf({
      at: this.time.now(),
      monotonic: this.time.monotonic(),
      seconds: ms / 1_000,
      ...changes,
    }));
  }

  /** Feeds until `isReached`, at most `maxSeconds`; the number of samples it took, or null. */
  async until(
    isReached: () => boolean,
    changes: Partial<Sample>,
    maxSeconds: number,
  ): Promise<number | null> {
    for (let fed = 1; fed <= maxSeconds; fed++) {
      await this.feed(1, changes);
      if (isReached()) return fed;
    }
    return null;
  }
}
