// Owns the tests of publishes over HTTP that are refused, whole or in part, and of the bounds they are held to.
// Refuses to own rubbish (api_rubbish_test.ts).
import assert from "node:assert/strict";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { apiUnderTest, FORMATS } from "./support/api_app.ts";
import { FaultyLogStore } from "./support/faulty_logs.ts";
import { VirtualClock } from "./support/virtual_time.ts";
import { withTopic } from "./support/publish_scene.ts";

const REFUSALS: readonly [string, object, number, string, (string | RegExp)?][] = [
  ["an unknown topic", { topic: "nothing", messages: [{}] }, 404, "UNKNOWN_TOPIC"],
  ["an internal topic", { topic: "__groups", messages: [{}] }, 403, "INTERNAL_TOPIC"],
  ["no messages", { topic: "orders", messages: [] }, 400, "INVALID_REQUEST", "messages"],
  ["no topic", { messages: [{}] }, 400, "INVALID_REQUEST", "topic"],
  [
    "a partition that is not there",
    { topic: "orders", messages: [{ partition: 2 }] },
    404,
    "UNKNOWN_PARTITION",
  ],
  [
    "a partition of the request that is not there",
    { topic: "orders", partition: 9, messages: [{}] },
    404,
    "UNKNOWN_PARTITION",
  ],
  [
    "a negative partition",
    { topic: "orders", messages: [{}, { partition: -1 }] },
    400,
    "INVALID_REQUEST",
    "messages[1].partition",
  ],
  [
    "a key that is no text",
    { topic: "orders", messages: [{ key: 7 }] },
    400,
    "INVALID_REQUEST",
    "messages[0].key",
  ],
  [
    "a header that is no text",
    { topic: "orders", messages: [{ headers: { a: 1 } }] },
    400,
    "INVALID_REQUEST",
    "messages[0].headers.a",
  ],
  [
    "a header without name",
    { topic: "orders", messages: [{ headers: { "": "x" } }] },
    400,
    "INVALID_REQUEST",
  ],
  [
    "a time before 1970",
    { topic: "orders", messages: [{ timestamp: -1 }] },
    400,
    "INVALID_REQUEST",
    "messages[0].timestamp",
  ],
  [
    "a time that is a fraction",
    { topic: "orders", messages: [{ timestamp: 1.5 }] },
    400,
    "INVALID_REQUEST",
    "messages[0].timestamp",
  ],
  ["other acks", { topic: "orders", acks: "some", messages: [{}] }, 400, "INVALID_REQUEST", "acks"],
  [
    "an unknown field",
    { topic: "orders", messages: [{ valeu: 1 }] },
    400,
    "INVALID_REQUEST",
    "messages[0].valeu",
  ],
  [
    "bad base64",
    { topic: "orders", messages: [{ valueBase64: "_w" }] },
    400,
    "INVALID_REQUEST",
    "messages[0].valueBase64",
  ],
  [
    "two values",
    { topic: "orders", messages: [{ value: 1, valueBase64: "" }] },
    400,
    "INVALID_REQUEST",
    "messages[0]",
  ],
  [
    "a JSON value that says it is something else",
    { topic: "orders", messages: [{ value: {}, headers: { "Content-Type": "text/csv" } }] },
    400,
    "INVALID_REQUEST",
    "messages[0].headers.Content-Type",
  ],
  [
    "a message larger than the topic allows",
    { topic: "orders", messages: [{}, { value: "x".repeat(5_000) }] },
    413,
    "MESSAGE_TOO_LARGE",
    "messages[1]",
  ],
  [
    "a key too large",
    { topic: "orders", messages: [{ key: "x".repeat(70_000) }] },
    400,
    "INVALID_REQUEST",
    "messages[0].key",
  ],
  [
    "too many headers",
    {
      topic: "orders",
      messages: [{
        headers: Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`h${i}`, ""])),
      }],
    },
    400,
    "INVALID_REQUEST",
    "messages[0].headers",
  ],
  [
    "headers too large",
    { topic: "orders", messages: [{ headers: { h: "x".repeat(70_000) } }] },
    400,
    "INVALID_REQUEST",
    "messages[0].headers",
  ],
  [
    "a producer without partition",
    { topic: "orders", messages: [{}], producerId: 1, producerEpoch: 0, sequence: 0 },
    400,
    "INVALID_REQUEST",
    /producerId, producerEpoch, sequence and partition go together/,
  ],
  [
    "a transaction",
    { topic: "orders", messages: [{}], transactionId: "t" },
    404,
    "UNKNOWN_TRANSACTION",
  ],
];

Deno.test("one message too many is refused with its path and nothing is stored", async () => {
  const api = await apiUnderTest();
  await withTopic(api, 1);
  const { status, body } = await api.ask("POST", "/api/messages:publish", {
    body: { topic: "orders", messages: Array.from({ length: 10_001 }, () => ({ value: "" })) },
  });
  assert.equal(status, 400);
  assert.equal(body.errors[0].path, "messages");
  assert.deepEqual(await api.stored(), { "orders/0": 0 });
  await api.close();
});

Deno.test("publish tells which messages failed when only some partitions took theirs", async () => {
  const logs = new FaultyLogStore(new MemoryLogStore(new VirtualClock()));
  const api = await apiUnderTest({ logs });
  await withTopic(api, 2);
  logs.nextFault = "DISK_FULL";
  const { status, body } = await api.ask("POST", "/api/messages:publish", {
    body: {
      topic: "orders",
      messages: [{ partition: 0 }, { partition: 1 }, { partition: 0 }, { partition: 1 }],
    },
  });
  assert.equal(status, 207);
  const failed = body.results.filter((result: { error?: unknown }) => result.error !== undefined);
  const stored = body.results.filter((result: { error?: unknown }) => result.error === undefined);
  assert.equal(failed.length, 2);
  assert.deepEqual(stored.map((result: { offset: number }) => result.offset), [0, 1]);
  assert.equal(failed[0].error.code, "DISK_FULL");
  assert.equal(failed[0].error.retryable, true);
  assert.equal("offset" in failed[0], false);
  assert.notEqual(failed[0].partition, stored[0].partition);
  assert.deepEqual(body.results.map((result: { partition: number }) => result.partition), [
    0,
    1,
    0,
    1,
  ]);
  await api.close();
});

Deno.test("publish answers the error itself when nothing was stored", async () => {
  const logs = new FaultyLogStore(new MemoryLogStore(new VirtualClock()));
  const api = await apiUnderTest({ logs });
  await withTopic(api, 1);
  logs.nextFault = "DISK_FULL";
  const { status, headers, body } = await api.ask("POST", "/api/messages:publish", {
    body: { topic: "orders", messages: [{ value: "a" }] },
  });
  assert.equal(status, 503);
  assert.equal(body.code, "DISK_FULL");
  assert.equal(headers.get("retry-after"), "1");
  assert.deepEqual(await api.stored(), { "orders/0": 0 });
  await api.close();
});

Deno.test("an overloaded broker refuses a publish and stores nothing of it", async () => {
  const logs = new FaultyLogStore(new MemoryLogStore(new VirtualClock()));
  const api = await apiUnderTest({ logs, maxPendingPublishBytes: 1_000 });
  await withTopic(api, 1);
  const publish = () =>
    api.ask("POST", "/api/messages:publish", {
      body: { topic: "orders", messages: [{ value: "x".repeat(800) }] },
    });
  const gate = Promise.withResolvers<void>();
  logs.gate = gate.promise;
  const first = publish();
  const second = await publish();
  assert.equal(second.status, 503);
  assert.equal(second.body.code, "OVERLOADED");
  assert.equal(second.headers.get("retry-after"), "1");
  gate.resolve();
  assert.equal((await first).status, 200);
  assert.deepEqual(await api.stored(), { "orders/0": 1 });
  await api.close();
});

for (const format of FORMATS) {
  Deno.test(`publish refuses as a whole what is wrong in part (${format})`, async (test) => {
    const api = await apiUnderTest();
    await withTopic(api, 2, { maxMessageBytes: 4_096 });
    for (const [name, body, status, code, path] of REFUSALS) {
      await test.step(name, async () => {
        const answer = await api.ask("POST", "/api/messages:publish", { body, format });
        assert.equal(answer.status, status);
        assert.equal(answer.body.code, code);
        if (path instanceof RegExp) assert.match(answer.body.detail, path);
        else if (path !== undefined) {
          assert.equal(answer.body.errors?.[0].path ?? answer.body.path, path);
        }
      });
    }
    assert.deepEqual(await api.stored(), { "orders/0": 0, "orders/1": 0 });
    await api.close();
  });
}

Deno.test("a message of exactly the topic's size is taken, one byte more is not", async () => {
  const api = await apiUnderTest();
  await withTopic(api, 1, { maxMessageBytes: 100 });
  const publish = (message: object) =>
    api.ask("POST", "/api/messages:publish", { body: { topic: "orders", messages: [message] } });
  const exact = { key: "é".repeat(10), value: "x".repeat(70), headers: { name: "value!" } };
  assert.equal((await publish(exact)).status, 200);
  assert.equal((await publish({ ...exact, value: "x".repeat(71) })).status, 413);
  assert.equal((await publish({ value: "é".repeat(50) })).status, 200);
  assert.equal((await publish({ value: "é".repeat(51) })).status, 413);
  assert.equal((await publish({ value: { a: "x".repeat(65) } })).status, 413);
  await api.close();
});

Deno.test("a key may be as long as the bound in bytes", async () => {
  const api = await apiUnderTest();
  await withTopic(api, 1);
  const statusOf = async (key: string) =>
    (await api.ask("POST", "/api/messages:publish", {
      body: { topic: "orders", messages: [{ key }] },
    }))
      .status;
  assert.equal(await statusOf("x".repeat(65_536)), 200);
  assert.equal(await statusOf("é".repeat(32_768)), 200);
  assert.equal(await statusOf("é".repeat(32_769)), 400);
  await api.close();
});
