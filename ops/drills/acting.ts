// Owns what every drill does on its stage: telling what happens, breaking something, waiting for what has to come.
// Refuses to own the stage itself (scene.ts, cluster/cluster_scene.ts).
// Invariant: every wait has a bound, and what was opened is closed however the drill ends, the last one first.
import { pause, until, WaitedInVain } from "../demo/waiting.ts";
import { Timeline } from "./timeline.ts";
import type { TimelineEntry, TimelineKind } from "./types.ts";

const LOOK_EVERY_MS = 50;

export interface ActingOptions {
  /** Aborted when the drill is to end early. */
  readonly signal: AbortSignal;
  readonly onEntry: (entry: TimelineEntry) => void;
}

export interface RecoveryWait {
  readonly sinceMs: number;
  readonly limitMs: number;
  readonly what: string;
}

export class Acting {
  readonly timeline: Timeline;
  /** Aborted when the drill is over, or is to end early. */
  readonly signal: AbortSignal;
  readonly #over = new AbortController();
  readonly #closers: (() => Promise<void>)[] = [];

  constructor(timeline: Timeline, signal: AbortSignal) {
    this.timeline = timeline;
    this.signal = AbortSignal.any([signal, this.#over.signal]);
  }

  /** A timeline by this process's monotonic clock. */
  static timeline(onEntry: (entry: TimelineEntry) => void): Timeline {
    return new Timeline(() => performance.now(), onEntry);
  }

  /** Closed when the drill is over, the last one first. */
  onClose(close: () => Promise<void>): void {
    this.#closers.push(close);
  }

  tell(kind: TimelineKind, text: string): void {
    this.timeline.add(kind, text);
  }

  /** Injects the fault; gives back when, monotonic ms. */
  async inject(what: string, how: () => void | Promise<void>): Promise<number> {
    const at = performance.now();
    this.tell("fault", what);
    await how();
    return at;
  }

  /** Waits for what has to come, or the drill makes no sense. */
  until(
    condition: () => boolean | Promise<boolean>,
    what: string,
    limitMs = 30_000,
  ): Promise<void> {
    return until(condition, { limitMs, signal: this.signal, what });
  }

  /** When `condition` held, ms since `sinceMs`; null when it did not within `limitMs`. */
  async recovered(
    condition: () => boolean | Promise<boolean>,
    { sinceMs, limitMs, what }: RecoveryWait,
  ): Promise<number | null> {
    const givenUpAt = performance.now() + limitMs;
    while (!await condition()) {
      if (performance.now() > givenUpAt) {
        this.tell("step", `waited ${(limitMs / 1_000).toFixed(0)} s in vain for ${what}`);
        return null;
      }
      await pause(LOOK_EVERY_MS, this.signal);
    }
    const tookMs = Math.round(performance.now() - sinceMs);
    this.tell("recovered", `${what}: ${(tookMs / 1_000).toFixed(2)} s after the fault`);
    return tookMs;
  }

  /** As `recovered`, where a missing end is no failure by itself. */
  async settled(
    condition: () => boolean | Promise<boolean>,
    what: string,
    limitMs: number,
  ): Promise<boolean> {
    try {
      await until(condition, { limitMs, signal: this.signal, what });
      return true;
    } catch (error) {
      if (!(error instanceof WaitedInVain)) throw error;
      this.tell("step", error.message);
      return false;
    }
  }

  pause(ms: number): Promise<void> {
    return pause(ms, this.signal);
  }

  /** Ends what waits. */
  protected end(): void {
    this.#over.abort(new Error("the drill is over"));
  }

  protected async closeAll(): Promise<void> {
    for (const close of this.#closers.toReversed()) await close().catch(() => undefined);
  }
}
