// Owns proof that the journal of transactions lets old segments go and loses nothing that is still needed.
// Refuses to own the order of retention (group_retention_test.ts shows it under crashes).
// Invariant: after retention a start without any snapshot knows every id as before.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { DEFAULT_PRODUCER_BOUNDS, ProducerCensus } from "../actors/partition/producer_census.ts";
import { ByteBudget } from "../actors/partition/byte_budget.ts";
import { LeaderEpochs } from "../actors/partition/leader_epochs.ts";
import { Partition } from "../actors/partition/partition.ts";
import { TransactionCoordinator } from "../actors/transaction/coordinator.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { MemoryMetadataStore } from "../storage/memory/memory_metadata.ts";
import { MemorySnapshotStore } from "../storage/memory/memory_snapshots.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const DAY_MS = 24 * 3_600_000;

class World {
  readonly time = new VirtualClock();
  readonly #logs = new MemoryLogStore(this.time);
  readonly #metadata = new MemoryMetadataStore({
    timers: this.time,
    randomness: seededRandomness(1),
  });
  #nextProducerId = 100;

  async partition(): Promise<Partition> {
    const { time } = this;
    return await Partition.open({
      name: "__transactions/0",
      partition: 0,
      logName: "topics/t/0",
      nodeId: "1",
      logs: this.#logs,
      logConfig: {
        durability: "fsync",
        segmentBytes: 4_096,
        segmentMs: DAY_MS,
        indexIntervalBytes: 1_024,
      },
      clock: time,
      timers: time,
      crc32c,
      snapshots: new MemorySnapshotStore(),
      budget: new ByteBudget(10_000_000, "publishes"),
      census: new ProducerCensus(DEFAULT_PRODUCER_BOUNDS),
      epochs: await LeaderEpochs.open(this.#metadata),
      report: () => undefined,
    });
  }

  coordinator(partition: Partition): Promise<TransactionCoordinator> {
    return TransactionCoordinator.open({
      partitions: [partition],
      ports: {
        logs: {
          topicIdOf: () => "t",
          nextSequence: () => 0,
          append: () => Promise.reject(new Error("nothing is appended here")),
          writeMarker: () => Promise.resolve(),
        },
        groups: { stage: () => Promise.resolve(), end: () => Promise.resolve() },
        allocateProducerId: () => Promise.resolve(this.#nextProducerId++),
        // None survives a start.
        snapshots: new MemorySnapshotStore(),
        clock: this.time,
        timers: this.time,
        crc32c,
        runtimeLog: { report: () => undefined },
        report: ({ error }) => {
          throw error;
        },
      },
    });
  }
}

Deno.test("journal of transactions lets old segments go, and a start without snapshots knows every id as before", async () => {
  const world = new World();
  const partition = await world.partition();
  const before = await world.coordinator(partition);
  const run = async (transactionalId: string) => {
    const who = { transactionalId, principal: "p", timeoutMs: 900_000 };
    const begun = await before.begin(who);
    return {
      ...begun,
      commit: () => before.commit(begun.transactionId, { offsets: [], principal: "p" }),
    };
  };
  const quiet = await run("quiet");
  await quiet.commit();
  for (let count = 0; count < 100; count++) await (await run("busy")).commit();
  await world.time.advance(2 * DAY_MS);
  const open = await run("open");
  await before.applyRetention(world.time.now(), { minDroppableOffsets: 50 });
  const { startOffset } = partition.readable();
  assert.ok(startOffset > 100, `the journal starts at ${startOffset}`);
  await before.close();
  await partition.close();

  const reopened = await world.partition();
  const after = await world.coordinator(reopened);
  assert.equal((await after.describe(quiet.transactionId)).state, "committed");
  assert.equal((await after.describe(open.transactionId)).state, "open");
  assert.equal((await after.unfinished()).length, 1);
  const next = await after.begin({ transactionalId: "busy", principal: "p" });
  assert.equal(next.producerEpoch, 100, "no epoch is given away twice");
  await after.close();
  await reopened.close();
});
