// Owns what every log's retention must do.
// Refuses to say how large what is dropped at once may be, but that it is no more than allowed: with segments of one
// batch, as here, a log with segments and one without must answer the same.
// Invariant: what retention drops is a prefix; what the policy protects can be read after it.
import assert from "node:assert/strict";
import { assertOutOfRange, CONFIG, filled, readAll, type RegisterLogTest } from "./log_fixture.ts";
import { sampleBatch } from "../support/sample_batches.ts";

const SMALL = { ...CONFIG, segmentBytes: 100 };
const KEEP_ALL = { now: 1e15, retentionMs: null, retentionBytes: null, keepFrom: 1e15 };

/** Registers the sentences about retention. */
export function logRetentionContract(test: RegisterLogTest): void {
  test("retention by time drops what is older, and only that", async (store, reopen) => {
    const { log, batches } = await filled(store, "t/0", 5, SMALL);
    const policy = { ...KEEP_ALL, now: 10_000, retentionMs: 7_500 };
    // Newest records at 1000 and 2000 are older than 10000 - 7500.
    assert.equal(await log.applyRetention(policy), 4);
    assert.equal(log.logStartOffset, 4);
    assert.equal(log.sizeBytes, batches[0]!.length * 3);
    await assertOutOfRange(log, 3);
    assert.deepEqual(await readAll(log), batches.slice(2));
    await log.close();
    const again = await (await reopen()).open("t/0", SMALL);
    assert.equal(again.logStartOffset, 4);
    assert.deepEqual(await readAll(again), batches.slice(2));
    await assertOutOfRange(again, 3);
    await again.close();
  });

  test("retention by bytes drops the oldest while the rest holds enough", async (store) => {
    const { log, batches } = await filled(store, "t/0", 5, SMALL);
    const size = batches[0]!.length;
    assert.equal(await log.applyRetention({ ...KEEP_ALL, retentionBytes: 6 * size }), 0);
    assert.equal(await log.applyRetention({ ...KEEP_ALL, retentionBytes: 4 * size + 1 }), 0);
    assert.equal(await log.applyRetention({ ...KEEP_ALL, retentionBytes: 3 * size - 1 }), 4);
    assert.equal(log.sizeBytes, 3 * size);
    await log.close();
  });

  test("retention drops nothing at or above keepFrom", async (store) => {
    const { log, batches } = await filled(store, "t/0", 5, SMALL);
    const all = { now: 1e15, retentionMs: 0, retentionBytes: 0 };
    assert.equal(await log.applyRetention({ ...all, keepFrom: 0 }), 0);
    assert.equal(await log.applyRetention({ ...all, keepFrom: 3 }), 2);
    assert.equal(await log.applyRetention({ ...all, keepFrom: 4 }), 4);
    assert.deepEqual(await readAll(log), batches.slice(2));
    await log.close();
  });

  test("retention keeps everything for ever when nothing limits it", async (store) => {
    const { log } = await filled(store, "t/0", 5, SMALL);
    assert.equal(await log.applyRetention(KEEP_ALL), 0);
    await log.close();
  });

  test(
    "retention never drops the newest batch, and the log goes on after it",
    async (store, reopen) => {
      const { log, batches } = await filled(store, "t/0", 5, SMALL);
      const all = { now: 1e15, retentionMs: 0, retentionBytes: 0, keepFrom: 1e15 };
      assert.equal(await log.applyRetention(all), 8);
      assert.equal(await log.applyRetention(all), 8);
      assert.deepEqual(await readAll(log), batches.slice(4));
      assert.deepEqual(log.endOffsetForEpoch(9), { leaderEpoch: 0, endOffset: 10 });
      await log.append([sampleBatch({ baseOffset: 10 })]);
      await log.close();
      const again = await (await reopen()).open("t/0", SMALL);
      assert.deepEqual([again.logStartOffset, again.logEndOffset], [8, 11]);
      await again.close();
    },
  );

  test("retention by time stops at the first that is young enough, whatever lies behind it", async (store) => {
    const log = await store.open("t/0", SMALL);
    const times = [1_000, 90_000, 1_000, 1_000];
    for (const [baseOffset, time] of times.entries()) {
      await log.append([sampleBatch({ baseOffset, timestamps: [time], valueBytes: 60 })]);
    }
    assert.equal(await log.applyRetention({ ...KEEP_ALL, now: 100_000, retentionMs: 50_000 }), 1);
    await log.close();
  });

  test("retention of an empty log does nothing", async (store) => {
    const log = await store.open("t/0", SMALL);
    assert.equal(await log.applyRetention({ ...KEEP_ALL, retentionBytes: 0, retentionMs: 0 }), 0);
    await log.close();
  });
}
