// Owns the rules of committing offsets: who may commit what, and which offsets.
// Refuses to own how offsets are kept (group_tables_test.ts). Invariant: given members and offsets, when committed, then.
import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import { GROUP, GroupRun } from "./support/group_run.ts";

/** The details of the refusal, for those that carry where it went wrong. */
function detailsOf(run: () => unknown): Readonly<Record<string, unknown>> {
  try {
    run();
  } catch (error) {
    if (error instanceof BrokerError) return error.details;
    throw error;
  }
  throw new Error("it was not refused");
}

Deno.test("commit answers what was committed before and journals the change", () => {
  const run = new GroupRun();
  run.start("a");
  assert.deepEqual(run.commit([["orders", 0, 5], ["orders", 3, 9]], { memberId: "a" }), {
    generation: 1,
    results: [
      { topic: "orders", partition: 0, offset: 5, previous: null },
      { topic: "orders", partition: 3, offset: 9, previous: null },
    ],
  });
  const reply = run.commit([["orders", 0, 8]], {
    memberId: "a",
    generation: 1,
    reason: "done",
    principal: "svc",
  });
  assert.deepEqual(reply.results, [{ topic: "orders", partition: 0, offset: 8, previous: 5 }]);
  assert.deepEqual(run.journal.at(-1), {
    type: "OffsetsCommitted",
    v: 1,
    at: run.wall,
    principal: "svc",
    memberId: "a",
    generation: 1,
    reason: "done",
    offsets: [{ topic: "orders", partition: 0, offset: 8, previous: 5, metadata: null }],
  });
  assert.deepEqual(run.describe().offsets, [
    { topic: "orders", partition: 0, offset: 8, metadata: null, committedAt: run.wall },
    { topic: "orders", partition: 3, offset: 9, metadata: null, committedAt: run.wall },
  ]);
});

Deno.test("commit of an offset that is there already journals nothing, unless its metadata changes", () => {
  const run = new GroupRun();
  run.commit([["orders", 0, 5]]);
  const events = run.journal.length;
  assert.deepEqual(run.commit([["orders", 0, 5]]).results, [
    { topic: "orders", partition: 0, offset: 5, previous: 5 },
  ]);
  assert.equal(run.journal.length, events);
  const offsets = [{ topic: "orders", partition: 0, offset: 5, metadata: "m", endOffset: 9 }];
  run.execute({ ...run.commitCommand([]), offsets });
  assert.equal(run.journal.length, events + 1);
  assert.equal(run.describe().offsets[0]!.metadata, "m");
  run.execute({ ...run.commitCommand([]), offsets });
  assert.equal(run.journal.length, events + 1);
});

Deno.test("commit without a member makes a group, which is empty", () => {
  const run = new GroupRun();
  assert.equal(run.refusal({ type: "Describe", group: GROUP }), "UNKNOWN_GROUP");
  run.commit([["orders", 2, 5]], { generation: 0 });
  assert.deepEqual([run.describe().state, run.describe().offsets.length], ["empty", 1]);
});

Deno.test("commit by somebody who is not a member, or not any more, is refused", () => {
  const run = new GroupRun();
  const stranger = run.commitCommand([["orders", 0, 1]], { memberId: "x" });
  assert.equal(run.refusal(stranger), "UNKNOWN_MEMBER");
  run.start("a", "b");
  assert.equal(run.refusal(stranger), "UNKNOWN_MEMBER");
  run.leave("a");
  const former = run.commitCommand([["orders", 0, 1]], { memberId: "a", generation: 1 });
  assert.equal(run.refusal(former), "UNKNOWN_MEMBER");
  assert.deepEqual(run.describe().offsets, []);
});

Deno.test("commit of another generation than the group's is refused", () => {
  const run = new GroupRun();
  run.start("a");
  for (const generation of [0, 2, -1]) {
    const command = run.commitCommand([["orders", 0, 1]], { memberId: "a", generation });
    assert.equal(run.refusal(command), "STALE_GENERATION", `generation ${generation}`);
  }
  assert.equal(
    run.refusal(run.commitCommand([["orders", 0, 1]], { generation: 0 })),
    "STALE_GENERATION",
  );
  run.commit([["orders", 0, 1]], { memberId: "a", generation: 1 });
});

Deno.test("commit of a partition that belongs to another member is refused and names it", () => {
  const run = new GroupRun();
  run.start("a", "b");
  const command = run.commitCommand([["orders", 0, 1], ["orders", 1, 1]], { memberId: "a" });
  assert.equal(run.refusal(command), "STALE_GENERATION");
  assert.deepEqual(detailsOf(() => run.execute(command)), {
    groupId: GROUP,
    generation: 1,
    topic: "orders",
    partition: 1,
  });
  assert.deepEqual(run.describe().offsets, [], "all or nothing");
});

Deno.test("member commits what it is giving up until it has released it, and no longer", () => {
  const run = new GroupRun();
  run.start("a");
  run.join("b");
  run.advance(100);
  const byA = (partition: number, offset: number) =>
    run.commitCommand([["orders", partition, offset]], { memberId: "a", generation: 2 });
  const byB = run.commitCommand([["orders", 1, 4]], { memberId: "b", generation: 2 });
  assert.equal(run.refusal(byB), "STALE_GENERATION");
  assert.equal(run.refusal(byA(1, 3)), null);
  run.release("a", "orders", 1);
  assert.equal(run.refusal(byA(1, 5)), "STALE_GENERATION");
  assert.equal(run.refusal(byB), null);
  assert.equal(run.refusal(byA(3, 3)), null);
  run.advance(3_000);
  assert.equal(run.refusal(byA(3, 4)), "STALE_GENERATION");
});

Deno.test("member without an assignment yet commits nothing", () => {
  const run = new GroupRun();
  run.join("a");
  const command = run.commitCommand([["orders", 0, 1]], { memberId: "a", generation: 0 });
  assert.equal(run.refusal(command), "STALE_GENERATION");
});

Deno.test("commit that goes back needs both allowRewind and a reason", () => {
  const run = new GroupRun();
  run.commit([["orders", 0, 5], ["orders", 1, 5]]);
  const back = (options: { allowRewind?: boolean; reason?: string }) =>
    run.commitCommand([["orders", 1, 6], ["orders", 0, 4]], options);
  for (
    const options of [
      {},
      { allowRewind: true },
      { reason: "bug" },
      { allowRewind: true, reason: "" },
      { allowRewind: true, reason: "  " },
    ]
  ) {
    assert.equal(run.refusal(back(options)), "OFFSET_ROLLBACK", JSON.stringify(options));
  }
  assert.deepEqual(detailsOf(() => run.execute(back({}))), {
    groupId: GROUP,
    topic: "orders",
    partition: 0,
    offset: 4,
    committed: 5,
  });
  assert.deepEqual(run.describe().offsets.map(({ offset }) => offset), [5, 5]);
  const { results } = run.execute(back({ allowRewind: true, reason: "bug" }));
  assert.deepEqual(results.map(({ offset, previous }) => [offset, previous]), [[6, 5], [4, 5]]);
});

Deno.test("commit up to the end is allowed and beyond it refused", () => {
  const run = new GroupRun();
  run.commit([["orders", 0, 1_000]]);
  const beyond = run.commitCommand([["orders", 1, 3], ["orders", 2, 1_001]]);
  assert.equal(run.refusal(beyond), "OFFSET_OUT_OF_RANGE");
  assert.deepEqual(detailsOf(() => run.execute(beyond)), {
    topic: "orders",
    partition: 2,
    offset: 1_001,
    endOffset: 1_000,
  });
  const back = run.commitCommand([["orders", 1, 1_001]], { allowRewind: true, reason: "r" });
  assert.equal(run.refusal(back), "OFFSET_OUT_OF_RANGE");
  assert.equal(run.describe().offsets.length, 1);
});

Deno.test("commit of what is no offset or no partition is refused", () => {
  const run = new GroupRun({ maxPartitionsPerGroup: 100 });
  for (const offset of [-1, 1.5, NaN, Infinity, 2 ** 53]) {
    const command = run.commitCommand([["orders", 0, offset]]);
    assert.equal(run.refusal(command), "INVALID_REQUEST", `offset ${offset}`);
  }
  for (const partition of [-1, 0.5, NaN, 100, 2 ** 32]) {
    const command = run.commitCommand([["orders", partition, 1]]);
    assert.equal(run.refusal(command), "INVALID_REQUEST", `partition ${partition}`);
  }
  assert.equal(run.refusal(run.commitCommand([["orders", 99, 0]])), null);
});

Deno.test("commit that names a partition twice is refused", () => {
  const run = new GroupRun();
  const twice = run.commitCommand([["orders", 0, 1], ["users", 0, 1], ["orders", 0, 2]]);
  assert.equal(run.refusal(twice), "INVALID_REQUEST");
  assert.equal(run.refusal(run.commitCommand([["orders", 0, 1], ["users", 0, 1]])), null);
});

Deno.test("commit with metadata of as many bytes as may be is allowed, with one more refused", () => {
  const run = new GroupRun({ maxOffsetMetadataBytes: 6 });
  const withMetadata = (metadata: string) => ({
    ...run.commitCommand([]),
    offsets: [{ topic: "orders", partition: 0, offset: 1, metadata, endOffset: 9 }],
  });
  for (const fits of ["", "abcdef", "€€", "ab😀"]) {
    assert.equal(run.refusal(withMetadata(fits)), null, fits);
  }
  for (const tooLong of ["abcdefg", "€€a", "abc😀"]) {
    assert.equal(run.refusal(withMetadata(tooLong)), "INVALID_REQUEST", tooLong);
  }
});

Deno.test("group keeps offsets for as many partitions as it may have", () => {
  const run = new GroupRun({ maxPartitionsPerGroup: 3 });
  run.commit([["a", 0, 1], ["b", 0, 1]]);
  assert.equal(run.refusal(run.commitCommand([["c", 0, 1], ["d", 0, 1]])), "INVALID_REQUEST");
  run.commit([["a", 0, 2], ["b", 0, 2], ["c", 0, 2]]);
  assert.equal(run.refusal(run.commitCommand([["d", 0, 1]])), "INVALID_REQUEST");
  run.commit([["a", 0, 3]]);
});

Deno.test("commit costs what its partitions cost, however many the group has", () => {
  const run = new GroupRun();
  run.commit(Array.from({ length: 20_000 }, (_, partition) => ["orders", partition, 1] as const));
  const before = run.state.offsets.topics;
  run.commit([["orders", 12_345, 2]]);
  const chunks = (table: typeof before) =>
    table.buckets.flatMap((bucket) => bucket.flatMap(([, topic]) => topic));
  const kept = new Set(chunks(before));
  const copied = chunks(run.state.offsets.topics).filter((chunk) => !kept.has(chunk));
  assert.equal(copied.length, 1);
  assert.ok(copied[0]!.length <= 64);
});

Deno.test("commits of members of a paused group are still taken", () => {
  const run = new GroupRun();
  run.start("a");
  run.execute({ type: "Pause", group: GROUP, reason: "r", principal: "op" });
  run.commit([["orders", 0, 4]], { memberId: "a", generation: 1 });
  assert.equal(run.describe().offsets[0]!.offset, 4);
});
