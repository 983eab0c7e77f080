// Owns that keys of replayed messages count in the topic that they were replayed into, from then on and over restarts.
// Refuses to own replays as such (job_api_test.ts) and keys of appends (message_keys_append_test.ts).
// Invariant: a replay is never kept from appending; only what is published after it is told of its messages.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import type { LocalBroker } from "../actors/local_broker.ts";
import { IDEMPOTENCY_KEY_HEADER, knownMessagesOf } from "../actors/message_keys/types.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import type { VirtualClock } from "./support/virtual_time.ts";

/** Publishes a message under `key`; answers its offset, or `known` and where it is. */
async function publish(broker: LocalBroker, topic: string, key: string | null): Promise<string> {
  const headers = key === null ? [] : [[IDEMPOTENCY_KEY_HEADER, key] as const];
  const batch = encodeBatch([{ key: null, value: "v", headers, timestamp: 0 }], { crc32c });
  try {
    const { baseOffsets } = await broker.append({ topic, partition: 0 }, [batch], {
      acks: "all",
      ...(key === null ? {} : { idempotencyKeys: [[key]] }),
    });
    return `${baseOffsets[0]}`;
  } catch (error) {
    const known = knownMessagesOf(error);
    assert.ok(known !== null, `${error}`);
    return `known ${known[0]!.offset}`;
  }
}

async function replay(
  { broker, time }: { broker: LocalBroker; time: VirtualClock },
  jobId: string,
  target: string | null,
): Promise<number> {
  await broker.jobs.submit({
    kind: "replay",
    jobId,
    fingerprint: jobId,
    principal: "tester",
    reason: null,
    dryRun: false,
    topic: "orders",
    partition: 0,
    from: { kind: "earliest" },
    to: { kind: "latest" },
    target: target === null ? null : { topic: target },
    ratePerSecond: null,
  });
  await time.advance(1_000);
  const { state, done } = await broker.jobs.get(jobId);
  assert.equal(state, "completed");
  return done;
}

Deno.test("keys of a replay count in its target from then on, over a kill too, and never stop it", async () => {
  const stores = memoryBrokerStores();
  const broker = await stores.open();
  const at = { broker, time: stores.time };
  for (const name of ["orders", "copy"]) {
    await broker.createTopic({ name, partitions: 1, config: TOPIC_CONFIG });
  }
  for (const key of ["a", null, "b"]) await publish(broker, "orders", key);
  assert.equal(await publish(broker, "copy", "b"), "0");
  assert.equal(await replay(at, "first", "copy"), 3, "all of it, whatever is known");
  assert.equal(await publish(broker, "copy", "a"), "known 1");
  assert.equal(await publish(broker, "copy", "b"), "known 0", "the first stays the first");
  assert.equal(await replay(at, "again", "copy"), 3);
  assert.equal(await publish(broker, "copy", "a"), "known 1");
  // Nothing but the log tells of what follows.
  const { snapshots } = stores;
  const save = snapshots.save;
  snapshots.save = () => Promise.resolve();
  await publish(broker, "orders", "c");
  assert.equal(await replay(at, "third", "copy"), 4);
  await broker.close();
  snapshots.save = save;
  const next = await stores.open();
  assert.equal(await publish(next, "copy", "a"), "known 1");
  assert.equal(await publish(next, "copy", "c"), "known 10");
  assert.equal(await publish(next, "copy", "d"), "11");
  await next.close();
});

Deno.test("keys that were forgotten stay so when their messages are replayed within their topic", async () => {
  const stores = memoryBrokerStores({ messageKeys: { windowMs: 10_000 } });
  const broker = await stores.open();
  const at = { broker, time: stores.time };
  await broker.createTopic({ name: "orders", partitions: 1, config: TOPIC_CONFIG });
  await publish(broker, "orders", "a");
  await stores.time.advance(20_000);
  assert.equal(await replay(at, "job", null), 1);
  assert.equal(await publish(broker, "orders", "a"), "2");
  await broker.close();
});
