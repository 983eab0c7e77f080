// Owns proof that the index of a shard's journal misses nothing, however little memory it may take.
// Refuses to own the journal. Invariant: what the model knows lies in a stretch; stretches are in order and disjoint.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { LedgerKind } from "../actors/group/ledger/ledger_entries.ts";
import { LedgerIndex } from "../actors/group/ledger/ledger_index.ts";
import { ShardLedger } from "../actors/group/ledger/shard_ledger.ts";
import { MemorySnapshotStore } from "../storage/memory/memory_snapshots.ts";
import { MemoryJournal } from "./support/runtime_journal.ts";

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

const encoder = new TextEncoder();

function committed(offset: number): Uint8Array {
  const offsets = [{ topic: "orders", partition: 0, offset, previous: null, metadata: null }];
  const event = { type: "OffsetsCommitted", v: 1, at: offset, principal: "p", memberId: null };
  return encoder.encode(JSON.stringify({ ...event, generation: 0, reason: null, offsets }));
}

Deno.test("ledger of a journal that is replayed, written and read in any order finds each entry once", async () => {
  const journal = new MemoryJournal();
  const snapshots = new MemorySnapshotStore();
  const open = async () => {
    const onFailure = (error: unknown) => assert.fail(String(error));
    const ledger = new ShardLedger({ id: "group-ledger/0", journal, snapshots, onFailure });
    await ledger.load();
    return ledger;
  };
  const append = async (ledger: ShardLedger, count: number) => {
    const entries = Array.from({ length: count }, (_, i) => {
      const offset = journal.entries.length + i;
      return {
        key: offset % 700 < 3 ? "seldom" : "busy",
        value: committed(offset),
        timestampMs: 0,
      };
    });
    await ledger.tapped.append(entries, journal.entries.length);
  };
  const found = async (ledger: ShardLedger) => {
    const start = await ledger.current();
    const offsets: number[] = [];
    for (const stretch of ledger.stretches("seldom", "change", start)) {
      for (const { offset } of await ledger.read("seldom", "change", stretch)) offsets.push(offset);
    }
    return offsets;
  };
  const expected = () =>
    journal.entries.flatMap(({ key }, offset) => key === "seldom" ? [offset] : []);
  const first = await open();
  await append(first, 2_000);
  assert.deepEqual(await found(first), expected());
  await first.close();
  const second = await open();
  // The shard's own snapshot was lost: it replays everything although the index is there.
  await second.tapped.replay(0, () => undefined);
  await append(second, 1_500);
  assert.deepEqual(await found(second), expected());
  const behind = await open();
  await append(behind, 900);
  await Promise.all([found(behind), append(behind, 300), found(behind)]);
  assert.deepEqual(await found(behind), expected());
});
