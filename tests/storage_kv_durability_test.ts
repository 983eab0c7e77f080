// Owns the tests of what a commit in Deno KV means after a crash: killed processes, and syncs as the system sees them.
import { crc32c } from "@node-rs/crc32";
import assert from "node:assert/strict";
import { openKvLogStore } from "../storage/kv/kv_log_store.ts";
import { openKvMetadata } from "../storage/kv/kv_metadata.ts";
import { systemClock, systemRandomness, systemTimers } from "../ops/system_ports.ts";
import { CONFIG, readAll } from "./contracts/log_fixture.ts";
import { sampleBatch } from "./support/sample_batches.ts";

const HERE = new URL(".", import.meta.url);
const ports = { clock: systemClock, timers: systemTimers, randomness: systemRandomness, crc32c };

async function temporary() {
  const directory = await Deno.makeTempDir({ prefix: "waybill-kv-durability-" });
  return {
    directory,
    path: `${directory}/store.db`,
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

/** A program that has the system's ports as `ports`, the path as `path`, and says `n` when it has done n. */
function program(path: string, body: string): string {
  const at = (module: string) => JSON.stringify(new URL(module, HERE).href);
  return `
    import { crc32c } from "@node-rs/crc32";
    import { openKvMetadata } from ${at("../storage/kv/kv_metadata.ts")};
    import { openKvLogStore } from ${at("../storage/kv/kv_log_store.ts")};
    import { systemClock, systemRandomness, systemTimers } from ${at("../ops/system_ports.ts")};
    import { CONFIG } from ${at("./contracts/log_fixture.ts")};
    import { sampleBatch } from ${at("./support/sample_batches.ts")};
    const ports = { clock: systemClock, timers: systemTimers, randomness: systemRandomness, crc32c };
    const path = ${JSON.stringify(path)};
    const say = (n) => Deno.writeTextFileSync("/dev/stdout", n + "\\n");
    ${body}
  `;
}

/** Runs `code` until it has said at least `until`, kills it, and resolves to the last number it said. */
async function killAfter(code: string, until: number): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--unstable-kv", code],
    cwd: new URL("..", HERE),
    stdout: "piped",
    stderr: "inherit",
    stdin: "null",
  }).spawn();
  let said = "";
  for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
    said += chunk;
    const last = lastNumber(said);
    if (last !== null && last >= until) {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended by itself: there is nothing left to kill.
      }
    }
  }
  await child.status;
  return lastNumber(said) ?? -1;
}

function lastNumber(said: string): number | null {
  const lines = said.split("\n").slice(0, -1);
  return lines.length === 0 ? null : Number(lines.at(-1));
}

Deno.test("kv metadata that was committed survives kill -9, at any moment", async () => {
  await using place = await temporary();
  const code = program(
    place.path,
    `
    const store = await openKvMetadata({ path, ...ports });
    for (;;) {
      const entry = await store.get(["count"]);
      const value = (entry?.value ?? 0) + 1;
      const checks = [{ key: ["count"], version: entry?.version ?? null }];
      const sets = [{ key: ["count"], value }, { key: ["all", String(value)], value }];
      if (await store.commit({ checks, sets })) say(value);
    }`,
  );
  let acked = 0;
  for (const more of [1, 13]) {
    acked = await killAfter(code, acked + more);
    const store = await openKvMetadata({ path: place.path, ...ports });
    const count = (await store.get(["count"]))!.value as number;
    assert.ok(count >= acked && count <= acked + 1, `acked ${acked}, stored ${count}`);
    assert.equal((await store.list(["all"])).length, count, "each commit is there whole");
    await store.close();
    acked = count;
  }
});

Deno.test("kv log that was appended to survives kill -9 between the atomics of one append", async () => {
  await using place = await temporary();
  const code = program(
    place.path,
    `
    const store = await openKvLogStore({ path, ...ports });
    const log = await store.open("t/0", CONFIG);
    for (;;) {
      const baseOffset = log.logEndOffset;
      const batches = [0, 1, 2, 3].map((n) =>
        sampleBatch({ baseOffset: baseOffset + n, valueBytes: 250_000, mark: baseOffset + n }));
      await log.append(batches);
      say(log.logEndOffset);
    }`,
  );
  let acked = 0;
  for (const more of [1, 6]) {
    acked = await killAfter(code, acked + more);
    const store = await openKvLogStore({ path: place.path, ...ports });
    const log = await store.open("t/0", CONFIG);
    assert.ok(log.logEndOffset >= acked && log.logEndOffset <= acked + 4);
    const batches = await readAll(log);
    assert.equal(batches.length, log.logEndOffset);
    for (const [offset, batch] of batches.entries()) {
      const expected = sampleBatch({ baseOffset: offset, valueBytes: 250_000, mark: offset });
      assert.ok(batch.every((byte, at) => byte === expected[at]), `offset ${offset}`);
    }
    acked = log.logEndOffset;
    await log.close();
    store.close();
  }
});

/**
 * Of the commits that a trace (strace -f -y) shows announced, those before which the write-ahead log was not synced. A call
 * that other threads interrupt is shown in two lines: only its end counts.
 */
function unsyncedCommits(trace: string): { announced: number; unsynced: number } {
  const syncing = new Set<string>();
  const seen = { announced: 0, unsynced: 0 };
  let dirty = true;
  for (const line of trace.split("\n")) {
    const thread = line.split(" ", 1)[0]!;
    if (/ p?write(?:64)?\(\d+<[^>]*-wal>/.test(line)) dirty = true;
    else if (/ f(?:data)?sync\(\d+<[^>]*-wal> <unfinished/.test(line)) syncing.add(thread);
    else if (/ f(?:data)?sync\(\d+<[^>]*-wal>\) += 0/.test(line)) dirty = false;
    else if (/<\.\.\. f(?:data)?sync resumed>\) += 0/.test(line)) {
      if (syncing.delete(thread)) dirty = false;
    } else if (/ write\(\d+<[^>]*>, "\d+\\n"/.test(line)) {
      seen.announced++;
      if (dirty) seen.unsynced++;
      // The next one needs a sync of its own.
      dirty = true;
    }
  }
  return seen;
}

Deno.test("the reader of traces finds a commit that was announced before its sync", () => {
  const write = `1 pwrite64(22</d/store.db-wal>, "..."..., 4096, 56) = 4096\n`;
  const sync = `1 fsync(22</d/store.db-wal>) = 0\n`;
  const begun = `1 fsync(22</d/store.db-wal> <unfinished ...>\n`;
  const other = `2 <... fsync resumed>) = 0\n`;
  const ended = `1 <... fsync resumed>) = 0\n`;
  const say = `2 write(9</dev/null>, "1\\n", 2) = 2\n`;
  const synced = write + sync + say + write + begun + ended + say;
  assert.deepEqual(unsyncedCommits(synced), { announced: 2, unsynced: 0 });
  const unsynced = say + write + say + write + begun + other + say + ended + write + sync + say;
  assert.deepEqual(unsyncedCommits(unsynced), { announced: 4, unsynced: 3 });
});

const canTrace = await new Deno.Command("strace", { args: ["-o", "/dev/null", "true"] }).output()
  .then((output) => output.success, () => false);

Deno.test({
  name: "kv commits are synced to the disk before they resolve, as the system sees it",
  ignore: !canTrace,
  async fn() {
    await using place = await temporary();
    const code = program(
      place.path,
      `
      const store = await openKvMetadata({ path, ...ports });
      for (let value = 1; value <= 20; value++) {
        await store.commit({ checks: [], sets: [{ key: ["k"], value }] });
        say(value);
      }
      await store.close();`,
    );
    const traced = `${place.directory}/trace`;
    const calls = "trace=openat,fsync,fdatasync,write,pwrite64";
    const run = await new Deno.Command("strace", {
      args: ["-f", "-y", "-e", calls, "-o", traced, Deno.execPath(), "eval", "--unstable-kv", code],
      cwd: new URL("..", HERE),
      stdout: "null",
    }).output();
    assert.ok(run.success, new TextDecoder().decode(run.stderr));
    const seen = unsyncedCommits(await Deno.readTextFile(traced));
    assert.deepEqual(seen, { announced: 20, unsynced: 0 });
  },
});
