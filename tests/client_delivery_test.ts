// Owns the producer's behaviour when things go wrong: retries, order, lost answers, refusals, bounds of time and memory.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { WaybillError } from "../api/client/errors.ts";
import { type Fate, producerUnderTest, watch } from "./support/client_transport.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";

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

/** Fates of which most requests survive, so that virtual time stays short. */
const FATES: readonly Fate[] = [
  "stored",
  "stored",
  "stored",
  "lost",
  "dropped",
  "hangs",
  { status: 503, code: "OVERLOADED" },
  { status: 429, code: "QUOTA_EXCEEDED", retryAfter: "1" },
  { status: 503, code: "NOT_ENOUGH_REPLICAS", retryAfter: "0" },
  { status: 413, code: "REQUEST_TOO_LARGE" },
  { status: 403, code: "FORBIDDEN" },
];

interface Sent {
  readonly id: number;
  readonly partition: number;
  outcome: "none" | "stored" | "failed" | "twice";
  offset: number;
}

/** One run under faults drawn from `seed`; every message has its number as text in front of its padding. */
async function run(seed: number, messages: number) {
  const chance = seededRandomness(seed);
  const { producer, transport, time } = producerUnderTest(seed);
  transport.fate = () => chance.pick(FATES);
  transport.metadataFate = () => chance.fraction() < 0.3 ? "dropped" : "stored";
  const sent: Sent[] = [];
  const byKey = new Map<string, Sent>();
  const settle = (message: Sent, outcome: "stored" | "failed", offset: number) => {
    message.outcome = message.outcome === "none" ? outcome : "twice";
    message.offset = offset;
  };
  const enqueued: Sent[][] = [[], [], []];
  const maxBufferedBytes = 64 * 1024;
  const sender = producer({
    lingerMs: chance.integer(3) * 4,
    maxBatchBytes: 500 + chance.integer(3_000),
    maxRequestBytes: 16 * 1024,
    maxRequestMessages: 5 + chance.integer(40),
    maxBufferedBytes,
    deliveryTimeoutMs: 5_000 + chance.integer(60_000),
    requestTimeoutMs: 3_000,
    onFull: chance.pick(["wait", "reject"]),
    onDelivered: ({ partition, offset, count }) => {
      for (let index = 0; index < count; index++) {
        settle(enqueued[partition]!.shift()!, "stored", offset + index);
      }
    },
    onError: (failure) => {
      assert.equal(failure.messages().length, failure.count);
      for (const message of failure.messages()) {
        const { value } = message as { value: string | Uint8Array };
        const text = typeof value === "string" ? value : new TextDecoder().decode(value);
        const failed = byKey.get(text.split(" ")[0]!)!;
        const queue = enqueued[failed.partition]!;
        // Without a place, in no order with those that have one.
        queue.splice(failure.partition < 0 ? queue.indexOf(failed) : 0, 1);
        settle(failed, "failed", -1);
      }
    },
  });
  for (let id = 0; id < messages; id++) {
    const partition = chance.integer(3);
    const message: Sent = { id, partition, outcome: "none", offset: -1 };
    const value = `${id} ${"·".repeat(chance.integer(400))}`;
    byKey.set(`${id}`, message);
    const way = chance.integer(3);
    if (way === 0) {
      sent.push(message);
      sender.send("t", { partition, value }).then(
        (result) => settle(message, "stored", result.offset),
        () => settle(message, "failed", -1),
      );
    } else if (way === 1) {
      sent.push(message);
      sender.sendMany("t", [{ partition, value }]).then(
        (result) => settle(message, "stored", result.results()[0]!.offset),
        () => settle(message, "failed", -1),
      );
    } else {
      try {
        sender.enqueue("t", { partition, value });
        sent.push(message);
        enqueued[partition]!.push(message);
      } catch (error) {
        assert.equal((error as WaybillError).code, "BUFFER_FULL");
      }
    }
    assert.ok(sender.bufferedBytes <= maxBufferedBytes, `${sender.bufferedBytes} bytes`);
    if (chance.fraction() < 0.2) await time.advance(chance.integer(30));
  }
  await time.advance(200_000);
  const closed = watch(sender.close());
  await time.advance(100);
  assert.notEqual(closed.code, "pending");
  assert.equal(time.pendingTimers, 0);
  return { sent, transport, sender };
}

Deno.test("whatever happens to requests, each message is reported once, and partitions keep their order", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 31 }), async (seed) => {
      const { sent, transport, sender } = await run(seed, 150);
      assert.equal(sender.bufferedBytes, 0);
      assert.equal(transport.overlapped, false);
      const wrong = sent.filter(({ outcome }) => outcome === "none" || outcome === "twice");
      assert.deepEqual(wrong, []);
      for (let partition = 0; partition < 3; partition++) {
        const log = transport.values(partition).map((value) => Number(value.split(" ")[0]));
        // A repeat may stand behind its first copy, but the first copies are in the order in which they were sent.
        const firsts = [...new Set(log)];
        assert.deepEqual(firsts, firsts.toSorted((a, b) => a - b));
        for (const { id, outcome, offset } of sent.filter((one) => one.partition === partition)) {
          if (outcome === "stored") assert.equal(log[offset], id);
        }
      }
    }),
    { numRuns: 40 },
  );
});
