// Owns the figures of replication: publishing to a topic with three replicas beside one with one, on the same three brokers.
// Refuses to own load (load.ts) and starting a cluster (../cluster/). Invariant: both kinds take turns, since the machine
// drifts; all brokers, etcd and the load share this one machine, which the names say.
import { startLocalCluster } from "../cluster/local_cluster.ts";
import type { BenchContext } from "./cases.ts";
import { runLoad } from "./load_process.ts";
import type { LoadResult } from "./load_spec.ts";

const BROKERS = 3;
const PARTITIONS = 3;
const MESSAGE_BYTES = 1_024;
const MEGABYTE = 1_000_000;
/** Back and forth. */
const TURNS = [1, 3, 3, 1] as const;
type Replicas = typeof TURNS[number];

interface Case {
  readonly name: string;
  readonly perRequest: number;
  readonly connections: number;
  /** Requests a second; null: as many as there can be. */
  readonly rate: number | null;
}

const CASES: readonly Case[] = [
  { name: "publish JSON, 1 a request, 500/s", perRequest: 1, connections: 16, rate: 500 },
  { name: "publish JSON, 1 a request", perRequest: 1, connections: 64, rate: null },
  { name: "publish JSON, 100 a request", perRequest: 100, connections: 32, rate: null },
];

interface Sum {
  messages: number;
  bytes: number;
  ms: number;
  readonly results: LoadResult[];
}

/** What three replicas cost: throughput and latency of `acks: "all"` beside one replica. */
export async function replication(context: BenchContext): Promise<void> {
  const dataDir = await context.newDirectory();
  context.onStep("three brokers and etcd start on this machine");
  const over = new AbortController();
  const cluster = await startLocalCluster({ brokers: BROKERS, port: 0, dataDir, etcd: [] }, {
    say: context.onStep,
    signal: over.signal,
  });
  try {
    const { url } = cluster.brokers()[0]!;
    for (const replicas of [1, 3] as const) await createTopic(url, replicas);
    for (const each of CASES) await measure(context, url, each);
  } finally {
    await cluster.stop();
    await Deno.remove(dataDir, { recursive: true });
  }
}

async function measure(context: BenchContext, url: string, each: Case): Promise<void> {
  const seconds = context.plan.secondsPerCase / 2;
  const sums = new Map<Replicas, Sum>();
  for (const replicas of TURNS) {
    context.onStep(`${each.name}, ${replicas} replicas`);
    const sum = sums.get(replicas) ?? { messages: 0, bytes: 0, ms: 0, results: [] };
    sums.set(replicas, sum);
    const result = await runLoad({
      kind: "http-publish",
      url,
      topic: topicOf(replicas),
      seconds,
      format: "json",
      perRequest: each.perRequest,
      messageBytes: MESSAGE_BYTES,
      connections: each.connections,
      partitions: PARTITIONS,
      rate: each.rate,
    });
    sum.messages += result.messages;
    sum.bytes += result.bytes;
    sum.ms += result.ms;
    sum.results.push(result);
  }
  const rateOf = ({ messages, ms }: Sum) => messages * 1_000 / ms;
  const one = rateOf(sums.get(1)!);
  const { diskMegabytesPerSecond } = context.limits;
  for (const replicas of [1, 3] as const) {
    const sum = sums.get(replicas)!;
    const megabytesPerSecond = sum.bytes * 1_000 / sum.ms / MEGABYTE;
    context.onFigure({
      name: `${each.name}, 3 brokers, ${replicas === 1 ? "1 replica" : `${replicas} replicas`}`,
      messagesPerSecond: rateOf(sum),
      megabytesPerSecond,
      latency: sum.results.at(-1)!.latency,
      ratio: replicas === 1
        ? {
          value: megabytesPerSecond / diskMegabytesPerSecond,
          to: "1 MiB writes with sync",
        }
        : { value: rateOf(sum) / one, to: "one replica" },
      refused: sum.results.reduce((refused, result) => refused + result.refused, 0),
    });
  }
}

function topicOf(replicas: Replicas): string {
  return `replicated-${replicas}`;
}

async function createTopic(url: string, replicas: Replicas): Promise<void> {
  const response = await fetch(`${url}/api/topics`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      name: topicOf(replicas),
      partitions: PARTITIONS,
      replicationFactor: replicas,
      minInsyncReplicas: replicas === 1 ? 1 : replicas - 1,
    }),
  });
  if (response.status !== 201) throw new Error(`topic not made: ${await response.text()}`);
  await response.body?.cancel();
}
