// Owns what the audit log promises: entries that are durable before they are answered, in one chain, found again.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { hashOf } from "../actors/audit/chain.ts";
import { ChainWriter } from "../actors/audit/chain_writer.ts";
import type { AuditEntry, AuditQuery } from "../actors/audit/types.ts";
import type { LocalBroker } from "../actors/local_broker.ts";
import { MemoryMetadataStore } from "../storage/memory/memory_metadata.ts";
import { auditScene, FACTS, makeChanges } from "./support/audit_scene.ts";
import { partitionScene } from "./support/partition_scene.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { settle } from "./support/virtual_time.ts";

const ALL: AuditQuery = { order: "oldest", at: null, limit: 1_000 };

async function entriesOf(broker: LocalBroker): Promise<readonly AuditEntry[]> {
  return (await broker.audit.query(ALL)).entries;
}

Deno.test("audit log chains an intent and its outcome, each with the hash of the entry before", async () => {
  const broker = await auditScene().open();
  await makeChanges(broker, 3);
  const entries = await entriesOf(broker);
  assert.deepEqual(entries.map(({ sequence }) => sequence), [1, 2, 3, 4, 5, 6]);
  assert.deepEqual(entries.map(({ outcome }) => outcome).slice(0, 2), ["intended", "success"]);
  assert.deepEqual(entries.map(({ intent }) => intent), [null, 1, null, 3, null, 5]);
  let previous = "0".repeat(64);
  for (const entry of entries) {
    assert.equal(entry.previousHash, previous);
    assert.equal(entry.hash, hashOf(entry));
    previous = entry.hash;
  }
  assert.deepEqual(entries[1]!.after, { change: 0 });
  assert.equal(entries[1]!.actor, "alice");
  assert.deepEqual(await broker.audit.verify(), {
    intact: true,
    entries: 6,
    firstSequence: 1,
    head: { sequence: 6, hash: previous },
  });
  await broker.close();
});

Deno.test("audit log writes what comes at the same time in one batch, in the order it came", async () => {
  const scene = auditScene();
  const broker = await scene.open();
  const syncs = () => scene.disk.calls.filter((call) => call.startsWith("sync topics/")).length;
  const before = syncs();
  const intents = await Promise.all(
    Array.from({ length: 200 }, (_, at) => broker.audit.intend({ ...FACTS, requestId: `r${at}` })),
  );
  assert.equal(syncs() - before, 1);
  assert.deepEqual(intents, Array.from({ length: 200 }, (_, at) => at + 1));
  const entries = await entriesOf(broker);
  assert.deepEqual(entries.map(({ requestId }) => requestId), intents.map((at) => `r${at - 1}`));
  await Promise.all(intents.map((at) => broker.audit.conclude(at, { outcome: "success" })));
  assert.equal((await broker.audit.verify()).intact, true);
  await broker.close();
});

Deno.test("audit log goes on with its chain after a restart, and after a power cut", async () => {
  const scene = auditScene();
  let broker = await scene.open();
  await makeChanges(broker, 2);
  await broker.close();
  broker = await scene.open();
  await makeChanges(broker, 2);
  scene.disk.crash("drop");
  const reopened = await scene.open();
  assert.equal((await reopened.audit.head()).sequence, 8);
  await makeChanges(reopened, 1);
  const { intact, entries } = await reopened.audit.verify();
  assert.deepEqual({ intact, entries }, { intact: true, entries: 10 });
  await reopened.close();
});

Deno.test("an intent whose broker died has an unknown outcome, once, whatever was audited since", async () => {
  const scene = auditScene();
  const first = await scene.open();
  await first.audit.intend({ ...FACTS, action: "topic.delete" });
  await makeChanges(first, 2);
  scene.disk.killProcess();
  const second = await scene.open();
  const entries = await entriesOf(second);
  assert.equal(entries.length, 6);
  const { action, outcome, intent } = entries.at(-1)!;
  assert.deepEqual({ action, outcome, intent }, {
    action: "topic.delete",
    outcome: "unknown",
    intent: 1,
  });
  await second.close();
  const third = await scene.open();
  assert.equal((await third.audit.head()).sequence, 6);
  assert.equal((await third.audit.verify()).intact, true);
  await third.close();
});

Deno.test("an intent is refused with DISK_FULL when the disk is full, and taken when there is room again", async () => {
  const scene = auditScene();
  const broker = await scene.open();
  await makeChanges(broker, 1);
  const { capacityBytes } = scene.disk;
  scene.disk.capacityBytes = 0;
  await assert.rejects(broker.audit.intend(FACTS), { code: "DISK_FULL" });
  scene.disk.capacityBytes = capacityBytes;
  await makeChanges(broker, 1);
  const { intact, entries } = await broker.audit.verify();
  assert.deepEqual({ intact, entries }, { intact: true, entries: 4 });
  await broker.close();
});

Deno.test("an outcome that could not be written comes with the next entry", async () => {
  const scene = auditScene();
  const broker = await scene.open();
  const intent = await broker.audit.intend(FACTS);
  const { capacityBytes } = scene.disk;
  scene.disk.capacityBytes = 0;
  const refused = broker.audit.conclude(intent, { outcome: "failure", code: "UNKNOWN_TOPIC" });
  await assert.rejects(refused, { code: "DISK_FULL" });
  scene.disk.capacityBytes = capacityBytes;
  await broker.audit.record({ ...FACTS, action: "key.create" });
  const entries = await entriesOf(broker);
  assert.deepEqual(
    entries.map(({ action, outcome, code, intent }) => [action, outcome, code, intent]),
    [
      ["topic.create", "intended", null, null],
      ["topic.create", "failure", "UNKNOWN_TOPIC", 1],
      ["key.create", "success", null, null],
    ],
  );
  assert.equal((await broker.audit.verify()).intact, true);
  await broker.close();
});

Deno.test("after a failed sync the chain goes on from what the disk holds, and who was refused has an unknown outcome at most", async () => {
  const scene = auditScene();
  const broker = await scene.open();
  await makeChanges(broker, 1);
  scene.disk.failOnce("sync", /^topics\//);
  await assert.rejects(broker.audit.intend(FACTS), { code: "AUDIT_UNAVAILABLE" });
  await scene.time.advance(60_000);
  await makeChanges(broker, 1);
  const { intact } = await broker.audit.verify();
  assert.equal(intact, true);
  const open = (await entriesOf(broker)).filter(({ outcome }) => outcome === "intended").length;
  const ended = (await entriesOf(broker)).filter(({ intent }) => intent !== null).length;
  assert.equal(open, ended);
  await broker.close();
});

Deno.test("after the metadata store failed the entries that are in the log are taken over", async () => {
  const scene = auditScene();
  const broker = await scene.open();
  await makeChanges(broker, 1);
  const commit = scene.metadata.commit;
  scene.metadata.commit = () => Promise.reject(new Error("the store is away"));
  await assert.rejects(broker.audit.intend(FACTS), { code: "AUDIT_UNAVAILABLE" });
  scene.metadata.commit = commit;
  await broker.audit.record({ ...FACTS, action: "key.create" });
  const entries = await entriesOf(broker);
  assert.deepEqual(entries.slice(2).map(({ action, outcome }) => [action, outcome]), [
    ["topic.create", "intended"],
    ["topic.create", "unknown"],
    ["key.create", "success"],
  ]);
  assert.equal((await broker.audit.verify()).intact, true);
  await broker.close();
});

Deno.test("audit query pages through all entries from either end, and filters", async () => {
  const broker = await auditScene().open();
  await makeChanges(broker, 600);
  for (const order of ["newest", "oldest"] as const) {
    const found: number[] = [];
    let at: number | null = null;
    do {
      const page = await broker.audit.query({ order, at, limit: 333 });
      found.push(...page.entries.map(({ sequence }) => sequence));
      at = page.next;
    } while (at !== null);
    const all = Array.from({ length: 1200 }, (_, index) => index + 1);
    assert.deepEqual(found, order === "newest" ? all.reverse() : all);
  }
  const filter = { ...ALL, resource: "topic:orders-7" };
  assert.deepEqual((await broker.audit.query(filter)).entries.map((one) => one.sequence), [15, 16]);
  assert.equal((await broker.audit.query({ ...ALL, action: "topic.*" })).entries.length, 1_000);
  assert.equal((await broker.audit.query({ ...ALL, action: "topic" })).entries.length, 0);
  assert.equal((await broker.audit.query({ ...ALL, actor: "bob" })).entries.length, 0);
  await broker.close();
});

Deno.test("of a thousand refusals in a minute two are entries, whatever the address says, and the rest are counted", async () => {
  const scene = auditScene();
  const broker = await scene.open();
  const refusal = {
    action: "login.refused",
    actor: "anonymous",
    tenant: null,
    code: "UNAUTHENTICATED",
    reason: "the bearer token is not valid",
    route: "GET /api/topics",
    requestId: "r",
  };
  for (let at = 0; at < 1_000; at++) {
    broker.audit.refused({ ...refusal, remoteAddress: `2001:db8::${at.toString(16)}` });
  }
  await scene.time.advance(60_000);
  await settle();
  const counts = (await entriesOf(broker)).map(({ after }) => (after as { count: number }).count);
  assert.deepEqual(counts, [1, 999]);
  for (let at = 0; at < 1_000; at++) {
    broker.audit.refused({ ...refusal, remoteAddress: `10.0.${at >> 8}.${at & 255}` });
  }
  await broker.close();
  const again = await scene.open();
  const entries = (await entriesOf(again)).slice(2);
  assert.equal(entries.length, 102);
  const total = entries.reduce((sum, { after }) => sum + (after as { count: number }).count, 0);
  assert.equal(total, 1_000);
  await again.close();
});

Deno.test("details that are too long are named by their size and digest", async () => {
  const broker = await auditScene().open();
  await broker.audit.record({ ...FACTS, after: { filler: "x".repeat(1_000_000) } });
  const [{ after }] = await entriesOf(broker) as [AuditEntry];
  assert.deepEqual(Object.keys(after as object), ["characters", "omitted", "sha256"]);
  await broker.close();
});

Deno.test("old entries are let go by whole segments, the chain says so, and what is left is intact", async () => {
  const dayMs = 24 * 3_600_000;
  const scene = auditScene({ retentionIntervalMs: dayMs, auditRetentionMs: 30 * dayMs });
  let broker = await scene.open();
  for (let week = 0; week < 12; week++) {
    await makeChanges(broker, 5);
    for (let day = 0; day < 8; day++) {
      await scene.time.advance(dayMs);
      await settle();
    }
  }
  const check = async () => {
    const { intact, firstSequence, firstFault } = await broker.audit.verify();
    assert.equal(firstFault, undefined);
    assert.equal(intact, true);
    assert.ok(firstSequence! > 50, `${firstSequence}`);
  };
  await check();
  const entries = await entriesOf(broker);
  assert.ok(entries.some(({ action }) => action === "audit.retention"));
  assert.ok(entries.every(({ at }) => at > scene.time.now() - 50 * dayMs));
  await broker.close();
  broker = await scene.open();
  await check();
  // One more segment than was said is gone.
  const { sequence } = entries[0]!;
  await scene.metadata.commit({
    checks: [],
    sets: [{
      key: ["audit", "anchor"],
      value: { sequence: sequence - 2, hash: "0".repeat(64), at: 0 },
    }],
  });
  const { firstFault } = await broker.audit.verify();
  assert.equal(firstFault?.sequence, sequence - 1);
  await broker.close();
});

Deno.test("a broker that leads the audit log again goes on where another one has left it", async () => {
  const scene = partitionScene();
  const { time: clock } = scene;
  const metadata = new MemoryMetadataStore({ timers: clock, randomness: seededRandomness(2) });
  const reports: string[] = [];
  const report = ({ message }: { message: string }) => void reports.push(message);
  let partition = await scene.open();
  const writer = () =>
    new ChainWriter({ metadata, clock, crc32c, partition: () => partition, report });
  const moved = async () => {
    await partition.close();
    partition = await scene.open();
  };
  const [one, two] = [writer(), writer()];
  const write = (by: ChainWriter) =>
    by.write({ facts: FACTS, outcome: "success", code: null, intent: null });
  await write(one);
  await moved();
  await write(two);
  await moved();
  const { sequence } = await write(one);
  assert.equal(sequence, 3);
  assert.equal(one.head.offset, 2);
  assert.deepEqual(reports, []);
  await partition.close();
});
