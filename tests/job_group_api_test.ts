// Owns the tests of jobs that hand messages to a group, over HTTP, on a whole broker in memory and virtual time.
import assert from "node:assert/strict";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { FaultyLogStore } from "./support/faulty_logs.ts";
import { VirtualClock } from "./support/virtual_time.ts";
import { failingAppends, jobScene, letter, numbered } from "./support/job_scene.ts";

/** A member of `billing` that reads all of `orders`, and what it can take of what is to come again. */
async function member({ api }: Awaited<ReturnType<typeof jobScene>>, partitions: number) {
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
  const parts = await jobScene();
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
  const parts = await jobScene();
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
  const parts = await jobScene();
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

Deno.test("a replay to a group over a disk that fails again and again is handed over once", async () => {
  for (let seed = 1; seed <= 6; seed++) {
    const time = new VirtualClock();
    const logs = new FaultyLogStore(new MemoryLogStore(time));
    const parts = await jobScene({ time, logs });
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
    await failingAppends(api, logs, seed);
    const { state, done } = await job(jobId);
    assert.deepEqual([state, done], ["completed", 280], `seed ${seed}`);
    const taken: string[] = [];
    for (let some = await take(); some.length > 0; some = await take()) taken.push(...some);
    const expected = Array.from({ length: 280 }, (_, index) => `0/${index + 10} 2`);
    assert.deepEqual(taken, expected, `seed ${seed}`);
    await api.close();
  }
});
