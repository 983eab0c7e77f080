// Owns proof that brokers on one metadata store hear within a moment what the others change in it, and read no more for that.
// Refuses to own what a change means and the store's own watching (storage_metadata_test.ts). Invariant: no real time passes.
import assert from "node:assert/strict";
import { LocalAccessKeys } from "../actors/access_key/access_keys.ts";
import { LocalAcls } from "../actors/acl/acls.ts";
import type { LocalBroker } from "../actors/local_broker.ts";
import { LocalQuotas } from "../actors/quota/quotas.ts";
import { NO_LIMITS } from "../actors/quota/types.ts";
import { Thresholds } from "../actors/threshold/thresholds.ts";
import type { CatalogEvent } from "../actors/topic/decide.ts";
import { TopicCatalog } from "../actors/topic/topic_catalog.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { MemoryMetadataStore } from "../storage/memory/memory_metadata.ts";
import type { MetadataStore } from "../storage/metadata.ts";
import { rule } from "./support/acl_grants.ts";
import { losingMetadata } from "./support/losing_metadata.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";
import { withMembers } from "./support/with_members.ts";

function stores() {
  const time = new VirtualClock();
  const metadata = new MemoryMetadataStore({ timers: time, randomness: seededRandomness(1) });
  const ports = (store: MetadataStore) => ({ metadata: store, clock: time, timers: time });
  return { time, metadata, mine: ports(metadata), theirs: ports(metadata.connect()) };
}

/** Counts what is asked of `store`, and fails while `isAway`. */
function countedStore(store: MetadataStore) {
  const counted = { gets: 0, lists: 0, isAway: false };
  const asked = async <T>(what: "gets" | "lists", ask: () => Promise<T>): Promise<T> => {
    counted[what]++;
    if (counted.isAway) throw new BrokerError("METADATA_UNAVAILABLE", "the store is away");
    return await ask();
  };
  const metadata = withMembers(store, {
    get: (key) => asked("gets", () => store.get(key)),
    list: (prefix, options) => asked("lists", () => store.list(prefix, options)),
  });
  return { counted, metadata };
}

const KEY = { principal: "billing", digest: "00".repeat(32), createdBy: "admin", expiresAt: null };
const ACL = { ...rule({}), createdBy: "admin" };

function topic(name: string, topicId = `id-of-${name}`) {
  const of = { name, topicId, partitions: 1, config: TOPIC_CONFIG, at: 0, brokers: 1 };
  return { type: "CreateTopic" as const, ...of };
}

Deno.test("a key that another broker revokes opens nothing here, and its sessions are told to end", async () => {
  const { mine, theirs } = stores();
  const here = await LocalAccessKeys.open(mine);
  const there = await LocalAccessKeys.open(theirs);
  let ended = 0;
  here.onDeleted(() => ended++);
  await there.create({ ...KEY, keyId: "k1" });
  await settle();
  assert.equal(here.find("k1")?.principal, "billing");
  assert.equal(ended, 0);
  await there.delete("k1");
  await settle();
  assert.deepEqual([here.find("k1"), here.list(), ended], [null, [], 1]);
});

Deno.test("ACLs, quotas and thresholds that another broker sets hold here, and whoever hangs on them is told", async () => {
  const { mine, theirs } = stores();
  const acls = await LocalAcls.open(mine);
  const quotas = await LocalQuotas.open(mine);
  const thresholds = await Thresholds.open(mine);
  const told: string[] = [];
  acls.onChanged(() => told.push(`acls ${acls.list().length}`));
  quotas.onChanged(() => told.push(`quotas ${quotas.limitsOf("acme").connections}`));
  thresholds.onChanged(() => told.push(`lag ${thresholds.find("consumer-lag").limit}`));
  const otherAcls = await LocalAcls.open(theirs);
  await otherAcls.create({ ...ACL, aclId: "a" });
  await settle();
  await otherAcls.delete("a");
  const limits = { ...NO_LIMITS, connections: 3 };
  await (await LocalQuotas.open(theirs)).put({ tenant: "acme", limits, updatedBy: "admin" });
  const otherThresholds = await Thresholds.open(theirs);
  const settings = { ...otherThresholds.find("consumer-lag"), limit: 77 };
  await otherThresholds.put({ name: "consumer-lag", settings, updatedBy: "admin" });
  await settle();
  assert.deepEqual(told, ["acls 1", "acls 0", "quotas 3", "lag 77"]);
});

Deno.test("topics that another broker makes, changes and deletes are announced here once each", async () => {
  const { mine, theirs } = stores();
  const here = await TopicCatalog.open(mine);
  const there = await TopicCatalog.open(theirs);
  const heard: string[] = [];
  const tell = (event: CatalogEvent) =>
    event.type !== "TopicRemoved" && heard.push(`${event.type} ${event.topic.topicId}`);
  here.onEvent(tell);
  await here.execute(topic("mine"));
  await there.execute(topic("orders"));
  await settle();
  await there.execute({ type: "UpdateTopic", name: "orders", partitions: 3, brokers: 1 });
  await settle();
  assert.equal(here.topic("orders")?.partitionCount, 3);
  await there.execute({ type: "DeleteTopic", name: "orders" });
  await there.execute(topic("orders", "second"));
  await settle();
  assert.deepEqual(here.removing().map(({ topicId }) => topicId), ["id-of-orders"]);
  await there.execute({ type: "FinishRemoval", topicId: "id-of-orders" });
  await settle();
  assert.deepEqual(here.removing(), []);
  assert.deepEqual(here.names(), there.names());
  assert.deepEqual(heard, [
    "TopicCreated id-of-mine",
    "TopicCreated id-of-orders",
    "TopicChanged id-of-orders",
    "TopicDeleted id-of-orders",
    "TopicCreated second",
  ]);
  await assert.rejects(here.execute(topic("orders")), { code: "TOPIC_ALREADY_EXISTS" });
});

Deno.test("many changes that come together are read as one list, and none gets lost", async () => {
  const { metadata, theirs, time } = stores();
  const { counted, metadata: store } = countedStore(metadata);
  const here = await TopicCatalog.open({ metadata: store, timers: time });
  const there = await TopicCatalog.open(theirs);
  const before = { ...counted };
  await Promise.all(Array.from({ length: 100 }, (_, at) => there.execute(topic(`t${at}`))));
  await settle();
  assert.equal(here.names().length, 100);
  const reads = counted.gets - before.gets + counted.lists - before.lists;
  assert.ok(reads < 120, `${reads} reads for 100 changes`);
});

Deno.test("own changes are read once each, for their version, and announced once", async () => {
  const { metadata, time } = stores();
  const { counted, metadata: store } = countedStore(metadata);
  const acls = await LocalAcls.open({ metadata: store, clock: time, timers: time });
  let told = 0;
  acls.onChanged(() => told++);
  const before = { ...counted };
  for (const aclId of ["a", "b"]) {
    const about = { principal: aclId };
    await acls.create({ ...ACL, ...about, aclId });
    await settle();
  }
  await acls.delete("a");
  await settle();
  assert.deepEqual([counted.gets - before.gets, counted.lists - before.lists], [3, 0]);
  assert.equal(told, 3);
  await time.advance(60_000);
  assert.deepEqual([counted.gets - before.gets, time.pendingTimers], [3, 0]);
});

Deno.test("what could not be read when it changed is read when the store is back, with bounded pauses", async () => {
  const { metadata, theirs, time } = stores();
  const { counted, metadata: store } = countedStore(metadata);
  const here = await LocalAccessKeys.open({ metadata: store, clock: time, timers: time });
  const there = await LocalAccessKeys.open(theirs);
  await there.create({ ...KEY, keyId: "k1" });
  await settle();
  counted.isAway = true;
  const before = counted.gets;
  await there.delete("k1");
  await time.advance(60_000);
  assert.notEqual(here.find("k1"), null);
  const tries = counted.gets - before;
  assert.ok(tries >= 12 && tries <= 20, `${tries} tries within a minute`);
  counted.isAway = false;
  await time.advance(5_000);
  assert.equal(here.find("k1"), null);
  await here.close();
  assert.equal(time.pendingTimers, 0);
});

Deno.test("a change of unknown outcome is known soon, without another one", async () => {
  for (const isKept of [true, false]) {
    const { metadata, time } = stores();
    const shaky = losingMetadata(metadata, isKept);
    const catalog = await TopicCatalog.open({ metadata: shaky.metadata, timers: time });
    const heard: string[] = [];
    catalog.onEvent((event) => heard.push(event.type));
    shaky.loseNext();
    await assert.rejects(catalog.execute(topic("orders")), /got lost/);
    await time.advance(1_000);
    assert.deepEqual(heard, isKept ? ["TopicCreated"] : []);
  }
});

Deno.test("a closed keeper hears nothing any more", async () => {
  const { mine, theirs } = stores();
  const here = await TopicCatalog.open(mine);
  await here.close();
  await (await TopicCatalog.open(theirs)).execute(topic("orders"));
  await settle();
  assert.deepEqual(here.names(), []);
});

Deno.test("brokers that start for the first time at once make the internal topics once, and each others' topics are known", async () => {
  const first = memoryBrokerStores();
  const { time } = first;
  const connected = (seed: string) =>
    memoryBrokerStores({
      time,
      metadata: first.metadata.connect(),
      settings: { nodeId: seed },
    });
  const all = [first, connected("2"), connected("3")];
  const brokers: LocalBroker[] = await Promise.all(all.map((stores) => stores.open()));
  const [one, two] = brokers as [LocalBroker, LocalBroker];
  assert.equal(one.clusterId, two.clusterId);
  const ids = brokers.map((broker) =>
    broker.topicNames().map((name) => broker.topic(name)!.topicId).join()
  );
  await settle();
  assert.deepEqual([ids[1], ids[2]], [ids[0], ids[0]]);
  await one.createTopic({ name: "orders", partitions: 2, config: TOPIC_CONFIG });
  await settle();
  assert.equal(two.topic("orders")?.partitionCount, 2);
  await two.deleteTopic("orders");
  await time.advance(1_000);
  assert.equal(one.topic("orders"), null);
  assert.deepEqual(await first.metadata.list(["removed-topics"]), []);
  for (const broker of brokers) await broker.close();
});
