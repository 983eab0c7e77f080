// Owns what the small parts of the file log promise on their own: the file pool, the guard byte, turns.
import assert from "node:assert/strict";
import fc from "fast-check";
import { FilePool } from "../storage/file_log/file_pool.ts";
import {
  guardFits,
  isMarked,
  putGuard,
  storedBaseOffset,
  takeGuard,
} from "../storage/file_log/guard_byte.ts";
import { Turn } from "../storage/turns.ts";
import { FileMissingError } from "../storage/ports.ts";
import { setBaseOffset, setLeaderEpoch } from "../storage/format/record_batch.ts";
import { sampleBatch } from "./support/sample_batches.ts";
import { SimulatedDisk } from "./support/simulated_disk.ts";
import { settle } from "./support/virtual_time.ts";

Deno.test("a pooled file is closed only when its last user is done", async () => {
  const disk = new SimulatedDisk({ seed: 1 });
  await disk.open("a", { create: true });
  const pool = new FilePool(disk, 0);
  const gate = Promise.withResolvers<void>();
  const use = pool.use("a", async (file) => {
    await gate.promise;
    return await file.size();
  });
  await settle();
  let dropped = false;
  const drop = pool.drop("a").then(() => dropped = true);
  await settle();
  assert.equal(dropped, false);
  gate.resolve();
  assert.equal(await use, 0);
  await drop;
  assert.equal(pool.openFiles, 0);
});

Deno.test("a file that is being removed cannot be opened again, one that takes its place can", async () => {
  const disk = new SimulatedDisk({ seed: 1 });
  await disk.open("a", { create: true });
  const pool = new FilePool(disk);
  await pool.pin("a", { create: false });
  const gate = Promise.withResolvers<void>();
  const discard = pool.discard("a", async () => {
    await gate.promise;
    await disk.remove("a");
  });
  await settle();
  await assert.rejects(() => pool.use("a", (file) => file.size()), FileMissingError);
  gate.resolve();
  await discard;
  assert.equal(pool.openFiles, 0);
  const file = await pool.pin("a", { create: true });
  await file.write(new Uint8Array(3), 0);
  assert.equal(await pool.use("a", (same) => same.size()), 3);
  assert.equal(disk.contents("a").length, 3);
});

Deno.test("a file that cannot be opened is tried again by the next user", async () => {
  const disk = new SimulatedDisk({ seed: 1 });
  await disk.open("a", { create: true });
  const pool = new FilePool(disk);
  disk.failOnce("open", /a/);
  const first = pool.use("a", (file) => file.size());
  await assert.rejects(first, /EIO/);
  assert.equal(await pool.use("a", (file) => file.size()), 0);
});

Deno.test("any flipped bit in guard, base offset or epoch of a stored batch shows", () => {
  const header = fc.record({
    baseOffset: fc.maxSafeNat(),
    leaderEpoch: fc.integer({ min: -1, max: 2 ** 31 - 1 }),
    marked: fc.boolean(),
    bit: fc.nat(8 * 16 - 1),
  });
  fc.assert(fc.property(header, ({ baseOffset, leaderEpoch, marked, bit }) => {
    const bytes = sampleBatch({ baseOffset: 0 });
    setBaseOffset(bytes, 0, baseOffset);
    setLeaderEpoch(bytes, 0, leaderEpoch);
    const plain = bytes.slice();
    putGuard(bytes, 0, { marked });
    assert.ok(guardFits(bytes, 0));
    assert.equal(isMarked(bytes, 0), marked);
    assert.equal(storedBaseOffset(bytes, 0), baseOffset);
    // The length, bytes 8 to 11, is covered by the CRC's failing.
    const at = bit >> 3;
    if (at < 8 || at >= 12) {
      bytes[at]! ^= 1 << (bit & 7);
      assert.ok(!guardFits(bytes, 0) || storedBaseOffset(bytes, 0) !== baseOffset);
      bytes[at]! ^= 1 << (bit & 7);
    }
    takeGuard(bytes, 0);
    assert.deepEqual(bytes, plain);
  }));
});

Deno.test("turns run one at a time and in order, and a failure does not stop the next", async () => {
  const turn = new Turn();
  const trace: string[] = [];
  const step = (name: string, fails: boolean) =>
    turn.run(async () => {
      trace.push(`${name} begins`);
      await settle();
      trace.push(`${name} ends`);
      if (fails) throw new Error(name);
    });
  const results = await Promise.allSettled([step("a", false), step("b", true), step("c", false)]);
  assert.deepEqual(results.map((result) => result.status), ["fulfilled", "rejected", "fulfilled"]);
  assert.deepEqual(trace, [
    "a begins",
    "a ends",
    "b begins",
    "b ends",
    "c begins",
    "c ends",
  ]);
});
