// Owns the tests of request keys in a cluster of whole brokers: one home for all requests, which may die at any moment.
// Refuses to own what HTTP makes of them (api_request_keys_test.ts). Invariant: a request is carried out once, whoever is asked.
import assert from "node:assert/strict";
import type { Broker, Topic } from "../actors/broker.ts";
import { RequestKeys } from "../actors/request_keys/request_keys.ts";
import type { RequestLog } from "../actors/request_keys/request_log.ts";
import { crc32c } from "../storage/format/crc32c.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { baseOffsetAt, batchSpans } from "../storage/format/record_batch.ts";
import { type ClusterKeysScene, clusterKeysScene } from "./support/cluster_keys_scene.ts";
import { plain } from "./support/partition_scene.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";

const REQUESTS = "__requests";
const NAME = { principal: "p", tenant: "default", key: "k" };
const REQUEST = { ...NAME, bodyHash: "h" };
/** One message for each partition. */
const PLAN = { ...REQUEST, topic: "orders", partitionCount: 3, partitions: [0, 1, 2] };

const hasCode = (code: string) => (error: unknown) =>
  error instanceof BrokerError && error.code === code;

const at = (partition: number) => ({ topic: "orders", partition });

/** What an edge does with a request, as far as `until` says; resolves to what was told. */
async function carryOut(
  scene: ClusterKeysScene,
  nodeId: string,
  until: "begun" | "appended" | "completed",
) {
  const { requestKeys } = scene.node(nodeId).broker;
  const begun = await scene.until(requestKeys.begin(PLAN));
  if (begun.state === "completed") return { response: begun.response, appended: 0 };
  const running = { ...NAME, token: begun.token };
  const receipts = [];
  if (until !== "begun") {
    for (const partition of PLAN.partitions) {
      receipts.push(await scene.until(requestKeys.append(running, at(partition), [plain("m")])));
    }
  }
  const offsets = receipts.map(({ baseOffsets }) => baseOffsets[0]!);
  if (until === "completed") await scene.until(requestKeys.complete(running, { offsets }));
  const appended = receipts.filter(({ duplicates }) => !duplicates[0]).length;
  return { response: { offsets }, appended, isResumed: begun.isResumed, running };
}

async function stored(scene: ClusterKeysScene): Promise<number[]> {
  const broker: Broker = scene.nodes.values().next().value!.broker;
  return await Promise.all([0, 1, 2].map(async (partition) => {
    const { batches } = await scene.until(broker.fetch(at(partition), 0, { maxBytes: 1e6 }));
    return [...batchSpans(batches)].map(({ at }) => baseOffsetAt(batches, at)).length;
  }));
}

Deno.test("a request is carried out once, whichever broker a repeat comes to", async () => {
  const scene = await clusterKeysScene();
  const first = await carryOut(scene, "1", "completed");
  assert.equal(first.appended, 3);
  for (const nodeId of ["2", "3", "1"]) {
    const { requestKeys } = scene.node(nodeId).broker;
    const known = await scene.until(requestKeys.lookup(REQUEST));
    assert.deepEqual(known, { state: "completed", response: first.response });
    const other = scene.until(requestKeys.lookup({ ...REQUEST, bodyHash: "other" }));
    await assert.rejects(other, hasCode("IDEMPOTENCY_KEY_REUSED"));
  }
  assert.deepEqual(await stored(scene), [1, 1, 1]);
});

Deno.test("a request that is under way is nobody else's, whichever broker is asked", async () => {
  const scene = await clusterKeysScene();
  const { running } = await carryOut(scene, "1", "begun");
  await assert.rejects(carryOut(scene, "2", "begun"), hasCode("IDEMPOTENCY_KEY_IN_USE"));
  await scene.until(scene.node("3").broker.requestKeys.release(running!));
  assert.equal((await carryOut(scene, "2", "completed")).isResumed, true);
});

for (const reached of ["begun", "appended", "completed"] as const) {
  Deno.test(`a request that was ${reached} when its home died is gone on with by the next`, async () => {
    const scene = await clusterKeysScene();
    await carryOut(scene, "1", reached);
    const home = await scene.loseLeader(REQUESTS, 0);
    const again = await carryOut(scene, scene.other(home), "completed");
    assert.equal(again.appended, reached === "begun" ? 3 : 0);
    assert.deepEqual(again.response, { offsets: [0, 0, 0] });
    assert.deepEqual(await stored(scene), [1, 1, 1]);
    const { requestKeys } = scene.node(scene.other(home)).broker;
    const known = await scene.until(requestKeys.lookup(REQUEST));
    assert.deepEqual(known, { state: "completed", response: { offsets: [0, 0, 0] } });
  });
}

for (const diesAfterMs of [1, 2, 3, 4, 6, 8, 10]) {
  Deno.test(`a request whose home dies ${diesAfterMs} ms into an append is stored once`, async () => {
    const scene = await clusterKeysScene();
    const { leaderOf, other, time, until } = scene;
    const { running } = await carryOut(scene, "1", "begun");
    const home = leaderOf(REQUESTS, 0);
    const partition = [0, 1, 2].find((each) => leaderOf("orders", each) !== home)!;
    const appended = scene.node(other(home)).broker.requestKeys
      .append(running!, at(partition), [plain("m")]).then(() => null, () => null);
    await time.advance(diesAfterMs);
    await scene.loseLeader(REQUESTS, 0);
    await until(appended);
    const again = await carryOut(scene, other(home), "completed");
    assert.equal(again.isResumed, true);
    assert.deepEqual(await stored(scene), [1, 1, 1]);
  });
}

Deno.test("an attempt whose home has changed is refused, and cannot append what its successor has looked for", async () => {
  const scene = await clusterKeysScene();
  const { until, other, leaderOf, recordOf } = scene;
  const { running } = await carryOut(scene, "1", "begun");
  const { topicId, leaderEpoch } = recordOf(REQUESTS, 0);
  const home = await scene.loseLeader(REQUESTS, 0);
  const asked = other(home);
  const stale = scene.node(asked).broker.requestKeys.append(running!, at(0), [plain("m")]);
  await assert.rejects(until(stale), hasCode("IDEMPOTENCY_KEY_IN_USE"));
  await carryOut(scene, asked, "completed");
  // As it would come from the home of before, had it only been paused.
  const keysTerm = { topicId, leaderEpoch, round: 0 };
  for (const partition of [0, 1, 2]) {
    const late = scene.node(leaderOf("orders", partition)).local
      .append(at(partition), [plain("m")], { acks: "all", keysTerm });
    await assert.rejects(until(late), hasCode("STALE_EPOCH"));
  }
  assert.deepEqual(await stored(scene), [1, 1, 1]);
});

Deno.test("an attempt is not the caller's any more when its home has begun anew, though nobody else was one", async () => {
  let epoch = 1;
  const requests = new RequestKeys({
    crc32c,
    randomness: seededRandomness(1),
    monotonic: () => 0,
    topic: () => ({ topicId: "id", name: "orders" }) as Topic,
    homeEpoch: () => epoch,
    partition: () => Promise.reject(new Error("nothing is appended")),
    log: () => Promise.resolve(log),
    count: () => {},
  });
  const kept = new Map<string, unknown>();
  const place = { partition: 0, offset: 0 };
  const log = {
    find: (key: string) => Promise.resolve(kept.has(key) ? place : null),
    read: () => Promise.resolve([...kept.values()][0]),
    put: (key: string, body: unknown) => {
      kept.set(key, body);
      return Promise.resolve({ place, isNew: true });
    },
  } as unknown as RequestLog;
  const begun = await requests.begin({ ...PLAN, partitions: [] });
  assert.ok(begun.state === "running");
  await assert.rejects(requests.lookup(REQUEST), hasCode("IDEMPOTENCY_KEY_IN_USE"));
  epoch = 2;
  const append = requests.append({ ...NAME, token: begun.token }, at(0), []);
  await assert.rejects(append, hasCode("IDEMPOTENCY_KEY_IN_USE"));
  assert.deepEqual(await requests.lookup(REQUEST), { state: "known", partitionCount: 3 });
});

Deno.test("an append whose answer is lost is found by the repeat of its request", async () => {
  const scene = await clusterKeysScene();
  const { leaderOf, network, time, until } = scene;
  const { running } = await carryOut(scene, "1", "begun");
  const home = leaderOf(REQUESTS, 0);
  const partition = [0, 1, 2].find((each) => leaderOf("orders", each) !== home)!;
  const leader = leaderOf("orders", partition);
  network.cutOneWay(leader, home);
  const { requestKeys } = scene.node(home).broker;
  const lost = requestKeys.append(running!, at(partition), [plain("m")]);
  lost.catch(() => {});
  await time.advance(100);
  network.reset(home, leader);
  await assert.rejects(until(lost), hasCode("PEER_LOST"));
  network.heal();
  await until(requestKeys.release(running!));
  const again = await carryOut(scene, home, "completed");
  assert.deepEqual([again.isResumed, again.appended], [true, 2]);
  const { topicId, leaderEpoch } = scene.recordOf(REQUESTS, 0);
  const keysTerm = { topicId, leaderEpoch, round: 0 };
  const late = scene.node(leader).local
    .append(at(partition), [plain("m")], { acks: "all", keysTerm });
  await assert.rejects(until(late), hasCode("STALE_EPOCH"));
  assert.deepEqual(await stored(scene), [1, 1, 1]);
});
