// Owns proof that a single node becomes a cluster without losing anything of its metadata, whatever step it dies at, and that
// no data directory gets into a cluster in which its data would be lost.
import assert from "node:assert/strict";
import type { PartitionRecord } from "../actors/cluster/types.ts";
import { partitionRecordKey } from "../actors/cluster/types.ts";
import { decideFounding, FOUNDING_KEY, type FoundingView } from "../ops/cluster/decide_founding.ts";
import { CannotJoinError, foundOrJoinCluster } from "../ops/cluster/found_cluster.ts";
import type { JoinedCluster } from "../storage/file_log/node_identity.ts";
import { MemoryMetadataStore } from "../storage/memory/memory_metadata.ts";
import type { MetadataStore } from "../storage/metadata.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { clusterScene } from "./support/cluster_scene.ts";
import { plain } from "./support/partition_scene.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { VirtualClock } from "./support/virtual_time.ts";
import { withMembers } from "./support/with_members.ts";

const TOPIC_COUNT = 700;

function newStore(time = new VirtualClock()): MemoryMetadataStore {
  return new MemoryMetadataStore({ timers: time, randomness: seededRandomness(1) });
}

/** A data directory: what is durable in it outlives every start. */
function directory(nodeId: string, local: MetadataStore | null) {
  const kept = { joined: null as JoinedCluster | null };
  return { nodeId, diskId: `disk-${nodeId}`, local, kept };
}

interface StartOptions {
  readonly time?: VirtualClock;
  /** The process dies instead of the change with this number, or right after it. */
  readonly diesAt?: number;
  readonly isKept?: boolean;
}

/** One start of a broker; what it reports, and the cluster's id. */
async function start(
  of: ReturnType<typeof directory>,
  shared: MetadataStore,
  { time = new VirtualClock(), diesAt = Infinity, isKept = false }: StartOptions = {},
) {
  const reports: string[] = [];
  let changes = 0;
  const change = async <T>(make: () => Promise<T>): Promise<T> => {
    const dies = ++changes === diesAt;
    if (dies && !isKept) throw new Error("the process died");
    const made = await make();
    if (dies) throw new Error("the process died");
    return made;
  };
  const clusterId = await foundOrJoinCluster({
    name: "waybill",
    nodeId: of.nodeId,
    shared: withMembers(shared, {
      commit: (transaction) => change(() => shared.commit(transaction)),
    }),
    local: of.local,
    identity: {
      diskId: of.diskId,
      get joined() {
        return of.kept.joined;
      },
      join: (cluster) =>
        change(() => {
          of.kept.joined = cluster;
          return Promise.resolve();
        }),
    },
    timers: time,
    randomness: seededRandomness(7),
    report: (message) => reports.push(message),
  });
  return { clusterId, reports };
}

/** What a single node with many topics leaves behind. */
async function singleNode() {
  const local = newStore();
  const topics = Array.from({ length: TOPIC_COUNT }, (_, at) => `orders-${at}`);
  for (const [at, name] of topics.entries()) {
    const topic = { topicId: `id-${at}`, name, partitionCount: 1 + at % 2, config: TOPIC_CONFIG };
    await local.commit({ checks: [], sets: [{ key: ["topics", name], value: topic }] });
  }
  const others = [
    { key: ["cluster-id"], value: "c-local" },
    { key: ["leader-epoch"], value: 6 },
    { key: ["acls", "a"], value: { principal: "billing", note: "x".repeat(50_000) } },
    { key: ["acls", "b"], value: { principal: "audit", note: "y".repeat(50_000) } },
    { key: ["removed-topics", "gone"], value: { topicId: "gone", name: "x", partitionCount: 1 } },
  ];
  await local.commit({ checks: [], sets: others });
  return local;
}

async function contents(store: MetadataStore): Promise<Map<string, unknown>> {
  return new Map((await store.list([])).map(({ key, value }) => [key.join("/"), value]));
}

async function assertAdopted(shared: MetadataStore, local: MetadataStore) {
  const all = await contents(shared);
  for (const [key, value] of await contents(local)) assert.deepEqual(all.get(key), value, key);
  const record = all.get(partitionRecordKey("id-1", 1).join("/")) as PartitionRecord;
  assert.deepEqual(record, {
    topicId: "id-1",
    partition: 1,
    replicas: ["a"],
    isr: ["a"],
    elr: [],
    leader: null,
    leaderEpoch: 7,
  });
  const records = [...all.keys()].filter((key) => key.startsWith("cluster/partitions/"));
  assert.equal(records.length, TOPIC_COUNT * 3 / 2);
}

Deno.test("a single node founds a cluster with all that it has kept, and a record of each partition", async () => {
  const local = await singleNode();
  const shared = newStore();
  const node = directory("a", local);
  const { clusterId } = await start(node, shared);
  assert.equal(clusterId, "c-local");
  assert.deepEqual(node.kept.joined, { name: "waybill", clusterId });
  await assertAdopted(shared, local);
  const before = await shared.list([]);
  assert.deepEqual(await start(node, shared), { clusterId, reports: [] });
  assert.deepEqual(await shared.list([]), before, "a later start changes nothing");
});

Deno.test("a broker that dies at any step of founding a cluster goes on at its next start, and others wait for it", async () => {
  const local = await singleNode();
  for (const isKept of [false, true]) {
    for (let diesAt = 1;; diesAt++) {
      const shared = newStore();
      const node = directory("a", local);
      const died = await start(node, shared, { diesAt, isKept }).then(() => false, () => true);
      if (!died) {
        assert.ok(diesAt > 5, `${diesAt} steps`);
        break;
      }
      assert.ok(node.kept.joined === null || isKept);
      const { clusterId } = await start(node, shared);
      assert.equal(clusterId, "c-local");
      assert.notEqual(node.kept.joined, null);
      await assertAdopted(shared, local);
    }
  }
});

Deno.test("what a single node deletes between two tries to found a cluster is not in the cluster", async () => {
  const local = await singleNode();
  const shared = newStore();
  const node = directory("a", local);
  await assert.rejects(start(node, shared, { diesAt: 4 }), /died/);
  await local.commit({ checks: [], deletes: [["topics", "orders-0"], ["acls", "a"]] });
  await start(node, shared);
  const expected = await contents(local);
  const all = await contents(shared);
  assert.deepEqual(all.has("topics/orders-0"), false);
  assert.deepEqual([...all.keys()].filter((key) => !key.startsWith("cluster/")), [
    ...expected.keys(),
  ]);
  assert.equal(all.has(partitionRecordKey("id-0", 0).join("/")), false);
});

Deno.test("of brokers that start at once over an empty store one founds the cluster, and the others join it", async () => {
  const shared = newStore();
  const nodes = ["a", "b", "c"].map((nodeId) => directory(nodeId, null));
  const started = await Promise.all(nodes.map((node) => start(node, shared)));
  const ids = new Set(started.map(({ clusterId }) => clusterId));
  assert.equal(ids.size, 1);
  for (const { kept } of nodes) assert.deepEqual([...ids], [kept.joined?.clusterId]);
});

Deno.test("a broker joins a cluster that is founded while it looks whether there is one, whichever read comes before", async () => {
  for (let before = 1; before <= 3; before++) {
    const shared = newStore();
    let reads = 0;
    const read = async <T>(ask: () => Promise<T>): Promise<T> => {
      if (++reads === before) await start(directory("a", null), shared);
      return await ask();
    };
    const slow = withMembers<MetadataStore>(shared, {
      get: (key) => read(() => shared.get(key)),
      list: (prefix, options) => read(() => shared.list(prefix, options)),
    });
    const { clusterId } = await start(directory("b", null), slow);
    assert.equal(clusterId, (await shared.get(["cluster-id"]))?.value);
  }
});

Deno.test("a new broker waits while another founds the cluster with its data, and joins it then, or says whom to start", async () => {
  const time = new VirtualClock();
  const shared = newStore();
  const founder = directory("a", await singleNode());
  await assert.rejects(start(founder, shared, { diesAt: 2 }), /died/);
  const late = start(directory("b", null), shared, { time });
  const joining = start(directory("c", null), shared, { time });
  late.catch(() => undefined);
  await time.advance(10_000);
  assert.equal(await shared.get(["cluster-id"]), null);
  const { clusterId } = await start(founder, shared);
  await time.advance(1_000);
  assert.equal((await joining).clusterId, clusterId);
  assert.match((await late).reports[0]!, /waiting for broker a/);

  const other = newStore();
  await assert.rejects(start(directory("d", await singleNode()), other, { diesAt: 2 }), /died/);
  const refused = assert.rejects(start(directory("e", null), other, { time }), (error: Error) => {
    return error instanceof CannotJoinError && /broker d .*start that one/.test(error.message);
  });
  await time.advance(120_000);
  await refused;
});

Deno.test("two single nodes cannot both found a cluster: the second keeps its data and is refused", async () => {
  const shared = newStore();
  const [one, two] = [
    directory("a", await singleNode()),
    directory("b", await singleNode()),
  ] as const;
  await (two.local as MemoryMetadataStore).commit({
    checks: [],
    sets: [{ key: ["cluster-id"], value: "c-other" }],
  });
  const both = await Promise.allSettled([start(one, shared), start(two, shared)]);
  assert.deepEqual(both.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
  const loser = both[0]!.status === "rejected" ? one : two;
  await assert.rejects(start(loser, shared), /holds data of a broker that was alone/);
  assert.equal(loser.kept.joined, null);
});

const VIEW: FoundingView = {
  name: "waybill",
  nodeId: "a",
  diskId: "d",
  joined: null,
  localClusterId: null,
  founding: null,
  clusterId: null,
  isEmpty: true,
};
const JOINED = { name: "waybill", clusterId: "mine" };
const REFUSED: [string, Partial<FoundingView>, RegExp][] = [
  [
    "a data directory of another cluster",
    { joined: JOINED, clusterId: "other", isEmpty: false },
    /belongs to cluster waybill \(mine\), and etcd holds another/,
  ],
  [
    "a store that has lost the cluster",
    { joined: JOINED },
    /restore etcd from its snapshot/,
  ],
  [
    "a single node's data where a cluster is",
    { localClusterId: "alone", clusterId: "other", isEmpty: false },
    /exists already/,
  ],
  ["a store with the keys of something else", { isEmpty: false }, /no cluster's/],
];
for (const [name, view, reason] of REFUSED) {
  Deno.test(`a broker refuses to join with ${name}, and says what to do`, () => {
    const step = decideFounding({ ...VIEW, ...view });
    assert.equal(step.type, "refuse");
    assert.match((step as { reason: string }).reason, reason);
  });
}

Deno.test("what a real broker has kept alone is whole in the cluster: topics, ids, keys and the audit's head", async () => {
  const alone = memoryBrokerStores();
  const broker = await alone.open();
  await broker.createTopic({ name: "orders", partitions: 3, config: TOPIC_CONFIG });
  await broker.close();
  const shared = newStore();
  const { clusterId } = await start(directory("1", alone.metadata), shared);
  assert.equal(clusterId, broker.clusterId);
  const kept = await contents(alone.metadata);
  const all = await contents(shared);
  for (const [key, value] of kept) assert.deepEqual(all.get(key), value, key);
  assert.ok(kept.size >= 8);
  const records = [...all].filter(([key]) => key.startsWith("cluster/partitions/"));
  const topics = [...kept].filter(([key]) => key.startsWith("topics/"));
  const partitions = topics.reduce(
    (sum, [, value]) => sum + (value as { partitionCount: number }).partitionCount,
    0,
  );
  assert.equal(records.length, partitions);
  assert.equal((await shared.get(FOUNDING_KEY))?.value instanceof Object, true);
});

Deno.test("what a single node has stored is led by it in the cluster that it founds, and copied to those who join", async () => {
  const time = new VirtualClock();
  const logs = new MemoryLogStore(time);
  const alone = memoryBrokerStores({ time, logs });
  const at = { topic: "orders", partition: 0 };
  const broker = await alone.open();
  await broker.createTopic({ name: "orders", partitions: 1, config: TOPIC_CONFIG });
  await broker.append(at, [plain("kept")], { acks: "all" });
  await broker.close();
  const store = newStore(time);
  await start(directory("1", alone.metadata), store);
  const { snapshots } = alone;
  const { node, until } = await clusterScene(["1", "2", "3"], {
    time,
    store,
    disks: new Map([["1", { logs, snapshots }]]),
  });
  const { leader, highWatermark } = await until(node("2").broker.partitionInfo(at));
  assert.deepEqual([leader, highWatermark], ["1", 1]);
  const change = { config: { replicationFactor: 3, minInsyncReplicas: 2 } };
  await until(node("3").broker.updateTopic("orders", change));
  await time.advance(10_000);
  assert.equal((await until(node("2").broker.partitionInfo(at))).isr.length, 3);
  const receipt = await until(node("2").broker.append(at, [plain("more")], { acks: "all" }));
  assert.deepEqual([receipt.baseOffsets, receipt.inSyncReplicas], [[1], 3]);
});
