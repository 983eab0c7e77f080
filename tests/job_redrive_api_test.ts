// Owns the tests of redrive jobs over HTTP: which letters go where, on a whole broker in memory and virtual time.
// Refuses to own redrives to a group (job_group_api_test.ts).
import assert from "node:assert/strict";
import { jobScene, letter } from "./support/job_scene.ts";

/** The message was gone when its letter was written. */
const LOST = { ...letter({ offset: 6 }).headers, "waybill-payload": "lost" };

Deno.test("a redrive passes over partitions without letters", async () => {
  const { api, topic, publish, redrive, ended } = await jobScene();
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
  const { api, topic, publish, redrive, ended } = await jobScene();
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

Deno.test("a redrive sends each letter back to where it came from, once", async () => {
  const { api, topic, publish, read, redrive, ended } = await jobScene();
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
  const { api, topic, publish, read, redrive, ended } = await jobScene();
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

Deno.test("two redrives of the same letters at the same time send each of them once", async () => {
  const { api, topic, publish, read, redrive, ended } = await jobScene();
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
