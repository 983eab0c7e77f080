// Owns what a log does with the end of its last write after a crash: cut exactly what was torn, nothing that was synced.
import assert from "node:assert/strict";
import { readAll } from "./contracts/log_fixture.ts";
import {
  appendEach,
  FIRST_SEGMENT,
  nextBatch,
  nextBatches,
  SimulatedMachine,
  storedBytes,
} from "./support/simulated_logs.ts";

const SYNCED = 4;
const TORN = 2;

interface Crashed {
  readonly machine: SimulatedMachine;
  /** All batches that were appended, the last `TORN` of them in one write. */
  readonly batches: readonly Uint8Array[];
  readonly batchBytes: number;
  readonly sizeBytes: number;
}

/** A log of synced batches and a last write of two, whose process was killed: the checkpoint is at the start. */
async function crashed(): Promise<Crashed> {
  const machine = new SimulatedMachine();
  const log = await machine.open();
  const batches = await appendEach(log, SYNCED);
  const last = nextBatches(log, TORN);
  batches.push(...last.map((batch) => batch.slice()));
  await log.append(last);
  machine.disk.killProcess();
  const batchBytes = storedBytes(batches[0]!);
  return { machine, batches, batchBytes, sizeBytes: batches.length * batchBytes };
}

/** Opens the log and expects exactly the first `count` batches, and that appending goes on behind them. */
async function assertHolds({ machine, batches }: Crashed, count: number, what: string) {
  const log = await machine.open();
  assert.equal(log.fault, null, what);
  assert.deepEqual(
    [log.logStartOffset, log.flushedOffset, log.logEndOffset],
    [0, 2 * count, 2 * count],
    what,
  );
  assert.deepEqual(await readAll(log), batches.slice(0, count), what);
  const next = nextBatch(log, { mark: 99 });
  await log.append([next.slice()]);
  machine.disk.crash("drop");
  const again = await machine.open();
  assert.deepEqual(await readAll(again), [...batches.slice(0, count), next], what);
}

/** For every byte of the last write: damage done there, and how many whole batches stay. */
async function forEveryByteOfTheLastWrite(
  damage: (bytes: Uint8Array, at: number) => Uint8Array,
  firstAt = 0,
): Promise<void> {
  const { batchBytes, sizeBytes } = await crashed();
  for (let at = SYNCED * batchBytes + firstAt; at < sizeBytes; at++) {
    const state = await crashed();
    state.machine.disk.overwrite(FIRST_SEGMENT, (bytes) => damage(bytes, at));
    await assertHolds(state, Math.floor(at / batchBytes), `byte ${at} of ${sizeBytes}`);
  }
}

Deno.test("recovery keeps whole batches when the last write is cut at any byte", async () => {
  await forEveryByteOfTheLastWrite((bytes, at) => bytes.slice(0, at));
});

Deno.test("recovery keeps whole batches when the last write is zeros from any byte on", async () => {
  // The very first byte that differs decides: a batch may end in zeros of its own.
  const { machine, batchBytes } = await crashed();
  const intact = machine.disk.contents(FIRST_SEGMENT);
  await forEveryByteOfTheLastWrite((bytes, at) => {
    const zeroed = bytes.slice().fill(0, at);
    const batchEnd = (Math.floor(at / batchBytes) + 1) * batchBytes;
    const changed = intact.subarray(at, batchEnd).some((byte) => byte !== 0);
    if (!changed) zeroed[at] = 1;
    return zeroed;
  });
});

Deno.test("recovery keeps whole batches when any byte of the last write is garbled", async () => {
  for (const flip of [0x01, 0x10, 0x80, 0xff]) {
    await forEveryByteOfTheLastWrite((bytes, at) => {
      bytes[at]! ^= flip;
      return bytes;
    });
  }
});

Deno.test("recovery cuts zeros and garbage that follow the last whole batch", async () => {
  const tails = [
    new Uint8Array(1),
    new Uint8Array(60),
    new Uint8Array(4_096),
    Uint8Array.from({ length: 3_000 }, (_, at) => (at * 7919) & 0xff),
    new Uint8Array(5_000).fill(2),
    new Uint8Array(5_000).fill(0xff),
  ];
  for (const [index, tail] of tails.entries()) {
    const state = await crashed();
    state.machine.disk.overwrite(
      FIRST_SEGMENT,
      (bytes) => Uint8Array.from([...bytes, ...tail]),
    );
    await assertHolds(state, SYNCED + TORN, `tail ${index}`);
    assert.match(state.machine.warnings[0]?.message ?? "", new RegExp(`cut ${tail.length} bytes`));
  }
});

Deno.test("recovery cuts old batches of the same log that a torn write left behind", async () => {
  const state = await crashed();
  const { batchBytes, sizeBytes } = state;
  // Stale blocks: the first, marked batches again where the last write should be.
  state.machine.disk.overwrite(FIRST_SEGMENT, (bytes) => {
    bytes.copyWithin(SYNCED * batchBytes, 0, sizeBytes - SYNCED * batchBytes);
    return bytes;
  });
  await assertHolds(state, SYNCED, "stale batches");
});

Deno.test("recovery survives any sectors of the last write being dropped or garbled", async () => {
  const probe = new SimulatedMachine();
  const log = await probe.open();
  const synced = await appendEach(log, 3);
  const write = Array.from(
    { length: 5 },
    (_, index) => nextBatch({ logEndOffset: log.logEndOffset + 2 * index }, { valueBytes: 300 }),
  );
  const from = synced.reduce((sum, batch) => sum + storedBytes(batch), 0);
  const bytes = new Uint8Array(write.reduce((sum, batch) => sum + storedBytes(batch), 0));
  const sectors: [number, number][] = [];
  for (let at = from; at < from + bytes.length;) {
    const to = Math.min(from + bytes.length, (Math.floor(at / 512) + 1) * 512);
    sectors.push([at, to]);
    at = to;
  }
  await log.append(write);
  probe.disk.killProcess();
  const whole = probe.disk.contents(FIRST_SEGMENT);
  assert.ok(sectors.length >= 6 && sectors.length <= 8);
  for (let subset = 0; subset < 1 << sectors.length; subset++) {
    for (const fill of [0x00, 0x02, 0xa7]) {
      const damaged = whole.slice();
      const lost = sectors.filter((_, index) => (subset & (1 << index)) === 0);
      for (const [start, end] of lost) damaged.fill(fill, start, end);
      const machine = new SimulatedMachine({ disk: probe.disk });
      probe.disk.overwrite(FIRST_SEGMENT, () => damaged);
      const opened = await machine.open();
      const intact = write.filter((_, index) => {
        const end = from + write.slice(0, index + 1).reduce((sum, b) => sum + storedBytes(b), 0);
        return lost.every(([start]) => start >= end);
      });
      assert.equal(opened.fault, null, `sectors ${subset.toString(2)}`);
      assert.deepEqual(await readAll(opened), [...synced, ...intact]);
      probe.disk.killProcess();
      // The checkpoint moved on opening: the next round starts from the first one again.
      probe.disk.overwrite(`${FIRST_SEGMENT.slice(0, -24)}checkpoint`, () => new Uint8Array(0));
    }
  }
});

Deno.test("recovery with durability os may cut everything that was not synced, and nothing before", async () => {
  for (let seed = 1; seed <= 60; seed++) {
    const machine = new SimulatedMachine({ seed });
    const log = await machine.open({ durability: "os" });
    const batches = await appendEach(log, 5);
    await log.checkpoint();
    assert.equal(log.flushedOffset, 10);
    batches.push(...await appendEach(log, 20));
    assert.equal(log.flushedOffset, 10);
    machine.disk.crash("random");
    const again = await machine.open({ durability: "os" });
    assert.equal(again.fault, null, `seed ${seed}`);
    const kept = await readAll(again);
    assert.ok(kept.length >= 5, `seed ${seed} kept ${kept.length}`);
    assert.deepEqual(kept, batches.slice(0, kept.length), `seed ${seed}`);
    assert.equal(again.flushedOffset, again.logEndOffset);
  }
});
