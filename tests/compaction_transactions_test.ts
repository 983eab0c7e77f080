// Owns that a compacted topic keeps its promises to transactions: nothing aborted or open is ever shown, whatever is lost.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import type { LocalBroker } from "../actors/local_broker.ts";
import { producerSnapshotId } from "../actors/partition/partition_producers.ts";
import { RecordReader } from "../api/record_reader.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { SimulatedMachine } from "./support/simulated_logs.ts";

const AT = { topic: "table", partition: 0 };

interface Producer {
  readonly producerId: number;
  producerEpoch: number;
  sequence: number;
}

async function write(broker: LocalBroker, producer: Producer, texts: readonly string[]) {
  const records = texts.map((text) => {
    const [key, value] = text.split("=") as [string, string];
    return { key, value: value === "" ? null : value, headers: [], timestamp: 1_000 };
  });
  const { sequence: baseSequence, ...identity } = producer;
  const batch = encodeBatch(records, { crc32c, ...identity, baseSequence, transactional: true });
  producer.sequence += texts.length;
  await broker.append(AT, [batch], { acks: "all" });
}

async function finish(broker: LocalBroker, producer: Producer, commit: boolean) {
  const { producerId, producerEpoch } = producer;
  await broker.writeMarker(AT, { producerId, producerEpoch, coordinatorEpoch: 0, commit });
  // Each transaction has an epoch of its own.
  producer.producerEpoch++;
  producer.sequence = 0;
}

async function table(broker: LocalBroker): Promise<Record<string, string>> {
  const found = new Map<string, string>();
  const { logStartOffset, lastStableOffset } = await broker.partitionInfo(AT);
  let offset = logStartOffset;
  while (offset < lastStableOffset) {
    const isolation = "read_committed" as const;
    const fetched = await broker.fetch(AT, offset, { maxBytes: 1_000, isolation });
    const bounds = { maxMessages: 1_000, maxBytes: 1e6, maxDecompressedBytes: 1e6 };
    const reader = new RecordReader({ offset, ...bounds });
    for (const { key, value } of reader.records(fetched)) {
      const text = (bytes: Uint8Array | null) => new TextDecoder().decode(bytes!);
      if (value === null) found.delete(text(key));
      else found.set(text(key), text(value));
    }
    assert.ok(reader.nextOffset > offset);
    offset = reader.nextOffset;
  }
  return Object.fromEntries(found);
}

Deno.test("compaction under transactions shows committed values only, also after a restart without snapshots", async () => {
  const machine = new SimulatedMachine();
  const stores = memoryBrokerStores({ logs: machine.store(), time: machine.clock });
  let broker = await stores.open();
  const config = { ...TOPIC_CONFIG, cleanupPolicy: "compact" as const, segmentBytes: 1_500 };
  const topic = await broker.createTopic({ name: "table", partitions: 1, config });
  const identities = await Promise.all([1, 2, 3].map(() => broker.producers.allocate()));
  const [a, b, slow] = identities.map((identity): Producer => ({ ...identity, sequence: 0 }));
  const expected: Record<string, string> = {};
  const sizes: number[] = [];
  for (let round = 0; round < 4; round++) {
    for (let turn = 0; turn < 30; turn++) {
      const value = `${round}-${turn}`;
      const commits = turn % 3 !== 0;
      await write(broker, a!, [`k${turn % 5}=${value}`, `same=${value}`]);
      await write(broker, b!, [`other${turn % 4}=${value}`]);
      await finish(broker, a!, commits);
      await finish(broker, b!, turn % 2 === 0);
      if (commits) Object.assign(expected, { [`k${turn % 5}`]: value, same: value });
      if (turn % 2 === 0) expected[`other${turn % 4}`] = value;
    }
    // Open over the compaction: nothing from here on is touched until it ends.
    if (round === 1) await write(broker, slow!, ["slow=open"]);
    const before = (await broker.partitionInfo(AT)).sizeBytes;
    await machine.clock.advance(61_000);
    sizes.push((await broker.partitionInfo(AT)).sizeBytes / before);
    const stable = round === 0 || round === 3;
    if (stable) assert.deepEqual(await table(broker), expected, `round ${round}`);
    if (round === 2) {
      assert.ok(!("slow" in await table(broker)));
      await finish(broker, slow!, true);
      expected.slow = "open";
      assert.deepEqual(await table(broker), expected);
    }
    await broker.close();
    if (round % 2 === 1) {
      await stores.snapshots.remove(producerSnapshotId(`topics/${topic.topicId}/0`));
    }
    broker = await stores.open();
    if (stable) assert.deepEqual(await table(broker), expected, `after restart ${round}`);
  }
  assert.ok(sizes[0]! < 0.8 && sizes[3]! < 0.85, `it was compacted: ${sizes}`);
  // Markers stay for a day, as tombstones do.
  const { sizeBytes } = await broker.partitionInfo(AT);
  await machine.clock.advance(25 * 3_600_000);
  const late = await broker.partitionInfo(AT);
  assert.ok(late.sizeBytes < sizeBytes / 4, `${sizeBytes} to ${late.sizeBytes}`);
  assert.deepEqual(await table(broker), expected);
  // A producer goes on where it was.
  await write(broker, a!, ["k0=last"]);
  await finish(broker, a!, true);
  assert.equal((await table(broker)).k0, "last");
  await broker.close();
  assert.deepEqual(stores.reports.filter(({ level }) => level !== "info"), []);
});
