// Owns the property of the ledger of a group's offsets: it tells every change of any life.
// Refuses to own single rules (group_ledger_test.ts). Invariant: a state recorded stands for all before it.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { GroupEvent } from "../actors/group/events.ts";
import { ledgerEntriesOf } from "../actors/group/ledger/ledger_entries.ts";
import { encodeGroupState } from "../actors/group/state.ts";
import { listCompact } from "../actors/group/compact_offsets.ts";
import { GROUP, GroupRun, replay } from "./support/group_run.ts";
import { by, moveTo, offset, pause, resume, snapshot } from "./support/moved_offsets.ts";

type Step =
  | { do: "commit"; partition: number; offset: number }
  | { do: "move"; partition: number; to: number; relative: boolean; dry: boolean }
  | { do: "topics"; count: number }
  | { do: "wait"; ms: number }
  | { do: "snapshot" | "pause" | "resume" | "join" | "leave" | "delete" | "record" | "crash" };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("commit" as const),
      partition: fc.nat(5),
      offset: fc.nat(200),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("move" as const),
      partition: fc.nat(5),
      to: fc.integer({ min: -200, max: 200 }),
      relative: fc.boolean(),
      dry: fc.boolean(),
    }),
  },
  { arbitrary: fc.record({ do: fc.constant("topics" as const), count: fc.nat(6) }), weight: 1 },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("wait" as const),
      ms: fc.constantFrom(100, 5_000, 61_000),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "snapshot" as const,
        "pause" as const,
        "resume" as const,
        "join" as const,
        "leave" as const,
        "delete" as const,
        "record" as const,
        "crash" as const,
      ),
    }),
  },
);

function take(run: GroupRun, step: Step): void {
  switch (step.do) {
    case "commit":
      run.refusal(
        run.commitCommand([["orders", step.partition, step.offset]], {
          allowRewind: step.offset % 2 === 0,
          reason: "even",
        }),
      );
      return;
    case "move": {
      const to = step.relative ? by(step.to) : offset(Math.abs(step.to));
      run.refusal(moveTo([[step.partition, to]], { dryRun: step.dry }));
      return;
    }
    case "topics":
      return run.changePartitions({ orders: step.count }, ["orders"]);
    case "wait":
      return run.advance(step.ms);
    case "join":
      run.join(`m${run.journal.length}`);
      return;
    case "leave":
      for (const { memberId } of run.state.exists ? run.describe().members : []) {
        run.leave(memberId);
      }
      return;
    case "crash":
      return run.crash(100);
    case "delete":
      run.refusal({ type: "DeleteGroup", group: GROUP, principal: "op" });
      return;
    case "record": {
      const before = run.state;
      run.execute({ type: "RecordState", group: GROUP });
      assert.deepEqual(run.state, before);
      return;
    }
    case "snapshot":
      run.refusal(snapshot);
      return;
    default:
      run.refusal(step.do === "pause" ? pause : resume);
  }
}

/** Folds the ledger alone, and holds every `previous` and every snapshot against what it has so far. */
function ledgerOf(journal: readonly GroupEvent[]): Map<string, number> {
  const known = new Map<string, number>();
  for (const event of journal) {
    for (const { topic, partition, previous, offset } of ledgerEntriesOf(event)) {
      const key = `${topic}/${partition}`;
      assert.equal(known.get(key) ?? null, previous, `${event.type} of ${key}`);
      if (offset === null) known.delete(key);
      else known.set(key, offset);
    }
    if (event.type !== "OffsetsSnapshotTaken") continue;
    assert.deepEqual(
      new Map(listCompact(event.offsets).map((at) => [`${at.topic}/${at.partition}`, at.offset])),
      new Map([...known].sort()),
    );
  }
  return known;
}

Deno.test("the ledger tells every change of any life, and a state recorded stands for all before it", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 50 }), (steps) => {
      const run = new GroupRun();
      for (const step of steps) take(run, step);
      const told = ledgerOf(run.journal);
      const offsets = run.state.exists ? run.describe().offsets : [];
      const expected = offsets.map((at) => [`${at.topic}/${at.partition}`, at.offset] as const);
      assert.deepEqual(told, new Map(expected));
      const journalled = encodeGroupState(run.state);
      assert.deepEqual(encodeGroupState(replay(run.journal)), journalled);
      const recorded = run.journal.findLastIndex(({ type }) => type === "StateRecorded");
      for (let cut = 0; cut <= recorded; cut++) {
        assert.deepEqual(
          encodeGroupState(replay(run.journal.slice(cut))),
          journalled,
          `cut ${cut}`,
        );
      }
    }),
    { numRuns: 200 },
  );
});
