// Owns the tests of `idempotencyKey` in published messages, over HTTP on a whole broker in memory.
// Refuses to own the broker's side (message_keys_append_test.ts) and the header Idempotency-Key (api_request_keys_test.ts).
import assert from "node:assert/strict";
import { partitionForKey } from "../storage/format/murmur2.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { type ApiUnderTest, apiUnderTest, type Format, FORMATS } from "./support/api_app.ts";
import { FaultyLogStore } from "./support/faulty_logs.ts";
import { VirtualClock } from "./support/virtual_time.ts";

async function withTopic(api: ApiUnderTest, partitions = 1): Promise<void> {
  const made = await api.ask("POST", "/api/topics", { body: { name: "orders", partitions } });
  assert.equal(made.status, 201);
}

function publish(
  api: ApiUnderTest,
  messages: readonly Record<string, unknown>[],
  { format, ...extra }: { format?: Format } & Record<string, unknown> = {},
) {
  const body = { topic: "orders", messages, ...extra };
  return api.ask("POST", "/api/messages:publish", { body, ...(format ? { format } : {}) });
}

async function valuesIn(api: ApiUnderTest, partition = 0): Promise<unknown[]> {
  const path = `/api/topics/orders/partitions/${partition}/messages?maxMessages=10000`;
  const { body } = await api.ask("GET", path);
  return body.messages.map((message: { value: unknown }) => message.value);
}

for (const format of FORMATS) {
  Deno.test(`message with a known idempotency key is answered with the first offset (${format})`, async () => {
    const api = await apiUnderTest();
    await withTopic(api);
    const first = [{ value: 1 }, { value: 2, idempotencyKey: "b" }, { value: 3 }];
    const stored = await publish(api, first, { format });
    assert.deepEqual(
      stored.body.results,
      [0, 1, 2].map((offset) => ({ partition: 0, offset, duplicate: false })),
    );
    const second = [
      { value: 4, idempotencyKey: "d" },
      { value: 5, idempotencyKey: "b" },
      { value: 6 },
    ];
    const again = await publish(api, second, { format });
    assert.equal(again.status, 200);
    assert.deepEqual(again.body, {
      ...stored.body,
      results: [
        { partition: 0, offset: 3, duplicate: false },
        { partition: 0, offset: 1, duplicate: true },
        { partition: 0, offset: 4, duplicate: false },
      ],
    });
    assert.deepEqual(await valuesIn(api), [1, 2, 3, 4, 6]);
    await api.close();
  });
}

Deno.test("publish of known messages alone stores nothing and says all that the first did", async () => {
  const api = await apiUnderTest();
  await withTopic(api);
  const messages = [{ value: 1, idempotencyKey: "a" }, { value: 2, idempotencyKey: "b" }];
  const first = await publish(api, messages);
  const again = await publish(api, messages.toReversed());
  assert.deepEqual([again.status, again.body], [200, {
    ...first.body,
    results: [1, 0].map((offset) => ({ partition: 0, offset, duplicate: true })),
  }]);
  assert.deepEqual(await api.stored(), { "orders/0": 2 });
  await api.close();
});

Deno.test("key that comes twice in one request is stored once", async () => {
  const api = await apiUnderTest();
  await withTopic(api, 3);
  const { body } = await publish(api, [
    { value: 1, idempotencyKey: "a", partition: 2 },
    { value: 2, idempotencyKey: "a", partition: 0 },
    { value: 3, idempotencyKey: "a" },
  ]);
  const place = { partition: 2, offset: 0 };
  assert.deepEqual(body.results, [
    { ...place, duplicate: false },
    { ...place, duplicate: true },
    { ...place, duplicate: true },
  ]);
  assert.deepEqual(await api.stored(), { "orders/0": 0, "orders/1": 0, "orders/2": 1 });
  await api.close();
});

Deno.test("idempotency key is unique in the topic, whatever the partition, and only there", async () => {
  const api = await apiUnderTest();
  await withTopic(api, 2);
  await api.ask("POST", "/api/topics", { body: { name: "others" } });
  await publish(api, [{ value: 1, idempotencyKey: "a", partition: 1 }]);
  const { body } = await publish(api, [{ value: 1, idempotencyKey: "a" }], { partition: 0 });
  assert.deepEqual(body.results, [{ partition: 1, offset: 0, duplicate: true }]);
  const other = await api.ask("POST", "/api/messages:publish", {
    body: { topic: "others", messages: [{ value: 1, idempotencyKey: "a" }] },
  });
  assert.deepEqual(other.body.results, [{ partition: 0, offset: 0, duplicate: false }]);
  await api.close();
});

Deno.test("idempotency key is stored as a header, which counts as the key itself", async () => {
  const api = await apiUnderTest();
  await withTopic(api);
  await publish(api, [{ value: "v", idempotencyKey: "ä☃", headers: { a: "b" } }]);
  const path = "/api/topics/orders/partitions/0/messages";
  const { headers } = (await api.ask("GET", path)).body.messages[0];
  assert.deepEqual(headers, { a: "b", "idempotency-key": "ä☃" });
  const forwarded = await publish(api, [{ value: "v", headers }]);
  assert.deepEqual(forwarded.body.results, [{ partition: 0, offset: 0, duplicate: true }]);
  const both = await publish(api, [{ value: "v", headers, idempotencyKey: "ä☃" }]);
  assert.equal(both.body.results[0].duplicate, true);
  await api.close();
});

Deno.test("message without key and partition goes where its idempotency key says", async () => {
  const api = await apiUnderTest();
  await withTopic(api, 8);
  const keys = Array.from({ length: 40 }, (_, number) => `order-${number}`);
  const { body } = await publish(api, keys.map((idempotencyKey) => ({ idempotencyKey })));
  const expected = keys.map((key) => partitionForKey(new TextEncoder().encode(key), 8));
  assert.deepEqual(body.results.map(({ partition }: { partition: number }) => partition), expected);
  const keyed = await publish(api, [{ key: "order-1", idempotencyKey: "other" }]);
  assert.equal(keyed.body.results[0].partition, expected[1]);
  await api.close();
});

Deno.test("batch of which half is known keeps the order of the rest, over batch bounds", async () => {
  const api = await apiUnderTest();
  await withTopic(api);
  const numbered = Array.from({ length: 2_500 }, (_, value) => ({
    value,
    ...(value % 5 === 0 ? {} : { idempotencyKey: `k${value}` }),
  }));
  await publish(api, numbered.filter(({ value }) => value % 2 === 1 && value % 5 !== 0));
  const { body } = await publish(api, numbered);
  const values = await valuesIn(api);
  body.results.forEach(
    ({ offset, duplicate }: { offset: number; duplicate: boolean }, at: number) => {
      assert.equal(values[offset], at);
      assert.equal(duplicate, at % 2 === 1 && at % 5 !== 0);
    },
  );
  assert.equal(values.length, 2_500);
  await api.close();
});

Deno.test("what fails beside known messages is told as failed, and succeeds the next time", async () => {
  const time = new VirtualClock();
  const logs = new FaultyLogStore(new MemoryLogStore(time));
  const api = await apiUnderTest({ time, logs });
  await withTopic(api);
  await publish(api, [{ value: 1, idempotencyKey: "a" }]);
  logs.nextFault = "DISK_FULL";
  const messages = [{ value: 1, idempotencyKey: "a" }, { value: 2, idempotencyKey: "b" }];
  const partly = await publish(api, messages);
  assert.equal(partly.status, 207);
  assert.deepEqual(partly.body.results[0], { partition: 0, offset: 0, duplicate: true });
  assert.equal(partly.body.results[1].error.code, "DISK_FULL");
  const again = await publish(api, messages);
  assert.deepEqual([again.status, again.body.results[1]], [
    200,
    { partition: 0, offset: 1, duplicate: false },
  ]);
  await api.close();
});

Deno.test("idempotency key that cannot be one is refused, as are two keys that differ", async () => {
  const api = await apiUnderTest();
  await withTopic(api);
  for (
    const [message, path] of [
      [{ idempotencyKey: "" }, "messages[0].idempotencyKey"],
      [{ idempotencyKey: "x".repeat(1_025) }, "messages[0].idempotencyKey"],
      [{ idempotencyKey: 7 }, "messages[0].idempotencyKey"],
      [{ idempotencyKey: "\ud800" }, "messages[0].idempotencyKey"],
      [
        { idempotencyKey: "a", headers: { "idempotency-key": "b" } },
        "messages[0].headers.idempotency-key",
      ],
    ] as const
  ) {
    const { status, body } = await publish(api, [message]);
    assert.deepEqual([status, body.code], [400, "INVALID_REQUEST"], JSON.stringify(message));
    assert.equal(body.errors[0].path, path);
  }
  const { producerId, producerEpoch } = (await api.ask("POST", "/api/producers")).body;
  const sequenced = { producerId, producerEpoch, sequence: 0, partition: 0 };
  const begun = await api.ask("POST", "/api/transactions", { body: { transactionalId: "t" } });
  const { transactionId } = begun.body;
  for (const counted of [sequenced, { transactionId }]) {
    for (
      const [message, path] of [
        [{ idempotencyKey: "a" }, "idempotencyKey"],
        [{ headers: { "idempotency-key": "a" } }, "headers.idempotency-key"],
      ] as const
    ) {
      const { status, body } = await publish(api, [{ value: "v" }, message], counted);
      assert.deepEqual([status, body.errors?.[0].path], [400, `messages[1].${path}`]);
    }
  }
  assert.deepEqual(await api.stored(), { "orders/0": 0 });
  await api.close();
});

Deno.test("publishes of one key at once store one message, and all tell where it is", async () => {
  const api = await apiUnderTest();
  await withTopic(api, 4);
  const answers = await Promise.all(
    Array.from(
      { length: 20 },
      (_, number) =>
        publish(api, [{ value: number, idempotencyKey: "same", partition: number % 4 }]),
    ),
  );
  const results = answers.map(({ body }) => body.results[0]);
  assert.equal(results.filter(({ duplicate }) => !duplicate).length, 1);
  assert.equal(new Set(results.map(({ partition, offset }) => `${partition}/${offset}`)).size, 1);
  const stored = Object.values(await api.stored()).reduce((sum, end) => sum + end, 0);
  assert.equal(stored, 1);
  await api.close();
});
