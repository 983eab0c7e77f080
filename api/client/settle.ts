// Owns what happens to a chunk that was answered: telling the owners of its records, or taking it apart.
// Refuses to own queues beyond putting parts in the place of the whole, and every decision to retry.
// Invariant: parts stand where the whole stood, in the same order, and hold the same records once.
import { decodeBatch, type DecodedRecord } from "../../storage/format/decode.ts";
import { encodeBatch } from "../../storage/format/encode.ts";
import type { Crc32c } from "../../storage/ports.ts";
import type { Accumulator, PartitionQueue } from "./accumulator.ts";
import { Chunk, type ChunkBatch } from "./chunk.ts";
import type { Owner } from "./delivery.ts";
import type { WaybillError } from "./errors.ts";
import { SEQUENCES } from "./identity.ts";
import type { PlacedBatch } from "./publish.ts";
import type { OutgoingMessage } from "./outgoing.ts";

/** Tells every owner where its records went; `placed` holds one place a batch. */
export function reportDelivered(
  queue: PartitionQueue,
  chunk: Chunk,
  placed: readonly PlacedBatch[],
): void {
  const { topic, partition } = queue;
  chunk.batches.forEach((batch, index) => {
    const { offset: base, records } = placed[index]!;
    forEachOwner(batch, (owner, start, count) => {
      if (records === undefined) {
        owner.delivered({ topic, partition, offset: base < 0 ? -1 : base + start, count });
        return;
      }
      for (const record of records.slice(start, start + count)) {
        const { duplicate, ...place } = record;
        const run = { topic, ...place, count: 1 };
        owner.delivered(duplicate ? { ...run, duplicate: true } : run, partition);
      }
    });
  });
  for (const settled of chunk.onSettled) settled();
}

/** Tells every owner that its records failed. */
export function reportFailed(queue: PartitionQueue, chunk: Chunk, error: WaybillError): void {
  const { topic, partition } = queue;
  for (const batch of chunk.batches) {
    forEachOwner(batch, (owner, start, count) => {
      const messages = () =>
        recordsOf(chunk, batch).slice(start, start + count)
          .map((record) => messageOf(record, partition));
      owner.failed({ topic, partition, count, error, messages });
    });
  }
  for (const settled of chunk.onSettled) settled();
}

/** Whether a part of the chunk could fare better than the whole. */
export function canSplit(chunk: Chunk): boolean {
  return chunk.messages > 1;
}

/** Puts parts in the chunk's place: its batches, or the halves of the only one. */
export function splitChunk(
  queue: PartitionQueue,
  chunk: Chunk,
  env: { accumulator: Accumulator; crc32c: Crc32c },
): void {
  const parts = chunk.batches.length > 1
    ? chunk.batches.map((batch) => partOf(chunk, wholeBatch(chunk, batch), batch))
    : halvesOf(chunk, env.crc32c);
  stampParts(chunk, parts, env.crc32c);
  const last = parts[parts.length - 1]!;
  last.onSettled = chunk.onSettled;
  env.accumulator.replace(queue, chunk, parts);
}

/** What may have been stored as a whole must be known again in parts; else they are numbered when they are sent. */
function stampParts(whole: Chunk, parts: readonly Chunk[], crc32c: Crc32c): void {
  const { stamp, uncertain } = whole;
  if (stamp === null || !uncertain) return;
  let { sequence } = stamp;
  for (const part of parts) {
    part.uncertain = true;
    part.seal({ identity: stamp.identity, sequence }, crc32c);
    sequence = (sequence + part.messages) % SEQUENCES;
  }
}

function halvesOf(chunk: Chunk, crc32c: Crc32c): Chunk[] {
  const batch = chunk.batches[0]!;
  const records = recordsOf(chunk, batch);
  const middle = records.length >> 1;
  return [[0, middle], [middle, records.length]].map(([from, to]) => {
    const half = records.slice(from, to);
    const bytes = encodeBatch(half, { crc32c });
    return partOf(chunk, bytes, {
      ...batch,
      ...ownersBetween(batch, from!, to!),
      count: half.length,
      baseTimestamp: half[0]!.timestamp,
      maxTimestamp: half.reduce((newest, { timestamp }) => Math.max(newest, timestamp), -1),
    });
  });
}

/** A closed chunk of one batch, of the same age as `whole`. */
function partOf(whole: Chunk, bytes: Uint8Array, batch: ChunkBatch): Chunk {
  const part = new Chunk(bytes, whole.createdAt, whole.deadline);
  part.adopt({ ...batch, start: 0, end: bytes.length });
  return part;
}

function wholeBatch(chunk: Chunk, batch: ChunkBatch): Uint8Array {
  return chunk.buffer.slice(batch.start, batch.end);
}

function recordsOf(chunk: Chunk, batch: ChunkBatch): DecodedRecord[] {
  // Our own batches are never compressed, so nothing can unfold to more than it is.
  return decodeBatch(chunk.buffer, batch.start, { maxDecompressedBytes: batch.end - batch.start });
}

function messageOf(record: DecodedRecord, partition: number): OutgoingMessage {
  const { key, value, timestamp } = record;
  const headers = record.headers.map(([name, bytes]) => [name, bytes ?? new Uint8Array()] as const);
  return { key, value, timestamp, partition, headers: Object.fromEntries(headers) };
}

function forEachOwner(
  batch: ChunkBatch,
  call: (owner: Owner, start: number, count: number) => void,
): void {
  for (let index = 0; index < batch.owners.length; index++) {
    const start = batch.ownerStarts[index]!;
    const end = batch.ownerStarts[index + 1] ?? batch.count;
    call(batch.owners[index]!, start, end - start);
  }
}

function ownersBetween(batch: ChunkBatch, from: number, to: number) {
  const owners: Owner[] = [];
  const ownerStarts: number[] = [];
  forEachOwner(batch, (owner, start, count) => {
    if (start + count <= from || start >= to) return;
    owners.push(owner);
    ownerStarts.push(Math.max(0, start - from));
  });
  return { owners, ownerStarts };
}
