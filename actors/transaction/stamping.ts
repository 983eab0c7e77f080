// Owns making a batch of no producer one of a transaction.
// Refuses to own sequence numbers (the partition's) and records.
// Invariant: only header fields change, and the CRC is right afterwards.
import { BrokerError } from "../../storage/broker_error.ts";
import { readHeader, TRANSACTIONAL_BIT, writeHeader } from "../../storage/format/record_batch.ts";
import type { Crc32c } from "../../storage/ports.ts";

const SEQUENCES = 0x8000_0000;

/** Changes `batches` in place; `sequence` is that of the first record. INVALID_REQUEST for a batch of another producer. */
export function stampBatches(
  batches: readonly Uint8Array[],
  producer: { readonly producerId: number; readonly producerEpoch: number; sequence: number },
  crc32c: Crc32c,
): void {
  const { producerId, producerEpoch } = producer;
  let baseSequence = producer.sequence;
  for (const batch of batches) {
    const header = readHeader(batch, 0);
    const isOther = header.producerId !== producerId || header.producerEpoch !== producerEpoch;
    if (header.producerId !== -1 && isOther) {
      const message = "a batch of another producer cannot be published in this transaction";
      throw new BrokerError("INVALID_REQUEST", message, { producerId, producerEpoch });
    }
    const attributes = header.attributes | TRANSACTIONAL_BIT;
    const isStamped = header.producerId === producerId && header.attributes === attributes &&
      header.baseSequence === baseSequence;
    if (!isStamped) {
      const stamp = { attributes, producerId, producerEpoch, baseSequence };
      writeHeader(batch, { ...header, ...stamp }, crc32c);
    }
    baseSequence = (baseSequence + header.recordCount) % SEQUENCES;
  }
}
