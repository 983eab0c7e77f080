// Owns letting go of old audit entries.
// Refuses to own when that is due, and dropping segments (the partition's log).
// Invariant: before anything is dropped, the chain says so, and the store knows the entry after which it will begin.
import type { Crc32c } from "../../storage/ports.ts";
import type { KeptHeads } from "./kept_head.ts";
import type { AuditEntry } from "./types.ts";
import { RETENTION_ACTION } from "./verify.ts";
import { type AuditPartition, walkAudit } from "./walk.ts";

/** Entries are let go in steps of this, each of which is an entry itself. */
const STEP_MS = 24 * 3_600_000;

export interface RetentionOptions {
  /** Trusted wall time, ms. */
  readonly now: number;
  readonly windowMs: number;
  readonly kept: Pick<KeptHeads, "loadAnchor" | "setAnchor">;
  readonly crc32c: Crc32c;
  /** Writes an entry. */
  record(after: unknown, action: string): Promise<unknown>;
}

/** Drops whole segments of entries that are all older than the window. */
export async function dropOldEntries(
  partition: AuditPartition,
  options: RetentionOptions,
): Promise<void> {
  const { now, windowMs, kept, crc32c, record } = options;
  const keepFrom = await partition.offsetForTime(now - windowMs);
  const { startOffset } = partition.readable();
  if (keepFrom <= startOffset) return;
  const last = await entryAt(partition, keepFrom - 1, crc32c);
  if (last === null) return;
  const anchor = await kept.loadAnchor();
  if (last.sequence > anchor.sequence && last.at - anchor.at >= STEP_MS) {
    const { sequence, hash, at } = last;
    await record({ upTo: { sequence, hash, at } }, RETENTION_ACTION);
    await kept.setAnchor({ sequence, hash, at });
  } else if (last.sequence > anchor.sequence) return;
  await partition.applyRetention({ now, retentionMs: windowMs, retentionBytes: null, keepFrom });
}

async function entryAt(
  partition: AuditPartition,
  offset: number,
  crc32c: Crc32c,
): Promise<AuditEntry | null> {
  const range = { from: offset, to: offset + 1, crc32c };
  for await (const { baseOffset, entries } of walkAudit(partition, range)) {
    return entries[offset - baseOffset] ?? null;
  }
  return null;
}
