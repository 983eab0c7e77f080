// Owns the tests of publishing JSON and MessagePack over HTTP, on a whole broker in memory.
// Refuses to own what comes back when reading in detail (api_message_test.ts) and rubbish (api_rubbish_test.ts).
import assert from "node:assert/strict";
import { partitionForKey } from "../storage/format/murmur2.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { type ApiUnderTest, apiUnderTest, FORMATS } from "./support/api_app.ts";
import { FaultyLogStore } from "./support/faulty_logs.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const TRACEPARENT = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;

async function withTopic(api: ApiUnderTest, partitions: number, extra = {}): Promise<void> {
  const made = await api.ask("POST", "/api/topics", {
    body: { name: "orders", partitions, ...extra },
  });
  assert.equal(made.status, 201);
}

async function messagesOf(api: ApiUnderTest, partition = 0) {
  const path = `/api/topics/orders/partitions/${partition}/messages?maxMessages=10000`;
  return (await api.ask("GET", path)).body.messages;
}

for (const format of FORMATS) {
  Deno.test(`publish stores every kind of value and tells offsets in input order (${format})`, async () => {
    const api = await apiUnderTest();
    await withTopic(api, 1);
    const values = ["text", "", "ünï ☃ 𝄞", { a: [1, null, "x"] }, [1.5], 7, true, false, null];
    const answer = await api.ask("POST", "/api/messages:publish", {
      format,
      body: { topic: "orders", messages: values.map((value) => ({ value })) },
    });
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.body, {
      topic: "orders",
      results: values.map((_, offset) => ({ partition: 0, offset, duplicate: false })),
      acks: "all",
      durability: "fsync",
      inSyncReplicas: 1,
    });
    const read = await api.ask("GET", "/api/topics/orders/partitions/0/messages", { format });
    assert.deepEqual(
      read.body.messages.map((message: { value: unknown }) => message.value),
      values,
    );
    await api.close();
  });
}

Deno.test("publish takes bytes as base64 and, in MessagePack, as they are", async () => {
  const api = await apiUnderTest();
  await withTopic(api, 1);
  const bytes = new Uint8Array([0, 255, 254, 128]);
  await api.ask("POST", "/api/messages:publish", {
    body: { topic: "orders", messages: [{ valueBase64: bytes.toBase64() }] },
  });
  await api.ask("POST", "/api/messages:publish", {
    format: "msgpack",
    body: {
      topic: "orders",
      messages: [{ value: bytes }, { value: new TextEncoder().encode("hi") }],
    },
  });
  const messages = await messagesOf(api);
  assert.equal(messages[0].valueBase64, bytes.toBase64());
  assert.equal(messages[1].valueBase64, bytes.toBase64());
  assert.equal("value" in messages[1], false);
  assert.equal(messages[2].value, "hi");
  await api.close();
});

Deno.test("publish stores a message without value as a tombstone", async () => {
  const api = await apiUnderTest();
  await withTopic(api, 1);
  await api.ask("POST", "/api/messages:publish", {
    body: { topic: "orders", messages: [{ key: "k" }, { key: null, value: null }] },
  });
  const messages = await messagesOf(api);
  assert.deepEqual(messages.map((m: { key: unknown; value: unknown }) => [m.key, m.value]), [
    ["k", null],
    [null, null],
  ]);
  await api.close();
});

Deno.test("publish chooses partitions as Kafka's clients do, one message's word over the request's", async () => {
  const api = await apiUnderTest();
  await withTopic(api, 7);
  const keys = ["", "a", "customer-7", "ключ", "键"];
  const partitionOf = (result: { partition: number }) => result.partition;
  const keyed = await api.ask("POST", "/api/messages:publish", {
    body: { topic: "orders", messages: keys.map((key) => ({ key, value: "v" })) },
  });
  assert.deepEqual(
    keyed.body.results.map(partitionOf),
    keys.map((key) => partitionForKey(new TextEncoder().encode(key), 7)),
  );
  const named = await api.ask("POST", "/api/messages:publish", {
    body: { topic: "orders", partition: 3, messages: [{ key: "a" }, { partition: 5 }, {}] },
  });
  assert.deepEqual(named.body.results.map(partitionOf), [3, 5, 3]);
  await api.close();
});

Deno.test("messages without key go to one partition a request, and not always to the same", async () => {
  const api = await apiUnderTest();
  await withTopic(api, 4);
  const chosen = new Set<number>();
  for (let round = 0; round < 30; round++) {
    const { body } = await api.ask("POST", "/api/messages:publish", {
      body: { topic: "orders", messages: [{ value: "1" }, { value: "2" }, { value: "3" }] },
    });
    const partitions = new Set<number>(body.results.map((r: { partition: number }) => r.partition));
    assert.equal(partitions.size, 1);
    for (const partition of partitions) chosen.add(partition);
  }
  assert.equal(chosen.size, 4);
  await api.close();
});

Deno.test("publish keeps headers, time and the request's trace context", async () => {
  const api = await apiUnderTest();
  await withTopic(api, 1);
  const own = `00-${"c".repeat(32)}-${"d".repeat(16)}-00`;
  await api.ask("POST", "/api/messages:publish", {
    headers: { traceparent: TRACEPARENT },
    body: {
      topic: "orders",
      messages: [
        { value: "a", headers: { source: "shop ☃" }, timestamp: 1_700_000_000_000 },
        { value: "b", headers: { traceparent: own } },
        { value: { c: 1 } },
      ],
    },
  });
  const messages = await messagesOf(api);
  assert.deepEqual(messages[0].headers, { source: "shop ☃", traceparent: TRACEPARENT });
  assert.equal(messages[0].timestamp, 1_700_000_000_000);
  assert.deepEqual(messages[1].headers, { traceparent: own });
  assert.equal(messages[1].timestamp, api.time.now());
  assert.deepEqual(messages[2].headers, {
    "content-type": "application/json",
    traceparent: TRACEPARENT,
  });
  await api.close();
});

Deno.test("a traceparent that is none is not stored", async () => {
  const api = await apiUnderTest();
  await withTopic(api, 1);
  await api.ask("POST", "/api/messages:publish", {
    headers: { traceparent: "00-zz-11-01" },
    body: { topic: "orders", messages: [{ value: "a" }] },
  });
  assert.deepEqual((await messagesOf(api))[0].headers, {});
  await api.close();
});

Deno.test("publish tells the acks that were asked for and the durability that was reached", async () => {
  const api = await apiUnderTest();
  await withTopic(api, 1, { durability: "os" });
  for (const acks of ["all", "leader", "none"]) {
    const { status, body } = await api.ask("POST", "/api/messages:publish", {
      body: { topic: "orders", acks, messages: [{ value: "a" }] },
    });
    assert.equal(status, 200);
    assert.equal(body.acks, acks);
    assert.equal(body.durability, acks === "none" ? "none" : "os");
  }
  await api.close();
});

Deno.test("a publish of ten thousand messages is stored in order in several batches, letting others run", async () => {
  let turns = 0;
  const yieldToEventLoop = () => Promise.resolve(void turns++);
  const api = await apiUnderTest({ app: { yieldToEventLoop } });
  await withTopic(api, 1);
  const messages = Array.from({ length: 10_000 }, (_, index) => ({ value: `m${index}` }));
  const { status, body } = await api.ask("POST", "/api/messages:publish", {
    body: { topic: "orders", messages },
  });
  assert.equal(status, 200);
  assert.deepEqual(
    body.results.map((result: { offset: number }) => result.offset),
    messages.map((_, index) => index),
  );
  assert.ok(turns >= 20, `${turns} turns for sharing out and encoding`);
  const read = await messagesOf(api);
  assert.deepEqual(read.map((m: { value: string }) => m.value), messages.map((m) => m.value));
  await api.close();
});

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
