// Owns what a log does when its disk fails, is full or is slow, while it runs.
import assert from "node:assert/strict";
import { BrokerError, type ErrorCode } from "../storage/broker_error.ts";
import { DiskFullError } from "../storage/ports.ts";
import type { Log } from "../storage/log.ts";
import { readAll } from "./contracts/log_fixture.ts";
import {
  appendEach,
  CONFIG,
  FIRST_SEGMENT,
  LOG,
  nextBatch,
  nextBatches,
  segmentFile,
  SimulatedMachine,
} from "./support/simulated_logs.ts";
import { settle } from "./support/virtual_time.ts";

const SEGMENT = /\.log$/;

async function assertRejects(call: () => Promise<unknown>, code: ErrorCode): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof BrokerError, String(error));
    assert.equal(error.code, code);
    return true;
  });
}

async function assertPoisoned(log: Log, batches: readonly Uint8Array[]): Promise<void> {
  for (let tries = 0; tries < 3; tries++) {
    await assertRejects(() => log.append([nextBatch(log)]), "STORAGE_FAILED");
  }
  await assertRejects(() => log.truncateTo(0), "STORAGE_FAILED");
  assert.equal(log.logEndOffset, 2 * batches.length);
  assert.equal(log.flushedOffset, 2 * batches.length);
  assert.deepEqual(await readAll(log), batches, "what was flushed can be read");
}

Deno.test("a failed sync is not acknowledged, not retried, and ends all appends until the log is reopened", async () => {
  for (let seed = 1; seed <= 40; seed++) {
    const machine = new SimulatedMachine({ seed });
    const log = await machine.open();
    const batches = await appendEach(log, 3);
    machine.disk.failOnce("sync", SEGMENT);
    const failed = nextBatch(log, { mark: 77 });
    await assertRejects(() => log.append([failed.slice()]), "STORAGE_FAILED");
    const from = machine.disk.calls.length;
    await assertPoisoned(log, batches);
    await log.close();
    const after = machine.disk.calls.slice(from);
    assert.deepEqual(after.filter((call) => /^(sync|write|truncate)/.test(call)), []);

    // The page cache still shows the batch whose pages were lost: it may come back, but only truly durable.
    const again = await machine.open();
    const kept = await readAll(again);
    assert.ok(kept.length === 3 || kept.length === 4);
    assert.deepEqual(kept, [...batches, failed].slice(0, kept.length));
    assert.equal(again.flushedOffset, again.logEndOffset);
    kept.push(...await appendEach(again, 1));
    machine.disk.crash("drop");
    const last = await machine.open();
    assert.equal(last.fault, null, `seed ${seed}`);
    assert.deepEqual(await readAll(last), kept, `seed ${seed}: flushed means durable`);
  }
});

Deno.test("after a failed sync and a kill, recovery claims nothing that a power cut could take", async () => {
  for (let seed = 1; seed <= 40; seed++) {
    const machine = new SimulatedMachine({ seed });
    const log = await machine.open();
    const batches = await appendEach(log, 2);
    machine.disk.failOnce("sync", SEGMENT);
    await assertRejects(() => log.append(nextBatches(log, 3)), "STORAGE_FAILED");
    machine.disk.killProcess();
    const again = await machine.open();
    const kept = await readAll(again);
    assert.deepEqual(kept.slice(0, 2), batches);
    machine.disk.crash("drop");
    const last = await machine.open();
    assert.equal(last.fault, null, `seed ${seed}`);
    assert.deepEqual(await readAll(last), kept, `seed ${seed}`);
  }
});

Deno.test("a sync that fails during recovery refuses to open, and the next opening starts over", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open();
  const batches = await appendEach(log, 3);
  machine.disk.killProcess();
  machine.disk.failOnce("sync", SEGMENT);
  await assertRejects(() => machine.open(), "STORAGE_FAILED");
  const again = await machine.open();
  assert.deepEqual(await readAll(again), batches);
  machine.disk.crash("drop");
  assert.deepEqual(await readAll(await machine.open()), batches);
});

Deno.test("a failed write ends all appends until the log is reopened", async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const machine = new SimulatedMachine({ seed });
    const log = await machine.open();
    const batches = await appendEach(log, 3);
    machine.disk.failOnce("write", SEGMENT);
    await assertRejects(() => log.append(nextBatches(log, 2)), "STORAGE_FAILED");
    await assertPoisoned(log, batches);
    await log.close();
    const again = await machine.open();
    assert.equal(again.fault, null);
    assert.deepEqual((await readAll(again)).slice(0, 3), batches);
    await appendEach(again, 1);
  }
});

Deno.test("a sync that says the disk is full has an unknown outcome like any other failed sync", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open();
  const batches = await appendEach(log, 1);
  machine.disk.failOnce("sync", SEGMENT, new DiskFullError("ENOSPC"));
  await assertRejects(() => log.append([nextBatch(log)]), "STORAGE_FAILED");
  await assertPoisoned(log, batches);
});

Deno.test("a short write on a full disk is cut back, and the log goes on when there is space again", async () => {
  for (const roomBytes of [0, 1, 60, 110, 111, 112, 200]) {
    const machine = new SimulatedMachine();
    const log = await machine.open();
    const batches = await appendEach(log, 3);
    const used = () =>
      machine.disk.paths().reduce((sum, path) => sum + machine.disk.contents(path).length, 0);
    const sizeBytes = machine.disk.contents(FIRST_SEGMENT).length;
    machine.disk.capacityBytes = used() + roomBytes;
    for (let tries = 0; tries < 3; tries++) {
      await assertRejects(() => log.append(nextBatches(log, 2)), "DISK_FULL");
      assert.equal(machine.disk.contents(FIRST_SEGMENT).length, sizeBytes, "nothing was kept");
      assert.equal(log.logEndOffset, 6);
      assert.deepEqual(await readAll(log), batches, "reading goes on");
    }
    // The refusal is a promise that nothing was kept, so it must hold after a power cut too.
    const twin = new SimulatedMachine({ disk: machine.disk });
    machine.disk.capacityBytes = Number.MAX_SAFE_INTEGER;
    batches.push(...await appendEach(log, 2));
    assert.deepEqual(await readAll(log), batches);
    machine.disk.crash("keep");
    assert.deepEqual(await readAll(await twin.open()), batches);
  }
});

Deno.test("what a full disk refused does not come back after a power cut", async () => {
  for (let seed = 1; seed <= 30; seed++) {
    const machine = new SimulatedMachine({ seed });
    const log = await machine.open();
    const batches = await appendEach(log, 2);
    machine.disk.capacityBytes = machine.disk.paths()
      .reduce((sum, path) => sum + machine.disk.contents(path).length, 0) + 130;
    await assertRejects(() => log.append(nextBatches(log, 2)), "DISK_FULL");
    machine.disk.crash("random");
    assert.deepEqual(await readAll(await machine.open()), batches, `seed ${seed}`);
  }
});

Deno.test("a disk that is full while the log rolls refuses the append and nothing else", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open({ segmentBytes: 300 });
  const batches = await appendEach(log, 2);
  for (let tries = 0; tries < 2; tries++) {
    machine.disk.failOnce("create", /x/);
    machine.disk.failOnce("open", new RegExp(segmentFile(4)), new DiskFullError("ENOSPC"));
    await assertRejects(() => log.append([nextBatch(log)]), "DISK_FULL");
    assert.deepEqual(await readAll(log), batches);
  }
  batches.push(...await appendEach(log, 3));
  assert.ok(machine.disk.paths().includes(segmentFile(4)), "it rolled in the end");
  machine.disk.crash("drop");
  assert.deepEqual(await readAll(await machine.open()), batches);
});

Deno.test("after a roll that met a full disk the old segment does not grow past its successor", async () => {
  const machine = new SimulatedMachine();
  const config = { segmentBytes: 300 };
  const log = await machine.open(config);
  const batches = await appendEach(log, 2);
  machine.disk.failOnce("open", new RegExp(segmentFile(4)), new DiskFullError("ENOSPC"));
  await assertRejects(() => log.append([nextBatch(log)]), "DISK_FULL");
  // As if the file had been made all the same.
  await machine.disk.open(segmentFile(4), { create: true });
  await log.configure({
    ...config,
    durability: "fsync",
    segmentMs: 1e12,
    indexIntervalBytes: 99,
    segmentBytes: 9e9,
  });
  batches.push(...await appendEach(log, 2));
  machine.disk.killProcess();
  const again = await machine.open();
  assert.equal(again.fault, null);
  assert.deepEqual(await readAll(again), batches);

  machine.disk.failOnce("open", new RegExp(segmentFile(8)), new DiskFullError("ENOSPC"));
  const third = await (again.close(), machine.open({ segmentBytes: 300 }));
  await assertRejects(() => third.append([nextBatch(third)]), "DISK_FULL");
  await machine.disk.open(segmentFile(8), { create: true });
  await third.configure(CONFIG);
  await third.truncateTo(6);
  const kept = [...batches.slice(0, 3), ...await appendEach(third, 2)];
  machine.disk.killProcess();
  const last = await machine.open();
  assert.equal(last.fault, null);
  assert.deepEqual(await readAll(last), kept);
});

Deno.test("a disk that is full for indexes and epochs costs a warning, not the log", async () => {
  const machine = new SimulatedMachine();
  const config = { segmentBytes: 350, indexIntervalBytes: 100 };
  const log = await machine.open(config);
  for (const file of [/\.index\.tmp$/, /\.timeindex\.tmp$/, /leader-epoch-checkpoint\.tmp$/]) {
    for (let count = 0; count < 4; count++) {
      machine.disk.failOnce("write", file, new DiskFullError("ENOSPC"));
    }
  }
  const batches = await appendEach(log, 12);
  await settle();
  assert.ok(machine.warnings.length >= 3, `${machine.warnings.length} warnings`);
  assert.equal(log.fault, null);
  assert.deepEqual(await readAll(log), batches);
  assert.deepEqual(machine.disk.paths().filter((path) => path.endsWith(".tmp")), []);
  machine.disk.crash("drop");
  const again = await machine.open(config);
  assert.deepEqual(await readAll(again), batches);
  assert.deepEqual(again.endOffsetForEpoch(9), { leaderEpoch: 3, endOffset: 24 });
});

Deno.test("retention makes room on a full disk", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open({ segmentBytes: 300 });
  const batches = await appendEach(log, 8);
  await settle();
  machine.disk.capacityBytes = 0;
  await assertRejects(() => log.append([nextBatch(log)]), "DISK_FULL");
  const start = await log.applyRetention({
    now: 0,
    retentionMs: null,
    retentionBytes: 100,
    keepFrom: 1e9,
  });
  assert.equal(start, 12);
  assert.deepEqual(await readAll(log), batches.slice(6));
  machine.disk.crash("random");
  assert.deepEqual(await readAll(await machine.open()), batches.slice(6));
});

Deno.test("retention makes room on a disk so full that neither epochs, checkpoint nor a new segment fit", async () => {
  const machine = new SimulatedMachine();
  const hour = 3_600_000;
  const log = await machine.open({ segmentBytes: 300, segmentMs: hour, durability: "os" });
  const batches: Uint8Array[] = [];
  for (let count = 0; count < 8; count++) {
    // The epochs of the first two segments are on disk, later ones are not.
    if (count > 3) machine.disk.failOnce("write", /leader-epoch/, new DiskFullError("ENOSPC"));
    const batch = nextBatch(log, { leaderEpoch: count });
    batches.push(batch.slice());
    await log.append([batch]);
    await settle();
  }
  machine.disk.capacityBytes = 0;
  await machine.clock.advance(2 * hour);
  const policy = { now: 0, retentionMs: null, retentionBytes: 400, keepFrom: 1e9 };
  assert.equal(await log.applyRetention(policy), 8);
  assert.ok(machine.warnings.some(({ message }) => message.includes("aged")));
  assert.ok(machine.warnings.some(({ message }) => message.includes("checkpoint")));
  assert.equal(log.flushedOffset, 16, "what can be synced is");
  machine.disk.crash("random");
  machine.disk.capacityBytes = 1e9;
  const again = await machine.open();
  assert.equal(again.fault, null);
  assert.equal(again.logStartOffset, 8);
  assert.deepEqual(await readAll(again), batches.slice(4));
  assert.deepEqual(again.endOffsetForEpoch(4), { leaderEpoch: 4, endOffset: 10 });
  assert.deepEqual(again.endOffsetForEpoch(6), { leaderEpoch: 6, endOffset: 14 });
});

Deno.test("a slow sync delays its own log alone, and nothing is acknowledged or shown before it ends", async () => {
  const machine = new SimulatedMachine();
  const store = machine.store({ tailCacheBytes: 10_000 });
  const config = {
    durability: "fsync" as const,
    segmentBytes: 1e6,
    segmentMs: 1e12,
    indexIntervalBytes: 256,
  };
  const slow = await store.open(LOG, config);
  const other = await store.open("topics/t1/1", config);
  const release = machine.disk.holdSyncs();
  let acked = false;
  const append = slow.append([nextBatch(slow)]).then(() => acked = true);
  await settle();
  assert.equal(acked, false);
  assert.deepEqual([slow.logEndOffset, slow.flushedOffset], [0, 0]);
  assert.equal((await slow.read(0, { endOffset: 9, maxBytes: 99 })).length, 0);
  await other.configure({ ...config, durability: "os" });
  await appendEach(other, 3);
  assert.equal(other.logEndOffset, 6);
  release();
  await append;
  assert.deepEqual([slow.logEndOffset, slow.flushedOffset], [2, 2]);
});

Deno.test("with durability fsync no append resolves before its own sync, with os none waits for one", async () => {
  for (const durability of ["fsync", "os"] as const) {
    const machine = new SimulatedMachine();
    const log = await machine.open({ durability });
    const from = machine.disk.calls.length;
    await appendEach(log, 3);
    const calls = machine.disk.calls.slice(from).map((call) => call.split(" ")[0]);
    const one = durability === "fsync" ? ["write", "sync"] : ["write"];
    assert.deepEqual(calls, [...one, ...one, ...one], "one write, one sync, nothing else");
    const several = machine.disk.calls.length;
    await log.append(nextBatches(log, 20));
    assert.equal(machine.disk.calls.length - several, one.length, "many batches are one write");
  }
});
