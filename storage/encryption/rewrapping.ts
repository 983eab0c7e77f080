// Owns wrapping the data keys of many logs with a new master key, one log after the other.
// Refuses to own when that is due (ops/encryption_keys.ts) and one log's keys (key_ring.ts).
// Invariant: a log that fails stops no other, and keeps the keys it has; doing it again goes on where it ended.

/** Logs between two words of progress. */
const PROGRESS_EVERY = 100;

export interface RewrappableLog {
  readonly name: string;
  readonly isWrappedByOld: boolean;
  rewrap(): Promise<boolean>;
}

export interface RewrapReports {
  readonly signal: AbortSignal;
  onProgress(progress: { readonly done: number; readonly of: number }): void;
  onFailure(failure: { readonly log: string; readonly error: unknown }): void;
}

/** Numbers of logs whose keys were wrapped anew, and of those that failed. */
export async function rewrapAll(
  logs: Iterable<RewrappableLog>,
  reports: RewrapReports,
): Promise<{ rewrapped: number; failed: number }> {
  const due = [...logs].filter((log) => log.isWrappedByOld);
  let rewrapped = 0;
  let failed = 0;
  for (const [index, log] of due.entries()) {
    if (reports.signal.aborted) break;
    if (index > 0 && index % PROGRESS_EVERY === 0) {
      reports.onProgress({ done: index, of: due.length });
    }
    try {
      if (await log.rewrap()) rewrapped++;
    } catch (error) {
      failed++;
      reports.onFailure({ log: log.name, error });
    }
  }
  return { rewrapped, failed };
}
