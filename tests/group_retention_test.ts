// Owns proof that the journal of groups lets go of old segments, keeps the history window, and loses no state by it.
// Refuses to own what a group records (group_ledger_test.ts).
import { crc32c } from "@node-rs/crc32";
import assert from "node:assert/strict";
import { GroupCoordinator } from "../actors/group/coordinator.ts";
import { GROUP_WORDS } from "../actors/group/journal_retention.ts";
import { groupDecider } from "../actors/group/keyed_group.ts";
import { DEFAULT_GROUP_SETTINGS } from "../actors/group/settings.ts";
import type { GroupState } from "../actors/group/state.ts";
import type { GroupCommand } from "../actors/group/types.ts";
import type { Partition } from "../actors/partition/partition.ts";
import { partitionJournal } from "../actors/partition/partition_journal.ts";
import { type RecordingShard, retainJournal } from "../actors/runtime/journal_retention.ts";
import { KeyedActor } from "../actors/runtime/keyed_actor.ts";
import { DEFAULT_KEYED_ACTOR_BOUNDS } from "../actors/runtime/keyed_options.ts";
import type { LogConfig } from "../storage/log.ts";
import { MemorySnapshotStore } from "../storage/memory/memory_snapshots.ts";
import { partitionScene } from "./support/partition_scene.ts";

const HOUR_MS = 3_600_000;
const SETTINGS = { ...DEFAULT_GROUP_SETTINGS, offsetsSnapshotIntervalMs: 0 };

const LOG_CONFIG: LogConfig = {
  durability: "fsync",
  segmentBytes: 4_096,
  segmentMs: 1_000 * HOUR_MS,
  indexIntervalBytes: 4_096,
};

class World {
  readonly scene = partitionScene({
    wrap: (logs) => ({
      open: (name) => logs.open(name, LOG_CONFIG),
      remove: (name) => logs.remove(name),
      list: (prefix) => logs.list(prefix),
    }),
  });
  readonly time = this.scene.time;
  snapshots = new MemorySnapshotStore();
  readonly reports: unknown[] = [];

  partition(): Promise<Partition> {
    return this.scene.open();
  }

  /** Lets others have their turn until it has settled: large snapshots ask for it. */
  async driven<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    promise.catch(() => undefined).finally(() => settled = true);
    while (!settled) await this.time.advance(0);
    return await promise;
  }

  shard(partition: Partition) {
    return KeyedActor.open({
      id: "group-shard/0",
      decider: groupDecider(SETTINGS),
      journal: partitionJournal(partition, crc32c),
      snapshots: this.snapshots,
      clock: this.time,
      timers: this.time,
      log: { report: () => undefined },
      onFailure: (error) => this.reports.push(error),
      perform: () => undefined,
      bounds: DEFAULT_KEYED_ACTOR_BOUNDS,
    });
  }

  coordinator(partition: Partition): Promise<GroupCoordinator> {
    return GroupCoordinator.open({
      partitions: [partition],
      settings: SETTINGS,
      partitionCounts: () => ({ orders: 4 }),
      keyHashes: () => Promise.resolve([]),
      ports: {
        snapshots: this.snapshots,
        clock: this.time,
        timers: this.time,
        crc32c,
        runtimeLog: { report: () => undefined },
        report: (event) => this.reports.push(event),
      },
    });
  }
}

function commit(group: string, offset: number, partition = 0) {
  return {
    type: "CommitOffsets" as const,
    group,
    offsets: [{ topic: "orders", partition, offset, endOffset: 1_000_000 }],
    allowRewind: false,
    principal: "tester",
  };
}

const remove = (group: string) => ({ type: "DeleteGroup" as const, group });

Deno.test("journal lets old segments go once all is written down, and a replay without snapshots gives the same groups", async () => {
  const world = new World();
  const partition = await world.partition();
  const shard = await world.shard(partition);
  await shard.ask("quiet", commit("quiet", 7, 3));
  await shard.ask("gone", commit("gone", 7));
  await shard.ask("gone", remove("gone"));
  for (let offset = 0; offset < 200; offset++) await shard.ask("busy", commit("busy", offset));
  await world.time.advance(10 * HOUR_MS);
  await shard.ask("busy", commit("busy", 500));
  const before = await shard.query((states) => new Map(states));
  const options = { partition, completeFrom: 0, windowMs: 5 * HOUR_MS };
  const now = () => world.time.now();
  const kept = await retainJournal(shard, GROUP_WORDS, {
    ...options,
    now: now(),
    minDroppableOffsets: 1_000,
  });
  assert.equal(kept, 0, "too little to drop to write anything down for it");
  assert.equal(partition.readable().startOffset, 0);
  const completeFrom = await retainJournal(shard, GROUP_WORDS, {
    ...options,
    now: now(),
    minDroppableOffsets: 50,
  });
  const { startOffset, endOffset } = partition.readable();
  assert.ok(completeFrom > 200 && startOffset > 100 && startOffset <= completeFrom);
  await retainJournal(shard, GROUP_WORDS, {
    ...options,
    completeFrom,
    now: now(),
    minDroppableOffsets: 50,
  });
  assert.equal(partition.readable().endOffset, endOffset, "nothing is written down again");
  await shard.ask("new", commit("new", 3));
  await shard.close();
  await partition.close();

  world.snapshots = new MemorySnapshotStore();
  const reopened = await world.partition();
  const again = await world.shard(reopened);
  const after = await again.query((states) => new Map(states));
  assert.deepEqual([...after.keys()].sort(), ["busy", "new", "quiet"]);
  for (const [group, state] of before) assert.deepEqual(after.get(group)!.offsets, state.offsets);
  await again.close();
  await reopened.close();
  assert.deepEqual(world.reports, []);
});

Deno.test("journal that lost its beginning without being written down refuses to load", async () => {
  const world = new World();
  const partition = await world.partition();
  const shard = await world.shard(partition);
  for (let offset = 0; offset < 200; offset++) await shard.ask("busy", commit("busy", offset));
  await world.time.advance(10 * HOUR_MS);
  await partition.applyRetention({
    now: world.time.now(),
    retentionMs: HOUR_MS,
    retentionBytes: null,
  });
  assert.ok(partition.readable().startOffset > 0);
  world.snapshots = new MemorySnapshotStore();
  await assert.rejects(world.shard(partition), /events are lost/);
  await partition.close();
});

Deno.test("groups that come, go and commit while all is written down are not lost", async () => {
  const world = new World();
  const partition = await world.partition();
  const shard = await world.shard(partition);
  for (let i = 0; i < 300; i++) await shard.ask(`g${i}`, commit(`g${i}`, i + 1));
  await world.time.advance(10 * HOUR_MS);
  const racing: Promise<unknown>[] = [];
  for (let i = 0; i < 50; i++) {
    racing.push(shard.ask(`new${i}`, commit(`new${i}`, i + 1)));
    racing.push(shard.ask(`g${i}`, i % 2 === 0 ? remove(`g${i}`) : commit(`g${i}`, 1_000)));
  }
  const retained = retainJournal(shard, GROUP_WORDS, {
    partition,
    completeFrom: 0,
    now: world.time.now(),
    windowMs: HOUR_MS,
    minDroppableOffsets: 10,
  });
  for (let i = 50; i < 100; i++) racing.push(shard.ask(`new${i}`, commit(`new${i}`, i + 1)));
  await Promise.all(racing);
  await retained;
  assert.ok(partition.readable().startOffset > 0);
  const offsets = (states: ReadonlyMap<string, { offsets: unknown }>) =>
    new Map([...states].sort().map(([group, state]) => [group, state.offsets]));
  const before = await shard.query(offsets);
  assert.equal(before.size, 300 - 25 + 100);
  world.snapshots = new MemorySnapshotStore();
  const again = await world.shard(partition);
  assert.deepEqual(await again.query(offsets), before);
  await partition.close();
});

Deno.test("a crash at any step of writing everything down loses no group, and the next run ends it", async () => {
  const commands = 20;
  for (let steps = 0; steps <= commands + 3; steps++) {
    const world = new World();
    const partition = await world.partition();
    const shard = await world.shard(partition);
    for (let round = 1; round <= 10; round++) {
      for (let i = 0; i < commands; i++) await shard.ask(`g${i}`, commit(`g${i}`, round * 10 + i));
    }
    await world.time.advance(10 * HOUR_MS);
    let left = steps;
    const dying = {
      ask: (group: string, command: GroupCommand) =>
        left-- > 0 ? shard.ask(group, command) : Promise.reject(new Error("killed")),
      query: <R>(project: (states: ReadonlyMap<string, GroupState>) => R) => shard.query(project),
    };
    const options = { partition, completeFrom: 0, windowMs: HOUR_MS, minDroppableOffsets: 50 };
    await retainJournal(dying, GROUP_WORDS, { ...options, now: world.time.now() }).catch(() =>
      undefined
    );
    const finished = steps >= commands + 2;
    assert.equal(partition.readable().startOffset > 0, finished, `${steps} steps`);
    world.snapshots = new MemorySnapshotStore();
    const again = await world.shard(partition);
    const offsets = (states: ReadonlyMap<string, GroupState>) =>
      new Map([...states].sort().map(([group, state]) => [group, state.offsets]));
    assert.deepEqual(await again.query(offsets), await shard.query(offsets));
    await retainJournal(again, GROUP_WORDS, { ...options, now: world.time.now() });
    assert.ok(partition.readable().startOffset > 0);
    await partition.close();
  }
});

Deno.test("offsets of fifty thousand partitions are snapshotted, moved, recorded and deleted", async () => {
  const world = new World();
  const partition = await world.partition();
  const shard = await world.shard(partition);
  const group = "wide";
  const partitions = 50_000;
  const at = (number: number) => ({ topic: "orders", partition: number });
  const last = Number.MAX_SAFE_INTEGER;
  for (let from = 0; from < partitions; from += 2_500) {
    const offsets = Array.from({ length: 2_500 }, (_, i) => ({
      ...at(from + i),
      offset: last - 5,
      endOffset: last,
    }));
    await shard.ask(group, { ...commit(group, 0), offsets });
  }
  await shard.ask(group, { type: "SnapshotOffsets", group, principal: "op" });
  const targets = Array.from({ length: partitions }, (_, number) => ({
    ...at(number),
    to: { kind: "offset" as const, offset: last - 9 },
    logStartOffset: 0,
    endOffset: last,
  }));
  const move = { type: "MoveOffsets" as const, group, action: "rollback" as const, targets };
  const why = { cause: "c", dryRun: false, reason: "r", principal: "op" };
  await shard.ask(group, { ...move, ...why });
  await shard.ask(group, { type: "RecordState", group });
  await world.driven(shard.close());
  world.snapshots = new MemorySnapshotStore();
  const again = await world.shard(partition);
  const size = (states: ReadonlyMap<string, GroupState>) => states.get(group)?.offsets.size;
  assert.equal(await again.query(size), partitions);
  await again.ask(group, remove(group));
  assert.equal(await again.query(size), undefined);
  await world.driven(again.close());
  await partition.close();
});

Deno.test("history begins where the journal does, and rollbacks do not reach behind it", async () => {
  const world = new World();
  const partition = await world.partition();
  const groups = await world.coordinator(partition);
  for (let offset = 1; offset <= 300; offset++) {
    await groups.execute(commit("busy", offset));
    await world.time.advance(60_000);
  }
  const started = world.time.now() - 300 * 60_000;
  const all = await groups.ledger.history("busy", { limit: 1_000 });
  assert.equal(all.entries.length, 300);
  const shard: RecordingShard<GroupState, GroupCommand> = {
    ask: (_, command) => groups.execute(command),
    query: (project) => Promise.resolve(project(new Map([["busy", null as never]]))),
  };
  await retainJournal(shard, GROUP_WORDS, {
    partition,
    completeFrom: 0,
    now: world.time.now(),
    windowMs: HOUR_MS,
    minDroppableOffsets: 10,
  });
  const { startOffset } = partition.readable();
  assert.ok(startOffset > 0);
  const kept = await groups.ledger.history("busy", { limit: 1_000 });
  assert.ok(kept.entries.length >= 60, "the window");
  assert.deepEqual(kept.entries, all.entries.slice(0, kept.entries.length));
  assert.equal(kept.entries.length, 300 - startOffset);
  const past = await groups.ledger.offsetsAt("busy", { timeMs: world.time.now() - HOUR_MS / 2 });
  assert.deepEqual(past.offsets, [{ topic: "orders", partition: 0, offset: 271 }]);
  await assert.rejects(
    groups.ledger.offsetsAt("busy", { timeMs: started + 60_000 }),
    /does not reach back so far/,
  );
  await groups.close();
  await partition.close();
});

Deno.test("ledger's index is made anew from the journal when it was lost, or is behind", async () => {
  const world = new World();
  const partition = await world.partition();
  let groups = await world.coordinator(partition);
  for (let offset = 1; offset <= 50; offset++) {
    await groups.execute(commit("a", offset));
    await groups.execute(commit("b", offset));
  }
  const expected = await groups.ledger.history("a", { limit: 100 });
  // A crash: the index was never saved, the shard's snapshot is of the middle.
  for (const lost of [["group-ledger/0"], ["group-ledger/0", "group-shard/0"], []]) {
    await groups.close();
    for (const id of lost) await world.snapshots.remove(id);
    groups = await world.coordinator(partition);
    assert.deepEqual(await groups.ledger.history("a", { limit: 100 }), expected);
    assert.equal((await groups.ledger.history("b", { limit: 7 })).entries.length, 7);
  }
  await groups.close();
  await partition.close();
});
