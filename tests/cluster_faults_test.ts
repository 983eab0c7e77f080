// Owns what must hold of partition records whatever befalls brokers: seen from the metadata store, change by change.
// Refuses to own logs and their content (the simulation has them).
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type BrokerRegistration,
  CONTROLLER_KEY,
  type ControllerTerm,
  type KeptPartition,
  ONLINE_KEY,
  type PartitionRecord,
  PARTITIONS_KEY,
} from "../actors/cluster/types.ts";
import { inSyncChange } from "../actors/cluster/decide_election.ts";
import type { MetadataTransaction } from "../storage/metadata.ts";
import { isKeyBelow, keyName } from "../storage/metadata_limits.ts";
import { type ClusterBroker, ClusterWorld, sampleTopic } from "./support/cluster_world.ts";

const NODES = ["a", "b", "c", "d"];
const MIN_INSYNC = 2;

/** Hears every transaction that took effect, and says what is wrong with it. */
class RecordWitness {
  readonly records = new Map<string, PartitionRecord>();
  readonly terms = new Set<number>();
  /** Brokers would take what is thrown for the store's failure. */
  readonly violations: unknown[] = [];
  elections = 0;
  #term: ControllerTerm | null = null;
  readonly #disks = new Map<string, string>();

  committed(by: string, { sets = [], deletes = [] }: MetadataTransaction): void {
    for (const { key, value } of sets) {
      if (keyName(key) === keyName(CONTROLLER_KEY)) this.#elected(value as ControllerTerm);
      if (isKeyBelow(ONLINE_KEY, key)) this.#registered(value as BrokerRegistration);
      if (isKeyBelow(PARTITIONS_KEY, key)) {
        this.#changed(by, keyName(key), value as PartitionRecord);
      }
    }
    for (const key of deletes) this.records.delete(keyName(key));
  }

  /** Rule 8: whoever comes with another disk counts nowhere. */
  #registered({ nodeId, diskId }: BrokerRegistration): void {
    const isNew = (this.#disks.get(nodeId) ?? diskId) !== diskId;
    this.#disks.set(nodeId, diskId);
    for (const record of isNew ? this.records.values() : []) {
      const counts = record.leader === nodeId || record.elr.includes(nodeId) ||
        (record.isr.includes(nodeId) && !record.lost?.includes(nodeId));
      assert.ok(!counts, JSON.stringify({ nodeId, diskId, record }));
    }
  }

  #elected(term: ControllerTerm): void {
    assert.ok(!this.terms.has(term.epoch), `epoch ${term.epoch} has two controllers`);
    assert.ok(term.epoch > (this.#term?.epoch ?? 0));
    this.terms.add(term.epoch);
    this.#term = term;
  }

  #changed(by: string, name: string, now: PartitionRecord): void {
    const before = this.records.get(name);
    this.records.set(name, now);
    const { isr, elr, replicas, leader, leaderEpoch } = now;
    const at = JSON.stringify({ by, before, now });
    assert.ok(isr.length > 0 && isr.every((id) => replicas.includes(id)), at);
    assert.ok(elr.every((id) => replicas.includes(id) && !isr.includes(id)), at);
    if (leader !== null) assert.ok(isr.includes(leader) && !now.lost?.includes(leader), at);
    if (before === undefined) return assert.equal(this.#term?.nodeId, by, at);
    assert.ok(leaderEpoch >= before.leaderEpoch, at);
    const isOwnChange = leader === before.leader && by === leader;
    if (!isOwnChange) {
      const joined = isr.filter((id) => !before.isr.includes(id));
      assert.ok(joined.every((id) => id === leader && before.elr.includes(id)), at);
    }
    if (leader === before.leader) return;
    assert.ok(leaderEpoch > before.leaderEpoch, at);
    if (leader !== null) {
      this.elections++;
      assert.ok([...before.isr, ...before.elr].includes(leader), at);
      assert.ok(!before.lost?.includes(leader), at);
    }
  }
}

class FaultyCluster {
  readonly world = new ClusterWorld();
  readonly witness = new RecordWitness();
  readonly brokers = new Map<string, ClusterBroker>();
  readonly disks = new Map<string, number>();

  async start(nodeId: string): Promise<void> {
    if (this.brokers.has(nodeId)) return;
    const diskId = `disk ${this.disks.get(nodeId) ?? 0} of ${nodeId}`;
    this.brokers.set(nodeId, await this.world.start(nodeId, { diskId }));
  }

  async run(op: string, nodeId: string): Promise<void> {
    const broker = this.brokers.get(nodeId);
    if (op === "start") await this.start(nodeId);
    if (op === "kill") broker?.kill();
    if (op === "stop" && broker !== undefined) {
      await this.world.passing(broker.view.leave({ timeoutMs: 500 }));
      await this.world.passing(broker.stop());
    }
    if (op === "kill" || op === "stop" || op === "wipe") {
      broker?.kill();
      this.brokers.delete(nodeId);
    }
    if (op === "wipe") this.disks.set(nodeId, (this.disks.get(nodeId) ?? 0) + 1);
    if (op === "cut" && broker !== undefined) broker.isCut = true;
    if (op === "mend" && broker !== undefined) broker.isCut = false;
    if (op === "drain") await broker?.view.setDraining(nodeId, true).catch(() => {});
    if (op === "undrain") await broker?.view.setDraining(nodeId, false).catch(() => {});
    if (op === "lead") await this.lead();
    if (op === "pass") await this.world.clock.advance(1_700);
    await this.world.clock.advance(60);
  }

  /** Leaders raise their epoch, and take in and out whom they see, as they do. */
  async lead(): Promise<void> {
    for (const [nodeId, { view }] of this.brokers) {
      if (!view.hasLease) continue;
      for (const kept of [...view.partitions()].filter(({ record }) => record.leader === nodeId)) {
        const raised = await view.raiseLeaderEpoch(kept).catch(() => null);
        if (raised !== null) await this.takeIn(view, raised);
      }
    }
  }

  async takeIn(view: ClusterBroker["view"], kept: KeptPartition): Promise<void> {
    const { replicas } = kept.record;
    const isr = replicas.filter((id) => id === view.nodeId || view.online().has(id));
    await view.changeInSync(kept, inSyncChange(kept.record, isr, MIN_INSYNC)).catch(() => null);
  }
}

async function faulty(ops: readonly (readonly [string, string])[]): Promise<FaultyCluster> {
  const cluster = new FaultyCluster();
  const { world, witness } = cluster;
  world.onCommitted = (by, transaction) => {
    try {
      witness.committed(by, transaction);
    } catch (error) {
      witness.violations.push(error);
    }
  };
  for (const nodeId of NODES) await cluster.start(nodeId);
  await world.putTopic(sampleTopic("orders", { partitions: 4 }));
  await world.putTopic(sampleTopic("__groups", { partitions: 2 }));
  await world.clock.advance(500);
  for (const [op, nodeId] of ops) await cluster.run(op, nodeId);
  return cluster;
}

Deno.test("whatever befalls brokers, no record breaks a rule, and all heal when the brokers are back", async () => {
  const op = fc.tuple(
    fc.constantFrom(
      ...["start", "start", "start", "kill", "stop", "cut", "mend", "mend", "drain", "undrain"],
      ...["lead", "lead", "pass", "pass", "pass", "wipe"],
    ),
    fc.constantFrom(...NODES),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(op, { minLength: 10, maxLength: 40 }), async (ops) => {
      const cluster = await faulty(ops);
      for (const broker of cluster.brokers.values()) broker.isCut = false;
      for (const nodeId of NODES) await cluster.start(nodeId);
      await cluster.world.clock.advance(12_000);
      for (const nodeId of NODES) await cluster.run("undrain", nodeId);
      for (let round = 0; round < 8; round++) await cluster.run("lead", "a");
      await cluster.world.clock.advance(30_000);
      for (const violation of cluster.witness.violations) throw violation;
      const view = cluster.brokers.get("a")!.view;
      assert.deepEqual([...view.online().keys()].sort(), NODES);
      for (const { record } of view.partitions()) {
        assert.deepEqual(record, cluster.witness.records.get(nameOf(record)));
        const isLost = record.lost !== undefined;
        assert.equal(record.leader === null, isLost, JSON.stringify(record));
        if (isLost) continue;
        assert.equal(record.replicas.length, 3);
        assert.equal(record.isr.length, 3, JSON.stringify(record));
        assert.equal(record.leader, record.replicas[0]);
      }
    }),
    { numRuns: 40 },
  );
});

function nameOf({ topicId, partition }: PartitionRecord): string {
  return keyName([...PARTITIONS_KEY, topicId, String(partition).padStart(5, "0")]);
}
