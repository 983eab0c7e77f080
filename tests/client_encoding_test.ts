// Owns that batches built message by message are those the codec builds at once, and that their memory is bounded.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import fc from "fast-check";
import { BufferPool, MIN_BUFFER_BYTES } from "../api/client/buffer_pool.ts";
import { Chunk } from "../api/client/chunk.ts";
import type { Owner } from "../api/client/delivery.ts";
import { Fifo } from "../api/client/fifo.ts";
import { OpenOffsets } from "../api/client/open_offsets.ts";
import { emptyParts, MessageReader, type OutgoingMessage } from "../api/client/outgoing.ts";
import { recordBound, RecordWriter } from "../api/client/record_writer.ts";
import { decodeBatch } from "../storage/format/decode.ts";
import { encodeBatch, type RecordInput } from "../storage/format/encode.ts";
import { batchSpans } from "../storage/format/record_batch.ts";

const owner: Owner = { delivered: () => {}, failed: () => {} };
const LIMITS = {
  maxBatchBytes: 1_000_000,
  maxRequestBytes: 4_000_000,
  maxBufferedBytes: 8_000_000,
  maxRequestMessages: 10_000,
};

/** Text of every kind: short, long, beyond ASCII, at the edges of a length's size, with half a surrogate pair. */
const text = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 80 }),
  fc.string({ unit: "binary", maxLength: 200 }),
  fc.tuple(
    fc.constantFrom("x", "é", "€", "😀", "\ud800"),
    fc.constantFrom(61, 62, 63, 64, 65, 127, 128),
  )
    .map(([unit, length]) => unit.repeat(length)),
  fc.tuple(fc.constantFrom("x", "é", "€"), fc.constantFrom(2_729, 4_095, 8_185, 8_191, 8_192))
    .map(([unit, length]) => unit.repeat(length)),
);
const bytes = fc.uint8Array({ maxLength: 300 });
const message: fc.Arbitrary<OutgoingMessage> = fc.record({
  key: fc.oneof(fc.constant(null), text, bytes),
  value: fc.oneof(fc.constant(null), text, bytes),
  headers: fc.dictionary(fc.string({ maxLength: 20 }), fc.oneof(text, bytes), { maxKeys: 3 }),
  timestamp: fc.oneof(fc.nat(), fc.maxSafeNat(), fc.constant(1_767_225_600_000)),
});

function recordOf({ key, value, headers, timestamp }: OutgoingMessage): RecordInput {
  return {
    key: key ?? null,
    value: (value ?? null) as string | Uint8Array | null,
    headers: Object.entries(headers!),
    timestamp: timestamp!,
  };
}

/** A chunk of these messages in a buffer that grows as the accumulator lets it. */
function chunkOf(messages: readonly OutgoingMessage[], limits = LIMITS): Chunk {
  const reader = new MessageReader();
  const parts = emptyParts();
  const env = { limits, crc: { crc32c } };
  const chunk = new Chunk(new Uint8Array(64), 0, 0);
  for (const one of messages) {
    reader.read(one, 0, parts);
    let appended = chunk.append(parts, owner, env);
    for (let attempt = 0; appended === "grow" && attempt < 3; attempt++) {
      chunk.moveTo(new Uint8Array(chunk.boundWith(parts)));
      appended = chunk.append(parts, owner, env);
    }
    assert.equal(appended, "appended");
  }
  chunk.seal(null, crc32c);
  return chunk;
}

Deno.test("a batch built message by message is byte for byte what the codec builds", () => {
  fc.assert(
    fc.property(fc.array(message, { minLength: 1, maxLength: 12 }), (messages) => {
      const chunk = chunkOf(messages);
      assert.equal(chunk.batches.length, 1);
      assert.deepEqual(chunk.body, encodeBatch(messages.map(recordOf), { crc32c }));
    }),
    { numRuns: 300 },
  );
});

Deno.test("a chunk of several batches holds every message once, in order", () => {
  fc.assert(
    fc.property(
      fc.array(message, { minLength: 1, maxLength: 40 }),
      fc.integer({ min: 100, max: 3_000 }),
      (messages, maxBatchBytes) => {
        const chunk = chunkOf(messages, { ...LIMITS, maxBatchBytes });
        const spans = [...batchSpans(chunk.body)];
        assert.deepEqual(
          spans.map(({ at, sizeBytes }) => [at, at + sizeBytes]),
          chunk.batches.map(({ start, end }) => [start, end]),
        );
        const records = spans.flatMap(({ at }) =>
          decodeBatch(chunk.body, at, { maxDecompressedBytes: 0 })
        );
        const { length } = messages;
        assert.equal(records.length, length);
        const whole = encodeBatch(messages.map(recordOf), { crc32c });
        const wanted = decodeBatch(whole, 0, { maxDecompressedBytes: 0 });
        const bare = ({ offset: _, ...record }: (typeof wanted)[number]) => record;
        assert.deepEqual(records.map(bare), wanted.map(bare));
      },
    ),
    { numRuns: 100 },
  );
});

Deno.test("a record that does not fit leaves no trace, and says how much it needs", () => {
  const parts = emptyParts();
  parts.value = "€".repeat(100);
  const writer = new RecordWriter(new Uint8Array(200), 7);
  assert.equal(writer.write(parts, 0, 0), false);
  assert.equal(writer.at, 7);
  assert.equal(recordBound(parts) >= 300, true, "the text has become its bytes");
  writer.bytes = new Uint8Array(400);
  assert.equal(writer.write(parts, 0, 0), true);
  assert.ok(writer.at > 307 && writer.at <= 7 + recordBound(parts));
});

Deno.test("the buffer pool never holds more than its bound, handed out and kept together", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(5), fc.integer({ min: 1, max: 300_000 })), { maxLength: 200 }),
      (steps) => {
        const maxBytes = 1_000_000;
        const pool = new BufferPool(maxBytes, 256 * 1024);
        const out: Uint8Array[] = [];
        const real = new Set<ArrayBufferLike>();
        for (const [kind, size] of steps) {
          if (kind < 4) {
            const buffer = pool.acquire(size);
            if (buffer === null) {
              assert.ok(
                pool.takenBytes + pool.sizeFor(size) > maxBytes,
                "refused for want of room",
              );
              continue;
            }
            assert.ok(buffer.length >= size && buffer.length >= MIN_BUFFER_BYTES);
            assert.ok(!out.includes(buffer), "one holder at a time");
            out.push(buffer);
            real.add(buffer.buffer);
          } else if (out.length > 0) {
            const [buffer] = out.splice(size % out.length, 1);
            pool.release(buffer!, buffer!.length, { reuse: kind === 4 });
          }
          const held = out.reduce((sum, buffer) => sum + buffer.length, 0);
          assert.equal(pool.usedBytes, held);
          assert.ok(held <= maxBytes);
        }
      },
    ),
  );
});

Deno.test("a fifo gives back what it was given, in order, whatever its length", () => {
  const fifo = new Fifo<number>();
  let pushed = 0;
  let shifted = 0;
  for (let round = 0; round < 50; round++) {
    for (let count = 0; count < 300; count++) fifo.push(pushed++);
    for (let count = 0; count < 250; count++) assert.equal(fifo.shift(), shifted++);
    assert.equal(fifo.length, pushed - shifted);
    assert.equal(fifo.peek(), shifted);
  }
  while (fifo.length > 0) assert.equal(fifo.shift(), shifted++);
  assert.equal(shifted, pushed);
  assert.equal(fifo.shift(), undefined);
});

Deno.test("open offsets are a set, whatever is added and taken out", () => {
  const offset = fc.nat(40);
  const step = fc.oneof(
    fc.record({ kind: fc.constant("add" as const), offset }),
    fc.record({ kind: fc.constant("remove" as const), offset }),
    fc.record({ kind: fc.constant("below" as const), offset }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const open = new OpenOffsets();
      const model = new Set<number>();
      for (const { kind, offset } of steps) {
        if (kind === "add") {
          open.add(offset);
          model.add(offset);
        } else if (kind === "remove") {
          open.remove(offset);
          model.delete(offset);
        } else {
          open.removeBelow(offset);
          for (const one of model) if (one < offset) model.delete(one);
        }
        assert.equal(open.size, model.size);
        for (let at = 0; at < 41; at++) assert.equal(open.has(at), model.has(at));
      }
    }),
  );
});
