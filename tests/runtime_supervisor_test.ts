// Owns the tests of supervision: the pure policy on both sides of its limits, and the running of it in virtual time.
import assert from "node:assert/strict";
import { ActorRegistry } from "../actors/runtime/registry.ts";
import {
  afterFailure,
  NO_FAILURES,
  type RestartBounds,
  type RestartHistory,
} from "../actors/runtime/restart_policy.ts";
import { type ActorHealth, Supervised } from "../actors/runtime/supervisor.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { RecordingLog } from "./support/runtime_journal.ts";
import { add, openToy, toyWorld, watch } from "./support/runtime_toy.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

const BOUNDS: RestartBounds = {
  initialBackoffMs: 100,
  maxBackoffMs: 1_000,
  maxRestarts: 3,
  restartWindowMs: 10_000,
  healthyAfterMs: 20_000,
};
const broken = new Error("a broken invariant");

/** Delays after failures at these times, of an actor that runs `ranMs` before each; null is giving up. */
function delays(timesMs: readonly number[], error: unknown, ranMs = 0): (number | null)[] {
  let history: RestartHistory = NO_FAILURES;
  return timesMs.map((nowMs) => {
    const next = afterFailure(history, { error, nowMs, runningSinceMs: nowMs - ranMs }, BOUNDS);
    history = next.history;
    return next.restartAfterMs;
  });
}

Deno.test("restarts back off twofold, and the failure after the last one allowed is the end", () => {
  assert.deepEqual(delays([0, 1, 2, 3], broken), [100, 200, 400, null]);
});

Deno.test("a failure is forgotten exactly when the window has passed", () => {
  assert.deepEqual(delays([0, 1, 2, 9_999], broken).at(-1), null);
  assert.deepEqual(delays([0, 1, 2, 10_000], broken).at(-1), 800);
});

Deno.test("an actor that ran long enough starts with a clean history, a moment less does not count", () => {
  const bounds = { ...BOUNDS, restartWindowMs: 1_000_000 };
  const after = (ranMs: number) => {
    const history = { failuresAtMs: [0, 1, 2], inARow: 3 };
    const failure = { error: broken, nowMs: 30_000, runningSinceMs: 30_000 - ranMs };
    return afterFailure(history, failure, bounds);
  };
  assert.equal(after(19_999).restartAfterMs, null);
  assert.equal(after(20_000).restartAfterMs, 100);
  assert.deepEqual(after(20_000).history, { failuresAtMs: [30_000], inARow: 1 });
});

Deno.test("a retryable error of the surroundings is waited out for ever, with bounded delay", () => {
  const outage = new BrokerError("STORAGE_FAILED", "the disk is gone");
  const waits = delays(Array.from({ length: 2_000 }, (_, n) => n), outage);
  assert.deepEqual(waits.slice(0, 5), [100, 200, 400, 800, 1_000]);
  assert.ok(waits.slice(5).every((wait) => wait === 1_000));
});

Deno.test("an error that asking again does not mend counts, though it is a BrokerError", () => {
  const corrupt = new BrokerError("CORRUPT_LOG", "bits have flipped");
  assert.equal(delays([0, 1, 2, 3], corrupt).at(-1), null);
});

/** An actor whose lives the test holds in its hands. */
function scripted(clock: VirtualClock) {
  const lives: { fail: (error: unknown) => void; closed: boolean; finishClosing: () => void }[] =
    [];
  const log = new RecordingLog();
  const script = { startError: null as Error | null, holdClosing: false };
  const supervised = new Supervised({
    id: "group-shard/0",
    start: (onFailure) => {
      if (script.startError !== null) return Promise.reject(script.startError);
      const closing = Promise.withResolvers<void>();
      const life = { fail: onFailure, closed: false, finishClosing: closing.resolve };
      lives.push(life);
      return Promise.resolve({
        number: lives.length,
        async close() {
          if (script.holdClosing) await closing.promise;
          life.closed = true;
        },
      });
    },
    bounds: BOUNDS,
    clock,
    timers: clock,
    log,
  });
  return { supervised, lives, log, script };
}

function health(state: ActorHealth["state"], failures: number, reason: string | null): ActorHealth {
  return { actorId: "group-shard/0", state, failures, reason };
}

Deno.test("a failed actor is closed, refused while it is down, and runs again after its backoff", async () => {
  const clock = new VirtualClock();
  const { supervised, lives, log } = scripted(clock);
  assert.throws(() => supervised.get(), { code: "ACTOR_DOWN", retryable: true });
  await supervised.start();
  assert.equal(supervised.get().number, 1);
  assert.deepEqual(supervised.health(), health("running", 0, null));
  lives[0]!.fail(broken);
  assert.throws(() => supervised.get(), (error: BrokerError) => {
    assert.equal(error.code, "ACTOR_DOWN");
    assert.equal(error.cause, broken);
    const reason = "a broken invariant";
    assert.deepEqual(error.details, { actorId: "group-shard/0", state: "restarting", reason });
    return true;
  });
  await clock.advance(99);
  assert.ok(lives[0]!.closed);
  assert.equal(lives.length, 1);
  assert.deepEqual(supervised.health(), health("restarting", 1, "a broken invariant"));
  await clock.advance(1);
  assert.equal(supervised.get().number, 2);
  assert.deepEqual(log.types(), ["actor.failed", "actor.restarting"]);
});

Deno.test("an actor that keeps failing stays down with its reason until it is revived", async () => {
  const clock = new VirtualClock();
  const { supervised, lives, log } = scripted(clock);
  await supervised.start();
  assert.deepEqual(supervised.problems(), []);
  for (let life = 0; life < 4; life++) {
    lives[life]!.fail(new Error(`failure ${life}`));
    await clock.advance(1_000);
  }
  await clock.advance(1_000_000);
  assert.equal(lives.length, 4);
  assert.deepEqual(supervised.health(), health("down", 4, "failure 3"));
  assert.deepEqual(supervised.problems(), ["group-shard/0 is down: failure 3"]);
  assert.throws(() => supervised.get(), { code: "ACTOR_DOWN", message: /group-shard\/0 is down/ });
  assert.equal(log.types().filter((type) => type === "actor.down").length, 1);
  assert.equal(clock.pendingTimers, 0);
  await supervised.revive();
  assert.equal(supervised.get().number, 5);
  lives[4]!.fail(broken);
  await clock.advance(100);
  assert.equal(supervised.get().number, 6, "with a clean history");
});

Deno.test("a start that fails is a failure like any other", async () => {
  const clock = new VirtualClock();
  const { supervised, script } = scripted(clock);
  script.startError = new BrokerError("STORAGE_FAILED", "the log cannot be opened");
  await supervised.start();
  assert.throws(() => supervised.get(), { message: /the log cannot be opened/ });
  await clock.advance(100);
  await clock.advance(200);
  assert.equal(supervised.health().failures, 3);
  script.startError = null;
  await clock.advance(400);
  assert.equal(supervised.get().number, 1);
});

Deno.test("the next life starts only after the last one has closed, and an old one is not heard any more", async () => {
  const clock = new VirtualClock();
  const { supervised, lives, script } = scripted(clock);
  await supervised.start();
  script.holdClosing = true;
  lives[0]!.fail(broken);
  lives[0]!.fail(broken);
  await clock.advance(5_000);
  assert.equal(lives.length, 1, "two writers of one journal would be worse than none");
  script.holdClosing = false;
  lives[0]!.finishClosing();
  await clock.advance(100);
  assert.equal(supervised.get().number, 2);
  lives[0]!.fail(broken);
  assert.equal(supervised.get().number, 2);
  assert.equal(supervised.health().failures, 1);
});

Deno.test("close ends the actor in whatever state it is, for good", async () => {
  for (const before of ["starting", "running", "failing", "restarting"]) {
    const clock = new VirtualClock();
    const { supervised, lives } = scripted(clock);
    const started = supervised.start();
    if (before !== "starting") await started;
    if (before === "failing" || before === "restarting") lives[0]!.fail(broken);
    if (before === "restarting") await settle();
    await Promise.all([supervised.close(), supervised.close()]);
    await clock.advance(100_000);
    assert.equal(lives.length, 1);
    assert.ok(lives[0]!.closed, before);
    assert.throws(() => supervised.get(), { code: "SHUTTING_DOWN" });
    assert.equal(clock.pendingTimers, 0);
  }
});

Deno.test("a keyed actor that meets a broken invariant comes back with all that was durable", async () => {
  const world = toyWorld();
  const supervised = new Supervised({
    id: "group-shard/0",
    start: async (onFailure) => {
      const actor = await openToy(world);
      const failures = world.failures;
      failures.push = (error) => (onFailure(error), 0);
      return actor;
    },
    bounds: BOUNDS,
    clock: world.clock,
    timers: world.clock,
    log: world.log,
  });
  await supervised.start();
  await supervised.get().ask("k", add("a"));
  const lost = watch(supervised.get().ask("k", { type: "Explode" }));
  await settle();
  assert.equal((lost.error as BrokerError).code, "ACTOR_DOWN");
  assert.throws(() => supervised.get(), { code: "ACTOR_DOWN" });
  await world.clock.advance(100);
  assert.equal(await supervised.get().ask("k", add("b")), 2);
  await supervised.close();
});

Deno.test("the registry finds actors by id, refuses unknown ones clearly and lists those that do not run", async () => {
  const clock = new VirtualClock();
  const registry = new ActorRegistry();
  const shard = scripted(clock);
  const partition = scripted(clock);
  registry.register("group-shard/0", shard.supervised);
  registry.register("partition/f81d4fae/3", partition.supervised);
  await Promise.all([shard.supervised.start(), partition.supervised.start()]);
  assert.equal(registry.lookup("group-shard/0"), shard.supervised.get());
  assert.throws(() => registry.lookup("group-shard/1"), {
    code: "LEADER_NOT_AVAILABLE",
    message: "no actor group-shard/1 runs on this node",
  });
  assert.throws(() => registry.register("group-shard/0", shard.supervised), /already an actor/);
  assert.throws(() => registry.register("group shard", shard.supervised), /no actor id/);
  assert.deepEqual(registry.ids("partition/"), ["partition/f81d4fae/3"]);
  assert.deepEqual(registry.health({ all: false }), []);
  shard.lives[0]!.fail(broken);
  assert.deepEqual(registry.health({ all: false }).map(({ state }) => state), ["restarting"]);
  assert.equal(registry.health({ all: true }).length, 2);
  assert.throws(() => registry.lookup("group-shard/0"), { code: "ACTOR_DOWN" });
  assert.ok(registry.unregister("group-shard/0"));
  assert.ok(!registry.has("group-shard/0"));
});
