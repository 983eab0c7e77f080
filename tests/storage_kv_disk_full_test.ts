// Owns the tests of a full disk under Deno KV, on a small file system of its own; skipped where none can be mounted.
import { crc32c } from "@node-rs/crc32";
import assert from "node:assert/strict";
import { openKvLogStore } from "../storage/kv/kv_log_store.ts";
import { openKvMetadata } from "../storage/kv/kv_metadata.ts";
import { CONFIG, readAll } from "./contracts/log_fixture.ts";
import { sampleBatch } from "./support/sample_batches.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const MAX_ROUNDS = 200;

async function run(command: string, ...args: string[]): Promise<boolean> {
  const output = await new Deno.Command(command, { args, stderr: "null" }).output().catch(() =>
    null
  );
  return output?.success ?? false;
}

/** A file system of 3 MiB, 2 MB of which a file called ballast takes; null where mounting is not allowed. */
async function smallDisk() {
  const directory = await Deno.makeTempDir({ prefix: "waybill-full-" });
  if (!await run("mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", directory)) {
    await Deno.remove(directory);
    return null;
  }
  await Deno.writeFile(`${directory}/ballast`, new Uint8Array(2_000_000));
  return {
    path: `${directory}/store.db`,
    makeRoom: () => Deno.remove(`${directory}/ballast`),
    async [Symbol.asyncDispose]() {
      await run("umount", directory);
      await Deno.remove(directory);
    },
  };
}

const probe = await smallDisk();
await probe?.[Symbol.asyncDispose]();
const ignore = probe === null;

/** Calls `write` until it rejects with DISK_FULL; how many times it did not. */
async function untilFull(write: (count: number) => Promise<unknown>): Promise<number> {
  for (let count = 0; count < MAX_ROUNDS; count++) {
    const error = await write(count).then(() => null, (error) => error);
    if (error === null) continue;
    assert.equal(error.code, "DISK_FULL", String(error));
    assert.equal(error.retryable, true);
    return count;
  }
  throw new Error("the disk did not fill up");
}

Deno.test({
  name: "kv metadata on a full disk refuses to commit, reads on, and goes on when there is room",
  ignore,
  async fn() {
    await using disk = (await smallDisk())!;
    const clock = new VirtualClock();
    const ports = { clock, timers: clock, randomness: seededRandomness(1) };
    let store = await openKvMetadata({ path: disk.path, ...ports });
    const value = "x".repeat(20_000);
    const set = (count: number) => ({
      checks: [],
      sets: ["a", "b"].map((name) => ({ key: [`${count}`.padStart(4, "0"), name], value })),
    });
    const written = await untilFull((count) => store.commit(set(count)));
    assert.ok(written > 2);
    assert.equal((await store.list([])).length, 2 * written, "whole commits, and all of them");
    await untilFull((count) => store.commit(set(written + count)));
    await disk.makeRoom();
    assert.ok(await store.commit(set(written)));
    await store.close();
    store = await openKvMetadata({ path: disk.path, ...ports });
    assert.equal((await store.list([])).length, 2 * (written + 1));
    await store.close();
  },
});

Deno.test({
  name:
    "kv log on a full disk keeps nothing of the append, reads on, and goes on when there is room",
  ignore,
  async fn() {
    await using disk = (await smallDisk())!;
    const ports = { clock: new VirtualClock(), randomness: seededRandomness(1), crc32c };
    const store = await openKvLogStore({ path: disk.path, ...ports });
    const log = await store.open("t/0", CONFIG);
    const kept: Uint8Array[] = [];
    const append = async (batches: Uint8Array[]) => {
      await log.append(batches);
      kept.push(...batches);
    };
    await untilFull(() => append([sampleBatch({ baseOffset: kept.length, valueBytes: 30_000 })]));
    assert.ok(kept.length > 2);
    assert.equal(log.logEndOffset, kept.length);
    assert.deepEqual(await readAll(log), kept);
    await disk.makeRoom();
    // More than one atomic: its first may fit and its second not.
    const large = () =>
      [0, 1].map((at) => sampleBatch({ baseOffset: kept.length + at, valueBytes: 450_000 }));
    await untilFull(() => append(large()));
    assert.equal(log.logEndOffset, kept.length);
    assert.deepEqual(await readAll(log), kept);
    await log.close();
    const again = await store.open("t/0", CONFIG);
    assert.deepEqual(await readAll(again), kept);
    await again.close();
    store.close();
  },
});
