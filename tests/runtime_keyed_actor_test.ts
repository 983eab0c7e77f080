// Owns the tests of what leaves a keyed actor, and when: durability, group commit, refusals, failures of the journal.
import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import { add, journalledIds, openToy, toyDecider, toyWorld, watch } from "./support/runtime_toy.ts";
import { settle } from "./support/virtual_time.ts";

const read = { type: "Read" } as const;

Deno.test("no reply and no effect leaves before the append is durable", async () => {
  const world = toyWorld();
  const actor = await openToy(world);
  world.journal.fates.push("held");
  const replies = ["a", "b"].map((id) => watch(actor.ask("k", add(id))));
  const looked = watch(actor.ask("k", read));
  await settle();
  assert.deepEqual([...replies, looked].map(({ state }) => state), Array(3).fill("pending"));
  assert.deepEqual(world.performed, []);
  assert.equal(await actor.query((states) => states.size), 0, "a query sees only what is durable");
  world.journal.release();
  await settle();
  assert.deepEqual(replies.map(({ value }) => value), [1, 2]);
  assert.equal((looked.value as { total: number }).total, 2, "a read sees those before it");
  assert.deepEqual(world.performed, ["a", "b"]);
});

Deno.test("many commands at once make few appends", async () => {
  const world = toyWorld();
  const actor = await openToy(world, { bounds: { maxBatchCommands: 1_000 } });
  const replies = Array.from({ length: 1_000 }, (_, n) => actor.ask(`k${n % 100}`, add(`${n}`)));
  await Promise.all(replies);
  assert.deepEqual(world.journal.appends, [1_000]);
  world.journal.fates.push("held");
  const first = actor.ask("k", add("first"));
  await settle();
  const rest = Array.from({ length: 500 }, (_, n) => actor.ask("k", add(`rest ${n}`)));
  world.journal.release();
  await Promise.all([first, ...rest]);
  assert.deepEqual(world.journal.appends, [1_000, 1, 500]);
});

Deno.test("a drain and an append are bounded by commands, by their weight and by bytes of events", async () => {
  const world = toyWorld();
  const actor = await openToy(world, { bounds: { maxBatchCommands: 4, maxAppendBytes: 250 } });
  const pad = "x".repeat(100);
  const padded = Array.from(
    { length: 4 },
    (_, n) => actor.ask("k", { type: "Add", id: `${n}`, amount: 1, pad }, 1),
  );
  const plain = Array.from({ length: 5 }, (_, n) => actor.ask("k", add(`p${n}`), 1));
  await Promise.all([...padded, ...plain]);
  const heavy = [1, 2, 3].map((n) => actor.ask("k", add(`h${n}`), 200));
  await Promise.all(heavy);
  assert.deepEqual(world.journal.appends, [2, 2, 4, 1, 1, 1, 1]);
  assert.deepEqual(journalledIds(world.journal), [
    "0",
    "1",
    "2",
    "3",
    "p0",
    "p1",
    "p2",
    "p3",
    "p4",
    "h1",
    "h2",
    "h3",
  ]);
});

Deno.test("a command whose events are too large is refused alone", async () => {
  const world = toyWorld();
  const actor = await openToy(world, { bounds: { maxAppendBytes: 250 } });
  const large = watch(
    actor.ask("k", { type: "Add", id: "large", amount: 1, pad: "x".repeat(300) }, 1),
  );
  assert.equal(await actor.ask("k", add("small"), 1), 1);
  assert.equal((large.error as BrokerError).code, "REQUEST_TOO_LARGE");
});

Deno.test("later commands of a drain see the earlier ones, and a refused one leaves no trace", async () => {
  const world = toyWorld();
  const actor = await openToy(world);
  const replies = [add("a", 900), add("b", 200), add("c", 100), read].map((command) =>
    watch(actor.ask("k", command))
  );
  await settle();
  assert.equal(replies[0]!.value, 900);
  assert.equal((replies[1]!.error as BrokerError).code, "INVALID_REQUEST");
  assert.equal(replies[2]!.value, 1_000);
  assert.equal((replies[3]!.value as { total: number }).total, 1_000);
  assert.deepEqual(world.performed, ["a", "c"]);
  assert.deepEqual(journalledIds(world.journal), ["a", "c"]);
});

Deno.test("a full mailbox refuses commands with OVERLOADED and keeps those it has", async () => {
  const world = toyWorld();
  const actor = await openToy(world, { bounds: { maxWaitingCommands: 3 } });
  world.journal.fates.push("held");
  const running = actor.ask("k", add("running"));
  await settle();
  const waiting = [1, 2, 3].map((n) => actor.ask("k", add(`waiting ${n}`)));
  await assert.rejects(actor.ask("k", add("refused")), { code: "OVERLOADED", retryable: true });
  world.journal.release();
  await Promise.all([running, ...waiting]);
  assert.ok(!journalledIds(world.journal).includes("refused"));
});

Deno.test("an append that failed but was kept is replayed, and nothing is applied twice", async () => {
  const world = toyWorld();
  const actor = await openToy(world);
  await actor.ask("k", add("before"));
  world.journal.fates.push("fails kept");
  const lost = ["a", "b"].map((id) => watch(actor.ask("k", add(id))));
  const looked = watch(actor.ask("k", read));
  await settle();
  for (const { error } of [...lost, looked]) {
    assert.equal((error as BrokerError).code, "STORAGE_FAILED");
    assert.equal((error as BrokerError).retryable, true);
  }
  assert.deepEqual(world.performed, ["before"]);
  assert.equal((await actor.ask("k", read) as { total: number }).total, 3, "the journal decides");
  assert.equal(await actor.ask("k", add("after")), 4);
  assert.deepEqual(journalledIds(world.journal), ["before", "a", "b", "after"]);
});

Deno.test("an append that failed and was not kept leaves no trace", async () => {
  const world = toyWorld();
  const actor = await openToy(world);
  await actor.ask("k", add("before"));
  world.journal.fates.push("fails unkept");
  await assert.rejects(actor.ask("k", add("lost")), { code: "STORAGE_FAILED" });
  assert.equal(await actor.ask("k", add("after")), 2);
  assert.deepEqual(world.performed, ["before", "after"]);
});

Deno.test("an append that lands after it was given up is noticed: the journal is read again", async () => {
  const world = toyWorld();
  const actor = await openToy(world);
  await actor.ask("k", add("mine"));
  const late = { type: "Added", id: "late", amount: 5, v: 2 };
  const value = new TextEncoder().encode(JSON.stringify(late));
  world.journal.entries.push({ key: "k", value, timestampMs: 0 });
  await assert.rejects(actor.ask("k", add("stale")), { code: "STALE_EPOCH", retryable: true });
  assert.equal(await actor.ask("k", add("fresh")), 7);
  assert.deepEqual(journalledIds(world.journal), ["mine", "late", "fresh"]);
});

for (const [fate, code] of [["disk full", "DISK_FULL"], ["overloaded", "OVERLOADED"]] as const) {
  Deno.test(`while appends are refused with ${code} only commands that need one are, without a replay`, async () => {
    const world = toyWorld();
    const actor = await openToy(world);
    await actor.ask("k", add("before"));
    const replaysBefore = world.journal.replays;
    world.journal.fates.push(fate);
    const refused = watch(actor.ask("k", add("refused")));
    const touched = watch(actor.ask("k", { type: "Touch", forMs: 1_000 }));
    const looked = watch(actor.ask("k", read));
    await settle();
    assert.equal((refused.error as BrokerError).code, code);
    assert.equal(touched.state, "resolved", "heartbeats need no space");
    assert.equal((looked.value as { total: number }).total, 1);
    assert.equal(world.journal.replays, replaysBefore);
    assert.equal(await actor.ask("k", add("after")), 2, "it goes on by itself");
    assert.deepEqual(world.performed, ["before", "after"]);
  });
}

Deno.test("a broken invariant stops the actor, keeps nothing of the drain and answers ACTOR_DOWN", async () => {
  const world = toyWorld();
  const actor = await openToy(world);
  await actor.ask("k", add("before"));
  const replies = [add("a"), { type: "Explode" } as const, add("b")].map((command) =>
    watch(actor.ask("k", command))
  );
  await settle();
  for (const { error } of replies) assert.equal((error as BrokerError).code, "ACTOR_DOWN");
  await assert.rejects(actor.ask("k", read), { code: "ACTOR_DOWN" });
  assert.equal(world.failures.length, 1);
  assert.equal((world.failures[0] as Error).message, "a broken invariant");
  assert.deepEqual(journalledIds(world.journal), ["before"]);
  await actor.close();
  assert.equal(world.snapshots.saves, 0, "a broken actor writes no snapshot");
});

Deno.test("an evolve that throws stops the actor before anything is journalled", async () => {
  const world = toyWorld();
  const decider = {
    decide: () => ({
      events: [{ type: "Poisoned" as const }],
      volatile: [],
      effects: [],
      reply: null,
    }),
  };
  const actor = await openToy(world, { decider });
  await assert.rejects(actor.ask("k", read), { code: "ACTOR_DOWN" });
  assert.deepEqual(world.journal.entries, []);
  assert.equal(world.failures.length, 1);
});

Deno.test("a journal that cannot be read again after a failed append stops the actor", async () => {
  const world = toyWorld();
  const actor = await openToy(world);
  world.journal.fates.push("fails unkept");
  world.journal.replayError = new BrokerError("STORAGE_FAILED", "the log is being recovered");
  await assert.rejects(actor.ask("k", add("lost")), { code: "STORAGE_FAILED" });
  await settle();
  assert.deepEqual(world.failures, [world.journal.replayError]);
  await assert.rejects(actor.ask("k", read), { code: "ACTOR_DOWN" });
});

Deno.test("a receiver of effects that throws harms neither the reply nor the other effects", async () => {
  const world = toyWorld();
  const onEffect = (id: string) => {
    if (id === "a") throw new Error("the receiver is broken");
  };
  const actor = await openToy(world, { onEffect });
  assert.deepEqual(await Promise.all([actor.ask("k", add("a")), actor.ask("k", add("b"))]), [1, 2]);
  assert.deepEqual(world.performed, ["b"]);
  assert.ok(world.log.types().includes("effect.failed"));
});

Deno.test("close carries out what was accepted, refuses the rest and leaves no timer behind", async () => {
  const world = toyWorld();
  const actor = await openToy(world);
  await actor.ask("armed", { type: "Touch", forMs: 1_000 });
  world.journal.fates.push("held");
  const running = actor.ask("k", add("running"));
  await settle();
  const waiting = actor.ask("k", add("waiting"));
  const touched = actor.ask("k", { type: "Touch", forMs: 1_000 });
  const closed = actor.close();
  await assert.rejects(actor.ask("k", add("late")), { code: "SHUTTING_DOWN" });
  world.journal.release();
  await Promise.all([running, waiting, touched, closed]);
  assert.deepEqual(journalledIds(world.journal), ["running", "waiting"]);
  assert.equal(world.clock.pendingTimers, 0);
});

Deno.test("a key that is gone is forgotten, and a key only looked at is never remembered", async () => {
  const world = toyWorld();
  const actor = await openToy(world);
  await actor.ask("looked at", read);
  await actor.ask("k", add("a"));
  assert.deepEqual(await actor.query((states) => [...states.keys()]), ["k"]);
  await actor.ask("k", { type: "Remove" });
  assert.deepEqual(await actor.query((states) => [...states.keys()]), []);
  assert.equal(await actor.ask("k", add("b")), 1);
});

Deno.test("commands carry the wall and the monotonic time of their drain", async () => {
  const world = toyWorld();
  const seen: unknown[] = [];
  const decide: typeof toyDecider.decide = (state, command, context) => {
    seen.push(context.at);
    return toyDecider.decide(state, command, context);
  };
  const actor = await openToy(world, { decider: { decide } });
  await world.clock.advance(250);
  await actor.ask("k", add("a"));
  assert.deepEqual(seen, [{ wall: world.clock.now(), monotonic: 250 }]);
  assert.equal(world.journal.entries[0]!.timestampMs, world.clock.now());
});
