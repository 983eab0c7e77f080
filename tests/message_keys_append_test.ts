// Owns the tests of appends with message keys on a whole broker in memory: repeats, rivals, failures, restarts.
// Refuses to own the table (message_keys_table_test.ts) and what HTTP makes of it (api_idempotency_keys_test.ts).
import assert from "node:assert/strict";
import { knownMessagesOf, REPLAYED_HEADER } from "../actors/message_keys/types.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { settle } from "./support/virtual_time.ts";
import {
  append,
  batchOf,
  HOUR_MS,
  kill,
  knownOf,
  opened,
  stored,
} from "./support/keyed_appends.ts";

const hasCode = (code: string) => (error: unknown) =>
  error instanceof BrokerError && error.code === code;

Deno.test("append with a key that the topic has names the first message and stores nothing", async () => {
  const { broker } = await opened({ partitions: 2 });
  await append(broker, ["a", null, "b"], 1);
  assert.deepEqual(await knownOf(append(broker, ["x", "b", "a"], 0)), [[1, 1, 2], [2, 1, 0]]);
  assert.deepEqual(await stored(broker, 0), []);
  // What was refused together with known ones is not taken for known.
  await append(broker, ["x"], 0);
  assert.deepEqual(await stored(broker, 0), ["x"]);
  const { keys, duplicates, pending } = await broker.messageKeyCounts();
  assert.deepEqual([keys, duplicates, pending], [3, 2, 0]);
  await broker.close();
});

Deno.test("append of a key waits for the one that is under way, and then knows it", async () => {
  const { broker, logs } = await opened({ partitions: 2 });
  await append(broker, ["warm"]);
  const gate = Promise.withResolvers<void>();
  logs.gate = gate.promise;
  const first = append(broker, ["a", "b"], 0);
  let isSettled = false;
  const second = append(broker, ["b", "c"], 1).finally(() => isSettled = true);
  second.catch(() => undefined);
  await settle();
  assert.equal(isSettled, false);
  gate.resolve();
  assert.deepEqual((await first).baseOffsets, [1]);
  assert.deepEqual(await knownOf(second), [[0, 0, 2]]);
  await broker.close();
});

Deno.test("append of a key goes through when the one under way has surely failed", async () => {
  const { broker, logs } = await opened();
  await append(broker, ["warm"]);
  const gate = Promise.withResolvers<void>();
  logs.gate = gate.promise;
  logs.nextFault = "DISK_FULL";
  const first = append(broker, ["a"]);
  const second = append(broker, ["a"]);
  gate.resolve();
  await assert.rejects(first, hasCode("DISK_FULL"));
  assert.deepEqual((await second).baseOffsets, [1]);
  await broker.close();
});

for (const fault of ["STORAGE_FAILED", "KEPT_BUT_FAILED"] as const) {
  Deno.test(`append after one with an unknown outcome waits for what the log says (${fault})`, async () => {
    const { broker, logs, time } = await opened({ partitions: 2 });
    await append(broker, ["warm"]);
    logs.nextFault = fault;
    await assert.rejects(append(broker, ["a"]), hasCode("STORAGE_FAILED"));
    // The partition is not back: nobody can know, not even for the other partition.
    await assert.rejects(append(broker, ["a"], 1), hasCode("STORAGE_FAILED"));
    assert.deepEqual((await append(broker, ["b"], 1)).baseOffsets, [0]);
    await time.advance(1_000);
    const again = append(broker, ["a"], 1);
    if (fault === "KEPT_BUT_FAILED") assert.deepEqual(await knownOf(again), [[0, 0, 1]]);
    else assert.deepEqual((await again).baseOffsets, [1]);
    assert.equal((await broker.messageKeyCounts()).pending, 0);
    await broker.close();
  });
}

for (const snapshots of ["kept", "lost"] as const) {
  for (const end of ["closed", "killed"] as const) {
    Deno.test(`broker knows keys after it was ${end}, snapshots ${snapshots}`, async () => {
      const stores = await opened({ partitions: 2 });
      const { broker: before, time } = stores;
      await before.append({ topic: "orders", partition: 0 }, [batchOf([null])], { acks: "all" });
      await append(before, ["a", "b"]);
      // Long enough for a snapshot; what follows is in the log alone.
      await time.advance(400_000);
      await append(before, ["c"], 1);
      if (end === "closed") await before.close();
      else await kill(before, stores);
      if (snapshots === "lost") {
        const topicId = before.topic("orders")!.topicId;
        await stores.snapshots.remove(`message-keys/${topicId}`);
      }
      const after = await stores.open();
      assert.deepEqual(await knownOf(append(after, ["c", "new", "a", "b"])), [
        [0, 1, 0],
        [2, 0, 1],
        [3, 0, 2],
      ]);
      const { recovered } = await after.messageKeyCounts();
      const inLogAlone = snapshots === "lost" ? 3 : end === "closed" ? 0 : 1;
      assert.equal(recovered, inLogAlone);
      await after.close();
    });
  }
}

Deno.test("key whose message the log has lost is no key, though the snapshot has it", async () => {
  const stores = await opened({ partitions: 2 });
  const { broker } = stores;
  await append(broker, ["a", "b"], 0);
  await append(broker, ["c"], 1);
  const { topicId } = broker.topic("orders")!;
  await broker.close();
  await stores.logs.remove(`topics/${topicId}/0`);
  const after = await stores.open();
  assert.deepEqual(await knownOf(append(after, ["c", "a"])), [[0, 1, 0]]);
  assert.deepEqual((await append(after, ["b"])).baseOffsets, [0]);
  assert.deepEqual(await knownOf(append(after, ["b"])), [[0, 0, 0]]);
  await after.close();
});

Deno.test("key is free again after its time, and not before, whatever the wall clock does", async () => {
  const { broker, time } = await opened();
  await append(broker, ["a"]);
  time.jumpWall(48 * HOUR_MS);
  await time.advance(23.9 * HOUR_MS);
  assert.deepEqual(await knownOf(append(broker, ["a"])), [[0, 0, 0]]);
  time.jumpWall(-96 * HOUR_MS);
  await time.advance(0.2 * HOUR_MS);
  assert.deepEqual((await append(broker, ["a"])).baseOffsets, [1]);
  assert.equal((await broker.messageKeyCounts()).expired, 1);
  await broker.close();
});

Deno.test("key keeps its time over a restart", async () => {
  const stores = await opened();
  await append(stores.broker, ["a"]);
  await stores.time.advance(20 * HOUR_MS);
  await stores.broker.close();
  const after = await stores.open();
  assert.deepEqual(await knownOf(append(after, ["a"])), [[0, 0, 0]]);
  await stores.time.advance(5 * HOUR_MS);
  assert.deepEqual((await append(after, ["a"])).baseOffsets, [1]);
  await after.close();
});

Deno.test("what jobs append again is stored, and the first message stays the one that is known", async () => {
  const stores = await opened();
  const { broker } = stores;
  await append(broker, ["a"]);
  const copy = batchOf(["a"], [[REPLAYED_HEADER, "job-1"]]);
  await broker.append({ topic: "orders", partition: 0 }, [copy], { acks: "all" });
  const foreign = batchOf(["never-published"], [[REPLAYED_HEADER, "job-1"]]);
  await broker.append({ topic: "orders", partition: 0 }, [foreign], { acks: "all" });
  await kill(broker, stores);
  const after = await stores.open();
  assert.deepEqual(await knownOf(append(after, ["a"])), [[0, 0, 0]]);
  assert.deepEqual((await append(after, ["never-published"])).baseOffsets, [3]);
  await after.close();
});

Deno.test("keys of a deleted topic are no keys of the next one with its name", async () => {
  const stores = await opened();
  const { broker } = stores;
  await append(broker, ["a"]);
  await broker.deleteTopic("orders");
  await broker.createTopic({ name: "orders", partitions: 1, config: TOPIC_CONFIG });
  assert.deepEqual((await append(broker, ["a"])).baseOffsets, [0]);
  await broker.close();
  assert.equal((await stores.metadata.list(["message-keys"])).length, 1);
});

Deno.test("keys of a topic that is gone are forgotten, those of one that another broker has just made are not", async () => {
  const stores = memoryBrokerStores();
  const { metadata, time } = stores;
  const keyed = ["gone", "new"].map((id) => ({ key: ["message-keys", id], value: { since: [0] } }));
  await metadata.commit({ checks: [], sets: keyed });
  const broker = await stores.open();
  const { createdAt } = broker.topic("__groups")!;
  const made = { topicId: "new", name: "orders", partitionCount: 1, config: TOPIC_CONFIG };
  const value = { ...made, createdAt, internal: false };
  await metadata.connect().commit({ checks: [], sets: [{ key: ["topics", "orders"], value }] });
  await time.advance(60_000);
  const left = await metadata.list(["message-keys"]);
  assert.deepEqual(left.map(({ key }) => key[1]), ["new"]);
  assert.equal((await broker.messageKeyCounts()).topics, 1);
  await broker.close();
});

Deno.test("topic without keys leaves no trace of them, and its log is not read at the start", async () => {
  const stores = await opened();
  const at = { topic: "orders", partition: 0 };
  await stores.broker.append(at, [batchOf([null])], { acks: "all" });
  await stores.time.advance(400_000);
  await stores.broker.close();
  assert.deepEqual(await stores.metadata.list(["message-keys"]), []);
  const after = await stores.open();
  assert.equal((await after.messageKeyCounts()).topics, 0);
  await after.close();
});

Deno.test("keys of all topics together are bounded: the oldest of the largest topic go first", async () => {
  const stores = memoryBrokerStores({ messageKeys: { maxKeysPerTopic: 2_000, maxKeys: 3_000 } });
  const broker = await stores.open();
  const fill = async (topic: string, count: number) => {
    await broker.createTopic({ name: topic, partitions: 1, config: TOPIC_CONFIG });
    for (let from = 0; from < count; from += 500) {
      const keys = Array.from({ length: 500 }, (_, at) => `${from + at}`);
      const options = { acks: "all" as const, idempotencyKeys: [keys] };
      await broker.append({ topic, partition: 0 }, [batchOf(keys)], options);
    }
  };
  await fill("large", 3_000);
  await fill("small", 1_500);
  const { keys, evicted } = await broker.messageKeyCounts();
  assert.ok(keys <= 3_000, `${keys} keys`);
  assert.equal(keys + evicted, 4_500);
  const options = { acks: "all" as const, idempotencyKeys: [["0"]] };
  const isKnown = async (topic: string) =>
    knownMessagesOf(
      await broker.append({ topic, partition: 0 }, [batchOf(["0"])], options)
        .catch((error) => error),
    ) !== null;
  assert.deepEqual([await isKnown("small"), await isKnown("large")], [true, false]);
  await broker.close();
});
