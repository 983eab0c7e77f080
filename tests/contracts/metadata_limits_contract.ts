// Owns that every MetadataStore refuses what is too large with a plain Error, and takes what is just not.
// Refuses to test Deno KV's own limits.
// Invariant: the largest that is allowed is really stored.
import assert from "node:assert/strict";
import { BrokerError } from "../../storage/broker_error.ts";
import {
  MAX_KEY_BYTES,
  MAX_TRANSACTION_CHECKS,
  MAX_TRANSACTION_MUTATIONS,
  MAX_VALUE_BYTES,
  type MetadataStore,
  type MetadataTransaction,
} from "../../storage/metadata.ts";
import {
  MAX_LEASED_SETS,
  MAX_TRANSACTION_KEY_BYTES,
  MAX_TRANSACTION_VALUE_BYTES,
} from "../../storage/metadata_limits.ts";
import type { RegisterMetadataTest } from "./metadata_contract.ts";

async function assertRefused(
  store: MetadataStore,
  transaction: MetadataTransaction,
  message: RegExp,
): Promise<void> {
  await assert.rejects(store.commit(transaction), (error: unknown) => {
    assert.ok(error instanceof Error && !(error instanceof BrokerError), String(error));
    assert.match(error.message, message);
    return true;
  });
}

const set = (key: string[], value: unknown = 1) => ({ checks: [], sets: [{ key, value }] });

/** Registers the sentences about limits. */
export function metadataLimitsContract(test: RegisterMetadataTest): void {
  test("keys are bounded: the longest works everywhere, one byte more nowhere", async (store) => {
    const longest = [
      ["k".repeat(MAX_KEY_BYTES - 2)],
      ["é".repeat(MAX_KEY_BYTES / 2 - 1)],
      Array.from({ length: Math.floor(MAX_KEY_BYTES / 3) }, () => "k"),
    ];
    const leaseId = await store.grantLease(60_000);
    for (const key of longest) {
      const transaction = { checks: [{ key, version: null }], sets: [{ key, value: 1, leaseId }] };
      assert.ok(await store.commit(transaction));
      assert.equal((await store.get(key))!.value, 1);
    }
    for (const key of longest) {
      const tooLong = [...key.slice(1), key[0] + "kk"];
      await assertRefused(store, set(tooLong), /at most 1024/);
      await assertRefused(store, { checks: [{ key: tooLong, version: null }] }, /at most 1024/);
      await assertRefused(store, { checks: [], deletes: [tooLong] }, /at most 1024/);
      await assert.rejects(store.get(tooLong), /at most 1024/);
      await assert.rejects(store.list(tooLong), /at most 1024/);
    }
    await store.revokeLease(leaseId);
    assert.deepEqual(await store.list([]), []);
  });

  test("keys without parts, with empty parts, NUL or half a surrogate pair are refused", async (store) => {
    await assertRefused(store, set([]), /at least one part/);
    for (const part of ["", "a\0b", "\ud800"]) {
      await assertRefused(store, set(["a", part]), /not a part/);
      await assert.rejects(store.get(["a", part]), /not a part/);
    }
  });

  test("values are bounded by their JSON bytes, whatever characters they hold", async (store) => {
    for (const character of ["a", "é", "日"]) {
      const width = new TextEncoder().encode(character).length;
      // Filled up with ASCII, so that no encoding is short by luck.
      const count = Math.floor((MAX_VALUE_BYTES - 2) / width);
      const value = character.repeat(count) + "a".repeat(MAX_VALUE_BYTES - 2 - count * width);
      assert.ok(await store.commit(set(["v"], value)));
      assert.equal((await store.get(["v"]))!.value, value);
      await assertRefused(store, set(["v"], value + "a"), /at most 60000/);
    }
    for (const value of [undefined, () => 1, Symbol("s")]) {
      await assertRefused(store, { checks: [], sets: [{ key: ["v"], value }] }, /not JSON/);
    }
  });

  test("transactions are bounded in checks and changes, and the largest works", async (store) => {
    const checks = Array.from({ length: MAX_TRANSACTION_CHECKS + 1 }, (_, index) => ({
      key: ["c", String(index).padStart(MAX_KEY_BYTES - 5, "c")],
      version: null,
    }));
    const keys = Array.from({ length: MAX_TRANSACTION_MUTATIONS + 1 }, (_, i) => ["m", `${i}`]);
    const sets = keys.map((key) => ({ key, value: "x".repeat(500) }));
    await assertRefused(store, { checks, sets: [] }, /at most 100/);
    await assertRefused(store, { checks: [], sets }, /at most 500/);
    await assertRefused(
      store,
      { checks: [], sets: sets.slice(1), deletes: [["d"]] },
      /at most 500/,
    );
    assert.ok(await store.commit({ checks: checks.slice(1), sets: sets.slice(1) }));
    assert.equal((await store.list(["m"])).length, MAX_TRANSACTION_MUTATIONS);
    assert.ok(await store.commit({ checks: [], deletes: keys.slice(1) }));
    assert.deepEqual(await store.list([]), []);
  });

  test("transactions are bounded in bytes, and the largest works", async (store) => {
    const long = (index: number) => String(index).padStart(MAX_KEY_BYTES - 2, "k");
    const count = Math.floor(MAX_TRANSACTION_KEY_BYTES / MAX_KEY_BYTES);
    const keys = Array.from({ length: count + 1 }, (_, index) => [long(index)]);
    await assertRefused(store, { checks: [], deletes: keys }, /bytes of keys/);
    assert.ok(await store.commit({ checks: [], deletes: keys.slice(1) }));
    const full = Math.floor(MAX_TRANSACTION_VALUE_BYTES / MAX_VALUE_BYTES);
    const sets = Array.from({ length: full + 1 }, (_, index) => ({
      key: [`v${index}`],
      value: "v".repeat(MAX_VALUE_BYTES - 2),
    }));
    await assertRefused(store, { checks: [], sets }, /bytes of values/);
    const rest = MAX_TRANSACTION_VALUE_BYTES - full * MAX_VALUE_BYTES - 2;
    const last = { key: ["last"], value: "v".repeat(rest) };
    const many = keys.slice(1, count - 1).map((key) => ({ checks: [], deletes: [key] }));
    const deletes = many.flatMap((transaction) => transaction.deletes);
    assert.ok(await store.commit({ checks: [], sets: [...sets.slice(1), last], deletes }));
    assert.equal((await store.list([])).length, full + 1);
  });

  test("leased sets are bounded, and the most of them work with the longest keys that fit", async (store) => {
    const leaseId = await store.grantLease(60_000);
    const longest = Math.floor(MAX_TRANSACTION_KEY_BYTES / MAX_LEASED_SETS / 2) - 2;
    const sets = Array.from({ length: MAX_LEASED_SETS + 1 }, (_, index) => ({
      key: [String(index).padStart(longest, "k")],
      value: 1,
      leaseId,
    }));
    await assertRefused(store, { checks: [], sets }, /leased sets/);
    const checks = Array.from({ length: MAX_TRANSACTION_CHECKS }, (_, index) => ({
      key: [`c${index}`],
      version: null,
    }));
    await assertRefused(store, { checks, sets: sets.slice(0, 1) }, /checks and leases/);
    const deletes = Array.from({ length: MAX_TRANSACTION_MUTATIONS - MAX_LEASED_SETS }, (_, i) => [
      `${i}`,
    ]);
    await assertRefused(store, { checks: [], sets: sets.slice(1), deletes }, /bytes of keys/);
    assert.ok(await store.commit({ checks: checks.slice(1), sets: sets.slice(1) }));
    assert.equal((await store.list([])).length, MAX_LEASED_SETS);
    await store.revokeLease(leaseId);
    assert.deepEqual(await store.list([]), []);
  });

  test("a key that is changed twice in one transaction is refused", async (store) => {
    const twice = { checks: [], sets: [{ key: ["k"], value: 1 }], deletes: [["k"]] };
    await assertRefused(store, twice, /changed twice/);
    assert.equal(await store.get(["k"]), null);
  });
}
