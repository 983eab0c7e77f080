// Owns streaming audit entries as NDJSON, one a line, no faster than the caller reads.
// Refuses to own finding them (actors/audit/).
// Invariant: a line is the entry in its canonical form, from which anybody can compute its hash, or says how many entries
// could not be read there, so that no export is short without saying so; one page in memory at a time.
import { canonicalJson } from "../../actors/audit/chain.ts";
import type { AuditPage } from "../../actors/audit/types.ts";

export interface EntryLinesOptions {
  readonly first: AuditPage;
  /** Most lines; null: no limit. */
  readonly limit: number | null;
  readonly pageFrom: (at: number) => Promise<AuditPage>;
  readonly yieldToEventLoop: () => Promise<void>;
  /** Hears why the stream broke off: by then the status has been sent. */
  readonly onError: (error: unknown) => void;
}

/** Lines of `first` and of all pages behind it. */
export function entryLines(options: EntryLinesOptions): ReadableStream<Uint8Array<ArrayBuffer>> {
  const encoder = new TextEncoder();
  let page: AuditPage | null = options.first;
  let left = options.limit ?? Infinity;
  return new ReadableStream({
    async pull(controller) {
      try {
        if (page === null || left <= 0) return controller.close();
        const lines = page.entries.slice(0, left).map((entry) => `${canonicalJson(entry)}\n`);
        left -= lines.length;
        // Enqueued even when empty: a pull without it would not be followed by another.
        controller.enqueue(encoder.encode(lines.join("") + gapLine(page)));
        page = page.next === null || left <= 0 ? null : await options.pageFrom(page.next);
        await options.yieldToEventLoop();
      } catch (error) {
        options.onError(error);
        controller.error(error);
      }
    },
  });
}

/** Told behind the page in which they are missing; an entry has no such field. */
function gapLine({ unreadable = 0 }: AuditPage): string {
  return unreadable === 0 ? "" : `${canonicalJson({ unreadable, see: "/api/audit:verify" })}\n`;
}
