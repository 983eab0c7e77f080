// Owns the tests of jobs that meet trouble: deleted topics, forgotten identities, open transactions, failing disks.
import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { FaultyLogStore } from "./support/faulty_logs.ts";
import { VirtualClock } from "./support/virtual_time.ts";
import { type Any, failingAppends, jobScene, letter, numbered } from "./support/job_scene.ts";

Deno.test("a job whose topic is deleted fails and says so", async () => {
  const { api, topic, publish, replay, job } = await jobScene();
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

Deno.test("a job goes on under another identity where its partition has forgotten it, and sends all once", async () => {
  const { api, topic, publish, read, replay, job } = await jobScene();
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
  const { api, topic, publish, read, replay, job } = await jobScene();
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
      const { api, topic, publish, read, replay, redrive, job } = await jobScene({ time, logs });
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
      await failingAppends(api, logs, seed);
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
