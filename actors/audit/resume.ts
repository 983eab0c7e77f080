// Owns finding out where the chain stands: at a start, and after a write of unknown outcome.
// Refuses to own what is done about it (audit_log.ts).
// Invariant: only entries that follow the kept head link by link are taken over; whatever else the log holds there, the
// chain goes on from the kept head, so that verifying finds the break.
import { brokenLink, hashOf } from "./chain.ts";
import type { KeptHead } from "./kept_head.ts";
import type { AuditEntry } from "./types.ts";
import type { AuditPartition, WalkOptions } from "./walk.ts";
import { walkAudit } from "./walk.ts";

/** An intent without outcome. */
export interface OpenIntent {
  readonly entry: AuditEntry;
  readonly offset: number;
}

export interface Resumed {
  readonly head: KeptHead;
  /** By sequence, oldest first. */
  readonly open: ReadonlyMap<number, OpenIntent>;
  /** What became of the log behind the broker's back; null: nothing. */
  readonly broken: string | null;
}

/** Rejects as reading the log does. */
export async function resumeChain(
  partition: AuditPartition,
  kept: KeptHead,
  { crc32c }: Pick<WalkOptions, "crc32c">,
): Promise<Resumed> {
  const { startOffset, endOffset } = partition.readable();
  const open = new Map<number, OpenIntent>();
  const from = Math.max(startOffset, Math.min(kept.openFrom, Math.max(kept.offset, 0)));
  let head: KeptHead = kept;
  let broken = kept.offset >= endOffset
    ? `it ends before entry ${kept.sequence}, which was written`
    : null;
  for await (const batch of walkAudit(partition, { from, to: endOffset, crc32c })) {
    for (const [index, entry] of batch.entries.entries()) {
      const offset = batch.baseOffset + index;
      if (offset < from) continue;
      if (offset === kept.offset && !isHead(entry, kept)) {
        broken ??= `entry ${kept.sequence} is not the one that was written`;
      }
      if (offset > kept.offset) {
        broken ??= brokenLink(head, entry);
        if (broken !== null) break;
        head = { ...head, sequence: entry.sequence, hash: entry.hash, offset };
      }
      follow(open, entry, offset);
    }
    broken ??= batch.fault?.reason ?? null;
    if (broken !== null) break;
  }
  const [oldest] = open.values();
  return { head: { ...head, openFrom: oldest?.offset ?? Math.max(head.offset, 0) }, open, broken };
}

/** Notes an intent as open, and as ended with its outcome. */
function follow(open: Map<number, OpenIntent>, entry: AuditEntry, offset: number): void {
  if (entry.outcome === "intended") open.set(entry.sequence, { entry, offset });
  else if (entry.intent !== null) open.delete(entry.intent);
}

function isHead(entry: AuditEntry, { sequence, hash }: KeptHead): boolean {
  return entry.sequence === sequence && entry.hash === hash && hashOf(entry) === hash;
}
