// Owns looking through partitions for messages, within bounds.
// Refuses to own asking the broker (`read` is handed in) and what is looked for.
// Invariant: no more than `maxLooked` messages are read and `maxFound` kept; what was left out is told.
import type { Message } from "../../answers.ts";

/** Most messages of one request. */
const CHUNK = 500;
/** Most requests for one partition: where transactions were aborted pages may be empty. */
const MAX_PAGES = 200;

export interface ReadPage {
  readonly messages: readonly Message[];
  readonly nextOffset: number;
  readonly highWatermark: number;
}

export interface ScanOptions {
  /** Where to begin, by partition. */
  readonly starts: readonly { readonly partition: number; readonly offset: string }[];
  readonly maxLooked: number;
  readonly maxFound: number;
  readonly isWanted: (message: Message) => boolean;
  readonly read: (partition: number, offset: string, maxMessages: number) => Promise<ReadPage>;
}

export interface Found {
  /** Newest first. */
  readonly messages: readonly Message[];
  readonly looked: number;
  /** Messages behind those that were looked at are left. */
  readonly isCut: boolean;
}

/** Each partition gets an even share of what may be looked at. */
export async function scanMessages(options: ScanOptions): Promise<Found> {
  const { starts, maxLooked, maxFound, isWanted, read } = options;
  const share = Math.max(1, Math.floor(maxLooked / Math.max(1, starts.length)));
  const found: Message[] = [];
  let looked = 0;
  let isCut = false;
  for (const { partition, offset } of starts) {
    let left = share;
    for (let next = offset, pages = 1;; pages++) {
      const page = await read(partition, next, Math.min(CHUNK, left));
      looked += page.messages.length;
      left -= page.messages.length;
      found.push(...page.messages.filter(isWanted));
      const isEnd = page.nextOffset >= page.highWatermark || String(page.nextOffset) === next;
      if (isEnd) break;
      if (left <= 0 || pages >= MAX_PAGES) {
        isCut = true;
        break;
      }
      next = String(page.nextOffset);
    }
  }
  found.sort((a, b) =>
    b.timestamp - a.timestamp || b.partition - a.partition || b.offset - a.offset
  );
  return { messages: found.slice(0, maxFound), looked, isCut: isCut || found.length > maxFound };
}
