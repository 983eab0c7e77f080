// Owns proof that what a partition knows of producers and transactions is there again after restarts and crashes.
// Refuses to own the rules themselves. Invariant: every life is compared with the one before it.
import assert from "node:assert/strict";
import { producerSnapshotId } from "../actors/partition/partition_producers.ts";
import { decodeProducers, encodeProducers } from "../actors/partition/producer_snapshot.ts";
import { BrokerError } from "../storage/broker_error.ts";
import type { LogStore } from "../storage/log.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { settle } from "./support/virtual_time.ts";
import { LOG_NAME, partitionScene, plain, stamped } from "./support/partition_scene.ts";
import { wrappedLogs } from "./support/wrapped_logs.ts";

const SNAPSHOT = producerSnapshotId(LOG_NAME);

const all = { acks: "all" } as const;

Deno.test("a producer's repeat is known after a clean restart, a crash, and without any snapshot", async () => {
  for (const life of ["clean", "crash", "no snapshot"] as const) {
    const scene = partitionScene();
    const before = await scene.open();
    await before.append([plain("x")], all);
    for (let sequence = 0; sequence < 3; sequence++) {
      await before.append([stamped([`${sequence}`], { id: 7, sequence })], all);
    }
    if (life === "crash") scene.logs.crash();
    else await before.close();
    assert.equal((await scene.snapshots.load(SNAPSHOT)) === null, life === "crash");
    if (life === "no snapshot") await scene.snapshots.remove(SNAPSHOT);
    const after = await scene.open();
    const again = await after.append([stamped(["1"], { id: 7, sequence: 1 })], all);
    assert.deepEqual([again.baseOffsets, again.duplicates], [[2], [true]]);
    assert.equal(after.nextSequence({ producerId: 7, producerEpoch: 0 }), 3);
    await after.close();
  }
});

Deno.test("an open transaction stays open over a crash, and an aborted one stays known", async () => {
  const scene = partitionScene();
  const before = await scene.open();
  const open = (id: number) => stamped(["t"], { id, sequence: 0, transactional: true });
  await before.append([open(1)], all);
  await before.append([open(2)], all);
  const abort = { producerId: 1, producerEpoch: 0, coordinatorEpoch: 2, commit: false };
  await before.writeMarker(abort);
  scene.logs.crash();
  const after = await scene.open();
  const aborted = [{ producerId: 1, firstOffset: 0, lastOffset: 2 }];
  assert.deepEqual(after.stable(), { lastStableOffset: 1, aborted });
  assert.equal(await after.writeMarker(abort), null);
  await after.writeMarker({ ...abort, producerId: 2, commit: true });
  assert.deepEqual(after.stable(), { lastStableOffset: 4, aborted });
  await after.close();
  assert.deepEqual((await scene.open()).stable(), { lastStableOffset: 4, aborted });
});

Deno.test("a start reads only what the snapshot does not tell, and only headers of what it reads", async () => {
  const reads: number[] = [];
  const wrap = (logs: LogStore) =>
    wrappedLogs(logs, (log) => ({
      read: (offset, options) => {
        reads.push(offset);
        return log.read(offset, options);
      },
    }));
  const scene = partitionScene({ wrap });
  const big = "x".repeat(1_000_000);
  let partition = await scene.open();
  // Nothing can be decoded of what is behind the headers.
  const hollow = (sequence: number) => {
    const batch = stamped([big], { id: 7, sequence });
    batch.fill(0xff, 61);
    return batch;
  };
  for (let sequence = 0; sequence < 40; sequence++) await partition.append([hollow(sequence)], all);
  scene.logs.crash();
  assert.deepEqual(reads, []);
  const { nextOffset } = (await scene.snapshots.load(SNAPSHOT))!;
  assert.ok(nextOffset > 30 && nextOffset < 40, `${nextOffset}`);
  partition = await scene.open();
  assert.equal(Math.min(...reads), nextOffset);
  assert.equal(partition.nextSequence({ producerId: 7, producerEpoch: 0 }), 40);
  await partition.close();
});

Deno.test("a snapshot of records that were lost is not believed, now or later", async () => {
  const scene = partitionScene({ logConfig: { durability: "os" } });
  const before = await scene.open();
  await before.append([stamped(["a"], { id: 7, sequence: 0 })], all);
  await before.close();
  const { bytes, version } = (await scene.snapshots.load(SNAPSHOT))!;
  await scene.logs.remove(LOG_NAME);
  await scene.snapshots.save(SNAPSHOT, { bytes, version, nextOffset: 1 });
  const after = await scene.open();
  assert.equal(after.nextSequence({ producerId: 7, producerEpoch: 0 }), 0);
  assert.deepEqual((await after.append([stamped(["a"], { id: 7, sequence: 0 })], all)).duplicates, [
    false,
  ]);
  scene.logs.crash();
  assert.equal(await scene.snapshots.load(SNAPSHOT), null);
});

Deno.test("a topic that is deleted leaves no snapshot behind, and its producers are counted no more", async () => {
  const { open, snapshots } = memoryBrokerStores();
  const first = await open();
  await first.createTopic({ name: "orders", partitions: 1, config: TOPIC_CONFIG });
  const at = { topic: "orders", partition: 0 };
  await first.append(at, [stamped(["a"], { id: 7, sequence: 0 })], all);
  assert.equal((await first.producers.counters()).held, 1);
  assert.equal(await first.producers.nextSequence(at, { producerId: 7, producerEpoch: 0 }), 1);
  const id = producerSnapshotId(`topics/${first.topic("orders")!.topicId}/0`);
  await first.close();
  assert.ok(await snapshots.load(id));
  const second = await open();
  assert.equal((await second.producers.counters()).held, 1);
  await second.deleteTopic("orders");
  await settle();
  assert.equal(await snapshots.load(id), null);
  assert.equal((await second.producers.counters()).held, 0);
  await second.close();
});

Deno.test("what retention drops of a producer's messages is known after a crash all the same", async () => {
  const scene = partitionScene();
  const before = await scene.open();
  await before.append([stamped(["x".repeat(600_000)], { id: 7, sequence: 0 })], all);
  for (let round = 0; round < 4; round++) await before.append([plain("x".repeat(600_000))], all);
  await before.applyRetention({ now: 1e15, retentionMs: 1, retentionBytes: null });
  assert.ok(before.info().logStartOffset > 1);
  scene.logs.crash();
  const after = await scene.open();
  assert.equal(after.nextSequence({ producerId: 7, producerEpoch: 0 }), 1);
  await after.close();
});

Deno.test("retention drops nothing that alone tells of a producer while no snapshot can be written", async () => {
  const scene = partitionScene();
  const { snapshots } = scene;
  const save = snapshots.save.bind(snapshots);
  const full = () => Promise.reject(new BrokerError("DISK_FULL", "no space for a snapshot"));
  const policy = { now: 1e15, retentionMs: 1, retentionBytes: null };
  const producer = { producerId: 7, producerEpoch: 0 };
  const big = "x".repeat(600_000);
  let partition = await scene.open();
  await partition.append([stamped([big], { id: 7, sequence: 0 })], all);
  for (let round = 0; round < 4; round++) await partition.append([plain(big)], all);
  snapshots.save = full;
  // The second round must not take the first one's failure for a snapshot.
  for (let round = 0; round < 2; round++) await partition.applyRetention(policy);
  assert.equal(partition.info().logStartOffset, 0);
  scene.logs.crash();
  partition = await scene.open();
  assert.equal(partition.nextSequence(producer), 1);
  await partition.close();
  partition = await scene.open();
  snapshots.save = save;
  await partition.applyRetention(policy);
  assert.ok(partition.info().logStartOffset > 1);
  // What a snapshot tells already may go, full disk or not.
  await partition.append([stamped([big], { id: 7, sequence: 1 })], all);
  const { nextOffset } = (await snapshots.load(SNAPSHOT))!;
  for (let round = 0; round < 4; round++) await partition.append([plain(big)], all);
  snapshots.save = full;
  await partition.applyRetention(policy);
  const { logStartOffset } = partition.info();
  assert.ok(logStartOffset > 1 && logStartOffset <= nextOffset, `${logStartOffset}`);
  scene.logs.crash();
  partition = await scene.open();
  assert.equal(partition.nextSequence(producer), 2);
  const again = await partition.append([stamped([big], { id: 7, sequence: 0 })], all);
  assert.deepEqual([again.baseOffsets, again.duplicates], [[0], [true]]);
  await partition.close();
});

Deno.test("upkeep that drops nothing writes a snapshot once in an hour, when producers have changed", async () => {
  const wrap = (logs: LogStore) =>
    wrappedLogs(logs, (log) => ({ droppableOffset: () => Promise.resolve(log.logStartOffset) }));
  const scene = partitionScene({ wrap });
  const policy = { now: 1, retentionMs: 1e12, retentionBytes: null };
  const partition = await scene.open();
  const saved = async () => {
    await partition.applyRetention(policy);
    return (await scene.snapshots.load(SNAPSHOT))?.nextOffset ?? null;
  };
  await partition.append([stamped(["a"], { id: 7, sequence: 0 })], all);
  assert.equal(await saved(), null);
  await scene.time.advance(3_600_000);
  assert.equal(await saved(), 1);
  await partition.append([plain("b")], all);
  await scene.time.advance(3_600_000);
  assert.equal(await saved(), 1);
  await partition.append([stamped(["c"], { id: 7, sequence: 1 })], all);
  assert.equal(await saved(), 3);
  await partition.append([stamped(["d"], { id: 7, sequence: 2 })], all);
  assert.equal(await saved(), 3);
  await partition.close();
});

Deno.test("retention leaves what an open transaction holds", async () => {
  const scene = partitionScene();
  const partition = await scene.open();
  const big = "x".repeat(600_000);
  await partition.append([plain(big)], all);
  await partition.append([stamped([big], { id: 1, sequence: 0, transactional: true })], all);
  for (let round = 0; round < 4; round++) await partition.append([plain(big)], all);
  const policy = { now: 1e15, retentionMs: 1, retentionBytes: null };
  await partition.applyRetention(policy);
  assert.ok(partition.info().logStartOffset <= 1, `${partition.info().logStartOffset}`);
  await partition.writeMarker({
    producerId: 1,
    producerEpoch: 0,
    coordinatorEpoch: 0,
    commit: true,
  });
  await partition.applyRetention(policy);
  assert.ok(partition.info().logStartOffset > 1);
  await partition.close();
});

Deno.test("a snapshot holds all of it, and one that is not understood is as good as none", () => {
  const run = { firstSequence: 3, firstOffset: 2 ** 40, recordCount: 7 };
  const entry = {
    epoch: 2,
    nextSequence: 10,
    runs: [run, { ...run, firstOffset: 2 ** 41 }],
    transactionOffset: 5,
    endedEpoch: 1,
    coordinatorEpoch: 9,
    touchedAt: 50,
  };
  const snapshot = {
    producers: [[2 ** 32, entry], [7, { ...entry, runs: [], transactionOffset: -1 }]] as const,
    aborted: [{ producerId: 1, firstOffset: 2, lastOffset: 3 }],
    ended: [{ firstOffset: 4, markerOffset: 5 }],
  };
  const good = encodeProducers(snapshot, 100);
  const aged = snapshot.producers.map(([id, each]) => [id, { ...each, touchedAt: 950 }]);
  assert.deepEqual(decodeProducers(good, 1_000), { ...snapshot, producers: aged });
  for (let length = 0; length < good.length; length++) {
    assert.equal(decodeProducers(good.subarray(0, length), 0), null);
  }
  assert.equal(decodeProducers(new Uint8Array([...good, 0]), 0), null);
  for (let at = 0; at < good.length; at += 8) {
    const bad = good.slice();
    new DataView(bad.buffer).setFloat64(at, 0.5);
    assert.equal(decodeProducers(bad, 0), null);
  }
  const endless = good.slice();
  new DataView(endless.buffer).setFloat64(0, 2 ** 50);
  assert.equal(decodeProducers(endless, 0), null);
});

Deno.test("a corrupt range is stepped over when the log is read for its producers, and told of", async () => {
  let corrupt = false;
  const wrap = (logs: LogStore) =>
    wrappedLogs(logs, (log) => ({
      read: (offset, options) => {
        if (!corrupt || offset > 4) return log.read(offset, options);
        return offset < 3
          ? log.read(offset, { ...options, endOffset: 3 })
          : Promise.reject(new BrokerError("CORRUPT_LOG", "offset 3 is damaged"));
      },
    }));
  const scene = partitionScene({ wrap });
  const before = await scene.open();
  for (let sequence = 0; sequence < 8; sequence++) {
    await before.append([stamped(["v"], { id: 7, sequence })], all);
  }
  scene.logs.crash();
  corrupt = true;
  const after = await scene.open();
  assert.equal(after.info().state, "online");
  assert.match(scene.reports.join(), /corrupt/);
  assert.equal(after.nextSequence({ producerId: 7, producerEpoch: 0 }), 8);
  await after.close();
});

Deno.test("partition whose log cannot be read for a while as it opens comes back by itself", async () => {
  let away = false;
  const wrap = (logs: LogStore) =>
    wrappedLogs(logs, (log) => ({
      read: (offset, options) =>
        away
          ? Promise.reject(new BrokerError("ARCHIVE_UNAVAILABLE", "the archive is away"))
          : log.read(offset, options),
    }));
  const scene = partitionScene({ wrap });
  const before = await scene.open();
  await before.append([plain("a")], { acks: "all" });
  await before.close();
  away = true;
  const partition = await scene.open();
  assert.equal(partition.info().error, "the archive is away");
  await scene.time.advance(60_000);
  assert.equal(partition.info().error, "the archive is away", "however often it is tried");
  away = false;
  await scene.time.advance(60_000);
  assert.deepEqual([partition.info().state, partition.info().highWatermark], ["online", 1]);
  await partition.close();
  await scene.logs.remove(LOG_NAME);
});
