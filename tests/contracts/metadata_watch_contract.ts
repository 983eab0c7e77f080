// Owns what every MetadataStore must tell its watchers.
// Refuses to count calls: a change may be told more than once.
// Invariant: each change is told at least once, with its key.
import assert from "node:assert/strict";
import type { MetadataKey, MetadataStore } from "../../storage/metadata.ts";
import { settle } from "../support/virtual_time.ts";
import { eventually } from "./eventually.ts";
import type { RegisterMetadataTest } from "./metadata_contract.ts";

function watched(store: MetadataStore, prefix: MetadataKey) {
  const seen = new Set<string>();
  const stop = store.watch(prefix, (keys) => keys.forEach((key) => seen.add(key.join("/"))));
  return { seen, stop };
}

const set = (...keys: string[][]) => ({ checks: [], sets: keys.map((key) => ({ key, value: 1 })) });

/** Registers the sentences about watching. */
export function watchContract(test: RegisterMetadataTest): void {
  test("watch tells what was set and deleted below its prefix, and nothing else", async (store) => {
    const { seen } = watched(store, ["topics"]);
    await store.commit(set(["topics", "a"], ["topics"], ["other", "b"], ["topics", "c", "d"]));
    await settle();
    assert.deepEqual([...seen].sort(), ["topics/a", "topics/c/d"]);
    seen.clear();
    await store.commit({ checks: [], deletes: [["topics", "a"], ["other", "b"]] });
    await settle();
    assert.deepEqual([...seen], ["topics/a"]);
  });

  test("watch is silent about a transaction that did not happen, and after it was stopped", async (store) => {
    const { seen, stop } = watched(store, []);
    const check = { checks: [{ key: ["x"], version: "never" }] };
    // A version that was never given out must fail like any other that does not hold.
    await store.commit(set(["x"]));
    await settle();
    seen.clear();
    const stale = { ...check, checks: [{ key: ["x"], version: null }], sets: set(["y"]).sets };
    assert.equal(await store.commit(stale), false);
    await settle();
    assert.deepEqual([...seen], []);
    stop();
    stop();
    await store.commit(set(["z"]));
    await settle();
    assert.deepEqual([...seen], []);
  });

  test(
    "watch notices what another store on the same data sets, changes and deletes",
    async (store, opened) => {
      await store.commit(set(["p", "before"], ["p", "gone"]));
      const { seen } = watched(store, ["p"]);
      await store.list(["p"]);
      const other = await opened.connect();
      await other.commit(set(["p", "new"], ["q", "x"]));
      await eventually(opened.clock, () => seen.has("p/new"));
      await other.commit({ ...set(["p", "before"]), deletes: [["p", "gone"]] });
      await eventually(opened.clock, () => seen.has("p/before") && seen.has("p/gone"));
      assert.ok(!seen.has("q/x"));
      seen.clear();
      // Made here, deleted there.
      await store.commit(set(["p", "mine"]));
      await settle();
      seen.clear();
      await other.commit({ checks: [], deletes: [["p", "mine"]] });
      await eventually(opened.clock, () => seen.has("p/mine"));
      await other.close();
    },
  );

  test(
    "watch misses nothing between its start and a list that follows it",
    async (store, opened) => {
      const other = await opened.connect();
      const keys = Array.from({ length: 20 }, (_, index) => ["p", String(index)]);
      const writing = (async () => {
        for (const key of keys) await other.commit(set(key));
      })();
      const { seen } = watched(store, ["p"]);
      for (const entry of await store.list(["p"])) seen.add(entry.key.join("/"));
      await writing;
      await eventually(opened.clock, () => seen.size === keys.length);
      await other.close();
    },
  );

  test("two watchers hear of the same change", async (store) => {
    const a = watched(store, ["p"]);
    const b = watched(store, ["p", "q"]);
    await store.commit(set(["p", "q", "r"]));
    await settle();
    assert.deepEqual([[...a.seen], [...b.seen]], [["p/q/r"], ["p/q/r"]]);
  });
}
