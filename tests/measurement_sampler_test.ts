// Owns proof that samples tell what a broker did in each second, on a whole broker in memory and in virtual time.
// Refuses to own thresholds. Invariant: every count is told in exactly one sample.
import assert from "node:assert/strict";
import { MAX_SAMPLED_PARTITIONS, MAX_SAMPLED_TENANTS } from "../actors/measurement/types.ts";
import { largestTenants } from "../ops/measurement/between_samples.ts";
import { EventLoopWatch } from "../ops/measurement/event_loop_watch.ts";
import { SyncWatch } from "../ops/measurement/measured_disk.ts";
import { PartitionWatch } from "../ops/measurement/partition_watch.ts";
import { type MeasuredApi, measuredApi } from "./support/measured_api.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

async function withOrders(
  run: (api: MeasuredApi) => Promise<void>,
  partitions = 2,
): Promise<void> {
  const api = await measuredApi();
  await api.ask("POST", "/api/topics", { body: { name: "orders", partitions } });
  await api.second();
  await run(api);
  assert.deepEqual(api.reports, []);
  await api.close();
}

function publish(api: MeasuredApi, messages: object[], more: object = {}) {
  return api.ask("POST", "/api/messages:publish", { body: { topic: "orders", messages, ...more } });
}

Deno.test("a sample tells what was published since the one before, and no other does", () =>
  withOrders(async (api) => {
    await publish(api, [{ value: "a" }, { value: "b" }]);
    await publish(api, [{ value: "c" }], { partition: 9 });
    const { publishRequests, publishMessages, publishBytes, ...sample } = await api.second();
    assert.deepEqual([publishRequests, publishMessages], [2, 2]);
    assert.ok(publishBytes > 61);
    assert.equal(
      sample.publishFailures,
      0,
      "what the caller did wrong is no failure of the broker",
    );
    assert.deepEqual(sample.publishFailuresByCode, { UNKNOWN_PARTITION: 1 });
    assert.equal(sample.seconds, 1);
    assert.notEqual(sample.publishLatencyMs.p50, null);
    const next = await api.second();
    assert.deepEqual([next.publishRequests, next.publishMessages, next.publishBytes], [0, 0, 0]);
    assert.deepEqual(next.publishFailuresByCode, {});
    assert.deepEqual(next.publishLatencyMs, { p50: null, p95: null, p99: null });
    assert.equal(next.at - sample.at, 1_000);
  }));

Deno.test("what the broker answers 5xx is a failure of its own", () =>
  withOrders(async (api) => {
    const { edge } = api.measuring;
    const event = { topic: "orders", messages: 1, bytes: 100, durationMs: 1 };
    for (const code of ["DISK_FULL", "INTERNAL", "QUOTA_EXCEEDED", "INVALID_REQUEST", null]) {
      edge.published({ ...event, code });
    }
    const sample = await api.second();
    assert.deepEqual([sample.publishRequests, sample.publishFailures], [5, 2]);
    assert.equal(sample.publishMessages, 1);
  }));

Deno.test("busiest partitions come with their bytes and shares, and the key that makes one hot", () =>
  withOrders(async (api) => {
    for (let round = 0; round < 8; round++) {
      await publish(api, [{ key: "hot", value: "x".repeat(1_000), partition: 1 }, {
        key: `k${round}`,
        value: "y",
        partition: 0,
      }]);
      await api.second();
    }
    await publish(api, [{ key: "hot", value: "x".repeat(1_000), partition: 1 }]);
    const { partitions } = await api.second();
    assert.equal(partitions.length, 1);
    const [{ topic, partition, share, hotKey }] = partitions as [typeof partitions[number]];
    assert.deepEqual([topic, partition, share, hotKey], ["orders", 1, 1, "hot"]);
  }));

Deno.test("no key of an encrypted topic is named", () =>
  withOrders(async (api) => {
    const before = api.broker.topic.bind(api.broker);
    api.broker.topic = (name) => {
      const topic = before(name);
      return topic === null
        ? null
        : { ...topic, config: { ...topic.config, encryption: "aes-256-gcm" as const } };
    };
    for (let round = 0; round < 8; round++) {
      await publish(api, [{ key: "hot", value: "x".repeat(1_000), partition: 1 }]);
      const { partitions } = await api.second();
      assert.equal(partitions[0]?.hotKey, undefined);
    }
  }));

Deno.test("lags are those of the groups, largest first, with what is known of each group", () =>
  withOrders(async (api) => {
    await publish(api, [1, 2, 3].map((value) => ({ value, partition: 0 })));
    await publish(api, [{ value: 4, partition: 1 }]);
    for (const partition of [0, 1]) {
      await api.ask("POST", "/api/offsets:commit", {
        body: { groupId: "billing", offsets: [{ topic: "orders", partition, offset: 0 }] },
      });
    }
    await api.second();
    const { lags, groups } = await api.second();
    assert.deepEqual(lags.map(({ group, partition, lag }) => [group, partition, lag]), [
      ["billing", 0, 3],
      ["billing", 1, 1],
    ]);
    assert.deepEqual(groups.map(({ group, totalLag, members }) => [group, totalLag, members]), [
      ["billing", 4, 0],
    ]);
    assert.ok(groups[0]!.maxLagSeconds! >= 1);
    await api.ask("DELETE", "/api/groups/billing");
    await api.second();
    assert.deepEqual((await api.second()).lags, []);
  }));

Deno.test("a group's trouble is told with its member's own name, and since when it lasts", () =>
  withOrders(async (api) => {
    const startedAt = api.time.now();
    await publish(api, [{ value: 1, partition: 0 }]);
    await api.broker.group({
      type: "Join",
      group: "billing",
      newMemberId: "m1",
      clientId: "till-7",
      topics: ["orders"],
      sessionTimeoutMs: 300_000,
      transport: "http",
      partitionCounts: { orders: 2 },
    });
    const troubles = new Map<string, { since: number; why: string }>();
    for (let second = 0; second < 90; second++) {
      const trouble = (await api.second()).groups[0]?.trouble ?? null;
      if (trouble !== null) troubles.set(trouble.kind, trouble);
    }
    const { lagging, stalled } = Object.fromEntries(troubles);
    assert.equal(lagging?.why, "slow on 1 of 2 partitions: orders/0");
    assert.equal(stalled?.why, "member till-7 commits nothing on orders/0");
    assert.deepEqual([lagging?.since, stalled?.since], [startedAt, startedAt]);
    await api.ask("POST", "/api/groups/billing:pause", { body: { reason: "bad deploy" } });
    await api.second();
    assert.deepEqual((await api.second()).groups[0]!.trouble, {
      kind: "paused",
      since: startedAt,
      why: "paused: bad deploy",
    });
  }));

Deno.test("duplicates, dead letters and retries are told in the second in which they happen", () =>
  withOrders(async (api) => {
    for (const _ of [1, 2]) await publish(api, [{ value: "a", idempotencyKey: "k", partition: 0 }]);
    await publish(api, [{ value: "b", partition: 0 }]);
    await api.ask("POST", "/api/offsets:commit", {
      body: { groupId: "billing", offsets: [{ topic: "orders", partition: 0, offset: 0 }] },
    });
    const nack = { groupId: "billing", topic: "orders", partition: 0 };
    await api.ask("POST", "/api/messages:nack", { body: { ...nack, offset: 0 } });
    const dead = { ...nack, offset: 1, code: "NON_RETRYABLE" };
    await api.ask("POST", "/api/messages:nack", { body: dead });
    const { duplicatesSuppressed, retries, deadLetters } = await api.second();
    assert.deepEqual([duplicatesSuppressed, retries, deadLetters], [1, 1, 1]);
    const next = await api.second();
    assert.deepEqual([next.duplicatesSuppressed, next.retries, next.deadLetters], [0, 0, 0]);
  }));

Deno.test("disk space, memory and what is stored are those of the moment", () =>
  withOrders(async (api) => {
    await publish(api, [{ value: "a" }]);
    api.disk.freeBytes = 77;
    await api.second();
    const sample = await api.second();
    assert.deepEqual([sample.diskFreeBytes, sample.memoryBytes], [77, 42]);
    assert.ok(sample.storageBytes > 0);
    api.disk.freeBytes = null;
    await api.second();
    assert.equal((await api.second()).diskFreeBytes, null);
  }));

Deno.test("an event loop that is held up is told by how long, once, and while it lasts", () => {
  const due: (() => void)[] = [];
  let nowMs = 0;
  const clock = { now: () => 0, monotonic: () => nowMs };
  const timers = { after: (_delayMs: number, run: () => void) => (due.push(run), () => {}) };
  const watch = new EventLoopWatch({ clock, timers });
  nowMs = 20;
  due.shift()!();
  assert.equal(watch.takeMaxMs(), 0);
  nowMs = 540;
  assert.equal(watch.takeMaxMs(), 500, "the timer has not run yet");
  nowMs = 640;
  due.shift()!();
  assert.equal(watch.takeMaxMs(), 600);
  assert.equal(watch.takeMaxMs(), 0);
  assert.equal(due.length, 1);
});

Deno.test("history ends after 15 minutes, and a listener that throws keeps nobody from hearing", async () => {
  const api = await measuredApi();
  const heard: number[] = [];
  api.measuring.sampler.onSample(() => {
    throw new Error("deaf");
  });
  const stop = api.measuring.sampler.onSample(({ monotonic }) => heard.push(monotonic));
  await api.time.advance(1_000_000);
  const history = api.measuring.sampler.history();
  assert.equal(heard.length, 1_000);
  assert.equal(history.length, 900);
  assert.equal(history.at(-1)!.monotonic, 1_000_000);
  assert.equal(api.reports.length, 1_000);
  stop();
  await api.time.advance(1_000);
  assert.equal(heard.length, 1_000);
  await api.close();
  assert.equal(api.reports[0], "somebody who listens to samples failed: Error: deaf");
});

Deno.test("a sync that hangs is seen while it hangs", async () => {
  const time = new VirtualClock();
  const watch = new SyncWatch(time);
  const hanging = Promise.withResolvers<void>();
  const measured = watch.measure(() => hanging.promise);
  await time.advance(4_000);
  assert.equal(watch.oldestMs(), 4_000);
  assert.equal(watch.latency.count, 0);
  hanging.resolve();
  await measured;
  assert.equal(watch.oldestMs(), 0);
  assert.equal(watch.latency.sumMs, 4_000);
});

Deno.test("partitions that lose and find their leader are counted, those seen first are not", async () => {
  const watch = new PartitionWatch(settle);
  const at = (partition: number, online: boolean, appendedBytes = 0) => (
    { topic: "orders", partition, online, appendedBytes, sizeBytes: 10, waiting: 0 }
  );
  assert.deepEqual(await watch.look([at(0, true, 500), at(1, false)]), {
    busiest: [],
    leaderChanges: 0,
    inSyncChanges: 0,
    offline: 1,
    storageBytes: 20,
    waiting: 0,
  });
  const lost = await watch.look([at(0, false, 500), at(1, false)]);
  assert.deepEqual([lost.leaderChanges, lost.inSyncChanges, lost.offline], [0, 1, 2]);
  const found = await watch.look([at(0, true, 600), at(1, true, 300)]);
  assert.deepEqual([found.leaderChanges, found.inSyncChanges, found.offline], [2, 2, 0]);
  assert.deepEqual(found.busiest.map(({ partition, bytes, share }) => [partition, bytes, share]), [
    [1, 300, 0.75],
    [0, 100, 0.25],
  ]);
});

Deno.test("lists of a sample stay within their bounds", async () => {
  const watch = new PartitionWatch(settle);
  const partitions = (appendedBytes: number) =>
    Array.from({ length: 100 }, (_, partition) => (
      { topic: "orders", partition, online: true, appendedBytes, sizeBytes: 1, waiting: 0 }
    ));
  await watch.look(partitions(0));
  const { busiest } = await watch.look(partitions(10));
  assert.equal(busiest.length, MAX_SAMPLED_PARTITIONS);
  assert.equal(busiest[0]!.share, 0.01);
  const tenants = Array.from({ length: 50 }, (_, n) => [`tenant ${n}`, n + 1] as const);
  const told = largestTenants(tenants);
  assert.equal(Object.keys(told).length, MAX_SAMPLED_TENANTS + 1);
  assert.equal(Object.values(told).reduce((sum, count) => sum + count, 0), 50 * 51 / 2);
  assert.equal(told["tenant 49"], 50);
});
