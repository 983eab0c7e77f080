// Owns control batches: the markers that end a transaction in a partition, as Kafka writes them (KIP-98).
// Refuses to own when one is written, and what a reader makes of it.
// Invariant: one record a batch; what cannot be read as a marker is none.
import type { Crc32c } from "../ports.ts";
import { decodeBatch } from "./decode.ts";
import { encodeBatch } from "./encode.ts";
import { CONTROL_BIT, readHeader } from "./record_batch.ts";

const VERSION = 0;
const TYPE_ABORT = 0;
const TYPE_COMMIT = 1;
const KEY_BYTES = 4;
const VALUE_BYTES = 6;
/** Markers are never compressed; a record that claims to be longer is none. */
const MAX_MARKER_BYTES = 4_096;

/** The end of a producer's transaction in one partition. */
export interface TransactionEnd {
  readonly commit: boolean;
  readonly coordinatorEpoch: number;
}

/** A control batch with base offset 0 and leader epoch -1; `timestamp` in ms. */
export function encodeMarker(
  marker: TransactionEnd & {
    readonly producerId: number;
    readonly producerEpoch: number;
    readonly timestamp: number;
  },
  crc32c: Crc32c,
): Uint8Array {
  const { producerId, producerEpoch, timestamp } = marker;
  const key = new DataView(new ArrayBuffer(KEY_BYTES));
  key.setInt16(0, VERSION);
  key.setInt16(2, marker.commit ? TYPE_COMMIT : TYPE_ABORT);
  const value = new DataView(new ArrayBuffer(VALUE_BYTES));
  value.setInt16(0, VERSION);
  value.setInt32(2, marker.coordinatorEpoch);
  const record = {
    key: new Uint8Array(key.buffer),
    value: new Uint8Array(value.buffer),
    headers: [],
    timestamp,
  };
  const options = { producerId, producerEpoch, transactional: true, control: true };
  return encodeBatch([record], { crc32c, ...options });
}

/** Whether a batch with these attributes is a control batch: nothing in it is anybody's message. */
export function isControlBatch(attributes: number): boolean {
  return (attributes & CONTROL_BIT) !== 0;
}

/** What the control batch at `at` ends; null when it holds no marker that is known here. */
export function markerAt(bytes: Uint8Array, at: number): TransactionEnd | null {
  const { recordCount, attributes } = readHeader(bytes, at);
  if (!isControlBatch(attributes) || recordCount !== 1) return null;
  const [record] = decodeBatch(bytes, at, { maxDecompressedBytes: MAX_MARKER_BYTES });
  const { key, value } = record!;
  if (key === null || key.length < KEY_BYTES || value === null || value.length < VALUE_BYTES) {
    return null;
  }
  const type = viewOf(key).getInt16(2);
  if (type !== TYPE_ABORT && type !== TYPE_COMMIT) return null;
  return { commit: type === TYPE_COMMIT, coordinatorEpoch: viewOf(value).getInt32(2) };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
