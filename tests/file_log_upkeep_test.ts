// Owns what keeps a log's cost bounded: recovery, open files, the tail cache, retention by age, reads under changes.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { BrokerError } from "../storage/broker_error.ts";
import type { FileLog } from "../storage/file_log/file_log.ts";
import { setBaseOffset } from "../storage/format/record_batch.ts";
import { readAll, split } from "./contracts/log_fixture.ts";
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

Deno.test("readers at the tail never touch the disk, and logs with little keep it", async () => {
  const machine = new SimulatedMachine();
  const store = machine.store({ tailCacheBytes: 20_000 });
  const quiet: FileLog[] = [];
  for (let index = 0; index < 9; index++) {
    const log = await store.open(`topics/quiet/${index}`, CONFIG);
    await appendEach(log, 5);
    quiet.push(log);
  }
  const busy = await store.open("topics/busy/0", CONFIG);
  const batches = await appendEach(busy, 500);
  const before = machine.disk.bytesRead;
  const recent = busy.logEndOffset - 20;
  assert.deepEqual(split(await busy.read(recent, ALL)), batches.slice(-10));
  for (const log of quiet) assert.equal((await readAll(log)).length, 5);
  assert.equal(machine.disk.bytesRead, before);
  assert.deepEqual(split(await busy.read(0, { ...ALL, maxBytes: 200 })), batches.slice(0, 1));
  assert.ok(machine.disk.bytesRead > before, "what is older comes from the disk");
});

Deno.test("the tail cache answers exactly as the disk does", async () => {
  const machine = new SimulatedMachine();
  const cached = await machine.store({ tailCacheBytes: 1_500 }).open(LOG, CONFIG);
  await appendEach(cached, 30);
  await cached.append(nextBatches(cached, 4));
  const plain = await new SimulatedMachine({ disk: machine.disk.clone() }).open();
  for (let offset = 0; offset <= cached.logEndOffset; offset++) {
    for (const maxBytes of [0, 1, 112, 230, 2_000]) {
      for (const endOffset of [offset, offset + 1, offset + 5, 1e9]) {
        const options = { endOffset, maxBytes };
        const bytes = new Uint8Array(await cached.read(offset, options));
        assert.deepEqual(bytes, new Uint8Array(await plain.read(offset, options)));
      }
    }
  }
});

Deno.test("an append may be read from the cache although its buffer was guarded for the disk", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.store({ tailCacheBytes: 1e6 }).open(LOG, CONFIG);
  const batch = nextBatch(log, { leaderEpoch: 77 });
  const given = batch.slice();
  await log.append([given]);
  const read = await log.read(0, ALL);
  assert.equal(read, given, "kept by reference");
  assert.deepEqual(read, batch);
  assert.notDeepEqual(machine.disk.contents(segmentFile(0)), batch, "guarded on disk");
});

Deno.test("reads during appends and rolls see whole batches only", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open({ segmentBytes: 600 });
  const batches: Uint8Array[] = [];
  let done = false;
  const reader = (async () => {
    let offset = 0;
    while (!done || offset < log.logEndOffset) {
      const found = split(await log.read(offset, { endOffset: 1e9, maxBytes: 400 }));
      for (const batch of found) {
        assert.deepEqual(batch, batches[offset / 2]);
        offset += 2;
      }
      await Promise.resolve();
    }
    return offset;
  })();
  for (let index = 0; index < 60; index++) {
    const next = nextBatches(log, 1 + index % 3);
    batches.push(...next.map((batch) => batch.slice()));
    await log.append(next);
  }
  done = true;
  assert.equal(await reader, log.logEndOffset);
});

Deno.test("a reader whose segment is dropped gets its batches or the new range, nothing else", async () => {
  for (let delay = 0; delay < 200; delay++) {
    const machine = new SimulatedMachine();
    const log = await machine.open({ segmentBytes: 300 }, { maxIdleFiles: 0 });
    const batches = await appendEach(log, 10);
    await settle();
    const retention = log.applyRetention({
      now: 0,
      retentionMs: null,
      retentionBytes: 0,
      keepFrom: 1e9,
    });
    for (let turn = 0; turn < delay; turn++) await Promise.resolve();
    const outcomes = await Promise.all([0, 4, 9, 15].map(async (offset) => {
      try {
        const found = split(await log.read(offset, { endOffset: 1e9, maxBytes: 500 }));
        const first = Math.floor(offset / 2);
        assert.deepEqual(found, batches.slice(first, first + found.length));
        return "read";
      } catch (error) {
        assert.ok(error instanceof BrokerError && error.code === "OFFSET_OUT_OF_RANGE", `${error}`);
        return "gone";
      }
    }));
    assert.equal(outcomes.length, 4);
    assert.equal(await retention, 16);
    assert.deepEqual(await readAll(log), batches.slice(8));
  }
});

Deno.test("a reader of what is cut meanwhile gets old batches or the new range, never a mixture", async () => {
  for (let delay = 0; delay < 200; delay++) {
    const machine = new SimulatedMachine();
    const log = await machine.open({ segmentBytes: 300 });
    const batches = await appendEach(log, 10);
    await settle();
    const change = log.truncateTo(6).then(async () => {
      // Enough to make a segment where a dropped one had been.
      for (let count = 0; count < 4; count++) {
        await log.append([nextBatch(log, { mark: 200 + count, leaderEpoch: 4 })]);
      }
    });
    for (let turn = 0; turn < delay; turn++) await Promise.resolve();
    const outcome = await log.read(8, { endOffset: 1e9, maxBytes: 2_000 }).then(split, (error) => {
      assert.ok(error instanceof BrokerError && error.code === "OFFSET_OUT_OF_RANGE", `${error}`);
      return [];
    });
    await change;
    const after = await readAll(log);
    const old = outcome.every((batch, index) => Buffer.compare(batch, batches[4 + index]!) === 0);
    const fresh = outcome.every((batch, index) => Buffer.compare(batch, after[4 + index]!) === 0);
    assert.ok(old || fresh, `delay ${delay}`);
    assert.equal(after.length, 7);
    machine.disk.crash("drop");
    assert.deepEqual(await readAll(await machine.open()), after, `delay ${delay}`);
  }
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

Deno.test("timestamps are found to the record, after a restart and in closed segments too", async () => {
  const machine = new SimulatedMachine();
  const config = { segmentBytes: 900, indexIntervalBytes: 300 };
  let log = await machine.open(config);
  for (let index = 0; index < 30; index++) {
    await log.append([nextBatch(log, { time: 1_000 * (index + 1) })]);
  }
  for (const restart of [false, true]) {
    if (restart) {
      await log.close();
      log = await machine.open(config);
    }
    for (let index = 0; index < 30; index++) {
      assert.equal(await log.offsetForTimestamp(1_000 * (index + 1)), 2 * index);
      assert.equal(await log.offsetForTimestamp(1_000 * index + 1), 2 * index);
    }
    assert.equal(await log.offsetForTimestamp(30_001), null);
  }
});

Deno.test("batches larger than any window are read, recovered and told from torn ones", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open({ segmentBytes: 1e9 }, { checkpointBytes: 1e9 });
  const large = nextBatch(log, { valueBytes: 700_000 });
  const batches: Uint8Array[] = [];
  const append = async (batch: Uint8Array) => {
    setBaseOffset(batch, 0, log.logEndOffset);
    batches.push(batch.slice());
    await log.append([batch]);
  };
  for (let count = 0; count < 3; count++) {
    await append(large.slice());
    await append(nextBatch(log));
  }
  await append(large.slice());
  assert.deepEqual(await readAll(log), batches);
  machine.disk.killProcess();
  const path = segmentFile(0);
  const intact = machine.disk.contents(path);
  const at = (count: number) => batches.slice(0, count).reduce((sum, b) => sum + b.length, 0);
  const opened = async (damage: (bytes: Uint8Array) => void) => {
    const copy = new SimulatedMachine({ disk: machine.disk.clone() });
    copy.disk.overwrite(path, () => {
      const bytes = intact.slice();
      damage(bytes);
      return bytes;
    });
    return await copy.open();
  };
  const kept = await opened(() => {});
  assert.deepEqual([kept.fault, kept.logEndOffset], [null, 14]);
  const torn = await opened((bytes) => bytes.fill(0, at(7) - 10));
  assert.deepEqual([torn.fault, torn.logEndOffset], [null, 12]);
  for (const [count, end] of [[1, 0], [2, 2], [5, 8], [6, 10]] as const) {
    const corrupt = await opened((bytes) => bytes[at(count) - 9]! ^= 1);
    assert.equal(corrupt.fault?.code, "CORRUPT_LOG");
    assert.equal(corrupt.logEndOffset, end);
  }
});
