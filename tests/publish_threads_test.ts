// Owns that a thread prepares a large publish as the event loop would: results, refusals, topics that change, its death.
// Refuses to own what preparing is (api_publish_test.ts). Invariant: real threads; what is waited for is an answer.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import type { Topic } from "../actors/broker.ts";
import { yieldToEventLoop } from "../api/event_loop.ts";
import { DEFAULT_API_LIMITS } from "../api/limits.ts";
import { publishPreparer, type RawPublish } from "../api/publish_preparation.ts";
import { PublishThreads } from "../ops/publish/threads.ts";
import { systemClock, systemRandomness } from "../ops/system_ports.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { decodeBatch } from "../storage/format/decode.ts";

const VALUE = "x".repeat(1_000);
const MESSAGES = 400;
/** Until a thread that is starting has taken its first request. */
const MAX_TRIES = 2_000;

/** A topic `orders` that can change, threads, and how many requests were prepared here. */
function threadsUnderTest(threads = 1, module?: URL) {
  let topic: Topic | null = {
    topicId: "1",
    name: "orders",
    partitionCount: 1,
    config: { maxMessageBytes: 10_000 } as Topic["config"],
    createdAt: 0,
    internal: false,
  };
  const counts = { here: 0 };
  const reports: string[] = [];
  const here = publishPreparer({
    limits: DEFAULT_API_LIMITS,
    clock: systemClock,
    randomness: systemRandomness,
    crc32c,
    yieldToEventLoop,
  });
  const pool = new PublishThreads({
    threads,
    ...(module === undefined ? {} : { module }),
    limits: DEFAULT_API_LIMITS,
    here: (raw, topicToWrite) => {
      counts.here++;
      return here(raw, topicToWrite);
    },
    report: (message) => reports.push(message),
  });
  const change = (changed: Partial<Topic> | null) => {
    topic = changed === null ? null : { ...topic!, ...changed };
  };
  const prepare = (raw: RawPublish) => pool.prepare(raw, () => topic);
  return { pool, prepare, counts, reports, change };
}

function rawPublish(body: Record<string, unknown> = {}): RawPublish {
  const messages = Array.from({ length: MESSAGES }, (_, n) => ({ key: `k${n}`, value: VALUE }));
  const bytes = new TextEncoder().encode(JSON.stringify({ topic: "orders", messages, ...body }));
  return { bytes, mediaType: "application/json", traceparent: null };
}

/** A thread that dies of every request; the first message it hears is the start. */
const DYING = new URL(
  `data:text/javascript,${
    encodeURIComponent(`let started = false;
self.onmessage = () => {
  if (started) throw new Error("no memory");
  started = true;
  self.postMessage({ type: "ready" });
};`)
  }`,
);

/** Large requests go to the thread from here on. */
async function started({ prepare, counts }: ReturnType<typeof threadsUnderTest>): Promise<void> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const before = counts.here;
    await prepare(rawPublish());
    if (counts.here === before) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error("the thread has not started");
}

Deno.test("publish thread prepares what the event loop would", async () => {
  const test = threadsUnderTest();
  try {
    await started(test);
    const prepared = await test.prepare(rawPublish({ acks: "leader", partition: 0 }));
    assert.deepEqual(prepared.request, { topic: "orders", acks: "leader", partition: 0 });
    assert.equal(prepared.count, MESSAGES);
    const [share] = prepared.shares;
    const records = share!.batches.flatMap((batch) =>
      decodeBatch(batch, 0, { maxDecompressedBytes: 10_000_000 })
    );
    assert.equal(records.length, MESSAGES);
    assert.deepEqual(records.at(-1)!.value, new TextEncoder().encode(VALUE));
    assert.deepEqual(share!.indexes, Array.from({ length: MESSAGES }, (_, n) => n));
  } finally {
    test.pool.end();
  }
});

Deno.test("publish thread refuses with the code and details that the event loop gives", async () => {
  const test = threadsUnderTest();
  try {
    await started(test);
    const before = test.counts.here;
    const tooLarge = rawPublish({ messages: [{ value: "x".repeat(300_000) }] });
    await assert.rejects(test.prepare(tooLarge), (error: unknown) => {
      assert.ok(error instanceof BrokerError);
      assert.equal(error.code, "MESSAGE_TOO_LARGE");
      assert.equal(error.details.maxMessageBytes, 10_000);
      return true;
    });
    const unknown = rawPublish({ topic: "__groups" });
    await assert.rejects(test.prepare(unknown), { code: "INTERNAL_TOPIC" });
    assert.equal(test.counts.here, before);
  } finally {
    test.pool.end();
  }
});

Deno.test("publish thread knows a topic as it is when the request comes, not as it was", async () => {
  const test = threadsUnderTest();
  try {
    await started(test);
    test.change({ partitionCount: 8 });
    const prepared = await test.prepare(rawPublish());
    assert.equal(prepared.topic.partitionCount, 8);
    assert.equal(prepared.shares.length, 8);
    test.change(null);
    await assert.rejects(test.prepare(rawPublish()), { code: "UNKNOWN_TOPIC" });
  } finally {
    test.pool.end();
  }
});

Deno.test("publish thread tells whoever may not write to the topic, and those of others meanwhile it prepares", async () => {
  const test = threadsUnderTest();
  try {
    await started(test);
    const refused = test.pool.prepare(rawPublish(), (name) => {
      throw new BrokerError("FORBIDDEN", `not to ${name}`, { name });
    });
    const others = [test.prepare(rawPublish()), test.prepare(rawPublish())];
    await assert.rejects(refused, { code: "FORBIDDEN", message: "not to orders" });
    assert.deepEqual((await Promise.all(others)).map(({ count }) => count), [MESSAGES, MESSAGES]);
  } finally {
    test.pool.end();
  }
});

Deno.test("small publishes, and all without threads, are prepared on the event loop", async () => {
  const test = threadsUnderTest();
  const none = threadsUnderTest(0);
  try {
    await started(test);
    const before = test.counts.here;
    await test.prepare(rawPublish({ messages: [{ value: "small" }] }));
    assert.equal(test.counts.here, before + 1);
    await none.prepare(rawPublish());
    assert.equal(none.counts.here, 1);
  } finally {
    test.pool.end();
    none.pool.end();
  }
});

Deno.test("a publish thread that dies fails what it had, retryably, and is replaced a few times", async () => {
  const test = threadsUnderTest(1, DYING);
  try {
    for (let death = 0; death < 6; death++) {
      await assert.rejects(started(test), { code: "OVERLOADED", retryable: true });
    }
    assert.equal(test.reports.length, 6);
    assert.match(test.reports[0]!, /has died.*no memory/);
    const before = test.counts.here;
    for (let tries = 0; tries < 20; tries++) await test.prepare(rawPublish());
    assert.equal(test.counts.here, before + 20);
  } finally {
    test.pool.end();
  }
});
