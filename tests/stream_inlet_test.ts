// Owns proof that the frames of a client are let in no faster than its rate and its tenant's quota allow, and in order.
// Refuses to own what frames do (stream_session_test.ts and others).
import assert from "node:assert/strict";
import { LOCAL_ADMINISTRATOR } from "../api/auth/access.ts";
import { QuotaGate } from "../api/quota/gate.ts";
import { FrameInlet } from "../api/stream/frame_inlet.ts";
import { STREAM_LIMITS, type StreamLimits } from "../api/stream/limits.ts";
import { BufferBudget } from "../api/stream/outbox.ts";
import { NO_LIMITS, type QuotaLimits } from "../actors/quota/types.ts";
import { StreamWorld } from "./support/stream_fakes.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const KIB = 1_024;

class InletScene {
  readonly time = new VirtualClock();
  readonly budget = new BufferBudget();
  readonly came: [atMs: number, frame: string][] = [];
  tooFast = 0;
  readonly inlet: FrameInlet;

  constructor(limits: Partial<StreamLimits>, quota?: ReturnType<QuotaGate["connect"]>) {
    this.inlet = new FrameInlet({
      clock: this.time,
      timers: this.time,
      budget: this.budget,
      limits: { ...STREAM_LIMITS, ...limits },
      quota,
      onFrame: (data) => this.came.push([this.time.monotonic(), String(data).slice(0, 3)]),
      onTooFast: () => this.tooFast++,
    });
  }
}

Deno.test("frames within a client's rate are let in at once", () => {
  const scene = new InletScene({});
  for (let count = 0; count < 1_000; count++) scene.inlet.push("a commit");
  assert.equal(scene.came.length, 1_000);
  assert.equal(scene.budget.totalBytes, 0);
  assert.equal(scene.time.pendingTimers, 0);
});

Deno.test("frames beyond it wait, in order, counted with what waits for sockets, and too many end the client", async () => {
  const scene = new InletScene({
    maxFrameBytesPerSecond: 10 * KIB,
    maxWaitingFrameBytes: 50 * KIB,
  });
  const frame = (index: number) => `${100 + index}`.padEnd(10 * KIB - 256);
  for (let index = 0; index < 6; index++) scene.inlet.push(frame(index));
  assert.deepEqual(scene.came, [[0, "100"]]);
  assert.equal(scene.budget.totalBytes, 50 * KIB);
  assert.equal(scene.tooFast, 0);
  scene.inlet.push("one more");
  assert.equal(scene.tooFast, 1);
  await scene.time.advance(5_000);
  assert.deepEqual(scene.came.map(([, text]) => text), ["100", "101", "102", "103", "104", "105"]);
  assert.deepEqual(scene.came.map(([at]) => Math.round(at / 1_000)), [0, 1, 2, 3, 4, 5]);
  assert.equal(scene.budget.totalBytes, 0);
  scene.inlet.push(frame(6));
  scene.inlet.push(frame(7));
  scene.inlet.stop();
  assert.equal(scene.budget.totalBytes, 0);
  await scene.time.advance(5_000);
  assert.equal(scene.came.length, 6);
});

Deno.test("while all sockets are full, hardly anything of a client waits", () => {
  const scene = new InletScene({ maxFrameBytesPerSecond: KIB, maxTotalBufferedBytes: 1_000 });
  scene.budget.totalBytes = 1_000;
  scene.inlet.push("x".repeat(KIB));
  scene.inlet.push("x".repeat(60 * KIB));
  assert.equal(scene.tooFast, 0);
  scene.inlet.push("x".repeat(10 * KIB));
  assert.equal(scene.tooFast, 1);
});

Deno.test("frames count as requests of their tenant, whose consumers together have a bound without any quota", async () => {
  const time = new VirtualClock();
  let limits: QuotaLimits = { ...NO_LIMITS, requestsPerSecond: 10 };
  const gate = new QuotaGate({
    broker: {
      topic: () => null,
      topicNames: () => [],
      quotas: { limitsOf: () => limits } as unknown as StreamWorld["broker"]["quotas"],
    },
    clock: time,
    timers: time,
  });
  const consumer = gate.connect(LOCAL_ADMINISTRATOR);
  for (let count = 0; count < 10; count++) assert.equal(consumer.frameDelayMs(100), 0);
  assert.equal(consumer.frameDelayMs(100), 100);
  await time.advance(1_000);
  // A larger one counts as several.
  assert.equal(consumer.frameDelayMs(9 * 16_384 + 1), 0);
  assert.equal(consumer.frameDelayMs(100), 100);
  limits = { ...NO_LIMITS };
  let passed = 0;
  while (consumer.frameDelayMs(1_048_576) === 0) assert.ok(++passed < 100);
  assert.equal(passed, 15);
  assert.equal(gate.connect({ tenant: "another" }).frameDelayMs(1_048_576), 0);
});

Deno.test("a session that sends faster than it may is slowed, and closed when it does not stop", async () => {
  const world = await StreamWorld.open({ limits: { maxFrameBytesPerSecond: 100 * KIB } });
  await world.publish(10);
  const client = await world.consumer();
  const metadata = "x".repeat(4_000);
  const commit = (offset: number) =>
    client.send({ type: "commit", offsets: [{ topic: "orders", partition: 0, offset, metadata }] });
  for (let count = 0; count < 100; count++) commit(1 + count % 10);
  await world.calm();
  const early = client.ofType("committed").length;
  assert.ok(early > 10 && early < 40, `${early} answers at once`);
  for (let second = 0; second < 10; second++) await world.time.advance(1_000);
  assert.equal(client.ofType("committed").length + client.ofType("error").length, 100);
  assert.equal(client.closeCode, null);
  for (let count = 0; count < 2_000 && client.closeCode === null; count++) commit(10);
  assert.equal(client.closeCode, 1008);
  await client.gone();
  assert.equal(world.hub.bufferedBytes, 0);
  await world.close();
});

Deno.test("a client that does not go when it is closed is cut off after a while, one that goes is not", async () => {
  const world = await StreamWorld.open({ limits: { maxFrameBytesPerSecond: 1 } });
  const clients = [await world.consumer(), await world.consumer({ group: "other" })];
  const metadata = "x".repeat(4_096);
  for (const client of clients) {
    const offsets = [{ topic: "orders", partition: 0, offset: 0, metadata }];
    for (let count = 0; client.closeCode === null; count++) {
      assert.ok(count < 10_000);
      client.send({ type: "commit", offsets });
    }
  }
  await clients[1]!.gone();
  await world.time.advance(4_000);
  assert.deepEqual(clients.map(({ socket }) => socket.isCut), [false, false]);
  await world.time.advance(2_000);
  assert.deepEqual(clients.map(({ socket }) => socket.isCut), [true, false]);
  assert.equal(world.hub.size, 1);
  await clients[0]!.gone();
  assert.equal(world.hub.size, 0);
  await world.close();
});
