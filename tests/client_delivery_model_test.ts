// Owns random runs of the producer: whatever happens to requests, each message is reported once, in order.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { WaybillError } from "../api/client/errors.ts";
import { type Fate, producerUnderTest, watch } from "./support/client_transport.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";

/** Fates of which most requests survive, so that virtual time stays short. */
const FATES: readonly Fate[] = [
  "stored",
  "stored",
  "stored",
  "lost",
  "dropped",
  "hangs",
  { status: 503, code: "OVERLOADED" },
  { status: 429, code: "QUOTA_EXCEEDED", retryAfter: "1" },
  { status: 503, code: "NOT_ENOUGH_REPLICAS", retryAfter: "0" },
  { status: 413, code: "REQUEST_TOO_LARGE" },
  { status: 403, code: "FORBIDDEN" },
];

interface Sent {
  readonly id: number;
  readonly partition: number;
  outcome: "none" | "stored" | "failed" | "twice";
  offset: number;
}

/** One run under faults drawn from `seed`; every message has its number as text in front of its padding. */
async function run(seed: number, messages: number) {
  const chance = seededRandomness(seed);
  const { producer, transport, time } = producerUnderTest(seed);
  transport.fate = () => chance.pick(FATES);
  transport.metadataFate = () => chance.fraction() < 0.3 ? "dropped" : "stored";
  const sent: Sent[] = [];
  const byKey = new Map<string, Sent>();
  const settle = (message: Sent, outcome: "stored" | "failed", offset: number) => {
    message.outcome = message.outcome === "none" ? outcome : "twice";
    message.offset = offset;
  };
  const enqueued: Sent[][] = [[], [], []];
  const maxBufferedBytes = 64 * 1024;
  const sender = producer({
    lingerMs: chance.integer(3) * 4,
    maxBatchBytes: 500 + chance.integer(3_000),
    maxRequestBytes: 16 * 1024,
    maxRequestMessages: 5 + chance.integer(40),
    maxBufferedBytes,
    deliveryTimeoutMs: 5_000 + chance.integer(60_000),
    requestTimeoutMs: 3_000,
    onFull: chance.pick(["wait", "reject"]),
    onDelivered: ({ partition, offset, count }) => {
      for (let index = 0; index < count; index++) {
        settle(enqueued[partition]!.shift()!, "stored", offset + index);
      }
    },
    onError: (failure) => {
      assert.equal(failure.messages().length, failure.count);
      for (const message of failure.messages()) {
        const { value } = message as { value: string | Uint8Array };
        const text = typeof value === "string" ? value : new TextDecoder().decode(value);
        const failed = byKey.get(text.split(" ")[0]!)!;
        const queue = enqueued[failed.partition]!;
        // Without a place, in no order with those that have one.
        queue.splice(failure.partition < 0 ? queue.indexOf(failed) : 0, 1);
        settle(failed, "failed", -1);
      }
    },
  });
  for (let id = 0; id < messages; id++) {
    const partition = chance.integer(3);
    const message: Sent = { id, partition, outcome: "none", offset: -1 };
    const value = `${id} ${"·".repeat(chance.integer(400))}`;
    byKey.set(`${id}`, message);
    const way = chance.integer(3);
    if (way === 0) {
      sent.push(message);
      sender.send("t", { partition, value }).then(
        (result) => settle(message, "stored", result.offset),
        () => settle(message, "failed", -1),
      );
    } else if (way === 1) {
      sent.push(message);
      sender.sendMany("t", [{ partition, value }]).then(
        (result) => settle(message, "stored", result.results()[0]!.offset),
        () => settle(message, "failed", -1),
      );
    } else {
      try {
        sender.enqueue("t", { partition, value });
        sent.push(message);
        enqueued[partition]!.push(message);
      } catch (error) {
        assert.equal((error as WaybillError).code, "BUFFER_FULL");
      }
    }
    assert.ok(sender.bufferedBytes <= maxBufferedBytes, `${sender.bufferedBytes} bytes`);
    if (chance.fraction() < 0.2) await time.advance(chance.integer(30));
  }
  await time.advance(200_000);
  const closed = watch(sender.close());
  await time.advance(100);
  assert.notEqual(closed.code, "pending");
  assert.equal(time.pendingTimers, 0);
  return { sent, transport, sender };
}

Deno.test("whatever happens to requests, each message is reported once, and partitions keep their order", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 31 }), async (seed) => {
      const { sent, transport, sender } = await run(seed, 150);
      assert.equal(sender.bufferedBytes, 0);
      assert.equal(transport.overlapped, false);
      const wrong = sent.filter(({ outcome }) => outcome === "none" || outcome === "twice");
      assert.deepEqual(wrong, []);
      for (let partition = 0; partition < 3; partition++) {
        const log = transport.values(partition).map((value) => Number(value.split(" ")[0]));
        // A repeat may stand behind its first copy, but the first copies are in the order in which they were sent.
        const firsts = [...new Set(log)];
        assert.deepEqual(firsts, firsts.toSorted((a, b) => a - b));
        for (const { id, outcome, offset } of sent.filter((one) => one.partition === partition)) {
          if (outcome === "stored") assert.equal(log[offset], id);
        }
      }
    }),
    { numRuns: 40 },
  );
});
