// Owns how an internal partition serves as the journal of event-sourced actors.
// Refuses to own the entries' form (../runtime/log_journal.ts) and the partition.
// Invariant: what is replayed lies below the high watermark, as for any other reader.
import type { Crc32c } from "../../storage/ports.ts";
import { LogJournal } from "../runtime/log_journal.ts";
import type { Partition } from "./partition.ts";

const MAX_READ_BYTES = 1_048_576;
const MAX_DECOMPRESSED_BYTES = 64 * 1_048_576;

/** The journal kept in `partition`, of which the caller is the only writer. Read `maxReadBytes` at a time. */
export function partitionJournal(
  partition: Partition,
  crc32c: Crc32c,
  maxReadBytes = MAX_READ_BYTES,
): LogJournal {
  const log = {
    async append(batch: Uint8Array): Promise<{ baseOffset: number }> {
      const receipt = await partition.append([batch], { acks: "all" });
      return { baseOffset: receipt.baseOffsets[0]! };
    },
    async read(offset: number, maxBytes: number): Promise<Uint8Array> {
      return (await partition.fetch(offset, { maxBytes })).batches;
    },
    // deno-lint-ignore require-await -- an offline partition must reject, as it would from afar
    async bounds() {
      return partition.readable();
    },
  };
  return new LogJournal(log, {
    crc32c,
    maxReadBytes,
    maxDecompressedBytes: MAX_DECOMPRESSED_BYTES,
  });
}
