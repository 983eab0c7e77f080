// Owns what becomes of partitions that are let go of in the very decision that assigns the group anew.
// Refuses to own handovers and rebalances that do not meet (group_rebalance_test.ts).
// Invariant: what is let go of then is free for the new target; nobody is asked for what it never heard it had.
import assert from "node:assert/strict";
import { GroupRun } from "./support/group_run.ts";

const partitions = (topic: string, ...numbers: number[]) =>
  numbers.map((partition) => ({ topic, partition }));

Deno.test("partition whose grace ends when the group is assigned anew goes straight to its next owner", () => {
  const run = new GroupRun();
  run.join("a", { instanceId: "one" });
  run.advance(500);
  run.join("b");
  run.advance(100);
  assert.deepEqual(run.describe().members[0]!.revoking, partitions("orders", 1, 3));
  run.leave("b");
  run.advance(2_900);
  run.join("c");
  run.join("x", { memberId: "a" });
  run.told.length = 0;
  run.advance(100);
  assert.deepEqual(run.told, [
    {
      memberId: "a",
      notification: { type: "assigned", generation: 4, partitions: partitions("orders", 0, 2) },
    },
    {
      memberId: "c",
      notification: { type: "assigned", generation: 4, partitions: partitions("orders", 1, 3) },
    },
  ]);
  assert.equal(run.describe().state, "stable");
});

Deno.test("what a member was giving up when it timed out goes straight to whom the new target means", () => {
  const run = new GroupRun();
  run.join("a", { assignor: "range" });
  run.advance(29_800);
  run.join("b");
  run.advance(100);
  assert.deepEqual(run.describe().members[0]!.revoking, partitions("orders", 2, 3));
  run.join("c");
  run.told.length = 0;
  run.advance(100);
  assert.deepEqual(run.told, [
    { memberId: "a", notification: { type: "removed", reason: "timed out" } },
    {
      memberId: "b",
      notification: { type: "assigned", generation: 3, partitions: partitions("orders", 0, 1) },
    },
    {
      memberId: "c",
      notification: { type: "assigned", generation: 3, partitions: partitions("orders", 2, 3) },
    },
  ]);
  assert.equal(run.describe().state, "stable");
});
