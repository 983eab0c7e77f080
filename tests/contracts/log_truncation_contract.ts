// Owns what every log must do for a follower that aligns itself: end offsets by epoch, and cutting back.
// Refuses to decide where to cut: that is the follower's.
// Invariant: after a cut the log is as if what was cut had never been.
import assert from "node:assert/strict";
import { sampleBatch } from "../support/sample_batches.ts";
import { assertOutOfRange, CONFIG, filled, readAll, type RegisterLogTest } from "./log_fixture.ts";

/** Registers the sentences about epochs and truncation. */
export function logTruncationContract(test: RegisterLogTest): void {
  test(
    "endOffsetForEpoch answers the largest epoch at or below the one asked for",
    async (store, reopen) => {
      let log = await store.open("t/0", CONFIG);
      const none = { leaderEpoch: -1, endOffset: 0 };
      assert.deepEqual(log.endOffsetForEpoch(5), none);
      await log.append([sampleBatch({ baseOffset: 0, leaderEpoch: 1, timestamps: [1, 2] })]);
      await log.append([sampleBatch({ baseOffset: 2, leaderEpoch: 1 })]);
      await log.append([
        sampleBatch({ baseOffset: 3, leaderEpoch: 3 }),
        sampleBatch({ baseOffset: 4, leaderEpoch: 7 }),
      ]);
      const check = () => {
        assert.deepEqual(log.endOffsetForEpoch(0), none);
        assert.deepEqual(log.endOffsetForEpoch(1), { leaderEpoch: 1, endOffset: 3 });
        assert.deepEqual(log.endOffsetForEpoch(2), { leaderEpoch: 1, endOffset: 3 });
        assert.deepEqual(log.endOffsetForEpoch(3), { leaderEpoch: 3, endOffset: 4 });
        assert.deepEqual(log.endOffsetForEpoch(7), { leaderEpoch: 7, endOffset: 5 });
        assert.deepEqual(log.endOffsetForEpoch(99), { leaderEpoch: 7, endOffset: 5 });
      };
      check();
      await log.close();
      log = await (await reopen()).open("t/0", CONFIG);
      check();
      await log.truncateTo(3);
      assert.deepEqual(log.endOffsetForEpoch(99), { leaderEpoch: 1, endOffset: 3 });
      await log.truncateTo(0);
      assert.deepEqual(log.endOffsetForEpoch(99), none);
      await log.close();
    },
  );

  test(
    "truncateTo cuts the log back, and other records take the place of those that are gone",
    async (store, reopen) => {
      const { log, batches } = await filled(store, "t/0", 4, { ...CONFIG, segmentBytes: 200 });
      await log.truncateTo(4);
      assert.equal(log.logEndOffset, 4);
      assert.ok(log.flushedOffset <= 4);
      assert.equal(log.sizeBytes, batches[0]!.length * 2);
      await assertOutOfRange(log, 5);
      const other = sampleBatch({ baseOffset: 4, leaderEpoch: 2, mark: 77, timestamps: [5, 5] });
      await log.append([other]);
      assert.deepEqual(await readAll(log), [batches[0], batches[1], other]);
      await log.close();
      const again = await (await reopen()).open("t/0", CONFIG);
      assert.deepEqual(await readAll(again), [batches[0], batches[1], other]);
      await again.close();
    },
  );

  test("truncateTo in the middle of a batch drops the batch; at or after the end it does nothing", async (store) => {
    const { log } = await filled(store, "t/0", 3);
    await log.truncateTo(6);
    await log.truncateTo(100);
    assert.equal(log.logEndOffset, 6);
    await log.truncateTo(5);
    assert.equal(log.logEndOffset, 4);
    await log.close();
  });

  test(
    "truncateTo empties a log no further than its start, and it goes on from there",
    async (store, reopen) => {
      const { log } = await filled(store, "t/0", 4, { ...CONFIG, segmentBytes: 100 });
      await log.applyRetention({ now: 0, retentionMs: null, retentionBytes: 0, keepFrom: 4 });
      assert.equal(log.logStartOffset, 4);
      await log.truncateTo(1);
      assert.deepEqual([log.logStartOffset, log.logEndOffset, log.sizeBytes], [4, 4, 0]);
      await log.close();
      const again = await (await reopen()).open("t/0", CONFIG);
      assert.deepEqual([again.logStartOffset, again.logEndOffset], [4, 4]);
      assert.deepEqual(await again.append([sampleBatch({ baseOffset: 4 })]), {
        baseOffset: 4,
        logEndOffset: 5,
      });
      await again.close();
    },
  );
}
