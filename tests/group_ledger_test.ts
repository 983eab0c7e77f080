// Owns the rules of snapshots, moved offsets and recorded states of a group.
// Refuses to own routes (api_offset_ledger_test.ts), and that the ledger tells every change (group_ledger_property_test.ts).
// Invariant: given events, when a command comes, then these events.
import assert from "node:assert/strict";
import { evolveGroup } from "../actors/group/evolve.ts";
import { encodeGroupState, initialGroup } from "../actors/group/state.ts";
import type { MoveReply } from "../actors/group/types.ts";
import { GROUP, GroupRun, throughJournal } from "./support/group_run.ts";
import { RetryRun } from "./support/retry_run.ts";
import { by, moveTo, offset, pause, resume, snapshot } from "./support/moved_offsets.ts";

Deno.test("offsets of an empty group move in one event that tells who, why, from where and to where", () => {
  const run = new GroupRun();
  run.commit([["orders", 0, 100], ["orders", 1, 40]]);
  const command = moveTo([[0, offset(60)], [1, offset(40)], [2, offset(0)]]);
  const reply: MoveReply = run.execute(command);
  assert.deepEqual(reply.changes, [
    { topic: "orders", partition: 0, from: 100, to: 60, redeliver: 40 },
    { topic: "orders", partition: 2, from: null, to: 10, redeliver: 0 },
  ]);
  assert.deepEqual(run.journal.at(-1), {
    type: "OffsetsMoved",
    v: 1,
    at: run.wall,
    action: "rollback",
    cause: "snapshot s1-1",
    principal: "op",
    reason: "bad deploy",
    generation: 0,
    offsets: [
      { topic: "orders", partition: 0, offset: 60, previous: 100 },
      { topic: "orders", partition: 2, offset: 10, previous: null },
    ],
  });
  assert.deepEqual(run.describe().offsets.map(({ offset }) => offset), [60, 40, 10]);
});

Deno.test("dry run of a move answers as the real one and happens not", () => {
  const run = new GroupRun();
  run.commit([["orders", 0, 100]]);
  const before = run.state;
  const events = run.journal.length;
  const dry = run.execute(moveTo([[0, by(-30)]], { dryRun: true }));
  assert.equal(run.state, before);
  assert.equal(run.journal.length, events);
  assert.deepEqual(run.execute(moveTo([[0, by(-30)]])), { ...dry, dryRun: false });
});

Deno.test("moved offsets stay between the ends of the log", () => {
  const run = new GroupRun();
  run.commit([["orders", 0, 100], ["orders", 1, 100], ["orders", 2, 1_000]]);
  const { changes } = run.execute(
    moveTo([[0, by(-500)], [1, by(5_000)], [2, offset(3)], [3, by(5)]]),
  );
  assert.deepEqual(changes.map(({ to, redeliver }) => [to, redeliver]), [
    [10, 90],
    [1_000, 0],
    [10, 990],
    [15, 0],
  ]);
});

Deno.test("offsets are not moved of an unknown group, nor while members read, nor twice in one", () => {
  const run = new GroupRun();
  const move = moveTo([[0, offset(20)]]);
  assert.equal(run.refusal(move), "UNKNOWN_GROUP");
  assert.equal(run.refusal(snapshot), "UNKNOWN_GROUP");
  run.start("a");
  assert.equal(run.refusal(move), "GROUP_NOT_EMPTY");
  const looked: MoveReply = run.execute({ ...move, dryRun: true });
  assert.equal(looked.blockedBy?.code, "GROUP_NOT_EMPTY");
  run.execute(pause);
  assert.equal(run.refusal(move), null);
  assert.equal(run.refusal(moveTo([[0, offset(20)], [0, offset(30)]])), "INVALID_REQUEST");
  run.execute(resume);
  run.leave("a");
  assert.equal(run.refusal(move), null);
});

Deno.test("member of a paused group may not undo what an operator has moved, until it is resumed", () => {
  const run = new GroupRun();
  run.start("a");
  run.commit([["orders", 0, 100], ["orders", 1, 100]], { memberId: "a" });
  run.execute(pause);
  assert.equal(run.refusal(run.commitCommand([["orders", 0, 110]], { memberId: "a" })), null);
  run.execute(moveTo([[0, offset(50)]]));
  run.crash();
  assert.equal(
    run.refusal(run.commitCommand([["orders", 0, 120]], { memberId: "a" })),
    "GROUP_PAUSED",
  );
  assert.equal(run.refusal(run.commitCommand([["orders", 1, 120]], { memberId: "a" })), null);
  run.execute({ ...pause, reason: "longer" });
  assert.equal(
    run.refusal(run.commitCommand([["orders", 0, 120]], { memberId: "a" })),
    "GROUP_PAUSED",
  );
  assert.equal(run.refusal(run.commitCommand([["orders", 0, 60]])), null, "an operator may");
  run.execute(resume);
  assert.equal(run.refusal(run.commitCommand([["orders", 0, 120]], { memberId: "a" })), null);
});

Deno.test("members learn by a new generation that offsets were moved, and commit nothing of the old one", () => {
  const run = new GroupRun();
  run.start("a", "b");
  const { generation } = run.describe();
  run.commit([["orders", 0, 100]], { memberId: "a", generation });
  const assigned = run.readable();
  run.execute(pause);
  run.execute(moveTo([[0, offset(50)]]));
  run.advance(1_000);
  const after = run.describe();
  assert.equal(after.generation, generation + 1);
  assert.equal(after.rebalances.at(-1)!.cause, "rollback of offsets by op");
  assert.deepEqual(run.readable(), assigned, "nobody loses anything by it");
  run.execute(resume);
  const late = run.commitCommand([["orders", 0, 120]], { memberId: "a", generation });
  assert.equal(run.refusal(late), "STALE_GENERATION");
  assert.equal(run.refusal({ ...late, generation: generation + 1 }), null);
});

Deno.test("offsets that an open transaction is to commit are not moved before it has ended", () => {
  const run = new GroupRun();
  run.commit([["orders", 0, 100], ["orders", 1, 100]]);
  run.execute({
    type: "StageOffsets",
    group: GROUP,
    transactionId: "t",
    principal: "p",
    offsets: [{ topic: "orders", partition: 0, offset: 120, endOffset: 1_000 }],
  });
  const move = moveTo([[0, offset(50)], [1, offset(50)]]);
  assert.equal(run.refusal(move), "CONCURRENT_TRANSACTIONS");
  assert.equal(run.refusal(moveTo([[1, offset(60)]])), null);
  run.execute({ type: "EndStagedOffsets", group: GROUP, transactionId: "t", commit: true });
  assert.deepEqual(run.execute(move).changes.map(({ from, to }) => [from, to]), [
    [120, 50],
    [60, 50],
  ]);
});

Deno.test("what was done ahead of the offset is forgotten when the offset is moved past it, and read again after a rollback", () => {
  const run = new RetryRun();
  run.commit([["orders", 0, 40]]);
  run.nack(0, 45, { code: "NON_RETRYABLE" });
  run.nack(0, 46);
  assert.deepEqual(run.done(), ["0/45"]);
  run.execute(moveTo([[0, offset(30)]]));
  assert.deepEqual(run.done(), ["0/45"], "it is still not committed past");
  run.execute(moveTo([[0, offset(60)]]));
  assert.deepEqual(run.done(), []);
  run.execute(moveTo([[0, offset(40)]]));
  assert.deepEqual([run.done(), run.waiting()], [[], ["0/46#2"]], "the retry stays the retry");
});

Deno.test("snapshot holds the offsets, is counted, and puts the automatic one off", () => {
  const run = new GroupRun();
  run.commit([["orders", 1, 7], ["a", 0, 3]]);
  const taken = run.execute({ type: "SnapshotOffsets", group: GROUP, principal: "op" });
  assert.deepEqual(taken, {
    snapshotId: `s1-${run.wall}`,
    at: run.wall,
    automatic: false,
    principal: "op",
    offsets: [{ topic: "a", partition: 0, offset: 3 }, {
      topic: "orders",
      partition: 1,
      offset: 7,
    }],
  });
  const events = run.journal.length;
  run.advance(600_000);
  assert.equal(run.journal.length, events, "nothing has changed since");
});

Deno.test("automatic snapshot comes an interval after the first change, once, also after a crash", () => {
  const run = new GroupRun({ offsetsSnapshotIntervalMs: 1_000 });
  run.commit([["orders", 0, 1]]);
  run.advance(900);
  run.commit([["orders", 0, 2]]);
  const taken = () => run.journal.filter(({ type }) => type === "OffsetsSnapshotTaken").length;
  assert.equal(taken(), 0);
  run.advance(100);
  assert.equal(taken(), 1);
  run.advance(10_000);
  assert.equal(taken(), 1);
  run.commit([["orders", 0, 3]]);
  run.crash();
  run.advance(999);
  assert.equal(taken(), 1);
  run.advance(1);
  assert.equal(taken(), 2);
  const never = new GroupRun({ offsetsSnapshotIntervalMs: 0 });
  never.commit([["orders", 0, 1]]);
  never.advance(1_000_000);
  assert.deepEqual(never.journal.map(({ type }) => type), ["OffsetsCommitted"]);
});

Deno.test("recorded state of an older release gets what it lacks as in a new group", () => {
  const run = new GroupRun();
  run.commit([["orders", 0, 5]]);
  const { ledger: _, ...older } = encodeGroupState(run.state);
  const event = { type: "StateRecorded" as const, v: 1 as const, at: 1, state: older };
  const state = evolveGroup(initialGroup(GROUP), throughJournal(event));
  assert.deepEqual(state.ledger, initialGroup(GROUP).ledger);
  assert.deepEqual(state.offsets, run.state.offsets);
});

Deno.test("commit that would go back is refused and written down, ten times a minute at most", () => {
  const run = new GroupRun();
  run.start("a");
  run.commit([["orders", 0, 100]], { memberId: "a" });
  const events = run.journal.length;
  for (let i = 0; i < 30; i++) {
    const command = run.commitCommand([["orders", 0, i]], { memberId: "a" });
    assert.equal(run.refusal(command), "OFFSET_ROLLBACK");
  }
  assert.equal(run.journal.length - events, 10);
  assert.deepEqual(run.journal[events], {
    type: "RewindRefused",
    v: 1,
    at: run.wall,
    principal: "tester",
    memberId: "a",
    generation: 1,
    reason: null,
    topic: "orders",
    partition: 0,
    offset: 0,
    committed: 100,
  });
  assert.equal(run.describe().offsets[0]!.offset, 100);
  run.heartbeat("a");
  run.advance(20_000);
  run.heartbeat("a");
  run.advance(20_000);
  run.heartbeat("a");
  run.advance(20_000);
  const later = run.journal.length;
  assert.equal(
    run.refusal(run.commitCommand([["orders", 0, 5]], { memberId: "a" })),
    "OFFSET_ROLLBACK",
  );
  assert.equal(run.journal.length, later + 1);
});
