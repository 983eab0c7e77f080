// Owns putting measuring together for a broker of this process: counters, watches, the sampler.
// Refuses to own any of them. Invariant: nothing of it runs before `start` or after `stop`.
import { EdgeCounters } from "./edge_counters.ts";
import { EventLoopWatch } from "./event_loop_watch.ts";
import { HotKeys } from "./hot_keys.ts";
import { LagWatch } from "./lag_watch.ts";
import type { SyncWatch } from "./measured_disk.ts";
import { Sampler, type SamplerOptions } from "./sampler.ts";

/** What the sampler needs, without what is made for it here. */
export interface MeasuringOptions
  extends Omit<SamplerOptions, "edge" | "loop" | "lags" | "hotKeys"> {
  readonly maxDecompressedBytes: number;
}

/** Everything that measures one broker. */
export interface Measuring {
  /** To be handed to the edges. */
  readonly edge: EdgeCounters;
  readonly syncs: SyncWatch;
  readonly sampler: Sampler;
  readonly lags: LagWatch;
  stop(): Promise<void>;
}

/** Measures from now on. */
export function startMeasuring(options: MeasuringOptions): Measuring {
  const edge = new EdgeCounters();
  const loop = new EventLoopWatch(options);
  const lags = new LagWatch(options);
  const hotKeys = new HotKeys(options);
  const sampler = new Sampler({ ...options, edge, loop, lags, hotKeys });
  sampler.start();
  return {
    edge,
    syncs: options.syncs,
    sampler,
    lags,
    stop: async () => {
      loop.stop();
      await sampler.stop();
    },
  };
}
