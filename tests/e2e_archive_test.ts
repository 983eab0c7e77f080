// Owns proof that a real broker that is killed while it archives to S3 and compacts loses nothing it acknowledged.
import assert from "node:assert/strict";
import { WaybillClient } from "../api/client.ts";
import { startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { startS3 } from "./support/s3_server.ts";

const ROUNDS = 3;
const ROUND_MS = 1_800;
const PER_REQUEST = 50;
const KEYS = 20;
const SEGMENT_BYTES = 65_536;
const PADDING = "x".repeat(500);

interface Written {
  /** Numbers that were acknowledged to the archived topic. */
  readonly acked: Set<number>;
  /** By key, the last number that was acknowledged to the compacted one. */
  readonly newest: Map<string, number>;
  next: number;
}

async function post(url: string, path: string, body: unknown): Promise<Response> {
  return await fetch(url + path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

/** Publishes until `signal` or the broker's end. */
async function publish(url: string, written: Written, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const numbers = Array.from({ length: PER_REQUEST }, () => written.next++);
    const value = (number: number) => `${number} ${PADDING}`;
    const logs = numbers.map((number) => ({ value: value(number) }));
    const users = numbers.map((number) => ({ key: `k${number % KEYS}`, value: value(number) }));
    try {
      const first = await post(url, "/api/messages:publish", { topic: "logs", messages: logs });
      if (first.ok) { for (const number of numbers) written.acked.add(number); }
      await first.body?.cancel();
      const second = await post(url, "/api/messages:publish", { topic: "users", messages: users });
      if (second.ok) {
        for (const number of numbers) written.newest.set(`k${number % KEYS}`, number);
      }
      await second.body?.cancel();
    } catch {
      // Killed: what is not acknowledged is "maybe".
      return;
    }
  }
}

async function readAll(url: string, topic: string): Promise<{ key: string; number: number }[]> {
  const found: { key: string; number: number }[] = [];
  let next = "earliest";
  for (;;) {
    const path = `/api/topics/${topic}/partitions/0/messages?offset=${next}&maxMessages=1000`;
    const page = await (await fetch(url + path)).json();
    assert.ok(Array.isArray(page.messages), JSON.stringify(page));
    for (const { key, value } of page.messages) found.push({ key, number: parseInt(value) });
    if (page.nextOffset === page.highWatermark) return found;
    next = String(page.nextOffset);
  }
}

/** The client's consumer, over record batches as they are stored, gets the same as the HTTP read. */
async function consumeAll(url: string, topic: string): Promise<void> {
  const expected = await readAll(url, topic);
  const client = new WaybillClient({ url });
  const consumer = client.consumer({ group: `all-${topic}`, topics: [topic] });
  const consumed: number[] = [];
  for await (const message of consumer) {
    consumed.push(parseInt(message.value as string));
    if (consumed.length % 500 === 0) await consumer.commit(message);
    if (consumed.length === expected.length) break;
  }
  await consumer.close();
  assert.deepEqual(consumed, expected.map(({ number }) => number), topic);
}

async function sizeOf(url: string, topic: string): Promise<number> {
  return (await (await fetch(`${url}/api/topics/${topic}`)).json()).partitions[0].sizeBytes;
}

/** Nothing is published any more: resolves when nothing is left to compact either. */
async function compacted(url: string): Promise<void> {
  let size = -1;
  for (let waits = 0; waits < 20; waits++) {
    const before = size;
    size = await sizeOf(url, "users");
    if (size === before) return;
    await new Promise((resolve) => setTimeout(resolve, 2_500));
  }
  assert.fail("compaction does not come to an end");
}

Deno.test("a broker killed while it archives to S3 and compacts serves all it acknowledged, and every key its newest", async () => {
  const s3 = await startS3();
  const { endpoint, bucket, region, accessKeyId, secretAccessKey } = s3.config;
  const args = [
    "--retention-interval-ms=1000",
    `--archive-s3-endpoint=${endpoint}`,
    `--archive-s3-bucket=${bucket}`,
    `--archive-s3-region=${region}`,
    `--archive-s3-access-key-id=${accessKeyId}`,
    "--tail-cache-bytes=0",
  ];
  const environment = { WAYBILL_ARCHIVE_S3_SECRET_ACCESS_KEY: secretAccessKey };
  try {
    await withDataDir(async (dataDir) => {
      const written: Written = { acked: new Set(), newest: new Map(), next: 0 };
      for (let round = 0; round <= ROUNDS; round++) {
        await using broker = await startBrokerProcess({ dataDir, args, environment });
        const { url } = broker;
        if (round === 0) {
          const shared = { partitions: 1, segmentBytes: SEGMENT_BYTES };
          const logs = { ...shared, name: "logs", archive: true, retentionBytes: SEGMENT_BYTES };
          assert.equal((await post(url, "/api/topics", logs)).status, 201);
          const users = { ...shared, name: "users", cleanupPolicy: "compact" };
          assert.equal((await post(url, "/api/topics", users)).status, 201);
        }
        const stop = new AbortController();
        const publishing = publish(url, written, stop.signal);
        const durationMs = ROUND_MS + Math.random() * 300;
        await new Promise((resolve) => setTimeout(resolve, durationMs));
        if (round < ROUNDS) await broker.stop("SIGKILL");
        stop.abort();
        await publishing;
        if (round < ROUNDS) continue;
        await compacted(url);
        const stored = await readAll(url, "logs");
        const times = new Map<number, number>();
        for (const { number } of stored) times.set(number, (times.get(number) ?? 0) + 1);
        const lost = [...written.acked].filter((number) => times.get(number) !== 1);
        assert.deepEqual(lost.slice(0, 10), [], "lost or doubled");
        assert.deepEqual(
          stored.map(({ number }) => number),
          [...times.keys()].sort((a, b) => a - b),
        );
        const table = new Map(
          (await readAll(url, "users")).map(({ key, number }) => [key, number]),
        );
        for (const [key, number] of written.newest) {
          assert.ok((table.get(key) ?? -1) >= number, `${key} is ${table.get(key)}, not ${number}`);
        }
        for (const topic of ["logs", "users"]) await consumeAll(url, topic);
        const total = stored.length * PADDING.length;
        assert.ok(await sizeOf(url, "logs") < total / 2, "most of it lies in the archive");
        assert.ok(await sizeOf(url, "users") < total / 2, "most of it was compacted away");
        assert.equal((await broker.stop("SIGTERM")).code, 0);
        assert.doesNotMatch(broker.log(), /CORRUPT|damaged|stack/i);
      }
      assert.ok(written.acked.size > 2_000, `${written.acked.size} messages`);
    });
  } finally {
    await s3.close();
  }
});
