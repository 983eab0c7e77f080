// Owns what every log must do when it is read: by offset, by size, by time.
// Refuses to fix how far one read goes beyond its first batch where segments end; here there is one segment.
// Invariant: only whole batches are read, as they were appended.
import assert from "node:assert/strict";
import { sampleBatch } from "../support/sample_batches.ts";
import { assertOutOfRange, CONFIG, filled, type RegisterLogTest } from "./log_fixture.ts";

/** Registers the sentences about reading. */
export function logReadingContract(test: RegisterLogTest): void {
  test("read starts with the batch that holds the offset, in its middle too", async (store) => {
    const { log, batches } = await filled(store, "t/0", 3);
    const options = { endOffset: log.logEndOffset, maxBytes: 1 };
    for (let offset = 0; offset < log.logEndOffset; offset++) {
      assert.deepEqual(
        new Uint8Array(await log.read(offset, options)),
        batches[Math.floor(offset / 2)],
        `offset ${offset}`,
      );
    }
    await log.close();
  });

  test("read stops before the batch that would go over maxBytes, but returns a first one that does", async (store) => {
    const { log, batches } = await filled(store, "t/0", 3);
    const size = batches[0]!.length;
    const lengths = [];
    for (const maxBytes of [0, 1, size, 2 * size - 1, 2 * size, 3 * size, 1e6]) {
      lengths.push((await log.read(0, { endOffset: 6, maxBytes })).length / size);
    }
    assert.deepEqual(lengths, [1, 1, 1, 1, 2, 3, 3]);
    await log.close();
  });

  test("read leaves out batches that reach past endOffset", async (store) => {
    const { log, batches } = await filled(store, "t/0", 3);
    const size = batches[0]!.length;
    const counts = [];
    for (const endOffset of [0, 1, 2, 3, 4, 5, 6, 1e9]) {
      counts.push((await log.read(0, { endOffset, maxBytes: 1e6 })).length / size);
    }
    assert.deepEqual(counts, [0, 0, 1, 1, 2, 2, 3, 3]);
    assert.equal((await log.read(4, { endOffset: 4, maxBytes: 1e6 })).length, 0);
    assert.equal((await log.read(5, { endOffset: 2, maxBytes: 1e6 })).length, 0);
    await log.close();
  });

  test("read at the log end is empty, beyond it out of range with the range in the details", async (store) => {
    const { log } = await filled(store, "t/0", 2);
    assert.equal((await log.read(4, { endOffset: 1e9, maxBytes: 1e6 })).length, 0);
    await assertOutOfRange(log, 5);
    await assertOutOfRange(log, -1);
    await log.close();
  });

  test("what was read stays as it was while the log grows", async (store) => {
    const { log, batches } = await filled(store, "t/0", 1);
    const read = await log.read(0, { endOffset: 2, maxBytes: 1e6 });
    await log.append([sampleBatch({ baseOffset: 2, mark: 9 })]);
    assert.deepEqual(new Uint8Array(read), batches[0]);
    await log.close();
  });

  test("reads run while an append is under way", async (store) => {
    const { log, batches } = await filled(store, "t/0", 2);
    const append = log.append([sampleBatch({ baseOffset: 4 })]);
    const read = await log.read(0, { endOffset: 4, maxBytes: 1e6 });
    assert.equal(read.length, batches[0]!.length * 2);
    await append;
    await log.close();
  });

  test("offsetForTimestamp finds the first batch that reaches the time, null after the newest", async (store) => {
    const log = await store.open("t/0", CONFIG);
    await log.append([sampleBatch({ baseOffset: 0, timestamps: [100, 110] })]);
    await log.append([sampleBatch({ baseOffset: 2, timestamps: [200] })]);
    // Out of order: an answer at or after 400 must not be found behind it.
    await log.append([sampleBatch({ baseOffset: 3, timestamps: [400] })]);
    await log.append([sampleBatch({ baseOffset: 4, timestamps: [300] })]);
    assert.equal(await log.offsetForTimestamp(0), 0);
    assert.ok([0, 1].includes((await log.offsetForTimestamp(105))!));
    assert.equal(await log.offsetForTimestamp(111), 2);
    assert.equal(await log.offsetForTimestamp(200), 2);
    assert.equal(await log.offsetForTimestamp(250), 3);
    assert.equal(await log.offsetForTimestamp(400), 3);
    assert.equal(await log.offsetForTimestamp(401), null);
    await log.close();
  });
}
