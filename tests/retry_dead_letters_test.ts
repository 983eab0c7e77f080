// Owns that a dead letter is written once, whenever the broker dies between the nack and its end, and whatever fails.
// Refuses to own which messages are dead (retry_decide_test.ts).
// Invariant: whole brokers in memory, one life after the other over the same stores.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import fc from "fast-check";
import { DEFAULT_GROUP_SETTINGS } from "../actors/group/settings.ts";
import { DEFAULT_RETRY_POLICY } from "../actors/group/retry/policy.ts";
import { LocalBroker } from "../actors/local_broker.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { decodeBatch } from "../storage/format/decode.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { batchSpans, readHeader } from "../storage/format/record_batch.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { MemoryMetadataStore } from "../storage/memory/memory_metadata.ts";
import { MemorySnapshotStore } from "../storage/memory/memory_snapshots.ts";
import { type Death, DyingLogStore } from "./support/dying_logs.ts";
import { FaultyLogStore } from "./support/faulty_logs.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const MESSAGES = 6;
const AT = { topic: "orders", partition: 0 };
const TURNS = 60;
/** A nack alone makes no group. */
const BILLING = {
  type: "SetRetryPolicy",
  group: "billing",
  policy: DEFAULT_RETRY_POLICY,
  principal: "t",
} as const;

function batch(): Uint8Array {
  const records = Array.from({ length: MESSAGES }, (_, n) => ({
    key: `k${n}`,
    value: `value ${n}`,
    headers: [["h", `${n}`]] as [string, string][],
    timestamp: 1_000 + n,
  }));
  return encodeBatch(records, { crc32c });
}

/** What outlives the lives of a broker. */
class Machine {
  readonly #time = new VirtualClock();
  readonly #logs = new MemoryLogStore(this.#time);
  readonly #randomness = seededRandomness(3);
  readonly #metadata = new MemoryMetadataStore({
    timers: this.#time,
    randomness: this.#randomness,
  });
  readonly #snapshots = new MemorySnapshotStore();
  #before: DyingLogStore | null = null;

  /** A life of its own, with its own clock: nothing of it moves once another has begun. */
  async live(death: Death | null): Promise<Life> {
    await this.#before?.bury();
    const time = new VirtualClock();
    const logs = this.#before = new DyingLogStore(this.#logs, death);
    const reports: string[] = [];
    const opening = LocalBroker.open({
      nodeId: "1",
      maxPendingPublishBytes: 1_000_000,
      retentionIntervalMs: 1e9,
      groupsPartitions: 1,
      group: DEFAULT_GROUP_SETTINGS,
    }, {
      metadata: this.#metadata,
      logs,
      snapshots: this.#snapshots,
      clock: time,
      timers: time,
      randomness: this.#randomness,
      crc32c,
      runtimeLog: { report: () => {} },
      report: ({ message }) => reports.push(message),
    });
    const life: Life = { broker: null, logs, time, reports };
    void opening.then((broker) => life.broker = broker);
    for (let turn = 0; turn < TURNS && life.broker === null && !logs.dead; turn++) {
      await time.advance(10);
    }
    return life;
  }
}

interface Life {
  /** Null when it died before it was open. */
  broker: LocalBroker | null;
  readonly logs: DyingLogStore;
  readonly time: VirtualClock;
  readonly reports: string[];
}

/** Tells the group of each message once, until the answer is there; true when it was. */
async function nackAll(life: Life, acked: Set<number>): Promise<void> {
  for (let offset = 0; offset < MESSAGES && !life.logs.dead; offset++) {
    if (acked.has(offset) || life.broker === null) continue;
    const code = offset % 2 === 0 ? "NON_RETRYABLE" : "SLOW";
    const nack = { ...AT, offset, code, reason: `r${offset}`, fraction: 0, delayMs: 60_000 };
    const nacked = life.broker.group({
      type: "Nack",
      group: "billing",
      principal: "t",
      nacks: [{ ...nack, endOffset: MESSAGES, attempt: 1 }],
    }).then(
      () => acked.add(offset),
      // It was written down before the last life ended, and is done by now.
      (error) => error.code === "INVALID_REQUEST" ? acked.add(offset) : assert.fail(error),
    );
    let answered = false;
    void nacked.then(() => answered = true);
    for (let turn = 0; turn < TURNS && !answered && !life.logs.dead; turn++) {
      await life.time.advance(1);
    }
  }
}

async function letters(broker: LocalBroker): Promise<string[]> {
  if (broker.topic("dlq.orders") === null) return [];
  const { batches } = await broker.fetch({ topic: "dlq.orders", partition: 0 }, 0, {
    maxBytes: 1e9,
  }).catch(() => ({ batches: new Uint8Array() }));
  const text = (bytes: Uint8Array | null) => new TextDecoder().decode(bytes ?? new Uint8Array());
  return [...batchSpans(batches)].flatMap(({ at }) =>
    decodeBatch(batches, at, { maxDecompressedBytes: 1e9 }).map(({ key, value, headers }) => {
      const origin = headers.find(([name]) => name === "waybill-origin-offset")![1];
      return `${text(key)} ${text(value)} @${text(origin)}`;
    })
  );
}

async function run(deaths: readonly Death[]): Promise<number> {
  const machine = new Machine();
  const first = await machine.live(null);
  const topic = first.broker!.createTopic({ name: "orders", partitions: 1, config: TOPIC_CONFIG });
  await first.time.advance(10);
  await topic;
  await first.broker!.append(AT, [batch()], { acks: "all" });
  const made = first.broker!.group(BILLING);
  await first.time.advance(10);
  await made;
  await first.broker!.close();
  const acked = new Set<number>();
  for (const death of deaths) await nackAll(await machine.live(death), acked);
  const last = await machine.live(null);
  assert.ok(last.broker !== null, "it opens again");
  await nackAll(last, acked);
  await last.time.advance(30_000);
  const written = await letters(last.broker);
  assert.deepEqual(
    written.toSorted(),
    [0, 2, 4].map((n) => `k${n} value ${n} @${n}`),
    `deaths: ${JSON.stringify(deaths)}`,
  );
  const { retries } = await last.broker.group({ type: "Describe", group: "billing" });
  assert.deepEqual(retries, { waiting: 3, inHand: 0, deadLettersToWrite: 0 });
  assert.deepEqual(last.reports.filter((message) => message.includes("dead letters")), []);
  await last.broker.close();
  return last.logs.appends;
}

Deno.test("dead letters are written once, at whichever append the broker dies", async () => {
  for (let afterAppends = 0; afterAppends < 22; afterAppends++) {
    for (const kept of [false, true]) await run([{ afterAppends, kept }]);
  }
});

Deno.test("dead letters are written once, however often the broker dies on the way", async () => {
  const death = fc.record({ afterAppends: fc.nat(8), kept: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.array(death, { maxLength: 6 }), async (deaths) => void await run(deaths)),
    { numRuns: 40 },
  );
});

Deno.test("nobody publishes under the producer id of a group's dead letters", async () => {
  const time = new VirtualClock();
  const { open } = memoryBrokerStores({ time });
  const broker = await open();
  await broker.createTopic({ name: "orders", partitions: 1, config: TOPIC_CONFIG });
  await broker.append(AT, [batch()], { acks: "all" });
  await broker.group(BILLING);
  const nacks = [{ ...AT, offset: 0, code: "NON_RETRYABLE", fraction: 0, endOffset: MESSAGES }];
  await broker.group({ type: "Nack", group: "billing", principal: "t", nacks });
  await time.advance(1_000);
  const at = { topic: "dlq.orders", partition: 0 };
  const { batches } = await broker.fetch(at, 0, { maxBytes: 1e9 });
  const { producerId, producerEpoch } = readHeader(batches, 0);
  assert.ok(producerId > 0, "it has one");
  const record = { key: null, value: "thief", headers: [], timestamp: 1_000 };
  const thief = encodeBatch([record], { crc32c, producerId, producerEpoch, baseSequence: 1 });
  await assert.rejects(broker.append(at, [thief], { acks: "all" }), { code: "INVALID_REQUEST" });
  await broker.close();
});

Deno.test("while the disk is full dead letters wait, and are written once there is space", async () => {
  const time = new VirtualClock();
  const logs = new FaultyLogStore(new MemoryLogStore(time));
  const { open, reports } = memoryBrokerStores({ time, logs });
  const broker = await open();
  await broker.createTopic({ name: "orders", partitions: 1, config: TOPIC_CONFIG });
  await broker.createTopic({ name: "dlq.orders", partitions: 1, config: TOPIC_CONFIG });
  await broker.append(AT, [batch()], { acks: "all" });
  await broker.group(BILLING);
  const nack = (offset: number) =>
    broker.group({
      type: "Nack",
      group: "billing",
      principal: "t",
      nacks: [{ ...AT, offset, code: "NON_RETRYABLE", fraction: 0, endOffset: MESSAGES }],
    });
  await nack(0);
  await time.advance(10);
  const second = nack(1);
  // Its own event is stored, and what comes next is the letter.
  void second.then(() => logs.nextFault = "DISK_FULL");
  await second;
  await time.advance(30_000);
  assert.deepEqual(await letters(broker), ["k0 value 0 @0", "k1 value 1 @1"]);
  logs.nextFault = "KEPT_BUT_FAILED";
  await nack(2).catch((error) => assert.ok(error instanceof BrokerError && error.retryable));
  await time.advance(30_000);
  await nack(2).catch((error) => assert.equal(error.code, "INVALID_REQUEST"));
  await time.advance(30_000);
  assert.equal((await letters(broker)).length, 3);
  assert.ok(reports.some(({ message }) => message.includes("dead letters of group billing")));
  await broker.close();
});
