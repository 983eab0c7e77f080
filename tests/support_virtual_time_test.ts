// Owns the tests of virtual time and seeded chance: what every other test stands on.
import assert from "node:assert/strict";
import fc from "fast-check";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

Deno.test("virtual time runs timers in order of due time, then of creation, each at its own time", async () => {
  const clock = new VirtualClock(0);
  const ran: [string, number][] = [];
  const note = (name: string) => () => ran.push([name, clock.monotonic()]);
  clock.after(20, note("c"));
  clock.after(10, note("a"));
  clock.after(10, note("b"));
  clock.after(30.5, note("d"));
  await clock.advance(30);
  assert.deepEqual(ran, [["a", 10], ["b", 10], ["c", 20]]);
  assert.equal(clock.monotonic(), 30);
  assert.equal(clock.nextTimerInMs, 0.5);
  await clock.advance(0.5);
  assert.deepEqual(ran.at(-1), ["d", 30.5]);
  assert.equal(clock.nextTimerInMs, null);
});

Deno.test("virtual time lets promises settle between two timers", async () => {
  const clock = new VirtualClock();
  const ran: string[] = [];
  clock.after(1, () => {
    (async () => {
      for (let turn = 0; turn < 50; turn++) await Promise.resolve();
      ran.push("promises of the first");
    })();
  });
  clock.after(1, () => ran.push("second"));
  await clock.advance(1);
  assert.deepEqual(ran, ["promises of the first", "second"]);
});

Deno.test("virtual time runs what a timer arms within the same advance", async () => {
  const clock = new VirtualClock();
  let ticks = 0;
  const tick = () => {
    ticks++;
    clock.after(10, tick);
  };
  clock.after(10, tick);
  await clock.advance(100);
  assert.equal(ticks, 10);
  assert.equal(clock.pendingTimers, 1);
});

Deno.test("virtual time does not run a cancelled timer, and cancelling twice does nothing", async () => {
  const clock = new VirtualClock();
  let ran = "";
  const cancel = clock.after(5, () => ran += "a");
  clock.after(5, () => ran += "b");
  cancel();
  cancel();
  await clock.advance(5);
  assert.equal(ran, "b");
});

Deno.test("a wall clock that jumps moves no timer and no monotonic time", async () => {
  const clock = new VirtualClock(1_000_000);
  let ran = 0;
  clock.after(50, () => ran++);
  clock.jumpWall(-86_400_000);
  assert.equal(clock.now(), 1_000_000 - 86_400_000);
  assert.equal(clock.monotonic(), 0);
  clock.jumpWall(2 * 86_400_000);
  await clock.advance(49);
  assert.equal(ran, 0);
  await clock.advance(1);
  assert.equal(ran, 1);
  assert.equal(clock.now(), 1_000_000 + 86_400_000 + 50);
});

Deno.test("advance rejects with what a timer throws", async () => {
  const clock = new VirtualClock();
  clock.after(1, () => {
    throw new Error("from the timer");
  });
  await assert.rejects(clock.advance(1), /from the timer/);
  await assert.rejects(clock.advance(-1), /moves on/);
});

Deno.test("virtual time runs any set of timers, some cancelled, in due order", async () => {
  const delays = fc.array(fc.record({ delayMs: fc.nat(20), cancelled: fc.boolean() }), {
    maxLength: 30,
  });
  await fc.assert(
    fc.asyncProperty(delays, async (timers) => {
      const clock = new VirtualClock();
      const ran: number[] = [];
      const cancels = timers.map(({ delayMs }, index) =>
        clock.after(delayMs, () => ran.push(index))
      );
      timers.forEach(({ cancelled }, index) => cancelled && cancels[index]!());
      await clock.advance(20);
      const expected = timers.map((timer, index) => ({ ...timer, index }))
        .filter((timer) => !timer.cancelled)
        .sort((a, b) => a.delayMs - b.delayMs || a.index - b.index)
        .map((timer) => timer.index);
      assert.deepEqual(ran, expected);
    }),
    { numRuns: 50 },
  );
  await settle();
});

Deno.test("seeded randomness repeats itself for a seed and differs between seeds", () => {
  const draw = (seed: number) => {
    const chance = seededRandomness(seed);
    return [chance.uuid(), chance.fraction(), chance.integer(1_000), chance.pick(["a", "b"])];
  };
  assert.deepEqual(draw(7), draw(7));
  assert.notDeepEqual(draw(7), draw(8));
  assert.match(
    seededRandomness(1).uuid(),
    /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
  );
});

Deno.test("seeded randomness is uniform enough and keeps its bounds", () => {
  const chance = seededRandomness(42);
  const counts = new Array<number>(10).fill(0);
  const draws = 20_000;
  let sum = 0;
  for (let drawn = 0; drawn < draws; drawn++) {
    counts[chance.integer(10)]!++;
    const fraction = chance.fraction();
    assert.ok(fraction >= 0 && fraction < 1);
    sum += fraction;
  }
  assert.ok(Math.abs(sum / draws - 0.5) < 0.01, `mean ${sum / draws}`);
  for (const count of counts) assert.ok(Math.abs(count - draws / 10) < 200, `count ${count}`);
});
