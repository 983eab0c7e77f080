// Owns the promises of the plain data structures that a group's state is made of.
// Refuses to own what is kept in them. Invariant: each is compared with the obvious structure, change by change.
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  committedAt,
  lastPartitions,
  listOffsets,
  NO_OFFSETS,
  withOffset,
  withoutOffsets,
} from "../actors/group/offset_table.ts";
import {
  emptyTable,
  entriesOf,
  holds,
  lookUp,
  put,
  sortedKeys,
  type Table,
  tableOf,
  without,
} from "../actors/group/table.ts";
import {
  containsPartition,
  countPartitions,
  listPartitions,
  NO_PARTITIONS,
  partitionSetOf,
  withoutPartitions,
  withPartitions,
} from "../actors/group/topic_partitions.ts";

const key = fc.oneof(
  fc.integer({ min: 0, max: 60 }).map((n) => `member-${n}`),
  fc.constantFrom("__proto__", "constructor", "", "é"),
);

Deno.test("table holds what a map would hold, and leaves earlier versions as they were", () => {
  const change = fc.record({ key, value: fc.option(fc.nat()) });
  fc.assert(fc.property(fc.array(change, { maxLength: 200 }), (changes) => {
    const model = new Map<string, number>();
    let table: Table<number> = emptyTable();
    for (const { key, value } of changes) {
      const before = table;
      const text = JSON.stringify(before);
      if (value === null) {
        model.delete(key);
        table = without(table, key);
      } else {
        model.set(key, value);
        table = put(table, key, value);
      }
      assert.equal(JSON.stringify(before), text);
      assert.equal(lookUp(table, key), model.get(key));
    }
    assert.equal(table.size, model.size);
    assert.deepEqual(new Map(entriesOf(table)), model);
    assert.deepEqual(sortedKeys(table), [...model.keys()].sort());
    assert.deepEqual(new Map(entriesOf(tableOf([...model]))), model);
  }));
});

Deno.test("table of thousands changes an entry by copying few", () => {
  let table: Table<number> = emptyTable();
  for (let i = 0; i < 2_000; i++) table = put(table, `member-${i}`, i);
  assert.equal(table.size, 2_000);
  assert.ok(holds(table, "member-1999") && !holds(table, "member-2000"));
  const changed = put(table, "member-7", -1);
  const copied = changed.buckets.filter((bucket, i) => bucket !== table.buckets[i]);
  assert.equal(copied.length, 1);
  const longest = Math.max(...table.buckets.map((bucket) => bucket.length));
  assert.ok(longest < 48, `ids that differ at their end spread well: ${longest}`);
});

Deno.test("table keeps the last of entries with the same key, and an absent key changes nothing", () => {
  const table = tableOf([["a", 1], ["b", 2], ["a", 3]]);
  assert.deepEqual([table.size, lookUp(table, "a")], [2, 3]);
  assert.equal(without(table, "x"), table);
  assert.equal(without(without(table, "a"), "b"), emptyTable());
});

const at = fc.record({
  topic: fc.constantFrom("a", "b", "ab", "B"),
  partition: fc.integer({ min: 0, max: 200 }),
});
const keyOf = ({ topic, partition }: { topic: string; partition: number }) =>
  `${topic}/${String(partition).padStart(4, "0")}`;

Deno.test("partition set holds what a set would hold, in order", () => {
  fc.assert(fc.property(fc.array(at), fc.array(at), fc.array(at), (first, more, gone) => {
    const model = new Set(first.map(keyOf));
    let set = partitionSetOf(first);
    for (const one of more) model.add(keyOf(one));
    set = withPartitions(set, more);
    const goneKeys = new Set(gone.map(keyOf));
    for (const one of goneKeys) model.delete(one);
    set = withoutPartitions(set, (topic, partition) => goneKeys.has(keyOf({ topic, partition })));
    assert.deepEqual(listPartitions(set).map(keyOf), [...model].sort());
    assert.equal(countPartitions(set), model.size);
    for (const one of [...first, ...more, ...gone]) {
      assert.equal(containsPartition(set, one), model.has(keyOf(one)));
    }
    assert.ok(set.every(({ partitions }) => partitions.length > 0));
  }));
});

Deno.test("partition set that loses nothing is the same set", () => {
  const set = partitionSetOf([{ topic: "a", partition: 1 }]);
  assert.equal(withoutPartitions(set, () => false), set);
  assert.equal(withoutPartitions(set, () => true), NO_PARTITIONS);
  assert.equal(withPartitions(set, []), set);
});

Deno.test("offset table holds what a map would hold, also after topics shrink", () => {
  const change = fc.oneof(
    { weight: 9, arbitrary: fc.record({ at, offset: fc.nat(), drop: fc.constant(false) }) },
    { weight: 1, arbitrary: fc.record({ at, offset: fc.nat(), drop: fc.constant(true) }) },
  );
  fc.assert(fc.property(fc.array(change, { maxLength: 100 }), (changes) => {
    const model = new Map<string, number>();
    let table = NO_OFFSETS;
    for (const { at, offset, drop } of changes) {
      if (drop) {
        table = withoutOffsets(table, at.topic, at.partition);
        for (const key of [...model.keys()]) {
          if (key.startsWith(`${at.topic}/`) && key >= keyOf(at)) model.delete(key);
        }
      } else {
        table = withOffset(table, at, { offset, metadata: null, committedAt: 5 });
        model.set(keyOf(at), offset);
      }
      assert.equal(committedAt(table, at)?.offset, model.get(keyOf(at)));
    }
    assert.equal(table.size, model.size);
    const listed = listOffsets(table).map((entry) => [keyOf(entry), entry.offset]);
    assert.deepEqual(listed, [...model].sort(([a], [b]) => a < b ? -1 : 1));
    const lasts = new Map([...lastPartitions(table)].map((last) => [last.topic, keyOf(last)]));
    for (const [topic, last] of lasts) {
      assert.equal(last, [...model.keys()].filter((k) => k.startsWith(`${topic}/`)).sort().at(-1));
    }
    assert.equal(lasts.size, new Set(listOffsets(table).map(({ topic }) => topic)).size);
  }));
});
