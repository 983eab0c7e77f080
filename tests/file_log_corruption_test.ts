// Owns what a log does when bytes that had been durable are not what they were: found, never skipped, never cut.
import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import { readAll, split } from "./contracts/log_fixture.ts";
import {
  appendEach,
  closedLog,
  FIRST_SEGMENT,
  LOG,
  nextBatch,
  segmentFile,
  SimulatedMachine,
} from "./support/simulated_logs.ts";

const ALL = { endOffset: 1e9, maxBytes: 1e6 };

async function assertCorrupt(call: () => Promise<unknown>, what = ""): Promise<BrokerError> {
  let thrown: unknown;
  await assert.rejects(call, (error) => {
    thrown = error;
    assert.ok(error instanceof BrokerError && error.code === "CORRUPT_LOG", `${what}: ${error}`);
    return true;
  });
  return thrown as BrokerError;
}

/** The log serves `intact` and refuses the rest, appends and cuts, however often it is opened. */
async function assertOfflineFrom(
  machine: SimulatedMachine,
  intact: readonly Uint8Array[],
  what: string,
): Promise<void> {
  for (let opening = 0; opening < 2; opening++) {
    const log = await machine.open();
    const end = 2 * intact.length;
    assert.equal(log.fault?.code, "CORRUPT_LOG", what);
    assert.deepEqual([log.logEndOffset, log.flushedOffset], [end, end], what);
    assert.deepEqual(await readAll(log), intact, what);
    await assertCorrupt(() => log.read(end, ALL), what);
    await assertCorrupt(() => log.read(end + 2, ALL), what);
    await assertCorrupt(() => log.append([nextBatch(log)]), what);
    await assertCorrupt(() => log.truncateTo(0), what);
    await assertCorrupt(
      () => log.applyRetention({ now: 1e15, retentionMs: 0, retentionBytes: 0, keepFrom: 1e15 }),
      what,
    );
    await log.close();
  }
}

Deno.test("a flipped byte anywhere in a write that was followed by another is corruption, not a torn tail", async () => {
  const sample = new SimulatedMachine();
  const batchBytes = nextBatch(await sample.open()).length;
  for (let at = 0; at < batchBytes; at++) {
    const machine = new SimulatedMachine();
    const log = await machine.open();
    const batches = await appendEach(log, 3);
    machine.disk.killProcess();
    const before = machine.disk.contents(FIRST_SEGMENT);
    before[batchBytes + at]! ^= 1 << (at % 8);
    machine.disk.overwrite(FIRST_SEGMENT, () => before.slice());
    await assertOfflineFrom(machine, batches.slice(0, 1), `byte ${at}`);
    assert.deepEqual(machine.disk.contents(FIRST_SEGMENT), before, "nothing is changed on disk");
  }
});

Deno.test("damage to the last write alone cannot be told from a torn write and is cut", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open();
  const batches = await appendEach(log, 3);
  machine.disk.killProcess();
  machine.disk.overwrite(FIRST_SEGMENT, (bytes) => bytes.fill(1, bytes.length - 1));
  const again = await machine.open();
  assert.equal(again.fault, null);
  assert.deepEqual(await readAll(again), batches.slice(0, 2));
});

Deno.test("a log that is shorter than its checkpoint is corrupt", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open();
  const batches = await appendEach(log, 4);
  await log.close();
  const batchBytes = batches[0]!.length;
  for (const size of [4 * batchBytes - 1, 3 * batchBytes, 2 * batchBytes + 5, 0]) {
    const copy = new SimulatedMachine();
    const twin = await copy.open();
    await appendEach(twin, 4);
    await twin.close();
    copy.disk.overwrite(FIRST_SEGMENT, (bytes) => bytes.slice(0, size));
    await assertOfflineFrom(copy, batches.slice(0, Math.floor(size / batchBytes)), `size ${size}`);
  }
});

Deno.test("a flipped bit in the middle of the log is found when it is read, and only there", async () => {
  const { machine, batches } = await closedLog();
  const batchBytes = batches[0]!.length;
  const intact = machine.disk.contents(segmentFile(6));
  for (let at = 0; at < batchBytes; at++) {
    // The middle batch of the middle segment: offsets 8 and 9.
    const damaged = intact.slice();
    damaged[batchBytes + at]! ^= 1 << (at % 8);
    machine.disk.overwrite(segmentFile(6), () => damaged);
    const log = await machine.open({ segmentBytes: 400, indexIntervalBytes: 200 });
    assert.equal(log.fault, null);
    const before = split(await log.read(0, ALL));
    assert.deepEqual(before, batches.slice(0, 4), `byte ${at}: what lies before is served`);
    for (const offset of [8, 9]) {
      const error = await assertCorrupt(() => log.read(offset, ALL), `byte ${at}`);
      assert.equal(error.details.segmentBase, 6);
    }
    assert.deepEqual(split(await log.read(12, ALL)), batches.slice(6), "the next segments too");
    await log.append([nextBatch(log)]);
    await log.truncateTo(18);
    await log.close();
  }
});

Deno.test("stale 4 KiB chunks, zeros and truncation in closed segments are refused on reading", async () => {
  const machine = new SimulatedMachine();
  const config = { segmentBytes: 40_000, indexIntervalBytes: 1_024 };
  const log = await machine.open(config);
  const batches: Uint8Array[] = [];
  for (let index = 0; index < 100; index++) {
    const batch = nextBatch(log, { valueBytes: 500 });
    batches.push(batch.slice());
    await log.append([batch]);
  }
  await log.close();
  const second = machine.disk.paths(LOG).filter((path) => path.endsWith(".log"))[1]!;
  const intact = machine.disk.contents(second);
  const damages: Record<string, (bytes: Uint8Array) => Uint8Array> = {
    stale: (bytes) => bytes.copyWithin(8_192, 4_096, 8_192),
    zeros: (bytes) => bytes.fill(0, 8_192, 12_288),
    truncation: (bytes) => bytes.slice(0, 8_192),
    "truncation between batches": (bytes) => bytes.slice(0, 8 * batches[0]!.length),
  };
  for (const [what, damage] of Object.entries(damages)) {
    machine.disk.overwrite(second, () => damage(intact.slice()));
    const again = await machine.open(config);
    const served = new Map<number, Uint8Array>();
    let refused = 0;
    for (let index = 0; index < batches.length; index++) {
      try {
        served.set(index, split(await again.read(2 * index, { ...ALL, maxBytes: 1 }))[0]!);
      } catch (error) {
        assert.ok(error instanceof BrokerError && error.code === "CORRUPT_LOG", what);
        refused++;
      }
    }
    assert.ok(refused > 0 && refused < 50, `${what}: ${refused} refused`);
    for (const [index, batch] of served) assert.deepEqual(batch, batches[index], what);
    await again.close();
  }
});

Deno.test("an epoch that was changed in two bits is found on reading", async () => {
  const { machine } = await closedLog();
  // Bits that are seven apart cancel out in the guard byte.
  machine.disk.overwrite(segmentFile(6), (bytes) => {
    bytes[15]! ^= 0x81;
    return bytes;
  });
  const log = await machine.open({ segmentBytes: 400, indexIntervalBytes: 200 });
  const error = await assertCorrupt(() => log.read(6, ALL));
  assert.match(error.message, /leader epoch/);
});

Deno.test("without a checkpoint, damage to any segment but the last is found on opening", async () => {
  const damages: ((bytes: Uint8Array) => Uint8Array)[] = [
    (bytes) => bytes.fill(9, bytes.length - 5),
    (bytes) => bytes.slice(0, bytes.length - 1),
    (bytes) => bytes.slice(0, (bytes.length / 3) * 2),
  ];
  for (const damage of damages) {
    const { machine, batches } = await closedLog();
    await machine.disk.remove(`${LOG}/checkpoint`);
    machine.disk.overwrite(segmentFile(6), damage);
    await assertOfflineFrom(machine, batches.slice(0, 5), damage.toString());
  }
});

Deno.test("garbage behind the last batch of a closed segment does no harm", async () => {
  for (const keepsCheckpoint of [true, false]) {
    const { machine, batches } = await closedLog();
    if (!keepsCheckpoint) await machine.disk.remove(`${LOG}/checkpoint`);
    machine.disk.overwrite(segmentFile(6), (bytes) => Uint8Array.from([...bytes, 1, 2, 3]));
    const log = await machine.open({ segmentBytes: 400, indexIntervalBytes: 200 });
    assert.equal(log.fault, null);
    assert.deepEqual(await readAll(log), batches);
    assert.equal(await log.offsetForTimestamp(1_013), 14);
    if (!keepsCheckpoint) assert.equal(log.sizeBytes, batches.length * batches[0]!.length);
  }
});

Deno.test("a missing segment is refused and not skipped", async () => {
  const cases: [number, number][] = [[0, 0], [6, 6]];
  for (const [gone, offset] of cases) {
    const { machine, batches } = await closedLog();
    await machine.disk.remove(segmentFile(gone));
    const log = await machine.open({ segmentBytes: 400, indexIntervalBytes: 200 });
    await assertCorrupt(() => log.read(offset, ALL), `segment ${gone}`);
    assert.deepEqual(split(await log.read(12, ALL)), batches.slice(6));
    await log.close();
  }
});

Deno.test("a log whose newest segment, or every segment, is missing is corrupt and never starts at 0 again", async () => {
  const { machine, batches } = await closedLog();
  await machine.disk.remove(segmentFile(12));
  await assertOfflineFrom(machine, batches.slice(0, 6), "the newest");
  for (const base of [0, 6]) await machine.disk.remove(segmentFile(base));
  const log = await machine.open();
  assert.equal(log.fault?.code, "CORRUPT_LOG");
  await assertCorrupt(() => log.read(0, ALL));
  await assertCorrupt(() => log.append([nextBatch(log)]));
  await log.close();
});
