// Tests of frames: what clients may send, and how messages are cut into frames of each format.
import assert from "node:assert/strict";
import { encode } from "@msgpack/msgpack";
import { crc32c } from "@node-rs/crc32";
import fc from "fast-check";
import { pieceAt } from "../api/stream/batch_source.ts";
import { clientFrameSchema, parseClientFrame } from "../api/stream/frames.ts";
import { parcelsFor, type Source } from "../api/stream/parcels.ts";
import { decodeBatch } from "../storage/format/decode.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { batchSpans, setBaseOffset } from "../storage/format/record_batch.ts";

const LIMITS = { maxFrameBytes: 10_000 };
const BOUNDS = { maxDecompressedBytes: 1_048_576 };
const AT = { topic: "orders", partition: 0 };

/** Concatenated batches of these counts, from `first` on; a negative count is a control batch. */
function batches(counts: readonly number[], first = 0): Uint8Array {
  const parts: Uint8Array[] = [];
  let offset = first;
  for (const count of counts) {
    const records = Array.from({ length: Math.abs(count) }, (_, index) => ({
      key: null,
      value: `value ${offset + index}`,
      headers: [],
      timestamp: 1,
    }));
    const batch = encodeBatch(records, { crc32c, control: count < 0 });
    setBaseOffset(batch, 0, offset);
    offset += records.length;
    parts.push(batch);
  }
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let to = 0;
  for (const part of parts) {
    all.set(part, to);
    to += part.length;
  }
  return all;
}

function fetched(counts: readonly number[], first = 0) {
  const batched = batches(counts, first);
  return { batches: batched, highWatermark: 1_000, lastStableOffset: 1_000, logStartOffset: 0 };
}

Deno.test("a client's frame may be JSON text or MessagePack bytes", () => {
  const frame = { type: "commit", id: 1, offsets: [{ ...AT, offset: 5 }] };
  assert.deepEqual(parseClientFrame(JSON.stringify(frame), LIMITS), frame);
  assert.deepEqual(parseClientFrame(encode(frame), LIMITS), frame);
});

Deno.test("frames that are no frames are refused with the path of the fault", () => {
  const refused: [unknown, RegExp][] = [
    [{ type: "commit", offsets: [{ ...AT, offset: -1 }] }, /offsets\[0\]\.offset/],
    [{ type: "commit", offsets: [{ ...AT, offset: 1.5 }] }, /offsets\[0\]\.offset/],
    [{ type: "commit", offsets: [{ ...AT, offset: 2 ** 53 }] }, /offset/],
    [{ type: "commit", offsets: [] }, /offsets/],
    [{ type: "commit", offsets: [{ ...AT, offset: 1 }, { ...AT, offset: 2 }] }, /more than once/],
    [{ type: "nack", ...AT, offset: 1, delayMs: -5 }, /delayMs/],
    [{ type: "dance" }, /type/],
    [{}, /type/],
    [[], /./],
    [null, /./],
  ];
  for (const [frame, message] of refused) {
    const wanted = { code: "INVALID_REQUEST", message };
    assert.throws(() => parseClientFrame(JSON.stringify(frame), LIMITS), wanted);
    assert.throws(() => parseClientFrame(encode(frame), LIMITS), wanted);
  }
  const raw = [
    '{"type":"heartbeat"',
    "",
    "nope",
    '{"type":"heartbeat","type":"leave"}',
    "[".repeat(5_000),
  ];
  for (
    const text of [...raw, '{"type":"nack","topic":"a","partition":0,"offset":9007199254740993}']
  ) {
    assert.throws(
      () => parseClientFrame(text, LIMITS),
      { code: "INVALID_REQUEST" },
      text.slice(0, 50),
    );
  }
  assert.throws(() => parseClientFrame(" ".repeat(10_001), LIMITS), { code: "REQUEST_TOO_LARGE" });
  assert.throws(() => parseClientFrame(new Uint8Array(10_001), LIMITS), {
    code: "REQUEST_TOO_LARGE",
  });
  // An array that claims four billion entries.
  const bomb = new Uint8Array([
    0x81,
    0xa7,
    ...new TextEncoder().encode("offsets"),
    0xdd,
    255,
    255,
    255,
    255,
  ]);
  assert.throws(() => parseClientFrame(bomb, LIMITS), { code: "INVALID_REQUEST" });
});

Deno.test("whatever bytes come, a frame parses or is refused as one", () => {
  const refusals = ["INVALID_REQUEST", "REQUEST_TOO_LARGE"];
  const property = fc.property(fc.oneof(fc.uint8Array({ maxLength: 60 }), fc.json()), (data) => {
    try {
      clientFrameSchema.parse(parseClientFrame(data, LIMITS));
    } catch (error) {
      assert.ok(refusals.includes((error as { code: string }).code), String(error));
    }
  });
  // A map that says it has 131,072 entries.
  fc.assert(property, { examples: [[Uint8Array.of(223, 0, 2, 0, 0)]] });
});

/** Cuts everything into parcels with these rooms in turn; returns runs and next offsets. */
function cutAll(source: Source, rooms: readonly number[]) {
  const runs: { from: number; to: number }[] = [];
  let nextOffset = -1;
  for (let turn = 0; turn < 1_000; turn++) {
    const room = rooms[turn % rooms.length]!;
    const parcel = source.next({ room, maxBytes: 200 });
    if (parcel === null) return { runs, nextOffset };
    const count = parcel.runs.reduce((sum, { from, to }) => sum + to - from, 0);
    assert.ok(count <= room, "more than there is room for");
    assert.equal(parcel.frame === null, count === 0);
    assert.ok(parcel.nextOffset > nextOffset, "no way forward");
    source.accept(parcel);
    assert.equal(source.position, parcel.nextOffset);
    runs.push(...parcel.runs);
    nextOffset = parcel.nextOffset;
  }
  throw new Error("without end");
}

Deno.test("every format cuts fetched batches into parcels that hold each message once, in order", () => {
  const counts = fc.array(fc.integer({ min: -2, max: 9 }).filter((count) => count !== 0), {
    maxLength: 8,
  });
  const rooms = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 5 });
  fc.assert(fc.property(counts, rooms, fc.nat(5), (given, windows, skip) => {
    const total = given.reduce((sum, count) => sum + Math.abs(count), 0);
    const position = Math.min(skip, total);
    const messages: number[] = [];
    let offset = 0;
    for (const count of given) {
      for (let index = 0; index < Math.abs(count); index++, offset++) {
        if (count > 0 && offset >= position) messages.push(offset);
      }
    }
    for (const format of ["json", "msgpack", "batch"] as const) {
      const source = parcelsFor(format, BOUNDS).open(AT, fetched(given), position);
      const { runs, nextOffset } = cutAll(source, windows);
      const offsets = runs.flatMap(({ from, to }) =>
        Array.from({ length: to - from }, (_, i) => from + i)
      );
      assert.deepEqual(offsets, messages, format);
      if (total > position) assert.equal(nextOffset, total, format);
    }
  }));
});

Deno.test("a batch frame is a header's length, the header, and whole batches of which a range is meant", () => {
  const source = parcelsFor("batch", BOUNDS).open(AT, fetched([4, 6, 5], 10), 12);
  const parcel = source.next({ room: 5, maxBytes: 1_000_000 })!;
  assert.ok(parcel.cut);
  const frame = parcel.frame as Uint8Array;
  const headerBytes = new DataView(frame.buffer).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(frame.subarray(4, 4 + headerBytes)));
  assert.deepEqual(header, {
    type: "messages",
    ...AT,
    highWatermark: 1_000,
    offset: 12,
    nextOffset: 17,
  });
  const sent = frame.subarray(4 + headerBytes);
  const records = [...batchSpans(sent)].flatMap(({ at }) => decodeBatch(sent, at, BOUNDS));
  assert.deepEqual(records.map(({ offset }) => offset), [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
});

Deno.test("a window that ends with a batch sends nothing of the next", () => {
  const given = batches([3, 4]);
  const piece = pieceAt(given, 0, { room: 3, maxBytes: 10_000, ...BOUNDS })!;
  assert.equal(piece.bytes.length, batches([3]).length);
  assert.deepEqual([piece.nextOffset, piece.cut], [3, false]);
});

Deno.test("what lies before a damaged batch is still delivered, and the damage is told then", () => {
  const intact = batches([3]);
  const damaged = new Uint8Array([...intact, ...batches([3], 3)]);
  damaged.fill(0xff, intact.length + 16);
  const given = { batches: damaged, highWatermark: 6, lastStableOffset: 6, logStartOffset: 0 };
  for (const format of ["json", "batch"] as const) {
    const source = parcelsFor(format, BOUNDS).open(AT, given, 0);
    const parcel = source.next({ room: 100, maxBytes: 100_000 })!;
    assert.deepEqual(parcel.runs, [{ from: 0, to: 3 }], format);
    source.accept(parcel);
    assert.throws(() => source.next({ room: 100, maxBytes: 100_000 }), { code: "CORRUPT_BATCH" });
  }
});

Deno.test("a batch with gaps counts only the messages it has", () => {
  const sparse = batches([5]);
  // As compaction leaves it: the last offset stays, records do not.
  const kept = batches([2]);
  new DataView(kept.buffer).setInt32(23, 4);
  const piece = pieceAt(kept, 0, { room: 10, maxBytes: 10_000, ...BOUNDS })!;
  assert.deepEqual(piece.runs, [{ from: 0, to: 2 }]);
  assert.equal(piece.nextOffset, 5);
  assert.equal(pieceAt(sparse, 5, { room: 10, maxBytes: 10_000, ...BOUNDS }), null);
});
