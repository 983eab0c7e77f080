// Owns random lives of a group with a canary: versions that come, go and crash, percentages that change, good and bad messages.
// Refuses to own single rules (canary_decide_test.ts). Invariant: after every step what group_watch.ts demands, so that no
// partition is ever anybody's twice; once the group stands each partition has one owner, and the canary its share.
import assert from "node:assert/strict";
import fc from "fast-check";
import { canaryCount } from "../actors/group/canary/split.ts";
import { phaseOf } from "../actors/group/describe.ts";
import { revokingFrom } from "../actors/group/members.ts";
import { encodeGroupState } from "../actors/group/state.ts";
import { entriesOf, lookUp, sortedKeys } from "../actors/group/table.ts";
import type { AssignorName } from "../actors/group/types.ts";
import { CanaryRun } from "./support/canary_run.ts";
import { GROUP, replay } from "./support/group_run.ts";
import { GroupWatch, ownersOf } from "./support/group_watch.ts";

const TOPICS = ["orders", "u"];

type Step =
  | { do: "join"; version: string; topics: string[]; instance: number }
  | { do: "return"; who: number; version: string }
  | { do: "leave" | "disconnect" | "release"; who: number }
  | { do: "set"; version: string; percent: number }
  | { do: "remove" | "promote" | "crash" | "pause" | "resume" }
  | { do: "work"; bad: string | null }
  | { do: "topics"; counts: Record<string, number> }
  | { do: "wait"; ms: number };

const who = fc.nat(10);
const version = fc.constantFrom("v1", "v1", "v2", "v2", "v3");
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("join" as const),
      version,
      topics: fc.subarray(TOPICS, { minLength: 1 }),
      instance: fc.nat(4),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("return" as const), who, version }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constantFrom("leave" as const, "disconnect" as const, "release" as const),
      who,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("set" as const),
      version: fc.constantFrom("v2", "v2", "v3"),
      percent: fc.constantFrom(0, 1, 10, 33, 50, 90, 99, 100),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "remove" as const,
        "promote" as const,
        "crash" as const,
        "pause" as const,
        "resume" as const,
      ),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("work" as const),
      bad: fc.constantFrom(null, "v2", "v2", "v3"),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("topics" as const),
      counts: fc.record({
        orders: fc.integer({ min: 1, max: 6 }),
        u: fc.integer({ min: 0, max: 4 }),
      }),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("wait" as const),
      ms: fc.constantFrom(10, 100, 500, 3_000),
    }),
  },
);

/** Most lives begin where there is something to compare. */
const BEGINNING: readonly Step[] = [
  { do: "join", version: "v1", topics: TOPICS, instance: 2 },
  { do: "join", version: "v2", topics: TOPICS, instance: 2 },
  { do: "wait", ms: 500 },
  { do: "work", bad: null },
  { do: "set", version: "v2", percent: 33 },
  { do: "wait", ms: 100 },
];

class Life {
  readonly run = new CanaryRun();
  readonly watch = new GroupWatch(this.run);
  readonly known: string[] = [];
  constructor(readonly assignor: AssignorName) {
    this.run.counts = { orders: 5, u: 2 };
  }

  take(step: Step): void {
    this.watch.allowance = {};
    this.#perform(step);
    this.watch.deliver();
    this.#assertWithdrawnServesNobodyNew();
  }

  #perform(step: Step): void {
    const { run } = this;
    switch (step.do) {
      case "join":
        return this.#join(step);
      case "return":
        return this.#return(step);
      case "leave":
        run.refusal({ type: "Leave", group: GROUP, memberId: this.#pick(step.who) });
        return;
      case "disconnect":
        return run.disconnect(this.#pick(step.who));
      case "release":
        return this.#release(this.#pick(step.who));
      case "set":
        run.refusal(run.setCommand(step.percent, { version: step.version }));
        return;
      case "remove":
      case "promote": {
        const type = step.do === "remove" ? "RemoveCanary" : "PromoteCanary";
        run.refusal({ type, group: GROUP, reason: null, principal: "op" });
        return;
      }
      case "crash":
        return run.crash(100);
      case "pause":
        run.refusal({ type: "Pause", group: GROUP, reason: "r", principal: "op" });
        return;
      case "resume":
        run.refusal({ type: "Resume", group: GROUP, principal: "op" });
        return;
      case "work":
        return this.#work(step.bad);
      case "topics":
        return run.changePartitions(step.counts, TOPICS);
      case "wait":
        return this.#wait(step.ms);
    }
  }

  #wait(ms: number): void {
    for (let waited = 0; waited < ms; waited += 100) {
      this.run.advance(Math.min(100, ms - waited));
      this.watch.deliver();
    }
  }

  #pick(who: number): string {
    return this.known.length === 0 ? "nobody" : this.known[who % this.known.length]!;
  }

  #join({ version, topics, instance }: Extract<Step, { do: "join" }>): void {
    const memberId = `m${this.known.length}`;
    this.known.push(memberId);
    const reply = this.run.join(memberId, {
      version,
      topics,
      ...(instance < 2 ? { instanceId: `i${instance}` } : {}),
      ...(this.run.state.members.size === 0 ? { assignor: this.assignor } : {}),
    });
    this.watch.joined(reply);
  }

  #return({ who, version }: Extract<Step, { do: "return" }>): void {
    const memberId = this.#pick(who);
    const before = lookUp(this.run.state.members, memberId);
    if (before === undefined) return;
    const { topics } = before;
    this.watch.joined(this.run.join(`n${this.known.length}`, { memberId, version, topics }));
  }

  #release(memberId: string): void {
    const partitions = revokingFrom(this.run.state, memberId);
    const keys = new Set(partitions.map(({ topic, partition }) => `${topic}/${partition}`));
    this.watch.allowance = { released: { memberId, keys } };
    this.run.refusal({ type: "Released", group: GROUP, memberId, partitions });
  }

  /** Whoever reads a partition has thirty messages of it: well, but badly in members of version `bad`. */
  #work(bad: string | null): void {
    if (!this.run.state.exists) return;
    for (const [memberId, partitions] of Object.entries(this.run.readable())) {
      const isBad = lookUp(this.run.state.members, memberId)!.version === bad;
      for (const partition of partitions) {
        this.run.deliver(partition, { count: 30, bad: isBad ? 30 : 0 });
      }
    }
  }

  /** What a withdrawn version is given, it was given before it was withdrawn, or is on its way. */
  #assertWithdrawnServesNobodyNew(): void {
    const { state } = this.run;
    if (state.canary?.status !== "withdrawn" || state.causes !== null) return;
    for (const { topic, owners } of state.target.topics) {
      for (const owner of owners) {
        const member = lookUp(state.members, state.target.memberIds[owner]!);
        const has = member?.version === state.canary.version;
        assert.ok(!has, `${topic} is meant for ${member?.memberId}, which is withdrawn`);
      }
    }
  }

  settle(): void {
    const { run } = this;
    for (let round = 0; round < 40; round++) {
      for (const memberId of sortedKeys(run.state.members)) {
        this.#release(memberId);
        this.watch.deliver();
      }
      this.watch.allowance = {};
      run.advance(100);
      this.watch.deliver();
    }
  }

  assertSettled(): void {
    const { state, counts } = this.run;
    assert.equal(phaseOf(state), state.members.size === 0 ? "empty" : "stable");
    const owners = ownersOf(state);
    const canary = state.canary?.status === "promoted" ? undefined : state.canary;
    const isCanary = (memberId: string) =>
      lookUp(state.members, memberId)!.version === canary?.version;
    let expected = 0;
    let shared = 0;
    let given = 0;
    for (const topic of TOPICS) {
      const readers = [...entriesOf(state.members)]
        .filter(([memberId, { topics }]) =>
          topics.includes(topic) && !(canary?.status === "withdrawn" && isCanary(memberId))
        )
        .map(([memberId]) => memberId);
      const both = canary?.status === "running" && new Set(readers.map(isCanary)).size === 2;
      for (let partition = 0; partition < (counts[topic] ?? 0); partition++) {
        const owner = owners.get(`${topic}/${partition}`);
        if (readers.length === 0) continue;
        expected++;
        assert.ok(owner !== undefined && readers.includes(owner), `${topic}/${partition}`);
        if (both) shared++;
        if (both && isCanary(owner)) given++;
      }
    }
    assert.equal(owners.size, expected);
    assert.equal(given, canaryCount(shared, canary?.percent ?? 0));
  }
}

Deno.test("a group with a canary gives each partition to one member at any time, and the canary its share once it stands", () => {
  let withdrawals = 0;
  fc.assert(
    fc.property(
      fc.constantFrom<AssignorName>("sticky", "sticky", "range", "roundrobin"),
      fc.array(step, { minLength: 10, maxLength: 60 }),
      (assignor, steps) => {
        const life = new Life(assignor);
        for (const step of [...BEGINNING, ...steps]) life.take(step);
        life.settle();
        life.assertSettled();
        const { state, journal } = life.run;
        withdrawals += journal.filter(({ type }) => type === "CanaryWithdrawn").length;
        assert.deepEqual(
          JSON.parse(JSON.stringify(encodeGroupState(replay(journal)))),
          JSON.parse(JSON.stringify(encodeGroupState(state))),
        );
      },
    ),
    { numRuns: 100, endOnFailure: false },
  );
  assert.ok(withdrawals >= 20, `only ${withdrawals} canaries were withdrawn`);
});
