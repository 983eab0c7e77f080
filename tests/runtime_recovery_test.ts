// Owns the tests of loading: snapshots, replay, what happens when either is not as it should be, and faults in a row.
import assert from "node:assert/strict";
import fc from "fast-check";
import { BrokerError } from "../storage/broker_error.ts";
import type { Fate } from "./support/runtime_journal.ts";
import {
  add,
  journalledIds,
  openToy,
  TOY_ID,
  type ToyCommand,
  type ToyState,
  type ToyWorld,
  toyWorld,
  watch,
} from "./support/runtime_toy.ts";
import { settle } from "./support/virtual_time.ts";

type Toy = Awaited<ReturnType<typeof openToy>>;

/** The journalled part of all states. */
async function journalled(actor: Toy): Promise<Record<string, Omit<ToyState, "touchedUntil">>> {
  return await actor.query((states) =>
    Object.fromEntries(
      [...states].map(([key, { total, ids, expired }]) => [key, { total, ids, expired }] as const)
        .filter(([, { ids, expired }]) => ids.length > 0 || expired > 0)
        .sort(([a], [b]) => a < b ? -1 : 1),
    )
  );
}

/** The states that a full replay of the journal gives. */
async function replayed(world: ToyWorld) {
  const fresh = { ...toyWorld(), journal: world.journal };
  const actor = await openToy(fresh);
  return await journalled(actor);
}

async function addMany(actor: Toy, count: number, prefix: string): Promise<void> {
  for (let n = 0; n < count; n++) await actor.ask(`k${n % 7}`, add(`${prefix}${n}`));
}

Deno.test("a shard is snapshotted every so many events and on close, and loads from there", async () => {
  const world = toyWorld();
  const first = await openToy(world, { bounds: { snapshotEveryEvents: 10 } });
  await addMany(first, 9, "a");
  assert.equal(world.snapshots.saves, 0);
  await addMany(first, 1, "b");
  await settle();
  assert.equal(world.snapshots.saves, 1);
  assert.equal(world.snapshots.saved.get(TOY_ID)!.nextOffset, 10);
  await addMany(first, 3, "c");
  await first.close();
  assert.equal(world.snapshots.saved.get(TOY_ID)!.nextOffset, 13);
  const second = await openToy(world);
  const loaded = world.log.events.findLast(({ type }) => type === "actor.loaded");
  assert.deepEqual(loaded, {
    type: "actor.loaded",
    actorId: TOY_ID,
    keys: 7,
    replayedEvents: 0,
    fromSnapshot: true,
  });
  assert.deepEqual(await journalled(second), await replayed(world));
  await second.close();
  assert.equal(world.snapshots.saves, 2, "nothing new, nothing written");
});

Deno.test("a crash after a snapshot replays only what came after it", async () => {
  const world = toyWorld();
  const crashed = await openToy(world, { bounds: { snapshotEveryEvents: 10 } });
  await addMany(crashed, 14, "a");
  await settle();
  const restarted = await openToy(world);
  const loaded = world.log.events.findLast(({ type }) => type === "actor.loaded");
  assert.ok(loaded?.type === "actor.loaded" && loaded.replayedEvents === 4 && loaded.fromSnapshot);
  assert.deepEqual(await journalled(restarted), await replayed(world));
});

Deno.test("a snapshot that cannot be used costs a full replay and no data", async () => {
  const world = toyWorld();
  const actor = await openToy(world);
  await addMany(actor, 20, "a");
  await actor.close();
  const good = world.snapshots.saved.get(TOY_ID)!;
  const text = new TextDecoder().decode(good.bytes);
  const encode = (changed: string) => ({ ...good, bytes: new TextEncoder().encode(changed) });
  const bad = {
    "of another version": { ...good, version: 1 },
    "from beyond the journal": { ...good, nextOffset: 21 },
    "cut off in a line": encode(text.slice(0, -10)),
    "cut off at a line": encode(text.slice(0, text.lastIndexOf("\n", text.length - 2) + 1)),
    "with a line too many": encode(`${text}["k9",{"total":1,"ids":["z"],"expired":0}]\n`),
    "of an unknown format": encode(text.replace('"format":1', '"format":9')),
    "that is no JSON": encode("nonsense\n"),
    "that is empty": encode(""),
  };
  const expected = await replayed(world);
  for (const [what, snapshot] of Object.entries(bad)) {
    world.snapshots.saved.set(TOY_ID, snapshot);
    const loaded = await openToy(world);
    assert.deepEqual(await journalled(loaded), expected, what);
    assert.equal(world.log.events.at(-2)?.type, "snapshot.ignored", what);
  }
});

Deno.test("a snapshot that fails to be written is reported and harms nothing", async () => {
  const world = toyWorld();
  world.snapshots.saveError = new Error("no space for snapshots");
  const actor = await openToy(world, { bounds: { snapshotEveryEvents: 2 } });
  await addMany(actor, 3, "a");
  await settle();
  assert.equal(world.log.types().filter((type) => type === "snapshot.failed").length, 1);
  assert.equal(await actor.ask("k", add("after")), 1);
  await actor.close();
});

Deno.test("states that are too large for a snapshot are left to the journal", async () => {
  const world = toyWorld();
  const actor = await openToy(world, { bounds: { maxSnapshotBytes: 100 } });
  await addMany(actor, 20, "a");
  await actor.close();
  assert.equal(world.snapshots.saves, 0);
  assert.ok(world.log.types().includes("snapshot.failed"));
});

Deno.test("a shard whose journal no longer reaches back far enough refuses to load", async () => {
  const world = toyWorld();
  const actor = await openToy(world);
  await addMany(actor, 20, "a");
  await actor.close();
  world.journal.startOffset = 20;
  await openToy(world);
  world.journal.startOffset = 21;
  await assert.rejects(openToy(world), /needs older entries .* which starts at 21/);
  world.snapshots.saved.clear();
  world.journal.startOffset = 1;
  await assert.rejects(openToy(world), /needs older entries .* which starts at 1/);
});

Deno.test("events of an older version are read, and unknown ones refuse to load", async () => {
  const world = toyWorld();
  const put = (stored: unknown) =>
    world.journal.entries.push({
      key: "k",
      value: new TextEncoder().encode(JSON.stringify(stored)),
      timestampMs: 0,
    });
  put({ v: 1, addId: "old" });
  put({ v: 2, type: "Added", id: "new", amount: 4 });
  const actor = await openToy(world);
  assert.deepEqual(await journalled(actor), {
    k: { total: 5, ids: ["old", "new"], expired: 0 },
  });
  put({ v: 3, type: "Added", id: "from the future" });
  await assert.rejects(openToy(world), /no such version: 3/);
});

Deno.test("writing and reading a large snapshot lets others run in between", async () => {
  const world = toyWorld();
  const actor = await openToy(world, { bounds: { snapshotEveryEvents: 400 } });
  const long = "x".repeat(2_000);
  const asks = Array.from({ length: 400 }, (_, n) => actor.ask(`k${n}`, add(`${n}${long}`)));
  await Promise.all(asks);
  await settle();
  assert.equal(world.snapshots.saves, 0, "it has given way after the first slice");
  assert.equal(await actor.ask("k0", add("meanwhile")), 2);
  for (let turn = 0; turn < 10; turn++) await world.clock.advance(0);
  assert.equal(world.snapshots.saved.get(TOY_ID)?.nextOffset, 400);
  const opening = watch(openToy(world));
  await settle();
  assert.equal(opening.state, "pending");
  for (let turn = 0; turn < 10; turn++) await world.clock.advance(0);
  assert.deepEqual(await journalled(opening.value!), await journalled(actor));
});

const keys = fc.constantFrom("a", "b", "c");
const step = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant("add" as const),
      key: keys,
      amount: fc.integer({ min: 1, max: 300 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("remove" as const), key: keys }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("touch" as const), key: keys, forMs: fc.nat(2_000) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("advance" as const), ms: fc.nat(3_000) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("settle" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("restart" as const), clean: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("fault" as const),
      fate: fc.constantFrom<Fate>("disk full", "overloaded", "fails kept", "fails unkept"),
    }),
  },
);

interface Sent {
  readonly id: string;
  readonly watched: ReturnType<typeof watch>;
}

/** Everything that was answered with yes is in the journal once, everything refused for good is not. */
function checkAnswers(world: ToyWorld, sent: readonly Sent[]): void {
  const ids = journalledIds(world.journal);
  assert.equal(new Set(ids).size, ids.length, "nothing is applied twice");
  for (const { id, watched } of sent) {
    if (watched.state === "resolved") assert.ok(ids.includes(id), `${id} was acknowledged`);
    const code = (watched.error as BrokerError | undefined)?.code;
    if (code === "INVALID_REQUEST" || code === "DISK_FULL" || code === "SHUTTING_DOWN") {
      assert.ok(!ids.includes(id), `${id} was refused with ${code}`);
    }
  }
}

Deno.test("whatever fails and restarts in whatever order, states are what the journal says and answers are true", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 10, maxLength: 80, size: "max" }),
      async (steps) => {
        const world = toyWorld();
        const bounds = { snapshotEveryEvents: 5, maxBatchCommands: 4 };
        let actor = await openToy(world, { bounds });
        const sent: Sent[] = [];
        for (const [n, todo] of steps.entries()) {
          if (todo.do === "add") {
            const id = `id${n}`;
            sent.push({ id, watched: watch(actor.ask(todo.key, add(id, todo.amount))) });
          } else if (todo.do === "remove" || todo.do === "touch") {
            const command: ToyCommand = todo.do === "remove"
              ? { type: "Remove" }
              : { type: "Touch", forMs: todo.forMs };
            watch(actor.ask(todo.key, command));
          } else if (todo.do === "fault") world.journal.fates.push(todo.fate);
          else if (todo.do === "settle") await settle();
          else if (todo.do === "advance") await world.clock.advance(todo.ms);
          else {
            // Unclean: the process is gone. Here its timers go on, so it must be idle not to write any more.
            await settle();
            if (todo.clean) await actor.close();
            else await abandon(actor, world);
            actor = await openToy(world, { bounds });
          }
        }
        world.journal.fates.length = 0;
        await settle();
        await world.clock.advance(10_000);
        await settle();
        checkAnswers(world, sent);
        assert.ok(world.performed.every((id) => journalledIds(world.journal).includes(id)));
        assert.deepEqual(await journalled(actor), await replayed(world), "live state is a replay");
        const reopened = await openToy(world);
        assert.deepEqual(await journalled(reopened), await replayed(world), "as with the snapshot");
        assert.deepEqual(world.failures, []);
      },
    ),
    { numRuns: 150 },
  );
});

/** Ends an actor as a crash does: no last snapshot. */
async function abandon(actor: Toy, world: ToyWorld): Promise<void> {
  const saved = new Map(world.snapshots.saved);
  await actor.close();
  world.snapshots.saved.clear();
  for (const [id, snapshot] of saved) world.snapshots.saved.set(id, snapshot);
}
