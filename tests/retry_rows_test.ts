// Owns what the persistent rows of retries promise: a sorted map, whatever is put in and taken out.
// Refuses to own what the rows mean. Invariant: an older value never changes.
import assert from "node:assert/strict";
import fc from "fast-check";
import { NO_ROWS, type Rows, RowSet } from "../actors/group/retry/rows.ts";

const SET = new RowSet(3, 2);

type Step =
  | { do: "put"; keys: [number, number][] }
  | { do: "remove"; keys: [number, number][] }
  | { do: "below"; first: number; below: number }
  | { do: "take"; max: number };

const keys = fc.array(fc.tuple(fc.nat(4), fc.nat(300)), { maxLength: 300 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("put" as const), keys }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("remove" as const), keys }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("below" as const),
      first: fc.nat(4),
      below: fc.nat(300),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("take" as const), max: fc.nat(100) }) },
);

function flat(rows: Rows): number[] {
  return rows.chunks.flat();
}

function modelled(model: ReadonlyMap<number, number>): number[] {
  return [...model].sort(([a], [b]) => a - b)
    .flatMap(([key, value]) => [Math.floor(key / 1_000), key % 1_000, value]);
}

Deno.test("rows are a sorted map, and older values of them never change", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      let rows = NO_ROWS;
      let model = new Map<number, number>();
      let stamp = 0;
      for (const taken of steps) {
        const [before, was] = [rows, flat(rows)];
        model = new Map(model);
        if (taken.do === "put") {
          const added = taken.keys.flatMap(([a, b]) => [a, b, ++stamp]);
          for (let at = 0; at < added.length; at += 3) {
            model.set(added[at]! * 1_000 + added[at + 1]!, added[at + 2]!);
          }
          rows = SET.put(rows, SET.sorted(added));
        } else if (taken.do === "remove") {
          for (const [a, b] of taken.keys) model.delete(a * 1_000 + b);
          const sorted = new RowSet(2, 2).sorted(taken.keys.flat());
          rows = SET.remove(rows, sorted);
        } else if (taken.do === "below") {
          for (let b = 0; b < taken.below; b++) model.delete(taken.first * 1_000 + b);
          rows = SET.removeBelow(rows, [taken.first], taken.below);
        } else {
          const first = modelled(model).slice(0, taken.max * 3);
          const { taken: out, rest } = SET.takeFirst(rows, taken.max, () => true);
          assert.deepEqual(out, first);
          for (let at = 0; at < first.length; at += 3) {
            model.delete(first[at]! * 1_000 + first[at + 1]!);
          }
          rows = rest;
        }
        assert.deepEqual(flat(before), was);
        assert.deepEqual(flat(rows), modelled(model));
        assert.equal(rows.size, model.size);
        assert.ok(rows.chunks.every((chunk) => chunk.length > 0 && chunk.length <= 128 * 3));
      }
      checkQuestions(rows, model);
    }),
    { numRuns: 150 },
  );
});

function checkQuestions(rows: Rows, model: ReadonlyMap<number, number>): void {
  const all = modelled(model);
  for (const [a, b] of [[0, 0], [1, 150], [3, 299], [4, 17]] as const) {
    const value = model.get(a * 1_000 + b);
    assert.deepEqual(SET.find(rows, [a, b]), value === undefined ? null : [a, b, value]);
    const from: number[] = [];
    const under: number[] = [];
    let before: number[] | null = null;
    for (let at = 0; at < all.length; at += 3) {
      const row = all.slice(at, at + 3);
      const isBefore = row[0]! < a || (row[0] === a && row[1]! < b);
      if (isBefore) before = row;
      else from.push(...row);
      if (row[0] === a) under.push(...row);
    }
    assert.deepEqual([...SET.from(rows, [a, b])].flat(), from);
    assert.deepEqual([...SET.under(rows, [a])].flat(), under);
    assert.deepEqual(SET.before(rows, [a, b]), before);
  }
}
