// Owns proof that indexes, epochs and checkpoint are caches: whatever happens to them, the log holds what it held.
import assert from "node:assert/strict";
import type { FileLog } from "../storage/file_log/file_log.ts";
import { readAll } from "./contracts/log_fixture.ts";
import {
  appendEach,
  closedLog,
  LOG,
  nextBatch,
  segmentFile,
  SimulatedMachine,
} from "./support/simulated_logs.ts";

async function answers(log: FileLog): Promise<unknown> {
  const times = [];
  for (const time of [0, 1_000, 1_005, 1_011, 1_016, 9_999]) {
    times.push(await log.offsetForTimestamp(time));
  }
  const epochs = [0, 3, 9].map((epoch) => log.endOffsetForEpoch(epoch));
  return { batches: await readAll(log), times, epochs };
}

Deno.test("indexes, epochs and checkpoint are rebuilt when they are missing, cut, flipped or foreign", async () => {
  const config = { segmentBytes: 400, indexIntervalBytes: 100 };
  const original = new SimulatedMachine();
  const filled = await original.open(config);
  await appendEach(filled, 9);
  await filled.close();
  const build = () => new SimulatedMachine({ disk: original.disk.clone() });
  const expected = await answers(await build().open(config));
  const paths = original.disk.paths(LOG).filter((path) => !path.endsWith(".log"));
  assert.deepEqual(paths.map((path) => path.slice(LOG.length + 1)).length, 8, paths.join(" "));
  const damages: Record<string, (bytes: Uint8Array) => Uint8Array> = {
    empty: () => new Uint8Array(0),
    cut: (bytes) => bytes.slice(0, bytes.length - 1),
    longer: (bytes) => Uint8Array.from([...bytes, 0]),
    zeros: (bytes) => bytes.fill(0),
    foreign: (bytes) => Uint8Array.from(bytes, (_, at) => (at * 31) & 0xff),
  };
  for (const path of paths) {
    for (const [what, damage] of Object.entries(damages)) {
      const machine = build();
      machine.disk.overwrite(path, damage);
      await assertUnchanged(machine, `${path} ${what}`);
    }
    const missing = build();
    await missing.disk.remove(path);
    await assertUnchanged(missing, `${path} missing`);
    const { length } = original.disk.contents(path);
    for (let at = 0; at < length; at++) {
      // The checkpoint's two slots lie 4 KiB apart, with nothing between.
      if (at % 4_096 > 200) continue;
      const machine = build();
      machine.disk.overwrite(path, (bytes) => {
        bytes[at]! ^= 1 << (at % 8);
        return bytes;
      });
      await assertUnchanged(machine, `${path} byte ${at}`);
    }
  }

  async function assertUnchanged(machine: SimulatedMachine, what: string): Promise<void> {
    const log = await machine.open(config);
    assert.equal(log.fault, null, what);
    assert.deepEqual(await answers(log), expected, what);
    await log.append([nextBatch(log, { leaderEpoch: 4 })]);
    await log.close();
    const again = await machine.open(config);
    assert.equal(again.fault, null, what);
    assert.equal(again.logEndOffset, 20, what);
    assert.deepEqual(again.endOffsetForEpoch(3), { leaderEpoch: 3, endOffset: 18 }, what);
    await again.close();
  }
});

Deno.test("an index that is whole but of another log makes recovery neither cut nor refuse", async () => {
  const config = { segmentBytes: 100_000, indexIntervalBytes: 100 };
  const foreign = new SimulatedMachine();
  const other = await foreign.open(config);
  for (let count = 0; count < 30; count++) {
    await other.append([nextBatch(other, { valueBytes: 11 + count })]);
  }
  await other.close();
  for (const closes of [true, false]) {
    const machine = new SimulatedMachine();
    const log = await machine.open(config);
    const batches = await appendEach(log, 9);
    await log.checkpoint();
    batches.push(...await appendEach(log, 3));
    if (closes) await log.close();
    else machine.disk.killProcess();
    for (const suffix of ["index", "timeindex"]) {
      const path = segmentFile(0, suffix);
      machine.disk.overwrite(path, () => foreign.disk.contents(path));
    }
    const again = await machine.open(config);
    assert.equal(again.fault, null, String(again.fault));
    assert.deepEqual(await readAll(again), batches);
  }
});

Deno.test("an index of an earlier life of its segment does no harm", async () => {
  const machine = new SimulatedMachine();
  const config = { segmentBytes: 100_000, indexIntervalBytes: 100 };
  const log = await machine.open(config);
  await appendEach(log, 20);
  await log.close();
  const stale = ["index", "timeindex"].map((suffix) => segmentFile(0, suffix));
  const saved = stale.map((path) => machine.disk.contents(path));
  const other = await machine.open(config);
  await other.truncateTo(4);
  while (other.logEndOffset < 40) {
    await other.append([nextBatch(other, { valueBytes: 7 + other.logEndOffset, leaderEpoch: 5 })]);
  }
  const expected = await answers(other);
  machine.disk.killProcess();
  for (const [index, path] of stale.entries()) {
    await machine.disk.open(path, { create: true });
    machine.disk.overwrite(path, () => saved[index]!);
  }
  const again = await machine.open(config);
  assert.equal(again.fault, null);
  assert.deepEqual(await answers(again), expected);
});

Deno.test("either slot of the checkpoint may be lost after a cut or retention", async () => {
  const config = { segmentBytes: 400, indexIntervalBytes: 200 };
  for (const change of ["cut", "retention"]) {
    const { machine, batches } = await closedLog();
    const log = await machine.open(config);
    if (change === "cut") await log.truncateTo(4);
    else {
      const policy = { now: 0, retentionMs: null, retentionBytes: 0, keepFrom: 1e9 };
      assert.equal(await log.applyRetention(policy), 12);
    }
    const expected = change === "cut" ? batches.slice(0, 2) : batches.slice(6);
    for (const at of [20, 4_096 + 20]) {
      const copy = new SimulatedMachine({ disk: machine.disk.clone() });
      copy.disk.overwrite(`${LOG}/checkpoint`, (bytes) => bytes.fill(0xee, at, at + 4));
      const again = await copy.open(config);
      assert.equal(again.fault, null, `${change}, slot at ${at}`);
      assert.deepEqual(await readAll(again), expected);
      assert.equal(again.logStartOffset, change === "cut" ? 0 : 12);
    }
  }
});
