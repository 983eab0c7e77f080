// Owns the rules of offsets that transactions stage in a group: checked as commits, hidden, then committed or dropped.
// Refuses to own the transactions (transaction_recovery_test.ts).
// Invariant: given a group, when a transaction ends, then all of its offsets are committed or none.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { GroupCommand } from "../actors/group/types.ts";
import { GROUP, GroupRun, replay } from "./support/group_run.ts";

type Stage = Extract<GroupCommand, { type: "StageOffsets" }>;

function stage(
  transactionId: string,
  offsets: readonly (readonly [partition: number, offset: number])[],
  more: Partial<Stage["offsets"][number]> = {},
): Stage {
  return {
    type: "StageOffsets",
    group: GROUP,
    transactionId,
    principal: "tester",
    offsets: offsets.map(([partition, offset]) => ({
      topic: "orders",
      partition,
      offset,
      endOffset: 1_000,
      ...more,
    })),
  };
}

function end(transactionId: string, commit: boolean): GroupCommand {
  return { type: "EndStagedOffsets", group: GROUP, transactionId, commit };
}

function offsetsOf(run: GroupRun): [number, number][] {
  return run.describe().offsets.map(({ partition, offset }) => [partition, offset]);
}

Deno.test("staged offsets are hidden until the transaction commits, then all are there", () => {
  const run = new GroupRun();
  run.execute(stage("t1", [[0, 5], [1, 7]]));
  assert.deepEqual(offsetsOf(run), []);
  assert.deepEqual(run.describe().staged.map(({ partition }) => partition).sort(), [0, 1]);
  run.crash();
  run.execute(end("t1", true));
  assert.deepEqual(offsetsOf(run), [[0, 5], [1, 7]]);
  assert.deepEqual(run.describe().staged, []);
  const events = run.journal.length;
  run.execute(end("t1", true));
  run.execute(end("t1", false));
  assert.equal(run.journal.length, events, "a repeat changes nothing");
  const committed = run.journal.find(({ type }) => type === "OffsetsCommitted");
  assert.ok(committed?.type === "OffsetsCommitted" && committed.reason === "transaction t1");
});

Deno.test("staged offsets of an aborted transaction are dropped, and what was staged again counts", () => {
  const run = new GroupRun();
  run.commit([["orders", 0, 2]]);
  run.execute(stage("t1", [[0, 5]]));
  run.execute(end("t1", false));
  assert.deepEqual(offsetsOf(run), [[0, 2]]);
  run.execute(stage("t2", [[0, 5], [1, 5]]));
  run.execute(stage("t2", [[0, 6]]));
  run.execute(end("t2", true));
  assert.deepEqual(offsetsOf(run), [[0, 6]]);
});

Deno.test("staging refuses what a commit refuses, and leaves nothing behind", () => {
  const run = new GroupRun();
  run.start("a", "b");
  run.commit([["orders", 0, 10]]);
  const mine = run.readable().a![0]!;
  const other = run.readable().b![0]!;
  const cases: [Stage, string][] = [
    [stage("t", [[0, 2_000]]), "OFFSET_OUT_OF_RANGE"],
    [stage("t", [[0, 9]]), "OFFSET_ROLLBACK"],
    [stage("t", [[0, 11], [0, 12]]), "INVALID_REQUEST"],
    [stage("t", [[other, 11]], { memberId: "a" }), "STALE_GENERATION"],
    [stage("t", [[mine, 11]], { memberId: "nobody" }), "UNKNOWN_MEMBER"],
    [stage("t", [[mine, 11]], { memberId: "a", generation: 99 }), "STALE_GENERATION"],
  ];
  for (const [command, code] of cases) assert.equal(run.refusal(command), code);
  assert.deepEqual(run.describe().staged, []);
  assert.equal(run.refusal(stage("t", [[mine, 11]], { memberId: "a" })), null);
});

Deno.test("late commit of a transaction takes back nothing that was committed further meanwhile", () => {
  const run = new GroupRun();
  run.execute(stage("t1", [[0, 5], [1, 5]]));
  run.commit([["orders", 0, 9]]);
  run.execute(end("t1", true));
  assert.deepEqual(offsetsOf(run), [[0, 9], [1, 5]]);
});

Deno.test("staged offsets go with the topic they are of, and keep their group from being deleted", () => {
  const run = new GroupRun();
  run.execute(stage("t1", [[0, 5], [3, 5]]));
  run.changePartitions({ orders: 2 }, ["orders"]);
  run.execute(end("t1", true));
  assert.deepEqual(offsetsOf(run), [[0, 5]]);
  run.execute(stage("t2", [[0, 6]]));
  const remove: GroupCommand = { type: "DeleteGroup", group: GROUP };
  assert.equal(run.refusal(remove), "CONCURRENT_TRANSACTIONS");
  run.execute(end("t2", true));
  assert.equal(run.refusal(remove), null);
});

const steps = fc.array(
  fc.oneof(
    fc.record({
      do: fc.constant("stage" as const),
      transaction: fc.nat(3),
      partition: fc.nat(2),
      offset: fc.nat(20),
    }),
    fc.record({ do: fc.constant("commit" as const), partition: fc.nat(2), offset: fc.nat(20) }),
    fc.record({
      do: fc.constantFrom("apply" as const, "drop" as const),
      transaction: fc.nat(3),
    }),
    fc.record({ do: fc.constant("crash" as const) }),
  ),
  { maxLength: 40 },
);

Deno.test("of random commits, transactions and crashes each offset is the furthest that was committed", () => {
  fc.assert(
    fc.property(steps, (steps) => {
      const run = new GroupRun();
      const committed = new Map<number, number>();
      const staged = new Map<number, [number, number]>();
      const advance = (partition: number, offset: number) =>
        committed.set(partition, Math.max(committed.get(partition) ?? -1, offset));
      for (const step of steps) {
        if (step.do === "crash") run.crash();
        else if (step.do === "commit") {
          const command = run.commitCommand([["orders", step.partition, step.offset]]);
          if (run.refusal(command) === null) advance(step.partition, step.offset);
        } else if (step.do === "stage") {
          const { transaction, partition, offset } = step;
          const refusal = run.refusal(stage(`t${transaction}`, [[partition, offset]]));
          const before = committed.get(partition) ?? -1;
          assert.equal(refusal, offset < before ? "OFFSET_ROLLBACK" : null);
          if (refusal === null) staged.set(transaction, [partition, offset]);
        } else {
          run.execute(end(`t${step.transaction}`, step.do === "apply"));
          const entry = staged.get(step.transaction);
          if (entry !== undefined && step.do === "apply") advance(...entry);
          staged.delete(step.transaction);
        }
      }
      if (run.journal.length === 0) return;
      assert.deepEqual(offsetsOf(run), [...committed].sort(([a], [b]) => a - b));
      assert.equal(run.state.staged.size, staged.size);
      const replayed = replay(run.journal);
      assert.deepEqual(replayed.staged, run.state.staged);
      assert.deepEqual(replayed.offsets, run.state.offsets);
    }),
    { numRuns: 300 },
  );
});
