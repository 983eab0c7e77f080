// Owns where replicas are put, how they move, and when leadership goes back to the first of them.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { ClusterState } from "../actors/cluster/cluster_state.ts";
import { decideCluster, MAX_MOVES_AT_ONCE } from "../actors/cluster/decide_cluster.ts";
import { cancelledMove, movingTo } from "../actors/cluster/decide_moves.ts";
import { decidePreferred } from "../actors/cluster/decide_preferred.ts";
import { minInsyncOf, minInsyncOfRecord } from "../actors/cluster/min_insync.ts";
import type { PartitionRecord } from "../actors/cluster/types.ts";
import {
  allInSync,
  brokersOf,
  changedState,
  recordOf,
  stateOf,
} from "./support/cluster_samples.ts";
import { sampleTopic } from "./support/cluster_world.ts";

const ORDERS = sampleTopic("orders", { partitions: 6 });

/** What the state becomes when the controller decides, and followers catch up, until nothing changes. */
function settled(state: ClusterState): ClusterState {
  for (let round = 0; round < 200; round++) {
    const changes = decideCluster(state);
    const next = allInSync(changedState(state, changes));
    if (
      changes.length === 0 && JSON.stringify(next.partitions) === JSON.stringify(state.partitions)
    ) {
      return state;
    }
    state = next;
  }
  throw new Error("the controller never comes to rest");
}

function records(state: ClusterState): PartitionRecord[] {
  return state.partitions.map(({ record }) => record);
}

function counts(state: ClusterState, of: (record: PartitionRecord) => readonly string[]) {
  const found = new Map([...state.brokers.keys()].map((id) => [id, 0]));
  for (const record of records(state)) {
    for (const id of of(record)) found.set(id, (found.get(id) ?? 0) + 1);
  }
  return [...found.values()];
}

function spread(found: readonly number[]): number {
  return Math.max(...found) - Math.min(...found);
}

Deno.test("replicas are balanced within one a broker, whatever topics there are", () => {
  const topics = fc.array(
    fc.record({ partitions: fc.nat(12), factor: fc.integer({ min: 1, max: 4 }) }),
    {
      maxLength: 6,
    },
  );
  fc.assert(
    fc.property(fc.integer({ min: 4, max: 7 }), topics, (brokerCount, wanted) => {
      const brokers = brokersOf(...["a", "b", "c", "d", "e", "f", "g"].slice(0, brokerCount));
      let state = stateOf(brokers, []);
      for (const [at, { partitions, factor }] of wanted.entries()) {
        const topic = sampleTopic(`t${at}`, { partitions, replicationFactor: factor });
        state = { ...state, topics: new Map([...state.topics, [topic.topicId, topic]]) };
        state = changedState(state, decideCluster(state));
        assert.deepEqual(decideCluster(state), []);
        const leaders = spread(counts(state, ({ replicas }) => [replicas[0]!]));
        if (at === 0) assert.ok(leaders <= 1, "the leaders of one topic are not spread");
      }
      for (const record of records(state)) {
        const topic = state.topics.get(record.topicId)!;
        assert.equal(new Set(record.replicas).size, topic.config.replicationFactor);
        assert.equal(record.leader, record.replicas[0]);
      }
      assert.ok(spread(counts(state, ({ replicas }) => replicas)) <= 1);
    }),
    { numRuns: 200 },
  );
});

Deno.test("replicas of a partition lie in as many zones as there are", () => {
  const brokers = brokersOf("a@x", "b@x", "c@y", "d@y", "e@z", "f@z");
  const topic = sampleTopic("orders", { partitions: 20 });
  const state = settled(stateOf(brokers, [topic]));
  for (const { replicas } of records(state)) {
    assert.equal(new Set(replicas.map((id) => brokers.get(id)!.zone)).size, 3);
  }
  assert.ok(spread(counts(state, ({ replicas }) => replicas)) <= 1);
});

Deno.test("a topic gets what brokers there are, and the rest when they come", () => {
  const topic = sampleTopic("orders");
  const alone = settled(stateOf(brokersOf("a", "b*", "-c"), [topic]));
  assert.deepEqual(records(alone)[0]!.replicas, ["a"]);
  const more = settled({ ...alone, brokers: brokersOf("a", "b*", "c", "d") });
  const [record] = records(more);
  assert.deepEqual([...record!.isr].sort(), ["a", "c", "d"]);
  assert.equal(record!.target, undefined);
  assert.equal(record!.leader, "a");
});

Deno.test("an internal topic grows to three replicas as brokers join, and never stops being written", () => {
  const topic = sampleTopic("__groups", { replicationFactor: 1, minInsyncReplicas: 1 });
  const one = settled(stateOf(brokersOf("a"), [topic]));
  assert.deepEqual(records(one)[0]!.replicas, ["a"]);
  const joined = { ...one, brokers: brokersOf("a", "b", "c", "d") };
  const moving = changedState(joined, decideCluster(joined));
  assert.equal(minInsyncOfRecord(topic, records(moving)[0]!), 1);
  const grown = records(settled(moving))[0]!;
  assert.equal(grown.replicas.length, 3);
  assert.equal(minInsyncOfRecord(topic, grown), 2);
});

Deno.test("of an internal topic's replicas most must be in sync, of others as many as the topic says", () => {
  const internal = sampleTopic("__groups", { minInsyncReplicas: 1 });
  assert.deepEqual([1, 2, 3, 4, 5].map((count) => minInsyncOf(internal, count)), [1, 1, 2, 2, 3]);
  assert.equal(minInsyncOf(sampleTopic("orders", { minInsyncReplicas: 2 }), 1), 2);
});

Deno.test("while others are eligible the high watermark needs one of them, whatever the topic says now", () => {
  const lowered = sampleTopic("orders", { minInsyncReplicas: 1 });
  const record = recordOf("a b c", { isr: ["a"], elr: ["b"] });
  assert.equal(minInsyncOfRecord(lowered, record), 2);
  const [change] = decideCluster(
    stateOf(brokersOf("a", "b", "c"), [{ ...lowered, partitionCount: 1 }], [record]),
  );
  assert.deepEqual(change!.record!.elr, []);
  assert.equal(minInsyncOfRecord(lowered, change!.record!), 1);
});

Deno.test("a draining broker gives away its replicas, and nothing is lost on the way", () => {
  const full = settled(stateOf(brokersOf("a", "b", "c", "d"), [ORDERS]));
  const draining = { ...full, brokers: brokersOf("a", "b*", "c", "d") };
  const first = changedState(draining, decideCluster(draining));
  for (const { isr, leader, target, replicas } of records(first)) {
    assert.equal(isr.length, 3);
    assert.notEqual(leader, "b");
    if (target !== undefined) assert.ok(replicas.includes("b") && !target.includes("b"));
  }
  const emptied = settled(first);
  for (const { replicas, isr, target } of records(emptied)) {
    assert.equal(target, undefined);
    assert.deepEqual([...isr].sort(), ["a", "c", "d"]);
    assert.equal(replicas.length, 3);
  }
});

Deno.test("a draining broker keeps what no other can take", () => {
  const full = settled(stateOf(brokersOf("a", "b", "c"), [ORDERS, sampleTopic("__jobs")]));
  const drained = settled({ ...full, brokers: brokersOf("a", "b*", "c") });
  for (const { topicId, replicas } of records(drained)) {
    assert.equal(replicas.includes("b"), topicId === "id-orders");
  }
});

Deno.test("moves begin a bounded number at a time", () => {
  const topic = sampleTopic("orders", { partitions: 400, replicationFactor: 2 });
  const full = settled(stateOf(brokersOf("a", "b"), [topic]));
  const draining = { ...full, brokers: brokersOf("a", "b*", "c") };
  const next = changedState(draining, decideCluster(draining));
  const moving = (state: ClusterState) => records(state).filter(({ target }) => target).length;
  assert.equal(moving(next), MAX_MOVES_AT_ONCE);
  assert.equal(decideCluster(next).length, 0);
  assert.ok(records(settled(next)).every(({ isr }) => !isr.includes("b")));
});

Deno.test("another replication factor adds replicas, or takes away those that are worth least", () => {
  const full = settled(stateOf(brokersOf("a", "b", "c", "d"), [ORDERS]));
  const raised = { ...ORDERS, config: { ...ORDERS.config, replicationFactor: 4 } };
  const more = settled({ ...full, topics: new Map([[raised.topicId, raised]]) });
  assert.ok(records(more).every(({ isr }) => isr.length === 4));
  const behind = stateOf(brokersOf("a", "b", "-c", "d"), [
    { ...ORDERS, partitionCount: 1, config: { ...ORDERS.config, replicationFactor: 2 } },
  ], [recordOf("a b c d", { isr: ["a", "d"] })]);
  const fewer = records(settled(behind))[0]!;
  assert.deepEqual(fewer, recordOf("a d"));
});

Deno.test("a move ends when all that are to stay are in sync, with a leader among them in a new epoch", () => {
  const brokers = brokersOf("a", "b", "c", "d", "e", "f");
  const topic = { ...ORDERS, partitionCount: 1 };
  const moving = movingTo(recordOf("a b c"), ["d", "e", "f"], brokers);
  assert.deepEqual(
    moving,
    recordOf("a b c", {
      replicas: ["a", "b", "c", "d", "e", "f"],
      target: ["d", "e", "f"],
      origin: ["a", "b", "c"],
    }),
  );
  const partly = { ...moving, isr: ["a", "b", "c", "d", "e"] };
  assert.deepEqual(decideCluster(stateOf(brokers, [topic], [partly])), []);
  const whole = { ...moving, isr: ["a", "b", "c", "d", "e", "f"] };
  const [change] = decideCluster(stateOf(brokers, [topic], [whole]));
  assert.deepEqual(change!.record, recordOf("d e f", { leaderEpoch: 6 }));
  assert.equal(change!.reason, "move_finished");
});

Deno.test("a cancelled move is undone, or turned round when those of before are behind", () => {
  const brokers = brokersOf("a", "b", "c", "d");
  const moving = movingTo(recordOf("a b"), ["c", "d"], brokers);
  assert.deepEqual(cancelledMove({ ...moving, isr: ["a", "b", "c"] }), recordOf("a b"));
  const behind = { ...moving, isr: ["c"], leader: "c" };
  assert.deepEqual(cancelledMove(behind), { ...behind, target: ["a", "b"] });
});

Deno.test("leadership goes back to the first replica after a while, a few at a time", () => {
  const led = [0, 1, 2].map((partition) => recordOf("a b c", { partition, leader: "b" }));
  const state = stateOf(brokersOf("a", "b", "c"), [ORDERS], led);
  const rules = { nowMs: 1_000, afterMs: 500, maxAtOnce: 2 };
  const first = decidePreferred(state, new Map(), rules);
  assert.deepEqual([first.changes, first.nextMs], [[], 1_500]);
  const second = decidePreferred(state, first.since, { ...rules, nowMs: 1_500 });
  assert.deepEqual(second.changes.map(({ record }) => record), [
    { ...led[0]!, leader: "a", leaderEpoch: 6 },
    { ...led[1]!, leader: "a", leaderEpoch: 6 },
  ]);
  assert.equal(second.nextMs, 1_500);
  const flapped = stateOf(brokersOf("a", "b", "c"), [ORDERS], [{ ...led[0]!, isr: ["b", "c"] }]);
  assert.equal(decidePreferred(flapped, second.since, rules).since.size, 0);
});

Deno.test("what the controller decides comes to rest, and is never less than one moment allows", () => {
  const marks = fc.constantFrom("a", "-a", "a*", "a!");
  const said = fc.tuple(marks, marks, marks, marks).map((all) =>
    all.map((mark, at) => mark.replace("a", "abcd"[at]!))
  );
  fc.assert(
    fc.property(fc.array(said, { minLength: 1, maxLength: 8 }), (moments) => {
      const topics = [ORDERS, sampleTopic("__groups", { partitions: 3 })];
      let state = settled(stateOf(brokersOf("a", "b", "c", "d"), topics));
      for (const moment of moments) {
        state = { ...state, brokers: brokersOf(...moment) };
        for (let round = 0; round < 3; round++) {
          const before = new Map(state.partitions.map(({ record }) => [nameOf(record), record]));
          state = changedState(state, decideCluster(state));
          for (const record of records(state)) checkStep(state, before.get(nameOf(record)), record);
          if (round > 0) state = allInSync(state);
        }
      }
      const healed = settled({ ...state, brokers: brokersOf("a", "b", "c", "d") });
      for (const record of records(healed)) {
        assert.equal(record.isr.length, 3);
        assert.equal(record.replicas.length, 3);
        assert.equal(record.target, undefined);
        assert.notEqual(record.leader, null);
      }
    }),
    { numRuns: 150 },
  );
});

function checkStep(
  { brokers }: ClusterState,
  before: PartitionRecord | undefined,
  { isr, elr, leader, leaderEpoch, replicas }: PartitionRecord,
): void {
  assert.ok(isr.length > 0 && isr.every((id) => replicas.includes(id)));
  assert.ok(elr.every((id) => replicas.includes(id) && !isr.includes(id)));
  if (leader !== null) assert.ok(isr.includes(leader) && brokers.get(leader)!.isOnline);
  if (before === undefined) return;
  const isSame = leader === before.leader;
  assert.ok(leaderEpoch >= before.leaderEpoch);
  if (!isSame) assert.ok(leaderEpoch > before.leaderEpoch);
  if (leader !== null && !isSame) assert.ok([...before.isr, ...before.elr].includes(leader));
}

function nameOf({ topicId, partition }: PartitionRecord): string {
  return `${topicId}/${partition}`;
}
