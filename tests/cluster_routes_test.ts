import assert from "node:assert/strict";
import { isOwned, partOf } from "../actors/cluster/routed_part.ts";
import { type PartName, type Route, ROUTES } from "../actors/cluster/routes.ts";
import type { NamedRequest } from "../actors/request_keys/types.ts";
import { transactionIdOf } from "../actors/transaction/transaction_id.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { memoryBrokerStores } from "./support/memory_broker.ts";
import { type Asked, RoutedScene } from "./support/routed_scene.ts";

const AT = { topic: "orders", partition: 1 };
const BATCHES = [new Uint8Array([1, 2, 3]), new Uint8Array(2_000).fill(4)];
const IN = transactionIdOf({ transactionalId: "t", producerId: 1, producerEpoch: 0 });
const REQUEST: NamedRequest = { principal: "p", tenant: "default", key: "k", bodyHash: "h" };
const ORDER = { principal: "p", reason: null };

/** Arguments of every method that has an owner. */
const ARGS: Readonly<Record<string, readonly unknown[]>> = {
  "broker.partitionInfo": [AT],
  "broker.append": [AT, BATCHES, { acks: "all" }],
  "broker.writeMarker": [AT, { producerId: 1, producerEpoch: 0, commit: true }],
  "broker.fetch": [AT, 7, { maxBytes: 100, isolation: "read_committed" }],
  "broker.waitForData": [AT, 7, { timeoutMs: 50 }],
  "broker.offsetForTime": [AT, 1_000],
  "broker.group": [{ type: "Describe", group: "g" }],
  "audit.intend": [{ actor: "p", before: null }],
  "audit.conclude": [1, { outcome: "success" }],
  "audit.record": [{ actor: "p", before: null }, { outcome: "failure", code: "FORBIDDEN" }],
  "audit.head": [],
  "audit.query": [{ order: "newest", at: null, limit: 3 }],
  "audit.verify": [undefined, 5],
  "producers.nextSequence": [AT, { producerId: 1, producerEpoch: 0 }],
  "transactions.begin": [{ transactionalId: "t", principal: "p" }],
  "transactions.append": [AT, BATCHES, { transactionId: IN }],
  "transactions.commit": [IN, { offsets: [], principal: "p" }],
  "transactions.abort": [IN],
  "transactions.describe": [IN, { asker: { principal: "p" } }],
  "jobs.submit": [{ jobId: "j", kind: "replay" }],
  "jobs.list": [],
  "jobs.get": ["j"],
  "jobs.owned": [],
  "jobs.pause": [{ jobId: "j", ...ORDER }],
  "jobs.resume": [{ jobId: "j", ...ORDER, owner: null }],
  "jobs.cancel": [{ jobId: "j", ...ORDER }],
  "jobs.redriven": [AT],
  "alerts.acknowledge": [{ alertId: "x", principal: "p" }],
  "alerts.silence": [{ alertId: "x", principal: "p", until: 5 }],
  "runbooks.start": [{ runbook: "r", alertId: "x" }],
  "runbooks.execute": [{ name: "r", mode: "observe" }],
  "runbooks.execution": ["e"],
  "runbooks.executions": [{ state: "running" }],
  "runbooks.approve": [{ executionId: "e", ...ORDER }],
  "runbooks.abort": [{ executionId: "e", ...ORDER }],
  "runbooks.withdraw": ["e", "why"],
  "ledger.history": ["g", { limit: 5 }],
  "ledger.snapshots": ["g", { limit: 5 }],
  "ledger.offsetsAt": ["g", { snapshotId: "s" }],
  "broker.fenceKeys": [AT, { topicId: "x", leaderEpoch: 1, round: 1 }],
  "requestKeys.lookup": [REQUEST],
  "requestKeys.begin": [{ ...REQUEST, topic: "orders", partitionCount: 3, partitions: [1] }],
  "requestKeys.append": [{ ...REQUEST, token: "x" }, AT, BATCHES],
  "requestKeys.complete": [{ ...REQUEST, token: "x" }, { results: [] }],
  "requestKeys.release": [{ ...REQUEST, token: "x" }],
};

function* ownedMethods(): Generator<{ part: PartName; method: string; name: string }> {
  for (const [part, routes] of Object.entries(ROUTES)) {
    for (const [method, route] of Object.entries(routes as Record<string, Route>)) {
      if (isOwned(route)) yield { part: part as PartName, method, name: `${part}.${method}` };
    }
  }
}

/** Without the signal that a handler adds to what waits. */
function plain(args: readonly unknown[]): unknown {
  return JSON.parse(JSON.stringify(args, (key, value) => key === "signal" ? undefined : value));
}

Deno.test("every method of the broker and of its parts has a route and a way to be called", async () => {
  const { open } = memoryBrokerStores();
  const real = await open();
  const scene = new RoutedScene();
  const { broker } = scene.node("a");
  for (const [part, routes] of Object.entries(ROUTES) as [PartName, object][]) {
    for (const method of Object.keys(routes)) {
      assert.equal(typeof partOf(real, part)[method], "function", `${part}.${method} is none`);
      assert.equal(typeof partOf(broker, part)[method], "function", `${part}.${method} is missing`);
    }
  }
  const parts = Object.keys(ROUTES).filter((part) => part !== "broker");
  const others = Object.keys(broker).filter((key) =>
    typeof broker[key as keyof typeof broker] === "object"
  );
  // The router is the door's own; `options` are what it was made of.
  assert.deepEqual(
    others.filter((key) => key !== "router" && key !== "options").sort(),
    parts.sort(),
  );
  scene.close();
  await real.close();
});

Deno.test("each call goes to its owner and comes back whole", async () => {
  for (const { part, method, name } of ownedMethods()) {
    const args = ARGS[name];
    assert.ok(args !== undefined, `${name} is not tested`);
    const scene = new RoutedScene();
    scene.leadAll("b");
    const call = (nodeId: string) =>
      scene.run(
        Promise.resolve(partOf(scene.node(nodeId).broker, part)[method]!(...args)),
      ) as Promise<Asked>;
    const answer = await call("a");
    if (method !== "waitForData") {
      assert.equal(answer.by, "b", name);
      assert.equal(answer.method, name);
      assert.deepEqual(plain(answer.args), plain(args), name);
    }
    assert.equal(scene.node("a").count(name), 0, name);
    assert.equal(scene.node("b").count(name), 1, name);
    await call("b");
    assert.equal(scene.node("b").count(name), 2, `${name} is answered where it is led`);
    scene.close();
  }
});

Deno.test("of an object that names a partition, whatever else it is, only the name goes to another broker", async () => {
  class Held {
    readonly topic = AT.topic;
    readonly partition = AT.partition;
    readonly inFlight = new Map([[1, 2]]);
  }
  const scene = new RoutedScene();
  scene.leadAll("b");
  const { broker } = scene.node("a");
  const read = broker.fetch(new Held(), 7, { maxBytes: 1 }) as Promise<unknown>;
  const { args } = await scene.run(read) as Asked;
  assert.deepEqual((args as readonly unknown[])[0], AT);
  scene.close();
});

Deno.test("each call to another broker fails as it would have failed there", async () => {
  for (const { part, method, name } of ownedMethods()) {
    const scene = new RoutedScene();
    scene.leadAll("b");
    const refusal = () => {
      throw new BrokerError("QUOTA_EXCEEDED", "too much", { retryAfterMs: 7 });
    };
    scene.node("b").answers.set(name, refusal);
    const call = async () => await partOf(scene.node("a").broker, part)[method]!(...ARGS[name]!);
    const expected = { code: "QUOTA_EXCEEDED", message: "too much", details: { retryAfterMs: 7 } };
    await assert.rejects(scene.run(call()), expected, name);
    assert.equal(scene.node("b").count(name), 1, name);
    scene.close();
  }
});

Deno.test("byte arrays cross as bytes", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  await scene.run(scene.node("a").broker.append(AT, BATCHES, { acks: "all" }));
  const [, batches] = scene.node("b").asked.at(-1)!.args as [unknown, Uint8Array[]];
  assert.deepEqual(batches, BATCHES);
  assert.notEqual(batches[0], BATCHES[0]);
  scene.close();
});
