// Owns proof that the journal of jobs lets old segments go and loses nothing that is still needed.
// Refuses to own the order of retention (group_retention_test.ts shows it under crashes).
// Invariant: after retention a start without any snapshot knows every job, and what was redriven, as before.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { JobSet } from "../actors/job/job_set.ts";
import { NO_LIMITS } from "../actors/quota/types.ts";
import type { JobBroker } from "../actors/job/ports.ts";
import type { RedriveRequest } from "../actors/job/types.ts";
import type { Partition } from "../actors/partition/partition.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { MemorySnapshotStore } from "../storage/memory/memory_snapshots.ts";
import { DAY_MS, JournalLogs } from "./support/journal_logs.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";

class World extends JournalLogs {
  /** Jobs over `journal`, of a broker that has two topics of one partition. */
  jobs(journal: Partition, topics: Readonly<Record<string, Partition>>): Promise<JobSet> {
    let producers = 0;
    const at = (topic: string) => topics[topic]!;
    const broker: JobBroker = {
      topic: (name) =>
        Object.hasOwn(topics, name)
          ? {
            topicId: name,
            name,
            partitionCount: 1,
            createdAt: 0,
            internal: false,
            config: TOPIC_CONFIG,
          }
          : null,
      partitionInfo: ({ topic }) => Promise.resolve(at(topic).info()),
      append: ({ topic }, batches) => at(topic).append(batches, { acks: "all" }),
      appendCopies: async ({ topic }, batch) => {
        await at(topic).append([batch], { acks: "all" });
      },
      fetch: ({ topic }, offset, options) => at(topic).fetch(offset, options),
      offsetForTime: ({ topic }, timestampMs) => at(topic).offsetForTime(timestampMs),
      allocateProducer: () => Promise.resolve({ producerId: producers++, producerEpoch: 0 }),
      redeliver: () => Promise.reject(new Error("no group is asked here")),
      requireGroup: () => Promise.resolve(),
    };
    return JobSet.open({
      partition: journal,
      broker,
      limitsOf: () => NO_LIMITS,
      ports: {
        // None survives a start.
        snapshots: new MemorySnapshotStore(),
        clock: this.time,
        timers: this.time,
        crc32c,
        runtimeLog: { report: () => undefined },
        report: ({ error }) => {
          throw error;
        },
      },
    });
  }
}

function redrive(jobId: string, from: number, to: number): RedriveRequest {
  return {
    kind: "redrive",
    jobId,
    fingerprint: jobId,
    principal: "p",
    reason: null,
    dryRun: false,
    topic: "orders",
    partition: 0,
    group: null,
    from: { kind: "offset", offset: from },
    to: { kind: "offset", offset: to },
    filter: {},
    includeRedriven: false,
    ratePerSecond: 10,
  };
}

Deno.test("journal of jobs lets old segments go, and a start without snapshots knows every job as before", async () => {
  const world = new World();
  const topics = {
    "orders": await world.partition("orders"),
    "dlq.orders": await world.partition("dlq.orders"),
  };
  const letters = Array.from({ length: 100 }, (_, offset) => ({
    key: null,
    value: `v${offset}`,
    timestamp: 0,
    headers: [
      ["waybill-origin-topic", "orders"],
      ["waybill-origin-partition", "0"],
      ["waybill-origin-offset", String(offset)],
    ] as [string, string][],
  }));
  await topics["dlq.orders"].append([encodeBatch(letters, { crc32c })], { acks: "all" });
  const journal = await world.partition("__jobs");
  const before = await world.jobs(journal, topics);
  await before.submit(redrive("old", 0, 40));
  await world.time.advance(10_000);
  const old = await before.get("old");
  assert.equal(old.state, "completed");
  await world.time.advance(100 * DAY_MS);
  await before.submit(redrive("new", 20, 100));
  await world.time.advance(3_000);
  await before.applyRetention(world.time.now(), { minDroppableOffsets: 50 });
  const { startOffset } = journal.readable();
  assert.ok(startOffset > 50, `the journal starts at ${startOffset}`);
  await before.close();
  await journal.close();

  const reopened = await world.partition("__jobs");
  const after = await world.jobs(reopened, topics);
  assert.deepEqual(await after.get("old"), old);
  const repeated = await after.submit(redrive("old", 0, 40));
  assert.equal(repeated.repeated, true);
  await world.time.advance(10_000);
  const { state, done, alreadyRedriven } = await after.get("new");
  assert.deepEqual([state, done, alreadyRedriven], ["completed", 60, 20]);
  const redriven = await after.redriven({ topic: "dlq.orders", partition: 0 });
  assert.deepEqual(redriven, [{ from: 0, to: 100 }]);
  assert.equal(topics.orders.readable().endOffset, 100, "each letter once");
  await after.close();
  await reopened.close();
  for (const partition of Object.values(topics)) await partition.close();
});

Deno.test("job that ended is known while its key counts, whatever another tenant makes", async () => {
  const world = new World();
  const topics = {
    "orders": await world.partition("orders"),
    "dlq.orders": await world.partition("dlq.orders"),
  };
  const journal = await world.partition("__jobs");
  const jobs = await world.jobs(journal, topics);
  const owned = (jobId: string, tenant: string) => ({
    ...redrive(jobId, 0, 0),
    owner: { tenant, principal: "p" },
  });
  await jobs.submit(owned("victim's", "good"));
  await world.time.advance(1_000);
  const ended = await jobs.get("victim's");
  assert.equal(ended.state, "completed");
  for (let number = 0; number < 1_050; number++) {
    await jobs.submit({ ...owned(`dry ${number}`, "evil"), dryRun: true });
  }
  await world.time.advance(1_000);
  assert.deepEqual(await jobs.get("victim's"), ended);
  assert.equal((await jobs.list()).length, 1_001);
  for (let number = 0; number < 1_000; number++) {
    await jobs.submit(owned(`real ${number}`, "evil"));
    if (number % 100 === 99) await world.time.advance(1_000);
  }
  const beyond = owned("beyond", "evil");
  await assert.rejects(() => jobs.submit(beyond), { code: "LIMIT_REACHED" });
  assert.equal((await jobs.submit(owned("real 0", "evil"))).repeated, true);
  assert.equal((await jobs.submit({ ...beyond, jobId: "dry", dryRun: true })).repeated, false);
  assert.equal((await jobs.submit(owned("victim's next", "good"))).repeated, false);
  assert.equal((await jobs.submit(owned("victim's", "good"))).repeated, true);
  await world.time.advance(DAY_MS);
  assert.equal((await jobs.submit(beyond)).repeated, false);
  await world.time.advance(1_000);
  // Its snapshot is written in slices.
  const closed = jobs.close();
  await world.time.advance(1_000);
  await closed;
  await journal.close();
  for (const partition of Object.values(topics)) await partition.close();
});
