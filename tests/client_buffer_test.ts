// Owns the producer's promises of the room in its buffer: who waits, who is refused, whose turn it is.
import assert from "node:assert/strict";
import type { WaybillError } from "../api/client/errors.ts";
import { producerUnderTest, watch } from "./support/client_transport.ts";

Deno.test("enqueue says when to wait, refuses when the buffer is full, and goes on when it is not", async () => {
  const { producer, transport, time } = producerUnderTest();
  const maxBufferedBytes = 256 * 1024;
  const sender = producer({ maxBufferedBytes, maxRequestBytes: 32 * 1024 });
  watch(sender.send("t", "learn the topic"));
  await time.advance(50);
  transport.fate = () => ({ status: 503, code: "OVERLOADED" });
  let accepted = 0;
  let advised = 0;
  assert.throws(() => {
    for (;; accepted++) {
      const goOn = sender.enqueue("t", { partition: accepted % 3, value: "x".repeat(1_000) });
      if (!goOn && advised === 0) advised = accepted;
      assert.ok(sender.bufferedBytes <= maxBufferedBytes);
    }
  }, { code: "BUFFER_FULL", retryable: true });
  assert.ok(accepted >= 200, `${accepted} messages of 1,000 bytes fit into 256 KiB`);
  assert.ok(advised > 0 && advised < accepted);
  const ready = watch(sender.ready());
  await time.advance(100);
  assert.equal(ready.code, "pending");
  transport.fate = () => "stored";
  await time.advance(10_000);
  assert.equal(ready.code, "done");
  assert.equal(transport.allValues().length, accepted + 1);
  assert.equal(sender.bufferedBytes, 0);
  await sender.close();
});

Deno.test("messages enqueued before the topic is known count against the buffer", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.metadataFate = () => "hangs";
  const sender = producer({ maxBufferedBytes: 100_000 });
  let accepted = 0;
  assert.throws(() => {
    for (;; accepted++) sender.enqueue("t", { value: { text: "x".repeat(1_000) } });
  }, { code: "BUFFER_FULL" });
  assert.ok(accepted > 50 && accepted < 100, `${accepted}`);
  transport.metadataFate = () => "stored";
  await time.advance(100_000);
  assert.equal(transport.allValues().length, accepted);
  await sender.close();
});

Deno.test("what waits for one topic and what is sent to another share one bound", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.topics = { t: { partitions: 1 }, late: { partitions: 1 } };
  const maxBufferedBytes = 128 * 1024;
  const sender = producer({ maxBufferedBytes, maxRequestBytes: 16 * 1024 });
  watch(sender.send("t", "learn the topic"));
  await time.advance(50);
  transport.metadataFate = () => "hangs";
  transport.fate = () => ({ status: 503, code: "OVERLOADED" });
  for (let index = 0; index < 60; index++) sender.enqueue("late", "x".repeat(1_000));
  let accepted = 0;
  assert.throws(() => {
    for (;; accepted++) {
      sender.enqueue("t", "x".repeat(1_000));
      assert.ok(sender.bufferedBytes <= maxBufferedBytes, `${sender.bufferedBytes} bytes`);
    }
  }, { code: "BUFFER_FULL" });
  assert.ok(accepted > 20 && accepted < 64, `${accepted} beside 60 that wait`);
  transport.metadataFate = transport.fate = () => "stored";
  await time.advance(100_000);
  assert.deepEqual(["t", "late"].map((topic) => transport.values(0, topic).length), [
    accepted + 1,
    60,
  ]);
  await sender.close();
});

Deno.test("send waits for room by default, and is refused when asked to be", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.fate = () => ({ status: 503, code: "OVERLOADED" });
  const bounds = { maxBufferedBytes: 64 * 1024, maxRequestBytes: 16 * 1024 };
  const patient = producer(bounds);
  const waiting = Array.from(
    { length: 200 },
    () => watch(patient.send("t", { partition: 0, value: "x".repeat(1_000) })),
  );
  const hasty = producer({ ...bounds, onFull: "reject" });
  watch(hasty.send("t", "learn the topic"));
  await time.advance(50);
  const refused = watch(hasty.sendMany("t", Array.from({ length: 200 }, () => "x".repeat(1_000))));
  await time.advance(500);
  assert.ok(waiting.every(({ code }) => code === "pending"));
  assert.ok(patient.bufferedBytes <= 64 * 1024 && hasty.bufferedBytes <= 64 * 1024);
  transport.fate = () => "stored";
  await time.advance(30_000);
  assert.ok(waiting.every(({ code }) => code === "done"));
  assert.equal(refused.code, "BUFFER_FULL");
  const { failedCount, deliveredCount } = (refused.error as WaybillError).details;
  assert.equal(Number(failedCount) + Number(deliveredCount), 200);
  assert.ok(Number(deliveredCount) > 20 && Number(failedCount) > 100);
  await patient.close();
  await hasty.close();
});

Deno.test("calls that wait for room have a bound of their own", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.fate = () => ({ status: 503, code: "OVERLOADED" });
  const bounds = { maxBufferedBytes: 32 * 1024, maxRequestBytes: 16 * 1024 };
  const sender = producer({ ...bounds, maxWaitingSends: 10 });
  watch(sender.send("t", "learn the topic"));
  await time.advance(50);
  const sent = Array.from({ length: 100 }, () => watch(sender.send("t", "x".repeat(1_000))));
  await time.advance(10);
  const refused = sent.filter(({ code }) => code === "BUFFER_FULL").length;
  assert.ok(refused > 50 && refused < 90, `${refused} refused`);
  transport.fate = () => "stored";
  await time.advance(10_000);
  assert.equal(sent.filter(({ code }) => code === "done").length, 100 - refused);
  await sender.close();
});

Deno.test("a large message gets its turn though small ones keep coming", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.topics = { t: { partitions: 2 }, big: { partitions: 1, maxMessageBytes: 10_000_000 } };
  const sender = producer({ maxBufferedBytes: 128 * 1024, maxRequestBytes: 16 * 1024 });
  const learnt = ["t", "big"].map((topic) => watch(sender.send(topic, "learn the topic")));
  await time.advance(50);
  assert.deepEqual(learnt.map(({ code }) => code), ["done", "done"]);
  // Small ones find room at any time, but they never leave all of it free at once.
  transport.latencyMs = 5;
  const small: ReturnType<typeof watch>[] = [];
  const trickle = async (rounds: number) => {
    for (let round = 0; round < rounds; round++) {
      for (const partition of [0, 1]) {
        small.push(watch(sender.send("t", { partition, value: "x".repeat(900) })));
      }
      await time.advance(1);
    }
  };
  await trickle(20);
  assert.ok(small.slice(0, 10).every(({ code }) => code === "done"));
  const large = watch(sender.send("big", "L".repeat(120_000)));
  await trickle(60);
  assert.equal(large.code, "done", "while the small ones go on");
  await time.advance(5_000);
  assert.ok(small.every(({ code }) => code === "done"));
  const tooLarge = watch(sender.send("big", "L".repeat(200_000)));
  await time.advance(10);
  assert.equal(tooLarge.code, "MESSAGE_TOO_LARGE");
  await sender.close();
});
