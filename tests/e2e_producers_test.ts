// Owns proof that idempotent producers, by HTTP and by SDK, get each message stored once over kills by signal 9 (I1, I4).
// Refuses to own the rules in detail (partition_producers_test.ts, client_idempotence_test.ts).
import assert from "node:assert/strict";
import { WaybillClient } from "../api/client.ts";
import { type BrokerProcess, startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { createTopic, readPartition } from "./support/numbered_load.ts";

const KILLS = 4;
const UP_MS = 400;
const DEADLINE_MS = 60_000;
const PARTITIONS = 2;
const PER_REQUEST = 5;

/** Where the broker is now; it moves with every start. */
interface Place {
  url: string;
  done: boolean;
}

/** Publishes numbered messages one request after the other; each again until it is answered, some once more. */
async function publishByHttp(place: Place, partition: number): Promise<number> {
  const ask = async (path: string, body: unknown) => {
    for (const give = Date.now() + DEADLINE_MS; Date.now() < give;) {
      try {
        const response = await fetch(`${place.url}${path}`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(body),
        });
        const data = await response.json();
        if (response.ok) return data;
        assert.ok(data.retryable, JSON.stringify(data));
      } catch (error) {
        if (error instanceof assert.AssertionError) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error("the broker did not come back");
  };
  const producer = await ask("/api/producers", {});
  let sequence = 0;
  while (!place.done) {
    const messages = Array.from({ length: PER_REQUEST }, (_, index) => ({
      value: `http ${sequence + index}`,
    }));
    const request = { topic: "once", partition, messages, ...producer, sequence };
    const first = await ask("/api/messages:publish", request);
    if (sequence % 3 === 0) {
      const again = await ask("/api/messages:publish", request);
      const offsets = (answer: { results: { offset: number }[] }) =>
        answer.results.map(({ offset }) => offset);
      assert.deepEqual(offsets(again), offsets(first));
      assert.ok(again.results.every(({ duplicate }: { duplicate: boolean }) => duplicate));
    }
    sequence += PER_REQUEST;
  }
  return sequence;
}

async function publishBySdk(place: Place): Promise<number[]> {
  const client = new WaybillClient({
    url: "http://broker",
    fetch: (url, init) =>
      fetch(`${place.url}${new URL(`${url}`).pathname}${new URL(`${url}`).search}`, init),
  });
  const producer = client.producer({ lingerMs: 1, requestTimeoutMs: 2_000 });
  const counts = Array.from({ length: PARTITIONS }, () => 0);
  while (!place.done) {
    for (let partition = 0; partition < PARTITIONS; partition++) {
      for (let each = 0; each < 20; each++) {
        producer.enqueue("once", { partition, value: `sdk ${counts[partition]!++}` });
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
    await producer.ready();
  }
  await producer.flush();
  await producer.close();
  return counts;
}

Deno.test(`each message of idempotent producers is stored once over ${KILLS} kills`, async () => {
  await withDataDir(async (dataDir) => {
    let broker: BrokerProcess = await startBrokerProcess({ dataDir });
    await createTopic(broker.url, { name: "once", partitions: PARTITIONS, segmentBytes: 65_536 });
    const place: Place = { url: broker.url, done: false };
    const http = Array.from(
      { length: PARTITIONS },
      (_, partition) => publishByHttp(place, partition),
    );
    const sdk = publishBySdk(place);
    for (let kill = 0; kill < KILLS; kill++) {
      await new Promise((resolve) => setTimeout(resolve, UP_MS / 2 + Math.random() * UP_MS));
      await broker.stop("SIGKILL");
      broker = await startBrokerProcess({ dataDir });
      place.url = broker.url;
    }
    place.done = true;
    const [httpCounts, sdkCounts] = [await Promise.all(http), await sdk];
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const seen = await readPartition(broker.url, "once", { partition, from: 0 });
      const values = seen.map(({ value }) => `${value}`);
      const numbered = (name: string, count: number) =>
        Array.from({ length: count }, (_, index) => `${name} ${index}`);
      const of = (name: string) => values.filter((value) => value.startsWith(name));
      assert.ok(httpCounts[partition]! > KILLS * PER_REQUEST);
      assert.deepEqual(of("http"), numbered("http", httpCounts[partition]!));
      assert.deepEqual(of("sdk"), numbered("sdk", sdkCounts[partition]!));
    }
    await broker.stop("SIGTERM");
  });
});
