// Owns the rules of logs that are archived: nothing is dropped before it is archived, and readers notice nothing.
import assert from "node:assert/strict";
import type { Log, RetentionPolicy } from "../storage/log.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { ArchivedMachine } from "./support/archived_machine.ts";
import { assertOutOfRange, readAll } from "./contracts/log_fixture.ts";
import { logContract } from "./contracts/log_contract.ts";
import { type CrashFate, UNLIMITED_BYTES } from "./support/simulated_disk.ts";
import { appendEach, CONFIG, LOG, segmentFile } from "./support/simulated_logs.ts";
import { settle } from "./support/virtual_time.ts";

const MAX_STEPS = 1_000;

function retention(change: Partial<RetentionPolicy> = {}): RetentionPolicy {
  return {
    now: 1e6,
    retentionMs: 0,
    retentionBytes: null,
    keepFrom: 1e9,
    archive: { retentionMs: null },
    ...change,
  };
}

logContract("archived log", () => {
  const at = new ArchivedMachine();
  return Promise.resolve({
    store: at.store(),
    reopen: () => Promise.resolve(at.store()),
    dispose: () => Promise.resolve(),
  });
});

function code(expected: string): (error: unknown) => boolean {
  return (error) => error instanceof BrokerError && error.code === expected;
}

/** A log of twelve batches of two records, in segments of three, archived but for the active one. */
async function archived(
  at: ArchivedMachine,
): Promise<{ log: Log; batches: Uint8Array[] }> {
  const log = await at.open();
  const batches = await appendEach(log, 12);
  await log.applyRetention(retention());
  return { log, batches };
}

Deno.test("what retention lets go is archived, and reads, time lookups and the log start go on as if it were here", async () => {
  const at = new ArchivedMachine();
  const { log, batches } = await archived(at);
  assert.ok(at.archive.objects.size > 2, "there are several objects");
  assert.deepEqual(at.machine.disk.paths(LOG).filter((path) => path.endsWith(".log")).length, 1);
  assert.equal(log.logStartOffset, 0);
  assert.deepEqual(await readAll(log), batches);
  for (let offset = 0; offset < 24; offset++) {
    // Batch n is at offsets 2n and 2n + 1, time 1000 + 2n.
    assert.equal(
      await log.offsetForTimestamp(1_000 + offset),
      offset % 2 === 0 ? offset : offset + 1 < 24 ? offset + 1 : null,
    );
  }
  assert.equal(await log.offsetForTimestamp(0), 0);
  await assertOutOfRange(log, 25);
  await log.close();
  const again = await at.open();
  assert.equal(again.logStartOffset, 0);
  assert.deepEqual(await readAll(again), batches);
  await again.close();
});

Deno.test("a read in the archive keeps to its limits and never shows a batch beyond its end offset", async () => {
  const at = new ArchivedMachine({ maxObjectBytes: 10_000 });
  const { log, batches } = await archived(at);
  const size = batches[0]!.length;
  assert.equal((await log.read(3, { endOffset: 24, maxBytes: 1 })).length, size);
  assert.equal((await log.read(3, { endOffset: 24, maxBytes: 2 * size })).length, 2 * size);
  assert.equal((await log.read(2, { endOffset: 5, maxBytes: 10_000 })).length, size);
  assert.equal((await log.read(4, { endOffset: 4, maxBytes: 10_000 })).length, 0);
  await log.close();
});

Deno.test("nothing is dropped here that the archive did not take, and appends go on; it is taken the next time", async () => {
  const at = new ArchivedMachine();
  const log = await at.open();
  const batches = await appendEach(log, 12);
  at.archive.failing = /put .*\/0000000000000008-/;
  await assert.rejects(log.applyRetention(retention()), code("ARCHIVE_UNAVAILABLE"));
  assert.equal(at.archive.objects.size, 2);
  batches.push(...await appendEach(log, 1));
  assert.deepEqual(await readAll(log), batches);
  at.archive.failing = null;
  await assert.rejects(log.applyRetention(retention()), code("ARCHIVE_UNAVAILABLE"), "it pauses");
  await at.machine.clock.advance(60_000);
  await log.applyRetention(retention());
  assert.deepEqual(at.machine.disk.paths(LOG).filter((path) => path.endsWith(".log")).length, 1);
  assert.deepEqual(await readAll(log), batches);
  await log.close();
});

Deno.test("an archive that hangs keeps neither appends nor local reads nor closing waiting", async () => {
  const at = new ArchivedMachine();
  const { log } = await archived(at);
  at.archive.hanging = /./;
  const read = assert.rejects(
    log.read(0, { endOffset: 24, maxBytes: 100 }),
    (error: unknown) => code("ARCHIVE_UNAVAILABLE")(error) && (error as BrokerError).retryable,
  );
  await appendEach(log, 6);
  const retained = assert.rejects(log.applyRetention(retention()), code("SHUTTING_DOWN"));
  assert.equal((await log.read(26, { endOffset: 28, maxBytes: 1 })).length > 0, true);
  await settle();
  await log.close();
  await at.machine.clock.advance(60_000);
  await Promise.all([read, retained]);
});

Deno.test("an archived object that was changed or cut is refused, never served and never skipped", async () => {
  const changes: ((bytes: Uint8Array) => Uint8Array)[] = [
    (bytes) => bytes.map((byte, index) => index === bytes.length - 1 ? byte ^ 1 : byte),
    (bytes) => bytes.map((byte, index) => index === 3 ? byte ^ 1 : byte),
    (bytes) => bytes.subarray(0, bytes.length - 1),
  ];
  for (const change of changes) {
    const at = new ArchivedMachine();
    const { log } = await archived(at);
    const [key] = [...at.archive.objects.keys()].sort();
    at.archive.objects.set(key!, change(at.archive.objects.get(key!)!));
    await assert.rejects(log.read(0, { endOffset: 24, maxBytes: 100 }), code("CORRUPT_LOG"));
    await assert.rejects(log.offsetForTimestamp(0), code("CORRUPT_LOG"));
    assert.ok((await log.read(4, { endOffset: 24, maxBytes: 100 })).length > 0);
    await log.close();
  }
});

Deno.test("an archive that lacks what its index says may be another volume: it is asked again until it has it", async () => {
  const at = new ArchivedMachine();
  const { log, batches } = await archived(at);
  const objects = [...at.archive.objects];
  at.archive.objects.clear();
  const unavailable = code("ARCHIVE_UNAVAILABLE");
  await assert.rejects(log.read(0, { endOffset: 24, maxBytes: 100 }), unavailable);
  await assert.rejects(log.offsetForTimestamp(0), unavailable);
  for (const [key, bytes] of objects) at.archive.objects.set(key, bytes);
  assert.deepEqual(await readAll(log), batches);
  await log.close();
});

Deno.test("fetched objects are kept within the budget and fetched once for readers that come together", async () => {
  const at = new ArchivedMachine({ cacheBytes: 400 });
  const { log } = await archived(at);
  const gets = () => at.archive.calls.filter((call) => call.startsWith("get")).length;
  const read = (offset: number) => log.read(offset, { endOffset: 24, maxBytes: 100 });
  await Promise.all([read(0), read(1), read(2)]);
  assert.equal(gets(), 1);
  await read(0);
  assert.equal(gets(), 1);
  for (const offset of [4, 8, 12]) await read(offset);
  await read(0);
  assert.equal(gets(), 5, "the first was let go");
  await log.close();
});

Deno.test("archive retention drops the oldest objects, raises the log start, and only then removes them", async () => {
  const at = new ArchivedMachine();
  const { log, batches } = await archived(at);
  const count = at.archive.objects.size;
  at.archive.failing = /remove/;
  // Records up to time 1008 are older.
  const policy = retention({ now: 3_010, archive: { retentionMs: 2_000 } });
  await assert.rejects(log.applyRetention(policy), code("ARCHIVE_UNAVAILABLE"));
  assert.equal(log.logStartOffset, 8);
  assert.equal(at.archive.objects.size, count);
  await assertOutOfRange(log, 7);
  assert.deepEqual(await readAll(log), batches.slice(4));
  await log.close();
  at.archive.failing = null;
  await at.machine.clock.advance(60_000);
  const again = await at.open();
  assert.equal(again.logStartOffset, 8);
  assert.equal(await again.applyRetention(policy), 8);
  assert.equal(at.archive.objects.size, count - 2);
  await again.applyRetention(retention({ archive: { retentionMs: 0 } }));
  assert.deepEqual([again.logStartOffset, at.archive.objects.size], [18, 0]);
  const more = await appendEach(again, 6);
  await again.applyRetention(retention());
  assert.equal(again.logStartOffset, 18);
  assert.deepEqual(await readAll(again), [...batches.slice(9), ...more]);
  await again.close();
});

Deno.test("without an archive policy what is archived goes before anything newer, so that no gap comes to be", async () => {
  const at = new ArchivedMachine();
  const { log, batches } = await archived(at);
  const policy = retention({ archive: undefined });
  assert.equal(await log.applyRetention(policy), 0, "nothing to drop here, so nothing there");
  const more = await appendEach(log, 6);
  await log.applyRetention(policy);
  const all = [...batches, ...more];
  assert.equal(log.logStartOffset, 36 - 2 * (await readAll(log)).length);
  assert.deepEqual(await readAll(log), all.slice(log.logStartOffset / 2));
  assert.equal(at.archive.objects.size, 0);
  await log.close();
});

Deno.test("a lost or damaged index of the archive is made again from a listing; until the archive answers local data is served", async () => {
  for (const damage of ["lost", "damaged"] as const) {
    const at = new ArchivedMachine();
    const { log, batches } = await archived(at);
    await log.close();
    const path = `${LOG}/archive.index`;
    if (damage === "lost") await at.machine.disk.session().remove(path);
    else at.machine.disk.overwrite(path, (bytes) => bytes.with(9, bytes[9]! ^ 1));
    at.archive.failing = /list/;
    const without = await at.open();
    // A lost one tells nothing, not even that there was one.
    assert.equal(without.logStartOffset, damage === "lost" ? 18 : 0);
    const local = await without.read(18, { endOffset: 24, maxBytes: 1e6 });
    assert.equal(local.length, 3 * batches[9]!.length);
    if (damage === "damaged") {
      const unavailable = code("ARCHIVE_UNAVAILABLE");
      await assert.rejects(without.read(3, { endOffset: 24, maxBytes: 100 }), unavailable);
      await assert.rejects(without.offsetForTimestamp(0), unavailable);
      at.archive.failing = null;
      await at.machine.clock.advance(60_000);
      assert.deepEqual(await readAll(without), batches, "it is found out by who asks");
      at.archive.failing = /list/;
    }
    await without.close();
    if (damage === "damaged") {
      at.machine.disk.overwrite(path, (bytes) => bytes.with(9, bytes[9]! ^ 1));
    }
    at.archive.failing = null;
    await at.machine.clock.advance(60_000);
    const again = await at.open();
    assert.equal(again.logStartOffset, 0);
    assert.deepEqual(await readAll(again), batches);
    await again.close();
  }
});

Deno.test("a removed log leaves nothing in the archive; its neighbours keep theirs", async () => {
  const at = new ArchivedMachine();
  const { log } = await archived(at);
  await log.close();
  at.archive.objects.set("topics/t1/01/other.batches", new Uint8Array(1));
  const store = at.store();
  at.archive.failing = /list/;
  await assert.rejects(store.remove(LOG), code("ARCHIVE_UNAVAILABLE"));
  assert.deepEqual(await store.list(""), []);
  at.archive.failing = null;
  await at.machine.clock.advance(60_000);
  await store.remove(LOG);
  assert.deepEqual([...at.archive.objects.keys()], ["topics/t1/01/other.batches"]);
});

Deno.test("without an archive, what was archived stays part of the log and waits for one; other logs notice nothing", async () => {
  const at = new ArchivedMachine();
  const { log, batches } = await archived(at);
  await log.close();
  const config = { ...CONFIG, segmentBytes: 350 };
  const without = at.store(null);
  assert.equal(without.archives, false);
  const bare = await without.open(LOG, config);
  assert.deepEqual([bare.logStartOffset, bare.missesArchive], [0, true]);
  const unavailable = code("ARCHIVE_UNAVAILABLE");
  await assert.rejects(bare.read(3, { endOffset: 24, maxBytes: 100 }), unavailable);
  await assert.rejects(bare.offsetForTimestamp(0), unavailable);
  assert.ok((await bare.read(20, { endOffset: 24, maxBytes: 100 })).length > 0);
  batches.push(...await appendEach(bare, 6));
  await bare.close();
  const plain = await without.open("topics/t2/0", config);
  await appendEach(plain, 12);
  await plain.applyRetention(retention({ archive: undefined }));
  assert.ok(plain.logStartOffset > 0);
  assert.deepEqual([plain.missesArchive, plain.archivedBytes], [false, undefined]);
  await assertOutOfRange(plain, 0);
  await plain.close();
  const reopened = await at.store(null).open("topics/t2/0", config);
  assert.equal(reopened.missesArchive, false);
  await reopened.close();
  const again = await at.open();
  assert.equal(again.missesArchive, false);
  assert.deepEqual(await readAll(again), batches);
  await again.close();
});

Deno.test("a log that is removed without its archive is removed from it once there is one", async () => {
  const at = new ArchivedMachine();
  const { log } = await archived(at);
  await log.close();
  for (let starts = 0; starts < 2; starts++) {
    await assert.rejects(at.store(null).remove(LOG), code("ARCHIVE_UNAVAILABLE"));
    assert.deepEqual(at.machine.disk.paths(LOG), [`${LOG}/archive.index`]);
  }
  assert.ok(at.archive.objects.size > 0);
  await at.store().remove(LOG);
  assert.equal(at.archive.objects.size, 0);
  assert.deepEqual(at.machine.disk.paths(LOG), []);
  await at.store(null).remove("topics/t2/0");
});

Deno.test("retention that is told to end stops between two objects and goes on the next time", async () => {
  const at = new ArchivedMachine();
  const log = await at.open();
  const batches = await appendEach(log, 12);
  const stop = new AbortController();
  const put = at.archive.put.bind(at.archive);
  at.archive.put = (key, bytes) => {
    stop.abort();
    return put(key, bytes);
  };
  await log.applyRetention(retention({ signal: stop.signal }));
  assert.equal(at.archive.objects.size, 1);
  assert.deepEqual(await readAll(log), batches);
  await log.applyRetention(retention());
  assert.deepEqual(await readAll(log), batches);
  assert.equal(log.sizeBytes, batches[0]!.length * 3);
  await log.close();
});

Deno.test("a crash at any step of archiving loses nothing and leaves no gap", async () => {
  const fates: (CrashFate | "kill")[] = ["kill", "keep", "drop", "random", "random"];
  let steps = 0;
  for (const [round, fate] of fates.entries()) {
    for (let step = 1; step < MAX_STEPS; step++) {
      const at = new ArchivedMachine({ seed: round * 1_000 + step });
      const { disk } = at.machine;
      let log = await at.open();
      const batches = await appendEach(log, 12);
      await settle();
      disk.crashAtChange = disk.changes + step;
      await log.applyRetention(retention()).catch((error) => {
        if (!disk.isOff) throw error;
      });
      await settle();
      const crashed = disk.isOff;
      if (fate === "kill") disk.killProcess();
      else disk.crash(fate);
      log = await at.open();
      const what = `${fate}, step ${step}: ${disk.calls.at(-1)}`;
      assert.equal(log.logStartOffset, 0, what);
      assert.deepEqual(await readAll(log), batches, what);
      batches.push(...await appendEach(log, 3));
      await log.applyRetention(retention());
      assert.deepEqual(await readAll(log), batches, what);
      assert.ok(!disk.paths(LOG).includes(segmentFile(0)), what);
      await log.close();
      if (!crashed) break;
      steps++;
    }
  }
  assert.ok(steps > 20, "there was something to crash");
});

Deno.test("on a full disk what is archived is dropped all the same, which makes room; nothing is lost by a crash then", async () => {
  for (const archive of [{ retentionMs: null }, undefined]) {
    const at = new ArchivedMachine();
    const { log, batches } = await archived(at);
    const more = await appendEach(log, 12);
    const { disk } = at.machine;
    disk.capacityBytes = disk.paths().reduce((sum, path) => sum + disk.contents(path).length, 0);
    await assert.rejects(appendEach(log, 1), code("DISK_FULL"));
    const isFull = (error: unknown) =>
      !(error instanceof BrokerError) || error.code !== "DISK_FULL";
    const objects = at.archive.objects.size;
    await log.applyRetention(retention({ archive })).catch((error) => {
      if (isFull(error)) throw error;
    });
    assert.ok(archive === undefined || at.archive.objects.size > objects);
    batches.push(...more, ...await appendEach(log, 3));
    const start = archive === undefined ? log.logStartOffset : 0;
    assert.ok(archive !== undefined || start > 20);
    assert.deepEqual(await readAll(log), batches.slice(start / 2));
    disk.capacityBytes = UNLIMITED_BYTES;
    disk.crash("drop");
    const again = await at.open();
    assert.equal(again.logStartOffset, start);
    assert.deepEqual(await readAll(again), batches.slice(start / 2));
    await again.applyRetention(retention({ archive }));
    await again.close();
  }
});
