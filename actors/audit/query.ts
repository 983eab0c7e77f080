// Owns finding entries: by who, what, which and when, a page at a time, from either end.
// Refuses to own reading batches (walk.ts) and how a page is shown.
// Invariant: a page looks at no more than `MAX_SCANNED` entries, and says where to go on; what cannot be read is counted,
// and hides nothing else.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Crc32c } from "../../storage/ports.ts";
import type { AuditEntry, AuditFilter, AuditPage, AuditQuery } from "./types.ts";
import { type AuditPartition, walkAudit } from "./walk.ts";

/** Entries that one page looks at, at most. */
const MAX_SCANNED = 10_000;
/** Entries that are read at a time where the newest come first. */
const WINDOW = 500;

/** What is asked for, and what of it the caller knows better than to be told. */
type Asked = AuditQuery & { readonly isLeftOut?: ((entry: AuditEntry) => boolean) | undefined };

interface Placed {
  readonly entry: AuditEntry;
  readonly offset: number;
}

/** The page of `query`; its places are offsets. Rejects as reading the log does. */
export async function queryAudit(
  partition: AuditPartition,
  query: Asked,
  crc32c: Crc32c,
): Promise<AuditPage> {
  const { startOffset, endOffset } = partition.readable();
  const bounds = { startOffset, endOffset, crc32c };
  return query.order === "newest"
    ? await newest(partition, query, bounds)
    : await oldest(partition, query, bounds);
}

interface Bounds {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly crc32c: Crc32c;
}

async function newest(
  partition: AuditPartition,
  query: Asked,
  { startOffset, endOffset, crc32c }: Bounds,
): Promise<AuditPage> {
  const page = new Page(query);
  let to = Math.min(query.at ?? Infinity, endOffset);
  const lowest = Math.max(startOffset, to - MAX_SCANNED);
  while (to > lowest) {
    const from = Math.max(lowest, to - WINDOW);
    const window = await entriesIn(partition, { from, to, crc32c });
    let next = to - 1;
    for (const { entry, offset } of window.reverse()) {
      page.unreadable += next - offset;
      next = offset - 1;
      if (page.takes(entry)) return page.upTo(nextBelow(offset, startOffset));
    }
    page.unreadable += next + 1 - from;
    to = from;
  }
  return page.upTo(nextBelow(to, startOffset));
}

/** The page after goes up to `offset`, exclusive. */
function nextBelow(offset: number, startOffset: number): number | null {
  return offset > startOffset ? offset : null;
}

async function oldest(
  partition: AuditPartition,
  query: Asked,
  { startOffset, endOffset, crc32c }: Bounds,
): Promise<AuditPage> {
  const page = new Page(query);
  let from = Math.max(query.at ?? 0, startOffset);
  const highest = Math.min(endOffset, from + MAX_SCANNED);
  while (from < highest) {
    const to = Math.min(highest, from + WINDOW);
    const window = await entriesIn(partition, { from, to, crc32c });
    let next = from;
    for (const { entry, offset } of window) {
      page.unreadable += offset - next;
      next = offset + 1;
      if (page.takes(entry)) return page.upTo(offset + 1 < endOffset ? offset + 1 : null);
    }
    page.unreadable += to - next;
    from = to;
  }
  return page.upTo(from < endOffset ? from : null);
}

/** A page while it is filled. */
class Page {
  readonly #entries: AuditEntry[] = [];
  /** Up to the entry that the page ends with: each is counted on one page. */
  unreadable = 0;

  constructor(private readonly query: Asked) {}

  /** Takes the entry if it matches; true when the page is full. */
  takes(entry: AuditEntry): boolean {
    if (!matches(entry, this.query) || this.query.isLeftOut?.(entry)) return false;
    this.#entries.push(entry);
    return this.#entries.length >= this.query.limit;
  }

  upTo(next: number | null): AuditPage {
    const { unreadable } = this;
    return { entries: this.#entries, next, ...(unreadable > 0 ? { unreadable } : {}) };
  }
}

/** What can be read of the range, in order. */
async function entriesIn(
  partition: AuditPartition,
  { from, to, crc32c }: { from: number; to: number; crc32c: Crc32c },
): Promise<Placed[]> {
  const placed: Placed[] = [];
  let offset = from;
  while (offset < to) {
    try {
      for await (const found of walkAudit(partition, { from: offset, to, crc32c })) {
        for (const [index, entry] of found.entries.entries()) {
          const at = found.baseOffset + index;
          if (at >= offset && at < to) placed.push({ entry, offset: at });
        }
        offset = Math.max(found.nextOffset, offset + 1);
      }
      return placed;
    } catch (error) {
      if (!(error instanceof BrokerError) || error.code !== "CORRUPT_LOG") throw error;
      offset++;
    }
  }
  return placed;
}

/** Whether all that `filter` names holds of `entry`. */
export function matches(entry: AuditEntry, filter: AuditFilter): boolean {
  const { actor, action, resource, tenant, outcome, code, from, to } = filter;
  if (actor !== undefined && entry.actor !== actor) return false;
  if (action !== undefined && !isAction(entry.action, action)) return false;
  if (resource !== undefined && !isResource(entry, resource)) return false;
  if (tenant !== undefined && entry.tenant !== tenant) return false;
  if (outcome !== undefined && entry.outcome !== outcome) return false;
  if (code !== undefined && entry.code !== code) return false;
  if (from !== undefined && entry.at < from) return false;
  return to === undefined || entry.at < to;
}

function isAction(action: string, asked: string): boolean {
  return asked.endsWith("*") ? action.startsWith(asked.slice(0, -1)) : action === asked;
}

function isResource({ resource }: AuditEntry, asked: string): boolean {
  if (resource === null) return false;
  return resource.name === asked || `${resource.type}:${resource.name}` === asked;
}
