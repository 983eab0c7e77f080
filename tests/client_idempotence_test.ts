// Owns the tests of the client's idempotent producer: its identities and numbers, repeats, and what happens when the broker forgets.
// Refuses to own the broker's rules: the fake broker decides with the partition's own.
import assert from "node:assert/strict";
import fc from "fast-check";
import { type Fate, producerUnderTest, watch } from "./support/client_transport.ts";

const text = (value: Uint8Array | null) => new TextDecoder().decode(value!);

Deno.test("a lost answer is followed by a repeat that the broker knows: stored once, and in order", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.fate = ({ index }) => index < 3 ? "lost" : "stored";
  const sender = producer({ lingerMs: 0 });
  const first = watch(sender.send("t", { partition: 0, value: "a" }));
  await time.advance(1);
  const second = watch(sender.send("t", { partition: 0, value: "b" }));
  await time.advance(5_000);
  assert.deepEqual([first.value?.offset, second.value?.offset], [0, 1]);
  assert.deepEqual(transport.values(0), ["a", "b"]);
  assert.ok(transport.publishes.length >= 4);
  await sender.close();
});

Deno.test("one id serves all partitions of a producer, and each stretch of numbers has an epoch of its own", async () => {
  const { producer, transport, time } = producerUnderTest();
  const sender = producer({ lingerMs: 0 });
  for (let round = 0; round < 3; round++) {
    for (const partition of [0, 1, 2]) sender.enqueue("t", { partition, value: `${round}` });
    await time.advance(100);
  }
  assert.equal(transport.producersAsked, 1);
  const known = [...transport.producers.values()].flatMap((each) => [...each]);
  assert.deepEqual(new Set(known.map(([id]) => id)).size, 1);
  assert.deepEqual(new Set(known.map(([, { epoch }]) => epoch)).size, 3);
  assert.deepEqual(known.map(([, { nextSequence }]) => nextSequence), [3, 3, 3]);
  await sender.close();
});

Deno.test("a producer that gets no id tries again, and nothing is sent without one", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.producerFate = (asked) => asked < 4 ? { status: 503, code: "OVERLOADED" } : "stored";
  const sender = producer({ lingerMs: 0 });
  const sent = watch(sender.send("t", { partition: 0, value: "a" }));
  await time.advance(10_000);
  assert.equal(sent.code, "done");
  assert.deepEqual(transport.values(0), ["a"]);
  assert.equal(transport.producers.get("t/0")!.size, 1);
  await sender.close();
});

Deno.test("a broker that has forgotten the producer gets the rest under a new identity, once", async () => {
  const { producer, transport, time } = producerUnderTest();
  const sender = producer({ lingerMs: 0 });
  for (const value of ["a", "b", "c"]) {
    const sent = watch(sender.send("t", { partition: 0, value }));
    await time.advance(1_000);
    assert.equal(sent.code, "done");
    transport.producers.clear();
  }
  assert.deepEqual(transport.values(0), ["a", "b", "c"]);
  await sender.close();
});

Deno.test("what may have been stored before the broker forgot is reported, not sent again; what follows is stored", async () => {
  const { producer, transport, time } = producerUnderTest();
  const sender = producer({ lingerMs: 0 });
  watch(sender.send("t", { partition: 0, value: "a" }));
  await time.advance(1_000);
  transport.fate = ({ index }) => index === 1 ? "lost" : "stored";
  const open = watch(sender.send("t", { partition: 0, value: "b" }));
  await time.advance(2);
  transport.producers.clear();
  const next = watch(sender.send("t", { partition: 0, value: "c" }));
  await time.advance(5_000);
  assert.deepEqual([open.code, next.code], ["OUT_OF_ORDER_SEQUENCE", "done"]);
  assert.deepEqual(transport.values(0), ["a", "b", "c"]);
  await sender.close();
});

Deno.test("a repeat of which the broker surely has nothing is sent under a new identity", async () => {
  const { producer, transport, time } = producerUnderTest();
  const sender = producer({ lingerMs: 0 });
  watch(sender.send("t", { partition: 0, value: "a" }));
  await time.advance(1_000);
  const before = structuredClone(transport.producers.get("t/0")!);
  watch(sender.send("t", { partition: 0, value: "b" }));
  await time.advance(1_000);
  transport.fate = ({ index }) => index === 2 ? "dropped" : "stored";
  const sent = watch(sender.send("t", { partition: 0, value: "c" }));
  await time.advance(2);
  // The broker's disk has lost what it had acknowledged last.
  transport.producers.set("t/0", before);
  transport.stored.get("t/0")!.pop();
  await time.advance(5_000);
  assert.equal(sent.code, "done");
  assert.deepEqual(transport.values(0), ["a", "c"]);
  await sender.close();
});

Deno.test("after a delivery that timed out the next messages go under a new epoch, which keeps the old ones out", async () => {
  const { producer, transport, time } = producerUnderTest();
  const sender = producer({ lingerMs: 0, deliveryTimeoutMs: 2_000, requestTimeoutMs: 500 });
  watch(sender.send("t", { partition: 0, value: "a" }));
  await time.advance(100);
  transport.fate = () => "hangs";
  const late = watch(sender.send("t", { partition: 0, value: "b" }));
  await time.advance(3_000);
  assert.equal(late.code, "DELIVERY_TIMEOUT");
  transport.fate = () => "stored";
  const next = watch(sender.send("t", { partition: 0, value: "c" }));
  await time.advance(1_000);
  assert.equal(next.code, "done");
  const [entry] = [...transport.producers.get("t/0")!.values()];
  assert.deepEqual([entry!.epoch, entry!.nextSequence], [1, 1]);
  await sender.close();
});

Deno.test("a message that is refused takes no number with it", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.fate = ({ records }) =>
    records.some(({ value }) => text(value) === "bad")
      ? { status: 413, code: "MESSAGE_TOO_LARGE" }
      : "stored";
  const sender = producer({ lingerMs: 5 });
  const sent = ["a", "b", "bad", "c", "d"].map((value, index) =>
    watch(sender.send("t", { partition: 0, value, timestamp: 1_000 - 10 * (index % 2) }))
  );
  await time.advance(5_000);
  assert.deepEqual(sent.map(({ code }) => code), [
    "done",
    "done",
    "MESSAGE_TOO_LARGE",
    "done",
    "done",
  ]);
  assert.deepEqual(transport.values(0), ["a", "b", "c", "d"]);
  assert.equal([...transport.producers.get("t/0")!.values()][0]!.epoch, 0);
  await sender.close();
});

Deno.test("whatever happens on the way, what is reported as stored is stored once, and each partition in order", async () => {
  const fate = fc.oneof(
    { weight: 6, arbitrary: fc.constant<Fate>("stored") },
    { weight: 2, arbitrary: fc.constant<Fate>("lost") },
    { weight: 1, arbitrary: fc.constant<Fate>("dropped") },
    { weight: 1, arbitrary: fc.constant<Fate>("hangs") },
    { weight: 1, arbitrary: fc.constant<Fate>({ status: 503, code: "OVERLOADED" }) },
    { weight: 1, arbitrary: fc.constant<Fate>({ status: 413, code: "MESSAGE_TOO_LARGE" }) },
  );
  const options = fc.record({
    fates: fc.array(fate, { minLength: 1, maxLength: 60 }),
    forgets: fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 2 }),
    count: fc.integer({ min: 1, max: 60 }),
    seed: fc.nat(1_000),
  });
  await fc.assert(
    fc.asyncProperty(options, async ({ fates, forgets, count, seed }) => {
      const { producer, transport, time } = producerUnderTest(seed);
      transport.fate = ({ index }) => {
        // A first message that was stored and then forgotten while its repeat is on the way looks new to any broker.
        if (forgets.includes(index) && !fates.includes("lost")) transport.producers.clear();
        return fates[index] ?? "stored";
      };
      const sender = producer({
        lingerMs: 3,
        maxBatchBytes: 300,
        maxRequestBytes: 900,
        requestTimeoutMs: 200,
        deliveryTimeoutMs: 5_000,
      });
      const sent = [];
      for (let index = 0; index < count; index++) {
        const message = { partition: index % 2, value: `${index}`.padEnd(40, " ") };
        sent.push(watch(sender.send("t", message)));
        if (index % 7 === 0) await time.advance(2);
      }
      await time.advance(60_000);
      for (const partition of [0, 1]) {
        const values = transport.values(partition).map((value) => Number(value));
        assert.deepEqual(values, [...new Set(values)].sort((a, b) => a - b), "once, in order");
        for (const [index, { code, value }] of sent.entries()) {
          if (index % 2 !== partition) continue;
          assert.notEqual(code, "pending");
          if (code !== "done") continue;
          assert.equal(values[value!.offset], index);
        }
      }
      await sender.close().catch(() => undefined);
    }),
    { numRuns: 300 },
  );
});
