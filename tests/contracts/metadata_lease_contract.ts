// Owns what every MetadataStore must do with leases.
// Refuses to fix how soon after its time a lease ends: some time after, never before.
// Invariant: only the monotonic clock counts.
import assert from "node:assert/strict";
import type { MetadataStore } from "../../storage/metadata.ts";
import { eventually } from "./eventually.ts";
import type { RegisterMetadataTest } from "./metadata_contract.ts";

const TTL_MS = 10_000;
const RENEWALS = 8;

async function setLeased(
  store: MetadataStore,
  leaseId: string,
  ...names: string[]
): Promise<boolean> {
  const sets = names.map((name) => ({ key: ["nodes", name], value: name, leaseId }));
  return await store.commit({ checks: [], sets });
}

async function names(store: MetadataStore): Promise<unknown[]> {
  return (await store.list(["nodes"])).map((entry) => entry.value);
}

/** Registers the sentences about leases. */
export function leaseContract(test: RegisterMetadataTest): void {
  test(
    "keys with a lease vanish when it is not renewed, not before, and watchers hear of it",
    async (store, { clock, leases }) => {
      const ttlMs = leases?.ttlMs ?? TTL_MS;
      const leaseId = await store.grantLease(ttlMs);
      assert.ok(await setLeased(store, leaseId, "a", "b"));
      await store.commit({ checks: [], sets: [{ key: ["nodes", "c"], value: "c" }] });
      const heard = new Set<string>();
      store.watch(["nodes"], (keys) => keys.forEach((key) => heard.add(key[1]!)));
      for (let elapsedMs = 0; elapsedMs < ttlMs * 0.9; elapsedMs += ttlMs / 10) {
        assert.deepEqual(await names(store), ["a", "b", "c"]);
        await clock.advance(ttlMs / 10);
      }
      await eventually(clock, async () => (await store.list(["nodes"])).length === 1);
      assert.deepEqual(await names(store), ["c"]);
      await eventually(clock, () => heard.has("a") && heard.has("b"));
      assert.ok(!heard.has("c"));
      await eventually(clock, async () => !await store.renewLease(leaseId));
      assert.equal(await setLeased(store, leaseId, "d"), false);
      assert.deepEqual(await names(store), ["c"]);
    },
  );

  test("a lease that is renewed lasts, whatever the wall clock does", async (store, opened) => {
    const { clock } = opened;
    const { ttlMs, renewals } = opened.leases ?? { ttlMs: TTL_MS, renewals: RENEWALS };
    const leaseId = await store.grantLease(ttlMs);
    await setLeased(store, leaseId, "a");
    for (let renewal = 0; renewal < renewals; renewal++) {
      clock.jumpWall(renewal % 2 === 0 ? 86_400_000 : -2 * 86_400_000);
      await clock.advance(ttlMs / 2);
      assert.ok(await store.renewLease(leaseId), `renewal ${renewal}`);
      assert.deepEqual(await names(store), ["a"]);
    }
    // A renewal is no write of its keys.
    assert.ok(await setLeased(store, leaseId, "b"));
    await eventually(clock, async () => (await names(store)).length === 0);
  });

  test("a key set anew without the lease outlives it, one set with another lease goes with that", async (store) => {
    const first = await store.grantLease(TTL_MS);
    const second = await store.grantLease(TTL_MS);
    await setLeased(store, first, "a", "b", "c", "d");
    await store.commit({
      checks: [],
      sets: [{ key: ["nodes", "a"], value: "free" }, {
        key: ["nodes", "b"],
        value: "second",
        leaseId: second,
      }],
      deletes: [["nodes", "c"]],
    });
    await store.revokeLease(first);
    assert.deepEqual(await names(store), ["free", "second"]);
    await store.revokeLease(second);
    assert.deepEqual(await names(store), ["free"]);
    await store.revokeLease(second);
  });

  test("leases that nobody granted are not renewed, and take no keys", async (store) => {
    assert.equal(await store.renewLease("00000000-0000-4000-8000-000000000000"), false);
    assert.equal(await setLeased(store, "00000000-0000-4000-8000-000000000000", "a"), false);
    await store.revokeLease("00000000-0000-4000-8000-000000000000");
    assert.deepEqual(await names(store), []);
  });

  test(
    "a lease whose holder is gone is ended by another store on the same data",
    async (store, opened) => {
      const holder = await opened.connect();
      const leaseId = await holder.grantLease(opened.leases?.ttlMs ?? TTL_MS);
      const heard = new Set<string>();
      store.watch(["nodes"], (keys) => keys.forEach((key) => heard.add(key[1]!)));
      await store.list(["nodes"]);
      await setLeased(holder, leaseId, "a");
      await holder.close();
      await eventually(opened.clock, async () => (await names(store)).length === 0);
      await eventually(opened.clock, () => heard.has("a"));
    },
  );

  test("a lease is renewed from any store on the same data", async (store, opened) => {
    const other = await opened.connect();
    const { ttlMs, renewals } = opened.leases ?? { ttlMs: TTL_MS, renewals: RENEWALS };
    const leaseId = await store.grantLease(ttlMs);
    await setLeased(store, leaseId, "a");
    for (let renewal = 0; renewal < renewals; renewal++) {
      for (let step = 0; step < 6; step++) {
        await opened.clock.advance(ttlMs / 10);
        assert.deepEqual(await names(store), ["a"]);
      }
      assert.ok(await other.renewLease(leaseId));
    }
    await store.revokeLease(leaseId);
    assert.equal(await other.renewLease(leaseId), false);
    await other.close();
  });

  test("of sets that race with the end of their lease none stays behind", async (store, opened) => {
    const other = await opened.connect();
    for (let round = 0; round < 4; round++) {
      const leaseId = await store.grantLease(TTL_MS);
      let ended = false;
      const loops = [1, 2, 3].map(async (loop) => {
        for (let count = 0; !ended; count++) await setLeased(other, leaseId, `${loop}-${count}`);
      });
      await setLeased(store, leaseId, "first");
      await store.revokeLease(leaseId);
      ended = true;
      await Promise.all(loops);
      assert.deepEqual(await names(store), []);
    }
    await other.close();
  });

  test("many keys of one lease all vanish", async (store) => {
    const leaseId = await store.grantLease(TTL_MS);
    for (let from = 0; from < 150; from += 50) {
      await setLeased(store, leaseId, ...Array.from({ length: 50 }, (_, at) => `${from + at}`));
    }
    assert.equal((await names(store)).length, 150);
    await store.revokeLease(leaseId);
    assert.deepEqual(await names(store), []);
  });
}
