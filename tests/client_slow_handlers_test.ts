// Owns the promise that no nacked message is lost, however slowly an application gets to what came again.
// Refuses to own when a message comes again (retry_decide_test.ts). Invariant: a whole broker in memory, virtual time.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import fc from "fast-check";
import type { Consumer } from "../api/client/consumer.ts";
import type { ConsumedMessage } from "../api/client/consumed.ts";
import { DEFAULT_RETRY_POLICY } from "../actors/group/retry/policy.ts";
import type { RetryOrdering } from "../actors/group/retry/types.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { consumerWorld } from "./support/client_stream.ts";
import type { FakeClient, Frame, StreamWorld } from "./support/stream_fakes.ts";
import { committed } from "./support/consumer_scene.ts";
import { settle } from "./support/virtual_time.ts";

const RETRIES_DONE = { waiting: 0, inHand: 0, deadLettersToWrite: 0 };

const waits = (world: StreamWorld, ms: number) =>
  new Promise<void>((resolve) => void world.time.after(ms, resolve));

/** Hands each message to `handle`, one after the other, and notes it as `partition:offset#attempt` when that is over. */
function slowly(
  consumer: Consumer,
  handle: (message: ConsumedMessage) => Promise<unknown>,
): string[] {
  const seen: string[] = [];
  void (async () => {
    for await (const message of consumer) {
      await handle(message);
      seen.push(`${message.partition}:${message.offset}#${message.attempt}`);
    }
  })();
  return seen;
}

async function pause(world: StreamWorld): Promise<void> {
  await settle();
  await world.time.advance(20);
}

/** As `world.until`, for what takes its time: at most ten minutes of it. */
async function late(world: StreamWorld, isTrue: () => boolean, what: string): Promise<void> {
  for (let step = 0; step < 30_000 && !isTrue(); step++) {
    await pause(world);
  }
  assert.ok(isTrue(), `${what} did not come`);
}

async function retriesOf(world: StreamWorld) {
  return (await world.broker.group({ type: "Describe", group: "billing" })).retries;
}

Deno.test("a nack counts however long after its message came again and was committed past", async () => {
  const { world, consumer, errors } = await consumerWorld();
  await world.publish(80);
  const billing = consumer({ autoCommit: true, autoCommitIntervalMs: 200 });
  const seen = slowly(billing, async (message) => {
    await waits(world, 100);
    if (message.offset === 0 && message.attempt < 4) billing.nack(message, { delayMs: 200 });
  });
  await late(world, () => seen.includes("0:0#4"), "the fourth attempt");
  assert.ok(seen.indexOf("0:0#2") >= 79, "it stood behind the others");
  await world.time.advance(1_000);
  await world.calm();
  assert.deepEqual(seen.filter((one) => one.startsWith("0:0#")), [
    "0:0#1",
    "0:0#2",
    "0:0#3",
    "0:0#4",
  ]);
  assert.deepEqual(errors, []);
  assert.deepEqual(await retriesOf(world), RETRIES_DONE);
  await billing.close();
});

Deno.test("a commit that ends at a message that came again meanwhile is not about it", async () => {
  const { world, consumer, errors } = await consumerWorld({ partitions: 2 });
  await world.publish(1);
  await world.publish(1, { partition: 1 });
  const billing = consumer({ autoCommit: true, autoCommitIntervalMs: 500 });
  const seen = slowly(billing, async (message) => {
    if (message.partition === 1) return await waits(world, 5_000);
    await waits(world, 10);
    if (message.attempt < 3) billing.nack(message, { delayMs: 100 });
  });
  await late(world, () => seen.length > 0 && world.time.monotonic() > 2_000, "a while");
  await late(world, () => seen.includes("0:0#3"), "the third attempt");
  await world.time.advance(1_000);
  await world.calm();
  assert.deepEqual(seen.filter((one) => one.startsWith("0:")), ["0:0#1", "0:0#2", "0:0#3"]);
  assert.deepEqual(errors, []);
  assert.deepEqual(await retriesOf(world), RETRIES_DONE);
  assert.equal(await committed(world), 1);
  await billing.close();
});

Deno.test("without auto-commit, a commit covers what was given before it, and a nack after it counts", async () => {
  const { world, consumer, errors } = await consumerWorld();
  await world.publish(6);
  const billing = consumer();
  const given: ConsumedMessage[] = [];
  const seen = slowly(billing, (message) => {
    given.push(message);
    if (message.attempt === 1 && message.offset < 3) billing.nack(message, { delayMs: 100 });
    return Promise.resolve();
  });
  await late(world, () => seen.length === 9, "all, and three again");
  await billing.commit(given[5]!);
  assert.deepEqual((await retriesOf(world)).inHand, 3, "they came after it");
  await world.publish(1);
  await late(world, () => seen.length === 10, "one more");
  billing.nack(given[7]!, { delayMs: 100 });
  await billing.commit(given[9]!);
  await late(world, () => seen.length === 11, "the nacked one");
  assert.equal(seen.at(-1), "0:1#3");
  assert.equal((await retriesOf(world)).inHand, 1);
  await billing.commit(given[10]!);
  assert.deepEqual(await retriesOf(world), RETRIES_DONE);
  assert.deepEqual(errors, []);
  await billing.close();
});

Deno.test("what waited behind its key and is done says nothing of what failed before it", async () => {
  const { world, consumer, errors } = await consumerWorld();
  const given: Case = {
    ordering: "blockKey",
    maxInFlight: 5,
    handlerMs: 300,
    delayMs: 0,
    // The last waits behind the first, and is committed while the one before it is handled again.
    failures: [1, 0, 0, 0, 0, 5, 0],
  };
  await begin(world, given);
  const billing = consumer({ autoCommit: true, autoCommitIntervalMs: 100, maxInFlight: 5 });
  const seen = slowly(billing, async (message) => {
    await waits(world, given.handlerMs);
    const isBad = message.attempt <= given.failures[message.offset]!;
    if (isBad) billing.nack(message, { delayMs: given.delayMs });
  });
  await late(world, () => seen.length === 10, "all ten");
  assert.deepEqual(seen.slice(6), ["0:5#1", "0:6#1", "0:5#2", "0:5#3"]);
  await end(world, given);
  assert.deepEqual(errors, []);
  await billing.close();
});

Deno.test("a commit of what came again covers what was handed out before it and lies below, not what came after", async () => {
  const { world, consumer, errors } = await consumerWorld();
  await world.publish(4);
  const billing = consumer();
  const given: ConsumedMessage[] = [];
  const seen = slowly(billing, (message) => {
    given.push(message);
    if (message.attempt === 1) billing.nack(message, { delayMs: 100 * (1 + message.offset % 3) });
    return Promise.resolve();
  });
  await late(world, () => seen.length === 8, "all again");
  assert.deepEqual(seen.slice(4), ["0:0#2", "0:3#2", "0:1#2", "0:2#2"]);
  await billing.commit(given[6]!);
  assert.equal((await retriesOf(world)).inHand, 2, "0 and 1 are done, 3 and 2 are not");
  billing.nack(given[5]!, { delayMs: 100 });
  billing.nack(given[7]!, { delayMs: 100 });
  await late(world, () => seen.length === 10, "both a third time");
  await billing.commitAll();
  assert.deepEqual(await retriesOf(world), RETRIES_DONE);
  assert.deepEqual(errors, []);
  await billing.close();
});

interface Case {
  readonly ordering: RetryOrdering;
  readonly maxInFlight: number;
  readonly handlerMs: number;
  readonly delayMs: number;
  /** How often each message fails. */
  readonly failures: readonly number[];
}

const MAX_ATTEMPTS = 3;
const cases: fc.Arbitrary<Case> = fc.record({
  ordering: fc.constantFrom<RetryOrdering>("skip", "blockKey", "blockPartition"),
  maxInFlight: fc.constantFrom(2, 5, 100),
  handlerMs: fc.constantFrom(0, 20, 300),
  delayMs: fc.constantFrom(0, 50, 1_000),
  failures: fc.array(fc.constantFrom(0, 0, 0, 1, 2, 5), { minLength: 1, maxLength: 20 }),
});

/** As many times as a message is handed out when nothing is lost: until it succeeds, or is dead. */
const handOuts = (failures: number) => Math.min(failures + 1, MAX_ATTEMPTS);

async function begin(world: StreamWorld, { ordering, failures }: Case): Promise<void> {
  await world.broker.group({
    type: "SetRetryPolicy",
    group: "billing",
    policy: { ...DEFAULT_RETRY_POLICY, jitterMs: 0, maxAttempts: MAX_ATTEMPTS, ordering },
    principal: "tests",
  });
  const records = failures.map((_, index) => ({
    key: `key ${index % 3}`,
    value: `message ${index}`,
    headers: [],
    timestamp: world.time.now(),
  }));
  const at = { topic: "orders", partition: 0 };
  await world.broker.append(at, [encodeBatch(records, { crc32c })], { acks: "all" });
}

async function end(world: StreamWorld, { failures }: Case): Promise<void> {
  await world.time.advance(5_000);
  await world.calm();
  assert.deepEqual(await retriesOf(world), RETRIES_DONE);
  const dead = failures.filter((count) => count >= MAX_ATTEMPTS).length;
  const at = { topic: "dlq.orders", partition: 0 };
  const letters = world.broker.topic(at.topic) === null
    ? 0
    : (await world.broker.partitionInfo(at)).highWatermark;
  assert.equal(letters, dead);
}

Deno.test("what is nacked is handed out until it succeeds or is dead, by the SDK (property)", async () => {
  await fc.assert(
    fc.asyncProperty(cases, fc.boolean(), async (given, autoCommit) => {
      const { world, consumer, errors } = await consumerWorld();
      await begin(world, given);
      const { maxInFlight, handlerMs, delayMs, failures } = given;
      const billing = consumer({ autoCommit, autoCommitIntervalMs: 100, maxInFlight });
      const seen = slowly(billing, async (message) => {
        await waits(world, handlerMs);
        const isBad = message.attempt <= failures[message.offset]!;
        if (isBad) billing.nack(message, { delayMs });
        if (!autoCommit && !isBad) await billing.commit(message);
      });
      const all = failures.reduce((sum, count) => sum + handOuts(count), 0);
      await late(world, () => seen.length >= all, `${all} messages`);
      await end(world, given);
      assert.equal(seen.length, all);
      assert.deepEqual(errors, []);
      await billing.close();
      await world.close();
    }),
    { numRuns: 40 },
  );
});

Deno.test("what is nacked is handed out until it succeeds or is dead, to a client that commits just behind (property)", async () => {
  await fc.assert(
    fc.asyncProperty(cases, async (given) => {
      const { world } = await consumerWorld();
      await begin(world, given);
      const client = await world.consumer({ maxInFlight: given.maxInFlight });
      const seen = rawly(world, client, { ...given, how: "just behind" });
      const all = given.failures.reduce((sum, count) => sum + handOuts(count), 0);
      await late(world, () => seen.length >= all, `${all} messages`);
      await end(world, given);
      assert.equal(seen.length, all);
      assert.deepEqual(client.ofType("error"), []);
      await world.close();
    }),
    { numRuns: 40 },
  );
});

Deno.test("what a client that commits the highest offset leaves in hand comes again to the next (property)", async () => {
  await fc.assert(
    fc.asyncProperty(cases, async (given) => {
      const { world, consumer, errors } = await consumerWorld();
      await begin(world, given);
      const client = await world.consumer({ maxInFlight: given.maxInFlight });
      const seen = rawly(world, client, { ...given, how: "highest" });
      for (let step = 0; step < 500; step++) await pause(world);
      client.send({ type: "leave" });
      await world.calm();
      const { delayMs, failures } = given;
      const billing = consumer({ autoCommit: true, autoCommitIntervalMs: 100 });
      const seenNext = slowly(billing, (message) => {
        const isBad = message.attempt <= failures[message.offset]!;
        if (isBad) billing.nack(message, { delayMs });
        return Promise.resolve();
      });
      const isDone = (count: number, offset: number) => {
        const last = `${offset}#${handOuts(count)}`;
        return seen.includes(last) || seenNext.includes(`0:${last}`);
      };
      await late(world, () => failures.every(isDone), "the end of each message");
      await end(world, given);
      assert.deepEqual([...client.ofType("error"), ...errors], []);
      await billing.close();
      await world.close();
    }),
    { numRuns: 40 },
  );
});

/** What a client commits when it is done with a message: one past it, or one past the highest that it was given. */
type RawCommit = "just behind" | "highest";

/** Handles what `client` gets in order, as slowly as said, and answers each message. */
function rawly(
  world: StreamWorld,
  client: FakeClient,
  { handlerMs, delayMs, failures, how }: Case & { readonly how: RawCommit },
): string[] {
  const seen: string[] = [];
  void (async () => {
    for (let highest = 0;; await waits(world, 1)) {
      const message: Frame | undefined = client.messages()[seen.length];
      if (message === undefined) continue;
      await waits(world, handlerMs);
      const { offset, attempt = 1 } = message;
      const at = { topic: "orders", partition: 0 };
      highest = Math.max(highest, offset + 1);
      seen.push(`${offset}#${attempt}`);
      if (attempt <= failures[offset]!) client.send({ type: "nack", ...at, offset, delayMs });
      else client.commit(how === "highest" ? highest : offset + 1);
    }
  })();
  return seen;
}
