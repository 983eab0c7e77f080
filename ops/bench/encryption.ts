// Owns the figures of encryption at rest: publishing to an encrypted topic, and reading it from disk, beside one that is not.
// Refuses to own load (load.ts). Invariant: both kinds take turns on the same broker, since the machine drifts.
import { type BrokerChild, startBrokerChild } from "../broker_child.ts";
import type { BenchContext } from "./cases.ts";
import { runLoad } from "./load_process.ts";
import type { LoadResult } from "./load_spec.ts";

const KEY = "ab".repeat(32);
const MESSAGE_BYTES = 1_024;
const MEGABYTE = 1_000_000;
/** Back and forth. */
const TURNS = ["none", "aes-256-gcm", "aes-256-gcm", "none"] as const;
type Encryption = typeof TURNS[number];

interface Case {
  readonly name: string;
  run(broker: BrokerChild, topic: string, seconds: number): Promise<LoadResult>;
}

const CASES: readonly Case[] = [
  { name: "publish JSON, 1 a request", run: (...at) => publish(...at, 1) },
  { name: "publish JSON, 100 a request", run: (...at) => publish(...at, 100) },
  { name: "publish SDK", run: publishSdk },
  { name: "consume what was published, from disk", run: consume },
];

/** What encryption costs: throughput as a ratio to that of a topic without it. */
export async function encryption(context: BenchContext): Promise<void> {
  const directory = await context.newDirectory();
  // Without a tail cache, consumers read from disk.
  const args = [`--encryption-key=${KEY}`, "--tail-cache-bytes=0"];
  const broker = await startBrokerChild({ dataDir: directory, args });
  try {
    for (const topic of TURNS.slice(0, 2)) await createTopic(broker, topic);
    for (const each of CASES) await measure(context, broker, each);
  } finally {
    await broker.kill("SIGTERM");
    await Deno.remove(directory, { recursive: true });
  }
}

async function measure(context: BenchContext, broker: BrokerChild, each: Case): Promise<void> {
  const seconds = context.plan.secondsPerCase / 2;
  const sums = new Map<Encryption, { messages: number; bytes: number; ms: number }>();
  for (const encryption of TURNS) {
    context.onStep(`${each.name}, encryption ${encryption}`);
    const result = await each.run(broker, encryption, seconds);
    const sum = sums.get(encryption) ?? { messages: 0, bytes: 0, ms: 0 };
    sum.messages += result.messages;
    sum.bytes += result.bytes;
    sum.ms += result.ms;
    sums.set(encryption, sum);
  }
  const rate = (encryption: Encryption) => {
    const { messages, ms } = sums.get(encryption)!;
    return messages * 1_000 / ms;
  };
  const { bytes, ms } = sums.get("aes-256-gcm")!;
  context.onFigure({
    name: `${each.name}, encrypted`,
    messagesPerSecond: rate("aes-256-gcm"),
    megabytesPerSecond: bytes * 1_000 / ms / MEGABYTE,
    ratio: { value: rate("aes-256-gcm") / rate("none"), to: "the same without encryption" },
  });
}

async function createTopic({ url }: BrokerChild, encryption: Encryption): Promise<void> {
  const response = await fetch(`${url}/api/topics`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name: encryption, encryption }),
  });
  if (response.status !== 201) throw new Error(`topic not made: ${await response.text()}`);
  await response.body?.cancel();
}

function publish(
  broker: BrokerChild,
  topic: string,
  seconds: number,
  perRequest: number,
): Promise<LoadResult> {
  return runLoad({
    kind: "http-publish",
    url: broker.url,
    topic,
    seconds,
    format: "json",
    perRequest,
    messageBytes: MESSAGE_BYTES,
    connections: perRequest === 1 ? 64 : 32,
    partitions: 1,
    rate: null,
  });
}

function publishSdk(broker: BrokerChild, topic: string, seconds: number): Promise<LoadResult> {
  const { url } = broker;
  const messageBytes = MESSAGE_BYTES;
  return runLoad({ kind: "sdk-publish", url, topic, seconds, messageBytes, totalBytes: null });
}

let groups = 0;

function consume({ url }: BrokerChild, topic: string): Promise<LoadResult> {
  return runLoad({
    kind: "consume",
    url,
    topic,
    group: `encryption-${groups++}`,
    format: "batch",
    messages: 20_000,
    maxInFlight: 100_000,
  });
}
