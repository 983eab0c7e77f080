// Owns what the real file system answers through the Disk port.
import assert from "node:assert/strict";
import { DenoDisk } from "../storage/file_log/deno_disk.ts";
import { WriteThread } from "../storage/file_log/write_thread.ts";
import { DiskFullError, FileMissingError } from "../storage/ports.ts";

async function onDisk(run: (disk: DenoDisk, root: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "waybill-disk-" });
  try {
    await run(new DenoDisk(root), root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

/** Large writes go through a thread of their own. */
async function onThreadedDisk(run: (disk: DenoDisk, root: string) => Promise<void>): Promise<void> {
  const thread = new WriteThread();
  try {
    await onDisk((_, root) => run(new DenoDisk(root, thread), root));
  } finally {
    thread.end();
  }
}

Deno.test("deno disk writes large pieces on a thread, at their positions, also from shared memory", async () => {
  await onThreadedDisk(async (disk) => {
    const file = await disk.open("a", { create: true });
    const shared = new Uint8Array(new SharedArrayBuffer(2_500_000)).fill(2);
    assert.equal(await file.write(new Uint8Array(1_100_000).fill(1), 0), 1_100_000);
    assert.equal(await file.write(shared.subarray(50, 1_500_050), 1_100_000), 1_500_000);
    assert.equal(await file.write(Uint8Array.of(3), 2_600_000), 1);
    await file.sync();
    const into = new Uint8Array(2_600_001);
    assert.equal(await file.read(into, 0), 2_600_001);
    assert.equal(into.findIndex((byte) => byte !== 1), 1_100_000);
    assert.equal(into.findIndex((byte) => byte === 3), 2_600_000);
    assert.ok(into.subarray(1_100_000, 2_600_000).every((byte) => byte === 2));
    await file.close();
  });
});

Deno.test("deno disk's thread never writes to another file that took the name", async () => {
  await onThreadedDisk(async (disk, root) => {
    const old = await disk.open("a", { create: true });
    await disk.remove("a");
    const young = await disk.open("a", { create: true });
    await assert.rejects(old.write(new Uint8Array(1_100_000).fill(1), 0), /another file/);
    assert.equal(await young.write(new Uint8Array(1_100_000).fill(2), 0), 1_100_000);
    await old.close();
    await disk.remove("a");
    assert.equal(await young.write(new Uint8Array(1_050_000).fill(3), 0), 1_050_000);
    const into = new Uint8Array(1_100_000);
    await young.read(into, 0);
    assert.equal(into.lastIndexOf(3), 1_049_999);
    await young.close();
    assert.deepEqual([...Deno.readDirSync(root)], []);
  });
});

Deno.test("deno disk's thread says when the disk is full", async () => {
  const thread = new WriteThread();
  const full = await new DenoDisk("/dev", thread).open("full", { create: false });
  await assert.rejects(full.write(new Uint8Array(1_100_000), 0), DiskFullError);
  await full.close();
  thread.end();
});

Deno.test("deno disk writes and reads at positions, small and large", async () => {
  await onDisk(async (disk) => {
    const file = await disk.open("a", { create: true });
    const large = new Uint8Array(100_000).fill(7);
    assert.equal(await file.write(Uint8Array.of(1, 2, 3), 10), 3);
    assert.equal(await file.write(large, 13), large.length);
    await file.sync();
    assert.equal(await file.size(), 100_013);
    const into = new Uint8Array(5);
    assert.equal(await file.read(into, 9), 5);
    assert.deepEqual(into, Uint8Array.of(0, 1, 2, 3, 7));
    assert.equal(await file.read(into, 100_011), 2);
    assert.equal(await file.read(into, 100_013), 0);
    await file.truncate(11);
    assert.equal(await file.size(), 11);
    await file.close();
    const again = await disk.open("a", { create: true });
    assert.equal(await again.size(), 11, "opening does not empty it");
    await again.close();
  });
});

Deno.test("deno disk keeps concurrent reads and writes of one file apart", async () => {
  await onDisk(async (disk) => {
    const file = await disk.open("a", { create: true });
    await Promise.all(
      Array.from(
        { length: 40 },
        (_, index) =>
          file.write(new Uint8Array(index % 2 === 0 ? 1_000 : 40_000).fill(index), index * 40_000),
      ),
    );
    await Promise.all(Array.from({ length: 40 }, async (_, index) => {
      const into = new Uint8Array(1_000);
      assert.equal(await file.read(into, index * 40_000), 1_000);
      assert.ok(into.every((byte) => byte === index));
    }));
    await file.close();
  });
});

Deno.test("deno disk says what is missing, full, or not there to remove", async () => {
  await onDisk(async (disk) => {
    await assert.rejects(() => disk.open("missing", { create: false }), FileMissingError);
    await assert.rejects(() => disk.open("no/such/place", { create: true }), FileMissingError);
    await disk.remove("missing");
    await disk.removeTree("missing");
    assert.deepEqual(await disk.list("missing"), []);
    await (await disk.open("file", { create: true })).close();
    assert.deepEqual(await disk.list("file"), []);
    // The device that is always full.
    const full = await new DenoDisk("/dev").open("full", { create: false });
    await assert.rejects(() => full.write(new Uint8Array(10), 0), DiskFullError);
    await assert.rejects(() => full.write(new Uint8Array(100_000), 0), DiskFullError);
    await full.close();
  });
});

Deno.test("deno disk makes, lists, renames and removes", async () => {
  await onDisk(async (disk, root) => {
    await disk.makeDirectory("a/b/c");
    await disk.makeDirectory("a/b/c");
    await (await disk.open("a/b/x", { create: true })).close();
    assert.deepEqual((await disk.list("a/b")).sort(), ["c", "x"]);
    await disk.rename("a/b/x", "a/b/y");
    await disk.syncDirectory("a/b");
    await disk.syncDirectory("");
    assert.deepEqual((await disk.list("a/b")).sort(), ["c", "y"]);
    await disk.remove("a/b/y");
    await disk.removeEmpty("a/b");
    assert.deepEqual(await disk.list("a/b"), ["c"]);
    await disk.removeEmpty("a/b/c");
    await disk.removeEmpty("a/b/c");
    assert.deepEqual(await disk.list("a/b"), []);
    await disk.removeTree("a");
    assert.deepEqual([...Deno.readDirSync(root)], []);
  });
});
