// Owns that a broker's view shows what the store holds, whatever the watch and the store's answers do.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { MetadataKey } from "../storage/metadata.ts";
import { MemoryMetadataStore } from "../storage/memory/memory_metadata.ts";
import { FollowedEntries } from "../actors/cluster/followed_entries.ts";
import { offlinePartitions, underReplicatedPartitions } from "../actors/cluster/cluster_health.ts";
import { partitionRecordKey } from "../actors/cluster/types.ts";
import { ClusterWorld, sampleTopic } from "./support/cluster_world.ts";
import { recordOf } from "./support/cluster_samples.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

const KEY = partitionRecordKey("id-orders", 0);

function scene() {
  const clock = new VirtualClock();
  const store = new MemoryMetadataStore({ timers: clock, randomness: seededRandomness(1) });
  const put = async (id: string, value: unknown) => {
    const key = ["cluster", id];
    const version = (await store.get(key))?.version ?? null;
    await store.commit({ checks: [{ key, version }], sets: [{ key, value }] });
  };
  return { clock, store, put };
}

async function follow(
  { clock, store }: ReturnType<typeof scene>,
  metadata = store,
): Promise<{ followed: FollowedEntries; told: string[]; shown: () => Record<string, unknown> }> {
  const told: string[] = [];
  const followed = await FollowedEntries.open({
    metadata,
    prefix: ["cluster"],
    clock,
    timers: clock,
    onChanged: (keys) => told.push(...keys.map((key) => key.at(-1)!)),
  });
  const shown = () =>
    Object.fromEntries(
      [...followed.entries()].map(({ key, value }) => [key.at(-1)!, value]).sort(),
    );
  return { followed, told, shown };
}

Deno.test("changes are followed, each told of with what it is then", async () => {
  const at = scene();
  await at.put("x", 1);
  const { followed, told, shown } = await follow(at);
  assert.deepEqual(shown(), { x: 1 });
  await at.put("x", 2);
  await at.put("y", 3);
  await at.store.commit({ checks: [], deletes: [["cluster", "x"]] });
  await at.clock.advance(10);
  assert.deepEqual(shown(), { y: 3 });
  assert.deepEqual(new Set(told), new Set(["x", "y"]));
  followed.close();
  assert.equal(at.clock.pendingTimers, 0);
});

Deno.test("a change that no watch told of is found by reading again", async () => {
  const at = scene();
  const deaf = Object.assign(Object.create(at.store), {
    watch: () => () => {},
    list: at.store.list.bind(at.store),
  });
  const { shown } = await follow(at, deaf);
  await at.put("x", 1);
  await at.clock.advance(5_000);
  assert.deepEqual(shown(), {});
  await at.clock.advance(6_000);
  assert.deepEqual(shown(), { x: 1 });
});

Deno.test("changes that are told of do not put off the reading that finds the others", async () => {
  const at = scene();
  let isDeaf = false;
  const halfDeaf = Object.assign(Object.create(at.store), {
    list: at.store.list.bind(at.store),
    get: at.store.get.bind(at.store),
    watch: (prefix: MetadataKey, onChange: (keys: MetadataKey[]) => void) =>
      at.store.watch(prefix, (keys) => isDeaf || onChange(keys)),
  });
  const { shown } = await follow(at, halfDeaf);
  isDeaf = true;
  await at.put("x", 1);
  await at.clock.advance(10);
  isDeaf = false;
  for (let second = 0; second < 11; second++) {
    await at.put("y", second);
    await at.clock.advance(1_000);
  }
  assert.deepEqual(shown(), { x: 1, y: 10 });
});

Deno.test("what changes while the store cannot be read is found when it can", async () => {
  const at = scene();
  let fails = 0;
  const failing = <Result>(call: () => Promise<Result>) => {
    if (fails > 0 && fails-- > 0) throw new Error("the store cannot be reached");
    return call();
  };
  const flaky = Object.assign(Object.create(at.store), {
    watch: at.store.watch.bind(at.store),
    get: (key: MetadataKey) => failing(() => at.store.get(key)),
    list: (prefix: MetadataKey) => failing(() => at.store.list(prefix)),
  });
  const { shown } = await follow(at, flaky);
  fails = 3;
  await at.put("x", 1);
  await at.clock.advance(400);
  assert.deepEqual(shown(), {});
  await at.clock.advance(1_000);
  assert.equal(fails, 0);
  assert.deepEqual(shown(), { x: 1 });
});

/** A store whose readings take effect and answer when the test says so. */
function steered({ store }: ReturnType<typeof scene>) {
  const asked: { run: () => void; answer: () => void }[] = [];
  const waiting = { run: [] as (() => void)[], answer: [] as (() => void)[] };
  let isSteered = false;
  const steer = async <Result>(call: () => Promise<Result>): Promise<Result> => {
    if (!isSteered) return await call();
    const run = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<void>();
    asked.push({ run: run.resolve, answer: answer.resolve });
    waiting.run.push(run.resolve);
    await run.promise;
    const result = await call();
    waiting.answer.push(answer.resolve);
    await answer.promise;
    return result;
  };
  const metadata = Object.assign(Object.create(store), {
    watch: () => () => {},
    list: (prefix: MetadataKey) => steer(() => store.list(prefix)),
    get: (key: MetadataKey) => steer(() => store.get(key)),
  });
  return { metadata, asked, waiting, steer: (on: boolean) => isSteered = on };
}

Deno.test("an answer that comes late does not undo a later reading", async () => {
  const at = scene();
  await at.put("x", 1);
  const { metadata, asked, steer } = steered(at);
  const { followed, shown } = await follow(at, metadata);
  steer(true);
  const late = followed.read([["cluster", "x"], ["cluster", "y"]]);
  await settle();
  for (const { run } of asked) run();
  await settle();
  steer(false);
  await at.put("x", 2);
  await at.put("y", 2);
  await at.store.commit({ checks: [], deletes: [["cluster", "y"]] });
  await followed.refresh();
  assert.deepEqual(shown(), { x: 2 });
  for (const { answer } of asked) answer();
  await late;
  assert.deepEqual(shown(), { x: 2 });
});

Deno.test("what is shown becomes only newer, in whichever order readings take effect and answer", async () => {
  const readings = fc.array(fc.constantFrom("ask", "ask all", "put", "run", "answer"), {
    minLength: 5,
    maxLength: 60,
  });
  await fc.assert(
    fc.asyncProperty(readings, fc.infiniteStream(fc.nat(1_000)), async (steps, chance) => {
      const at = scene();
      await at.put("x", 0);
      const { metadata, asked, waiting, steer } = steered(at);
      const { followed, shown } = await follow(at, metadata);
      steer(true);
      let put = 0;
      let seen = 0;
      const calls: Promise<unknown>[] = [];
      const asking = (call: Promise<void>) => {
        const least = put;
        calls.push(call.then(() => assert.ok(shown().x as number >= least, "older than the call")));
      };
      for (const step of steps) {
        if (step === "put") await at.put("x", ++put);
        else if (step === "ask") asking(followed.read([["cluster", "x"]]));
        else if (step === "ask all") asking(followed.refresh());
        else {
          const some = waiting[step as "run" | "answer"];
          some.splice(chance.next().value! % Math.max(1, some.length), 1)[0]?.();
        }
        await settle();
        assert.ok(shown().x as number >= seen, "it became older");
        seen = shown().x as number;
      }
      steer(false);
      for (let round = 0; round < 20; round++) {
        for (const { run, answer } of asked) run(), answer();
        await settle();
      }
      await Promise.all(calls);
      followed.close();
    }),
    { numRuns: 200 },
  );
});

Deno.test("a reading of which a part fails tells of the rest", async () => {
  const at = scene();
  let isFailing = false;
  let caughtUp = 0;
  const flaky = Object.assign(Object.create(at.store), {
    watch: () => () => {},
    list: at.store.list.bind(at.store),
    get: async (key: MetadataKey) => {
      if (isFailing && key[1] === "x") throw new Error("the store cannot be reached");
      await at.clock.advance(0);
      return await at.store.get(key);
    },
  });
  const followed = await FollowedEntries.open({
    metadata: flaky,
    prefix: ["cluster"],
    clock: at.clock,
    timers: at.clock,
    onChanged: () => {},
    onCaughtUp: () => caughtUp++,
  });
  isFailing = true;
  await at.put("y", 1);
  await assert.rejects(followed.read([["cluster", "x"], ["cluster", "y"]]));
  assert.equal(followed.get(["cluster", "y"])?.value, 1);
  assert.equal(caughtUp, 1);
});

Deno.test("many changes at once are one reading of everything", async () => {
  const at = scene();
  let lists = 0;
  let gets = 0;
  const counting = Object.assign(Object.create(at.store), {
    watch: at.store.watch.bind(at.store),
    list: (prefix: MetadataKey) => (lists++, at.store.list(prefix)),
    get: (key: MetadataKey) => (gets++, at.store.get(key)),
  });
  const { shown } = await follow(at, counting);
  const sets = Array.from({ length: 400 }, (_, id) => ({ key: ["cluster", `${id}`], value: id }));
  await at.store.commit({ checks: [], sets });
  await at.clock.advance(10);
  assert.equal(Object.keys(shown()).length, 400);
  assert.deepEqual([lists, gets], [2, 0]);
});

async function led() {
  const world = new ClusterWorld();
  const start = { withoutController: true };
  const [a, b] = await world.startAll(["a", "b"], start);
  await world.store.commit({ checks: [], sets: [{ key: KEY, value: recordOf("a b c") }] });
  await world.clock.advance(50);
  return { world, a: a!.view, b: b!.view, broker: a! };
}

Deno.test("a leader raises its epoch by compare-and-set, and knows it when it is answered", async () => {
  const { world, a, b } = await led();
  const heard: (number | undefined)[] = [];
  b.onPartition(
    { topicId: "id-orders", partition: 0 },
    (kept) => heard.push(kept?.record.leaderEpoch),
  );
  const kept = a.partition("id-orders", 0)!;
  const raised = (await a.raiseLeaderEpoch(kept))!;
  assert.equal(raised.record.leaderEpoch, 6);
  assert.deepEqual(a.partition("id-orders", 0), raised);
  assert.equal(await a.raiseLeaderEpoch(kept), null);
  assert.equal(await b.raiseLeaderEpoch(raised), null);
  await world.clock.advance(50);
  assert.deepEqual(heard, [6]);
  assert.deepEqual(b.partition("id-orders", 0), raised);
});

Deno.test("a leader changes the in-sync set of the very record it knows only", async () => {
  const { a, b } = await led();
  const kept = a.partition("id-orders", 0)!;
  const smaller = (await a.changeInSync(kept, { isr: ["a"], elr: ["b"] }))!;
  assert.deepEqual([smaller.record.isr, smaller.record.elr], [["a"], ["b"]]);
  assert.equal(await a.changeInSync(kept, { isr: ["a", "b"], elr: [] }), null);
  assert.equal(await b.changeInSync(smaller, { isr: ["b"], elr: [] }), null);
  await assert.rejects(async () => await a.changeInSync(smaller, { isr: [], elr: [] }));
});

Deno.test("a change whose outcome is not known says so", async () => {
  const { a, broker } = await led();
  broker.isCut = true;
  const kept = a.partition("id-orders", 0)!;
  await assert.rejects(a.raiseLeaderEpoch(kept), { code: "METADATA_UNAVAILABLE" });
});

Deno.test("a replica that resigns leaves the sets and its leadership, but not as the last", async () => {
  const { a } = await led();
  const resigned = (await a.resign(a.partition("id-orders", 0)!))!;
  assert.deepEqual(
    resigned.record,
    recordOf("a b c", { isr: ["b", "c"], leader: null, leaderEpoch: 6 }),
  );
  assert.equal(await a.resign(resigned), resigned);
  const world = await led();
  const alone = (await world.a.changeInSync(world.a.partition("id-orders", 0)!, {
    isr: ["a"],
    elr: [],
  }))!;
  assert.equal(await world.a.resign(alone), alone);
});

Deno.test("offline and under-replicated partitions are counted from records and brokers", async () => {
  const { world, a } = await led();
  const topics = [sampleTopic("orders", { partitions: 2 })];
  const at = { topic: "orders", topicId: "id-orders" };
  assert.deepEqual(offlinePartitions(a, topics), [{ ...at, partition: 1 }]);
  assert.deepEqual(underReplicatedPartitions(a, topics), [{ ...at, partition: 1 }]);
  await a.changeInSync(a.partition("id-orders", 0)!, { isr: ["a", "b"], elr: [] });
  assert.equal(underReplicatedPartitions(a, topics).length, 2);
  await world.clock.advance(10);
});
