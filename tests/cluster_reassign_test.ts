// Owns what moves a person's wish means, and which wishes are refused.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { ClusterState } from "../actors/cluster/cluster_state.ts";
import { movingTo } from "../actors/cluster/decide_moves.ts";
import {
  type AskedMove,
  MAX_PLANNED_MOVES,
  type PlannedMove,
  planReassign,
} from "../actors/cluster/decide_reassign.ts";
import type { ErrorCode } from "../storage/broker_error.ts";
import { brokersOf, recordOf, stateOf } from "./support/cluster_samples.ts";
import { sampleTopic } from "./support/cluster_world.ts";

const ORDERS = sampleTopic("orders", { partitions: 3 });

function named(...replicas: string[]): AskedMove {
  return { topic: "orders", partition: 0, replicas };
}

function sample(...brokers: string[]): ClusterState {
  return stateOf(brokersOf(...brokers), [ORDERS], [recordOf("a b c")]);
}

Deno.test("named moves are planned as they are, but for those that change nothing", () => {
  const state = sample("a", "b", "c", "d");
  assert.deepEqual(planReassign(state, [named("d", "a", "b")]), [{
    topicId: "id-orders",
    topic: "orders",
    partition: 0,
    from: ["a", "b", "c"],
    to: ["d", "a", "b"],
  }]);
  assert.deepEqual(planReassign(state, [named("a", "b", "c")]), []);
  assert.equal(planReassign(state, [named("b", "a", "c")]).length, 1);
});

Deno.test("a plan that cannot be is refused as a whole", () => {
  const state = sample("a", "b", "c", "-d", "e*", "f!");
  const refused = (asked: AskedMove[], code: ErrorCode, message: RegExp) =>
    assert.throws(() => planReassign(state, asked), { code, message });
  refused([named("a", "b", "x")], "INVALID_REQUEST", /broker x is not known/);
  refused([named("a", "b", "d")], "INVALID_REQUEST", /broker d is not running/);
  refused([named("a", "b", "e")], "INVALID_REQUEST", /broker e is draining/);
  refused([named("a", "b", "f")], "INVALID_REQUEST", /broker f is draining or shutting down/);
  refused([named("a", "b", "b")], "INVALID_REQUEST", /named twice/);
  refused([named("b", "a", "c"), named("c", "a", "b")], "INVALID_REQUEST", /named twice/);
  refused([named("a", "b")], "INVALID_REPLICATION_FACTOR", /has 3 replicas, not 2/);
  refused([{ ...named("a", "b", "c"), topic: "x" }], "UNKNOWN_TOPIC", /no topic x/);
  refused([{ ...named("a", "b", "c"), partition: 7 }], "UNKNOWN_PARTITION", /no partition 7/);
  const many = Array.from({ length: MAX_PLANNED_MOVES + 1 }, () => named("a", "b", "c"));
  refused(many, "INVALID_REQUEST", /at most 1000 moves/);
});

/** The state when all moves have ended. */
function moved(state: ClusterState, plan: readonly PlannedMove[]): ClusterState {
  const partitions = state.partitions.map(({ record, version }) => {
    const move = plan.find((one) => one.partition === record.partition);
    if (move === undefined) return { record, version };
    const isr = [...new Set([...record.isr, ...move.to])];
    return { record: movingTo({ ...record, isr }, move.to, state.brokers), version };
  });
  return { ...state, partitions };
}

function spread(
  state: ClusterState,
  of: (replicas: readonly string[]) => readonly string[],
): number {
  const counts = new Map([...state.brokers.keys()].map((id) => [id, 0]));
  for (const { record } of state.partitions) {
    for (const id of of(record.replicas)) counts.set(id, counts.get(id)! + 1);
  }
  return Math.max(...counts.values()) - Math.min(...counts.values());
}

Deno.test("balancing spreads replicas within one a broker, wherever they lie, and then rests", () => {
  const replicas = fc.shuffledSubarray(["a", "b", "c", "d", "e"], { minLength: 3, maxLength: 3 });
  fc.assert(fc.property(fc.array(replicas, { maxLength: 30 }), (all) => {
    const records = all.map((ids, partition) => recordOf(ids.join(" "), { partition }));
    const topic = { ...ORDERS, partitionCount: all.length };
    const state = stateOf(brokersOf("a", "b", "c", "d", "e"), [topic], records);
    const plan = planReassign(state, "rebalance");
    for (const { to } of plan) assert.equal(new Set(to).size, 3);
    const after = moved(state, plan);
    assert.ok(after.partitions.every(({ record }) => record.target === undefined));
    assert.ok(spread(after, (ids) => ids) <= 1);
    assert.ok(spread(after, ([first]) => [first!]) <= 1);
    assert.deepEqual(planReassign(after, "rebalance"), []);
  }));
});

Deno.test("balancing moves no more replicas than it must, and none into fewer zones", () => {
  const zoned = brokersOf("a@x", "b@y", "c@z", "d@z");
  const records = [0, 1, 2, 3].map((partition) => recordOf("a b c", { partition }));
  const topic = { ...ORDERS, partitionCount: 4 };
  const plan = planReassign(stateOf(zoned, [topic], records), "rebalance");
  const replaced = plan.flatMap(({ from, to }) => to.filter((id) => !from.includes(id)));
  assert.deepEqual(replaced, ["d", "d"]);
  for (const { to } of plan) {
    assert.equal(new Set(to.map((id) => zoned.get(id)!.zone)).size, 3);
  }
});

Deno.test("balancing leaves moves that are under way alone, and counts where they end", () => {
  const brokers = brokersOf("a", "b", "c", "d");
  const moving = movingTo(recordOf("a b c"), ["b", "c", "d"], brokers);
  const rest = [1, 2, 3].map((partition) =>
    recordOf(["a c d", "a b d", "a b c"][partition - 1]!, { partition })
  );
  const topic = { ...ORDERS, partitionCount: 4 };
  const plan = planReassign(stateOf(brokers, [topic], [moving, ...rest]), "rebalance");
  assert.ok(plan.every(({ partition }) => partition !== 0));
  assert.deepEqual(plan.flatMap(({ from, to }) => to.filter((id) => !from.includes(id))), []);
});
