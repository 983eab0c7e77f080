// Owns the tests of replay jobs over HTTP: what is sent, what is refused, their rate, on a whole broker in memory.
// Refuses to own redrives (job_redrive_api_test.ts), delivery to a group (job_group_api_test.ts), jobs that meet trouble
// (job_trouble_api_test.ts), the decider (job_decide_test.ts) and killed processes (e2e_jobs_test.ts).
import assert from "node:assert/strict";
import { partitionForKey } from "../storage/format/murmur2.ts";
import { type Any, jobScene, letter, numbered } from "./support/job_scene.ts";

Deno.test("a replay appends exactly its range again, with where each message came from", async () => {
  const { api, topic, publish, read, replay, ended } = await jobScene();
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
  const { api, topic, publish, read, replay, ended } = await jobScene();
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
  const { api, topic, publish, read, replay, ended } = await jobScene();
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
  const { api, topic, publish, replay, redrive } = await jobScene();
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
  const { api, topic, publish, read, replay, redrive, ended } = await jobScene();
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
  const { api, topic, publish, replay, redrive } = await jobScene();
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

Deno.test("an empty range is a job that is completed at once", async () => {
  const { api, topic, replay, redrive, ended } = await jobScene();
  await topic("orders");
  const empty = { topic: "orders", partition: 0, from: 0, to: "latest" };
  assert.equal((await ended(await replay(empty))).state, "completed");
  assert.equal((await ended(await redrive({ topic: "orders" }))).state, "completed");
  await api.close();
});

Deno.test("a replay keeps to its rate, and tells how far it is", async () => {
  const { api, topic, publish, read, replay, job } = await jobScene();
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
  const { api, topic, publish, read, replay, job, ended } = await jobScene();
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
  const { api, topic, publish, read, replay, job } = await jobScene();
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
