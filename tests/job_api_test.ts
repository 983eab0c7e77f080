// Owns the tests of replay and redrive jobs over HTTP, on a whole broker in memory and virtual time.
// Refuses to own the decider (job_decide_test.ts) and killed processes (e2e_jobs_test.ts).
import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import { partitionForKey } from "../storage/format/murmur2.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import {
  type Answer,
  type ApiOptions,
  type ApiUnderTest,
  apiUnderTest,
} from "./support/api_app.ts";
import { FaultyLogStore } from "./support/faulty_logs.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { VirtualClock } from "./support/virtual_time.ts";

// deno-lint-ignore no-explicit-any -- what a test reads out of an answer is checked by its assertions
type Any = any;

async function scene(options: ApiOptions = {}) {
  const api = await apiUnderTest(options);
  const topic = async (name: string, partitions = 1) => {
    const made = await api.ask("POST", "/api/topics", { body: { name, partitions } });
    assert.equal(made.status, 201);
  };
  const publish = async (topic: string, messages: unknown[], partition?: number) => {
    const body = { topic, messages, ...(partition === undefined ? {} : { partition }) };
    const answer = await api.ask("POST", "/api/messages:publish", { body });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
  };
  const read = async (topic: string, partition = 0): Promise<Any[]> => {
    const path = `/api/topics/${topic}/partitions/${partition}/messages?maxMessages=10000`;
    return (await api.ask("GET", path)).body.messages;
  };
  const replay = (body: unknown, headers: Record<string, string> = {}) =>
    api.ask("POST", "/api/messages:replay", { body, headers });
  const redrive = (body: object, headers: Record<string, string> = {}) =>
    api.ask("POST", "/api/dlq:redrive", { body: { reason: "mended", ...body }, headers });
  const job = async (id: string): Promise<Any> => (await api.ask("GET", `/api/replays/${id}`)).body;
  const ended = async (answer: Answer): Promise<Any> => {
    assert.equal(answer.status, 202, JSON.stringify(answer.body));
    await api.time.advance(1_000);
    return await job(answer.body.jobId);
  };
  return { api, topic, publish, read, replay, redrive, job, ended };
}

function numbered(count: number, from = 0): Any[] {
  return Array.from({ length: count }, (_, index) => ({
    key: `k${(from + index) % 7}`,
    value: `v${from + index}`,
  }));
}

function letter(origin: Any, why: Any = {}): Any {
  const { topic = "orders", partition = 0, offset = 0, group = "billing" } = origin;
  return {
    key: `k${offset}`,
    value: `letter ${offset}`,
    headers: {
      "own": "kept",
      "idempotency-key": `id-${partition}-${offset}`,
      "waybill-origin-topic": topic,
      "waybill-origin-partition": String(partition),
      "waybill-origin-offset": String(offset),
      "waybill-origin-group": group,
      "waybill-reason": why.reason ?? "Timed out after 5 s",
      "waybill-code": why.code ?? "TIMEOUT",
      "waybill-attempts": "8",
    },
  };
}

Deno.test("a replay appends exactly its range again, with where each message came from", async () => {
  const { api, topic, publish, read, replay, ended } = await scene();
  await topic("orders", 2);
  const sent = numbered(10);
  sent[3] = { key: "k3", value: { a: 1 }, headers: { own: "x" }, idempotencyKey: "id-3" };
  sent[4] = { key: null, value: null };
  await publish("orders", sent, 1);
  const before = await read("orders", 1);
  await api.time.advance(60_000);
  const answer = await replay({ topic: "orders", partition: 1, from: 2, to: 7, reason: "test" });
  assert.equal(answer.body.total, 5);
  assert.equal(answer.body.state, "pending");
  const job = await ended(answer);
  assert.deepEqual([job.state, job.done, job.total, job.error], ["completed", 5, 5, null]);
  assert.deepEqual(job.steps.map((step: Any) => step.action), ["created", "started", "completed"]);
  const all = await read("orders", 1);
  assert.equal(all.length, 15);
  for (const [index, message] of all.slice(10).entries()) {
    const origin = before[2 + index];
    assert.deepEqual([message.key, message.value], [origin.key, origin.value]);
    assert.deepEqual(message.headers, {
      ...origin.headers,
      "waybill-replay-job": job.jobId,
      "waybill-origin-topic": "orders",
      "waybill-origin-partition": "1",
      "waybill-origin-offset": String(2 + index),
      "waybill-origin-timestamp": String(origin.timestamp),
    });
    assert.ok(message.timestamp >= origin.timestamp + 60_000, "retention counts from now");
  }
  assert.equal(all[11].headers["idempotency-key"], "id-3");
  assert.equal((await read("orders", 0)).length, 0);
  assert.deepEqual(api.faults, []);
  await api.close();
});

Deno.test("a replay to another topic keeps keys together, and partitions where both have as many", async () => {
  const { api, topic, publish, read, replay, ended } = await scene();
  await topic("orders", 2);
  await topic("same", 2);
  await topic("wide", 5);
  await publish("orders", numbered(40), 1);
  const whole = { topic: "orders", partition: 1, from: "earliest", to: "latest" };
  await ended(await replay({ ...whole, target: { topic: "same" } }));
  assert.deepEqual(
    (await read("same", 1)).map(({ value }) => value),
    numbered(40).map((m) => m.value),
  );
  const job = await ended(await replay({ ...whole, target: { topic: "wide" } }));
  assert.equal(job.done, 40);
  for (let partition = 0; partition < 5; partition++) {
    const expected = numbered(40)
      .filter(({ key }) => partitionForKey(new TextEncoder().encode(key), 5) === partition);
    assert.deepEqual(
      (await read("wide", partition)).map(({ value }) => value),
      expected.map((m) => m.value),
    );
  }
  await api.close();
});

Deno.test("a replay of a range by time starts at the first message of that time", async () => {
  const { api, topic, publish, read, replay, ended } = await scene();
  await topic("orders");
  const at = api.time.now();
  await publish(
    "orders",
    [1, 2, 3, 4, 5].map((n) => ({ value: `v${n}`, timestamp: at + n * 1_000 })),
  );
  const range = { from: `@${at + 2_000}`, to: `@${new Date(at + 4_000).toISOString()}` };
  const job = await ended(await replay({ topic: "orders", partition: 0, ...range }));
  assert.deepEqual(job.sources.map(({ from, to }: Any) => [from, to]), [[1, 3]]);
  assert.deepEqual((await read("orders")).slice(5).map(({ value }) => value), ["v2", "v3"]);
  await api.close();
});

Deno.test("a dry run counts and appends nothing", async () => {
  const { api, topic, publish, replay, redrive } = await scene();
  await topic("orders");
  await topic("dlq.orders");
  await publish("orders", numbered(10));
  await publish("dlq.orders", [letter({ offset: 1 }), letter({ offset: 2 }, { code: "X" })]);
  const before = await api.stored();
  const dry = await replay({ topic: "orders", partition: 0, from: 3, to: 9, dryRun: true });
  assert.equal(dry.status, 202);
  assert.deepEqual([dry.body.state, dry.body.total, dry.body.done, dry.body.dryRun], [
    "completed",
    6,
    0,
    true,
  ]);
  const letters = await redrive({ topic: "orders", dryRun: true, filter: { code: "X" } });
  assert.deepEqual([letters.body.state, letters.body.total], ["completed", 1]);
  await api.time.advance(5_000);
  assert.deepEqual(await api.stored(), before);
  await api.close();
});

Deno.test("the same Idempotency-Key and body answer the same job, another body is refused", async () => {
  const { api, topic, publish, read, replay, redrive, ended } = await scene();
  await topic("orders");
  await publish("orders", numbered(5));
  const body = { topic: "orders", partition: 0, from: 0, to: 5 };
  const key = { "idempotency-key": "once" };
  const [first, second] = await Promise.all([replay(body, key), replay(body, key)]);
  assert.equal(second.body.jobId, first.body.jobId);
  assert.deepEqual(
    [first, second].map(({ headers }) => headers.get("idempotency-replayed")).sort(),
    [null, "true"],
  );
  await ended(first);
  const late = await replay({ to: 5, from: 0, partition: 0, topic: "orders" }, key);
  assert.deepEqual([late.body.jobId, late.body.state], [first.body.jobId, "completed"]);
  const other = await replay({ ...body, to: 4 }, key);
  assert.deepEqual([other.status, other.body.code], [422, "IDEMPOTENCY_KEY_REUSED"]);
  assert.equal((await read("orders")).length, 10);
  const otherOperation = await redrive({ topic: "orders" }, key);
  assert.notEqual(otherOperation.body.jobId, first.body.jobId);
  assert.equal((await replay(body, { "idempotency-key": "ü" })).status, 400);
  await api.close();
});

Deno.test("what cannot be replayed is refused with the code that says why", async () => {
  const { api, topic, publish, replay, redrive } = await scene();
  await topic("orders");
  await publish("orders", numbered(5));
  const body = { topic: "orders", partition: 0, from: 0, to: 5 };
  const codeOf = async (change: unknown) => {
    const { status, body: problem } = await replay({ ...body, ...change as object });
    return `${status} ${problem.code}`;
  };
  assert.equal(await codeOf({ to: 6 }), "416 OFFSET_OUT_OF_RANGE");
  assert.equal(await codeOf({ from: 4, to: 3 }), "400 INVALID_REQUEST");
  assert.equal(await codeOf({ from: "@yesterday" }), "400 INVALID_REQUEST");
  assert.equal(await codeOf({ partition: 1 }), "404 UNKNOWN_PARTITION");
  assert.equal(await codeOf({ topic: "other" }), "404 UNKNOWN_TOPIC");
  assert.equal(await codeOf({ topic: "__groups" }), "403 INTERNAL_TOPIC");
  assert.equal(await codeOf({ target: { topic: "__groups" } }), "403 INTERNAL_TOPIC");
  assert.equal(await codeOf({ target: { topic: "other" } }), "404 UNKNOWN_TOPIC");
  assert.equal(await codeOf({ target: { group: "nobody" } }), "404 UNKNOWN_GROUP");
  assert.equal(await codeOf({ target: { group: "__g" } }), "403 FORBIDDEN");
  assert.equal(await codeOf({ target: {} }), "400 INVALID_REQUEST");
  assert.equal(await codeOf({ ratePerSecond: 0 }), "400 INVALID_REQUEST");
  assert.equal((await redrive({ topic: "other" })).body.code, "UNKNOWN_TOPIC");
  assert.equal((await redrive({ topic: "orders", group: "nobody" })).body.code, "UNKNOWN_GROUP");
  for (const action of ["pause", "resume", "cancel"]) {
    const { status } = await api.ask("POST", `/api/replays/none:${action}`);
    assert.equal(status, 404);
  }
  assert.equal((await api.ask("GET", "/api/replays/none")).body.code, "NOT_FOUND");
  assert.deepEqual((await api.ask("GET", "/api/replays")).body.replays, []);
  await api.close();
});

Deno.test("a redrive passes over partitions without letters", async () => {
  const { api, topic, publish, redrive, ended } = await scene();
  await topic("orders");
  await topic("dlq.orders", 5);
  for (const partition of [1, 3]) {
    await publish("dlq.orders", [letter({ offset: partition })], partition);
  }
  const job = await ended(await redrive({ topic: "orders" }));
  assert.deepEqual([job.state, job.done], ["completed", 2]);
  await api.close();
});

Deno.test("a redrive needs a reason, and offsets that some partition has", async () => {
  const { api, topic, publish, redrive, ended } = await scene();
  await topic("orders");
  await topic("dlq.orders", 2);
  for (const offset of [0, 1, 2]) await publish("dlq.orders", [letter({ offset })], 1);
  const silent = await redrive({ topic: "orders", reason: undefined });
  assert.deepEqual([silent.status, silent.body.errors?.[0].path], [400, "reason"]);
  for (const range of [{ from: 99 }, { to: 4 }, { from: 99, partition: 1 }]) {
    const { status, body } = await redrive({ topic: "orders", ...range });
    assert.deepEqual([status, body.code, body.highWatermark], [416, "OFFSET_OUT_OF_RANGE", 3]);
  }
  assert.equal((await ended(await redrive({ topic: "orders", from: 1, to: 3 }))).done, 2);
  await api.close();
});

Deno.test("an empty range is a job that is completed at once", async () => {
  const { api, topic, replay, redrive, ended } = await scene();
  await topic("orders");
  const empty = { topic: "orders", partition: 0, from: 0, to: "latest" };
  assert.equal((await ended(await replay(empty))).state, "completed");
  assert.equal((await ended(await redrive({ topic: "orders" }))).state, "completed");
  await api.close();
});

Deno.test("a replay keeps to its rate, and tells how far it is", async () => {
  const { api, topic, publish, read, replay, job } = await scene();
  await topic("orders");
  await topic("copy");
  await publish("orders", numbered(100));
  const range = { topic: "orders", partition: 0, from: 0, to: 100, target: { topic: "copy" } };
  const { body: { jobId } } = await replay({ ...range, ratePerSecond: 10 });
  for (let second = 1; second <= 9; second++) {
    await api.time.advance(1_000);
    const { done, state } = await job(jobId);
    assert.ok(Math.abs(done - second * 10) <= 2, `${done} after ${second} s`);
    assert.equal(state, "running");
    assert.ok((await read("copy")).length <= second * 10 + 2);
  }
  await api.time.advance(2_000);
  const { state, done } = await job(jobId);
  assert.deepEqual([state, done], ["completed", 100]);
  await api.close();
});

Deno.test("jobs that wait for their rate hold up no other", async () => {
  const { api, topic, publish, read, replay, job, ended } = await scene();
  for (const name of ["orders", "slow", "fast"]) await topic(name);
  await publish("orders", numbered(10));
  const range = { topic: "orders", partition: 0, from: 0, to: 10 };
  const slow: string[] = [];
  for (let count = 0; count < 40; count++) {
    const { body } = await replay({ ...range, target: { topic: "slow" }, ratePerSecond: 1 });
    slow.push(body.jobId);
  }
  await api.time.advance(2_500);
  const fast = await ended(await replay({ ...range, target: { topic: "fast" } }));
  assert.deepEqual([fast.state, (await read("fast")).length], ["completed", 10]);
  for (const jobId of slow) {
    const { state, done } = await job(jobId);
    assert.equal(state, "running");
    assert.ok(done >= 3 && done <= 5, `${done}`);
  }
  await api.time.advance(10_000);
  for (const jobId of slow) assert.equal((await job(jobId)).state, "completed");
  const copies = Map.groupBy(await read("slow"), ({ headers }) => headers["waybill-replay-job"]);
  for (const copied of copies.values()) {
    assert.deepEqual(copied.map(({ value }) => value), numbered(10).map(({ value }) => value));
  }
  assert.equal(copies.size, slow.length);
  await api.close();
});

Deno.test("a job pauses, goes on and ends when told, over a restart too, and sends nothing twice", async () => {
  const { api, topic, publish, read, replay, job } = await scene();
  await topic("orders");
  await topic("copy");
  await publish("orders", numbered(100));
  const range = { topic: "orders", partition: 0, from: 0, to: 100, target: { topic: "copy" } };
  const { body: { jobId } } = await replay({ ...range, ratePerSecond: 10 });
  const steer = (action: string, reason?: string) =>
    api.ask(
      "POST",
      `/api/replays/${jobId}:${action}`,
      reason === undefined ? {} : { body: { reason } },
    );
  await api.time.advance(3_000);
  assert.equal((await steer("pause", "lunch")).body.state, "paused");
  assert.equal((await steer("pause")).body.state, "paused");
  await api.time.advance(60_000);
  const { done } = await job(jobId);
  assert.ok(done >= 28 && done <= 33, `${done}`);
  assert.equal((await read("copy")).length, done);
  assert.equal((await steer("resume")).status, 200);
  await api.time.advance(2_000);
  assert.equal((await steer("cancel", "enough")).body.state, "cancelled");
  await api.time.advance(10_000);
  const ended = await job(jobId);
  const copied = (await read("copy")).map(({ value }) => value);
  assert.equal(copied.length, ended.done);
  assert.deepEqual(copied, numbered(ended.done).map(({ value }) => value));
  assert.deepEqual(
    ended.steps.map(({ action, reason }: Any) => [action, reason]),
    [["created", null], ["started", null], ["paused", "lunch"], ["resumed", null], [
      "started",
      null,
    ], [
      "cancelled",
      "enough",
    ]],
  );
  assert.deepEqual([(await steer("resume")).status, (await steer("resume")).body.code], [
    409,
    "INVALID_JOB_STATE",
  ]);
  const { replays } = (await api.ask("GET", "/api/replays")).body;
  assert.deepEqual(replays.map((each: Any) => each.jobId), [jobId]);
  await api.close();
});

Deno.test("a redrive sends each letter back to where it came from, once", async () => {
  const { api, topic, publish, read, redrive, ended } = await scene();
  await topic("orders", 3);
  await topic("dlq.orders", 3);
  for (const partition of [0, 1, 2]) {
    await publish(
      "dlq.orders",
      [0, 1, 2, 3].map((offset) => letter({ partition, offset })),
      partition,
    );
  }
  const first = await ended(await redrive({ topic: "orders", to: 2, reason: "mended" }));
  assert.deepEqual([first.state, first.total, first.done], ["completed", 6, 6]);
  const values = async (partition: number) =>
    (await read("orders", partition)).map(({ value }) => value);
  assert.deepEqual(await values(1), ["letter 0", "letter 1"]);
  const [message] = await read("orders", 2);
  assert.deepEqual(message.headers, {
    "own": "kept",
    "idempotency-key": "id-2-0",
    "waybill-origin-topic": "orders",
    "waybill-origin-partition": "2",
    "waybill-origin-offset": "0",
    "waybill-replay-job": first.jobId,
  });
  const dry = await redrive({ topic: "dlq.orders", dryRun: true });
  assert.deepEqual([dry.body.total, dry.body.alreadyRedriven], [6, 6]);
  const second = await ended(await redrive({ topic: "dlq.orders" }));
  assert.deepEqual([second.done, second.alreadyRedriven], [6, 6]);
  assert.deepEqual(await values(1), ["letter 0", "letter 1", "letter 2", "letter 3"]);
  assert.equal((await ended(await redrive({ topic: "orders" }))).done, 0);
  const again = await ended(
    await redrive({ topic: "orders", includeRedriven: true, partition: 0, from: 1, to: 2 }),
  );
  assert.deepEqual([again.done, (await values(0)).at(-1)], [1, "letter 1"]);
  assert.deepEqual(await api.broker.jobs.redriven({ topic: "dlq.orders", partition: 1 }), [{
    from: 0,
    to: 4,
  }]);
  await api.close();
});

Deno.test("a redrive takes the letters that its filter means, and leaves out those that have nowhere to go", async () => {
  const { api, topic, publish, read, redrive, ended } = await scene();
  await topic("orders");
  await topic("dlq.orders");
  await publish("dlq.orders", [
    letter({ offset: 0 }),
    letter({ offset: 1 }, { code: "NON_RETRYABLE" }),
    letter({ offset: 2 }, { reason: "no such customer" }),
    letter({ offset: 3, topic: "gone" }),
    letter({ offset: 4, partition: 9 }),
    letter({ offset: 5, topic: "__groups" }),
    { value: "not a letter" },
    { ...letter({ offset: 6 }), value: null, headers: LOST },
  ]);
  const values = async () => (await read("orders")).map(({ value }) => value);
  const byCode = await ended(await redrive({ topic: "orders", filter: { code: "NON_RETRYABLE" } }));
  assert.deepEqual([byCode.done, byCode.skipped], [1, 0]);
  await ended(await redrive({ topic: "orders", filter: { reason: "customer" } }));
  assert.deepEqual(await values(), ["letter 1", "letter 2"]);
  const one = { partition: 0, offset: 0, group: "billing" };
  assert.equal((await redrive({ topic: "orders", filter: one, dryRun: true })).body.total, 1);
  const rest = await ended(await redrive({ topic: "orders" }));
  assert.deepEqual([rest.done, rest.skipped, rest.alreadyRedriven], [1, 5, 2]);
  assert.deepEqual(await values(), ["letter 1", "letter 2", "letter 0"]);
  await topic("gone");
  assert.equal((await ended(await redrive({ topic: "orders" }))).done, 0, "it was forged");
  assert.deepEqual(await read("gone"), []);
  await api.broker.updateTopic("orders", { partitions: 10 });
  assert.equal(
    (await ended(await redrive({ topic: "orders" }))).done,
    1,
    "it has somewhere to go now",
  );
  await api.close();
});

/** The message was gone when its letter was written. */
const LOST = { ...letter({ offset: 6 }).headers, "waybill-payload": "lost" };

Deno.test("two redrives of the same letters at the same time send each of them once", async () => {
  const { api, topic, publish, read, redrive, ended } = await scene();
  await topic("orders");
  await topic("dlq.orders");
  await publish("dlq.orders", Array.from({ length: 50 }, (_, offset) => letter({ offset })));
  const both = await Promise.all([
    redrive({ topic: "orders", ratePerSecond: 100 }),
    redrive({ topic: "orders", ratePerSecond: 100 }),
  ]);
  const jobs = [await ended(both[0]!), await ended(both[1]!)];
  assert.deepEqual(jobs.map(({ done }) => done).sort(), [0, 50]);
  assert.equal((await read("orders")).length, 50);
  await api.close();
});

Deno.test("a job whose topic is deleted fails and says so", async () => {
  const { api, topic, publish, replay, job } = await scene();
  await topic("orders");
  await topic("copy");
  await publish("orders", numbered(100));
  const range = { topic: "orders", partition: 0, from: 0, to: 100, target: { topic: "copy" } };
  const { body: { jobId } } = await replay({ ...range, ratePerSecond: 10 });
  await api.time.advance(2_000);
  await api.ask("DELETE", "/api/topics/copy");
  await api.time.advance(2_000);
  const failed = await job(jobId);
  assert.deepEqual([failed.state, failed.error.code], ["failed", "UNKNOWN_TOPIC"]);
  assert.ok(failed.done >= 18 && failed.done <= 22);
  await api.close();
});

/** A member of `billing` that reads all of `orders`, and what it can take of what is to come again. */
async function member({ api }: Awaited<ReturnType<typeof scene>>, partitions: number) {
  const { broker, time } = api;
  const joined = {
    group: "billing",
    newMemberId: "m1",
    topics: ["orders"],
    sessionTimeoutMs: 600_000,
    transport: "http",
    partitionCounts: { orders: partitions },
  } as const;
  await broker.group({ type: "Join", ...joined });
  await time.advance(5_000);
  return async () => {
    const { retries } = await broker.group({
      type: "TakeRetries",
      group: "billing",
      memberId: "m1",
      max: 1_000,
    });
    return retries.map(({ partition, offset, attempt }) => `${partition}/${offset} ${attempt}`);
  };
}

Deno.test("a replay to a group is handed to it alone, once, and publishes nothing", async () => {
  const parts = await scene();
  const { api, topic, publish, replay, ended } = parts;
  await topic("orders", 2);
  await publish("orders", numbered(10), 1);
  const take = await member(parts, 2);
  const before = await api.stored();
  const range = { topic: "orders", partition: 1, from: 3, to: 6 };
  const job = await ended(await replay({ ...range, target: { group: "billing" } }));
  assert.deepEqual([job.state, job.done, job.error], ["completed", 3, null]);
  assert.deepEqual(await take(), ["1/3 2", "1/4 2", "1/5 2"]);
  assert.deepEqual(await take(), []);
  assert.deepEqual(await api.stored(), before);
  await api.close();
});

Deno.test("a redrive to a group takes its own letters, and hands it the messages they came from", async () => {
  const parts = await scene();
  const { api, topic, publish, redrive, ended } = parts;
  await topic("orders", 2);
  await topic("dlq.orders", 2);
  for (const partition of [0, 1]) await publish("orders", numbered(10), partition);
  await publish("dlq.orders", [
    letter({ partition: 1, offset: 8 }),
    letter({ partition: 1, offset: 2 }),
    letter({ partition: 1, offset: 5, group: "other" }),
    letter({ partition: 0, offset: 4 }),
  ], 1);
  const take = await member(parts, 2);
  const before = await api.stored();
  const job = await ended(await redrive({ topic: "orders", group: "billing" }));
  assert.deepEqual([job.state, job.done], ["completed", 3]);
  assert.deepEqual((await take()).sort(), ["0/4 2", "1/2 2", "1/8 2"]);
  assert.deepEqual(await api.stored(), before);
  const again = await ended(await redrive({ topic: "orders", group: "billing" }));
  assert.deepEqual([again.done, again.alreadyRedriven], [0, 3]);
  await api.close();
});

Deno.test("what a group gave up is redriven from the dead letters that it left", async () => {
  const parts = await scene();
  const { api, topic, publish, read, redrive, ended } = parts;
  await topic("orders");
  const message = { key: "k", value: "poison", idempotencyKey: "id-1", headers: { own: "kept" } };
  await publish("orders", [{ value: "fine" }, message]);
  await member(parts, 1);
  const nack = { groupId: "billing", topic: "orders", partition: 0, offset: 1 };
  const body = { ...nack, code: "NON_RETRYABLE", reason: "no such customer" };
  const { status } = await api.ask("POST", "/api/messages:nack", { body });
  assert.equal(status, 200);
  await api.time.advance(5_000);
  const { deadLetters } = (await api.ask("GET", "/api/dlq?topic=orders")).body;
  assert.equal(deadLetters.length, 1);
  const job = await ended(await redrive({ topic: "orders", filter: { reason: "customer" } }));
  assert.deepEqual([job.state, job.done], ["completed", 1]);
  const redriven = (await read("orders"))[2];
  assert.deepEqual([redriven.key, redriven.value], ["k", "poison"]);
  const { "waybill-origin-timestamp": _, ...headers } = redriven.headers;
  assert.deepEqual(headers, {
    "own": "kept",
    "idempotency-key": "id-1",
    "waybill-origin-topic": "orders",
    "waybill-origin-partition": "0",
    "waybill-origin-offset": "1",
    "waybill-replay-job": job.jobId,
  });
  await api.close();
});

Deno.test("a job goes on under another identity where its partition has forgotten it, and sends all once", async () => {
  const { api, topic, publish, read, replay, job } = await scene();
  await topic("orders");
  await topic("copy", 2);
  await publish("orders", numbered(200));
  const range = { topic: "orders", partition: 0, from: 0, to: 200, target: { topic: "copy" } };
  const { body: { jobId } } = await replay({ ...range, ratePerSecond: 100 });
  await api.time.advance(500);
  const { partitions } = (api.broker as Any).parts;
  const forgetful = partitions.get({ topic: "copy", partition: 1 });
  const append = forgetful.append.bind(forgetful);
  let forgets = 1;
  forgetful.append = (...args: unknown[]) => {
    if (forgets-- <= 0) return append(...args);
    const details = { expectedSequence: 0 };
    return Promise.reject(new BrokerError("OUT_OF_ORDER_SEQUENCE", "who are you?", details));
  };
  await api.time.advance(5_000);
  assert.deepEqual([forgets < 0, (await job(jobId)).state], [true, "completed"]);
  const values = [...await read("copy", 0), ...await read("copy", 1)]
    .map(({ value }) => Number(value.slice(1))).sort((a, b) => a - b);
  assert.deepEqual(values, Array.from({ length: 200 }, (_, index) => index));
  await api.close();
});

Deno.test("a replay passes over what was aborted, and waits for what is open", async () => {
  const { api, topic, publish, read, replay, job } = await scene();
  await topic("orders");
  await topic("copy");
  const transaction = async () => {
    const body = { transactionalId: "t", timeoutMs: 60_000 };
    const { body: { transactionId } } = await api.ask("POST", "/api/transactions", { body });
    const publishing = { topic: "orders", messages: [{ value: transactionId }], transactionId };
    assert.equal(
      (await api.ask("POST", "/api/messages:publish", { body: publishing })).status,
      200,
    );
    return transactionId;
  };
  const end = (id: string, how: string) =>
    api.ask("POST", `/api/transactions/${id}:${how}`, { body: {} });
  await publish("orders", [{ value: "a" }]);
  await end(await transaction(), "abort");
  await api.time.advance(1_000);
  await publish("orders", [{ value: "b" }]);
  const open = await transaction();
  await publish("orders", [{ value: "c" }]);
  const range = { topic: "orders", partition: 0, from: 0, to: "latest", target: { topic: "copy" } };
  const dry = (await replay({ ...range, dryRun: true })).body;
  assert.deepEqual([dry.total, dry.totalExact], [2, true], "what a reader would get now");
  const { body: { jobId, total: bound, totalExact } } = await replay(range);
  assert.deepEqual([bound, totalExact], [4, false], "what is open may come to it");
  await api.time.advance(2_000);
  const copied = async () => (await read("copy")).map(({ value }) => value);
  assert.deepEqual(await copied(), ["a", "b"]);
  assert.equal((await job(jobId)).state, "running");
  await end(open, "commit");
  await api.time.advance(2_000);
  assert.deepEqual(await copied(), ["a", "b", open, "c"]);
  const { state, done, total } = await job(jobId);
  assert.deepEqual([state, done, total], ["completed", 4, 4]);
  await api.close();
});

for (const kind of ["replay", "redrive"] as const) {
  Deno.test(`a ${kind} whose disk fails again and again, with and without keeping what was written, sends all once`, async () => {
    for (let seed = 1; seed <= 8; seed++) {
      const time = new VirtualClock();
      const logs = new FaultyLogStore(new MemoryLogStore(time));
      const { api, topic, publish, read, replay, redrive, job } = await scene({ time, logs });
      await topic("orders", 2);
      await topic("dlq.orders");
      const count = 300;
      const letters = Array.from(
        { length: count },
        (_, offset) => letter({ offset, partition: offset % 2 }),
      );
      await publish("dlq.orders", letters);
      const { body: { jobId } } = kind === "redrive"
        ? await redrive({ topic: "orders", ratePerSecond: 100 })
        : await replay({
          topic: "dlq.orders",
          partition: 0,
          from: 0,
          to: count,
          target: { topic: "orders" },
          ratePerSecond: 100,
        });
      await failing(api, logs, seed);
      const { state, done, error } = await job(jobId);
      assert.deepEqual([state, done, error], ["completed", count, null], `seed ${seed}`);
      const sent: number[] = [];
      for (const partition of [0, 1]) {
        const numbers = (await read("orders", partition)).map(({ value }) =>
          Number(value.slice(7))
        );
        assert.deepEqual(numbers, [...numbers].sort((a, b) => a - b), `in order, seed ${seed}`);
        sent.push(...numbers);
      }
      sent.sort((a, b) => a - b);
      assert.deepEqual(sent, letters.map((_, offset) => offset), `seed ${seed}`);
      await api.close();
    }
  });
}

Deno.test("a replay to a group over a disk that fails again and again is handed over once", async () => {
  for (let seed = 1; seed <= 6; seed++) {
    const time = new VirtualClock();
    const logs = new FaultyLogStore(new MemoryLogStore(time));
    const parts = await scene({ time, logs });
    const { api, topic, publish, replay, job } = parts;
    await topic("orders");
    await publish("orders", numbered(300));
    const take = await member(parts, 1);
    const range = { topic: "orders", partition: 0, from: 10, to: 290 };
    const { body: { jobId } } = await replay({
      ...range,
      target: { group: "billing" },
      ratePerSecond: 100,
    });
    await failing(api, logs, seed);
    const { state, done } = await job(jobId);
    assert.deepEqual([state, done], ["completed", 280], `seed ${seed}`);
    const taken: string[] = [];
    for (let some = await take(); some.length > 0; some = await take()) taken.push(...some);
    const expected = Array.from({ length: 280 }, (_, index) => `0/${index + 10} 2`);
    assert.deepEqual(taken, expected, `seed ${seed}`);
    await api.close();
  }
});

/** A while in which appends fail, some of them although they were kept, and then one in which all is well. */
async function failing(api: ApiUnderTest, logs: FaultyLogStore, seed: number): Promise<void> {
  const { fraction, pick } = seededRandomness(seed);
  for (let step = 0; step < 40; step++) {
    if (fraction() < 0.6) logs.nextFault = pick(["KEPT_BUT_FAILED", "STORAGE_FAILED", "DISK_FULL"]);
    await api.time.advance(Math.floor(fraction() * 400));
  }
  logs.nextFault = null;
  await api.time.advance(120_000);
}
