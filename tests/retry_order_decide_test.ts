// Owns what a group decides about the order of retries: what a commit settles, who gets what is in hand, what holds up what.
// Refuses to own when a retry comes and when a message is given up (retry_decide_test.ts).
// Invariant: virtual time, commands in and replies out.
import assert from "node:assert/strict";
import { RetryRun, started } from "./support/retry_run.ts";
import { GROUP } from "./support/group_run.ts";

function nackOfDone(run: RetryRun) {
  return { type: "Nack" as const, group: GROUP, nacks: [run.nackOf(0, 5)], principal: "tester" };
}

Deno.test("a commit settles what is in hand below it, and passes what waits", () => {
  const run = started();
  run.nack(0, 3);
  run.nack(0, 4, { delayMs: 60_000 });
  run.commit([["orders", 0, 10]], { memberId: "a" });
  run.advance(200);
  assert.deepEqual(run.taken("a"), ["0/3#2"]);
  assert.deepEqual(run.waiting(), ["0/3#2", "0/4#2"]);
  const reply = run.commit([["orders", 0, 4]], { memberId: "a" });
  assert.deepEqual(reply.results, [{ topic: "orders", partition: 0, offset: 10, previous: 10 }]);
  assert.deepEqual(run.waiting(), ["0/4#2"]);
  assert.deepEqual(run.done(), [], "it is committed past");
  const refusal = run.refusal(run.commitCommand([["orders", 0, 4]], { memberId: "a" }));
  assert.equal(refusal, "OFFSET_ROLLBACK", "nothing is in hand there any more");
});

Deno.test("what is done but not committed past is passed over by whoever reads on from there", () => {
  const run = started();
  run.commit([["orders", 0, 2]]);
  run.nack(0, 5, { code: "NON_RETRYABLE" });
  run.nack(0, 3);
  const { skips } = run.take("a", { starting: [{ topic: "orders", partition: 0, offset: 2 }] });
  assert.deepEqual(skips, [{ topic: "orders", partition: 0, offsets: [3, 5] }]);
  assert.equal(run.refusal(nackOfDone(run)), null, "its dead letter is still to be written");
  run.execute({
    type: "DeadLettersWritten",
    group: GROUP,
    topic: "orders",
    partition: 0,
    sequences: [0],
  });
  assert.equal(run.refusal(nackOfDone(run)), null, "it is a dead letter still");
  const forgotten = { topic: "orders", partition: 0, offset: 3 };
  run.execute({ type: "ForgetRetries", group: GROUP, retries: [forgotten] });
  const nacks = [run.nackOf(0, 3)];
  const late = { type: "Nack" as const, group: GROUP, nacks, principal: "tester" };
  assert.equal(run.refusal(late), "INVALID_REQUEST", "it is done, and no dead letter");
  run.commit([["orders", 0, 6]]);
  assert.deepEqual(run.done(), []);
});

Deno.test("a retry goes to the member that reads its partition now, what was in hand of the one before too", () => {
  const run = started();
  run.nack(0, 3);
  run.nack(0, 9, { delayMs: 5_000 });
  run.advance(200);
  assert.deepEqual(run.taken("a"), ["0/3#2"]);
  run.leave("a");
  run.start("b");
  run.advance(5_000);
  assert.deepEqual(run.taken("b"), ["0/9#2"]);
  const starting = [{ topic: "orders", partition: 0, offset: 0 }];
  assert.deepEqual(run.taken("b", { starting }), ["0/3#2", "0/9#2"]);
});

Deno.test("a member that does not own the partition can neither nack nor take", () => {
  const run = new RetryRun();
  run.start("a", "b");
  const [mine] = run.readable().a!;
  const others = run.readable().b![0]!;
  run.nack(others, 1, { delayMs: 0 });
  assert.deepEqual(run.taken("a"), []);
  assert.notEqual(mine, others);
  const nacks = [run.nackOf(others, 5)];
  const command = { type: "Nack" as const, group: GROUP, memberId: "a", nacks, principal: "t" };
  assert.equal(run.refusal(command), "STALE_GENERATION");
  assert.equal(run.refusal({ ...command, memberId: "nobody" }), "UNKNOWN_MEMBER");
});

Deno.test("after a restart what was in hand is due again, and what waits comes in its time", () => {
  const run = started();
  run.nack(0, 3);
  run.nack(0, 4, { delayMs: 10_000 });
  run.advance(200);
  run.taken("a");
  const before = run.journalled();
  run.crash(1_000);
  assert.deepEqual(run.journalled(), before);
  assert.deepEqual(run.taken("a"), ["0/3#2"]);
  run.advance(8_799);
  assert.deepEqual(run.taken("a"), []);
  run.advance(1);
  assert.deepEqual(run.taken("a"), ["0/4#2"]);
});

Deno.test("skip holds up nothing, blockKey the key, blockPartition the partition", () => {
  const run = started();
  const nack = (partition: number, offset: number, keyHash: number) =>
    run.nack(partition, offset, { keyHash, delayMs: offset === 1 ? 1_000 : 0 });
  run.setPolicy({ ordering: "blockKey" });
  nack(0, 1, 77);
  nack(0, 2, 77);
  nack(0, 3, 88);
  assert.deepEqual(run.take("a").held, [{ topic: "orders", partition: 0, hold: "keys", from: 1 }]);
  run.advance(10);
  run.told.length = 0;
  run.setPolicy({ ordering: "blockKey" });
  assert.deepEqual(run.taken("a"), [], "of key 88 it is in hand, of key 77 the first is not due");
  run.advance(990);
  assert.deepEqual(run.taken("a"), ["0/1#2"]);
  run.commit([["orders", 0, 2]], { memberId: "a" });
  assert.deepEqual(run.taken("a"), ["0/2#2"]);
  run.setPolicy({ ordering: "blockPartition" });
  nack(1, 1, 77);
  nack(1, 3, 88);
  const { retries, held } = run.take("a");
  assert.deepEqual(retries, []);
  assert.deepEqual(held.find(({ partition }) => partition === 1)?.hold, "all");
  run.advance(1_000);
  assert.deepEqual(run.taken("a"), ["1/1#2"]);
  run.setPolicy({ ordering: "skip" });
  assert.deepEqual(run.taken("a"), ["1/3#2"]);
  assert.deepEqual(run.take("a").held, []);
});

Deno.test("a message whose key waits is parked behind it, and delivered for the first time when that is done", () => {
  const run = started();
  run.setPolicy({ ordering: "blockKey" });
  run.nack(0, 1, { keyHash: 77 });
  const park = (offsets: number[], keyHashes: (number | null)[]) =>
    run.execute({
      type: "ParkBlocked",
      group: GROUP,
      memberId: "a",
      topic: "orders",
      partition: 0,
      offsets,
      keyHashes,
    }).parked;
  assert.deepEqual(park([2, 3, 4], [77, 88, null]), [2]);
  assert.deepEqual(park([2, 3], [77, 88]), [2], "asked again, the same is answered");
  run.commit([["orders", 0, 5]], { memberId: "a" });
  run.advance(200);
  assert.deepEqual(run.taken("a"), ["0/1#2"]);
  run.told.length = 0;
  run.commit([["orders", 0, 2]], { memberId: "a" });
  run.advance(10);
  assert.deepEqual(run.taken("a"), ["0/2#1"]);
  run.commit([["orders", 0, 3]], { memberId: "a" });
  assert.deepEqual(run.waiting(), []);
  assert.deepEqual(run.toldTo("a").at(-1), {
    type: "retries",
    partitions: [{ topic: "orders", partition: 0 }],
  });
});

Deno.test("messages that a job hands over together hold up a later one that was the first to wait", () => {
  const run = started();
  run.setPolicy({ ordering: "blockPartition" });
  run.nack(0, 5, { delayMs: 0 });
  run.advance(10);
  run.execute({
    type: "Redeliver",
    group: GROUP,
    jobId: "j",
    chunk: 0,
    topic: "orders",
    partition: 0,
    offsets: [1, 2],
  });
  for (const [offset, next] of [[1, 2], [2, 5], [5, 6]] as const) {
    assert.deepEqual(run.taken("a"), [`0/${offset}#2`], `before ${next}`);
    run.commit([["orders", 0, next]], { memberId: "a" });
  }
});

Deno.test("a chunk of a job is redelivered once, and only what does not wait already", () => {
  const run = started();
  run.nack(0, 2, { delayMs: 60_000 });
  const redeliver = (chunk: number, offsets: number[]) =>
    run.execute({
      type: "Redeliver",
      group: GROUP,
      jobId: "j",
      chunk,
      topic: "orders",
      partition: 0,
      offsets,
    }).accepted;
  assert.equal(redeliver(0, [1, 2, 3]), 2);
  assert.equal(redeliver(0, [1, 2, 3]), 0);
  run.crash();
  assert.equal(redeliver(0, [1, 2, 3]), 0);
  assert.equal(redeliver(1, [7]), 1);
  assert.deepEqual(run.taken("a"), ["0/1#2", "0/3#2", "0/7#2"]);
  assert.equal(redeliver(1, [7]), 0);
});
