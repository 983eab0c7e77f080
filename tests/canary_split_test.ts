// Owns tests of which partitions a canary gets: how many, the same ones, each with one owner.
// Refuses to own when a group is assigned anew (canary_decide_test.ts, canary_model_test.ts).
import assert from "node:assert/strict";
import fc from "fast-check";
import { type Assignment, movesBetween, NO_ASSIGNMENT } from "../actors/group/assignment.ts";
import { assign } from "../actors/group/assignors.ts";
import { assignAll, canaryCount, type CanaryShare } from "../actors/group/canary/split.ts";
import type { AssignorName } from "../actors/group/types.ts";

const running = (percent: number): CanaryShare => ({ version: "v2", percent, status: "running" });

interface Given {
  readonly members: readonly { memberId: string; version?: string; topics: readonly string[] }[];
  readonly counts: Readonly<Record<string, number>>;
  readonly previous?: Assignment;
}

function shared(name: AssignorName, canary: CanaryShare | undefined, given: Given): Assignment {
  const { members, counts, previous = NO_ASSIGNMENT } = given;
  const partitionCounts = new Map(Object.entries(counts));
  return assignAll(name, { members, partitionCounts, previous }, canary);
}

/** Owner by partition; fails where a partition has none that is a member. */
function ownersIn(assignment: Assignment): Map<string, string> {
  const owners = new Map<string, string>();
  for (const { topic, owners: all } of assignment.topics) {
    all.forEach((owner, partition) => {
      const memberId = assignment.memberIds[owner];
      assert.ok(memberId !== undefined, `${topic}/${partition} has owner ${owner}`);
      owners.set(`${topic}/${partition}`, memberId);
    });
  }
  return owners;
}

function ofCanary(assignment: Assignment, prefix = "c"): string[] {
  return [...ownersIn(assignment)].filter(([, owner]) => owner.startsWith(prefix))
    .map(([partition]) => partition).sort();
}

function fleet(stable: number, canaries: number, topics: readonly string[] = ["t"]) {
  return [
    ...Array.from({ length: stable }, (_, i) => ({ memberId: `s${i}`, version: "v1", topics })),
    ...Array.from({ length: canaries }, (_, i) => ({ memberId: `c${i}`, version: "v2", topics })),
  ];
}

Deno.test("the share is rounded, is one partition at least and never all, but for 0 and 100", () => {
  assert.deepEqual([0, 1, 10, 14.9, 15.1, 50, 99, 100].map((percent) => canaryCount(10, percent)), [
    0,
    1,
    1,
    1,
    2,
    5,
    9,
    10,
  ]);
  assert.deepEqual([1, 50, 99].map((percent) => canaryCount(2, percent)), [1, 1, 1]);
  assert.deepEqual([0, 1, 99, 100].map((percent) => canaryCount(1, percent)), [0, 0, 0, 1]);
});

Deno.test("the share is of all topics together that both sides read", () => {
  const given = { members: fleet(3, 1, ["t", "u", "v"]), counts: { t: 4, u: 4, v: 12 } };
  assert.equal(ofCanary(shared("sticky", running(20), given)).length, 4);
  assert.equal(ofCanary(shared("sticky", running(1), given)).length, 1);
  assert.equal(ofCanary(shared("sticky", running(99), given)).length, 19);
});

Deno.test("a topic that only one side reads is that side's", () => {
  const members = [
    { memberId: "s0", version: "v1", topics: ["t", "old"] },
    { memberId: "c0", version: "v2", topics: ["t", "new"] },
  ];
  const owners = ownersIn(
    shared("range", running(50), { members, counts: { t: 4, old: 2, new: 2 } }),
  );
  assert.deepEqual([owners.get("old/0"), owners.get("old/1")], ["s0", "s0"]);
  assert.deepEqual([owners.get("new/0"), owners.get("new/1")], ["c0", "c0"]);
  assert.equal([0, 1, 2, 3].filter((i) => owners.get(`t/${i}`) === "c0").length, 2);
});

Deno.test("a higher percentage only adds partitions, a lower one only takes some back", () => {
  let before: string[] = [];
  for (const percent of [0, 3, 10, 25, 50, 75, 99, 100]) {
    const given = { members: fleet(4, 2), counts: { t: 64 } };
    const now = ofCanary(shared("sticky", running(percent), given));
    assert.ok(before.every((partition) => now.includes(partition)), `at ${percent}%`);
    before = now;
  }
});

Deno.test("members that come and go on one side move nothing to the other", () => {
  const counts = { t: 30 };
  let previous = shared("sticky", running(20), { members: fleet(4, 2), counts });
  const lane = ofCanary(previous);
  for (const [stable, canaries] of [[5, 2], [3, 2], [3, 1], [3, 3], [1, 1]] as const) {
    const next = shared("sticky", running(20), {
      members: fleet(stable, canaries),
      counts,
      previous,
    });
    assert.deepEqual(ofCanary(next), lane);
    previous = next;
  }
});

Deno.test("nothing moves when a group that has a canary is assigned anew as it was", () => {
  for (const name of ["range", "roundrobin", "sticky"] as const) {
    const given = { members: fleet(5, 2, ["t", "u"]), counts: { t: 17, u: 5 } };
    const previous = shared(name, running(30), given);
    assert.deepEqual(
      movesBetween(previous, shared(name, running(30), { ...given, previous })),
      [],
    );
  }
});

Deno.test("a new partition displaces one of the canary's at most", () => {
  for (let count = 2; count < 60; count++) {
    const members = fleet(3, 1);
    const before = ofCanary(shared("sticky", running(25), { members, counts: { t: count } }));
    const after = ofCanary(shared("sticky", running(25), { members, counts: { t: count + 1 } }));
    assert.ok(before.filter((partition) => !after.includes(partition)).length <= 1, `${count}`);
  }
});

Deno.test("while only one side lives it has everything, whatever the percentage", () => {
  const counts = { t: 6 };
  assert.equal(ofCanary(shared("sticky", running(1), { members: fleet(0, 2), counts })).length, 6);
  assert.equal(ofCanary(shared("sticky", running(99), { members: fleet(2, 0), counts })).length, 0);
  const all = shared("sticky", running(100), { members: fleet(2, 1), counts });
  assert.equal(ofCanary(all).length, 6);
});

Deno.test("a version that was withdrawn gets nothing, and what only it reads waits", () => {
  const withdrawn: CanaryShare = { version: "v2", percent: 50, status: "withdrawn" };
  const members = [
    ...fleet(2, 2),
    { memberId: "c9", version: "v2", topics: ["t", "new"] },
  ];
  const assignment = shared("sticky", withdrawn, { members, counts: { t: 6, new: 2 } });
  assert.deepEqual(ofCanary(assignment), []);
  assert.equal(ownersIn(assignment).size, 6);
  const alone = shared("sticky", withdrawn, { members: fleet(0, 2), counts: { t: 6 } });
  assert.equal(ownersIn(alone).size, 0);
});

Deno.test("without a canary, or with one that was promoted, all is as the assignor says", () => {
  const members = fleet(2, 2);
  const input = { members, partitionCounts: new Map([["t", 9]]), previous: NO_ASSIGNMENT };
  for (const name of ["range", "roundrobin", "sticky"] as const) {
    const plain = assign(name, input);
    assert.deepEqual(assignAll(name, input, undefined), plain);
    assert.deepEqual(assignAll(name, input, { ...running(10), status: "promoted" }), plain);
  }
});

Deno.test("of any members, topics and percentages every partition has one owner that may have it, and the share is right", () => {
  const topics = ["t", "u", "v"];
  const member = fc.record({
    version: fc.constantFrom("v1", "v2", "v2", undefined),
    topics: fc.subarray(topics, { minLength: 1 }),
  });
  fc.assert(
    fc.property(
      fc.constantFrom<AssignorName>("range", "roundrobin", "sticky"),
      fc.array(fc.tuple(fc.array(member, { maxLength: 8 }), fc.nat(100)), {
        minLength: 1,
        maxLength: 5,
      }),
      fc.tuple(fc.nat(9), fc.nat(9), fc.nat(3)),
      (name, rounds, [t, u, v]) => {
        const counts = { t, u, v };
        let previous = NO_ASSIGNMENT;
        for (const [fleet, percent] of rounds) {
          const members = fleet.map(({ version, topics }, i) => ({
            memberId: `m${i}`,
            topics,
            ...(version === undefined ? {} : { version }),
          }));
          const next = shared(name, running(percent), { members, counts, previous });
          const owners = ownersIn(next);
          const isCanary = (id: string) =>
            members.find(({ memberId }) => memberId === id)!.version === "v2";
          let both = 0;
          let given = 0;
          for (const topic of topics) {
            const readers = members.filter((each) => each.topics.includes(topic));
            const sides = new Set(readers.map(({ memberId }) => isCanary(memberId)));
            const count = counts[topic as keyof typeof counts];
            for (let partition = 0; partition < count; partition++) {
              const owner = owners.get(`${topic}/${partition}`);
              if (readers.length === 0) assert.equal(owner, undefined);
              else assert.ok(readers.some(({ memberId }) => memberId === owner));
              if (sides.size === 2) both++;
              if (sides.size === 2 && isCanary(owner!)) given++;
            }
          }
          assert.equal(given, canaryCount(both, percent));
          previous = next;
        }
      },
    ),
    { numRuns: 300 },
  );
});
