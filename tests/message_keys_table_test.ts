// Owns the tests of the table of message keys, its hash and its snapshot, against a model in a Map.
// Refuses to own appends (message_keys_append_test.ts).
import assert from "node:assert/strict";
import fc from "fast-check";
import { hashKey, hashKeyBytes } from "../actors/message_keys/key_hash.ts";
import { decodeKeySnapshot, encodeKeySnapshot } from "../actors/message_keys/key_snapshot.ts";
import { KeyTable } from "../actors/message_keys/key_table.ts";
import { NOBODY, SharedKeyTable } from "../actors/message_keys/shared_key_table.ts";

const WINDOW_MS = 1_000;
const MAX_KEYS = 150;

type Step =
  | { readonly type: "add"; readonly key: number }
  | { readonly type: "pass"; readonly ms: number }
  | { readonly type: "evict"; readonly count: number }
  | { readonly type: "reload" };

const steps = fc.array(
  fc.oneof(
    { weight: 20, arbitrary: fc.record({ type: fc.constant("add" as const), key: fc.nat(300) }) },
    { weight: 3, arbitrary: fc.record({ type: fc.constant("pass" as const), ms: fc.nat(400) }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant("evict" as const), count: fc.nat(9) }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant("reload" as const) }) },
  ),
  { minLength: 1, maxLength: 600 },
);

interface Known {
  readonly offset: number;
  readonly atMs: number;
}

/** What a table with these bounds holds; a Map keeps the order of adding. */
class Model {
  readonly known = new Map<number, Known>();

  add(key: number, known: Known): void {
    if (this.known.has(key)) return;
    if (this.known.size === MAX_KEYS) this.evict(1);
    this.known.set(key, known);
  }

  expire(nowMs: number): void {
    for (const [key, { atMs }] of this.known) if (atMs + WINDOW_MS <= nowMs) this.known.delete(key);
  }

  evict(count: number): void {
    for (const key of [...this.known.keys()].slice(0, count)) this.known.delete(key);
  }
}

Deno.test("key table knows what a map with the same bounds knows, across snapshots", () => {
  fc.assert(
    fc.property(steps, (taken: Step[]) => {
      const bounds = { windowMs: WINDOW_MS, maxKeys: MAX_KEYS };
      let table = new KeyTable(bounds);
      const model = new Model();
      let nowMs = 0;
      taken.forEach((step, offset) => {
        if (step.type === "add") {
          table.add(hashKey(`k${step.key}`), { partition: step.key % 7, offset }, nowMs);
          model.add(step.key, { offset, atMs: nowMs });
        } else if (step.type === "pass") {
          nowMs += step.ms;
          table.expire(nowMs);
          model.expire(nowMs);
        } else if (step.type === "evict") {
          table.evict(step.count);
          model.evict(step.count);
        } else table = reloaded(table, bounds);
        assert.equal(table.size, model.known.size);
      });
      for (let key = 0; key <= 300; key++) {
        const known = model.known.get(key);
        const expected = known === undefined ? null : { partition: key % 7, offset: known.offset };
        assert.deepEqual(table.find(hashKey(`k${key}`)), expected);
      }
    }),
    { numRuns: 200 },
  );
});

function reloaded(table: KeyTable, bounds: { windowMs: number; maxKeys: number }): KeyTable {
  const bytes = encodeKeySnapshot({ nextOffsets: [5, 2 ** 40], keys: table.columns() });
  const { nextOffsets, keys } = decodeKeySnapshot(bytes)!;
  assert.deepEqual(nextOffsets, [5, 2 ** 40]);
  const fresh = new KeyTable(bounds);
  keys.partitions.forEach((partition, at) => {
    const place = { partition, offset: keys.offsets[at]! };
    fresh.add(keys.hashes.subarray(at * 4, at * 4 + 4), place, keys.timesMs[at]!);
  });
  return fresh;
}

Deno.test("key snapshot that is cut off anywhere gives nothing", () => {
  const table = new KeyTable({ windowMs: WINDOW_MS, maxKeys: MAX_KEYS });
  for (let offset = 0; offset < 5; offset++) {
    table.add(hashKey(String(offset)), { partition: 0, offset }, 0);
  }
  const bytes = encodeKeySnapshot({ nextOffsets: [5], keys: table.columns() });
  for (let length = 0; length < bytes.length; length++) {
    assert.equal(decodeKeySnapshot(bytes.subarray(0, length)), null);
  }
  assert.notEqual(decodeKeySnapshot(bytes), null);
});

Deno.test("key hash of text is that of its UTF-8, and similar keys differ in every lane", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 300 }), (key) => {
      assert.deepEqual(hashKey(key), hashKeyBytes(new TextEncoder().encode(key)));
    }),
    { numRuns: 300 },
  );
  const lanes = [0, 1, 2, 3].map(() => new Set<number>());
  const count = 20_000;
  for (let number = 0; number < count; number++) {
    hashKey(`order-2026-${number}`).forEach((lane, index) => lanes[index]!.add(lane));
  }
  // Of 20,000 values of 32 bits, 0.05 pairs are expected to be equal by chance.
  for (const lane of lanes) assert.ok(lane.size >= count - 3, `${count - lane.size} equal`);
});

Deno.test("shared key table lets those go that the owner with most has, and a snapshot tells whose they are", () => {
  const table = new SharedKeyTable({ windowMs: WINDOW_MS, maxKeys: 10 });
  const add = (key: string, owner: number, atMs = 0) =>
    table.add(hashKey(key), { partition: 0, offset: 1 }, { atMs, owner });
  const knows = (key: string, owner: number) => table.find(hashKey(key), owner) !== null;
  for (const key of ["a", "b", "c"]) add(key, 1);
  add("old", NOBODY);
  for (let number = 0; number < 50; number++) add(`flood ${number}`, 7, 1);
  assert.equal(table.size, 10);
  for (const key of ["a", "b", "c", "old"]) assert.ok(knows(key, 1), key);
  assert.deepEqual([knows("flood 43", 7), knows("flood 44", 7)], [false, true]);
  assert.equal(add("old", 1), 0);
  assert.equal(table.size, 10, "one that is nobody's is known to all");
  const { keys } = decodeKeySnapshot(
    encodeKeySnapshot({ nextOffsets: [1], keys: table.columns() }),
  )!;
  const owners = [...Map.groupBy(keys.owners!, (owner) => owner)].map(([owner, { length }]) => [
    owner,
    length,
  ]);
  assert.deepEqual(owners, [[1, 3], [NOBODY, 1], [7, 6]]);
  assert.equal(table.evict(4), 4);
  assert.deepEqual([knows("flood 46", 7), knows("flood 47", 7), knows("a", 1)], [
    false,
    true,
    false,
  ]);
  assert.equal(table.expire(WINDOW_MS), 3);
  assert.deepEqual([table.size, knows("flood 49", 7)], [3, true]);
});
