// Owns the rules of log compaction: what stays, what goes, and that offsets never move.
import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import type { FileLog } from "../storage/file_log/file_log.ts";
import {
  appendKeyed,
  appendMarker,
  batchesOf,
  compaction,
  outlineOf,
  recordsOf,
} from "./support/keyed_log.ts";
import { LOG, segmentFile, SimulatedMachine } from "./support/simulated_logs.ts";
import { settle } from "./support/virtual_time.ts";

/** Three batches of one record a segment. */
const SMALL = { segmentBytes: 340, indexIntervalBytes: 100 };

/** Nothing of what is tested is in the active segment. */
async function closeSegment(log: FileLog): Promise<void> {
  for (let count = 0; count < 4; count++) await appendKeyed(log, [`end ${count}`]);
}

function segmentFiles(machine: SimulatedMachine): string[] {
  return machine.disk.paths(LOG).filter((path) => path.endsWith(".log"));
}

Deno.test("compaction leaves the newest record of each key at its offset, and nothing between batches is missing", async () => {
  const machine = new SimulatedMachine();
  let log = await machine.open(SMALL);
  for (let round = 0; round < 6; round++) {
    for (const key of ["a", "b", "c"]) await appendKeyed(log, [key]);
  }
  await closeSegment(log);
  const end = log.logEndOffset;
  const before = log.sizeBytes;
  const done = await log.compact(compaction());
  assert.equal(done.removedRecords, 15);
  assert.equal(log.sizeBytes, before - done.removedBytes);
  assert.ok(done.removedBytes > 500);
  const left = ["a@15", "b@16", "c@17", "end 0@18", "end 1@19", "end 2@20", "end 3@21"];
  assert.deepEqual(await outlineOf(log), left);
  assert.deepEqual([log.logStartOffset, log.logEndOffset], [0, end]);
  await log.close();
  log = await machine.open(SMALL);
  assert.deepEqual([log.fault, log.logStartOffset, log.logEndOffset], [null, 0, end]);
  assert.deepEqual(await outlineOf(log), left);
  await log.close();
});

Deno.test("compaction takes records out of the middle of a batch, whatever its codec, and the others stay as they were", async () => {
  for (const compression of ["none", "gzip", "snappy", "lz4", "zstd"] as const) {
    const machine = new SimulatedMachine();
    const log = await machine.open(SMALL);
    await appendKeyed(log, ["a", "b", "a", "c", { key: null }], { compression });
    await appendKeyed(log, ["c", "d"], { compression });
    await closeSegment(log);
    await log.compact(compaction());
    const outline = await outlineOf(log);
    assert.deepEqual(outline.slice(0, 5), ["b@1", "a@2", "null@4", "c@5", "d@6"], compression);
    // Each offset can be asked for, also those that are gone.
    for (let offset = 0; offset < log.logEndOffset; offset++) {
      const bytes = await log.read(offset, { endOffset: log.logEndOffset, maxBytes: 1 });
      assert.ok(bytes.length > 0);
    }
    await log.close();
  }
});

Deno.test("compaction makes one segment of many small ones, and reads, time lookups and restarts go on", async () => {
  const machine = new SimulatedMachine();
  let log = await machine.open(SMALL);
  for (let round = 0; round < 30; round++) await appendKeyed(log, [`k${round % 2}`]);
  await closeSegment(log);
  const files = segmentFiles(machine).length;
  await log.compact(compaction());
  // What was swapped in is merged with its neighbours by a later compaction.
  await appendKeyed(log, ["k0"]);
  for (let round = 0; round < 30; round++) await appendKeyed(log, [`k${round % 2}`]);
  await closeSegment(log);
  await log.compact(compaction());
  assert.ok(segmentFiles(machine).length <= 5, `${files} became ${segmentFiles(machine).length}`);
  const outline = await outlineOf(log);
  const ends = ["end 0@65", "end 1@66", "end 2@67", "end 3@68"];
  assert.deepEqual(outline.slice(-6), ["k0@63", "k1@64", ...ends]);
  const first = Number(outline[0]!.split("@")[1]);
  assert.equal(await log.offsetForTimestamp(0), first);
  assert.equal(await log.offsetForTimestamp(1_000 + 40), 63);
  assert.equal(await log.offsetForTimestamp(1_000 + 64), 64);
  await log.close();
  log = await machine.open(SMALL);
  assert.deepEqual(await outlineOf(log), outline);
  assert.equal(await log.offsetForTimestamp(1_040), 63);
  await log.close();
});

Deno.test("a tombstone takes its key's records at once, and goes itself only when its time is over", async () => {
  const machine = new SimulatedMachine();
  let log = await machine.open(SMALL);
  for (const key of ["a", "b", "a"]) await appendKeyed(log, [key]);
  await appendKeyed(log, [{ key: "a", value: null }]);
  await closeSegment(log);
  await log.compact(compaction({ now: 50_000 }));
  assert.deepEqual((await outlineOf(log)).slice(0, 2), ["b@1", "a!3"]);
  await log.compact(compaction({ now: 59_999 }));
  assert.deepEqual((await outlineOf(log)).slice(0, 2), ["b@1", "a!3"]);
  // The time is kept across restarts.
  await log.close();
  log = await machine.open(SMALL);
  await log.compact(compaction({ now: 60_000 }));
  assert.deepEqual((await outlineOf(log)).slice(0, 2), ["b@1", "end 0@4"]);
  await log.close();
});

Deno.test("tombstones go in time also when the log is compacted again and again meanwhile", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open(SMALL);
  await appendKeyed(log, [{ key: "a", value: null }]);
  for (let now = 100_000; now <= 111_000; now += 100) {
    for (let count = 0; count < 3; count++) await appendKeyed(log, ["b"]);
    await log.compact(compaction({ now }));
    const isThere = (await outlineOf(log)).includes("a!0");
    // The first compaction that has it below is at 100,100 at the latest.
    if (now < 110_000) assert.ok(isThere, `gone at ${now}`);
    if (now >= 110_800) assert.ok(!isThere, `still there at ${now}`);
  }
  await log.close();
});

Deno.test("compaction touches neither the active segment nor anything from its bound on", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open(SMALL);
  for (let count = 0; count < 12; count++) await appendKeyed(log, ["a"]);
  const all = Array.from({ length: 12 }, (_, offset) => `a@${offset}`);
  await log.compact(compaction({ keepFrom: 2 }));
  assert.deepEqual(await outlineOf(log), all);
  await log.compact(compaction({ keepFrom: 6 }));
  assert.deepEqual(await outlineOf(log), all.slice(5));
  await log.close();
});

Deno.test("compaction drops aborted records, which count for no key, and keeps a marker as long as what it ends", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open({ ...SMALL, segmentBytes: 250 });
  const transaction = { producerId: 7, transactional: true };
  await appendKeyed(log, ["a"]);
  await appendKeyed(log, ["a", "b"], transaction);
  await appendMarker(log, { producerId: 7, commit: false });
  await appendKeyed(log, ["c"], transaction);
  await appendMarker(log, { producerId: 7, commit: true });
  await closeSegment(log);
  const aborted = [{ producerId: 7, firstOffset: 1, lastOffset: 3 }];
  const markers = async () =>
    (await batchesOf(log)).filter(({ isControl }) => isControl).map(({ baseOffset }) => baseOffset);
  await log.compact(compaction({ now: 50_000, aborted }));
  assert.deepEqual((await outlineOf(log)).slice(0, 2), ["a@0", "c@4"]);
  assert.deepEqual(await markers(), [3, 5]);
  await log.compact(compaction({ now: 60_000, aborted }));
  assert.deepEqual(await markers(), [5], "nothing is left of what the first one ended");
  assert.deepEqual((await outlineOf(log)).slice(0, 2), ["a@0", "c@4"]);
  await log.close();
});

Deno.test("the last batch of a producer keeps its header until it is old", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open({ ...SMALL, segmentBytes: 250 });
  const producers = async () =>
    (await batchesOf(log)).filter(({ producerId }) => producerId === 7)
      .map(({ baseOffset, endOffset, records }) => [baseOffset, endOffset, records.length]);
  for (let round = 0; round < 3; round++) {
    await appendKeyed(log, ["a", "b"], { producerId: 7, baseSequence: round * 2 });
  }
  await appendKeyed(log, ["a", "b"]);
  await closeSegment(log);
  await log.compact(compaction({ now: 2_000, producerMs: 1_000 }));
  assert.deepEqual(await producers(), [[4, 6, 0]]);
  for (let count = 0; count < 20; count++) await appendKeyed(log, ["a"]);
  await closeSegment(log);
  await log.compact(compaction({ now: 3_000, producerMs: 1_000 }));
  assert.deepEqual(await producers(), []);
  await log.close();
});

Deno.test("keys that do not fit into memory at once are compacted in several passes, with the same result", async () => {
  const outlines: string[][] = [];
  for (const maxKeyMapBytes of [150, 300, 1e6]) {
    const machine = new SimulatedMachine();
    const log = await machine.open(SMALL, { maxKeyMapBytes });
    for (let round = 0; round < 24; round++) await appendKeyed(log, [`k${round % 7}`]);
    await closeSegment(log);
    for (let again = 0; again < 20; again++) await log.compact(compaction());
    outlines.push(await outlineOf(log));
    await log.close();
  }
  // Newest by offset: what was found in the last pass.
  assert.deepEqual(outlines[1], outlines[2]);
  assert.deepEqual(outlines[0], outlines[2]);
});

Deno.test("compaction is left alone until half of what can be compacted is new", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open(SMALL);
  for (let count = 0; count < 40; count++) await appendKeyed(log, [`k${count}`]);
  await log.compact(compaction());
  const changes = machine.disk.changes;
  for (let count = 0; count < 4; count++) await appendKeyed(log, [`k${count}`]);
  const appended = machine.disk.changes;
  assert.equal((await log.compact(compaction())).removedRecords, 0);
  assert.ok(machine.disk.changes - appended < appended - changes + 10, "nothing was rewritten");
  await log.close();
});

Deno.test("a damaged segment is never compacted away: it is refused, and stays as it is", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open(SMALL);
  for (let count = 0; count < 12; count++) await appendKeyed(log, ["a"]);
  await settle();
  machine.disk.overwrite(segmentFile(3), (bytes) => bytes.with(100, bytes[100]! ^ 1));
  const damaged = machine.disk.contents(segmentFile(3));
  const isCorrupt = (error: unknown) =>
    error instanceof BrokerError && error.code === "CORRUPT_LOG";
  await assert.rejects(log.compact(compaction()), isCorrupt);
  assert.deepEqual(machine.disk.contents(segmentFile(3)), damaged);
  assert.deepEqual(machine.disk.paths(LOG).filter((path) => /tmp|swap/.test(path)), []);
  await appendKeyed(log, ["b"]);
  await log.close();
});

Deno.test("readers that come while segments are swapped see every record that must be there", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open({ ...SMALL, segmentBytes: 900 });
  for (let count = 0; count < 60; count++) await appendKeyed(log, [`k${count % 20}`]);
  for (let count = 0; count < 4; count++) await closeSegment(log);
  const newest = (await outlineOf(log)).slice(40, 60);
  let isDone = false;
  const compacting = log.compact(compaction()).finally(() => isDone = true);
  let reads = 0;
  while (!isDone) {
    const outline = await outlineOf(log);
    for (const record of newest) assert.ok(outline.includes(record), record);
    reads++;
  }
  await compacting;
  assert.ok(reads > 0);
  assert.deepEqual((await outlineOf(log)).slice(0, 20), newest);
  await log.close();
});

Deno.test("a cut within compacted segments makes compaction begin anew: what comes there is compacted too", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open(SMALL);
  for (let count = 0; count < 18; count++) await appendKeyed(log, [`k${count % 3}`]);
  await closeSegment(log);
  await log.compact(compaction({ now: 50_000 }));
  await log.truncateTo(16);
  assert.deepEqual(await outlineOf(log), ["k0@15"]);
  await appendKeyed(log, ["k0"]);
  await appendKeyed(log, [{ key: "k0", value: null }]);
  await closeSegment(log);
  await log.compact(compaction({ now: 60_000 }));
  assert.deepEqual((await outlineOf(log))[0], "k0!17", "a tombstone's time begins with it");
  await log.close();
});

Deno.test("closing, cutting and the caller's signal end a compaction between two steps", async () => {
  for (const how of ["close", "cut", "signal"] as const) {
    const machine = new SimulatedMachine();
    let log = await machine.open(SMALL);
    for (let count = 0; count < 60; count++) await appendKeyed(log, [`k${count % 3}`]);
    const stop = new AbortController();
    const compacting = log.compact(compaction({ signal: stop.signal })).catch(() => undefined);
    await Promise.resolve();
    if (how === "close") await log.close();
    else if (how === "cut") await log.truncateTo(58);
    else stop.abort();
    await compacting;
    assert.deepEqual(machine.disk.paths(LOG).filter((path) => /tmp|swap/.test(path)), [], how);
    if (how !== "close") await log.close();
    log = await machine.open(SMALL);
    const keys = new Map((await recordsOf(log)).map(({ key, offset }) => [key, offset]));
    const expected = how === "cut" ? [57, 55, 56] : [57, 58, 59];
    assert.deepEqual(["k0", "k1", "k2"].map((key) => keys.get(key)), expected);
    await log.close();
  }
});

Deno.test("compaction goes no further than a message whose key is still remembered, and on when that is over", async () => {
  for (const compression of ["none", "lz4"] as const) {
    const machine = new SimulatedMachine();
    const log = await machine.open(SMALL);
    for (let count = 0; count < 9; count++) await appendKeyed(log, ["a"]);
    await appendKeyed(log, ["a"], { idempotencyKey: "once", timestamp: 45_000, compression });
    for (let count = 0; count < 9; count++) await appendKeyed(log, ["a"]);
    await closeSegment(log);
    const remembered = { header: "idempotency-key", ms: 10_000 };
    await log.compact(compaction({ now: 50_000, remembered }));
    assert.deepEqual((await outlineOf(log)).slice(0, 3), ["a@8", "a@9", "a@10"]);
    const read = machine.disk.bytesRead;
    await log.compact(compaction({ now: 54_999, remembered }));
    assert.equal(machine.disk.bytesRead, read, "nothing is looked at in vain");
    await log.compact(compaction({ now: 55_000, remembered }));
    assert.deepEqual((await outlineOf(log)).slice(0, 2), ["a@18", "end 0@19"]);
    await log.close();
  }
});
