// Owns what every MetadataStore must do: one suite, registered for each implementation.
// Refuses to know how it is stored: schema versions and durability have tests of their own.
// Invariant: time is virtual; where an implementation does real IO, the suite waits by asking, never by sleeping.
import assert from "node:assert/strict";
import type { MetadataStore } from "../../storage/metadata.ts";
import type { VirtualClock } from "../support/virtual_time.ts";
import { leaseContract } from "./metadata_lease_contract.ts";
import { metadataLimitsContract } from "./metadata_limits_contract.ts";
import { watchContract } from "./metadata_watch_contract.ts";

export interface OpenedMetadata {
  readonly store: MetadataStore;
  readonly clock: VirtualClock;
  /** How leases are tried where their time is real: 10 s and 8 renewals unless said otherwise. */
  readonly leases?: { readonly ttlMs: number; readonly renewals: number };
  /** Another store on the same data, as another instance has it; the suite closes it. */
  connect(): Promise<MetadataStore>;
  dispose(): Promise<void>;
}

export type RegisterMetadataTest = (
  sentence: string,
  run: (store: MetadataStore, opened: OpenedMetadata) => Promise<void>,
) => void;

/** Registers the suite for one implementation; `open` makes an empty store. */
export function metadataContract(name: string, open: () => Promise<OpenedMetadata>): void {
  const test: RegisterMetadataTest = (sentence, run) =>
    Deno.test(`${name}: ${sentence}`, async () => {
      const opened = await open();
      try {
        await run(opened.store, opened);
      } finally {
        await opened.store.close();
        await opened.dispose();
      }
    });
  entries(test);
  transactions(test);
  listing(test);
  metadataLimitsContract(test);
  watchContract(test);
  leaseContract(test);
}

function entries(test: RegisterMetadataTest): void {
  test("a key that was never set is null", async (store) => {
    assert.equal(await store.get(["topics", "orders"]), null);
  });

  test("a value comes back as plain JSON data, and changing it changes nothing stored", async (store) => {
    const value = { name: "ordérs 日本", count: 3, deep: [{ a: null }, true, 1.5], __proto__x: 1 };
    assert.ok(await store.commit({ checks: [], sets: [{ key: ["k"], value }] }));
    value.count = 99;
    const read = await store.get(["k"]);
    assert.deepEqual(read!.value, { ...value, count: 3 });
    assert.deepEqual(read!.key, ["k"]);
    (read!.value as { count: number }).count = 5;
    assert.deepEqual((await store.get(["k"]))!.value, { ...value, count: 3 });
  });

  test("every write changes the version, with the same value too", async (store) => {
    const versions = new Set<string>();
    for (let write = 0; write < 5; write++) {
      await store.commit({ checks: [], sets: [{ key: ["k"], value: 1 }] });
      versions.add((await store.get(["k"]))!.version);
    }
    assert.equal(versions.size, 5);
  });

  test("what was committed is there for another store on the same data", async (store, opened) => {
    await store.commit({ checks: [], sets: [{ key: ["k"], value: [1, 2] }] });
    const other = await opened.connect();
    const entry = await other.get(["k"]);
    assert.deepEqual(entry, await store.get(["k"]));
    await other.close();
  });

  test("a closed store refuses; closing it again does nothing", async (store) => {
    await store.close();
    await store.close();
    await assert.rejects(store.get(["k"]), /closed/);
    await assert.rejects(store.commit({ checks: [], sets: [{ key: ["k"], value: 1 }] }), /closed/);
    assert.throws(() => store.watch([], () => {}), /closed/);
  });
}

function transactions(test: RegisterMetadataTest): void {
  test("a transaction happens wholly or not at all", async (store) => {
    await store.commit({ checks: [], sets: [{ key: ["a"], value: 1 }, { key: ["b"], value: 1 }] });
    const a = (await store.get(["a"]))!.version;
    const sets = [{ key: ["a"], value: 2 }, { key: ["c"], value: 2 }];
    const failing = {
      checks: [{ key: ["a"], version: a }, { key: ["b"], version: null }],
      sets,
      deletes: [["b"]],
    };
    assert.equal(await store.commit(failing), false);
    assert.deepEqual((await store.list([])).map((entry) => [entry.key[0], entry.value]), [
      ["a", 1],
      ["b", 1],
    ]);
    const holding = {
      checks: [{ key: ["a"], version: a }, { key: ["c"], version: null }],
      sets,
      deletes: [["b"]],
    };
    assert.equal(await store.commit(holding), true);
    assert.deepEqual((await store.list([])).map((entry) => [entry.key[0], entry.value]), [
      ["a", 2],
      ["c", 2],
    ]);
  });

  test("a check fails once its key was written, deleted, or deleted and made again", async (store) => {
    const version = async () => (await store.get(["k"]))?.version ?? null;
    const set = { key: ["k"], value: 1 };
    await store.commit({ checks: [], sets: [set] });
    const first = await version();
    await store.commit({ checks: [], deletes: [["k"]] });
    assert.equal(await store.commit({ checks: [{ key: ["k"], version: first }] }), false);
    assert.equal(
      await store.commit({ checks: [{ key: ["k"], version: null }], sets: [set] }),
      true,
    );
    assert.equal(await store.commit({ checks: [{ key: ["k"], version: first }] }), false);
    assert.equal(await store.commit({ checks: [{ key: ["k"], version: null }] }), false);
    assert.equal(await store.commit({ checks: [{ key: ["k"], version: await version() }] }), true);
  });

  test(
    "of many increments from loops that race in two stores, none is lost",
    async (store, opened) => {
      const other = await opened.connect();
      const loops = 6;
      const each = 15;
      const increment = async (at: MetadataStore): Promise<boolean> => {
        const entry = await at.get(["count"]);
        const checks = [{ key: ["count"], version: entry?.version ?? null }];
        const value = ((entry?.value as number | undefined) ?? 0) + 1;
        return await at.commit({ checks, sets: [{ key: ["count"], value }] });
      };
      let conflicts = 0;
      await Promise.all(Array.from({ length: loops }, async (_, loop) => {
        for (let done = 0; done < each;) {
          if (await increment(loop % 2 === 0 ? store : other)) done++;
          else conflicts++;
        }
      }));
      assert.equal((await store.get(["count"]))!.value, loops * each);
      assert.ok(conflicts > 0, "the loops did race");
      await other.close();
    },
  );
}

function listing(test: RegisterMetadataTest): void {
  const listedKeys = async (store: MetadataStore, prefix: string[]) =>
    (await store.list(prefix)).map((entry) => entry.key.join("/"));

  test("list returns what lies below a prefix, part by part, in key order", async (store) => {
    const names = [
      "b",
      "a/2",
      "a",
      "a/10",
      "ab/1",
      "a/2/x",
      "B",
      "é",
      "\u{10000}",
      "\uffee",
      "a /1",
    ];
    const sets = names.map((name) => ({ key: name.split("/"), value: name }));
    await store.commit({ checks: [], sets });
    assert.deepEqual(await listedKeys(store, ["a"]), ["a/10", "a/2", "a/2/x"]);
    assert.deepEqual(await listedKeys(store, ["a", "2"]), ["a/2/x"]);
    assert.deepEqual(await listedKeys(store, ["z"]), []);
    const all = ["B", "a", "a/10", "a/2", "a/2/x", "a /1", "ab/1", "b", "é", "\uffee", "\u{10000}"];
    assert.deepEqual(await listedKeys(store, []), all);
  });

  test("list of 2,000 keys returns them all, and page by page the same", async (store) => {
    const count = 2_000;
    const name = (index: number) => String(index).padStart(5, "0");
    for (let from = 0; from < count; from += 500) {
      const sets = Array.from({ length: 500 }, (_, at) => ({
        key: ["many", name(from + at)],
        value: from + at,
      }));
      assert.ok(await store.commit({ checks: [], sets }));
    }
    await store.commit({ checks: [], sets: [{ key: ["nany"], value: 1 }] });
    const all = await store.list(["many"]);
    assert.deepEqual(all.map((entry) => entry.value), Array.from({ length: count }, (_, at) => at));
    const paged = [];
    let page = await store.list(["many"], { limit: 300 });
    while (page.length > 0) {
      assert.ok(page.length <= 300);
      paged.push(...page);
      page = await store.list(["many"], { limit: 300, after: page.at(-1)!.key });
    }
    assert.deepEqual(paged, all);
  });

  test("list goes on after a key that is gone, and refuses one outside of the prefix", async (store) => {
    const sets = ["a", "b", "d"].map((part) => ({ key: ["p", part], value: part }));
    await store.commit({ checks: [], sets });
    const values = async (after: string[]) =>
      (await store.list(["p"], { after })).map((entry) => entry.value);
    assert.deepEqual(await values(["p", "a"]), ["b", "d"]);
    assert.deepEqual(await values(["p", "c"]), ["d"]);
    assert.deepEqual(await values(["p", "d"]), []);
    await assert.rejects(store.list(["p"], { after: ["q", "a"] }), Error);
    assert.deepEqual(await store.list(["p"], { limit: 0 }), []);
  });
}
