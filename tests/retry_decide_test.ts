// Owns what a group decides about messages that fail: when they come again, and when no more.
// Refuses to own their order and who gets them (retry_order_decide_test.ts), writing dead letters and delivering.
// Invariant: virtual time, commands in and replies out.
import assert from "node:assert/strict";
import { attemptsOfDead, MAX_DEAD } from "../actors/group/retry/state.ts";
import { decodeRetries, encodeRetries } from "../actors/group/retry/stored.ts";
import { RetryRun, started } from "./support/retry_run.ts";
import { GROUP } from "./support/group_run.ts";

function nackCommand(run: RetryRun, more: Parameters<RetryRun["nackOf"]>[2]) {
  return {
    type: "Nack" as const,
    group: GROUP,
    nacks: [run.nackOf(0, 1, more)],
    principal: "tester",
  };
}

Deno.test("a nacked message comes again after the contract's backoff, eight times in all", () => {
  const run = started();
  for (let attempt = 1; attempt < 8; attempt++) {
    const { nextAttemptAt, attempt: failed } = run.nack(0, 5, { fraction: 0.999 });
    assert.equal(failed, attempt);
    const waitMs = 2 ** attempt * 100 + 99;
    assert.equal(nextAttemptAt! - run.wall, waitMs);
    run.advance(waitMs - 1);
    assert.deepEqual(run.taken("a"), []);
    run.advance(1);
    assert.deepEqual(run.taken("a"), [`0/5#${attempt + 1}`]);
    assert.deepEqual(run.taken("a"), [], "it is in hand");
  }
  const last = run.nack(0, 5, { code: "TIMEOUT", reason: "no answer" });
  assert.deepEqual(last, {
    topic: "orders",
    partition: 0,
    offset: 5,
    attempt: 8,
    deadLettered: true,
  });
  const { letters } = run.pending().partitions[0]!;
  assert.deepEqual(letters, [{
    offset: 5,
    attempts: 8,
    code: "TIMEOUT",
    reason: "no answer",
    at: run.wall,
    sequence: 0,
  }]);
  assert.deepEqual(run.waiting(), []);
});

Deno.test("what one member's question makes ready is told to the member that reads it", () => {
  const run = new RetryRun();
  run.start("a", "b");
  for (const partition of [0, 1, 2, 3]) run.nack(partition, 1, { fraction: 0 });
  // Its time comes, and a member asks before the group looks at the time itself.
  run.now += 200;
  run.told.length = 0;
  const ofA = run.taken("a");
  assert.equal(ofA.length, 2);
  assert.deepEqual(run.toldTo("a"), [], "it has asked");
  const told = run.toldTo("b");
  const ofB = run.taken("b");
  const partitions = ofB.map((text) => ({
    topic: "orders",
    partition: Number(text.split("/")[0]),
  }));
  assert.deepEqual(told, [{ type: "retries", partitions }]);
  assert.equal(new Set([...ofA, ...ofB]).size, 4);
});

Deno.test("a member is told when retries of its partitions are due, without a word in the journal", () => {
  const run = started();
  run.nack(2, 7);
  run.told.length = 0;
  const written = run.journal.length;
  run.advance(200);
  assert.deepEqual(run.toldTo("a"), [
    { type: "retries", partitions: [{ topic: "orders", partition: 2 }] },
  ]);
  assert.deepEqual(run.taken("a"), ["2/7#2"]);
  assert.equal(run.journal.length, written);
});

Deno.test("NON_RETRYABLE is a dead letter at once, a policy without a second attempt too", () => {
  const run = started();
  assert.equal(run.nack(0, 1, { code: "NON_RETRYABLE" }).deadLettered, true);
  run.setPolicy({ maxAttempts: 1 }, "orders");
  assert.equal(run.nack(0, 2).deadLettered, true);
  assert.deepEqual(run.pending().partitions[0]!.letters.map(({ sequence }) => sequence), [0, 1]);
});

Deno.test("a retry that would come after the deadline is a dead letter", () => {
  const run = started();
  run.setPolicy({ deadlineMs: 1_000 });
  assert.equal(run.nack(0, 1).deadLettered, undefined);
  run.advance(900);
  assert.equal(run.nack(0, 1).deadLettered, true);
  assert.equal(run.pending().partitions[0]!.letters[0]!.code, "RETRY_DEADLINE_EXCEEDED");
});

Deno.test("a policy bounds the wait, and the member's own delay takes its place", () => {
  const run = started();
  run.setPolicy({ baseMs: 1_000, maxMs: 1_500, jitterMs: 10 });
  assert.equal(run.nack(0, 1, { fraction: 0.5 }).nextAttemptAt! - run.wall, 1_505);
  assert.equal(run.nack(0, 2, { delayMs: 60_000 }).nextAttemptAt! - run.wall, 60_000);
});

Deno.test("a repeated nack that names its attempt counts once", () => {
  const run = started();
  const first = run.nack(0, 1, { attempt: 1 });
  run.advance(50);
  assert.deepEqual(run.nack(0, 1, { attempt: 1, fraction: 0.9 }), first);
  assert.equal(run.refusal(nackCommand(run, { attempt: 3 })), "INVALID_REQUEST");
  assert.equal(run.nack(0, 1).attempt, 2, "one that names none is another failure");
});

Deno.test("a repeated nack of a dead letter has the first answer and makes no second, committed past or written or neither", () => {
  const run = started();
  const dies = { code: "NON_RETRYABLE", attempt: 1 };
  const first = run.nack(0, 1, dies);
  assert.deepEqual(first, {
    topic: "orders",
    partition: 0,
    offset: 1,
    attempt: 1,
    deadLettered: true,
  });
  const written = { type: "DeadLettersWritten" as const, group: GROUP, topic: "orders" };
  run.execute({ ...written, partition: 0, sequences: [0] });
  assert.deepEqual(run.nack(0, 1, dies), first, "written");
  run.commit([["orders", 0, 10]], { memberId: "a" });
  assert.deepEqual(run.nack(0, 1, dies), first, "committed past");
  const stored = JSON.parse(JSON.stringify(encodeRetries(run.state.retry)));
  const at = { topic: "orders", partition: 0, offset: 1 };
  assert.equal(attemptsOfDead(decodeRetries(stored), at), 1, "in a snapshot");
  const { dead: _, ...older } = stored;
  assert.equal(attemptsOfDead(decodeRetries(older), at), null, "a snapshot of before");
  assert.deepEqual(run.pending().partitions, []);
  // Another message, committed past before it fails at all.
  const later = run.nack(0, 7, dies);
  assert.deepEqual(run.nack(0, 7, dies), later);
  assert.deepEqual(run.nack(0, 7, dies), later);
  assert.equal(run.pending().partitions[0]!.letters.length, 1);
});

Deno.test("what is read again after offsets were moved back may become a dead letter again", () => {
  const run = started();
  const dies = { code: "NON_RETRYABLE", attempt: 1 };
  for (const offset of [3, 8, 20]) run.nack(0, offset, dies);
  run.execute({
    type: "DeadLettersWritten",
    group: GROUP,
    topic: "orders",
    partition: 0,
    sequences: [0, 1, 2],
  });
  run.commit([["orders", 0, 10]], { memberId: "a" });
  run.commit([["orders", 0, 5]], { allowRewind: true, reason: "again" });
  for (const offset of [3, 8, 20]) run.nack(0, offset, dies);
  const letters = run.pending().partitions[0]!.letters.map(({ offset }) => offset);
  assert.deepEqual(letters, [8]);
});

Deno.test("of very many dead letters the latest are remembered", () => {
  const run = started({ maxDeadLettersWaiting: 100_000, maxDeadLettersPerMinute: 0 });
  const many = (from: number) =>
    Array.from(
      { length: 5_000 },
      (_, i) => run.nackOf(0, from + i, { code: "NON_RETRYABLE", attempt: 1 }),
    );
  for (let from = 30_000; from > 0; from -= 5_000) {
    run.nackAll(many(from));
    run.advance(1);
  }
  const { size } = run.state.retry.dead;
  assert.ok(size <= MAX_DEAD && size >= MAX_DEAD - 5_000, `${size}`);
  const { retry } = run.state;
  assert.equal(attemptsOfDead(retry, { topic: "orders", partition: 0, offset: 5_000 }), 1);
  assert.equal(attemptsOfDead(retry, { topic: "orders", partition: 0, offset: 34_999 }), null);
});

Deno.test("a wall clock that jumps moves no retry", () => {
  const run = started();
  let jumpMs = 0;
  Object.defineProperty(run, "wall", { get: () => 1_700_000_000_000 + run.now + jumpMs });
  run.nack(0, 3);
  jumpMs = -24 * 3_600_000;
  run.nack(0, 4);
  run.advance(200);
  assert.deepEqual(run.taken("a"), ["0/3#2", "0/4#2"]);
  run.nack(0, 3);
  // The clock is a day behind the journal after the restart: waits go on from the journal's last word.
  run.crash();
  run.advance(400);
  assert.ok(run.taken("a").includes("0/3#3"));
});

Deno.test("too many dead letters within a minute pause the group, and resuming it counts anew", () => {
  const run = started({ maxDeadLettersPerMinute: 3 });
  const kill = (offset: number) => run.nack(0, offset, { code: "NON_RETRYABLE" });
  for (let offset = 0; offset < 3; offset++) kill(offset);
  run.advance(61_000);
  run.start("a");
  for (let offset = 10; offset < 13; offset++) kill(offset);
  assert.equal(run.describe().paused, null);
  run.told.length = 0;
  kill(13);
  assert.match(run.describe().paused!.reason, /4 dead letters within a minute, more than 3/);
  assert.equal(run.toldTo("a")[0]!.type, "paused");
  run.nack(0, 20, { delayMs: 0 });
  assert.deepEqual(run.taken("a"), [], "nothing is delivered while it is paused");
  run.execute({ type: "Resume", group: GROUP, principal: "tester" });
  kill(14);
  assert.equal(run.describe().paused, null);
  assert.deepEqual(run.taken("a"), ["0/20#2"]);
});

Deno.test("nacks beyond the bounds are refused with a retryable error and change nothing", () => {
  const run = started({ maxPendingRetries: 2, maxDeadLettersWaiting: 1 });
  run.nack(0, 1);
  run.nack(0, 2);
  const command = (offset: number, code?: string) => ({
    type: "Nack" as const,
    group: GROUP,
    nacks: [run.nackOf(0, offset, code === undefined ? {} : { code })],
    principal: "tester",
  });
  assert.equal(run.refusal(command(3)), "OVERLOADED");
  assert.equal(run.refusal(command(1)), null, "what waits already needs no more room");
  assert.equal(run.refusal(command(4, "NON_RETRYABLE")), null);
  assert.equal(run.refusal(command(5, "NON_RETRYABLE")), "OVERLOADED");
  const beyond = { ...command(1), nacks: [run.nackOf(0, 9, { endOffset: 9 })] };
  assert.equal(run.refusal(beyond), "OFFSET_OUT_OF_RANGE");
});

Deno.test("retries of a topic that is gone are gone, its dead letters are still to be written", () => {
  const run = started();
  run.setPolicy({ maxAttempts: 3 }, "orders");
  run.nack(0, 1);
  run.nack(1, 1, { code: "NON_RETRYABLE" });
  run.changePartitions({});
  const policies = run.execute({ type: "RetryPolicies", group: GROUP });
  assert.deepEqual(policies.topics, [], "what takes the name next is another topic");
  assert.deepEqual(run.waiting(), []);
  assert.equal(run.pending().partitions[0]!.letters[0]!.gone, true);
  const events = run.journal.length;
  run.changePartitions({});
  assert.equal(run.journal.length, events, "it is heard once");
});

Deno.test("a group whose dead letters are still to be written cannot be deleted", () => {
  const run = new RetryRun();
  run.nack(0, 1, { code: "NON_RETRYABLE" });
  assert.equal(run.refusal({ type: "DeleteGroup", group: GROUP }), "GROUP_NOT_EMPTY");
  const written = { type: "DeadLettersWritten" as const, topic: "orders", partition: 0 };
  run.execute({ ...written, group: GROUP, sequences: [0] });
  assert.equal(run.refusal({ type: "DeleteGroup", group: GROUP }), null);
  assert.deepEqual(run.done(), []);
});

Deno.test("another dead-letter producer numbers what is still to be written anew", () => {
  const run = new RetryRun();
  const set = (producerId: number, replaces: number | null) =>
    run.execute({
      type: "SetDeadLetterProducer",
      group: GROUP,
      producerId,
      producerEpoch: 0,
      replaces,
    });
  set(7, null);
  for (const offset of [1, 2, 3]) run.nack(0, offset, { code: "NON_RETRYABLE" });
  const written = { type: "DeadLettersWritten" as const, topic: "orders", partition: 0 };
  run.execute({ ...written, group: GROUP, sequences: [0] });
  set(8, null);
  assert.equal(run.pending().producer?.producerId, 7, "somebody else was faster");
  set(9, 7);
  run.nack(0, 4, { code: "NON_RETRYABLE" });
  const { producer, partitions } = run.pending();
  assert.equal(producer?.producerId, 9);
  assert.deepEqual(
    partitions[0]!.letters.map(({ offset, sequence }) => [offset, sequence]),
    [[2, 0], [3, 1], [4, 2]],
  );
});
