// Owns the tests of logs in memory: the contract, and what only they do.
import assert from "node:assert/strict";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { logContract } from "./contracts/log_contract.ts";
import { CONFIG, filled, readAll } from "./contracts/log_fixture.ts";
import { sampleBatch } from "./support/sample_batches.ts";
import { VirtualClock } from "./support/virtual_time.ts";

logContract("memory log", () => {
  const store = new MemoryLogStore(new VirtualClock());
  return Promise.resolve({
    store,
    reopen: () => Promise.resolve(store),
    dispose: () => Promise.resolve(),
  });
});

Deno.test("memory log loses in a crash what was not flushed, and only that", async () => {
  const store = new MemoryLogStore(new VirtualClock());
  const { log, batches } = await filled(store, "t/0", 2);
  await log.configure({ ...CONFIG, durability: "os" });
  await log.append([sampleBatch({ baseOffset: 4 })]);
  assert.deepEqual([log.flushedOffset, log.logEndOffset], [4, 5]);
  store.crash();
  await assert.rejects(log.read(0, { endOffset: 4, maxBytes: 1 }), /closed/);
  const again = await store.open("t/0", CONFIG);
  assert.equal(again.logEndOffset, 4);
  assert.deepEqual(await readAll(again), batches);
});

Deno.test("memory log does not acknowledge an append that a crash has overtaken", async () => {
  const store = new MemoryLogStore(new VirtualClock());
  const log = await store.open("t/0", CONFIG);
  const append = log.append([sampleBatch({ baseOffset: 0 })]);
  store.crash();
  await assert.rejects(append, /closed/);
  assert.equal((await store.open("t/0", CONFIG)).logEndOffset, 0);
});

Deno.test("memory log has one handle at a time, and is not removed while it is open", async () => {
  const store = new MemoryLogStore(new VirtualClock());
  const log = await store.open("t/0", CONFIG);
  await assert.rejects(store.open("t/0", CONFIG), /open already/);
  await assert.rejects(store.remove("t/0"), /close it/);
  await log.close();
  await store.remove("t/0");
});

Deno.test("memory log closes a segment by age, on the monotonic clock", async () => {
  const clock = new VirtualClock();
  const store = new MemoryLogStore(clock);
  const config = { ...CONFIG, segmentMs: 1_000 };
  const log = await store.open("t/0", config);
  const policy = { now: 1e15, retentionMs: 0, retentionBytes: null, keepFrom: 1e15 };
  const append = () => log.append([sampleBatch({ baseOffset: log.logEndOffset })]);
  await append();
  clock.jumpWall(86_400_000);
  await append();
  assert.equal(await log.applyRetention(policy), 0);
  await clock.advance(1_000);
  await append();
  assert.equal(await log.applyRetention(policy), 2);
});

Deno.test("memory log writes on in the segment that a cut has reopened", async () => {
  const store = new MemoryLogStore(new VirtualClock());
  const size = sampleBatch({ baseOffset: 0, timestamps: [1, 1] }).length;
  const { log } = await filled(store, "t/0", 6, { ...CONFIG, segmentBytes: 3 * size });
  const all = { now: 1e15, retentionMs: 0, retentionBytes: 0, keepFrom: 1e15 };
  await log.truncateTo(4);
  await log.append([sampleBatch({ baseOffset: 4, timestamps: [1, 1] })]);
  assert.equal(await log.applyRetention(all), 0);
  await log.append([sampleBatch({ baseOffset: 6, timestamps: [1, 1] })]);
  assert.equal(await log.applyRetention(all), 6);
});
