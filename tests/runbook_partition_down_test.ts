// Owns tests of bringing back a partition, or an actor, that does not serve: a real broker over logs that fail.
// Refuses to own how executions go (runbook_executions_test.ts) and backoff (partition_actor_test.ts).
// Invariant: each is judged by the partition's own answers, not by the execution's word.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { BrokerError, type ErrorCode } from "../storage/broker_error.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { allRunbooks } from "../ops/runbooks/install.ts";
import { revivedActors } from "../actors/runtime/revived_actors.ts";
import { FaultyLogStore } from "./support/faulty_logs.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { runbookScene } from "./support/runbook_scene.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const AT = { topic: "orders", partition: 0 };
const TARGET = { type: "partition", name: "orders/0" } as const;
const ALL = { acks: "all" } as const;

async function scene() {
  const time = new VirtualClock();
  const logs = new FaultyLogStore(new MemoryLogStore(time));
  const made = await runbookScene(allRunbooks, { time, logs });
  const { broker } = made;
  await broker.createTopic({ name: "orders", partitions: 1, config: TOPIC_CONFIG });
  const publish = (value: string) => {
    const records = [{
      key: null,
      value: new TextEncoder().encode(value),
      headers: [],
      timestamp: time.now(),
    }];
    return broker.append(AT, [encodeBatch(records, { crc32c })], ALL);
  };
  /** A write of unknown outcome; what opens the log then says `code`. */
  const fail = async (code: ErrorCode) => {
    logs.nextFault = "STORAGE_FAILED";
    logs.nextOpenError = new BrokerError(code, "it cannot be opened");
    await assert.rejects(publish("lost"), { code: "STORAGE_FAILED" });
    await time.advance(200);
    assert.equal((await broker.partitionInfo(AT)).state, "offline");
  };
  const run = async () =>
    (await made.execute("partition-actor-down", { target: TARGET })).executionId;
  return { ...made, logs, publish, fail, run };
}

Deno.test("a partition that would stay offline for good is started again, and verified by what it writes and reads", async () => {
  const { broker, time, publish, fail, run, settled, close } = await scene();
  await publish("a");
  await publish("b");
  await fail("INTERNAL");
  await time.advance(600_000);
  await assert.rejects(publish("still not"), { code: "INTERNAL" });
  const { leaderEpoch } = await broker.partitionInfo(AT);
  const execution = await settled(await run());
  assert.equal(execution.outcome, "verified", JSON.stringify(execution.steps));
  assert.match(execution.steps[0]!.detail!, /^orders\/0 is offline: it cannot be opened/);
  assert.equal(execution.steps[1]!.detail, "partition orders/0: back");
  assert.equal(execution.steps[2]!.detail, "orders/0 has written and read offset 2");
  assert.deepEqual(execution.rpo, { ms: 0, messages: 0 });
  assert.ok(execution.rtoMs! <= execution.targets.rtoMs!);
  const info = await broker.partitionInfo(AT);
  assert.equal(info.state, "online");
  assert.ok(info.leaderEpoch > leaderEpoch);
  assert.equal(info.lastStableOffset, 3);
  assert.deepEqual((await publish("c")).baseOffsets, [3]);
  await close();
});

Deno.test("a partition whose disk fails again and again is tried each second until it serves", async () => {
  const { broker, logs, fail, run, settled, time, close } = await scene();
  await fail("STORAGE_FAILED");
  logs.nextOpenError = new BrokerError("STORAGE_FAILED", "not yet");
  const executionId = await run();
  await time.advance(100);
  const { steps } = await broker.runbooks.execution(executionId);
  assert.deepEqual([steps[1]!.state, steps[1]!.detail], ["running", "partition orders/0: not yet"]);
  const execution = await settled(executionId);
  assert.equal(execution.outcome, "verified", JSON.stringify(execution.steps));
  // The turn that it had waited for does not open it once more.
  const { leaderEpoch } = await broker.partitionInfo(AT);
  await time.advance(60_000);
  assert.equal((await broker.partitionInfo(AT)).leaderEpoch, leaderEpoch);
  await close();
});

Deno.test("a corrupt log is left as it is, and somebody is told what to do", async () => {
  const { broker, logs, publish, fail, run, settled, close } = await scene();
  await publish("a");
  await fail("CORRUPT_LOG");
  logs.nextOpenError = new BrokerError("CORRUPT_LOG", "it ends too early");
  const execution = await settled(await run());
  assert.equal(execution.state, "partial");
  assert.match(
    execution.outcome!,
    /^partial: manual intervention required: partition orders\/0: it ends too early\. Starting again finds the same bytes: restore/,
  );
  assert.equal((await broker.partitionInfo(AT)).state, "offline");
  // Somebody has restored it, and starts it again without a restart of the broker.
  const again = await settled(await run());
  assert.equal(again.outcome, "verified");
  await close();
});

Deno.test("in mode observe nothing is started again", async () => {
  const { broker, fail, execute, settled, close } = await scene();
  await fail("INTERNAL");
  const { executionId } = await execute("partition-actor-down", {
    target: TARGET,
    mode: "observe",
  });
  const execution = await settled(executionId);
  assert.equal(execution.steps[1]!.detail, "would start partition orders/0 again");
  assert.equal((await broker.partitionInfo(AT)).state, "offline");
  await close();
});

Deno.test("for the whole broker every partition that is offline is started again, and what serves is left alone", async () => {
  const { broker, fail, publish, close } = await scene();
  await broker.createTopic({ name: "others", partitions: 1, config: TOPIC_CONFIG });
  const others = () => broker.partitionInfo({ topic: "others", partition: 0 });
  const before = await others();
  await fail("INTERNAL");
  assert.deepEqual(await broker.revive(null), [{ what: "partition orders/0", error: null }]);
  assert.deepEqual(await others(), before);
  assert.deepEqual(await broker.revive(null), []);
  assert.deepEqual(await broker.revive(AT), []);
  await publish("a");
  await close();
});

Deno.test("an actor that stayed down is started again, one that is being restarted is not", async () => {
  const revived: string[] = [];
  const actor = (actorId: string, state: "down" | "restarting" | "running", comes: boolean) => {
    let now: "down" | "restarting" | "running" = state;
    return {
      health: () => ({ actorId, state: now, failures: 9, reason: "broken" }),
      revive: () => {
        revived.push(actorId);
        now = comes ? "running" : "down";
        return Promise.resolve();
      },
    };
  };
  const found = await revivedActors([
    actor("group-shard/0", "down", true),
    actor("group-shard/1", "restarting", true),
    actor("jobs/0", "running", true),
    actor("transactions/0", "down", false),
  ]);
  assert.deepEqual(revived, ["group-shard/0", "transactions/0"]);
  assert.deepEqual(found.map(({ what, error }) => [what, error?.code ?? null]), [
    ["group-shard/0", null],
    ["transactions/0", "ACTOR_DOWN"],
  ]);
});
