// Owns proof that the faults of drills are the faults that they are said to be, and end when they are told to.
// Refuses to own what a broker makes of them.
import assert from "node:assert/strict";
import { linesOf, parseOrder } from "../ops/faults/fault_orders.ts";
import { FaultyClock } from "../ops/faults/faulty_clock.ts";
import { FaultyDisk, noDiskFaults } from "../ops/faults/faulty_disk.ts";
import { DenoDisk } from "../storage/file_log/deno_disk.ts";
import { DiskFullError } from "../storage/ports.ts";

async function withDisk(
  test: (scene: {
    disk: FaultyDisk;
    faults: ReturnType<typeof noDiskFaults>;
    pauses: number[];
  }) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir();
  const faults = noDiskFaults();
  const pauses: number[] = [];
  const pause = (ms: number) => Promise.resolve(void pauses.push(ms));
  try {
    await test({ disk: new FaultyDisk(new DenoDisk(directory), faults, pause), faults, pauses });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const bytes = (count: number) => new Uint8Array(count).fill(7);

Deno.test("faulty disk without a fault is the disk below it", () =>
  withDisk(async ({ disk, pauses }) => {
    const file = await disk.open("a", { create: true });
    assert.equal(await file.write(bytes(100), 0), 100);
    await file.sync();
    const into = new Uint8Array(100);
    assert.equal(await file.read(into, 0), 100);
    assert.deepEqual(into, bytes(100));
    assert.deepEqual([disk.usedBytes, disk.freeBytes, pauses], [100, Infinity, []]);
    await file.close();
  }));

Deno.test("faulty disk takes what fits, refuses when it is full, and has room again when something goes", () =>
  withDisk(async ({ disk, faults }) => {
    faults.capacityBytes = 150;
    const [a, b] = [
      await disk.open("a", { create: true }),
      await disk.open("b", { create: true }),
    ];
    assert.equal(await a.write(bytes(100), 0), 100);
    assert.equal(await b.write(bytes(100), 0), 50);
    assert.equal(disk.freeBytes, 0);
    await assert.rejects(b.write(bytes(1), 50), DiskFullError);
    // What is there already may be written over.
    assert.equal(await a.write(bytes(100), 0), 100);
    await assert.rejects(disk.open("c", { create: true }), DiskFullError);
    await a.close();
    await disk.remove("a");
    assert.equal(disk.freeBytes, 100);
    assert.equal(await b.write(bytes(1), 50), 1);
    await b.truncate(0);
    assert.equal(disk.freeBytes, 150);
    faults.capacityBytes = null;
    assert.equal(await b.write(bytes(1_000), 0), 1_000);
    await b.close();
  }));

Deno.test("faulty disk follows its files through renames and removed directories", () =>
  withDisk(async ({ disk }) => {
    await disk.makeDirectory("x/y");
    const file = await disk.open("x/y/a", { create: true });
    await file.write(bytes(10), 0);
    await file.close();
    await disk.rename("x/y", "x/z");
    assert.equal(disk.usedBytes, 10);
    await disk.removeTree("x/z");
    assert.equal(disk.usedBytes, 0);
  }));

Deno.test("faulty disk delays syncs, and breaks the files it is told to, until it is told otherwise", () =>
  withDisk(async ({ disk, faults, pauses }) => {
    const file = await disk.open("t0", { create: true });
    const other = await disk.open("u0", { create: true });
    faults.syncDelayMs = 400;
    faults.brokenPath = "t";
    await other.sync();
    assert.deepEqual(pauses, [400]);
    await assert.rejects(file.sync(), /input\/output error/);
    await assert.rejects(disk.open("t0", { create: false }), /input\/output error/);
    faults.brokenPath = null;
    faults.syncDelayMs = 0;
    await file.sync();
    await (await disk.open("t0", { create: false })).close();
    await Promise.all([file.close(), other.close()]);
  }));

Deno.test("faulty clock jumps where it is told to, and goes on from there", () => {
  let now = 1_000;
  const clock = new FaultyClock({ now: () => now, monotonic: () => now });
  clock.jumpWall(-500);
  assert.deepEqual([clock.now(), clock.monotonic()], [500, 1_000]);
  now += 10;
  clock.jumpMonotonic(100);
  assert.deepEqual([clock.now(), clock.monotonic()], [510, 1_110]);
});

Deno.test("fault orders come a line each, and one that is not understood is refused", async () => {
  const text = '{"disk":{"syncDelayMs":5}}\n\n{"clock":{"jump';
  const stream = new Blob([text, 'WallMs":-7}}\n']).stream();
  const orders = [];
  for await (const line of linesOf(stream)) orders.push(parseOrder(line));
  assert.deepEqual(orders, [
    { disk: { syncDelayMs: 5 } },
    { clock: { jumpWallMs: -7, jumpMonotonicMs: 0 } },
  ]);
  for (const wrong of ['{"disc":{}}', '{"disk":{"syncDelayMs":-1}}', "disk"]) {
    assert.throws(() => parseOrder(wrong));
  }
});
