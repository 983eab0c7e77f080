// Owns the producer's promises when requests fail or hang: attempts, order, deadlines, what is reported.
// Refuses to own the room of its buffer (client_buffer_test.ts) and random runs (client_delivery_model_test.ts).
import assert from "node:assert/strict";
import type { WaybillError } from "../api/client/errors.ts";
import { producerUnderTest, watch } from "./support/client_transport.ts";

Deno.test("a refusal for now is tried again, not before the broker asked for it", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.fate = ({ index }) =>
    index === 0 ? { status: 503, code: "OVERLOADED", retryAfter: "7" } : "stored";
  const sender = producer({ lingerMs: 0 });
  const sent = watch(sender.send("t", "a"));
  await time.advance(60_000);
  assert.equal(sent.code, "done");
  const [first, second] = transport.publishes;
  assert.ok(second!.at - first!.at >= 7_000, `${second!.at - first!.at} ms`);
  assert.ok(second!.at - first!.at < 8_000, `${second!.at - first!.at} ms`);
  await sender.close();
});

Deno.test("waits between attempts grow, with jitter, up to their bound", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.fate = ({ index }) => index < 9 ? "dropped" : "stored";
  const sender = producer({ lingerMs: 0, backoff: { baseMs: 100, maxMs: 2_000 } });
  const sent = watch(sender.send("t", "a"));
  await time.advance(60_000);
  assert.equal(sent.code, "done");
  const waits = transport.publishes.slice(1)
    .map(({ at }, index) => at - transport.publishes[index]!.at - transport.latencyMs);
  waits.forEach((wait, index) => {
    const ceiling = Math.min(2_000, 100 * 2 ** index);
    assert.ok(wait >= ceiling / 2 && wait <= ceiling, `wait ${index}: ${wait} of ${ceiling}`);
  });
  assert.equal(new Set(waits).size, waits.length);
  await sender.close();
});

Deno.test("without numbers a lost answer is followed by a repeat: at least once, and in order", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.fate = ({ index }) => index === 0 ? "lost" : "stored";
  const sender = producer({ lingerMs: 0, idempotent: false });
  const first = watch(sender.send("t", { partition: 0, value: "a" }));
  await time.advance(1);
  const second = watch(sender.send("t", { partition: 0, value: "b" }));
  await time.advance(5_000);
  assert.deepEqual([first.value?.offset, second.value?.offset], [1, 2]);
  assert.deepEqual(transport.values(0), ["a", "a", "b"]);
  await sender.close();
});

Deno.test("what comes later does not overtake a batch that is tried again", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.fate = ({ index }) => index < 5 ? { status: 429, code: "QUOTA_EXCEEDED" } : "stored";
  const sender = producer({ lingerMs: 0, maxBatchBytes: 200, maxRequestBytes: 400 });
  const sent = [];
  for (let index = 0; index < 40; index++) {
    sent.push(watch(sender.send("t", { partition: 0, value: `${index}`.padEnd(50, "-") })));
    await time.advance(20);
  }
  await time.advance(30_000);
  assert.deepEqual(sent.map(({ value }) => value?.offset), sent.map((_, index) => index));
  assert.equal(transport.overlapped, false);
  await sender.close();
});

Deno.test("a partition that does not answer holds up no other", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.fate = ({ partition }) => partition === 0 ? "hangs" : "stored";
  const sender = producer({ lingerMs: 0 });
  const stuck = watch(sender.send("t", { partition: 0, value: "a" }));
  const others = [1, 2].map((partition) => watch(sender.send("t", { partition, value: "b" })));
  await time.advance(100);
  assert.deepEqual([stuck.code, ...others.map(({ code }) => code)], ["pending", "done", "done"]);
  const keyless = [];
  for (let index = 0; index < 10; index++) {
    keyless.push(watch(sender.send("t", `${index}`)));
    await time.advance(20);
  }
  assert.ok(keyless.every(({ code }) => code === "done"), "keyless messages go where it is free");
  transport.fate = () => "stored";
  await time.advance(120_000);
  assert.equal(stuck.code, "done");
  await sender.close();
});

Deno.test("a message that cannot be delivered in time fails, with the reason of the last attempt", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.fate = () => ({ status: 503, code: "DISK_FULL" });
  const sender = producer({ deliveryTimeoutMs: 10_000 });
  const sent = watch(sender.send("t", { partition: 0, value: "a" }));
  await time.advance(5_000);
  const later = watch(sender.send("t", { partition: 0, value: "b" }));
  await time.advance(5_001);
  assert.equal(sent.code, "DELIVERY_TIMEOUT");
  assert.equal((sent.error as WaybillError).details.lastCode, "DISK_FULL");
  await time.advance(10_000);
  assert.equal(later.code, "DELIVERY_TIMEOUT");
  await sender.close();
});

Deno.test("a hanging broker fails messages in time, those behind a full line of requests as well", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.topics = { t: { partitions: 20 } };
  transport.fate = () => "hangs";
  const sender = producer({ maxParallelRequests: 2, deliveryTimeoutMs: 8_000, lingerMs: 0 });
  const sent = Array.from(
    { length: 20 },
    (_, partition) => watch(sender.send("t", { partition, value: "a" })),
  );
  await time.advance(7_900);
  assert.ok(sent.every(({ code }) => code === "pending"));
  await time.advance(1_200);
  assert.ok(sent.every(({ code }) => code === "DELIVERY_TIMEOUT"));
  assert.equal(transport.maxInFlight, 2);
  await sender.close();
});

Deno.test("messages that wait for a topic nobody can look up fail in time", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.metadataFate = () => "dropped";
  const sender = producer({ deliveryTimeoutMs: 5_000 });
  const sent = watch(sender.send("t", "a"));
  sender.enqueue("t", "b");
  const flushed = watch(sender.flush());
  await time.advance(5_600);
  assert.equal(sent.code, "DELIVERY_TIMEOUT");
  assert.equal((sent.error as WaybillError).details.lastCode, "NETWORK_ERROR");
  assert.equal(flushed.code, "DELIVERY_TIMEOUT");
  await sender.close();
});

Deno.test("one message that the broker refuses does not take the others of its request with it", async () => {
  const { producer, transport, time } = producerUnderTest();
  const isBad = (value: Uint8Array | null) => value !== null && value.length > 500;
  transport.fate = ({ records }) =>
    records.some(({ value }) => isBad(value))
      ? { status: 413, code: "MESSAGE_TOO_LARGE" }
      : "stored";
  const sender = producer({ maxBatchBytes: 1_000 });
  const values = Array.from(
    { length: 40 },
    (_, index) => `${index}`.padEnd(index === 13 || index === 30 ? 600 : 60, "-"),
  );
  const sent = values.map((value) => watch(sender.send("t", { partition: 0, value })));
  await time.advance(1_000);
  const codes = sent.map(({ code }) => code);
  assert.deepEqual(
    codes,
    values.map((value) => value.length > 500 ? "MESSAGE_TOO_LARGE" : "done"),
  );
  assert.deepEqual(transport.values(0), values.filter((value) => value.length < 500));
  assert.deepEqual(
    sent.filter(({ code }) => code === "done").map(({ value }) => value?.offset),
    Array.from({ length: 38 }, (_, index) => index),
  );
  await sender.close();
});

Deno.test("a flush waits for all parts of a request that had to be taken apart", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.fate = ({ records }) =>
    records.length > 3 ? { status: 413, code: "REQUEST_TOO_LARGE" } : "stored";
  const sender = producer();
  for (let index = 0; index < 20; index++) sender.enqueue("t", { partition: 0, value: `${index}` });
  const flushed = watch(sender.flush());
  await time.advance(1_000);
  assert.equal(flushed.code, "done");
  assert.deepEqual(transport.values(0), Array.from({ length: 20 }, (_, index) => `${index}`));
  await sender.close();
});

Deno.test("a transport that keeps no time does not make a message be reported twice", async () => {
  const { producer, transport, time } = producerUnderTest();
  const send = transport.send.bind(transport);
  transport.send = async (request) => {
    if (request.method === "POST") {
      await new Promise<void>((resolve) => time.after(20_000, resolve));
    }
    return await send(request);
  };
  const outcomes: string[] = [];
  const sender = producer({
    deliveryTimeoutMs: 5_000,
    onError: ({ error }) => outcomes.push(error.code),
    onDelivered: () => outcomes.push("stored"),
  });
  sender.enqueue("t", "a");
  await time.advance(60_000);
  assert.deepEqual(outcomes, ["stored"]);
  await sender.close();
});

Deno.test("a message sent after a long list of the same topic does not overtake its rest", async () => {
  const { producer, transport, time } = producerUnderTest();
  const sender = producer({ maxBufferedBytes: 64 * 1024, maxRequestBytes: 16 * 1024 });
  watch(sender.send("t", { partition: 0, value: "learn the topic" }));
  await time.advance(50);
  const list = Array.from(
    { length: 200 },
    (_, index) => ({ partition: 0, value: `${index}`.padEnd(1_000, "-") }),
  );
  const many = watch(sender.sendMany("t", list));
  const one = watch(sender.send("t", { partition: 0, value: "last" }));
  await time.advance(5_000);
  assert.deepEqual([many.code, one.code], ["done", "done"]);
  assert.equal(transport.values(0).at(-1), "last");
  await sender.close();
});

Deno.test("an answer that does not account for every batch is an error, and is not repeated", async () => {
  const { producer, transport, time } = producerUnderTest();
  const send = transport.send.bind(transport);
  transport.send = async (request) => {
    const answer = await send(request);
    if (!request.path.includes("/messages")) return answer;
    return { ...answer, body: new TextEncoder().encode('{"results":[]}') };
  };
  const sender = producer();
  const sent = watch(sender.send("t", "a"));
  await time.advance(10_000);
  assert.equal(sent.code, "BAD_RESPONSE");
  assert.equal(transport.publishes.length, 1);
  await sender.close();
});
