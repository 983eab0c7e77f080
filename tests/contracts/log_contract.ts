// Owns what every LogStore must do: one suite, registered for each implementation.
// Refuses to look inside an implementation: files, chunks and recovery have tests of their own.
// Invariant: a sentence here follows from storage/log.ts, and holds without segments too.
import assert from "node:assert/strict";
import type { LogStore } from "../../storage/log.ts";
import { CONFIG, filled, type OpenLogStore, readAll, type RegisterLogTest } from "./log_fixture.ts";
import { logModelContract } from "./log_model.ts";
import { logReadingContract } from "./log_reading_contract.ts";
import { logRetentionContract } from "./log_retention_contract.ts";
import { logTruncationContract } from "./log_truncation_contract.ts";
import { sampleBatch } from "../support/sample_batches.ts";

export type { OpenedLogStore, OpenLogStore } from "./log_fixture.ts";

/**
 * Registers the suite for one implementation. `open` makes an empty store; `reopen` lets go of it and opens the same
 * data anew (logs were closed before); `dispose` removes everything.
 */
export function logContract(name: string, open: OpenLogStore): void {
  const test = (
    sentence: string,
    run: (store: LogStore, reopen: () => Promise<LogStore>) => Promise<void>,
  ) =>
    Deno.test(`${name}: ${sentence}`, async () => {
      const opened = await open();
      try {
        await run(opened.store, opened.reopen.bind(opened));
      } finally {
        await opened.dispose();
      }
    });
  appending(test);
  naming(test);
  closing(test);
  logReadingContract(test);
  logTruncationContract(test);
  logRetentionContract(test);
  logModelContract(test);
}

function appending(test: RegisterLogTest): void {
  test("a new log is empty and starts at offset 0", async (store) => {
    const log = await store.open("t/0", CONFIG);
    assert.deepEqual(
      [log.logStartOffset, log.flushedOffset, log.logEndOffset, log.sizeBytes],
      [0, 0, 0, 0],
    );
    assert.equal((await log.read(0, { endOffset: 0, maxBytes: 1_000 })).length, 0);
    assert.equal(await log.offsetForTimestamp(0), null);
    await log.close();
  });

  test("append answers where its records lie and where the log ends", async (store) => {
    const log = await store.open("t/0", CONFIG);
    const first = sampleBatch({ baseOffset: 0, timestamps: [1, 2, 3] });
    assert.deepEqual(await log.append([first]), { baseOffset: 0, logEndOffset: 3 });
    const more = [
      sampleBatch({ baseOffset: 3, timestamps: [4, 5] }),
      sampleBatch({ baseOffset: 5, timestamps: [6] }),
    ];
    assert.deepEqual(await log.append(more), { baseOffset: 3, logEndOffset: 6 });
    assert.equal(log.logEndOffset, 6);
    assert.equal(log.sizeBytes, [first, ...more].reduce((sum, batch) => sum + batch.length, 0));
    assert.deepEqual(await readAll(log), [first, ...more]);
    await log.close();
  });

  test("append refuses batches that do not continue the log, and keeps nothing of them", async (store) => {
    const { log, batches } = await filled(store, "t/0", 2);
    const end = log.logEndOffset;
    for (const baseOffset of [end + 1, end - 1, 0]) {
      await assert.rejects(async () => await log.append([sampleBatch({ baseOffset })]), Error);
    }
    const gapInside = [sampleBatch({ baseOffset: end }), sampleBatch({ baseOffset: end + 2 })];
    await assert.rejects(async () => await log.append(gapInside), Error);
    assert.equal(log.logEndOffset, end);
    const next = sampleBatch({ baseOffset: end });
    await log.append([next]);
    assert.deepEqual(await readAll(log), [...batches, next]);
    await log.close();
  });

  test("append refuses a second call before the first has settled", async (store) => {
    const log = await store.open("t/0", CONFIG);
    const first = log.append([sampleBatch({ baseOffset: 0 })]);
    await assert.rejects(async () => await log.append([sampleBatch({ baseOffset: 1 })]), Error);
    assert.deepEqual(await first, { baseOffset: 0, logEndOffset: 1 });
    assert.deepEqual(await log.append([sampleBatch({ baseOffset: 1 })]), {
      baseOffset: 1,
      logEndOffset: 2,
    });
    await log.close();
  });

  test("with durability fsync all is flushed when append resolves", async (store) => {
    const { log } = await filled(store, "t/0", 3);
    assert.equal(log.flushedOffset, log.logEndOffset);
    await log.close();
  });

  test(
    "with durability os the flushed offset never passes the end, and close flushes",
    async (store, reopen) => {
      const { log } = await filled(store, "t/0", 3, { ...CONFIG, durability: "os" });
      assert.ok(log.flushedOffset >= 0 && log.flushedOffset <= log.logEndOffset);
      await log.close();
      const again = await (await reopen()).open("t/0", CONFIG);
      assert.equal(again.flushedOffset, 6);
      assert.equal(again.logEndOffset, 6);
      await again.close();
    },
  );

  test("configure makes the next append flush what came before it", async (store) => {
    const { log } = await filled(store, "t/0", 2, { ...CONFIG, durability: "os" });
    await log.configure({ ...CONFIG, durability: "fsync", segmentBytes: 100 });
    await log.append([sampleBatch({ baseOffset: 4 })]);
    assert.equal(log.flushedOffset, 5);
    await log.configure({ ...CONFIG, segmentBytes: 1_000_000 });
    await log.append([sampleBatch({ baseOffset: 5 })]);
    assert.equal((await readAll(log)).length, 4);
    await log.close();
  });
}

function naming(test: RegisterLogTest): void {
  test("list names the logs below a prefix, part by part", async (store, reopen) => {
    for (const name of ["a/0", "a/1", "a/b/2", "ab/0", "c-_Z9"]) {
      await (await store.open(name, CONFIG)).close();
    }
    const check = async (at: LogStore) => {
      assert.deepEqual((await at.list("a")).sort(), ["a/0", "a/1", "a/b/2"]);
      assert.deepEqual((await at.list("")).sort(), ["a/0", "a/1", "a/b/2", "ab/0", "c-_Z9"]);
      assert.deepEqual(await at.list("nothing"), []);
    };
    await check(store);
    await check(await reopen());
  });

  test("remove forgets a log for good, and a missing one is no error", async (store, reopen) => {
    for (const name of ["a/0", "a/1"]) await (await filled(store, name, 3)).log.close();
    await store.remove("a/0");
    await store.remove("a/0");
    await store.remove("never/was");
    assert.deepEqual(await store.list("a"), ["a/1"]);
    const again = await reopen();
    assert.deepEqual(await again.list("a"), ["a/1"]);
    const log = await again.open("a/0", CONFIG);
    assert.deepEqual([log.logStartOffset, log.logEndOffset, log.sizeBytes], [0, 0, 0]);
    await log.close();
    const kept = await again.open("a/1", CONFIG);
    assert.equal((await readAll(kept)).length, 3);
    await kept.close();
  });

  test("names outside of their alphabet are refused", async (store) => {
    for (const name of ["", "/", "a/", "/a", "a//b", "..", "a/../b", "a.b", "a b", "é"]) {
      await assert.rejects(async () => await store.open(name, CONFIG), Error, name);
      await assert.rejects(async () => await store.remove(name), Error, name);
    }
    assert.deepEqual(await store.list(""), []);
  });

  test("two logs know nothing of each other", async (store) => {
    const a = await filled(store, "t/0", 2);
    const b = await filled(store, "t/1", 3, CONFIG, 50);
    assert.deepEqual(await readAll(a.log), a.batches);
    assert.deepEqual(await readAll(b.log), b.batches);
    await a.log.close();
    await b.log.close();
  });
}

function closing(test: RegisterLogTest): void {
  test("a log that is opened again holds every batch, byte for byte", async (store, reopen) => {
    const { log, batches } = await filled(store, "t/0", 20, { ...CONFIG, segmentBytes: 500 });
    await log.close();
    let again = await (await reopen()).open("t/0", CONFIG);
    assert.deepEqual(await readAll(again), batches);
    assert.deepEqual(
      [again.logStartOffset, again.flushedOffset, again.logEndOffset, again.sizeBytes],
      [0, 40, 40, batches.length * batches[0]!.length],
    );
    const next = sampleBatch({ baseOffset: 40 });
    await again.append([next]);
    await again.close();
    again = await (await reopen()).open("t/0", CONFIG);
    assert.deepEqual(await readAll(again), [...batches, next]);
    await again.close();
  });

  test("a closed log refuses to append and read; closing it again does nothing", async (store) => {
    const { log } = await filled(store, "t/0", 1);
    await log.close();
    await log.close();
    await assert.rejects(async () => await log.append([sampleBatch({ baseOffset: 2 })]), Error);
    await assert.rejects(async () => await log.read(0, { endOffset: 2, maxBytes: 100 }), Error);
  });
}
