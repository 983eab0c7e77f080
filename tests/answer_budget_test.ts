// Owns proof that answers that nobody reads stay within their budget, that it is always given back, and that tenants beside
// the one that does not read are served.
import assert from "node:assert/strict";
import { AnswerBudget, AnswerHold, MIN_ANSWER_BYTES } from "../api/answer_budget.ts";
import { answerBody, MAX_WHOLE_BYTES } from "../api/answer_body.ts";
import { DEFAULT_API_LIMITS } from "../api/limits.ts";
import { createConsuming } from "../api/stream/consuming.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { type ApiUnderTest, apiUnderTest } from "./support/api_app.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

const KIB = 1_024;
const MIB = 1_024 * KIB;
const PATH = "http://127.0.0.1:8080/api/topics/orders/partitions/0/messages";
const NOBODY_GOES = () => new AbortController().signal;
const hasCode = (code: string) => (error: unknown) =>
  error instanceof BrokerError && error.code === code;
const holdOf = (budget: AnswerBudget, tenant = "a") =>
  new AnswerHold(budget, tenant, { signal: NOBODY_GOES() });

Deno.test("a tenant whose answers are not read gets smaller ones, then none, and leaves room for others", async () => {
  const budget = new AnswerBudget(64 * MIB, null);
  const granted: number[] = [];
  const fill = async (tenant: string) => {
    for (;;) granted.push(await budget.take(tenant, 8 * MIB, NOBODY_GOES));
  };
  await assert.rejects(fill("greedy"), hasCode("OVERLOADED"));
  assert.equal(granted[0], 8 * MIB);
  assert.equal(granted.at(-1), MIN_ANSWER_BYTES);
  assert.ok(granted.length > 100, `${granted.length} answers`);
  assert.ok(budget.heldBy("greedy") <= 32 * MIB);
  assert.equal(await budget.take("other", 8 * MIB, NOBODY_GOES), 8 * MIB);
  await assert.rejects(fill("other"), hasCode("OVERLOADED"));
  await assert.rejects(fill("third"), hasCode("OVERLOADED"));
  assert.ok(budget.takenBytes <= 64 * MIB);
  for (const tenant of ["greedy", "other", "third"]) {
    assert.ok(budget.heldBy(tenant) > 7 * MIB, tenant);
    budget.give(tenant, budget.heldBy(tenant));
  }
  assert.equal(budget.takenBytes, 0);
});

Deno.test("who finds no room waits for it in the order of coming, and not for ever", async () => {
  const time = new VirtualClock();
  const budget = new AnswerBudget(4 * MIN_ANSWER_BYTES, time);
  budget.add("a", 2 * MIN_ANSWER_BYTES);
  const order: string[] = [];
  const waits = (name: string, signal = NOBODY_GOES) =>
    budget.take("a", MIN_ANSWER_BYTES, signal)
      .then(() => order.push(name), ({ code }) => order.push(`${name} ${code}`));
  const leaving = new AbortController();
  const all = [waits("first"), waits("gone", () => leaving.signal), waits("second")];
  all.push(waits("third"));
  await settle();
  assert.deepEqual(order, []);
  leaving.abort();
  await settle();
  budget.give("a", MIN_ANSWER_BYTES);
  await settle();
  assert.deepEqual(order, ["gone OVERLOADED", "first"]);
  budget.give("a", MIN_ANSWER_BYTES);
  await settle();
  assert.equal(order.at(-1), "second");
  await time.advance(5_000);
  await Promise.all(all);
  assert.equal(order.at(-1), "third OVERLOADED");
  assert.equal(time.pendingTimers, 0);
  assert.equal(budget.takenBytes, 2 * MIN_ANSWER_BYTES);
});

Deno.test("a large body is held until it has been taken, piece by piece, and nothing of it when it is given up", async () => {
  const budget = new AnswerBudget(MIB, null);
  const pieces = Array.from({ length: 90_000 }, (_, index) => `${index}ä,`);
  const text = pieces.join("");
  const bytes = new TextEncoder().encode(text);
  for (const content of [text, pieces, bytes]) {
    for (const takesAll of [true, false]) {
      const hold = holdOf(budget);
      const body = answerBody(content, { hold, mustTell: true });
      hold.done();
      assert.equal(body.lengthBytes, bytes.length);
      assert.equal(budget.takenBytes, bytes.length);
      const reader = (body.body as ReadableStream<Uint8Array>).getReader();
      if (takesAll) {
        let taken = "";
        const decoder = new TextDecoder();
        for (let part = await reader.read(); !part.done; part = await reader.read()) {
          taken += decoder.decode(part.value, { stream: true });
        }
        assert.equal(taken, text);
      } else {
        await reader.read();
        assert.ok(budget.takenBytes > 0);
        await reader.cancel();
      }
      assert.equal(budget.takenBytes, 0);
    }
  }
});

Deno.test("a small body is handed over whole, and is nobody's to hold", () => {
  const budget = new AnswerBudget(MIB, null);
  const text = "x".repeat(MAX_WHOLE_BYTES - 1);
  for (const content of [text, [text, "x"], new TextEncoder().encode(text)]) {
    const hold = holdOf(budget);
    const { lengthBytes } = answerBody(content, { hold, mustTell: false });
    hold.done();
    assert.deepEqual([lengthBytes, budget.takenBytes], [null, 0]);
  }
});

async function withLargeTopic(limitBytes: number): Promise<ApiUnderTest> {
  const time = new VirtualClock();
  const api = await apiUnderTest({
    time,
    group: { initialRebalanceDelayMs: 0, rebalanceDelayMs: 0 },
    app: {
      routes: [createConsuming({ timers: time }).routes],
      limits: { ...DEFAULT_API_LIMITS, maxAnswerBytes: limitBytes },
    },
  });
  await api.ask("POST", "/api/topics", { body: { name: "orders" } });
  for (let batch = 0; batch < 4; batch++) {
    const messages = Array.from({ length: 7 }, () => ({ value: "x".repeat(70_000) }));
    await api.ask("POST", "/api/messages:publish", { body: { topic: "orders", messages } });
  }
  return api;
}

/** Lets virtual time go by until `promise` has settled. */
async function passing<T>(api: ApiUnderTest, promise: Promise<T>): Promise<T> {
  let isDone = false;
  promise.finally(() => isDone = true).catch(() => {});
  for (let turn = 0; turn < 2_000 && !isDone; turn++) {
    await settle();
    await api.time.advance(turn < 30 ? 0 : 20);
  }
  assert.ok(isDone, "no answer came");
  return await promise;
}

const TYPES = ["json", "msgpack", "x-ndjson", "vnd.waybill.batch"];

for (const type of TYPES) {
  Deno.test(`answers of ${type} that nobody reads become small, then are refused, until they are given up`, async () => {
    const api = await withLargeTopic(8 * MIB);
    const headers = { accept: `application/${type}` };
    const get = (init: RequestInit = {}) =>
      api.app.fetch(new Request(`${PATH}?maxBytes=${2 * MIB}`, { headers, ...init }));
    const whole = (await (await get()).arrayBuffer()).byteLength;
    assert.ok(whole > 1_900_000);
    const unread: Response[] = [];
    let response = await get();
    while (response.status === 200) {
      unread.push(response);
      assert.ok(unread.length < 500, "answers are never refused");
      response = await get();
    }
    assert.equal(response.status, 503);
    assert.match(await response.text(), /OVERLOADED/);
    assert.ok(Number(response.headers.get("retry-after")) >= 1);
    assert.ok(unread.length >= 2);
    for (const each of unread) await each.body!.cancel();
    // Who only asks what there would be, holds nothing.
    for (let asked = 0; asked < 50; asked++) {
      assert.equal((await get({ method: "HEAD" })).status, 200);
    }
    const again = await get();
    assert.equal((await again.arrayBuffer()).byteLength, whole);
    assert.deepEqual(api.faults, []);
    await api.close();
  });
}

Deno.test("polls whose answers nobody reads become small, lose nothing, and are refused before anything is leased", async () => {
  const api = await withLargeTopic(4 * MIB);
  const path = "/api/groups/billing/members";
  const tokens = new Map<string, string>();
  const poll = async (memberId: string) =>
    await passing(
      api,
      api.app.fetch(
        new Request(`http://127.0.0.1:8080${path}/${memberId}:poll`, {
          method: "POST",
          body: JSON.stringify({ leaseToken: tokens.get(memberId) }),
          headers: { "content-type": "application/json" },
        }),
      ) as Promise<Response>,
    );
  const body = { topics: ["orders"] };
  const { memberId, leaseToken } = (await passing(api, api.ask("POST", path, { body }))).body;
  tokens.set(memberId, leaseToken);
  const unread: Response[] = [];
  // The same again: its first answer was not read.
  let response = await poll(memberId);
  while (response.status === 200) {
    unread.push(response);
    assert.ok(unread.length < 500, "answers are never refused");
    response = await poll(memberId);
  }
  assert.equal((await response.json()).code, "OVERLOADED");
  await Promise.all(unread.slice(1).map((each) => each.body!.cancel()));
  const { messages, leaseToken: next } = await unread[0]!.json();
  tokens.set(memberId, next);
  const lost = await (await poll(memberId)).json();
  assert.deepEqual(lost.messages, messages);
  await api.close();
});

Deno.test("where a connection has many requests at once, small answers are held too", async () => {
  const api = await withLargeTopic(MIB);
  await api.ask("POST", "/api/topics", { body: { name: "wide", partitions: 50 } });
  const get = (isMultiplexed: boolean) =>
    api.app.fetch(new Request("http://127.0.0.1:8080/api/topics/wide"), { isMultiplexed });
  const size = (await (await get(false)).text()).length;
  assert.ok(size > 2_000 && size < MAX_WHOLE_BYTES, `${size} bytes`);
  for (let count = 0; count < 500; count++) assert.equal((await get(false)).status, 200);
  const unread: Response[] = [];
  let response = await get(true);
  while (response.status === 200) {
    unread.push(response);
    assert.ok(unread.length < 5_000, "answers are never refused");
    response = await get(true);
  }
  assert.ok(unread.length * size > 400_000, `${unread.length} answers of ${size} bytes`);
  await Promise.all(unread.map((each) => each.body!.cancel()));
  assert.equal((await (await get(true)).text()).length, size);
  await api.close();
});

Deno.test("an administrator is answered while a tenant's answers are not read, and strangers while theirs are not", async () => {
  const adminToken = "an-administrator-token-of-some-length";
  const time = new VirtualClock();
  const api = await apiUnderTest({
    time,
    app: {
      limits: { ...DEFAULT_API_LIMITS, maxAnswerBytes: 2 * MIB },
      security: { adminToken, allowedOrigins: [] },
    },
  });
  const get = (path: string, token?: string) =>
    api.app.fetch(
      new Request(`http://127.0.0.1:8080${path}`, {
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      }),
    );
  const unread: Response[] = [];
  for (let response = await get("/docs"); response.status === 200; response = await get("/docs")) {
    unread.push(response);
    assert.ok(unread.length < 100);
  }
  assert.ok(unread.length > 0);
  const headers = { authorization: `Bearer ${adminToken}` };
  for (let count = 0; count < 40; count++) {
    const body = { name: `topic-${count}`.padEnd(200, "x"), partitions: 1 };
    assert.equal((await api.ask("POST", "/api/topics", { body, headers })).status, 201);
  }
  const topics = await get("/api/topics?limit=1000", adminToken);
  assert.equal(topics.status, 200);
  const text = await topics.text();
  assert.ok(text.length > 16_384, `${text.length} characters`);
  await Promise.all(unread.map((each) => each.body!.cancel()));
  assert.equal((await get("/docs")).status, 200);
  await api.close();
});
