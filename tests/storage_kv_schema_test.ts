// Owns the tests of schema versions in Deno KV: bringing older data forward, refusing newer.
import assert from "node:assert/strict";
import { METADATA_MIGRATIONS, openKvMetadata } from "../storage/kv/kv_metadata.ts";
import { migrate, type Migration } from "../storage/kv/kv_schema.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { VirtualClock } from "./support/virtual_time.ts";

async function temporary() {
  const directory = await Deno.makeTempDir({ prefix: "waybill-schema-" });
  return {
    path: `${directory}/metadata.db`,
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

function open(path: string, migrations?: readonly Migration[]) {
  const clock = new VirtualClock();
  const ports = { clock, timers: clock, randomness: seededRandomness(1) };
  return openKvMetadata({ path, ...ports, ...(migrations ? { migrations } : {}) });
}

/** What a later release could do: gives every topic a tier. It may run again over its own work. */
const ADD_TIER: Migration = {
  to: METADATA_MIGRATIONS.length + 1,
  async run(kv, commit) {
    for await (const entry of kv.list<{ json: Uint8Array }>({ prefix: ["entries", "topics"] })) {
      const value = JSON.parse(new TextDecoder().decode(entry.value.json));
      const json = new TextEncoder().encode(JSON.stringify({ ...value, tier: "hot" }));
      await commit(kv.atomic().check(entry).set(entry.key, { ...entry.value, json }));
    }
  },
};

Deno.test("metadata of an older schema is brought forward when it is opened", async () => {
  await using place = await temporary();
  const older = await open(place.path);
  const sets = ["a", "b"].map((name) => ({ key: ["topics", name], value: { name } }));
  await older.commit({ checks: [], sets: [...sets, { key: ["other"], value: 1 }] });
  await older.close();
  for (const _ of ["migrates", "finds it done"]) {
    const newer = await open(place.path, [...METADATA_MIGRATIONS, ADD_TIER]);
    assert.deepEqual((await newer.list([])).map((entry) => entry.value), [
      1,
      { name: "a", tier: "hot" },
      { name: "b", tier: "hot" },
    ]);
    await newer.close();
  }
});

Deno.test("metadata of a newer schema is refused with a message that says what to do, and left alone", async () => {
  await using place = await temporary();
  const newer = await open(place.path, [...METADATA_MIGRATIONS, ADD_TIER]);
  await newer.commit({ checks: [], sets: [{ key: ["k"], value: 1 }] });
  const before = await newer.get(["k"]);
  await newer.close();
  await assert.rejects(open(place.path), (error: Error) => {
    assert.ok(error.message.includes(place.path));
    assert.match(
      error.message,
      /schema version 2, and this release knows up to 1: a newer release/,
    );
    return true;
  });
  const again = await open(place.path, [...METADATA_MIGRATIONS, ADD_TIER]);
  assert.deepEqual(await again.get(["k"]), before);
  await again.close();
});

Deno.test("a migration that was cut short is run again, and then holds", async () => {
  await using place = await temporary();
  const older = await open(place.path);
  const sets = ["a", "b", "c"].map((name) => ({ key: ["topics", name], value: { name } }));
  await older.commit({ checks: [], sets });
  await older.close();
  const cutShort: Migration = {
    to: ADD_TIER.to,
    async run(kv, commit) {
      let commits = 0;
      await ADD_TIER.run(kv, async (operation) => {
        if (commits++ === 2) throw new Error("killed");
        await commit(operation);
      });
    },
  };
  await assert.rejects(open(place.path, [...METADATA_MIGRATIONS, cutShort]), /killed/);
  const newer = await open(place.path, [...METADATA_MIGRATIONS, ADD_TIER]);
  for (const { value } of await newer.list(["topics"])) {
    assert.equal((value as { tier: string }).tier, "hot");
  }
  await newer.close();
});

Deno.test("instances that open an older schema at once all reach the newest, and no step runs after its end", async () => {
  await using place = await temporary();
  const kv = await Deno.openKv(place.path);
  const others = await Promise.all([1, 2, 3].map(() => Deno.openKv(place.path)));
  // Steps that would show a second run: each adds to what it finds, in the one commit that it makes.
  const add = (to: number): Migration => ({
    to,
    async run(at, commit) {
      const sum = await at.get<number>(["sum", to]);
      await commit(at.atomic().set(sum.key, (sum.value ?? 0) + to));
    },
  });
  const migrations = [add(1), add(2), add(3)];
  await Promise.all(
    [kv, ...others].map((at) => migrate(at, ["schema"], { migrations, name: "the test's store" })),
  );
  assert.deepEqual((await kv.get(["schema"])).value, { version: 3 });
  const sums = await Promise.all([1, 2, 3].map((to) => kv.get<number>(["sum", to])));
  // A step's own commit and the one that ends it are two: between them it may run again, after them never.
  for (const [index, sum] of sums.entries()) {
    const times = sum.value! / (index + 1);
    assert.ok(Number.isInteger(times) && times >= 1 && times <= 4, `step ran ${times} times`);
  }
  await migrate(kv, ["schema"], { migrations, name: "the test's store" });
  assert.deepEqual(
    await Promise.all([1, 2, 3].map(async (to) => (await kv.get(["sum", to])).value)),
    sums.map((sum) => sum.value),
  );
  for (const each of [kv, ...others]) each.close();
});

Deno.test("a step that was overtaken changes nothing any more", async () => {
  await using place = await temporary();
  const slow = await Deno.openKv(place.path);
  const fast = await Deno.openKv(place.path);
  const write = (by: string): Migration => ({
    to: 1,
    run: (kv, commit) => commit(kv.atomic().set(["by"], by)),
  });
  const overtaken: Migration = {
    to: 1,
    async run(kv, commit) {
      await migrate(fast, ["schema"], { migrations: [write("fast")], name: "s" });
      await write("slow").run(kv, commit);
    },
  };
  await migrate(slow, ["schema"], { migrations: [overtaken], name: "s" });
  assert.equal((await slow.get(["by"])).value, "fast");
  slow.close();
  fast.close();
});

Deno.test("a path that cannot be opened, holds something else or is empty is refused", async () => {
  await using place = await temporary();
  await assert.rejects(open(""), /explicit path/);
  await assert.rejects(open(`${place.path}/missing/x.db`), { code: "STORAGE_FAILED" });
  await Deno.writeTextFile(place.path, "this is no database".repeat(1_000));
  await assert.rejects(open(place.path), { code: "STORAGE_FAILED" });
});
