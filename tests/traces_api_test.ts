// Owns the tests of what a trace tells, on a whole broker in memory and virtual time.
// Refuses to own the index's table and bounds (trace_index_test.ts), and whom it tells (traces_visibility_test.ts).
// Invariant: what is told of a message is what happened to it, nothing else.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { installCodecs } from "../storage/format/compression.ts";
import { allCodecs } from "../storage/format/all_codecs.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { memoryBrokerStores } from "./support/memory_broker.ts";
import { type Any, OTHER, parentOf, scene, TRACE, traced } from "./support/trace_scene.ts";

Deno.test("a trace tells where its messages were published, those of the request and those of their own", async () => {
  const { api, publish, trace, told } = await scene();
  await publish([{ value: "a" }]);
  await publish([{ value: "b" }, { value: "c" }, { value: "d", ...traced(OTHER) }], {
    trace: TRACE,
  });
  await publish([{ value: "e" }, { value: "f", ...traced() }]);
  assert.deepEqual(await told(), ["published orders 1-2", "published orders 5"]);
  assert.deepEqual(await told(OTHER), ["published orders 3"]);
  const { events, ...rest } = await trace();
  assert.deepEqual(events[0], {
    at: api.time.now(),
    kind: "published",
    topic: "orders",
    partition: 0,
    offset: 1,
    lastOffset: 2,
    detail: { leaderEpoch: 0, compression: "none" },
  });
  const { deliveriesFrom, ...told_ } = rest;
  assert.ok(deliveriesFrom <= api.time.now());
  assert.deepEqual(told_, { traceId: TRACE, isTruncated: false, indexedFrom: null });
  assert.deepEqual(await told("f".repeat(32)), []);
  await api.close();
});

Deno.test("a trace id that is none is refused", async () => {
  const { api } = await scene();
  for (const id of ["x", "0".repeat(32), TRACE.toUpperCase(), `${TRACE}0`]) {
    const { status, body } = await api.ask("GET", `/api/traces/${id}`);
    assert.deepEqual([id, status, body.code], [id, 400, "INVALID_REQUEST"]);
  }
  await api.close();
});

Deno.test("a trace tells every delivery, nack, retry, dead letter, redrive and commit of its messages", async () => {
  const { api, publish, told, trace, pass } = await scene();
  const members = "/api/groups/billing/members";
  const joined = await pass(
    api.ask("POST", members, { body: { topics: ["orders"], autoOffsetReset: "earliest" } }),
  );
  const poll = `${members}/${joined.body.memberId}:poll`;
  await api.ask("PUT", "/api/groups/billing/retry-policy", {
    body: { maxAttempts: 2, baseMs: 100, maxMs: 1_000, jitterMs: 0, ordering: "skip" },
  });
  await publish([{ value: "a" }]);
  await publish([{ value: "b" }, { value: "c" }], { trace: TRACE });
  const nack = async () => {
    const why = { code: "TIMEOUT", reason: "slow" };
    const body = { groupId: "billing", topic: "orders", partition: 0, offset: 1, ...why };
    const answer = await api.ask("POST", "/api/messages:nack", { body });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
  };
  assert.equal((await pass(api.ask("POST", poll))).body.messages.length, 3);
  await nack();
  await api.time.advance(1_000);
  const again = (await pass(api.ask("POST", poll))).body.messages;
  assert.deepEqual(again.map(({ offset, attempt }: Any) => [offset, attempt]), [[1, 2]]);
  await nack();
  await api.time.advance(1_000);
  const offsets = [{ topic: "orders", partition: 0, offset: 3 }];
  const commit = await api.ask("POST", "/api/offsets:commit", {
    body: { groupId: "billing", offsets },
  });
  assert.equal(commit.status, 200, JSON.stringify(commit.body));
  await api.time.advance(1_000);
  const body = { topic: "orders", reason: "mended" };
  const redrive = await api.ask("POST", "/api/dlq:redrive", { body });
  assert.equal(redrive.status, 202, JSON.stringify(redrive.body));
  await api.time.advance(2_000);
  assert.deepEqual(await told(), [
    "published orders 1-2",
    "delivered orders 1-2 billing 1",
    "nacked orders 1 billing 1",
    "retried orders 1 billing 2",
    "nacked orders 1 billing 2",
    "dead-lettered orders 1 billing 2",
    "committed orders 1-2 billing",
    "redriven orders 3",
  ]);
  const { events } = await trace();
  assert.equal(events[1].member, joined.body.memberId);
  assert.deepEqual(events[5].related, { topic: "dlq.orders", partition: 0, offset: 0 });
  assert.deepEqual(events[5].detail, { code: "TIMEOUT", reason: "slow" });
  assert.equal(events[6].detail.committedOffset, 3);
  assert.equal(events[7].detail.jobId, redrive.body.jobId);
  assert.deepEqual(events[7].related, { topic: "orders", partition: 0, offset: 1 });
  await api.close();
});

Deno.test("a trace tells replays to a topic and to a group, rollbacks, and reads of no group", async () => {
  const { api, publish, told } = await scene({}, ["orders", "copies"]);
  const ask = async (path: string, body: unknown, status = 200) => {
    const answer = await api.ask("POST", path, { body });
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    await api.time.advance(2_000);
  };
  await publish([{ value: "a" }, { value: "b" }], { trace: TRACE });
  const offsets = [{ topic: "orders", partition: 0, offset: 2 }];
  await ask("/api/offsets:commit", { groupId: "billing", offsets });
  const source = { topic: "orders", partition: 0, from: 1, to: "latest" };
  await ask("/api/messages:replay", { ...source, target: { topic: "copies" }, reason: "x" }, 202);
  await ask("/api/messages:replay", { ...source, target: { group: "billing" }, reason: "x" }, 202);
  await ask("/api/groups/billing/offsets:reset", {
    topic: "orders",
    to: "earliest",
    reason: "again",
  });
  await api.ask("GET", "/api/topics/orders/partitions/0/messages?offset=1");
  assert.deepEqual(await told(), [
    "published orders 0-1",
    "committed orders 0-1 billing",
    "replayed copies 0",
    "replayed orders 1 billing",
    "rewound orders 0-1 billing",
    "delivered orders 1 1",
  ]);
  await api.close();
});

Deno.test("messages of an aborted transaction and of one that is open are not told of", async () => {
  const { api, told } = await scene();
  const begin = async () => {
    const body = { transactionalId: "t" };
    return (await api.ask("POST", "/api/transactions", { body })).body;
  };
  let { transactionId: id } = await begin();
  const publish = (value: string) =>
    api.ask("POST", "/api/messages:publish", {
      body: { topic: "orders", transactionId: id, messages: [{ value }] },
      headers: { traceparent: parentOf(TRACE) },
    });
  assert.equal((await publish("a")).status, 200);
  assert.deepEqual(await told(), []);
  assert.equal((await api.ask("POST", `/api/transactions/${id}:abort`, { body: {} })).status, 200);
  await api.time.advance(1_000);
  assert.deepEqual(await told(), []);
  id = (await begin()).transactionId;
  assert.equal((await publish("b")).status, 200);
  const commit = await api.ask("POST", `/api/transactions/${id}:commit`, { body: { offsets: [] } });
  assert.equal(commit.status, 200, JSON.stringify(commit.body));
  await api.time.advance(1_000);
  const [published, ...rest] = await told();
  assert.match(published!, /^published orders \d+$/);
  assert.deepEqual(rest, []);
  await api.close();
});

Deno.test("messages in batches that producers made themselves are found, compressed or not", async () => {
  installCodecs(allCodecs);
  const { api, told } = await scene();
  for (const compression of ["none", "gzip", "zstd"] as const) {
    const records = [1, 2].map((n) => ({
      key: null,
      value: `${n}`,
      headers: n === 2 ? [["traceparent", parentOf(TRACE)] as const] : [],
      timestamp: api.time.now(),
    }));
    const batch = encodeBatch(records, { crc32c, compression });
    const answer = await api.ask("POST", "/api/topics/orders/partitions/0/messages", {
      raw: batch as Uint8Array<ArrayBuffer>,
      headers: { "content-type": "application/vnd.waybill.batch" },
    });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
  }
  assert.deepEqual(await told(), [1, 3, 5].map((offset) => `published orders ${offset}`));
  await api.close();
});

Deno.test("a deleted topic takes its events along, and one made anew under its name does not get them back", async () => {
  const { api, publish, told } = await scene();
  await publish([{ value: "a" }], { trace: TRACE });
  const offsets = [{ topic: "orders", partition: 0, offset: 1 }];
  await api.ask("POST", "/api/offsets:commit", { body: { groupId: "billing", offsets } });
  assert.equal((await told()).length, 2);
  await api.time.advance(10);
  await api.ask("DELETE", "/api/topics/orders");
  assert.deepEqual(await told(), []);
  await api.time.advance(10);
  await api.ask("POST", "/api/topics", { body: { name: "orders", partitions: 1 } });
  await publish([{ value: "b" }], { trace: TRACE });
  assert.deepEqual(await told(), ["published orders 0"]);
  await api.close();
});

Deno.test("pages follow each other without gap or repeat", async () => {
  const { api, publish, trace } = await scene();
  for (let i = 0; i < 7; i++) {
    await publish([{ value: `${i}` }], { trace: TRACE });
    if (i % 3 === 2) await api.time.advance(5);
  }
  const offsets: number[] = [];
  let cursor: string | undefined;
  do {
    const page = await trace(TRACE, `?limit=2${cursor === undefined ? "" : `&cursor=${cursor}`}`);
    offsets.push(...page.events.map(({ offset }: Any) => offset));
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  assert.deepEqual(offsets, [0, 1, 2, 3, 4, 5, 6]);
  await api.close();
});

Deno.test("after a restart everything but deliveries is told again", async () => {
  const stores = memoryBrokerStores({ group: { initialRebalanceDelayMs: 0, rebalanceDelayMs: 0 } });
  const { time, logs, metadata } = stores;
  const before = await scene({ time, logs, metadata });
  await before.publish([{ value: "a" }, { value: "b" }], { trace: TRACE });
  await time.advance(10);
  await before.api.ask("GET", "/api/topics/orders/partitions/0/messages");
  const offsets = [{ topic: "orders", partition: 0, offset: 1 }];
  await before.api.ask("POST", "/api/offsets:commit", { body: { groupId: "billing", offsets } });
  assert.deepEqual(await before.told(), [
    "published orders 0-1",
    "delivered orders 0-1 1",
    "committed orders 0 billing",
  ]);
  await before.api.close();
  await time.advance(1_000);
  const after = await scene({ time, logs, metadata });
  assert.deepEqual(await after.told(), ["published orders 0-1", "committed orders 0 billing"]);
  assert.equal((await after.trace()).deliveriesFrom, time.now());
  await after.api.close();
});
