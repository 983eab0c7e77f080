// Owns the tests of publishing JSON and MessagePack over HTTP: what is stored where, and what is answered.
// Refuses to own what is refused (api_publish_refusals_test.ts), what comes back when reading in detail
// (api_message_test.ts) and rubbish (api_rubbish_test.ts).
import assert from "node:assert/strict";
import { partitionForKey } from "../storage/format/murmur2.ts";
import { type ApiUnderTest, apiUnderTest, FORMATS } from "./support/api_app.ts";
import { withTopic } from "./support/publish_scene.ts";

const TRACEPARENT = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;

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
