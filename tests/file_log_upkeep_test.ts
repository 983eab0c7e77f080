// Owns what keeps a log's cost bounded: recovery, open files, retention by age.
import assert from "node:assert/strict";
import type { FileLog } from "../storage/file_log/file_log.ts";
import { readAll } from "./contracts/log_fixture.ts";
import {
  appendEach,
  CONFIG,
  LOG,
  nextBatch,
  nextBatches,
  segmentFile,
  SimulatedMachine,
} from "./support/simulated_logs.ts";
import { settle } from "./support/virtual_time.ts";

const ALL = { endOffset: 1e9, maxBytes: 1e6 };

async function fill(log: FileLog, bytes: number): Promise<void> {
  while (log.sizeBytes < bytes) await log.append(nextBatches(log, 10));
  await settle();
}

Deno.test("recovery after a kill reads what lies behind the checkpoint, however large the log is", async () => {
  const read: number[] = [];
  for (const size of [100_000, 1_000_000]) {
    const machine = new SimulatedMachine();
    const config = { segmentBytes: 60_000, indexIntervalBytes: 4_096 };
    const log = await machine.open(config, { checkpointBytes: 20_000 });
    await fill(log, size);
    machine.disk.killProcess();
    const before = machine.disk.bytesRead;
    const again = await machine.open(config, { checkpointBytes: 20_000 });
    assert.equal(again.logEndOffset, log.logEndOffset);
    read.push(machine.disk.bytesRead - before);
  }
  // Scanned once and written again once, with the index of one segment.
  for (const bytes of read) assert.ok(bytes < 60_000, `${read} bytes read`);
});

Deno.test("recovery is as short within one large segment", async () => {
  const machine = new SimulatedMachine();
  const config = { segmentBytes: 10_000_000, indexIntervalBytes: 4_096 };
  const log = await machine.open(config, { checkpointBytes: 20_000 });
  await fill(log, 500_000);
  machine.disk.killProcess();
  const before = machine.disk.bytesRead;
  const again = await machine.open(config, { checkpointBytes: 20_000 });
  assert.equal(again.logEndOffset, log.logEndOffset);
  const bytes = machine.disk.bytesRead - before;
  assert.ok(bytes < 60_000, `${bytes} bytes read`);
});

Deno.test("a segment whose index could not be saved whole is not taken for older than it is", async () => {
  const machine = new SimulatedMachine();
  const config = { segmentBytes: 2_000, indexIntervalBytes: 100 };
  const log = await machine.open(config);
  await log.append([nextBatch(log, { time: 1_000 })]);
  await log.append([nextBatch(log, { time: 1_001 })]);
  await log.checkpoint();
  machine.disk.failOnce("write", /000\.index\.tmp$/);
  while (!machine.disk.paths().some((path) => /[1-9]\.log$/.test(path))) {
    await log.append([nextBatch(log, { time: 50_000 })]);
  }
  await settle();
  await log.close();
  assert.match(machine.warnings[0]?.message ?? "", /could not save the index/);
  const again = await machine.open(config);
  const policy = { now: 60_000, retentionMs: 20_000, retentionBytes: null, keepFrom: 1e9 };
  assert.equal(await again.applyRetention(policy), 0);
  assert.equal(await again.offsetForTimestamp(2_000), 4);
});

Deno.test("opening after a clean close reads no batch", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open({ indexIntervalBytes: 4_096 });
  await fill(log, 200_000);
  const end = log.logEndOffset;
  await log.close();
  const from = machine.disk.calls.length;
  const again = await machine.open({ indexIntervalBytes: 4_096 });
  assert.equal(again.logEndOffset, end);
  const calls = machine.disk.calls.slice(from);
  // Its size is asked for; nothing is read from it or written to it.
  assert.equal(calls.filter((call) => call === `read ${segmentFile(0)}`).length, 1);
  assert.deepEqual(calls.filter((call) => call.startsWith("write")), []);
});

Deno.test("a log that was opened cleanly and then killed is noticed", async () => {
  const machine = new SimulatedMachine();
  const first = await machine.open();
  await appendEach(first, 3);
  await first.close();
  const log = await machine.open();
  const batches = [...await readAll(log), ...await appendEach(log, 2)];
  machine.disk.overwrite(segmentFile(0), (bytes) => bytes.slice(0, bytes.length - 1));
  machine.disk.killProcess();
  assert.deepEqual(await readAll(await machine.open()), batches.slice(0, 4));
});

Deno.test("files of closed segments are kept open up to a bound, those of active ones always", async () => {
  const machine = new SimulatedMachine();
  const store = machine.store({ maxIdleFiles: 3 });
  const logs: FileLog[] = [];
  for (let index = 0; index < 4; index++) {
    const log = await store.open(`topics/t1/${index}`, { ...CONFIG, segmentBytes: 300 });
    logs.push(log);
    await appendEach(log, 12);
  }
  await settle();
  for (const log of logs) {
    assert.equal((await readAll(log)).length, 12);
    assert.ok(store.openFiles <= 4 + 3, `${store.openFiles} open`);
  }
  const reads = logs.flatMap((log) => [0, 5, 9, 14, 18, 22].map((offset) => log.read(offset, ALL)));
  for (const bytes of await Promise.all(reads)) assert.ok(bytes.length > 0);
  assert.ok(store.openFiles <= 4 + 3, `${store.openFiles} open after many reads at once`);
  for (const log of logs) await log.close();
  assert.equal(store.openFiles, 0);
});

Deno.test("a segment is closed at its age, by an append or by retention, and an idle log can be emptied", async () => {
  const machine = new SimulatedMachine();
  const day = 86_400_000;
  const log = await machine.open({ segmentMs: day });
  const now = machine.clock.now();
  await log.append([nextBatch(log, { time: now })]);
  await machine.clock.advance(day - 1);
  await log.append([nextBatch(log, { time: now })]);
  assert.equal(machine.disk.paths(LOG).filter((path) => path.endsWith(".log")).length, 1);
  await machine.clock.advance(1);
  await log.append([nextBatch(log, { time: now + day })]);
  assert.ok(machine.disk.paths().includes(segmentFile(4)));
  await machine.clock.advance(3 * day);
  const policy = {
    now: machine.clock.now(),
    retentionMs: 2 * day,
    retentionBytes: null,
    keepFrom: 1e9,
  };
  assert.equal(await log.applyRetention(policy), 6);
  assert.deepEqual([log.logStartOffset, log.logEndOffset, log.sizeBytes], [6, 6, 0]);
  await log.close();
  const again = await machine.open({ segmentMs: day });
  assert.deepEqual([again.logStartOffset, again.logEndOffset], [6, 6]);
  assert.equal(await again.applyRetention(policy), 6, "an empty segment is not rolled");
});

Deno.test("the age of a segment outlives restarts, and a clock that jumps drops nothing early", async () => {
  const machine = new SimulatedMachine();
  const hour = 3_600_000;
  const retention = { retentionMs: 5 * hour, retentionBytes: null, keepFrom: 1e9 };
  for (let restart = 0; restart < 4; restart++) {
    const log = await machine.open({ segmentMs: 3 * hour });
    await log.append([nextBatch(log, { time: machine.clock.now() })]);
    await machine.clock.advance(hour);
    await log.close();
  }
  assert.equal(machine.disk.paths(LOG).filter((path) => path.endsWith(".log")).length, 2);
  const log = await machine.open({ segmentMs: 3 * hour });
  machine.clock.jumpWall(-24 * hour);
  assert.equal(await log.applyRetention({ ...retention, now: machine.clock.now() }), 0);
  machine.clock.jumpWall(24 * hour);
  assert.equal(await log.applyRetention({ ...retention, now: machine.clock.now() }), 0);
});
