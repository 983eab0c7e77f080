// Owns the tests of the bounded mailbox and the deadlines heap: both against a naive model.
import assert from "node:assert/strict";
import fc from "fast-check";
import { Deadlines } from "../actors/runtime/deadlines.ts";
import { Mailbox } from "../actors/runtime/mailbox.ts";
import { BrokerError } from "../storage/broker_error.ts";

Deno.test("mailbox refuses one item more than it may hold, and says how full it is", () => {
  const mailbox = new Mailbox<number>("group-shard/0", { maxItems: 2, maxBytes: 100 });
  mailbox.push(1, 10);
  mailbox.push(2, 10);
  assert.throws(() => mailbox.push(3, 10), (error: BrokerError) => {
    assert.equal(error.code, "OVERLOADED");
    assert.equal(error.retryable, true);
    assert.deepEqual(error.details, {
      actorId: "group-shard/0",
      waiting: 2,
      maxItems: 2,
      waitingBytes: 20,
      maxBytes: 100,
      weightBytes: 10,
    });
    return true;
  });
  assert.deepEqual(mailbox.drain(1), [1]);
  mailbox.push(3, 10);
  assert.deepEqual(mailbox.drain(10), [2, 3]);
});

Deno.test("mailbox refuses by weight, but takes an item that is too heavy for it when nothing else waits", () => {
  const mailbox = new Mailbox<string>("a", { maxItems: 10, maxBytes: 100 });
  mailbox.push("exactly full", 100);
  assert.throws(() => mailbox.push("over", 1), { code: "OVERLOADED" });
  mailbox.drain(1);
  mailbox.push("huge", 1_000);
  assert.throws(() => mailbox.push("behind it", 0), { code: "OVERLOADED" });
  assert.deepEqual(mailbox.drain(10, 50), ["huge"]);
  assert.equal(mailbox.bytes, 0);
});

Deno.test("a closed mailbox refuses with the first error it was closed with and still gives what waits", () => {
  const mailbox = new Mailbox<number>("a", { maxItems: 10, maxBytes: 100 });
  mailbox.push(1, 1);
  const first = new BrokerError("SHUTTING_DOWN", "bye");
  mailbox.close(first);
  mailbox.close(new BrokerError("ACTOR_DOWN", "later"));
  assert.throws(() => mailbox.push(2, 1), (error) => error === first);
  assert.deepEqual(mailbox.drain(10), [1]);
});

Deno.test("mailbox is a bounded queue for every sequence of pushes and drains", () => {
  const push = fc.record({ kind: fc.constant("push" as const), weight: fc.nat(40) });
  const drain = fc.record({
    kind: fc.constant("drain" as const),
    max: fc.integer({ min: 1, max: 90 }),
    maxBytes: fc.integer({ min: 1, max: 400 }),
  });
  const runs = fc.array(fc.oneof({ arbitrary: push, weight: 8 }, { arbitrary: drain, weight: 1 }), {
    maxLength: 400,
    size: "max",
  });
  fc.assert(
    fc.property(runs, (steps) => {
      const mailbox = new Mailbox<number>("a", { maxItems: 150, maxBytes: 2_000 });
      let model: { item: number; weight: number }[] = [];
      steps.forEach((step, item) => {
        const bytes = model.reduce((sum, { weight }) => sum + weight, 0);
        if (step.kind === "push") {
          const fits = model.length < 150 && (model.length === 0 || bytes + step.weight <= 2_000);
          if (fits) {
            mailbox.push(item, step.weight);
            model.push({ item, weight: step.weight });
          } else assert.throws(() => mailbox.push(item, step.weight), { code: "OVERLOADED" });
        } else {
          let count = 0;
          let sum = 0;
          for (const { weight } of model.slice(0, step.max)) {
            if (count > 0 && sum + weight > step.maxBytes) break;
            sum += weight;
            count += 1;
          }
          const expected = model.slice(0, count).map(({ item }) => item);
          assert.deepEqual(mailbox.drain(step.max, step.maxBytes), expected);
          model = model.slice(count);
        }
        assert.equal(mailbox.size, model.length);
        assert.equal(mailbox.bytes, model.reduce((total, { weight }) => total + weight, 0));
      });
    }),
    { numRuns: 100 },
  );
});

Deno.test("deadlines give the keys that are due, earliest first, for every sequence of changes", () => {
  const set = fc.record({
    key: fc.integer({ min: 0, max: 20 }).map(String),
    due: fc.option(fc.nat(50), { nil: null }),
  });
  const take = fc.record({ now: fc.nat(50), max: fc.integer({ min: 1, max: 5 }) });
  fc.assert(
    fc.property(
      fc.array(fc.oneof(set, set, set, take), { maxLength: 200, size: "max" }),
      (steps) => {
        const deadlines = new Deadlines();
        const model = new Map<string, number>();
        for (const step of steps) {
          if ("key" in step) {
            deadlines.set(step.key, step.due);
            if (step.due === null) model.delete(step.key);
            else model.set(step.key, step.due);
          } else {
            const times = [...model.values()].filter((due) => due <= step.now).sort((a, b) =>
              a - b
            );
            const taken = deadlines.takeDue(step.now, step.max);
            assert.deepEqual(taken.map((key) => model.get(key)), times.slice(0, step.max));
            for (const key of taken) model.delete(key);
          }
          assert.equal(deadlines.size, model.size);
          assert.equal(deadlines.earliestMs, model.size === 0 ? null : Math.min(...model.values()));
        }
      },
    ),
    { numRuns: 200 },
  );
});
