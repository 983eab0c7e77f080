// Owns finding entries: by who, what, which and when, a page at a time, from either end.
// Refuses to own reading batches (walk.ts) and how a page is shown.
// Invariant: a page looks at no more than `MAX_SCANNED` entries, and says where to go on.
import type { Crc32c } from "../../storage/ports.ts";
import type { AuditEntry, AuditFilter, AuditPage, AuditQuery } from "./types.ts";
import { type AuditPartition, walkAudit } from "./walk.ts";

/** Entries that one page looks at, at most. */
const MAX_SCANNED = 10_000;
/** Entries that are read at a time where the newest come first. */
const WINDOW = 500;

interface Placed {
  readonly entry: AuditEntry;
  readonly offset: number;
}

/** The page of `query`; its places are offsets. Rejects as reading the log does. */
export async function queryAudit(
  partition: AuditPartition,
  query: AuditQuery,
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
  query: AuditQuery,
  { startOffset, endOffset, crc32c }: Bounds,
): Promise<AuditPage> {
  const entries: AuditEntry[] = [];
  let to = Math.min(query.at ?? Infinity, endOffset);
  const lowest = Math.max(startOffset, to - MAX_SCANNED);
  while (to > lowest) {
    const from = Math.max(lowest, to - WINDOW);
    const window = await entriesIn(partition, { from, to, crc32c });
    for (const { entry, offset } of window.reverse()) {
      if (!matches(entry, query)) continue;
      entries.push(entry);
      if (entries.length === query.limit) return { entries, next: nextBelow(offset, startOffset) };
    }
    to = from;
  }
  return { entries, next: nextBelow(to, startOffset) };
}

/** The page after goes up to `offset`, exclusive. */
function nextBelow(offset: number, startOffset: number): number | null {
  return offset > startOffset ? offset : null;
}

async function oldest(
  partition: AuditPartition,
  query: AuditQuery,
  { startOffset, endOffset, crc32c }: Bounds,
): Promise<AuditPage> {
  const entries: AuditEntry[] = [];
  let from = Math.max(query.at ?? 0, startOffset);
  const highest = Math.min(endOffset, from + MAX_SCANNED);
  while (from < highest) {
    const to = Math.min(highest, from + WINDOW);
    for (const { entry, offset } of await entriesIn(partition, { from, to, crc32c })) {
      if (!matches(entry, query)) continue;
      entries.push(entry);
      if (entries.length < query.limit) continue;
      return { entries, next: offset + 1 < endOffset ? offset + 1 : null };
    }
    from = to;
  }
  return { entries, next: from < endOffset ? from : null };
}

async function entriesIn(
  partition: AuditPartition,
  range: { from: number; to: number; crc32c: Crc32c },
): Promise<Placed[]> {
  const placed: Placed[] = [];
  for await (const { baseOffset, entries } of walkAudit(partition, range)) {
    for (const [index, entry] of entries.entries()) {
      const offset = baseOffset + index;
      if (offset >= range.from && offset < range.to) placed.push({ entry, offset });
    }
  }
  return placed;
}

/** Whether all that `filter` names holds of `entry`. */
export function matches(entry: AuditEntry, filter: AuditFilter): boolean {
  const { actor, action, resource, from, to } = filter;
  if (actor !== undefined && entry.actor !== actor) return false;
  if (action !== undefined && !isAction(entry.action, action)) return false;
  if (resource !== undefined && !isResource(entry, resource)) return false;
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
