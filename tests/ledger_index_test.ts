// Owns proof that the index of a shard's journal misses nothing, however little memory it may take.
// Refuses to own the journal. Invariant: what the model knows lies in a stretch; stretches are in order and disjoint.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { LedgerKind } from "../actors/group/ledger/ledger_entries.ts";
import { LedgerIndex } from "../actors/group/ledger/ledger_index.ts";

interface Added {
  readonly gap: number;
  readonly group: string;
  readonly kind: LedgerKind | null;
}

const added: fc.Arbitrary<Added> = fc.record({
  gap: fc.oneof(fc.constant(1), fc.nat(2_000), fc.nat(1_000_000)),
  group: fc.constantFrom("a", "b", "c", "d", "e", "f"),
  kind: fc.constantFrom("change", "change", "snapshot", null),
});

Deno.test("ledger index finds every entry that is kept, in few stretches, also after it was saved", () => {
  fc.assert(
    fc.property(
      fc.array(added, { maxLength: 300 }),
      fc.integer({ min: 2, max: 40 }),
      fc.nat(1_000_000),
      (entries, maxRuns, start) => {
        const index = new LedgerIndex(maxRuns);
        const model: { offset: number; group: string; kind: LedgerKind | null }[] = [];
        let offset = -1;
        for (const { gap, group, kind } of entries) {
          offset += Math.max(1, gap);
          index.add(offset, group, kind);
          model.push({ offset, group, kind });
        }
        index.dropBelow(start);
        assert.ok(index.runCount <= maxRuns);
        assert.equal(index.nextOffset, offset + 1);
        for (const each of [index, LedgerIndex.decode(index.encode())]) {
          for (const { offset, group, kind } of model) {
            if (kind === null || offset < start) continue;
            const stretches = each.stretches(group, kind, start);
            assert.ok(stretches.some(({ from, to }) => from <= offset && offset < to));
            stretches.reduce((end, { from, to }) => {
              assert.ok(from >= end && to > from);
              return to;
            }, start);
          }
        }
      },
    ),
    { numRuns: 200 },
  );
});

Deno.test("ledger index of two groups that take turns tells each where it is, not everywhere", () => {
  const index = new LedgerIndex();
  for (let offset = 0; offset < 100_000; offset++) {
    index.add(offset, Math.floor(offset / 1_000) % 50 === 0 ? "seldom" : "busy", "change");
  }
  const offsets = index.stretches("seldom", "change", 0)
    .reduce((sum, { from, to }) => sum + to - from, 0);
  assert.ok(offsets < 5_000, `${offsets} offsets are to be read for 2,000`);
  assert.deepEqual(index.stretches("nobody", "change", 0), []);
});
