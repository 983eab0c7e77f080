// Owns reading the audit log batch by batch.
// Refuses to own what is looked for (query.ts, verify.ts, resume.ts).
// Invariant: holds one read at a time, whatever the length of the log.
import { batchSpans } from "../../storage/format/record_batch.ts";
import type { Crc32c } from "../../storage/ports.ts";
import type { Partition } from "../partition/partition.ts";
import { type FoundBatch, readAuditBatch } from "./audit_batch.ts";

/** A read is checked in one go: a few milliseconds. */
const MAX_READ_BYTES = 65_536;

/** The partition that holds the log, of which the audit log is the only writer. */
export type AuditPartition =
  & Pick<
    Partition,
    "append" | "fetch" | "readable" | "info" | "offsetForTime" | "applyRetention"
  >
  & Partial<Pick<Partition, "leads" | "refusal">>;

export interface WalkOptions {
  readonly from: number;
  /** Exclusive; the last batch may reach beyond it. */
  readonly to: number;
  readonly crc32c: Crc32c;
  /** Past what is kept in memory of the log: what is on the disk counts. */
  readonly uncached?: boolean;
}

/** Batches from the one that holds `from` to the one that holds the offset before `to`. Rejects as `Partition.fetch`. */
export async function* walkAudit(
  partition: AuditPartition,
  { from, to, crc32c, uncached = false }: WalkOptions,
): AsyncGenerator<FoundBatch, void, undefined> {
  let offset = from;
  while (offset < to) {
    const { batches } = await partition.fetch(offset, { maxBytes: MAX_READ_BYTES, uncached });
    if (batches.length === 0) return;
    for (const { at } of batchSpans(batches)) {
      if (offset >= to) return;
      const found = readAuditBatch(batches, at, crc32c);
      yield found;
      // Only a batch at fault: where the next one is, is not known.
      if (found.nextOffset <= offset) return;
      offset = found.nextOffset;
    }
  }
}
