// Owns what readers of a log get: from memory or disk, while it grows, is cut or loses its oldest segments.
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
