// Owns the tests of the single-writer loop that group commit rests on.
import assert from "node:assert/strict";
import { GroupCommit, type GroupCommitOptions } from "../actors/runtime/group_commit.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { watch } from "./support/runtime_toy.ts";
import { settle } from "./support/virtual_time.ts";

type Run = GroupCommitOptions<number, string>["run"];

function grouped(run: Run, bounds: Partial<GroupCommitOptions<number, string>> = {}) {
  return new GroupCommit<number, string>({
    name: "partition/orders/0",
    maxWaiting: 1_000,
    maxWaitingBytes: 1_000_000,
    maxDrain: 1_000,
    maxDrainBytes: 1_000_000,
    run,
    ...bounds,
  });
}

/** A `run` whose operations settle when the test says so. */
function heldRun() {
  const drains: { items: readonly number[]; done: (error?: Error) => void }[] = [];
  const run: Run = (items) =>
    new Promise((resolve, reject) => {
      const done = (error?: Error) =>
        error ? reject(error) : resolve(items.map((n) => `done ${n}`));
      drains.push({ items, done });
    });
  return { drains, run };
}

Deno.test("submissions of one turn share one operation", async () => {
  const { drains, run } = heldRun();
  const group = grouped(run);
  const results = [1, 2, 3].map((n) => group.submit(n, 1));
  assert.equal(drains.length, 0, "nothing runs within the turn");
  await settle();
  assert.deepEqual(drains.map(({ items }) => items), [[1, 2, 3]]);
  drains[0]!.done();
  assert.deepEqual(await Promise.all(results), ["done 1", "done 2", "done 3"]);
});

Deno.test("what arrives during an operation shares the next one, and operations never overlap", async () => {
  const { drains, run } = heldRun();
  const group = grouped(run);
  const first = watch(group.submit(0, 1));
  await settle();
  const later = Array.from({ length: 500 }, (_, n) => watch(group.submit(n + 1, 1)));
  await settle();
  assert.equal(drains.length, 1, "the second operation waits for the first");
  drains[0]!.done();
  await settle();
  assert.equal(first.state, "resolved");
  assert.equal(drains.length, 2);
  assert.equal(drains[1]!.items.length, 500);
  assert.ok(
    later.every(({ state }) => state === "pending"),
    "nothing settles before its operation",
  );
  drains[1]!.done();
  await settle();
  assert.ok(later.every(({ value }, n) => value === `done ${n + 1}`));
});

Deno.test("an operation carries no more items or bytes than its bounds, but always one", async () => {
  const drains: number[][] = [];
  const group = grouped((items) => {
    drains.push([...items]);
    return Promise.resolve(items.map(String));
  }, { maxDrain: 3, maxDrainBytes: 10 });
  await Promise.all([
    group.submit(1, 4),
    group.submit(2, 6),
    group.submit(3, 1),
    group.submit(4, 1),
    group.submit(5, 1),
    group.submit(6, 99),
    group.submit(7, 1),
  ]);
  assert.deepEqual(drains, [[1, 2], [3, 4, 5], [6], [7]]);
});

Deno.test("a failed operation rejects all that it carried and none that came after", async () => {
  const { drains, run } = heldRun();
  const group = grouped(run);
  const lost = [watch(group.submit(1, 1)), watch(group.submit(2, 1))];
  await settle();
  const kept = watch(group.submit(3, 1));
  const failure = new Error("the sync failed");
  drains[0]!.done(failure);
  await settle();
  assert.deepEqual(lost.map(({ error }) => error), [failure, failure]);
  drains[1]!.done();
  await settle();
  assert.equal(kept.value, "done 3");
});

Deno.test("a BrokerError among the results rejects its own item alone", async () => {
  const refusal = new BrokerError("STALE_EPOCH", "no");
  const group = grouped((items) => Promise.resolve(items.map((n) => n === 2 ? refusal : `${n}`)));
  const watched = [1, 2, 3].map((n) => watch(group.submit(n, 1)));
  await settle();
  assert.deepEqual(watched.map(({ value, error }) => error ?? value), ["1", refusal, "3"]);
});

Deno.test("a run that loses count of its items rejects them all instead of leaving one waiting", async () => {
  const group = grouped(() => Promise.resolve(["only one"]));
  const watched = [1, 2].map((n) => watch(group.submit(n, 1)));
  await settle();
  assert.deepEqual(watched.map(({ state }) => state), ["rejected", "rejected"]);
});

Deno.test("a full group commit refuses the submission as a rejection and goes on", async () => {
  const { drains, run } = heldRun();
  const group = grouped(run, { maxWaiting: 2 });
  const running = watch(group.submit(0, 1));
  await settle();
  const waiting = [watch(group.submit(1, 1)), watch(group.submit(2, 1))];
  await assert.rejects(group.submit(3, 1), { code: "OVERLOADED", retryable: true });
  drains[0]!.done();
  await settle();
  drains[1]!.done();
  await settle();
  assert.deepEqual([running, ...waiting].map(({ state }) => state), Array(3).fill("resolved"));
});

Deno.test("close rejects what waits, lets the operation under way finish, and refuses from then on", async () => {
  const { drains, run } = heldRun();
  const group = grouped(run);
  const running = watch(group.submit(1, 1));
  await settle();
  const waiting = watch(group.submit(2, 1));
  const closed = watch(group.close(new BrokerError("SHUTTING_DOWN", "bye")));
  await settle();
  assert.deepEqual([running.state, waiting.state, closed.state], [
    "pending",
    "rejected",
    "pending",
  ]);
  await assert.rejects(group.submit(3, 1), { code: "SHUTTING_DOWN" });
  drains[0]!.done();
  await settle();
  assert.deepEqual([running.state, closed.state], ["resolved", "resolved"]);
  group.wake();
  await settle();
  assert.equal(drains.length, 1, "nothing runs after it was closed");
});

Deno.test("finish carries out what waits and refuses only what comes later", async () => {
  const { drains, run } = heldRun();
  const group = grouped(run);
  const running = watch(group.submit(1, 1));
  await settle();
  const waiting = watch(group.submit(2, 1));
  const finished = watch(group.finish(new BrokerError("SHUTTING_DOWN", "bye")));
  await assert.rejects(group.submit(3, 1), { code: "SHUTTING_DOWN" });
  drains[0]!.done();
  await settle();
  assert.equal(finished.state, "pending");
  drains[1]!.done();
  await settle();
  assert.deepEqual([running, waiting, finished].map(({ state }) => state), [
    "resolved",
    "resolved",
    "resolved",
  ]);
});

Deno.test("wake runs once with nothing to carry, also when it comes during an operation", async () => {
  const { drains, run } = heldRun();
  const group = grouped(run);
  group.wake();
  group.wake();
  await settle();
  assert.deepEqual(drains.map(({ items }) => items), [[]]);
  group.wake();
  drains[0]!.done();
  await settle();
  assert.equal(drains.length, 2);
  drains[1]!.done();
  await settle();
  assert.equal(drains.length, 2);
});
