// Owns reading what a stored or incoming batch says of its producer.
// Refuses to own what follows from it (producer_state.ts).
// Invariant: headers only; the record of a control batch is the one exception, since what it ends lies there.
import { isControlBatch, markerAt } from "../../storage/format/control_batch.ts";
import { asBrokerError, type BrokerError } from "../../storage/broker_error.ts";
import {
  batchSpans,
  hasProducer,
  readHeader,
  TRANSACTIONAL_BIT,
} from "../../storage/format/record_batch.ts";
import type { Log } from "../../storage/log.ts";
import type { ProducerBatch, ProducerEvent } from "./producer_state.ts";

/** Bytes of log in memory while its headers are read. */
const MAX_READ_BYTES = 1_048_576;
/** What a control batch ends whose record is gone: it was kept for its header alone. */
const UNKNOWN_END = { commit: true, coordinatorEpoch: -1 };

/** The producer of the batch at `at`; null when it names none. */
export function producerOfBatch(bytes: Uint8Array, at: number): ProducerBatch | null {
  if (!hasProducer(bytes, at)) return null;
  const header = readHeader(bytes, at);
  const { producerId, producerEpoch, baseSequence, attributes } = header;
  return {
    producerId,
    producerEpoch,
    baseSequence,
    // Compaction takes records away, never the numbers that they had.
    recordCount: header.lastOffsetDelta + 1,
    transactional: (attributes & TRANSACTIONAL_BIT) !== 0,
  };
}

/** What the stored batch at `at` did to its producer, as if at monotonic time `at`; null when it names none. */
export function producerEventAt(
  bytes: Uint8Array,
  position: number,
  at: number,
): ProducerEvent | null {
  const batch = producerOfBatch(bytes, position);
  if (batch === null) return null;
  const { baseOffset, attributes } = readHeader(bytes, position);
  if (!isControlBatch(attributes)) return { type: "ProducerAppended", batch, baseOffset, at };
  const { producerId, producerEpoch } = batch;
  const end = markerAt(bytes, position) ?? UNKNOWN_END;
  return {
    type: "MarkerAppended",
    marker: { producerId, producerEpoch, ...end },
    offset: baseOffset,
    at,
  };
}

/**
 * Every event that the log tells of from `fromOffset` on, in order; resolves to the bytes read. Rejects as the log does, but for ranges that are
 * corrupt: those are told to `onFault` and stepped over, since readers are refused the same range and no other.
 */
export async function readProducerEvents(
  log: Log,
  { fromOffset, at, onFault }: {
    fromOffset: number;
    at: number;
    onFault: (error: BrokerError) => void;
  },
  onEvent: (event: ProducerEvent) => void,
): Promise<number> {
  const endOffset = log.logEndOffset;
  let readBytes = 0;
  let step = 1;
  for (let offset = Math.max(fromOffset, log.logStartOffset); offset < endOffset;) {
    const bytes = await readOrNull(log, { offset, endOffset, onFault });
    if (bytes === null) {
      offset += step;
      step *= 2;
      continue;
    }
    if (bytes.length === 0) break;
    readBytes += bytes.length;
    step = 1;
    for (const span of batchSpans(bytes)) {
      const { baseOffset, lastOffsetDelta } = readHeader(bytes, span.at);
      offset = baseOffset + lastOffsetDelta + 1;
      if (baseOffset < fromOffset) continue;
      const event = producerEventAt(bytes, span.at, at);
      if (event !== null) onEvent(event);
    }
  }
  return readBytes;
}

async function readOrNull(
  log: Log,
  { offset, endOffset, onFault }: {
    offset: number;
    endOffset: number;
    onFault: (error: BrokerError) => void;
  },
): Promise<Uint8Array | null> {
  try {
    return await log.read(offset, { endOffset, maxBytes: MAX_READ_BYTES });
  } catch (error) {
    const fault = asBrokerError(error);
    if (fault.code !== "CORRUPT_LOG") throw error;
    onFault(fault);
    return null;
  }
}
