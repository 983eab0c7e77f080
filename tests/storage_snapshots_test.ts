// Owns the tests of the snapshot stores: the contract over each, and damage and failures of the one on disk.
import { crc32c } from "@node-rs/crc32";
import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import { DenoDisk } from "../storage/file_log/deno_disk.ts";
import { FileSnapshotStore } from "../storage/file_log/file_snapshots.ts";
import { MemorySnapshotStore } from "../storage/memory/memory_snapshots.ts";
import { type Disk, DiskFullError } from "../storage/ports.ts";
import { assertSame, snapshotContract, snapshotOf } from "./contracts/snapshot_contract.ts";

async function temporary() {
  const root = await Deno.makeTempDir({ prefix: "waybill-snapshots-" });
  const open = (disk: Disk = new DenoDisk(root)) =>
    new FileSnapshotStore("snapshots", { disk, crc32c });
  return {
    root,
    open,
    file: (id: string) => `${root}/snapshots/${id}.snapshot`,
    [Symbol.asyncDispose]: () => Deno.remove(root, { recursive: true }),
  };
}

snapshotContract("memory snapshots", () => {
  const store = new MemorySnapshotStore();
  return Promise.resolve({ store, reopen: () => store, dispose: () => Promise.resolve() });
});

snapshotContract("file snapshots", async () => {
  const place = await temporary();
  return {
    store: place.open(),
    reopen: () => place.open(),
    dispose: () => place[Symbol.asyncDispose](),
  };
});

/** The disk below `root`, on which the operation number `fault.at` and all after it fail; Infinity only counts. */
function failingDisk(root: string, at: number, error = new Error("input/output error")) {
  const fault = { at, operations: 0 };
  const step = () => {
    if (fault.operations++ >= fault.at) throw error;
  };
  const faulty = <T extends object>(target: T): T =>
    new Proxy(target, {
      get(object, property) {
        const method = Reflect.get(object, property);
        if (typeof method !== "function") return method;
        return async (...args: unknown[]) => {
          // Closing is what a process that ends does to its files too.
          if (property !== "close") step();
          const result = await Reflect.apply(method, object, args);
          return property === "open" ? faulty(result) : result;
        };
      },
    });
  return { fault, disk: faulty<Disk>(new DenoDisk(root)) };
}

Deno.test("file snapshots survive a failure at every single step of a save: the older or the newer, whole", async () => {
  await using place = await temporary();
  await place.open().save("g/1", snapshotOf(1));
  const counting = failingDisk(place.root, Infinity);
  await place.open(counting.disk).save("g/1", snapshotOf(1));
  const steps = counting.fault.operations;
  assert.ok(steps >= 6, `${steps} steps`);
  for (let failsAt = 0; failsAt < steps; failsAt++) {
    await place.open().save("g/1", snapshotOf(1));
    const { disk } = failingDisk(place.root, failsAt);
    const saved = await place.open(disk).save("g/1", snapshotOf(2)).then(() => true, (error) => {
      assert.ok(error instanceof BrokerError && error.code === "STORAGE_FAILED", String(error));
      return false;
    });
    assert.equal(saved, false, `step ${failsAt} failed, and the save did not`);
    const loaded = await place.open().load("g/1");
    assertSame(loaded, snapshotOf(loaded!.version));
    assert.ok([1, 2].includes(loaded!.version));
  }
});

Deno.test("file snapshots tell a full disk apart, and keep the older one", async () => {
  await using place = await temporary();
  await place.open().save("a", snapshotOf(1));
  const { disk } = failingDisk(place.root, 5, new DiskFullError("no space left"));
  await assert.rejects(place.open(disk).save("a", snapshotOf(2)), { code: "DISK_FULL" });
  assertSame(await place.open().load("a"), snapshotOf(1));
});

Deno.test("file snapshots that fail to be read are as good as none", async () => {
  await using place = await temporary();
  await place.open().save("a", snapshotOf(1));
  const { disk } = failingDisk(place.root, 1);
  assert.equal(await place.open(disk).load("a"), null);
});

Deno.test("file snapshots go on after a failed save of the same store", async () => {
  await using place = await temporary();
  const { disk, fault } = failingDisk(place.root, 4);
  const store = place.open(disk);
  const saves = [store.save("a", snapshotOf(1)), store.save("a", snapshotOf(2))];
  for (const save of saves) await assert.rejects(save, { code: "STORAGE_FAILED" });
  fault.at = Infinity;
  await store.save("a", snapshotOf(3));
  assertSame(await store.load("a"), snapshotOf(3));
});

Deno.test("file snapshots with any byte flipped, or cut anywhere, are as good as none", async () => {
  await using place = await temporary();
  const store = place.open();
  await store.save("a", snapshotOf(3, 40));
  const whole = await Deno.readFile(place.file("a"));
  for (let at = 0; at < whole.length; at++) {
    await Deno.writeFile(place.file("a"), whole.with(at, whole[at]! ^ 0x10));
    assert.equal(await store.load("a"), null, `byte ${at} flipped`);
    await Deno.writeFile(place.file("a"), whole.subarray(0, at));
    assert.equal(await store.load("a"), null, `cut at ${at}`);
  }
  await Deno.writeFile(place.file("a"), new Uint8Array([...whole, 0]));
  assert.equal(await store.load("a"), null, "one byte more");
  await Deno.writeFile(place.file("a"), whole);
  assertSame(await store.load("a"), snapshotOf(3, 40));
  await Deno.copyFile(place.file("a"), place.file("b"));
  assert.equal(await store.load("b"), null, "another's file");
});
