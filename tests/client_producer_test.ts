// Owns the producer's promises to those who publish: batching, partitions, results, errors, flush and close.
import assert from "node:assert/strict";
import { SendManyError } from "../api/client/delivery.ts";
import type { WaybillError } from "../api/client/errors.ts";
import { partitionForKey } from "../storage/format/murmur2.ts";
import { producerUnderTest, watch } from "./support/client_transport.ts";

const encoder = new TextEncoder();

Deno.test("messages sent together travel in one request and learn their offsets", async () => {
  const { producer, transport, time } = producerUnderTest();
  const sender = producer({ lingerMs: 5 });
  const sent = ["a", "b", "c"].map((value) => watch(sender.send("t", { partition: 1, value })));
  await time.advance(20);
  assert.equal(transport.publishes.length, 1);
  assert.deepEqual(sent.map(({ value }) => value?.offset), [0, 1, 2]);
  assert.deepEqual(transport.values(1), ["a", "b", "c"]);
  await sender.close();
});

Deno.test("a message waits for company no longer than the linger time", async () => {
  const { producer, transport, time } = producerUnderTest();
  const sender = producer({ lingerMs: 50 });
  const first = watch(sender.send("t", { partition: 0, value: "a" }));
  await time.advance(1);
  await time.advance(30);
  const second = watch(sender.send("t", { partition: 0, value: "b" }));
  await time.advance(19);
  assert.equal(transport.publishes.length, 0);
  await time.advance(3);
  assert.deepEqual([first.code, second.code], ["done", "done"]);
  assert.equal(transport.publishes[0]!.at, 51);
  await sender.close();
});

Deno.test("a full batch does not wait for the linger time", async () => {
  const { producer, transport, time } = producerUnderTest();
  const sender = producer({ lingerMs: 10_000, maxBatchBytes: 4_000 });
  await time.advance(0);
  sender.enqueue("t", { partition: 0, value: "x".repeat(1_000) });
  await time.advance(5);
  for (let index = 0; index < 4; index++) {
    sender.enqueue("t", { partition: 0, value: "x".repeat(1_000) });
  }
  await time.advance(5);
  assert.equal(transport.publishes.length, 1);
  await sender.close();
});

Deno.test("what gathers while a request is on its way goes as several batches in the next one", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.latencyMs = 100;
  const sender = producer({ lingerMs: 0, maxBatchBytes: 2_000 });
  sender.enqueue("t", { partition: 0, value: "first" });
  await time.advance(150);
  for (let index = 0; index < 10; index++) {
    sender.enqueue("t", { partition: 0, value: `${index}`.padEnd(900, "-") });
  }
  await time.advance(300);
  const next = transport.publishes[1]!;
  assert.equal(next.records.length, 10);
  assert.ok(next.batches >= 4, `${next.batches} batches`);
  await sender.close();
});

Deno.test("keys choose the partition that the broker would choose", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.topics = { t: { partitions: 7 } };
  const sender = producer();
  const keys = Array.from({ length: 50 }, (_, index) => `customer-${index}-ü`);
  const sent = watch(sender.send("t", keys.map((key) => ({ key, value: key }))));
  await time.advance(50);
  assert.deepEqual(
    sent.value?.map(({ partition }) => partition),
    keys.map((key) => partitionForKey(encoder.encode(key), 7)),
  );
  for (const { partition, records } of transport.publishes) {
    for (const { key } of records) assert.equal(partitionForKey(key!, 7), partition);
  }
  await sender.close();
});

Deno.test("without keys one batch fills before another partition gets the next", async () => {
  const { producer, transport, time } = producerUnderTest();
  const sender = producer({ maxBatchBytes: 5_000 });
  const values = Array.from({ length: 30 }, (_, index) => `${index}`.padEnd(990, "-"));
  const sent = watch(sender.sendMany("t", values));
  await time.advance(50);
  const partitions = sent.value!.results().map(({ partition }) => partition);
  const changes = partitions.filter((partition, index) => partition !== partitions[index - 1]);
  assert.equal(changes.length, 6, partitions.join());
  assert.equal(new Set(partitions).size, 3);
  assert.equal(transport.allValues().length, 30);
  await sender.close();
});

Deno.test("without keys the next message goes elsewhere once a batch is on its way", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.latencyMs = 0;
  const sender = producer({ lingerMs: 0 });
  for (let index = 0; index < 6; index++) {
    watch(sender.send("t", `${index}`));
    await time.advance(10);
  }
  assert.deepEqual([0, 1, 2].map((partition) => transport.values(partition).length), [2, 2, 2]);
  await sender.close();
});

Deno.test("values are stored as the contract says", async () => {
  const { producer, transport, time } = producerUnderTest();
  const sender = producer();
  const bytes = new Uint8Array([0, 255, 128]);
  const sent = watch(sender.send("t", [
    { partition: 0, value: "text ü€😀" },
    { partition: 0, value: bytes },
    { partition: 0, value: { a: [1, null] }, headers: { trace: "7" } },
    { partition: 0, value: 12.5 },
    { partition: 0, value: null, key: "gone" },
    { partition: 0, timestamp: 77, headers: { raw: new Uint8Array([9]) } },
  ]));
  await time.advance(50);
  assert.equal(sent.code, "done");
  const records = transport.stored.get("t/0")!;
  const text = new TextDecoder();
  assert.deepEqual(transport.values(0).filter((_, index) => index !== 1), [
    "text ü€😀",
    '{"a":[1,null]}',
    "12.5",
    "null",
    "null",
  ]);
  assert.deepEqual(records[1]!.value, bytes);
  const headers = records.map((record) =>
    record.headers.map(([name, value]) => `${name}=${text.decode(value!)}`)
  );
  assert.deepEqual(headers.slice(0, 5), [
    [],
    [],
    ["trace=7", "content-type=application/json"],
    ["content-type=application/json"],
    [],
  ]);
  assert.deepEqual(records[5]!.headers, [["raw", new Uint8Array([9])]]);
  assert.equal(text.decode(records[4]!.key!), "gone");
  assert.equal(records[5]!.timestamp, 77);
  assert.equal(records[0]!.timestamp, time.now() - time.monotonic() + 1);
  await sender.close();
});

Deno.test("a message that is none is refused alone", async () => {
  const { producer, time, transport } = producerUnderTest();
  const sender = producer();
  const cyclic: Record<string, unknown> = {};
  cyclic.self = cyclic;
  const wrong: unknown[] = [
    { value: cyclic },
    { value: 1n },
    { value: "x", timestamp: 1.5 },
    { value: "x", timestamp: -1 },
    { value: "x", partition: NaN },
    { value: "x", headers: { h: 7 } },
    { value: {}, headers: { "Content-Type": "text/plain" } },
    { key: 7 },
    42,
    null,
    undefined,
  ];
  const sent = [...wrong, "good"].map((message) => watch(sender.send("t", message as string)));
  await time.advance(50);
  assert.deepEqual(sent.map(({ code }) => code), [...wrong.map(() => "INVALID_REQUEST"), "done"]);
  assert.deepEqual(transport.allValues(), ["good"]);
  for (const message of wrong) {
    assert.throws(() => sender.enqueue("t", message as string), { code: "INVALID_REQUEST" });
  }
  await sender.close();
});

Deno.test("sendMany tells what became of each message, in input order", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.topics = { t: { partitions: 2, maxMessageBytes: 100 } };
  transport.fate = ({ partition }) =>
    partition === 1 ? { status: 403, code: "FORBIDDEN" } : "stored";
  const sender = producer();
  const messages = [
    { partition: 0, value: "a" },
    { partition: 1, value: "b" },
    { partition: 0, value: "x".repeat(101) },
    { partition: 0, value: "c" },
    { partition: 5, value: "d" },
    { partition: 1, value: "e" },
  ];
  const sent = watch(sender.sendMany("t", messages));
  await time.advance(2_000);
  const { error } = sent;
  assert.ok(error instanceof SendManyError);
  assert.deepEqual([error.deliveredCount, error.failedCount], [2, 4]);
  assert.deepEqual(
    error.outcomes().map((outcome) => "error" in outcome ? outcome.error.code : outcome.offset),
    [0, "FORBIDDEN", "MESSAGE_TOO_LARGE", 1, "UNKNOWN_PARTITION", "FORBIDDEN"],
  );
  await sender.close();
});

Deno.test("sendMany of nothing resolves at once", async () => {
  const { producer } = producerUnderTest();
  const sender = producer();
  assert.equal((await sender.sendMany("t", [])).count, 0);
  await sender.close();
});

Deno.test("a topic that is not there fails what was sent to it, and is asked for again", async () => {
  const { producer, transport, time } = producerUnderTest();
  const sender = producer();
  const failures: WaybillError[] = [];
  const first = watch(sender.send("missing", "a"));
  await time.advance(50);
  assert.equal(first.code, "UNKNOWN_TOPIC");
  transport.topics.missing = { partitions: 1 };
  const second = watch(sender.send("missing", "b"));
  await time.advance(50);
  assert.equal(second.code, "done");
  assert.deepEqual(failures, []);
  await sender.close();
});

Deno.test("a lookup of the topic is tried again until it works", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.metadataFate = (asked) => asked < 3 ? { status: 503, code: "OVERLOADED" } : "stored";
  const sender = producer();
  const sent = watch(sender.send("t", "a"));
  await time.advance(5_000);
  assert.equal(sent.code, "done");
  assert.equal(transport.metadataAsked, 4);
  await sender.close();
});

Deno.test("partitions that were added are found when they are named, and in time for keys", async () => {
  const { producer, transport, time } = producerUnderTest();
  const sender = producer({ metadataMaxAgeMs: 60_000 });
  const first = watch(sender.send("t", { partition: 0, value: "a" }));
  await time.advance(5_000);
  transport.topics.t = { partitions: 8 };
  const named = watch(sender.send("t", { partition: 7, value: "b" }));
  await time.advance(50);
  assert.deepEqual([first.code, named.code], ["done", "done"]);
  assert.equal(transport.metadataAsked, 2);
  await time.advance(61_000);
  watch(sender.send("t", { partition: 0, value: "c" }));
  await time.advance(50);
  assert.equal(transport.metadataAsked, 3);
  await sender.close();
});

Deno.test("a partition that is gone from the topic fails its messages after one more look", async () => {
  const { producer, transport, time } = producerUnderTest();
  const sender = producer();
  watch(sender.send("t", { partition: 2, value: "a" }));
  await time.advance(50);
  transport.topics.t = { partitions: 1 };
  const gone = watch(sender.send("t", { partition: 2, value: "b" }));
  await time.advance(50);
  assert.equal(gone.code, "UNKNOWN_PARTITION");
  const other = watch(sender.send("t", { partition: 0, value: "c" }));
  await time.advance(50);
  assert.equal(other.code, "done");
  await sender.close();
});

Deno.test("enqueued messages that fail show in the listener and in the next flush, once", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.fate = () => ({ status: 401, code: "UNAUTHENTICATED" });
  const failed: string[] = [];
  const stored: number[] = [];
  const sender = producer({
    onError: (failure) => {
      const values = failure.messages()
        .map((message) => new TextDecoder().decode((message as { value: Uint8Array }).value));
      failed.push(`${failure.error.code} ${failure.count} ${values}`);
    },
    onDelivered: (run) => stored.push(run.offset, run.count),
  });
  for (const value of ["a", "b"]) sender.enqueue("t", { partition: 1, value });
  const flushed = watch(sender.flush());
  await time.advance(50);
  assert.equal(flushed.code, "UNAUTHENTICATED");
  assert.equal((flushed.error as WaybillError).details.failedCount, 2);
  assert.deepEqual(failed, ["UNAUTHENTICATED 2 a,b"]);
  transport.fate = () => "stored";
  sender.enqueue("t", { partition: 1, value: "c" });
  const again = watch(sender.flush());
  await time.advance(50);
  assert.equal(again.code, "done");
  assert.deepEqual(stored, [0, 1]);
  await sender.close();
});

Deno.test("flush does not wait for company, and not for what is sent after it", async () => {
  const { producer, transport, time } = producerUnderTest();
  const sender = producer({ lingerMs: 60_000 });
  const before = watch(sender.send("t", { partition: 0, value: "a" }));
  const flushed = watch(sender.flush());
  const after = watch(sender.send("t", { partition: 0, value: "b" }));
  await time.advance(10);
  assert.deepEqual([before.code, flushed.code], ["done", "done"]);
  assert.equal(after.code, "pending");
  const closed = watch(sender.close());
  await time.advance(10);
  assert.deepEqual([after.code, closed.code], ["done", "done"]);
  assert.equal(transport.publishes.length, 2);
});

Deno.test("close sends what is there, refuses what comes after, and leaves no timer", async () => {
  const { producer, transport, time } = producerUnderTest();
  const sender = producer({ lingerMs: 60_000 });
  const sent = watch(sender.send("t", "a"));
  const closed = watch(sender.close());
  const late = watch(sender.send("t", "b"));
  await time.advance(10);
  assert.deepEqual([sent.code, closed.code, late.code], ["done", "done", "CLIENT_CLOSED"]);
  assert.throws(() => sender.enqueue("t", "c"), { code: "CLIENT_CLOSED" });
  assert.equal(time.pendingTimers, 0);
  assert.deepEqual(transport.allValues(), ["a"]);
});

Deno.test("close gives up after its timeout what the broker does not take", async () => {
  const { producer, transport, time } = producerUnderTest();
  transport.fate = ({ partition }) =>
    partition === 0 ? "hangs" : { status: 503, code: "OVERLOADED" };
  const sender = producer();
  const sent = [0, 0, 1].map((partition) => watch(sender.send("t", { partition, value: "a" })));
  const closed = watch(sender.close({ timeoutMs: 500 }));
  await time.advance(499);
  assert.equal(closed.code, "pending");
  await time.advance(2);
  assert.deepEqual(sent.map(({ code }) => code), sent.map(() => "CLIENT_CLOSED"));
  assert.equal(closed.code, "done");
  assert.equal(time.pendingTimers, 0);
});

Deno.test("more than one request in flight per partition is refused, since it could reorder", () => {
  const { producer } = producerUnderTest();
  assert.throws(() => producer({ maxInFlightPerPartition: 5 as 1 }), { code: "INVALID_REQUEST" });
  assert.throws(() => producer({ lingerMs: NaN }), { code: "INVALID_REQUEST" });
  assert.throws(() => producer({ maxBufferedBytes: 1_000, maxRequestBytes: 2_000 }), {
    code: "INVALID_REQUEST",
  });
});
