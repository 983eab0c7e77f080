// Owns reading what a stored or incoming batch says of its producer.
// Refuses to own what follows from it (producer_state.ts).
// Invariant: headers only; the record of a control batch is the one exception, since its type lies there.
import { hasProducer, readHeader, TRANSACTIONAL_BIT } from "../../storage/format/record_batch.ts";
import type { ProducerBatch } from "./producer_state.ts";

/** The producer of the batch at `at`; null when it names none. */
export function producerOfBatch(bytes: Uint8Array, at: number): ProducerBatch | null {
  if (!hasProducer(bytes, at)) return null;
  const { producerId, producerEpoch, baseSequence, recordCount, attributes } = readHeader(
    bytes,
    at,
  );
  const transactional = (attributes & TRANSACTIONAL_BIT) !== 0;
  return { producerId, producerEpoch, baseSequence, recordCount, transactional };
}
