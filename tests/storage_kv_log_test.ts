// Owns the tests of logs in Deno KV: the contract, and what only they do.
import { crc32c } from "@node-rs/crc32";
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { BrokerError } from "../storage/broker_error.ts";
import type { LogStore } from "../storage/log.ts";
import { type KvLogStore, openKvLogStore } from "../storage/kv/kv_log_store.ts";
import { logContract } from "./contracts/log_contract.ts";
import { CONFIG, filled, readAll } from "./contracts/log_fixture.ts";
import { sampleBatch } from "./support/sample_batches.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { VirtualClock } from "./support/virtual_time.ts";

let seed = 0;

function openAt(path: string, maxLogBytes = 10_000_000): Promise<KvLogStore> {
  const randomness = seededRandomness(++seed);
  return openKvLogStore({ path, clock: new VirtualClock(), randomness, crc32c, maxLogBytes });
}

async function temporary() {
  const directory = await Deno.makeTempDir({ prefix: "waybill-kv-log-" });
  return {
    path: `${directory}/logs.db`,
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

function rejectsWith(code: string, run: () => Promise<unknown>): Promise<void> {
  return assert.rejects(run, (error: unknown) => {
    assert.ok(error instanceof BrokerError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  });
}

logContract("kv log", async () => {
  const place = await temporary();
  let store = await openAt(place.path);
  return {
    store,
    async reopen(): Promise<LogStore> {
      store.close();
      store = await openAt(place.path);
      return store;
    },
    async dispose() {
      store.close();
      await place[Symbol.asyncDispose]();
    },
  };
});

Deno.test("kv log keeps batches that are larger than a value and than an atomic", async () => {
  await using place = await temporary();
  const batches: Uint8Array[] = [];
  let store = await openAt(place.path);
  let log = await store.open("t/0", CONFIG);
  for (const valueBytes of [59_900, 60_000, 65_536, 1_000_000, 10]) {
    const batch = sampleBatch({ baseOffset: log.logEndOffset, valueBytes, timestamps: [1, 2] });
    batches.push(batch);
    await log.append([batch]);
  }
  // One append of more batches, and of more bytes, than an atomic takes.
  const many = Array.from(
    { length: 150 },
    (_, index) => sampleBatch({ baseOffset: 10 + index, valueBytes: 6_000, mark: index }),
  );
  await log.append(many);
  batches.push(...many);
  assert.deepEqual(await readAll(log), batches);
  await log.close();
  store.close();
  store = await openAt(place.path);
  log = await store.open("t/0", CONFIG);
  assert.deepEqual(await readAll(log), batches);
  await log.close();
  store.close();
});

Deno.test("kv log lets only the writer that opened it last append", async () => {
  await using place = await temporary();
  const first = await openAt(place.path);
  const second = await openAt(place.path);
  const { log: old, batches } = await filled(first, "t/0", 2);
  const fresh = await second.open("t/0", CONFIG);
  await rejectsWith("STORAGE_FAILED", () => old.append([sampleBatch({ baseOffset: 4 })]));
  await rejectsWith("STORAGE_FAILED", () => old.truncateTo(0));
  await rejectsWith("STORAGE_FAILED", () => old.append([sampleBatch({ baseOffset: 4 })]));
  // Larger than an atomic: what the old writer writes ahead must not get under the new one's batches.
  const large = (mark: number) => [
    sampleBatch({ baseOffset: 4, valueBytes: 400_000, mark }),
    sampleBatch({ baseOffset: 5, valueBytes: 400_000, mark }),
  ];
  await fresh.append(large(50));
  await fresh.truncateTo(4);
  await fresh.append(large(60));
  assert.deepEqual(await readAll(fresh), [...batches, ...large(60)]);
  for (const log of [old, fresh]) await log.close();
  for (const store of [first, second]) store.close();
});

Deno.test("kv log keeps the pieces of a fenced writer out, when that is fenced before its first one", async () => {
  await using place = await temporary();
  const first = await openAt(place.path);
  const second = await openAt(place.path);
  const old = await first.open("t/0", CONFIG);
  const fresh = await second.open("t/0", CONFIG);
  const large = (mark: number) => [
    sampleBatch({ baseOffset: 0, valueBytes: 400_000, mark }),
    sampleBatch({ baseOffset: 1, valueBytes: 400_000, mark }),
  ];
  await fresh.append(large(1));
  await rejectsWith("STORAGE_FAILED", () => old.append(large(2)));
  assert.deepEqual(await readAll(fresh), large(1));
  for (const log of [old, fresh]) await log.close();
  for (const store of [first, second]) store.close();
});

Deno.test("kv log of two writers that race holds what was acknowledged, each offset once", async () => {
  await using place = await temporary();
  const acked: Uint8Array[] = [];
  await Promise.all([1, 2].map(async (writer) => {
    const store = await openAt(place.path);
    for (let round = 0; round < 8; round++) {
      const log = await store.open("t/0", CONFIG).catch(() => null);
      for (let count = 0; log !== null && count < 5; count++) {
        // Two atomics an append, so that the other writer can come in between.
        const batch = sampleBatch({
          baseOffset: log.logEndOffset,
          valueBytes: 750_000,
          mark: writer * 100 + round * 5 + count,
        });
        const done = await log.append([batch]).then(() => true, () => false);
        if (!done) break;
        acked.push(batch);
        if (acked.length >= 6) break;
      }
      await log?.close();
      if (acked.length >= 6) break;
    }
    store.close();
  }));
  const store = await openAt(place.path, 100_000_000);
  const log = await store.open("t/0", CONFIG);
  const stored = await readAll(log);
  for (const batch of acked) {
    assert.ok(stored.some((found) => Buffer.compare(found, batch) === 0), "an acked batch is lost");
  }
  assert.equal(stored.length, acked.length, "nothing else is there");
  await log.close();
  store.close();
});

Deno.test("kv log refuses an append beyond its bound, keeps nothing of it, and goes on after retention", async () => {
  await using place = await temporary();
  const size = sampleBatch({ baseOffset: 0, timestamps: [1_000, 1_000] }).length;
  const store = await openAt(place.path, 4 * size);
  const { log } = await filled(store, "t/0", 4, { ...CONFIG, segmentBytes: size });
  const next = () => log.append([sampleBatch({ baseOffset: 8, timestamps: [9_000, 9_000] })]);
  await assert.rejects(next, /at most \d+/);
  await rejectsWith("DISK_FULL", next);
  assert.equal(log.logEndOffset, 8);
  await log.applyRetention({ now: 0, retentionMs: null, retentionBytes: 3 * size, keepFrom: 8 });
  assert.deepEqual(await next(), { baseOffset: 8, logEndOffset: 10 });
  await log.close();
  store.close();
});

Deno.test("kv log forgets what an append left behind that was cut short by a crash", async () => {
  await using place = await temporary();
  let store = await openAt(place.path);
  const { log, batches } = await filled(store, "t/0", 2);
  await log.close();
  store.close();
  const kv = await Deno.openKv(place.path);
  for (const [baseOffset, piece] of [[4, 0], [4, 1], [5, 0], [7, 3]] as const) {
    await kv.set(["batches", "t/0", baseOffset, piece], new Uint8Array([1, 2, 3]));
  }
  kv.close();
  store = await openAt(place.path);
  const again = await store.open("t/0", CONFIG);
  assert.equal(again.logEndOffset, 4);
  const next = sampleBatch({ baseOffset: 4, timestamps: [1, 1, 1, 1, 1] });
  await again.append([next]);
  assert.deepEqual(await readAll(again), [...batches, next]);
  await again.close();
  store.close();
});

Deno.test("kv log refuses a damaged or missing batch, when it is opened and when it is read", async () => {
  await using place = await temporary();
  const damages: ((batch: Uint8Array) => Uint8Array | null)[] = [
    () => null,
    (batch) => batch.with(70, batch[70]! ^ 1),
    (batch) => batch.subarray(0, batch.length - 1),
    (batch) => Uint8Array.from([...batch, 0]),
    () => new Uint8Array(3),
  ];
  for (const damage of damages) {
    const store = await openAt(place.path);
    await store.remove("t/0");
    const { log, batches } = await filled(store, "t/0", 3);
    const kv = await Deno.openKv(place.path);
    const key = ["batches", "t/0", 2, 0];
    const damaged = damage(batches[1]!);
    await (damaged === null ? kv.delete(key) : kv.set(key, damaged));
    kv.close();
    assert.deepEqual(
      new Uint8Array(await log.read(0, { endOffset: 2, maxBytes: 1e6 })),
      batches[0],
      "what is not damaged is served",
    );
    await rejectsWith("CORRUPT_LOG", () => log.read(0, { endOffset: 6, maxBytes: 1e6 }));
    await rejectsWith("CORRUPT_LOG", () => log.read(3, { endOffset: 6, maxBytes: 1 }));
    await log.close();
    await rejectsWith("CORRUPT_LOG", () => store.open("t/0", CONFIG));
    store.close();
  }
});

Deno.test("kv log reads on while it is cut from both ends", async () => {
  await using place = await temporary();
  const store = await openAt(place.path);
  const config = { ...CONFIG, segmentBytes: 100 };
  for (const round of [0, 1]) {
    const { log } = await filled(store, `t/${round}`, 1, config);
    const batches = Array.from({ length: 250 }, (_, at) => sampleBatch({ baseOffset: 2 + at }));
    await log.append(batches);
    let cutting = true;
    const policy = { now: 0, retentionMs: null, retentionBytes: 5_000, keepFrom: 1e9 };
    const cut = async () => {
      await (round === 0 ? log.truncateTo(200) : log.applyRetention(policy));
      cutting = false;
    };
    const done = cut();
    const reads: Promise<Uint8Array>[] = [];
    while (cutting) {
      reads.push(log.read(log.logStartOffset, { endOffset: 1e9, maxBytes: 1e9 }));
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    await done;
    for (const [index, read] of (await Promise.allSettled(reads)).entries()) {
      // What retention has dropped since may be out of range; damaged it is not.
      const code = read.status === "rejected" ? read.reason.code : "";
      assert.ok(["", "OFFSET_OUT_OF_RANGE"].includes(code), `read ${index}: ${code}`);
    }
    await log.close();
  }
  store.close();
});
