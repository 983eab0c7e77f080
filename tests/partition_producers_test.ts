// Owns proof of the rules for producers: repeats, gaps, epochs, the wrap of sequences, and the bounds of what is remembered.
// Refuses to own transactions (partition_transactions_test.ts) and restarts (partition_producer_recovery_test.ts).
import assert from "node:assert/strict";
import fc from "fast-check";
import { decideProducerAppend, openedPartition } from "../actors/partition/decide.ts";
import { DEFAULT_PRODUCER_BOUNDS, ProducerCensus } from "../actors/partition/producer_census.ts";
import {
  decideSequence,
  evolveProducer,
  MAX_RUN_RECORDS,
  MAX_RUNS,
  type ProducerBatch,
  type ProducerEntry,
  type ProducerEvent,
} from "../actors/partition/producer_state.ts";
import { ProducerTable } from "../actors/partition/producer_table.ts";
import { ProducerIds } from "../actors/partition/producer_ids.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { MemoryMetadataStore } from "../storage/memory/memory_metadata.ts";
import { partitionScene, plain, stamped } from "./support/partition_scene.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const LAST_SEQUENCE = 2 ** 31 - 1;

function batch(baseSequence: number, recordCount = 1, producerEpoch = 0): ProducerBatch {
  return { producerId: 7, producerEpoch, baseSequence, recordCount, transactional: false };
}

function given(...stored: (readonly [ProducerBatch, number])[]): ProducerEntry | undefined {
  let entry: ProducerEntry | undefined;
  for (const [each, baseOffset] of stored) {
    entry = evolveProducer(entry, { type: "ProducerAppended", batch: each, baseOffset, at: 0 });
  }
  return entry;
}

const decide = (entry: ProducerEntry | undefined, each: ProducerBatch) =>
  decideSequence(entry, each, "orders/0");

const refused = (code: string, details: object) => (error: unknown) => {
  assert.ok(error instanceof BrokerError && error.code === code, `${error}`);
  for (const [key, value] of Object.entries(details)) assert.equal(error.details[key], value, key);
  return true;
};

Deno.test("a producer's batch is new when it is the first or follows the last", () => {
  assert.equal(decide(undefined, batch(0, 5)), null);
  assert.equal(decide(given([batch(0, 5), 100]), batch(5)), null);
});

Deno.test("a producer's repeat gets the offset that it has", () => {
  const entry = given([batch(0, 5), 100], [batch(5, 3), 105], [batch(8, 2), 300]);
  assert.equal(decide(entry, batch(0, 5)), 100);
  assert.equal(decide(entry, batch(5, 3)), 105);
  assert.equal(decide(entry, batch(8, 2)), 300);
});

Deno.test("a producer's gap is refused with the sequence that must come", () => {
  assert.throws(
    () => decide(undefined, batch(3)),
    refused("OUT_OF_ORDER_SEQUENCE", { expectedSequence: 0 }),
  );
  assert.throws(
    () => decide(given([batch(0, 5), 100]), batch(6)),
    refused("OUT_OF_ORDER_SEQUENCE", { expectedSequence: 5 }),
  );
  // Half of it is stored, half is not.
  assert.throws(
    () => decide(given([batch(0, 5), 100]), batch(4, 2)),
    refused("OUT_OF_ORDER_SEQUENCE", { expectedSequence: 5 }),
  );
});

Deno.test("a producer of an older epoch is fenced, one of a newer epoch starts from 0", () => {
  const entry = given([batch(0, 5, 2), 100]);
  assert.throws(
    () => decide(entry, batch(5, 1, 1)),
    refused("PRODUCER_FENCED", { currentEpoch: 2 }),
  );
  assert.throws(
    () => decide(entry, batch(0, 5, 1)),
    refused("PRODUCER_FENCED", { currentEpoch: 2 }),
  );
  assert.equal(decide(entry, batch(0, 5, 3)), null);
  assert.throws(
    () => decide(entry, batch(5, 1, 3)),
    refused("OUT_OF_ORDER_SEQUENCE", { expectedSequence: 0 }),
  );
  assert.equal(decide(given([batch(0, 5, 2), 100], [batch(0, 1, 3), 105]), batch(0, 1, 3)), 105);
});

Deno.test("a producer's sequence goes on with 0 after 2^31 - 1, within a batch too", () => {
  const before = given([batch(LAST_SEQUENCE - 1, 2), 100])!;
  assert.equal(before.nextSequence, 0);
  assert.equal(decide(before, batch(0)), null);
  assert.equal(decide(before, batch(LAST_SEQUENCE - 1, 2)), 100);
  const across = given([batch(LAST_SEQUENCE, 4), 100])!;
  assert.equal(across.nextSequence, 3);
  assert.equal(decide(across, batch(LAST_SEQUENCE, 4)), 100);
  assert.equal(decide(across, batch(3, 2)), null);
});

Deno.test("a producer that has gone once around the sequences repeats nothing by that", () => {
  const entry: ProducerEntry = { ...given([batch(0, 10), 0])!, nextSequence: 0, runs: [] };
  const around = evolveProducer(entry, {
    type: "ProducerAppended",
    batch: batch(0, MAX_RUN_RECORDS),
    baseOffset: 1_000,
    at: 0,
  });
  assert.equal(decide(around, batch(MAX_RUN_RECORDS)), null);
  const longer = given([batch(0, MAX_RUN_RECORDS), 0], [
    batch(MAX_RUN_RECORDS, 10),
    MAX_RUN_RECORDS,
  ]);
  assert.equal(longer!.runs[0]!.recordCount, MAX_RUN_RECORDS);
  assert.throws(
    () => decide(longer, batch(0, 1)),
    refused("OUT_OF_ORDER_SEQUENCE", { expectedSequence: MAX_RUN_RECORDS + 10 }),
  );
  assert.equal(decide(longer, batch(10, 1)), 10);
});

Deno.test("a producer's last five stretches are known, whatever lies between them", () => {
  const stored = Array.from({ length: 8 }, (_, index) => [batch(index), index * 10] as const);
  const entry = given(...stored);
  assert.equal(entry!.runs.length, MAX_RUNS);
  for (const [each, offset] of stored.slice(-MAX_RUNS)) assert.equal(decide(entry, each), offset);
  assert.throws(
    () => decide(entry, batch(2)),
    refused("OUT_OF_ORDER_SEQUENCE", { expectedSequence: 8 }),
  );
});

Deno.test("an append of which one batch is refused changes nothing, repeats within it are known", () => {
  const state = openedPartition({
    name: "orders/0",
    nodeId: "1",
    leaderEpoch: 0,
    logStartOffset: 0,
    flushedOffset: 50,
  });
  const of = (...batches: (ProducerBatch | null)[]) => ({
    leaderEpoch: 0,
    at: 0,
    mayOpen: true,
    batches: batches.map((producer) => ({
      lastOffsetDelta: (producer?.recordCount ?? 1) - 1,
      producer,
    })),
  });
  const nobody = { get: () => undefined };
  const decision = decideProducerAppend(
    state,
    of(batch(0, 2), null, batch(0, 2), batch(2)),
    nobody,
  );
  assert.deepEqual(decision.baseOffsets, [50, 52, 50, 53]);
  assert.deepEqual(decision.duplicates, [false, false, true, false]);
  assert.deepEqual(decision.events, [{ type: "BatchesAppended", logEndOffset: 54 }]);
  assert.throws(
    () => decideProducerAppend(state, of(batch(0), batch(2)), nobody),
    refused("OUT_OF_ORDER_SEQUENCE", { expectedSequence: 1 }),
  );
});

Deno.test("whatever a producer sends, what is stored is each sequence once and in order", () => {
  const attempt = fc.record({
    from: fc.integer({ min: 0, max: 30 }),
    count: fc.integer({ min: 1, max: 4 }),
    gap: fc.integer({ min: 0, max: 3 }),
  });
  fc.assert(fc.property(fc.nat(5), fc.array(attempt, { maxLength: 60 }), (start, attempts) => {
    // Starts shortly before the wrap.
    const first = LAST_SEQUENCE - start;
    let entry = given([batch(first, 1), 0]);
    const stored = [first];
    let nextOffset = 1;
    for (const { from, count, gap } of attempts) {
      const each = batch((first + from) % (LAST_SEQUENCE + 1), count);
      const sequences = Array.from(
        { length: count },
        (_, index) => (each.baseSequence + index) % (LAST_SEQUENCE + 1),
      );
      let offset: number | null;
      try {
        offset = decide(entry, each);
      } catch {
        continue;
      }
      if (offset !== null) {
        assert.deepEqual(stored.slice(offset, offset + count), sequences);
        continue;
      }
      // Others' records lie in between.
      const baseOffset = stored.length;
      stored.push(...sequences);
      for (let other = 0; other < gap; other++) stored.push(-1);
      nextOffset = stored.length;
      const event: ProducerEvent = { type: "ProducerAppended", batch: each, baseOffset, at: 0 };
      entry = evolveProducer(entry, event);
    }
    assert.equal(nextOffset, stored.length);
    const own = stored.filter((sequence) => sequence >= 0);
    own.forEach((sequence, index) => assert.equal(sequence, (first + index) % (LAST_SEQUENCE + 1)));
  }));
});

function appended(producerId: number, at: number): ProducerEvent {
  return { type: "ProducerAppended", batch: { ...batch(0), producerId }, baseOffset: 0, at };
}

Deno.test("the producers that a partition remembers are bounded by count, by age and over all partitions", () => {
  const bounds = { ...DEFAULT_PRODUCER_BOUNDS, maxPerPartition: 3, minPerPartition: 1, maxHeld: 4 };
  const census = new ProducerCensus({ ...bounds, maxIdleMs: 1_000 });
  const one = new ProducerTable(census);
  for (const id of [1, 2, 3]) one.commit([appended(id, id)], id);
  one.commit([appended(1, 4)], 4);
  one.commit([appended(4, 5)], 5);
  assert.deepEqual([...one.all()].map(([id]) => id), [3, 1, 4]);
  const other = new ProducerTable(census);
  for (const id of [11, 12]) other.commit([appended(id, 6)], 6);
  // The one that had most made room.
  assert.deepEqual([other.size, one.size], [2, 2]);
  assert.deepEqual([census.counters().held, census.counters().evicted], [4, 2]);
  one.expire(1_004.5);
  assert.deepEqual([...one.all()].map(([id]) => id), [4]);
  assert.deepEqual([census.counters().evicted, census.counters().expired], [3, 1]);
  one.clear();
  other.clear();
  assert.equal(census.counters().held, 0);
});

for (const partitions of [50, 500]) {
  Deno.test(`who publishes under ever new ids to ${partitions} partitions makes the broker forget its own producers alone`, () => {
    const bounds = { maxPerPartition: 1_000, minPerPartition: 10, maxHeld: 2_000 };
    const census = new ProducerCensus({ ...DEFAULT_PRODUCER_BOUNDS, ...bounds });
    const honest = [100, 250].map((count) => {
      const table = new ProducerTable(census, "honest");
      for (let id = 0; id < count; id++) table.commit([appended(id, 0)], 0);
      return table;
    });
    // So many partitions that each of them has fewer than an honest one, or as few as it may keep.
    const greedy = Array.from({ length: partitions }, () => new ProducerTable(census, "greedy"));
    for (let id = 0; id < 10_000; id++) {
      greedy[id % partitions]!.commit([appended(id, 1)], 1);
      if (id % 100 === 0) honest.forEach((table) => table.commit([appended(id % 3, 1)], 1));
    }
    assert.deepEqual(honest.map(({ size }) => size), [100, 250]);
    const least = Math.min(...greedy.map(({ size }) => size));
    assert.ok(least >= 10, `${least} are remembered of a partition`);
    const { held } = census.counters();
    const most = Math.max(2_000, 350 + 10 * partitions + 20);
    assert.ok(held > 1_900 && held <= most, `${held} are remembered`);
    // The newest are those that are remembered.
    const last = 10_000 - partitions;
    assert.ok(greedy.every((table, index) => table.get(last + index) !== undefined));
    for (const table of [...honest, ...greedy]) table.clear();
    assert.equal(census.counters().held, 0);
  });
}

Deno.test("producers that may not be forgotten are no reason to look for others over and over", () => {
  const bounds = { maxPerPartition: 1_000, minPerPartition: 5, maxHeld: 100 };
  const census = new ProducerCensus({ ...DEFAULT_PRODUCER_BOUNDS, ...bounds });
  const tables = Array.from({ length: 30 }, () => new ProducerTable(census));
  for (const table of tables) {
    for (let id = 0; id < 10; id++) table.commit([appended(id, 0)], 0);
  }
  assert.ok(tables.every(({ size }) => size >= 5));
  assert.ok(census.counters().held <= 155, `${census.counters().held} are remembered`);
});

Deno.test("a producer with an open transaction is not forgotten", () => {
  const census = new ProducerCensus({ ...DEFAULT_PRODUCER_BOUNDS, maxPerPartition: 1 });
  const table = new ProducerTable(census);
  const open = { ...batch(0), producerId: 1, transactional: true };
  table.commit([{ type: "ProducerAppended", batch: open, baseOffset: 0, at: 0 }], 0);
  table.commit([appended(2, 1), appended(3, 2)], 1e12);
  assert.deepEqual([...table.all()].map(([id]) => id), [1]);
});

Deno.test("producers with open transactions, however many, do not keep others from being forgotten", () => {
  const census = new ProducerCensus({ ...DEFAULT_PRODUCER_BOUNDS, maxPerPartition: 1_500 });
  const table = new ProducerTable(census);
  const append = (producerId: number, transactional: boolean) => {
    const each = { ...batch(0), producerId, transactional };
    table.commit([{ type: "ProducerAppended", batch: each, baseOffset: producerId, at: 0 }], 0);
  };
  for (let id = 0; id < 1_200; id++) append(id, true);
  for (let id = 1_200; id < 10_000; id++) append(id, false);
  assert.equal(table.size, 1_500);
  assert.equal(census.counters().held, 1_500);
  const kept = [0, 1_199, 9_699, 9_700, 9_999].map((id) => table.get(id) !== undefined);
  assert.deepEqual(kept, [true, true, false, true, true], "the oldest go first");
  const marker = { producerId: 0, producerEpoch: 0, coordinatorEpoch: 0, commit: true };
  table.commit([{ type: "MarkerAppended", marker, offset: 10_000, at: 0 }], 0);
  for (let id = 10_000; id < 10_400; id++) append(id, false);
  assert.equal(table.get(0), undefined, "its transaction has ended");
  assert.equal([...table.all()].length, 1_500);
});

Deno.test("partition stores a repeat once while the first is still under way, and both hear the same", async () => {
  const scene = partitionScene();
  const partition = await scene.open();
  const append = () =>
    partition.append([stamped(["a", "b"], { id: 7, sequence: 0 })], { acks: "all" });
  const [first, second] = await Promise.all([append(), append()]);
  assert.deepEqual([first.baseOffsets, first.duplicates], [[0], [false]]);
  assert.deepEqual([second.baseOffsets, second.duplicates], [[0], [true]]);
  assert.equal(partition.info().logEndOffset, 2);
  await partition.append([plain("x")], { acks: "all" });
  assert.deepEqual((await append()).baseOffsets, [0]);
  assert.equal(partition.info().logEndOffset, 3);
  assert.equal(scene.census.counters().duplicatesSuppressed, 2);
  await partition.close();
  assert.equal(scene.census.counters().held, 0);
});

Deno.test("producer ids are given out once, over restarts and by several brokers at once", async () => {
  const time = new VirtualClock();
  const metadata = new MemoryMetadataStore({ timers: time, randomness: seededRandomness(1) });
  const ids = new Set<number>();
  for (let life = 0; life < 3; life++) {
    const brokers = [await ProducerIds.open(metadata), await ProducerIds.open(metadata)];
    for (let round = 0; round < 1_200; round++) {
      const given = await Promise.all(brokers.map((broker) => broker.allocate()));
      for (const { producerId, producerEpoch } of given) {
        assert.ok(producerId >= 2 ** 32 && producerEpoch === 0 && !ids.has(producerId));
        ids.add(producerId);
        for (const broker of brokers) await broker.refuseUnsettled(producerId);
      }
      const next = Math.max(...given.map(({ producerId }) => producerId)) + 5_000;
      for (const broker of brokers) {
        await assert.rejects(broker.refuseUnsettled(next), { code: "INVALID_REQUEST" });
      }
    }
  }
  assert.equal(ids.size, 3 * 2 * 1_200);
});
