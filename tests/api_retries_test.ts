// Owns what a user sees of retries over HTTP: nacks, policies, dead letters and their list.
// Refuses to own delivering over streams and polls. Invariant: a whole broker in memory, asked without sockets.
import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import { type ApiUnderTest, apiUnderTest } from "./support/api_app.ts";

async function withOrders(
  run: (api: ApiUnderTest) => Promise<void>,
  options: Parameters<typeof apiUnderTest>[0] = {},
): Promise<void> {
  const api = await apiUnderTest(options);
  try {
    const topic = await api.ask("POST", "/api/topics", { body: { name: "orders", partitions: 2 } });
    assert.equal(topic.status, 201);
    const messages = [0, 1, 2, 3].map((n) => ({
      key: `k${n}`,
      value: { n },
      headers: { tenant: "t1" },
      idempotencyKey: `id-${n}`,
      partition: 0,
    }));
    const published = await api.ask("POST", "/api/messages:publish", {
      body: { topic: "orders", messages },
    });
    assert.equal(published.status, 200, JSON.stringify(published.body));
    await run(api);
    assert.deepEqual(api.faults, []);
  } finally {
    await api.close();
  }
}

/** A nack alone makes no group. */
async function makeGroup(api: ApiUnderTest, groupId: string): Promise<void> {
  const body = { groupId, offsets: [{ topic: "orders", partition: 0, offset: 0 }] };
  assert.equal((await api.ask("POST", "/api/offsets:commit", { body })).status, 200);
}

function nack(api: ApiUnderTest, offset: number, more: Record<string, unknown> = {}) {
  const body = { groupId: "billing", topic: "orders", partition: 0, offset, ...more };
  return api.ask("POST", "/api/messages:nack", { body });
}

async function deadLetters(api: ApiUnderTest, query = "", count = 1) {
  for (let tries = 0;; tries++) {
    const { status, body } = await api.ask("GET", `/api/dlq${query}`);
    assert.equal(status, 200, JSON.stringify(body));
    if (body.deadLetters.length >= count || tries > 200) return body;
    await new Promise((resolve) => setTimeout(resolve, 0));
    await api.time.advance(1);
  }
}

Deno.test("a nack answers the attempt that failed and when the next comes, the eighth that it is dead", async () => {
  await withOrders(async (api) => {
    await makeGroup(api, "billing");
    for (let attempt = 1; attempt < 8; attempt++) {
      const { status, body } = await nack(api, 1, { code: "TIMEOUT", reason: "slow" });
      assert.equal(status, 200);
      assert.equal(body.attempt, attempt);
      const waitMs = body.nextAttemptAt - api.time.now();
      assert.ok(waitMs >= 2 ** attempt * 100 && waitMs <= 2 ** attempt * 100 + 99, `${waitMs}`);
      assert.equal("deadLettered" in body, false);
    }
    const { body } = await nack(api, 1, { code: "TIMEOUT", reason: "slow" });
    assert.deepEqual(body, { attempt: 8, deadLettered: true });
    const { deadLetters: [letter] } = await deadLetters(api, "?topic=orders&group=billing");
    const { timestamp: _, headers, ...rest } = letter;
    assert.deepEqual(rest, {
      topic: "dlq.orders",
      partition: 0,
      offset: 0,
      key: "k1",
      value: { n: 1 },
      origin: { topic: "orders", partition: 0, offset: 1, group: "billing" },
      reason: "slow",
      code: "TIMEOUT",
      attempts: 8,
    });
    const { "waybill-origin-timestamp": originAt, ...others } = headers;
    assert.match(originAt, /^\d+$/);
    assert.deepEqual(others, {
      "content-type": "application/json",
      tenant: "t1",
      "idempotency-key": "id-1",
      "waybill-origin-topic": "orders",
      "waybill-origin-partition": "0",
      "waybill-origin-offset": "1",
      "waybill-origin-group": "billing",
      "waybill-reason": "slow",
      "waybill-code": "TIMEOUT",
      "waybill-attempts": "8",
    });
    const { body: topic } = await api.ask("GET", "/api/topics/dlq.orders");
    assert.equal(topic.partitions.length, 2);
  });
});

Deno.test("dead letters are listed page by page, by reason, code and origin", async () => {
  await withOrders(async (api) => {
    await makeGroup(api, "billing");
    for (const offset of [0, 1, 2]) {
      await nack(api, offset, { code: "NON_RETRYABLE", reason: `reason ${offset}` });
    }
    await makeGroup(api, "audit");
    await nack(api, 3, { groupId: "audit", code: "NON_RETRYABLE" });
    const offsetsOf = (body: { deadLetters: { origin: { offset: number } }[] }) =>
      body.deadLetters.map(({ origin }) => origin.offset).sort();
    assert.deepEqual(offsetsOf(await deadLetters(api, "", 4)), [0, 1, 2, 3]);
    assert.deepEqual(offsetsOf(await deadLetters(api, "?group=billing&topic=orders", 3)), [
      0,
      1,
      2,
    ]);
    assert.deepEqual(offsetsOf(await deadLetters(api, "?group=audit")), [3]);
    assert.deepEqual(offsetsOf(await deadLetters(api, "?reason=on%202")), [2]);
    assert.deepEqual(offsetsOf(await deadLetters(api, "?topic=orders&partition=0&offset=1")), [1]);
    assert.deepEqual(offsetsOf(await deadLetters(api, "?code=NON_RETRYABLE", 4)), [0, 1, 2, 3]);
    assert.deepEqual(offsetsOf(await deadLetters(api, "?code=OTHER", 0)), []);
    assert.deepEqual(offsetsOf(await deadLetters(api, "?topic=nothing", 0)), []);
    const seen: number[] = [];
    for (let query = "?limit=3";;) {
      const page = await deadLetters(api, query, 0);
      seen.push(
        ...page.deadLetters.map((letter: { origin: { offset: number } }) => letter.origin.offset),
      );
      if (page.nextCursor === undefined) break;
      query = `?limit=3&cursor=${page.nextCursor}`;
    }
    assert.deepEqual(seen.sort(), [0, 1, 2, 3]);
    assert.equal((await api.ask("GET", "/api/dlq?cursor=rubbish")).status, 400);
  });
});

Deno.test("a nack of what cannot be is refused, and nothing is stored", async () => {
  await withOrders(async (api) => {
    await makeGroup(api, "billing");
    const codeOf = async (offset: number, more: Record<string, unknown> = {}) => {
      const { status, body } = await nack(api, offset, more);
      return `${status} ${body.code}`;
    };
    assert.equal(await codeOf(4), "400 OFFSET_OUT_OF_RANGE");
    assert.equal(await codeOf(0, { topic: "nothing" }), "404 UNKNOWN_TOPIC");
    assert.equal(await codeOf(0, { partition: 2 }), "404 UNKNOWN_PARTITION");
    assert.equal(await codeOf(0, { memberId: "nobody" }), "404 UNKNOWN_MEMBER");
    assert.equal(await codeOf(0, { generation: 7 }), "409 STALE_GENERATION");
    assert.equal(await codeOf(0, { groupId: "__internal" }), "403 FORBIDDEN");
    assert.equal(await codeOf(-1), "400 INVALID_REQUEST");
    assert.equal(await codeOf(0, { delayMs: 1e400 }), "400 INVALID_REQUEST");
    const { body } = await api.ask("GET", "/api/groups/billing");
    assert.deepEqual(body.retries, { waiting: 0, inHand: 0, deadLettersToWrite: 0 });
  });
});

Deno.test("a nack whose answer was lost is repeated without a second dead letter", async () => {
  await withOrders(async (api) => {
    await makeGroup(api, "billing");
    const dead = { attempt: 1, deadLettered: true };
    const again = () => nack(api, 0, { code: "NON_RETRYABLE", attempt: 1 });
    assert.deepEqual((await again()).body, dead);
    await deadLetters(api);
    assert.deepEqual((await again()).body, dead, "written, not committed past");
    const body = { groupId: "billing", offsets: [{ topic: "orders", partition: 0, offset: 1 }] };
    assert.equal((await api.ask("POST", "/api/offsets:commit", { body })).status, 200);
    for (let time = 0; time < 3; time++) assert.deepEqual((await again()).body, dead);
    await api.time.advance(1_000);
    assert.equal((await deadLetters(api)).deadLetters.length, 1);
  });
});

Deno.test("a policy is set for a topic or for all, and told as it stands", async () => {
  await withOrders(async (api) => {
    const path = "/api/groups/billing/retry-policy";
    const put = (body: Record<string, unknown>) => api.ask("PUT", path, { body });
    assert.equal((await api.ask("GET", path)).status, 404);
    const own = { maxAttempts: 2, baseMs: 10, maxMs: 50, jitterMs: 0, ordering: "blockKey" };
    const set = await put({ topic: "orders", ...own });
    assert.equal(set.status, 200);
    assert.equal(set.body.maxAttempts, 2);
    assert.equal((await put({ maxAttempts: 5 })).status, 200);
    const { body } = await api.ask("GET", path);
    assert.equal(body.maxAttempts, 5);
    assert.equal(body.baseMs, 100);
    assert.deepEqual(body.topics, [{ topic: "orders", ...own, deadlineMs: null }]);
    assert.equal((await api.ask("GET", `${path}?topic=orders`)).body.ordering, "blockKey");
    assert.equal((await put({ topic: "nothing" })).status, 404);
    const internal = await put({ topic: "__groups" });
    assert.deepEqual([internal.status, internal.body.code], [403, "INTERNAL_TOPIC"]);
    assert.equal((await api.ask("GET", `${path}?topic=nothing`)).body.code, "UNKNOWN_TOPIC");
    const crossed = await put({ baseMs: 1_000, maxMs: 500 });
    assert.deepEqual([crossed.status, crossed.body.errors?.[0].path], [400, "maxMs"]);
    assert.equal((await api.ask("GET", path)).body.maxAttempts, 5);
    assert.equal((await put({ ordering: "never" })).status, 400);
    const { body: nacked } = await nack(api, 0);
    assert.equal(nacked.nextAttemptAt - api.time.now(), 20);
    assert.deepEqual((await nack(api, 0)).body, { attempt: 2, deadLettered: true });
  });
});

Deno.test("a flood of dead letters pauses the group with the reason", async () => {
  await withOrders(async (api) => {
    await makeGroup(api, "billing");
    for (const offset of [0, 1, 2]) await nack(api, offset, { code: "NON_RETRYABLE" });
    const { body } = await api.ask("GET", "/api/groups/billing");
    assert.match(body.paused.reason, /3 dead letters within a minute, more than 2/);
    await deadLetters(api, "", 3);
  }, { group: { maxDeadLettersPerMinute: 2 } });
});

Deno.test("what readers are not shown is not to be nacked: open and aborted transactions, and their ends", async () => {
  await withOrders(async (api) => {
    await makeGroup(api, "billing");
    const begun = await api.ask("POST", "/api/transactions", { body: { transactionalId: "t" } });
    const { transactionId } = begun.body;
    const messages = [{ value: "secret", partition: 0 }, { value: "secret too", partition: 0 }];
    const published = await api.ask("POST", "/api/messages:publish", {
      body: { topic: "orders", messages, transactionId },
    });
    assert.equal(published.status, 200, JSON.stringify(published.body));
    const refused = async (offset: number, detail: RegExp) => {
      const { status, body } = await nack(api, offset, { code: "NON_RETRYABLE" });
      assert.deepEqual([status, body.code], [400, "OFFSET_OUT_OF_RANGE"]);
      assert.match(body.detail, detail);
    };
    for (const { offset } of published.body.results) {
      await refused(offset, /before the transaction that is open at 4 ends/);
    }
    assert.equal((await api.ask("POST", `/api/transactions/${transactionId}:abort`)).status, 200);
    for (const { offset } of published.body.results) await refused(offset, /is no message/);
    await refused(6, /is no message/);
    await refused(7, /ends at 7/);
    assert.equal((await nack(api, 3, { code: "NON_RETRYABLE" })).status, 200);
    // A member of the broker's own that knew no better tells nothing of it either.
    const [at] = published.body.results;
    await api.broker.group({
      type: "Nack",
      group: "billing",
      principal: "tester",
      nacks: [{ ...at, topic: "orders", endOffset: 7, fraction: 0, code: "NON_RETRYABLE" }],
    });
    const { deadLetters: letters } = await deadLetters(api, "", 2);
    assert.deepEqual(letters.map(({ value }: { value: unknown }) => value), [{ n: 3 }, null]);
  });
});

Deno.test("a nack makes no group", async () => {
  await withOrders(async (api) => {
    const { status, body } = await nack(api, 0, { groupId: "typo-group" });
    assert.deepEqual([status, body.code], [404, "UNKNOWN_GROUP"]);
    assert.equal((await api.ask("GET", "/api/groups/typo-group")).status, 404);
  });
});

Deno.test("the list of dead letters shows which were redriven", async () => {
  await withOrders(async (api) => {
    const grouped = await api.ask("POST", "/api/offsets:commit", {
      body: { groupId: "billing", offsets: [{ topic: "orders", partition: 0, offset: 0 }] },
    });
    assert.equal(grouped.status, 200);
    for (const offset of [0, 1]) await nack(api, offset, { code: "NON_RETRYABLE" });
    await deadLetters(api, "", 2);
    const { status, body: job } = await api.ask("POST", "/api/dlq:redrive", {
      body: { topic: "orders", filter: { offset: 1 }, reason: "mended" },
    });
    assert.equal(status, 202, JSON.stringify(job));
    for (let tries = 0; tries < 200; tries++) {
      const { body: { state } } = await api.ask("GET", `/api/replays/${job.jobId}`);
      if (state === "completed") break;
      await new Promise((resolve) => setTimeout(resolve, 0));
      await api.time.advance(10);
    }
    const { deadLetters: letters } = await deadLetters(api, "", 2);
    const shown = letters.map((letter: { origin: { offset: number }; redriven?: true }) =>
      `${letter.origin.offset} ${letter.redriven}`
    );
    assert.deepEqual(shown.sort(), ["0 undefined", "1 true"]);
  });
});

Deno.test("dead letters are listed while the first of a topic is only being written, or its topic goes", async () => {
  await withOrders(async (api) => {
    await makeGroup(api, "billing");
    await nack(api, 0, { code: "NON_RETRYABLE" });
    await deadLetters(api);
    await api.ask("POST", "/api/topics", { body: { name: "dlq.payments" } });
    const { broker } = api;
    const partitionInfo = broker.partitionInfo.bind(broker);
    for (const code of ["UNKNOWN_PARTITION", "UNKNOWN_TOPIC"] as const) {
      broker.partitionInfo = (at) =>
        at.topic === "dlq.payments"
          ? Promise.reject(new BrokerError(code, "not there yet"))
          : partitionInfo(at);
      const { status, body } = await api.ask("GET", "/api/dlq");
      assert.deepEqual([status, body.deadLetters?.length], [200, 1]);
    }
  });
});

Deno.test("what is in no committed transaction is no dead letter", async () => {
  await withOrders(async (api) => {
    await api.ask("POST", "/api/topics", { body: { name: "dlq.orders" } });
    const { body: { transactionId } } = await api.ask("POST", "/api/transactions", {
      body: { transactionalId: "t" },
    });
    const headers = {
      "waybill-origin-topic": "orders",
      "waybill-origin-partition": "0",
      "waybill-origin-offset": "0",
      "waybill-origin-group": "billing",
      "waybill-attempts": "1",
    };
    const messages = [{ value: "secret", headers }];
    const body = { topic: "dlq.orders", messages, transactionId };
    assert.equal((await api.ask("POST", "/api/messages:publish", { body })).status, 200);
    assert.deepEqual((await api.ask("GET", "/api/dlq")).body.deadLetters, []);
    await api.ask("POST", `/api/transactions/${transactionId}:abort`);
    assert.deepEqual((await api.ask("GET", "/api/dlq")).body.deadLetters, []);
  });
});
