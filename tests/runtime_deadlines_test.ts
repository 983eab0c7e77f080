// Owns the tests of time in keyed actors: ticks at deadlines, recovery after a replay, wall-clock jumps.
import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import {
  add,
  openToy,
  TOY_RECOVERY_MS,
  toyDecider,
  type ToyState,
  toyWorld,
  watch,
} from "./support/runtime_toy.ts";
import { settle } from "./support/virtual_time.ts";

const DAY_MS = 86_400_000;
const touch = (forMs: number) => ({ type: "Touch" as const, forMs });

async function stateOf(actor: Awaited<ReturnType<typeof openToy>>, key: string): Promise<ToyState> {
  return await actor.query((states) => states.get(key) ?? toyDecider.initial(key));
}

Deno.test("a deadline fires as a Tick exactly when it is due, and not before", async () => {
  const world = toyWorld();
  const actor = await openToy(world);
  await actor.ask("k", touch(1_000));
  await world.clock.advance(999);
  assert.equal((await stateOf(actor, "k")).expired, 0);
  await world.clock.advance(1);
  await settle();
  assert.equal((await stateOf(actor, "k")).expired, 1);
  assert.equal(world.journal.entries.length, 1, "what the tick decided is journalled");
  assert.equal(world.clock.pendingTimers, 0);
});

Deno.test("a deadline that is moved on fires at its new time only, one moved closer at once then", async () => {
  const world = toyWorld();
  const actor = await openToy(world);
  await actor.ask("later", touch(1_000));
  await actor.ask("sooner", touch(5_000));
  await world.clock.advance(600);
  await actor.ask("later", touch(1_000));
  await actor.ask("sooner", touch(100));
  await world.clock.advance(100);
  await settle();
  assert.equal((await stateOf(actor, "sooner")).expired, 1);
  await world.clock.advance(899);
  assert.equal((await stateOf(actor, "later")).expired, 0, "not at its first deadline");
  await world.clock.advance(1);
  await settle();
  assert.equal((await stateOf(actor, "later")).expired, 1);
});

Deno.test("a wall clock that jumps a day either way disturbs no deadline", async () => {
  for (const jump of [DAY_MS, -DAY_MS]) {
    const world = toyWorld();
    const actor = await openToy(world);
    await actor.ask("k", touch(1_000));
    await world.clock.advance(500);
    world.clock.jumpWall(jump);
    await world.clock.advance(499);
    assert.equal((await stateOf(actor, "k")).expired, 0);
    await world.clock.advance(1);
    await settle();
    assert.equal((await stateOf(actor, "k")).expired, 1);
  }
});

Deno.test("ten thousand keys share one timer and each tick in its own time", async () => {
  const world = toyWorld();
  const ticks: number[] = [];
  const tick = (key: string) => {
    ticks.push(Number(key));
    return { type: "Tick" as const };
  };
  const actor = await openToy(world, { decider: { tick } });
  const keys = 10_000;
  const dueAt = (n: number) => 1_000 + (n * 7_919) % keys;
  const asks = Array.from({ length: keys }, (_, n) => actor.ask(`${n}`, touch(dueAt(n))));
  await Promise.all(asks);
  assert.equal(world.clock.pendingTimers, 1);
  await world.clock.advance(500 + keys / 2);
  await settle();
  assert.equal(ticks.length, keys / 2 - 500 + 1);
  assert.ok(ticks.every((n, i) => i === 0 || dueAt(ticks[i - 1]!) <= dueAt(n)), "earliest first");
});

Deno.test("a full mailbox does not keep ticks out", async () => {
  const world = toyWorld();
  const actor = await openToy(world, { bounds: { maxWaitingCommands: 2 } });
  await actor.ask("k", touch(1_000));
  world.journal.fates.push("held");
  const asks = [actor.ask("a", add("a"))];
  await settle();
  asks.push(actor.ask("b", add("b")), actor.ask("c", add("c")));
  await world.clock.advance(1_000);
  world.journal.release();
  await Promise.all(asks);
  await settle();
  assert.equal((await stateOf(actor, "k")).expired, 1);
});

Deno.test("a tick that the journal has no space for is sent again after a pause, not in a busy loop", async () => {
  const world = toyWorld();
  const actor = await openToy(world, { bounds: { retryMs: 500 } });
  await actor.ask("k", touch(1_000));
  world.journal.fates.push("disk full", "disk full");
  await world.clock.advance(1_000);
  await world.clock.advance(499);
  assert.equal(world.journal.appends.length, 1);
  await world.clock.advance(1);
  await settle();
  assert.equal(world.journal.appends.length, 2);
  await world.clock.advance(500);
  await settle();
  assert.equal((await stateOf(actor, "k")).expired, 1, "it goes on by itself when space is back");
});

Deno.test("a decider whose deadline stays in the past ticks at a bounded rate", async () => {
  const world = toyWorld();
  let ticks = 0;
  const tick = () => {
    ticks += 1;
    return { type: "Read" as const };
  };
  const actor = await openToy(world, { decider: { tick }, bounds: { minTickIntervalMs: 10 } });
  await actor.ask("k", touch(1_000));
  await world.clock.advance(1_999);
  await settle();
  assert.equal(ticks, 100);
});

Deno.test("a deadline that is no finite number stops the actor", async () => {
  const world = toyWorld();
  const actor = await openToy(world, { decider: { deadline: () => Infinity } });
  await assert.rejects(actor.ask("k", touch(1)), { code: "ACTOR_DOWN" });
  assert.match((world.failures[0] as Error).message, /no finite deadline for k/);
});

Deno.test("after a replay every key is recovered once, before any other command to it", async () => {
  const world = toyWorld();
  const before = await openToy(world);
  const keys = Array.from({ length: 25 }, (_, n) => `k${n}`);
  await Promise.all(keys.map((key) => before.ask(key, add(key))));
  await before.close();
  const seen: string[] = [];
  const decide: typeof toyDecider.decide = (state, command, context) => {
    seen.push(command.type === "Add" ? `Add ${command.id}` : command.type);
    return toyDecider.decide(state, command, context);
  };
  const actor = await openToy(world, { decider: { decide }, bounds: { maxBatchCommands: 10 } });
  const reply = actor.ask("k24", add("new"));
  await reply;
  assert.equal(seen.indexOf("Add new"), 21, "two batches of ten and its own go before it");
  await world.clock.advance(0);
  await world.clock.advance(0);
  assert.equal(seen.filter((type) => type === "Recovered").length, 25);
  await world.clock.advance(TOY_RECOVERY_MS);
  await settle();
  const states = await actor.query((all) => [...all.values()]);
  assert.ok(states.every(({ expired }) => expired === 1), "deadlines that recovery set are kept");
});

Deno.test("a recovery that the journal has no space for is sent again, and its key waits for it", async () => {
  const world = toyWorld();
  const before = await openToy(world);
  await before.ask("k", add("a"));
  await before.close();
  // A recovery that journals something, as one that clears up after a crash would.
  const recovered = () => add("recovered");
  world.journal.fates.push("disk full", "disk full");
  const actor = await openToy(world, { decider: { recovered }, bounds: { retryMs: 500 } });
  await settle();
  const blocked = watch(actor.ask("k", { type: "Read" }));
  const other = watch(actor.ask("other", touch(9_000)));
  await settle();
  assert.equal((blocked.error as BrokerError | undefined)?.code, "DISK_FULL");
  assert.equal(other.state, "resolved");
  await world.clock.advance(499);
  assert.deepEqual((await stateOf(actor, "k")).ids, ["a"], "not in a busy loop");
  await world.clock.advance(1);
  await settle();
  assert.deepEqual((await stateOf(actor, "k")).ids, ["a", "recovered"]);
});
