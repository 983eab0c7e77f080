// Owns who counts as in sync, eligible and leader when brokers come and go (faults.md, replicas, rules 6 to 8).
import assert from "node:assert/strict";
import fc from "fast-check";
import { elected, inSyncChange } from "../actors/cluster/decide_election.ts";
import { withoutReplicaData } from "../actors/cluster/lose_replicas.ts";
import type { PartitionRecord } from "../actors/cluster/types.ts";
import { brokersOf, recordOf } from "./support/cluster_samples.ts";

function after(
  record: PartitionRecord,
  brokers: string,
  { minInsync = 2, isUncleanAllowed = false } = {},
): PartitionRecord {
  const facts = { brokers: brokersOf(...brokers.split(" ")), minInsync, isUncleanAllowed };
  return elected(record, facts);
}

Deno.test("nothing changes while all are there", () => {
  const record = recordOf("a b c");
  assert.equal(after(record, "a b c"), record);
});

Deno.test("a leader that is gone is followed by the first in sync, in a new epoch", () => {
  assert.deepEqual(
    after(recordOf("a b c", { isr: ["c", "a", "b"] }), "-a b c"),
    recordOf("a b c", { isr: ["c", "b"], leader: "b", leaderEpoch: 6 }),
  );
});

Deno.test("a follower that is gone leaves the set, and the epoch stays", () => {
  assert.deepEqual(after(recordOf("a b c"), "a b -c"), recordOf("a b c", { isr: ["a", "b"] }));
});

Deno.test("who leaves a set that becomes too small stays eligible, and leads when no other can", () => {
  const alone = after(recordOf("a b c", { isr: ["a", "b"] }), "a -b -c");
  assert.deepEqual(alone, recordOf("a b c", { isr: ["a"], elr: ["b"] }));
  const offline = after(alone, "-a -b -c");
  assert.deepEqual(offline, { ...alone, leader: null, leaderEpoch: 6 });
  assert.deepEqual(
    after(offline, "-a b c"),
    recordOf("a b c", { isr: ["b"], elr: ["a"], leader: "b", leaderEpoch: 7 }),
  );
});

Deno.test("the last in sync stays in the record while it is away, and nobody else leads", () => {
  const record = recordOf("a b c", { isr: ["a"] });
  const offline = after(record, "-a b c", { minInsync: 1 });
  assert.deepEqual(offline, { ...record, leader: null, leaderEpoch: 6 });
  assert.equal(after(offline, "-a b c", { minInsync: 1 }), offline);
  assert.deepEqual(after(offline, "a b c", { minInsync: 1 }), { ...record, leaderEpoch: 7 });
});

Deno.test("of a set that was lost at once whoever comes back first leads", () => {
  const offline = after(recordOf("a b c"), "-a -b -c", { minInsync: 1 });
  assert.deepEqual(offline.isr, ["a", "b", "c"]);
  const back = after(offline, "-a -b c", { minInsync: 1 });
  assert.deepEqual([back.leader, back.isr, back.elr], ["c", ["c"], []]);
});

Deno.test("a topic that allows it is led by a replica that may lack messages, and says so by its set", () => {
  const record = recordOf("a b c", { isr: ["a"], elr: [] });
  assert.deepEqual(
    after(record, "-a b c", { isUncleanAllowed: true }),
    recordOf("a b c", { isr: ["b"], leader: "b", leaderEpoch: 6 }),
  );
});

Deno.test("leadership leaves a broker that drains or shuts down, where another is in sync", () => {
  assert.equal(after(recordOf("a b c"), "a* b c").leader, "b");
  assert.equal(after(recordOf("a b c"), "a! b! c").leader, "c");
  assert.equal(after(recordOf("a b c", { isr: ["a"] }), "a! b c", { minInsync: 1 }).leader, "a");
  assert.equal(after(recordOf("a b c", { leader: "b" }), "a! -b c!").leader, "a");
});

Deno.test("eligible replicas are forgotten once enough are in sync under a leader", () => {
  const record = recordOf("a b c", { isr: ["a"], elr: ["b"] });
  assert.deepEqual(after(record, "a b c", { minInsync: 1 }).elr, []);
  assert.equal(after(record, "a b c", { minInsync: 2 }), record);
  const offline = recordOf("a b c", { isr: ["a"], elr: ["b"], leader: null });
  assert.equal(after(offline, "-a b c", { minInsync: 1 }).leader, "b");
});

Deno.test("a replica whose disk was replaced counts as nothing", () => {
  assert.deepEqual(
    withoutReplicaData(recordOf("a b c", { isr: ["a", "b"], elr: ["c"] }), "a"),
    recordOf("a b c", { isr: ["b"], elr: ["c"], leader: null, leaderEpoch: 6 }),
  );
  assert.deepEqual(
    withoutReplicaData(recordOf("a b c", { isr: ["b"], leader: "b", elr: ["c"] }), "c").elr,
    [],
  );
  const apart = recordOf("a b c", { isr: ["b"], leader: "b" });
  assert.equal(withoutReplicaData(apart, "a"), apart);
});

Deno.test("when the disk of the last in sync was replaced nobody leads but uncleanly", () => {
  const record = recordOf("a b c", { isr: ["a"], leader: null });
  const lost = withoutReplicaData(record, "a");
  assert.deepEqual(lost, { ...record, lost: ["a"] });
  assert.equal(withoutReplicaData(lost, "a"), lost);
  assert.equal(after(lost, "a b c"), lost);
  const led = after(lost, "a b c", { isUncleanAllowed: true });
  assert.deepEqual([led.leader, led.isr, led.lost], ["b", ["b"], undefined]);
  const eligible = withoutReplicaData({ ...record, elr: ["c"] }, "a");
  const clean = after(eligible, "a b c");
  assert.deepEqual([clean.leader, clean.isr, clean.elr, clean.lost], ["c", ["c"], [], undefined]);
});

/** A partition with its data, as leader and followers keep it under the rules of replication. */
class Model {
  record: PartitionRecord = recordOf("a b c");
  readonly online = new Set(["a", "b", "c"]);
  readonly data = new Map<string, number[]>([["a", []], ["b", []], ["c", []]]);
  /** In which epoch a follower last aligned. */
  readonly aligned = new Map<string, number>();
  committed: readonly number[] = [];
  #appended = 0;

  constructor(readonly minInsync: number) {}

  get leader(): string | null {
    const { leader } = this.record;
    return leader !== null && this.online.has(leader) ? leader : null;
  }

  run(op: string, node: string): void {
    if (op === "lose") this.online.delete(node);
    if (op === "return") this.online.add(node);
    if (op === "wipe") {
      this.online.delete(node);
      this.data.set(node, []);
      this.aligned.delete(node);
      this.record = withoutReplicaData(this.record, node);
    }
    if (op === "append" && this.leader !== null) {
      this.data.get(this.leader)!.push(++this.#appended);
    }
    if (op === "fetch") this.fetch(node);
    if (op === "join") this.join(node);
    if (op === "shrink") this.shrink(node);
    if (op === "control") this.control();
    this.commit();
  }

  fetch(node: string): void {
    if (this.leader === null || node === this.leader || !this.online.has(node)) return;
    this.data.set(node, [...this.data.get(this.leader)!]);
    this.aligned.set(node, this.record.leaderEpoch);
  }

  join(node: string): void {
    const { record } = this;
    const isAligned = this.aligned.get(node) === record.leaderEpoch;
    if (this.leader === null || !isAligned || record.isr.includes(node)) return;
    if (!this.online.has(node) || this.data.get(node)!.length < this.committed.length) return;
    this.record = { ...record, ...inSyncChange(record, [...record.isr, node], this.minInsync) };
  }

  shrink(node: string): void {
    const { record } = this;
    if (this.leader === null || node === this.leader || !record.isr.includes(node)) return;
    const isr = record.isr.filter((id) => id !== node);
    this.record = { ...record, ...inSyncChange(record, isr, this.minInsync) };
  }

  commit(): void {
    const { isr, elr, leaderEpoch } = this.record;
    const leader = this.leader;
    if (leader === null || isr.length < this.minInsync || elr.length > 0) return;
    const isAligned = isr.every((id) => id === leader || this.aligned.get(id) === leaderEpoch);
    if (!isAligned) return;
    const end = Math.min(...isr.map((id) => this.data.get(id)!.length));
    if (end > this.committed.length) this.committed = this.data.get(leader)!.slice(0, end);
  }

  control(): void {
    const before = this.record;
    const brokers = brokersOf(...["a", "b", "c"].map((id) => this.online.has(id) ? id : `-${id}`));
    this.record = elected(before, { brokers, minInsync: this.minInsync, isUncleanAllowed: false });
    const { leader, leaderEpoch, isr, elr } = this.record;
    assert.ok(isr.length > 0);
    assert.ok(elr.every((id) => !isr.includes(id)));
    assert.ok(leaderEpoch >= before.leaderEpoch);
    if (leader === before.leader) assert.equal(leaderEpoch, before.leaderEpoch);
    else assert.equal(leaderEpoch, before.leaderEpoch + 1);
    if (leader === null || leader === before.leader) return;
    assert.ok(this.online.has(leader) && isr.includes(leader));
    assert.ok([...before.isr, ...before.elr].includes(leader));
    assert.ok(!before.lost?.includes(leader));
    const held = this.data.get(leader)!.slice(0, this.committed.length);
    assert.deepEqual(held, this.committed, `${leader} leads and lacks what was acknowledged`);
  }
}

Deno.test("whatever brokers and disks do, a leader has all that was acknowledged", () => {
  const op = fc.tuple(
    fc.constantFrom(
      ...["append", "append", "fetch", "fetch", "join", "shrink", "lose", "return", "control"],
      ...["control", "wipe"],
    ),
    fc.constantFrom("a", "b", "c"),
  );
  const runs = fc.array(op, { maxLength: 120, minLength: 20 });
  fc.assert(
    fc.property(fc.constantFrom(1, 2, 3), runs, (minInsync, ops) => {
      const model = new Model(minInsync);
      for (const [name, node] of ops) model.run(name, node);
    }),
    { numRuns: 1_500 },
  );
});
