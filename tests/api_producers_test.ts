// Owns the tests of idempotent publishing over HTTP: identities, repeats, gaps, fencing, in JSON and in ready batches.
// Refuses to own the rules in detail (partition_producers_test.ts).
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { encodeBatch } from "../storage/format/encode.ts";
import { readHeader } from "../storage/format/record_batch.ts";
import { type ApiUnderTest, apiUnderTest, FORMATS } from "./support/api_app.ts";

const BATCHES = "/api/topics/orders/partitions/1/messages";

async function withTopic(): Promise<ApiUnderTest> {
  const api = await apiUnderTest();
  await api.ask("POST", "/api/topics", { body: { name: "orders", partitions: 2 } });
  return api;
}

function publish(api: ApiUnderTest, values: readonly string[], more: object) {
  const messages = values.map((value) => ({ key: "k", value }));
  return api.ask("POST", "/api/messages:publish", { body: { topic: "orders", messages, ...more } });
}

Deno.test("producers get ids that nobody else has, with or without a body", async () => {
  const api = await withTopic();
  const ids = new Set<number>();
  for (const format of FORMATS) {
    const { status, body } = await api.ask("POST", "/api/producers", { body: {}, format });
    assert.deepEqual([status, body.producerEpoch], [201, 0]);
    ids.add(body.producerId);
  }
  ids.add((await api.ask("POST", "/api/producers")).body.producerId);
  assert.equal(ids.size, 3);
  await api.close();
});

Deno.test("a publish that its producer repeats answers the first offsets and stores nothing", async () => {
  const api = await withTopic();
  const { producerId, producerEpoch } = (await api.ask("POST", "/api/producers")).body;
  const stamp = { producerId, producerEpoch, partition: 1 };
  await publish(api, ["a", "b"], { ...stamp, sequence: 0 });
  const first = await publish(api, ["c", "d"], { ...stamp, sequence: 2 });
  const again = await publish(api, ["c", "d"], { ...stamp, sequence: 2 });
  assert.deepEqual(first.body.results, [
    { partition: 1, offset: 2, duplicate: false },
    { partition: 1, offset: 3, duplicate: false },
  ]);
  assert.deepEqual(again.body.results, [
    { partition: 1, offset: 2, duplicate: true },
    { partition: 1, offset: 3, duplicate: true },
  ]);
  assert.deepEqual(await api.stored(), { "orders/0": 0, "orders/1": 4 });
  assert.equal((await api.broker.producers.counters()).duplicatesSuppressed, 1);
  await api.close();
});

Deno.test("a publish of many batches is known again as a whole", async () => {
  const api = await withTopic();
  const values = Array.from({ length: 9_999 }, (_, index) => `value ${index} ${"x".repeat(300)}`);
  const stamp = { producerId: 7, producerEpoch: 0, sequence: 0, partition: 0 };
  const first = await publish(api, values, stamp);
  const again = await publish(api, values, stamp);
  assert.deepEqual([first.status, again.status], [200, 200]);
  assert.deepEqual(again.body.results[9_998], { partition: 0, offset: 9_998, duplicate: true });
  assert.deepEqual(await api.stored(), { "orders/0": 9_999, "orders/1": 0 });
  await api.close();
});

Deno.test("a gap, an older epoch and half a stamp are refused, and nothing is stored", async () => {
  const api = await withTopic();
  const stamp = { producerId: 7, producerEpoch: 3, partition: 0 };
  const unknown = await publish(api, ["a"], { ...stamp, sequence: 5 });
  assert.deepEqual(
    [unknown.status, unknown.body.code, unknown.body.expectedSequence],
    [409, "OUT_OF_ORDER_SEQUENCE", 0],
  );
  await publish(api, ["a"], { ...stamp, sequence: 0 });
  const gap = await publish(api, ["b"], { ...stamp, sequence: 2 });
  assert.deepEqual([gap.status, gap.body.expectedSequence], [409, 1]);
  const old = await publish(api, ["b"], { ...stamp, producerEpoch: 2, sequence: 1 });
  assert.deepEqual(
    [old.status, old.body.code, old.body.currentEpoch],
    [403, "PRODUCER_FENCED", 3],
  );
  const halves: object[] = [
    { producerId: 7, partition: 0 },
    { producerId: 7, producerEpoch: 3, sequence: 1 },
    { ...stamp, sequence: 2 ** 31 },
    { ...stamp, sequence: -1 },
    { ...stamp, producerEpoch: 32_768, sequence: 1 },
    { ...stamp, sequence: 1, messages: [{ value: "x", partition: 1 }] },
  ];
  for (const half of halves) {
    const answer = await publish(api, ["b"], half);
    assert.deepEqual([answer.status, answer.body.code], [400, "INVALID_REQUEST"]);
  }
  assert.deepEqual(await api.stored(), { "orders/0": 1, "orders/1": 0 });
  const { outOfOrder, fenced } = await api.broker.producers.counters();
  assert.deepEqual([outOfOrder, fenced], [2, 1]);
  await api.close();
});

Deno.test("ready batches of a producer are known again one by one", async () => {
  const api = await withTopic();
  const batch = (values: readonly string[], baseSequence: number) => {
    const records = values.map((value) => ({ key: "k", value, headers: [], timestamp: 1_000 }));
    return encodeBatch(records, { crc32c, producerId: 9, producerEpoch: 0, baseSequence });
  };
  const post = (...batches: Uint8Array[]) =>
    api.ask("POST", BATCHES, {
      raw: new Uint8Array(batches.flatMap((each) => [...each])),
      headers: { "content-type": "application/vnd.waybill.batch" },
    });
  await post(batch(["a"], 0), batch(["b", "c"], 1));
  const { body } = await post(batch(["b", "c"], 1), batch(["d"], 3));
  assert.deepEqual(body.results, [
    { partition: 1, offset: 1, lastOffset: 2, duplicate: true },
    { partition: 1, offset: 3, lastOffset: 3, duplicate: false },
  ]);
  const gap = await post(batch(["e"], 4), batch(["f"], 6));
  assert.deepEqual([gap.status, gap.body.expectedSequence], [409, 5]);
  assert.deepEqual(await api.stored(), { "orders/0": 0, "orders/1": 4 });
  await api.close();
});

Deno.test("an id that is yet to be given out is refused, and its owner finds nothing of others", async () => {
  const api = await withTopic();
  const { producerId: last } = (await api.ask("POST", "/api/producers")).body;
  const stamp = { producerEpoch: 0, partition: 1, sequence: 0 };
  for (const producerId of [last + 1, last + 500, last + 5_000, Number.MAX_SAFE_INTEGER]) {
    const { status, body } = await publish(api, ["thief"], { ...stamp, producerId });
    assert.deepEqual([status, body.code, body.producerId], [400, "INVALID_REQUEST", producerId]);
    const records = [{ key: null, value: "thief", headers: [], timestamp: 1_000 }];
    const batch = encodeBatch(records, { crc32c, producerId, producerEpoch: 0, baseSequence: 0 });
    const ready = await api.ask("POST", BATCHES, {
      raw: new Uint8Array(batch),
      headers: { "content-type": "application/vnd.waybill.batch" },
    });
    assert.deepEqual([ready.status, ready.body.code], [400, "INVALID_REQUEST"]);
  }
  const { producerId } = (await api.ask("POST", "/api/producers")).body;
  const own = await publish(api, ["own"], { ...stamp, producerId });
  assert.deepEqual(own.body.results, [{ partition: 1, offset: 0, duplicate: false }]);
  assert.equal((await publish(api, ["free"], { ...stamp, producerId: 2 ** 32 - 1 })).status, 200);
  await api.close();
});

Deno.test("a transaction's own producer id is refused of a publish outside of it, in every way in", async () => {
  const api = await withTopic();
  const begin = () => api.ask("POST", "/api/transactions", { body: { transactionalId: "tt" } });
  const { transactionId, producerId, producerEpoch } = (await begin()).body;
  for (const epoch of [producerEpoch, 30_000]) {
    const stamp = { producerId, producerEpoch: epoch, sequence: 0, partition: 1 };
    for (const format of FORMATS) {
      for (const more of [{}, { idempotencyKey: "once" }]) {
        const body = { topic: "orders", messages: [{ value: "thief", ...more }], ...stamp };
        for (const key of [null, `k${epoch}${format}${Object.keys(more)}`]) {
          const headers: Record<string, string> = key === null ? {} : { "idempotency-key": key };
          const answer = await api.ask("POST", "/api/messages:publish", { body, format, headers });
          assert.deepEqual([answer.status, answer.body.code], [400, "INVALID_REQUEST"]);
        }
      }
    }
    for (const headers of [[], [["idempotency-key", "once"]]] as [string, string][][]) {
      const records = [{ key: null, value: "thief", headers, timestamp: 1_000 }];
      const plain = encodeBatch(records, { crc32c });
      const options = { crc32c, producerId, producerEpoch: epoch, baseSequence: 0 };
      const named = encodeBatch(records, options);
      for (const batches of [[named], [plain, named]]) {
        const answer = await api.ask("POST", BATCHES, {
          raw: new Uint8Array(batches.flatMap((each) => [...each])),
          headers: { "content-type": "application/vnd.waybill.batch" },
        });
        assert.equal(answer.status, 400);
        assert.equal(answer.body.code, "INVALID_REQUEST");
      }
    }
  }
  assert.deepEqual(await api.stored(), { "orders/0": 0, "orders/1": 0 });
  const own = await publish(api, ["own"], { transactionId, partition: 1, sequence: 0 });
  assert.deepEqual(own.body.results, [{ partition: 1, offset: 0, duplicate: false }]);
  const commit = await api.ask("POST", `/api/transactions/${transactionId}:commit`);
  assert.equal(commit.status, 200);
  assert.equal((await begin()).status, 200);
  await api.close();
});

Deno.test("a job's own producer id is refused of a publish", async () => {
  const api = await withTopic();
  await publish(api, ["a"], { partition: 0 });
  const replay = { topic: "orders", partition: 0, from: 0, to: 1, reason: "test" };
  assert.equal((await api.ask("POST", "/api/messages:replay", { body: replay })).status, 202);
  await api.time.advance(1_000);
  const at = { topic: "orders", partition: 0 };
  const { batches } = await api.broker.fetch(at, 1, { maxBytes: 10_000 });
  const { producerId, producerEpoch } = readHeader(batches, 0);
  assert.ok(producerId > 0, "it has one");
  const thief = await publish(api, ["b"], { producerId, producerEpoch, partition: 0, sequence: 1 });
  assert.deepEqual([thief.status, thief.body.code], [400, "INVALID_REQUEST"]);
  await api.close();
});
