// Owns loads that go through the client SDK: publishing, publish-to-delivery latency, consumers that wait.
// Refuses to own the client. Invariant: a message counts as published when the broker has acknowledged it.
import { type Consumer, WaybillClient } from "../../api/client.ts";
import type { EndToEndSpec, IdleSpec, LoadResult, SdkPublishSpec } from "./load_spec.ts";
import { Samples } from "./quantiles.ts";

const CHUNK_MESSAGES = 1_000;
const MAX_SAMPLES = 1_000_000;
/** Latencies count from here on: before, this process itself is being compiled. */
const WARM_UP_MS = 1_000;
/** After publishing ends, what is still on its way has this long to arrive. */
const SETTLE_MS = 5_000;
/** Consumers that connect at the same time. */
const CONNECTING_AT_ONCE = 50;

export async function runSdkPublish(spec: SdkPublishSpec): Promise<LoadResult> {
  const client = new WaybillClient({ url: spec.url });
  const producer = client.producer({ idempotent: spec.idempotent ?? true });
  const value = new Uint8Array(spec.messageBytes).fill(0x78);
  const ends = performance.now() + spec.seconds * 1_000;
  const most = spec.totalBytes === null ? Infinity : spec.totalBytes / spec.messageBytes;
  let messages = 0;
  const started = performance.now();
  while (messages < most && performance.now() < ends) {
    for (let i = 0; i < CHUNK_MESSAGES && messages < most; i++) {
      while (!producer.enqueue(spec.topic, { value })) await producer.ready();
      messages++;
    }
    await producer.ready();
  }
  await producer.flush();
  const ms = performance.now() - started;
  await client.close();
  return { messages, bytes: messages * spec.messageBytes, ms, latency: null, refused: 0 };
}

export async function runEndToEnd(spec: EndToEndSpec): Promise<LoadResult> {
  const client = new WaybillClient({ url: spec.url });
  const assigned = Promise.withResolvers<void>();
  const consumer = client.consumer({
    group: `end-to-end-${spec.topic}`,
    topics: [spec.topic],
    autoOffsetReset: "earliest",
    autoCommit: true,
    onAssigned: (partitions) => {
      if (partitions.length > 0) assigned.resolve();
    },
  });
  const samples = new Samples(MAX_SAMPLES);
  let received = 0;
  const warmFrom = performance.now() + WARM_UP_MS;
  const consuming = (async () => {
    for await (const message of consumer) {
      if (Number(message.key) >= warmFrom) samples.add(performance.now() - Number(message.key));
      received++;
    }
  })();
  await assigned.promise;
  const sent = await publishAtRate(spec);
  const deadline = performance.now() + SETTLE_MS;
  while (received < sent && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await consumer.close();
  await consuming;
  await client.close();
  if (received < sent) throw new Error(`${sent - received} of ${sent} messages did not arrive`);
  const bytes = received * spec.messageBytes;
  const ms = spec.seconds * 1_000;
  return { messages: received, bytes, ms, latency: samples.latency(), refused: 0 };
}

/** Each message's key is the time at which it was due, on this process's clock. */
async function publishAtRate(spec: EndToEndSpec): Promise<number> {
  const value = "x".repeat(spec.messageBytes);
  const started = performance.now();
  const pending = new Set<Promise<void>>();
  const total = spec.seconds * spec.rate;
  for (let n = 0; n < total; n++) {
    const due = started + n * 1_000 / spec.rate;
    const early = due - performance.now();
    if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
    const publishing = publishOne(spec, { key: String(due), value });
    pending.add(publishing);
    publishing.finally(() => pending.delete(publishing));
  }
  await Promise.all(pending);
  return total;
}

async function publishOne(
  spec: EndToEndSpec,
  message: { key: string; value: string },
): Promise<void> {
  const response = await fetch(`${spec.url}/api/messages:publish`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ topic: spec.topic, messages: [message] }),
  });
  await response.body?.cancel();
  if (!response.ok) throw new Error(`a publish was answered with ${response.status}`);
}

export async function runIdle(spec: IdleSpec): Promise<never> {
  const client = new WaybillClient({ url: spec.url });
  let connected = 0;
  for (let from = 0; from < spec.consumers; from += CONNECTING_AT_ONCE) {
    const wanted = Math.min(from + CONNECTING_AT_ONCE, spec.consumers);
    const ready = Promise.withResolvers<void>();
    const onConnected = () => {
      if (++connected >= wanted) ready.resolve();
    };
    for (let n = from; n < wanted; n++) idleConsumer(client, spec, { n, onConnected });
    await ready.promise;
  }
  console.log("ready");
  return await new Promise<never>(() => {});
}

function idleConsumer(
  client: WaybillClient,
  spec: IdleSpec,
  options: { n: number; onConnected: () => void },
): Consumer {
  const consumer = client.consumer({
    group: `idle-${options.n}`,
    topics: [spec.topic],
    onConnected: options.onConnected,
  });
  consumer.start();
  return consumer;
}
