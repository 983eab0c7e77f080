// Owns tests of when a canary is worse than the rest, on both sides of each limit, and of the window that is counted.
// Refuses to own where counts come from (canary_decide_test.ts).
import assert from "node:assert/strict";
import fc from "fast-check";
import { judge } from "../actors/group/canary/judge.ts";
import {
  type BothSides,
  type CanaryState,
  countsAt,
  freshCanary,
  NO_COUNTS,
  withCounts,
} from "../actors/group/canary/state.ts";
import {
  type CanaryRules,
  DEFAULT_CANARY_RULES,
  type SideCounts,
} from "../actors/group/canary/types.ts";

const RULES: CanaryRules = {
  windowMs: 600_000,
  minObservations: 1_000,
  factor: 2,
  margin: 0.02,
  maxLostSessions: 5,
};

function sides(canary: Partial<SideCounts>, rest: Partial<SideCounts>): BothSides {
  return { canary: { ...NO_COUNTS, ...canary }, rest: { ...NO_COUNTS, ...rest } };
}

function stateOf(
  canary: Partial<SideCounts>,
  rest: Partial<SideCounts>,
  rules: Partial<CanaryRules> = {},
) {
  return judge(sides(canary, rest), { ...RULES, ...rules }).state;
}

Deno.test("nothing is judged before each side has answered as many messages as the rules ask", () => {
  const bad = (answered: number) => ({ answered, nacked: answered });
  assert.equal(stateOf(bad(999), { answered: 1_000 }), "undecided");
  assert.equal(stateOf(bad(1_000), { answered: 999 }), "undecided");
  assert.equal(stateOf(bad(1_000), { answered: 1_000 }), "worse");
  assert.equal(stateOf({}, {}), "undecided");
  const { text } = judge(sides(bad(20), { answered: 5_000 }), RULES);
  assert.match(text, /the canary has answered 20 messages in the window, 1000 of each side/);
});

Deno.test("a rate below the factor is no worse, at the factor it is", () => {
  // 10% of the rest: the factor asks for 20%.
  const rest = { answered: 10_000, nacked: 1_000 };
  assert.equal(stateOf({ answered: 10_000, nacked: 1_999 }, rest), "ok");
  assert.equal(stateOf({ answered: 10_000, nacked: 2_000 }, rest), "worse");
});

Deno.test("a rate within the margin is no worse, at the margin it is", () => {
  // 1% of the rest: the factor alone would ask for 2%, the margin for 3%.
  const rest = { answered: 10_000, nacked: 100 };
  assert.equal(stateOf({ answered: 10_000, nacked: 299 }, rest), "ok");
  assert.equal(stateOf({ answered: 10_000, nacked: 300 }, rest), "worse");
  assert.equal(stateOf({ answered: 10_000, nacked: 199 }, rest, { margin: 0 }), "ok");
  assert.equal(stateOf({ answered: 10_000, nacked: 200 }, rest, { margin: 0 }), "worse");
});

Deno.test("a difference that chance makes is no worse, whatever factor and margin say", () => {
  const rules = { minObservations: 1, factor: 1, margin: 0 };
  // z of 9 in 100 against none in 100 is 3.07, of 10 in 100 it is 3.24; p < 0.001 begins at 3.09.
  assert.equal(stateOf({ answered: 100, nacked: 9 }, { answered: 100 }, rules), "ok");
  assert.equal(stateOf({ answered: 100, nacked: 10 }, { answered: 100 }, rules), "worse");
  assert.equal(stateOf({ answered: 1, nacked: 1 }, { answered: 1 }, rules), "ok");
  const both = { answered: 100, nacked: 100 };
  assert.equal(stateOf(both, both, rules), "ok");
});

Deno.test("dead letters are judged as nacks are, and told apart", () => {
  const nacked = { answered: 10_000, nacked: 3_000 };
  const verdict = judge(sides({ ...nacked, deadLettered: 300 }, nacked), RULES);
  assert.deepEqual([verdict.state, verdict.measure], ["worse", "dead letters"]);
  assert.equal(
    verdict.text,
    "dead letters: 3% (300 of 10000) of the canary's messages, 0% (0 of 10000) of the rest's",
  );
  assert.equal(stateOf({ ...nacked, deadLettered: 199 }, nacked), "ok");
  const nacks = judge(sides(nacked, { answered: 10_000 }), RULES);
  assert.equal(nacks.measure, "nacks");
});

Deno.test("a canary that is better is never worse", () => {
  assert.equal(stateOf({ answered: 5_000 }, { answered: 5_000, nacked: 5_000 }), "ok");
});

Deno.test("lost sessions are worse from their limit on, unless the rest loses about as many", () => {
  assert.equal(stateOf({ lostSessions: 4 }, {}), "undecided");
  assert.equal(stateOf({ lostSessions: 5 }, {}), "worse");
  assert.equal(judge(sides({ lostSessions: 5 }, {}), RULES).measure, "lost sessions");
  assert.equal(stateOf({ lostSessions: 5 }, { lostSessions: 2 }), "worse");
  // Twice as many as the rest are not more than twice as many.
  assert.equal(stateOf({ lostSessions: 6 }, { lostSessions: 3 }), "undecided");
  assert.equal(stateOf({ lostSessions: 7 }, { lostSessions: 3 }), "worse");
  assert.equal(stateOf({ lostSessions: 500 }, {}, { maxLostSessions: 0 }), "undecided");
});

Deno.test("of canaries that are as good as the rest, next to none are called worse by chance", () => {
  // A hundred trials of 5% nacks on both sides, looked at after every ten messages, the rules as strict as may be.
  let seed = 7;
  const random = () => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) / 2 ** 32;
  const rules = { ...DEFAULT_CANARY_RULES, factor: 1, margin: 0 };
  let worse = 0;
  for (let trial = 0; trial < 100; trial++) {
    const counts = { canary: { answered: 0, nacked: 0 }, rest: { answered: 0, nacked: 0 } };
    for (let look = 0; look < 200; look++) {
      for (const side of [counts.canary, counts.rest]) {
        side.answered += 10;
        for (let i = 0; i < 10; i++) if (random() < 0.05) side.nacked++;
      }
      if (stateOf(counts.canary, counts.rest, rules) !== "worse") continue;
      worse++;
      break;
    }
  }
  assert.ok(worse <= 3, `${worse} of 100`);
});

function fresh(windowMs: number): CanaryState {
  const rules = { ...RULES, windowMs };
  return freshCanary({ version: "v2", percent: 10, rules, reason: null, at: 0, by: "op" });
}

function counted(canary: CanaryState, at: number, answered = 1): CanaryState {
  return { ...canary, window: withCounts(canary, { at, side: "canary", counts: { answered } }) };
}

Deno.test("what happened leaves the window a bucket at a time, at its end and not before", () => {
  let canary = fresh(1_000);
  canary = counted(canary, 5_000, 3);
  canary = counted(canary, 5_099, 4);
  canary = counted(canary, 5_100, 5);
  assert.equal(canary.window.length, 2);
  assert.equal(countsAt(canary, 5_999).canary.answered, 12);
  assert.equal(countsAt(canary, 6_000).canary.answered, 5);
  assert.equal(countsAt(canary, 6_099).canary.answered, 5);
  assert.equal(countsAt(canary, 6_100).canary.answered, 0);
});

Deno.test("a wall clock that goes back counts as standing still, and loses nothing", () => {
  let canary = counted(fresh(1_000), 10_000);
  canary = counted(canary, 2_000);
  assert.equal(canary.window.length, 1);
  assert.equal(countsAt(canary, 2_000).canary.answered, 2);
  assert.equal(countsAt(canary, 10_999).canary.answered, 2);
  assert.equal(countsAt(canary, 11_000).canary.answered, 0);
});

Deno.test("the window holds what it should of any counts at any times, in few buckets", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 500 }), { maxLength: 100 }), (steps) => {
      let canary = fresh(1_000);
      let now = 0;
      const times: number[] = [];
      for (const step of steps) {
        canary = counted(canary, now += step);
        times.push(now);
      }
      assert.ok(canary.window.length <= 11);
      const { answered } = countsAt(canary, now).canary;
      // A bucket begins up to a tenth of the window before what it holds.
      assert.ok(answered <= times.filter((at) => at > now - 1_000).length);
      assert.ok(answered >= times.filter((at) => at > now - 900).length);
    }),
  );
});
