// Owns tests of the runbooks that measure and say what is needed: lag growing, hot partition, tenant over quota.
// Refuses to own how executions go (runbook_executions_test.ts). Invariant: each is judged by the broker's state.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import fc from "fast-check";
import { NO_LIMITS } from "../actors/quota/types.ts";
import type { ExecutionRequest } from "../actors/runbook/types.ts";
import { proposal } from "../ops/runbooks/hot_partition.ts";
import { allRunbooks } from "../ops/runbooks/install.ts";
import { CATCH_UP_SECONDS, recommend } from "../ops/runbooks/scale.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { runbookScene } from "./support/runbook_scene.ts";
import { sampleOf } from "./support/sample_run.ts";

async function scene(partitions = 2, config = TOPIC_CONFIG) {
  const made = await runbookScene(allRunbooks);
  const { broker, time } = made;
  await broker.createTopic({ name: "orders", partitions, config });
  const publish = async (partition: number, count: number, key = "k") => {
    const records = Array.from({ length: count }, (_, index) => ({
      key: new TextEncoder().encode(index % 5 === 0 ? "cold" : key),
      value: new TextEncoder().encode(`value ${index}`),
      headers: [],
      timestamp: time.now(),
    }));
    const at = { topic: "orders", partition };
    await broker.append(at, [encodeBatch(records, { crc32c })], { acks: "all" });
  };
  const commit = (partition: number, offset: number) =>
    broker.group({
      type: "CommitOffsets",
      group: "billing",
      offsets: [{ topic: "orders", partition, offset, endOffset: 1_000_000 }],
      allowRewind: true,
      reason: "a test",
      principal: "bob",
    });
  const join = (memberId: string) =>
    broker.group({
      type: "Join",
      group: "billing",
      newMemberId: memberId,
      topics: ["orders"],
      sessionTimeoutMs: 3_600_000,
      transport: "http",
      partitionCounts: { orders: partitions },
    });
  const run = async (name: string, more: Partial<ExecutionRequest> = {}) =>
    (await made.execute(name, more)).executionId;
  return { ...made, publish, commit, join, run };
}

const owned = (memberId: string, appended: number, consumed: number, lag: number) => ({
  memberId,
  appendedPerSecond: appended,
  consumedPerSecond: consumed,
  lag,
});

Deno.test("members and partitions that are needed follow from measured rates", () => {
  // 300/s come in, a member does 100/s, 60,000 behind are 100/s more over ten minutes: four members.
  const needed = recommend({
    members: 2,
    partitions: [owned("a", 150, 100, 30_000), owned("b", 150, 100, 30_000)],
  });
  assert.equal(needed.perMemberPerSecond, 100);
  assert.equal(needed.membersNeeded, 4);
  assert.equal(needed.partitionsNeeded, 4);
  assert.equal(needed.caughtUpInSeconds, null);
  assert.match(needed.words, /4 members instead of 2, 4 partitions instead of 2$/);
  const enough = recommend({ members: 1, partitions: [owned("a", 10, 110, 6_000)] });
  assert.equal(enough.membersNeeded, 1);
  assert.match(enough.words, /no more members, it has caught up in about 60 s$/);
  const stuck = recommend({ members: 3, partitions: [owned("a", 10, 0, 6_000)] });
  assert.equal(stuck.membersNeeded, null);
  assert.match(stuck.words, /see why nothing is committed/);
  const nobody = recommend({
    members: 0,
    partitions: [{ ...owned("", 10, 0, 6_000), memberId: null }],
  });
  assert.match(nobody.words, /start its consumers$/);
});

Deno.test("so many members as are recommended keep up and catch up in time, and one fewer would not", () => {
  const figure = fc.record({
    memberId: fc.constantFrom("a", "b", "c"),
    appendedPerSecond: fc.integer({ min: 0, max: 5_000 }),
    consumedPerSecond: fc.integer({ min: 0, max: 5_000 }),
    lag: fc.integer({ min: 0, max: 1_000_000 }),
  });
  fc.assert(fc.property(fc.array(figure, { minLength: 1, maxLength: 8 }), (partitions) => {
    const found = recommend({ members: 3, partitions });
    const { membersNeeded, partitionsNeeded, perMemberPerSecond: each } = found;
    if (membersNeeded === null) {
      assert.equal(each, null);
      return;
    }
    const wanted = found.appendedPerSecond + found.lag / CATCH_UP_SECONDS;
    if (membersNeeded < 10_000) assert.ok(membersNeeded * each! >= wanted - 1e-6);
    if (membersNeeded > 1) assert.ok((membersNeeded - 1) * each! < wanted);
    assert.ok(partitionsNeeded! >= Math.min(10_000, Math.max(membersNeeded, partitions.length)));
  }));
});

Deno.test("lag growing: the group is measured, more partitions are only made where somebody asks, and it is verified that lag falls", async () => {
  const { broker, time, publish, commit, join, run, settled, close } = await scene();
  await join("a");
  await time.advance(5_000);
  await publish(0, 6_000);
  await publish(1, 6_000);
  await commit(0, 0);
  await commit(1, 0);
  const executionId = await run("lag-growing", { parameters: { partitions: "4" } });
  for (let second = 1; second <= 10; second++) {
    await time.advance(1_000);
    await publish(0, 20);
    await commit(0, second * 10);
  }
  await time.advance(6_000);
  const measured = await broker.runbooks.execution(executionId);
  assert.match(
    measured.steps[0]!.detail!,
    /^12100 messages behind; 13\/s come in, 6\.\d\/s are committed by 1 members from 2 partitions; recommended, to catch up in 600 s: [56] members instead of 1/,
  );
  assert.equal(measured.facts.topic, "orders");
  assert.equal(broker.topic("orders")!.partitionCount, 4);
  await commit(0, 6_000);
  await commit(1, 300);
  const execution = await settled(executionId);
  assert.equal(execution.outcome, "verified", JSON.stringify(execution.steps));
  assert.match(execution.steps[1]!.detail!, /^topic orders has 4 partitions instead of 2/);
  await close();
});

Deno.test("lag growing: a group that never committed is behind by all there is", async () => {
  const { publish, join, run, settled, close } = await scene();
  await publish(0, 40);
  await publish(1, 50);
  await join("m1");
  const execution = await settled(await run("lag-growing", { mode: "observe" }), 60_000);
  assert.match(execution.steps[0]!.detail!, /^90 messages behind; .* nothing is committed/);
  await close();
});

Deno.test("lag growing: a group that does not catch up is left to somebody, with what it needs", async () => {
  const { broker, publish, commit, run, settled, close } = await scene();
  await publish(0, 100);
  await commit(0, 10);
  const execution = await settled(await run("lag-growing"), 900_000);
  assert.equal(execution.state, "partial");
  assert.match(
    execution.outcome!,
    /90 messages behind, 90 when it was measured .*start its consumers/,
  );
  assert.equal(broker.topic("orders")!.partitionCount, 2);
  await close();
});

Deno.test("a key is to be split where it is most of the bytes, else partitions are proposed that part them", () => {
  const hot = proposal("k", { keyShare: 0.9, topicShare: 1, partitionCount: 4 });
  assert.deepEqual([hot.keyParts, hot.partitions], [4, 4]);
  assert.match(hot.advice, /key k has 90% of the bytes: .* split the key into 4$/);
  const spread = proposal("k", { keyShare: 0.1, topicShare: 0.9, partitionCount: 4 });
  assert.equal(spread.partitions, 8);
  // More than 5 would not help: the key alone has a fifth of the topic.
  const some = proposal("k", { keyShare: 0.4, topicShare: 0.5, partitionCount: 4 });
  assert.equal(some.partitions, 5);
});

Deno.test("hot partition: the key is named; partitions are added where somebody asks, and their share is measured", async () => {
  const { broker, time, measured, publish, run, settled, close } = await scene();
  await publish(0, 100, "hot");
  const target = { type: "partition", name: "orders/0" } as const;
  const named = await settled(await run("hot-partition", { target }));
  assert.match(named.outcome!, /^partial: manual intervention required: key hot has \d\d% of/);
  assert.equal(named.facts.key, "hot");
  assert.equal(broker.topic("orders")!.partitionCount, 2);
  const executionId = await run("hot-partition", { target, parameters: { partitions: "6" } });
  const feed = async (share: number) => {
    await time.advance(1_000);
    const of = (partition: number, bytes: number) => (
      { topic: "orders", partition, bytes, share: bytes / 100 }
    );
    const partitions = [of(0, share), of(3, 100 - share)];
    measured.samples.push(sampleOf({ at: time.now(), partitions }));
  };
  for (let second = 0; second < 30; second++) await feed(90);
  assert.equal((await broker.runbooks.execution(executionId)).state, "running");
  assert.equal(broker.topic("orders")!.partitionCount, 6);
  for (let second = 0; second < 16; second++) await feed(20);
  const execution = await settled(executionId);
  assert.equal(execution.outcome, "verified", JSON.stringify(execution.steps));
  await close();
});

Deno.test("hot partition: of an encrypted topic no key is named", async () => {
  const { broker, run, settled, close } = await scene(2, { ...TOPIC_CONFIG });
  const describe = broker.topic.bind(broker);
  broker.topic = (name) => {
    const topic = describe(name);
    return topic && { ...topic, config: { ...topic.config, encryption: "aes-256-gcm" } };
  };
  const records = [{
    key: new TextEncoder().encode("secret"),
    value: new TextEncoder().encode("v"),
    headers: [],
    timestamp: 1,
  }];
  const at = { topic: "orders", partition: 0 };
  await broker.append(at, [encodeBatch(records, { crc32c })], { acks: "all" });
  const target = { type: "partition", name: "orders/0" } as const;
  const execution = await settled(await run("hot-partition", { target }));
  assert.ok(!JSON.stringify(execution).includes("secret"));
  await close();
});

Deno.test("tenant over quota: only the limits that it is at are raised, once somebody agrees, and it is verified that it is served", async () => {
  const { broker, time, measured, run, settled, close } = await scene();
  const limits = { ...NO_LIMITS, publishMessagesPerSecond: 100, requestsPerSecond: 50 };
  await broker.quotas.put({ tenant: "acme", limits, updatedBy: "ada" });
  measured.usage = { publishMessagesPerSecond: 99, requestsPerSecond: 3 };
  const feed = async (seconds: number, refused: number) => {
    for (let second = 0; second < seconds; second++) {
      await time.advance(1_000);
      measured.samples.push(sampleOf({ at: time.now(), quotaBreaches: { acme: refused } }));
    }
  };
  await feed(5, 7);
  const target = { type: "tenant", name: "acme" } as const;
  const executionId = await run("tenant-over-quota", { target, mode: "approve" });
  await feed(2, 7);
  const waiting = await broker.runbooks.execution(executionId);
  assert.equal(waiting.state, "waiting");
  assert.match(waiting.steps[0]!.detail!, /held to its own quota, 35 requests refused within 60 s/);
  assert.equal(broker.quotas.limitsOf("acme").publishMessagesPerSecond, 100);
  await broker.runbooks.approve({ executionId, principal: "ada", reason: null });
  await feed(3, 7);
  assert.deepEqual(broker.quotas.limitsOf("acme"), {
    ...broker.quotas.limitsOf("acme"),
    publishMessagesPerSecond: 200,
    requestsPerSecond: 50,
  });
  assert.equal((await broker.runbooks.execution(executionId)).state, "running");
  await feed(11, 0);
  const execution = await settled(executionId);
  assert.equal(execution.outcome, "verified", JSON.stringify(execution.steps));
  await close();
});

Deno.test("tenant over quota: undone, the tenant has what it had: its own quota, or the default one", async () => {
  const { broker, time, measured, run, settled, close } = await scene();
  const limits = { ...NO_LIMITS, requestsPerSecond: 50 };
  await broker.quotas.put({ tenant: "*", limits, updatedBy: "ada" });
  measured.usage = { requestsPerSecond: 50 };
  const target = { type: "tenant", name: "acme" } as const;
  const executionId = await run("tenant-over-quota", { target, parameters: { factor: "3" } });
  await time.advance(3_000);
  assert.equal(broker.quotas.limitsOf("acme").requestsPerSecond, 150);
  await broker.runbooks.abort({ executionId, principal: "ada", reason: "too much" });
  const execution = await settled(executionId);
  assert.equal(execution.state, "aborted");
  assert.equal(broker.quotas.find("acme"), null);
  assert.equal(broker.quotas.limitsOf("acme").requestsPerSecond, 50);
  measured.usage = { requestsPerSecond: 2 };
  const bursts = await settled(await run("tenant-over-quota", { target }));
  assert.match(bursts.outcome!, /it is at none of them just now: bursts/);
  await close();
});
