// Owns what a consuming client sees of messages that fail: when they come again, what they hold up, where they end.
// Refuses to own the decisions themselves (retry_decide_test.ts). Invariant: a whole broker in memory, in virtual time.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { DEFAULT_RETRY_POLICY } from "../actors/group/retry/policy.ts";
import type { RetryPolicy } from "../actors/group/retry/types.ts";
import { decodeBatch } from "../storage/format/decode.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { batchSpans } from "../storage/format/record_batch.ts";
import { type FakeClient, type Frame, StreamWorld } from "./support/stream_fakes.ts";

const AT = { topic: "orders", partition: 0 };

function retries(
  name: string,
  run: (world: StreamWorld) => Promise<void>,
  options: Parameters<typeof StreamWorld.open>[0] = {},
): void {
  Deno.test(name, async () => {
    const world = await StreamWorld.open(options);
    try {
      await run(world);
      assert.deepEqual(world.faults, []);
    } finally {
      await world.close();
    }
  });
}

/** One batch; `keys[i]` is the key of message i. */
async function publishKeys(world: StreamWorld, ...keys: (string | null)[]): Promise<void> {
  const records = keys.map((key) => ({
    key,
    value: `of ${key}`,
    headers: [],
    timestamp: world.time.now(),
  }));
  await world.broker.append(AT, [encodeBatch(records, { crc32c })], { acks: "all" });
  await world.calm();
}

async function setPolicy(world: StreamWorld, policy: Partial<RetryPolicy>): Promise<void> {
  await world.broker.group({
    type: "SetRetryPolicy",
    group: "billing",
    policy: { ...DEFAULT_RETRY_POLICY, jitterMs: 0, ...policy },
    principal: "tests",
  });
  await world.calm();
}

/** `offset` of a first delivery, `offset#attempt` of another. */
function seen(client: FakeClient): string[] {
  return client.messages().map(({ offset, attempt }: Frame) =>
    attempt === undefined ? `${offset}` : `${offset}#${attempt}`
  );
}

async function nack(world: StreamWorld, client: FakeClient, offset: number, more = {}) {
  client.send({ type: "nack", ...AT, offset, ...more });
  await world.calm();
}

async function deadLetters(world: StreamWorld): Promise<number> {
  if (world.broker.topic("dlq.orders") === null) return 0;
  const { highWatermark } = await world.broker.partitionInfo({ topic: "dlq.orders", partition: 0 });
  return highWatermark;
}

retries("a poison message holds up nobody under skip, and ends as a dead letter", async (world) => {
  await setPolicy(world, { maxAttempts: 3 });
  await world.publish(50);
  const client = await world.consumer({ maxInFlight: 10 });
  let poison = 0;
  let read = 0;
  await world.until(() => {
    for (; read < client.messages().length; read++) {
      const { offset } = client.messages()[read];
      if (offset === 7) {
        client.send({ type: "nack", ...AT, offset, code: "BAD", reason: "poison" });
        poison++;
      } else client.commit(offset + 1);
    }
    return poison === 3 && read === 52;
  }, "all messages, and the poison three times");
  await world.calm();
  assert.equal(await deadLetters(world), 1);
  const { offsets, retries } = await world.broker.group({ type: "Describe", group: "billing" });
  assert.equal(offsets[0]!.offset, 50);
  assert.deepEqual(retries, { waiting: 0, inHand: 0, deadLettersToWrite: 0 });
  assert.deepEqual(client.ofType("error"), []);
});

for (const format of ["json", "msgpack", "batch"] as const) {
  retries(`a poison message holds up its key alone under blockKey (${format})`, async (world) => {
    await setPolicy(world, { ordering: "blockKey", maxAttempts: 3 });
    const client = await world.consumer({ format });
    const records = () => format === "batch" ? batched(client) : seen(client);
    await publishKeys(world, "a");
    await nack(world, client, 0);
    await publishKeys(world, "b", "a", null, "a", "c");
    assert.deepEqual(records(), ["0", "1", "3", "5"]);
    client.commit(6);
    await world.time.advance(200);
    await world.calm();
    assert.deepEqual(records().slice(4), ["0#2"], "the others of its key wait behind it");
    client.commit(1);
    await world.calm();
    await world.time.advance(10);
    await world.calm();
    assert.deepEqual(records().slice(5), ["2#1"], "one at a time, in order");
    client.commit(3);
    await world.calm();
    await world.time.advance(10);
    await world.calm();
    assert.deepEqual(records().slice(6), ["4#1"]);
    client.commit(5);
    await publishKeys(world, "a");
    assert.deepEqual(records().slice(7), ["6"]);
  });
}

/** As `seen`, of whole batches: the messages that a frame says it is about. */
function batched(client: FakeClient): string[] {
  return client.ofType("messages").flatMap(({ batches, offset, nextOffset, attempt }: Frame) =>
    [...batchSpans(batches)].flatMap(({ at }) =>
      decodeBatch(batches, at, { maxDecompressedBytes: 1_000_000 })
        .filter((record) => record.offset >= offset && record.offset < nextOffset)
        .map((record) => attempt === undefined ? `${record.offset}` : `${record.offset}#${attempt}`)
    )
  );
}

retries(
  "what waits behind a poison message outlives its dead letter and the member",
  async (world) => {
    await setPolicy(world, { ordering: "blockKey", maxAttempts: 2 });
    const client = await world.consumer();
    await publishKeys(world, "a");
    await nack(world, client, 0);
    await publishKeys(world, "a", "b");
    assert.deepEqual(seen(client), ["0", "2"]);
    client.commit(3);
    client.send({ type: "leave" });
    await world.calm();
    const next = await world.consumer();
    await world.time.advance(200);
    await world.calm();
    assert.deepEqual(seen(next), ["0#2"]);
    await nack(world, next, 0);
    await world.time.advance(10);
    await world.calm();
    assert.equal(await deadLetters(world), 1);
    assert.deepEqual(seen(next), ["0#2", "1#1"]);
  },
);

retries("a poison message holds up its partition under blockPartition", async (world) => {
  await setPolicy(world, { ordering: "blockPartition", maxAttempts: 3 });
  const client = await world.consumer();
  await world.publish(1);
  await world.publish(1, { partition: 1 });
  await nack(world, client, 0);
  await world.publish(3);
  await world.publish(2, { partition: 1 });
  assert.deepEqual(client.offsets(0), [0]);
  assert.deepEqual(client.offsets(1), [0, 1, 2]);
  for (const [waitMs, attempt] of [[200, 2], [400, 3]] as const) {
    await world.time.advance(waitMs);
    await world.calm();
    assert.equal(client.messages(0).at(-1).attempt, attempt);
    assert.deepEqual([...new Set(client.offsets(0))], [0]);
    await nack(world, client, 0);
  }
  await world.time.advance(10);
  await world.calm();
  assert.equal(await deadLetters(world), 1);
  assert.deepEqual(client.offsets(0).slice(3), [1, 2, 3]);
}, { partitions: 2 });

retries(
  "a retry goes to the member that reads its partition now, which passes it over before",
  async (world) => {
    const client = await world.consumer();
    await world.publish(5);
    await nack(world, client, 1, { delayMs: 1_000, id: "n" });
    const { nextAttemptAt, ...confirmed } = client.last("nacked");
    assert.deepEqual(confirmed, { type: "nacked", id: "n", ...AT, offset: 1, attempt: 1 });
    assert.equal(nextAttemptAt, world.time.now() + 1_000);
    client.send({ type: "leave" });
    await world.calm();
    const next = await world.consumer();
    await world.calm();
    assert.deepEqual(seen(next), ["0", "2", "3", "4"]);
    await world.time.advance(1_000);
    await world.calm();
    assert.deepEqual(seen(next).slice(4), ["1#2"]);
    next.commit(5);
    await world.publish(1);
    next.commit(6);
    await world.calm();
    const { retries } = await world.broker.group({ type: "Describe", group: "billing" });
    assert.deepEqual(retries, { waiting: 0, inHand: 0, deadLettersToWrite: 0 });
  },
);

/** As a chunk of a replay to the group does. */
async function redeliver(world: StreamWorld, offsets: readonly number[]): Promise<void> {
  const chunk = { jobId: "job", chunk: 0 };
  await world.broker.group({ type: "Redeliver", group: "billing", ...chunk, ...AT, offsets });
}

retries("a retry in hand of a member that vanishes comes again to the next", async (world) => {
  const client = await world.consumer();
  await world.publish(2);
  client.commit(2);
  await world.calm();
  await redeliver(world, [0, 1]);
  await world.time.advance(10);
  await world.calm();
  assert.deepEqual(seen(client), ["0", "1", "0#2", "1#2"]);
  client.commit(1);
  await world.calm();
  await client.gone();
  await world.time.advance(2_000);
  const next = await world.consumer();
  await world.until(() => next.messages().length > 0, "the retry");
  assert.deepEqual(seen(next), ["1#2"]);
});

retries(
  "retries are given out no faster than the window allows, and all of them come",
  async (world) => {
    const client = await world.consumer({ maxInFlight: 7 });
    await world.publish(40);
    let read = 0;
    const failed = new Set<number>();
    await world.until(() => {
      for (; read < client.messages().length; read++) {
        const { offset, attempt } = client.messages()[read];
        if (attempt === undefined) {
          client.send({ type: "nack", ...AT, offset, delayMs: 0 });
          failed.add(offset);
        } else {
          client.commit(offset + 1);
          failed.delete(offset);
        }
      }
      return failed.size === 0 && read === 80;
    }, "every retry");
    await world.calm();
    const { offsets, retries } = await world.broker.group({ type: "Describe", group: "billing" });
    assert.equal(retries.waiting + retries.inHand, 0);
    assert.equal(offsets[0]!.offset, 40);
    assert.deepEqual(client.ofType("error"), []);
  },
);

retries(
  "a paused group gives out no retry, and goes on with them when it is resumed",
  async (world) => {
    const client = await world.consumer();
    await world.publish(2);
    await nack(world, client, 0, { delayMs: 100 });
    await world.broker.group({ type: "Pause", group: "billing", reason: "stop", principal: "ops" });
    await world.time.advance(1_000);
    await world.calm();
    assert.deepEqual(seen(client), ["0", "1"]);
    await world.broker.group({ type: "Resume", group: "billing", principal: "ops" });
    await world.calm();
    await world.time.advance(10);
    await world.calm();
    assert.deepEqual(seen(client), ["0", "1", "0#2"]);
  },
);

retries("a retry of what is not read yet comes once, when reading has got there", async (world) => {
  const client = await world.consumer();
  await world.publish(1);
  client.commit(1);
  await redeliver(world, [3]);
  await world.time.advance(50);
  await world.calm();
  await world.publish(5);
  await world.time.advance(50);
  await world.calm();
  assert.deepEqual(seen(client), ["0", "1", "2", "4", "5", "3#2"]);
});

retries(
  "a commit does not settle a retry that it may have crossed on its way, however much time goes by",
  async (world) => {
    const client = await world.consumer();
    await world.publish(5);
    await nack(world, client, 1, { delayMs: 0 });
    await world.time.advance(10);
    await world.calm();
    assert.deepEqual(seen(client).at(-1), "1#2");
    const inHand = async () =>
      (await world.broker.group({ type: "Describe", group: "billing" })).retries.inHand;
    client.commit(5);
    await world.calm();
    assert.equal(await inHand(), 1);
    await nack(world, client, 1, { delayMs: 0 });
    assert.deepEqual(client.ofType("error"), []);
    await world.time.advance(10);
    await world.calm();
    assert.deepEqual(seen(client).at(-1), "1#3");
    client.commit(5);
    await world.time.advance(20_000);
    await world.calm();
    assert.equal(await inHand(), 1);
    await nack(world, client, 1, { delayMs: 0 });
    assert.deepEqual(client.ofType("error"), []);
    await world.time.advance(10);
    await world.calm();
    assert.deepEqual(seen(client).at(-1), "1#4");
    client.commit(2);
    await world.calm();
    assert.equal(await inHand(), 0);
  },
);

retries(
  "a commit that waits for the one before it is not about a retry that is sent meanwhile",
  async (world) => {
    const client = await world.consumer();
    await world.publish(3);
    client.send({ type: "nack", ...AT, offset: 2, delayMs: 0 });
    client.commit(3);
    await world.calm();
    await world.time.advance(10);
    await world.calm();
    assert.deepEqual(seen(client).at(-1), "2#2");
    const { retries } = await world.broker.group({ type: "Describe", group: "billing" });
    assert.equal(retries.inHand, 1);
    await nack(world, client, 2, { delayMs: 0 });
    assert.deepEqual(client.ofType("error"), []);
  },
);

retries(
  "autoCommit settles what came again once it was flushed, and the window goes on",
  async (world) => {
    const client = await world.consumer({ autoCommit: true, maxInFlight: 2 });
    await world.publish(2);
    await nack(world, client, 0, { delayMs: 500 });
    await nack(world, client, 1, { delayMs: 500 });
    await world.time.advance(600);
    await world.calm();
    assert.deepEqual(seen(client), ["0", "1", "0#2", "1#2"]);
    await world.time.advance(1_500);
    await world.calm();
    const { offsets, retries } = await world.broker.group({ type: "Describe", group: "billing" });
    assert.deepEqual(retries, { waiting: 0, inHand: 0, deadLettersToWrite: 0 });
    assert.equal(offsets[0]!.offset, 2);
    await world.publish(1);
    assert.deepEqual(seen(client).at(-1), "2");
  },
);

retries("what a client says is done of retries is done, and no more", async (world) => {
  const client = await world.consumer();
  await world.publish(5);
  for (const offset of [1, 2, 3]) await nack(world, client, offset, { delayMs: 0 });
  await world.time.advance(10);
  await world.calm();
  assert.deepEqual(seen(client).slice(5), ["1#2", "2#2", "3#2"]);
  client.send({ type: "commit", offsets: [{ ...AT, offset: 5, settles: [2] }] });
  await world.publish(2);
  client.send({ type: "commit", offsets: [{ ...AT, offset: 7, settles: [] }] });
  await world.calm();
  const inHand = async () =>
    (await world.broker.group({ type: "Describe", group: "billing" })).retries.inHand;
  assert.equal(await inHand(), 2);
  client.send({ type: "commit", offsets: [{ ...AT, offset: 7, settles: [1] }] });
  await nack(world, client, 3, { delayMs: 0 });
  await world.time.advance(10);
  await world.calm();
  assert.equal(await inHand(), 1);
  assert.deepEqual(seen(client).at(-1), "3#3");
  client.send({ type: "leave" });
  await world.calm();
  const next = await world.consumer();
  await world.calm();
  assert.deepEqual(seen(next), ["3#3"], "it was not settled: it comes again");
  assert.deepEqual(client.ofType("error"), []);
});

retries(
  "under blockPartition a client goes on too that answers everything with the highest offset",
  async (world) => {
    await setPolicy(world, { ordering: "blockPartition" });
    const client = await world.consumer();
    await world.publish(3);
    await nack(world, client, 0);
    client.commit(2);
    client.commit(3);
    await world.publish(2);
    assert.deepEqual(seen(client), ["0", "1", "2"]);
    await world.time.advance(200);
    await world.calm();
    assert.deepEqual(seen(client).slice(3), ["0#2"]);
    await world.time.advance(20_000);
    assert.deepEqual(seen(client).slice(4), []);
    client.commit(3);
    await world.calm();
    assert.deepEqual(seen(client).slice(4), ["3", "4"]);
  },
);

retries(
  "under blockPartition the next member reads up to what waits, no further",
  async (world) => {
    await setPolicy(world, { ordering: "blockPartition", maxAttempts: 3 });
    const client = await world.consumer();
    await world.publish(8);
    await nack(world, client, 5, { delayMs: 1_000 });
    await nack(world, client, 6, { delayMs: 0 });
    client.commit(3);
    client.send({ type: "leave" });
    await world.calm();
    for (const format of ["json", "batch"] as const) {
      const next = await world.consumer({ format });
      await world.calm();
      assert.deepEqual(format === "batch" ? batched(next) : seen(next), ["3", "4"]);
      next.send({ type: "leave" });
      await world.calm();
    }
    await world.time.advance(1_000);
    const last = await world.consumer();
    await world.calm();
    assert.deepEqual(seen(last), ["3", "4", "5#2"]);
    last.commit(6);
    await world.calm();
    await world.time.advance(10);
    await world.calm();
    assert.deepEqual(seen(last), ["3", "4", "5#2", "6#2"]);
    last.commit(7);
    await world.calm();
    assert.deepEqual(seen(last), ["3", "4", "5#2", "6#2", "7"]);
  },
);

retries("under blockPartition what waits may be the first thing to come", async (world) => {
  await setPolicy(world, { ordering: "blockPartition" });
  const client = await world.consumer();
  await world.publish(2);
  await nack(world, client, 0);
  client.send({ type: "leave" });
  await world.calm();
  const next = await world.consumer();
  await world.calm();
  assert.deepEqual(seen(next), []);
  await world.time.advance(200);
  await world.calm();
  assert.deepEqual(seen(next), ["0#2"]);
  next.commit(1);
  await world.calm();
  assert.deepEqual(seen(next), ["0#2", "1"]);
});
