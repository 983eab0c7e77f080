// Tests of waiting for data on behalf of many readers.
import assert from "node:assert/strict";
import { DataWaiters } from "../api/stream/data_waiters.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

const AT = { topic: "orders", partition: 0 };

/** Waits at the broker that end when `reach` says so. */
class Waits {
  readonly time = new VirtualClock();
  readonly open = new Map<number, () => void>();
  started = 0;
  refuses = false;
  readonly waiters = new DataWaiters({
    broker: { waitForData: (_at, offset, { signal }) => this.#wait(offset, signal) },
    timers: this.time,
    dataWaitMs: 60_000,
    retryMs: 1_000,
  });
  readonly woken: string[] = [];

  wait(name: string, offset: number) {
    return this.waiters.wait(AT, offset, () => this.woken.push(name));
  }

  async reach(highWatermark: number): Promise<void> {
    for (const [offset, resolve] of this.open) if (offset < highWatermark) resolve();
    await settle();
  }

  #wait(offset: number, signal?: AbortSignal): Promise<void> {
    this.started++;
    if (this.refuses) return Promise.reject(new Error("not now"));
    return new Promise((resolve) => {
      const end = () => {
        this.open.delete(offset);
        resolve();
      };
      this.open.set(offset, end);
      signal?.addEventListener("abort", end);
    });
  }
}

Deno.test("many readers of a partition are one wait at the broker, and all are woken", async () => {
  const waits = new Waits();
  for (const name of ["a", "b", "c"]) waits.wait(name, 10);
  assert.equal(waits.started, 1);
  await waits.reach(11);
  assert.deepEqual(waits.woken, ["a", "b", "c"]);
  assert.equal(waits.open.size, 0);
});

Deno.test("a reader with a lower offset is not left waiting for the higher one", async () => {
  const waits = new Waits();
  waits.wait("high", 20);
  waits.wait("low", 10);
  await settle();
  await waits.reach(11);
  assert.ok(waits.woken.includes("low"));
});

Deno.test("a reader that is cancelled is not woken, and the last one ends the wait", async () => {
  const waits = new Waits();
  const cancelFirst = waits.wait("a", 10);
  const cancelSecond = waits.wait("b", 10);
  cancelFirst();
  assert.equal(waits.open.size, 1);
  cancelSecond();
  await settle();
  assert.equal(waits.open.size, 0);
  assert.deepEqual(waits.woken, []);
  waits.wait("c", 10);
  await waits.reach(11);
  assert.deepEqual(waits.woken, ["c"]);
});

Deno.test("where one cannot wait readers look again after a while, not at once", async () => {
  const waits = new Waits();
  waits.refuses = true;
  waits.wait("a", 10);
  await waits.time.advance(999);
  assert.deepEqual(waits.woken, []);
  await waits.time.advance(1);
  assert.deepEqual(waits.woken, ["a"]);
  assert.equal(waits.started, 1);
});
