// Owns transactions as users meet them over HTTP: begin, publish, commit with offsets, abort, and what readers see.
// Refuses to own the decider's rules (transaction_decide_test.ts) and kills (e2e_transactions_test.ts).
// Invariant: messages and offsets show together or never, and a marker is shown to nobody.
import assert from "node:assert/strict";
import { parseTransactionId } from "../actors/transaction/transaction_id.ts";
import { type ApiUnderTest, apiUnderTest } from "./support/api_app.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";

const READ = "/api/topics/orders/partitions/0/messages";

async function withTopic(partitions = 1): Promise<ApiUnderTest> {
  const api = await apiUnderTest();
  await api.ask("POST", "/api/topics", { body: { name: "orders", partitions } });
  return api;
}

async function begin(api: ApiUnderTest, more: Record<string, unknown> = {}): Promise<string> {
  const body = { transactionalId: "t", ...more };
  const begun = await api.ask("POST", "/api/transactions", { body });
  assert.equal(begun.status, 200);
  return begun.body.transactionId;
}

function publish(api: ApiUnderTest, value: string, more: Record<string, unknown> = {}) {
  const body = { topic: "orders", partition: 0, messages: [{ value }], ...more };
  return api.ask("POST", "/api/messages:publish", { body });
}

function end(api: ApiUnderTest, transactionId: string, how: "commit" | "abort", body?: unknown) {
  return api.ask("POST", `/api/transactions/${transactionId}:${how}`, { body });
}

async function values(api: ApiUnderTest, query = ""): Promise<string[]> {
  const { body } = await api.ask("GET", `${READ}?offset=earliest${query}`);
  return body.messages.map(({ value }: { value: string }) => value);
}

Deno.test("messages of a transaction show when it commits, and nothing behind an open one before", async () => {
  const api = await withTopic();
  const transactionId = await begin(api);
  const first = await publish(api, "in", { transactionId });
  assert.equal(first.status, 200);
  assert.equal(first.body.results[0].offset, 0);
  await publish(api, "after");
  assert.deepEqual(await values(api), []);
  assert.deepEqual(await values(api, "&isolation=read_uncommitted"), ["in", "after"]);
  assert.equal((await end(api, transactionId, "commit")).body.state, "committed");
  assert.deepEqual(await values(api), ["in", "after"]);
  const { body } = await api.ask("GET", `${READ}?offset=2`);
  assert.deepEqual(body.messages, [], "a marker is no message");
  assert.equal(body.nextOffset, 3);
  await api.close();
});

Deno.test("messages of an aborted transaction are never shown to read_committed, in no format", async () => {
  const api = await withTopic();
  await publish(api, "before");
  const transactionId = await begin(api);
  await publish(api, "gone", { transactionId });
  await publish(api, "also gone", { transactionId });
  await publish(api, "between");
  assert.equal((await end(api, transactionId, "abort")).body.state, "aborted");
  assert.deepEqual(await values(api), ["before", "between"]);
  const lines = await api.ask("GET", READ, { headers: { accept: "application/x-ndjson" } });
  const text = new TextDecoder().decode(lines.body);
  assert.deepEqual(text.trim().split("\n").map((line) => JSON.parse(line).value), [
    "before",
    "between",
  ]);
  const accept = "application/vnd.waybill.batch";
  const batches = await api.ask("GET", READ, { headers: { accept } });
  const raw = new TextDecoder("latin1").decode(batches.body);
  assert.equal(raw.includes("gone"), false);
  assert.equal(batches.headers.get("waybill-next-offset"), "5");
  const uncommitted = await values(api, "&isolation=read_uncommitted");
  assert.deepEqual(uncommitted, ["before", "gone", "also gone", "between"]);
  await api.close();
});

Deno.test("a transaction spans topics and partitions, and all of it shows or none", async () => {
  const api = await withTopic(3);
  await api.ask("POST", "/api/topics", { body: { name: "other", partitions: 1 } });
  for (const how of ["commit", "abort"] as const) {
    const transactionId = await begin(api);
    for (const partition of [0, 1, 2]) await publish(api, how, { transactionId, partition });
    await publish(api, how, { transactionId, topic: "other" });
    await end(api, transactionId, how);
  }
  for (const at of ["orders/partitions/0", "orders/partitions/2", "other/partitions/0"]) {
    const { body } = await api.ask("GET", `/api/topics/${at}/messages`);
    assert.deepEqual(body.messages.map(({ value }: { value: string }) => value), ["commit"], at);
  }
  await api.close();
});

Deno.test("offsets of a transaction are committed with it, or dropped with it", async () => {
  const api = await withTopic();
  for (const value of ["a", "b", "c"]) await publish(api, value);
  const offsets = [{ groupId: "g", topic: "orders", partition: 0, offset: 2 }];
  const committed = async () => (await api.ask("GET", "/api/groups/g")).body.offsets;
  const wrong = await begin(api);
  const refused = await end(api, wrong, "commit", { offsets: [{ ...offsets[0], offset: 99 }] });
  assert.equal(refused.status, 400);
  assert.equal(refused.body.code, "OFFSET_OUT_OF_RANGE");
  const member = { ...offsets[0], memberId: "nobody" };
  const unknown = await end(api, wrong, "commit", { offsets: [member] });
  assert.equal(unknown.body.code, "UNKNOWN_MEMBER");
  assert.equal((await api.ask("GET", `/api/transactions/${wrong}`)).body.state, "open");
  assert.equal((await end(api, wrong, "commit", { offsets })).body.state, "committed");
  assert.deepEqual((await committed())[0].offset, 2);
  assert.deepEqual((await api.ask("GET", "/api/groups/g")).body.staged, []);
  const aborted = await begin(api);
  await end(api, aborted, "abort");
  const late = await end(api, aborted, "commit", { offsets: [{ ...offsets[0], offset: 3 }] });
  assert.equal(late.body.code, "INVALID_TRANSACTION_STATE");
  assert.equal((await committed())[0].offset, 2);
  await api.close();
});

Deno.test("a new holder of a transactional id fences the older one and ends what it has open", async () => {
  const api = await withTopic();
  const old = await begin(api);
  await publish(api, "old", { transactionId: old });
  const next = await begin(api);
  const late = await publish(api, "late", { transactionId: old });
  assert.equal(late.status, 403);
  assert.equal(late.body.code, "PRODUCER_FENCED");
  assert.equal((await end(api, old, "commit")).body.code, "PRODUCER_FENCED");
  await publish(api, "new", { transactionId: next });
  await end(api, next, "commit");
  assert.deepEqual(await values(api), ["new"]);
  assert.equal((await end(api, next, "commit")).body.state, "committed", "a repeat");
  assert.equal((await end(api, next, "abort")).body.code, "INVALID_TRANSACTION_STATE");
  await api.close();
});

Deno.test("a transaction that lasts too long is aborted by the broker", async () => {
  const api = await withTopic();
  const transactionId = await begin(api, { timeoutMs: 5_000 });
  await publish(api, "slow", { transactionId });
  await publish(api, "next");
  assert.deepEqual(await values(api), []);
  await api.time.advance(5_000);
  assert.deepEqual(await values(api), ["next"]);
  const late = await publish(api, "late", { transactionId });
  assert.equal(late.status, 409);
  assert.equal(late.body.code, "INVALID_TRANSACTION_STATE");
  assert.equal(late.body.reason, "timed out");
  await api.close();
});

Deno.test("a repeat with its sequence is stored once in the transaction, a gap is refused", async () => {
  const api = await withTopic();
  const transactionId = await begin(api);
  const first = await publish(api, "a", { transactionId, sequence: 0 });
  const repeat = await publish(api, "a", { transactionId, sequence: 0 });
  assert.deepEqual(repeat.body.results, [{ ...first.body.results[0], duplicate: true }]);
  const gap = await publish(api, "c", { transactionId, sequence: 2 });
  assert.equal(gap.body.code, "OUT_OF_ORDER_SEQUENCE");
  assert.equal(gap.body.expectedSequence, 1);
  await publish(api, "b", { transactionId });
  await end(api, transactionId, "commit");
  assert.deepEqual(await values(api), ["a", "b"]);
  await api.close();
});

Deno.test("a message without sequence is never taken for the one that a later sequence names", async () => {
  const api = await withTopic(2);
  const transactionId = await begin(api);
  assert.equal((await publish(api, "a", { transactionId })).status, 200);
  const other = await publish(api, "b", { transactionId, sequence: 0 });
  assert.deepEqual([other.status, other.body.code], [400, "INVALID_REQUEST"]);
  assert.match(other.body.detail, /^sequence: .* partition 0 of orders without one/);
  const elsewhere = await publish(api, "c", { transactionId, partition: 1, sequence: 0 });
  assert.equal(elsewhere.body.results[0].duplicate, false);
  assert.equal((await publish(api, "d", { transactionId })).status, 200);
  await end(api, transactionId, "commit");
  assert.deepEqual(await values(api), ["a", "d"]);
  await api.close();
});

Deno.test("what a transaction cannot be is refused before anything is stored", async () => {
  const api = await withTopic();
  const transactionId = await begin(api);
  const { producerId, producerEpoch } = parseTransactionId(transactionId);
  const cases: [Record<string, unknown>, string][] = [
    [{ transactionId: "nonsense" }, "UNKNOWN_TRANSACTION"],
    [{ transactionId: "bm9ib2R5.1.1" }, "UNKNOWN_TRANSACTION"],
    [{ transactionId, acks: "none" }, "INVALID_REQUEST"],
    [{ transactionId, producerId: 7 }, "INVALID_REQUEST"],
    [{ transactionId, producerId }, "INVALID_REQUEST"],
    [{ transactionId, producerEpoch }, "INVALID_REQUEST"],
    [{ transactionId, partition: undefined, sequence: 0 }, "INVALID_REQUEST"],
    [{ transactionId, messages: [{ value: "x", idempotencyKey: "k" }] }, "INVALID_REQUEST"],
    [{ transactionId, topic: "missing" }, "UNKNOWN_TOPIC"],
    [{ transactionId, topic: "__groups" }, "INTERNAL_TOPIC"],
  ];
  for (const [more, code] of cases) {
    const answer = await publish(api, "x", more);
    assert.equal(answer.body.code, code, JSON.stringify(more));
  }
  assert.deepEqual(await api.stored(), { "orders/0": 0 });
  const offsets = [{ groupId: "__g", topic: "orders", partition: 0, offset: 0 }];
  assert.equal((await end(api, transactionId, "commit", { offsets })).status, 403);
  assert.equal((await end(api, "nonsense", "commit")).status, 404);
  assert.equal((await end(api, "nonsense", "abort")).status, 404);
  assert.equal((await api.ask("GET", "/api/transactions/nonsense")).status, 404);
  await api.close();
});

Deno.test("a group that has read every message is not behind by markers and aborted messages", async () => {
  const api = await withTopic();
  const kept = await begin(api);
  await publish(api, "a", { transactionId: kept });
  await end(api, kept, "commit");
  const commit = (offset: number) => {
    const body = { groupId: "g", offsets: [{ topic: "orders", partition: 0, offset }] };
    return api.ask("POST", "/api/offsets:commit", { body });
  };
  const lag = async () => (await api.ask("GET", "/api/groups/g/lag")).body.totalLag;
  await commit(0);
  assert.equal(await lag(), 1, "the marker is no message");
  await commit(1);
  assert.equal(await lag(), 0);
  const dropped = await begin(api);
  for (const value of ["x", "y"]) await publish(api, value, { transactionId: dropped });
  assert.equal(await lag(), 2, "they may be committed yet");
  await end(api, dropped, "abort");
  assert.equal(await lag(), 0);
  await publish(api, "b");
  assert.equal(await lag(), 1);
  await api.close();
});

Deno.test("transactions that have not ended are listed, page by page", async () => {
  const api = await withTopic();
  const ids: string[] = [];
  for (const transactionalId of ["c", "a", "b"]) ids.push(await begin(api, { transactionalId }));
  await publish(api, "x", { transactionId: ids[1] });
  const first = (await api.ask("GET", "/api/transactions?limit=2")).body;
  assert.deepEqual(
    first.transactions.map((one: { transactionalId: string }) => one.transactionalId),
    ["a", "b"],
  );
  assert.equal(first.transactions[0].transactionId, ids[1]);
  assert.deepEqual(first.transactions[0].partitions, [{ topic: "orders", partition: 0 }]);
  const { body } = await api.ask("GET", `/api/transactions?limit=2&cursor=${first.nextCursor}`);
  assert.deepEqual(body.transactions.map(({ state }: { state: string }) => state), ["open"]);
  for (const id of ids) await end(api, id, "abort");
  assert.deepEqual((await api.ask("GET", "/api/transactions")).body, { transactions: [] });
  await api.close();
});

Deno.test("a topic that is deleted meanwhile does not hold up the end of a transaction", async () => {
  const api = await withTopic();
  const transactionId = await begin(api);
  await publish(api, "x", { transactionId });
  await api.ask("DELETE", "/api/topics/orders");
  await api.ask("POST", "/api/topics", { body: { name: "orders" } });
  assert.equal((await end(api, transactionId, "commit")).body.state, "committed");
  assert.deepEqual(await api.stored(), { "orders/0": 0 });
  await api.close();
});

Deno.test("members of a group are given committed messages only, and start behind what a transaction is about to commit", async () => {
  const stores = memoryBrokerStores();
  const broker = await stores.open();
  await broker.createTopic({ name: "orders", partitions: 1, config: TOPIC_CONFIG });
  const transaction = await broker.transactions.begin({ transactionalId: "t", principal: "p" });
  const staged = {
    group: "g",
    transactionId: transaction.transactionId,
    offsets: [{ topic: "orders", partition: 0, offset: 0, endOffset: 0 }],
    principal: "p",
  };
  await broker.group({ type: "StageOffsets", ...staged });
  const described = await broker.group({ type: "Describe", group: "g" });
  assert.deepEqual(described.offsets, []);
  assert.deepEqual(described.staged, [{ topic: "orders", partition: 0 }]);
  const ended = { group: "g", transactionId: transaction.transactionId, commit: true };
  await broker.group({ type: "EndStagedOffsets", ...ended });
  await broker.group({ type: "EndStagedOffsets", ...ended });
  const after = await broker.group({ type: "Describe", group: "g" });
  assert.deepEqual(after.offsets.map(({ offset }) => offset), [0]);
  assert.deepEqual(after.staged, []);
  await broker.close();
});
