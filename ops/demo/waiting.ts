// Owns waiting for something to become true, within a bound.
// Refuses to own what is waited for. Invariant: no wait is longer than its bound, and an interrupt ends it.

const LOOK_EVERY_MS = 20;

export interface WaitBounds {
  readonly limitMs: number;
  readonly signal: AbortSignal;
  /** In words, for the error. */
  readonly what: string;
}

/** What was waited for did not come about. */
export class WaitedInVain extends Error {
  override name = "WaitedInVain";
}

/** Resolves when `condition` holds; rejects with WaitedInVain after the limit, or with the signal's reason. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  bounds: WaitBounds,
): Promise<void> {
  const { limitMs, signal, what } = bounds;
  const started = performance.now();
  while (!await condition()) {
    if (performance.now() - started > limitMs) {
      throw new WaitedInVain(`waited ${limitMs / 1000} s in vain for ${what}`);
    }
    await pause(LOOK_EVERY_MS, signal);
  }
}

/** Resolves after `ms`; rejects with the signal's reason when that comes first. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal.addEventListener("abort", stop, { once: true });
  });
}
