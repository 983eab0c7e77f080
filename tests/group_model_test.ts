// Owns random lives of a group: members that come, go, fall silent and crash with the broker, commits from all of them.
// Refuses to own single rules. Invariant: after every step what group_watch.ts demands, and in the end all is assigned once.
import assert from "node:assert/strict";
import fc from "fast-check";
import { phaseOf } from "../actors/group/describe.ts";
import { committedAt } from "../actors/group/offset_table.ts";
import { decodeGroupState, encodeGroupState } from "../actors/group/state.ts";
import { entriesOf, holds, lookUp, sortedKeys } from "../actors/group/table.ts";
import type { AssignorName, GroupCommand } from "../actors/group/types.ts";
import { revokingFrom } from "../actors/group/members.ts";
import { GROUP, GroupRun } from "./support/group_run.ts";
import { GroupWatch, ownersOf } from "./support/group_watch.ts";

const TOPICS = ["t", "u", "v"];
const MAX_PARTITIONS = 5;

type Step =
  | { do: "join"; topics: string[]; instance: number; http: boolean }
  | { do: "return"; who: number; topics: string[] | null }
  | { do: "leave" | "disconnect" | "heartbeat"; who: number }
  | { do: "release"; who: number; share: number; foreign: boolean }
  | {
    do: "commit";
    who: number;
    topic: string;
    partition: number;
    offset: number;
    stale: boolean;
    rewind: boolean;
  }
  | { do: "topics"; counts: Record<string, number> }
  | { do: "wait"; ms: number }
  | { do: "pause" | "resume" | "crash" | "loseEffects" | "deleteGroup" };

const who = fc.nat(12);
const topics = fc.subarray(TOPICS, { minLength: 1 });
const counts = fc.record({
  t: fc.integer({ min: 0, max: MAX_PARTITIONS }),
  u: fc.integer({ min: 1, max: MAX_PARTITIONS }),
  v: fc.integer({ min: 0, max: 3 }),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("join" as const),
      topics,
      instance: fc.nat(5),
      http: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("return" as const), who, topics: fc.option(topics) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constantFrom("leave" as const, "disconnect" as const, "heartbeat" as const),
      who,
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("release" as const),
      who,
      share: fc.constantFrom(1, 1, 2),
      foreign: fc.boolean(),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("commit" as const),
      who,
      topic: fc.constantFrom(...TOPICS),
      partition: fc.nat(MAX_PARTITIONS),
      offset: fc.nat(30),
      stale: fc.boolean(),
      rewind: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("topics" as const), counts }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("wait" as const),
      ms: fc.constantFrom(10, 100, 100, 500, 2_000, 3_000, 12_000),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "pause" as const,
        "resume" as const,
        "crash" as const,
        "loseEffects" as const,
        "deleteGroup" as const,
      ),
    }),
  },
);

/** Takes steps and knows which refusals each may meet. */
class Life {
  readonly run = new GroupRun();
  readonly watch = new GroupWatch(this.run);
  /** Everybody who ever was a member, former ones included. */
  readonly known: string[] = [];
  /** The next step's effects are lost: the broker dies when it is durable. */
  losing = false;

  constructor(readonly assignor: AssignorName) {
    this.run.counts = { t: 4, u: 2 };
  }

  pick(who: number): string {
    return this.known.length === 0 ? "nobody" : this.known[who % this.known.length]!;
  }

  take(step: Step): void {
    this.watch.allowance = {};
    const losing = this.losing && step.do !== "loseEffects";
    const joined = this.#perform(step);
    if (losing) {
      this.losing = false;
      this.run.told.length = 0;
      this.run.crash(50);
    } else if (joined !== null) this.watch.joined(joined);
    this.watch.deliver();
  }

  #perform(step: Step): ReturnType<GroupRun["join"]> | null {
    const { run } = this;
    switch (step.do) {
      case "join":
        return this.#join(step);
      case "return":
        return this.#return(step);
      case "leave":
        this.#expect({ type: "Leave", group: GROUP, memberId: this.pick(step.who) });
        break;
      case "heartbeat":
        this.#expect({ type: "Heartbeat", group: GROUP, memberId: this.pick(step.who) });
        break;
      case "disconnect":
        run.disconnect(this.pick(step.who));
        break;
      case "release":
        this.#release(step);
        break;
      case "commit":
        this.#commit(step);
        break;
      case "topics":
        run.changePartitions(step.counts, TOPICS);
        break;
      case "wait":
        this.#wait(step.ms);
        break;
      case "pause":
      case "resume":
        this.#pauseOrResume(step.do);
        break;
      case "crash":
        run.crash(1_000);
        break;
      case "loseEffects":
        this.losing = true;
        break;
      case "deleteGroup":
        this.#delete();
        break;
    }
    return null;
  }

  #join({ topics, instance, http }: Extract<Step, { do: "join" }>): ReturnType<GroupRun["join"]> {
    const newMemberId = `m${this.known.length}`;
    this.known.push(newMemberId);
    return this.run.join(newMemberId, {
      topics,
      transport: http ? "http" : "websocket",
      sessionTimeoutMs: http ? 8_000 : 30_000,
      // A few instance names, so that some joins are takeovers.
      ...(instance < 2 ? { instanceId: `i${instance}` } : {}),
      ...(this.run.state.members.size === 0 ? { assignor: this.assignor } : {}),
    });
  }

  #return({ who, topics }: Extract<Step, { do: "return" }>): ReturnType<GroupRun["join"]> {
    const memberId = this.pick(who);
    const before = lookUp(this.run.state.members, memberId);
    const owned = [...ownersOf(this.run.state)].filter(([, owner]) => owner === memberId);
    const { generation } = this.run.state;
    const newMemberId = `m${this.known.length}`;
    this.known.push(newMemberId);
    const reply = this.run.join(newMemberId, {
      memberId,
      topics: topics ?? before?.topics ?? ["t"],
      ...(before === undefined ? {} : { transport: before.transport }),
    });
    assert.equal(reply.resumed, before !== undefined);
    if (before !== undefined) {
      assert.deepEqual([reply.memberId, reply.generation], [memberId, generation]);
      const after = [...ownersOf(this.run.state)].filter(([, owner]) => owner === memberId);
      assert.deepEqual(after, owned);
    }
    return reply;
  }

  /** UNKNOWN_MEMBER for those who are none, and only for those. */
  #expect(command: GroupCommand & { memberId: string }): void {
    const member = holds(this.run.state.members, command.memberId);
    assert.equal(this.run.refusal(command), member ? null : "UNKNOWN_MEMBER");
  }

  #release({ who, share, foreign }: Extract<Step, { do: "release" }>): void {
    const memberId = this.pick(who);
    const partitions = revokingFrom(this.run.state, memberId).filter((_, i) => i % share === 0);
    const keys = new Set(partitions.map(({ topic, partition }) => `${topic}/${partition}`));
    this.watch.allowance = { released: { memberId, keys } };
    const others = foreign ? [{ topic: "t", partition: 0 }, { topic: "u", partition: 1 }] : [];
    const notHeld = others.filter(({ topic, partition }) =>
      !revokingFrom(this.run.state, memberId).some((at) =>
        at.topic === topic && at.partition === partition
      )
    );
    this.#expect({
      type: "Released",
      group: GROUP,
      memberId,
      partitions: [...partitions, ...notHeld],
    });
  }

  #commit(step: Extract<Step, { do: "commit" }>): void {
    const { state } = this.run;
    const { topic, partition, offset } = step;
    const memberId = step.who === 0 ? undefined : this.pick(step.who);
    const generation = step.stale ? state.generation - 1 : state.generation;
    this.watch.allowance = { rewinds: step.rewind };
    const command = this.run.commitCommand([[topic, partition, offset]], {
      generation,
      allowRewind: step.rewind,
      reason: step.rewind ? "test" : "",
      ...(memberId === undefined ? {} : { memberId }),
    });
    const before = committedAt(state.offsets, { topic, partition })?.offset ?? 0;
    const expected = memberId !== undefined && !holds(state.members, memberId)
      ? "UNKNOWN_MEMBER"
      : step.stale ||
          (memberId !== undefined && ownersOf(state).get(`${topic}/${partition}`) !== memberId)
      ? "STALE_GENERATION"
      : offset < before && !step.rewind
      ? "OFFSET_ROLLBACK"
      : null;
    assert.equal(this.run.refusal(command), expected);
  }

  #wait(ms: number): void {
    // In slices, so that members over HTTP that are alive are heard of.
    for (let waited = 0; waited < ms; waited += 100) {
      this.run.advance(Math.min(100, ms - waited));
      this.watch.deliver();
    }
  }

  #pauseOrResume(what: "pause" | "resume"): void {
    const command: GroupCommand = what === "pause"
      ? { type: "Pause", group: GROUP, reason: "r", principal: "op" }
      : { type: "Resume", group: GROUP, principal: "op" };
    const exists = this.run.state.exists;
    assert.equal(this.run.refusal(command), exists ? null : "UNKNOWN_GROUP");
  }

  #delete(): void {
    const { exists, members } = this.run.state;
    const expected = !exists ? "UNKNOWN_GROUP" : members.size > 0 ? "GROUP_NOT_EMPTY" : null;
    assert.equal(this.run.refusal({ type: "DeleteGroup", group: GROUP }), expected);
  }

  /** Everybody behaves: hears what it is told, releases at once, and stays in touch. */
  settle(): void {
    const { run } = this;
    for (let round = 0; round < 40; round++) {
      for (const memberId of sortedKeys(run.state.members)) {
        const partitions = revokingFrom(run.state, memberId);
        const keys = new Set(partitions.map(({ topic, partition }) => `${topic}/${partition}`));
        this.watch.allowance = { released: { memberId, keys } };
        run.execute({ type: "Released", group: GROUP, memberId, partitions });
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
    const subscribed = new Map<string, Set<string>>();
    for (const [memberId, { topics }] of entriesOf(state.members)) {
      for (const topic of topics) {
        subscribed.set(topic, (subscribed.get(topic) ?? new Set()).add(memberId));
      }
    }
    let expected = 0;
    for (const [topic, members] of subscribed) {
      for (let partition = 0; partition < (counts[topic] ?? 0); partition++) {
        expected += 1;
        const owner = owners.get(`${topic}/${partition}`);
        assert.ok(owner !== undefined && members.has(owner), `${topic}/${partition}: ${owner}`);
      }
    }
    assert.equal(owners.size, expected);
  }
}

Deno.test("group keeps its promises through any life, and settles with everything assigned once", () => {
  fc.assert(
    fc.property(
      fc.constantFrom<AssignorName>("sticky", "sticky", "range", "roundrobin"),
      fc.array(step, { minLength: 5, maxLength: 60 }),
      (assignor, steps) => {
        const life = new Life(assignor);
        for (const step of steps) life.take(step);
        life.settle();
        life.assertSettled();
        const stored = JSON.parse(JSON.stringify(encodeGroupState(life.run.state)));
        assert.deepEqual(encodeGroupState(decodeGroupState(stored)), stored);
        life.watch.checkJournal();
      },
    ),
    { numRuns: 250, endOnFailure: false },
  );
});
