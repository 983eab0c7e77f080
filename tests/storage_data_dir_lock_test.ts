// Owns the tests of the data directory's lock, across real processes.
import assert from "node:assert/strict";
import { DataDirInUseError, lockDataDir } from "../storage/file_log/data_dir_lock.ts";

const STARTED_AT = Date.UTC(2026, 0, 2, 3, 4, 5);

async function temporary() {
  const root = await Deno.makeTempDir({ prefix: "waybill-lock-" });
  return {
    directory: `${root}/data`,
    [Symbol.asyncDispose]: () => Deno.remove(root, { recursive: true }),
  };
}

/** A process that takes the lock, says so, and keeps it until it is killed. */
async function holder(directory: string): Promise<Deno.ChildProcess> {
  const module = new URL("../storage/file_log/data_dir_lock.ts", import.meta.url);
  const program = `
    import { lockDataDir } from ${JSON.stringify(module.href)};
    await lockDataDir(${JSON.stringify(directory)}, { now: ${STARTED_AT} });
    console.log("locked");
    setInterval(() => {}, 1000);
  `;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", program],
    stdout: "piped",
    stdin: "null",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.getReader();
  assert.match(new TextDecoder().decode((await reader.read()).value), /locked/);
  reader.releaseLock();
  return child;
}

Deno.test("a data directory that another process holds is refused, naming it, until that is killed", async () => {
  await using place = await temporary();
  const child = await holder(place.directory);
  await assert.rejects(lockDataDir(place.directory, { now: 0 }), (error: unknown) => {
    assert.ok(error instanceof DataDirInUseError, String(error));
    assert.equal(error.pid, child.pid);
    assert.match(error.message, new RegExp(`in use by process ${child.pid}, running since 2026-`));
    assert.ok(error.message.includes(place.directory));
    return true;
  });
  child.kill("SIGKILL");
  await child.status;
  await child.stdout.cancel();
  const lock = await lockDataDir(place.directory, { now: STARTED_AT });
  const held = JSON.parse(await Deno.readTextFile(`${place.directory}/waybill.lock`));
  assert.deepEqual(held, { pid: Deno.pid, startedAt: "2026-01-02T03:04:05.000Z" });
  lock.release();
});

Deno.test("a data directory is locked once in one process too, and again after its release", async () => {
  await using place = await temporary();
  const lock = await lockDataDir(place.directory, { now: 0 });
  await assert.rejects(lockDataDir(place.directory, { now: 0 }), DataDirInUseError);
  lock.release();
  lock.release();
  const again = await lockDataDir(place.directory, { now: 0 });
  await assert.rejects(lockDataDir(place.directory, { now: 0 }), DataDirInUseError);
  again.release();
});

Deno.test("a lock file that says nothing is in nobody's way, and one that is held is still refused", async () => {
  await using place = await temporary();
  await Deno.mkdir(place.directory);
  await Deno.writeTextFile(`${place.directory}/waybill.lock`, "half a l");
  const lock = await lockDataDir(place.directory, { now: 0 });
  await Deno.writeTextFile(`${place.directory}/waybill.lock`, "{}");
  await assert.rejects(lockDataDir(place.directory, { now: 0 }), /in use by another process/);
  lock.release();
});

Deno.test("of many that race for a data directory exactly one gets it", async () => {
  await using place = await temporary();
  const attempts = await Promise.allSettled(
    Array.from({ length: 10 }, () => lockDataDir(place.directory, { now: 0 })),
  );
  const held = attempts.flatMap((attempt) => attempt.status === "fulfilled" ? attempt.value : []);
  assert.equal(held.length, 1);
  held[0]!.release();
});
