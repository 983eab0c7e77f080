// Owns the figure of the noisy tenant: what others' publishes cost beside one that asks for ten times its quota.
// Refuses to own load (load.ts) and how quotas work. Invariant: the same noise without a quota is measured beside it, so that
// the figure shows what the quota does, and all take turns, since the machine drifts.
import { type BrokerChild, startBrokerChild } from "../broker_child.ts";
import type { BenchContext } from "./cases.ts";
import { runLoad } from "./load_process.ts";
import type { LoadResult } from "./load_spec.ts";
import type { Latency } from "./quantiles.ts";

const ADMIN_TOKEN = "bench-administrator";
const MESSAGE_BYTES = 1_024;
/** Of the tenant whose p99 counts: single messages. */
const QUIET_RATE = 500;
const QUIET_CONNECTIONS = 16;
const NOISY_QUOTA_MESSAGES = 10_000;
const NOISY_PER_REQUEST = 100;
const TIMES_ITS_QUOTA = 10;
const NOISY_CONNECTIONS = 64;
/** The noise begins before what is measured, with the burst that its quota allows once, and ends after it. */
const NOISE_LEAD_MS = 2_500;
const NOISE_MARGIN_SECONDS = 5;

interface Tenant {
  readonly topic: string;
  readonly token: string;
}

/** What the other tenant does: nothing, what its quota allows, ten times that, or ten times that without a quota. */
type Beside = "nothing" | "its quota" | "ten times its quota" | "the same without a quota";
const TURNS: readonly Beside[] = [
  "nothing",
  "its quota",
  "ten times its quota",
  "the same without a quota",
];
/** Each takes its turn so often, and the median counts: the machine has moods of its own. */
const ROUNDS = 3;

/** p99 of one tenant alone, beside a noisy one without quota, and with one that is ten times over it. */
export async function tenants(context: BenchContext): Promise<void> {
  const directory = await context.newDirectory();
  const args = [`--admin-token=${ADMIN_TOKEN}`];
  const broker = await startBrokerChild({ dataDir: directory, args });
  try {
    await measure(context, broker);
  } finally {
    await broker.kill("SIGTERM");
    await Deno.remove(directory, { recursive: true });
  }
}

async function measure(context: BenchContext, broker: BrokerChild): Promise<void> {
  const acl = { principal: "*", resource: "topic", pattern: "*", patternType: "literal" };
  await ask(broker, "POST", "/api/acls", { ...acl, operation: "write", effect: "allow" });
  const quiet = await tenant(broker, "quiet");
  const noisy = await tenant(broker, "noisy");
  const found = new Map<Beside, LoadResult[]>();
  const passed = new Map<Beside, LoadResult[]>();
  for (const beside of Array.from({ length: ROUNDS }, () => TURNS).flat()) {
    context.onStep(`a tenant whose neighbour publishes ${beside}`);
    const limit = beside === "the same without a quota" ? null : NOISY_QUOTA_MESSAGES;
    await ask(broker, "PUT", "/api/quotas/noisy", { publishMessagesPerSecond: limit });
    const seconds = context.plan.secondsPerCase / 2;
    const times = beside === "its quota" ? 1 : TIMES_ITS_QUOTA;
    const noise = beside === "nothing" ? null : makeNoise(broker, noisy, { seconds, times });
    if (noise !== null) await new Promise((resolve) => setTimeout(resolve, NOISE_LEAD_MS));
    append(found, beside, await publishQuietly(broker, quiet, seconds));
    if (noise !== null) append(passed, beside, await noise);
  }
  const alone = medianLatency(found.get("nothing")!);
  for (const [beside, results] of found) {
    const latency = medianLatency(results);
    context.onFigure({
      name: nameOf(beside, passed.get(beside)),
      latency,
      ratio: { value: latency.p99 / alone.p99, to: "p99 alone" },
      refused: results.reduce((sum, { refused }) => sum + refused, 0),
    });
  }
}

function nameOf(beside: Beside, passed: readonly LoadResult[] | undefined): string {
  if (passed === undefined) return `publish JSON, 1 a request, at ${QUIET_RATE}/s`;
  const rate = passed.reduce((sum, { messages, ms }) => sum + messages * 1_000 / ms, 0);
  const shown = Math.round(rate / passed.length).toLocaleString("en-US");
  return `beside a tenant that publishes ${beside}: ${shown} messages/s pass`;
}

function append(results: Map<Beside, LoadResult[]>, beside: Beside, result: LoadResult): void {
  results.set(beside, [...results.get(beside) ?? [], result]);
}

function publishQuietly(
  broker: BrokerChild,
  quiet: Tenant,
  seconds: number,
): Promise<LoadResult> {
  return runLoad({
    ...quiet,
    kind: "http-publish",
    url: broker.url,
    seconds,
    format: "json",
    perRequest: 1,
    messageBytes: MESSAGE_BYTES,
    connections: QUIET_CONNECTIONS,
    partitions: 1,
    rate: QUIET_RATE,
  });
}

/** As fast as is asked for, whatever the answers: a client that minds no Retry-After. */
function makeNoise(
  broker: BrokerChild,
  noisy: Tenant,
  { seconds, times }: { seconds: number; times: number },
): Promise<LoadResult> {
  return runLoad({
    ...noisy,
    endsOnTime: true,
    kind: "http-publish",
    url: broker.url,
    seconds: seconds + NOISE_MARGIN_SECONDS,
    format: "json",
    perRequest: NOISY_PER_REQUEST,
    messageBytes: MESSAGE_BYTES,
    connections: NOISY_CONNECTIONS,
    partitions: 1,
    // A tenant that keeps to its quota stays a little below: requests do not come evenly.
    rate: NOISY_QUOTA_MESSAGES * (times === 1 ? 0.95 : times) / NOISY_PER_REQUEST,
  });
}

async function tenant(broker: BrokerChild, name: string): Promise<Tenant> {
  await ask(broker, "POST", "/api/topics", { name });
  const { key } = await ask(broker, "POST", "/api/keys", { principal: name, tenant: name });
  return { topic: name, token: key as string };
}

async function ask(
  broker: BrokerChild,
  method: string,
  path: string,
  body: unknown,
): Promise<Record<string, unknown>> {
  const headers = {
    authorization: `Bearer ${ADMIN_TOKEN}`,
    "content-type": "application/json",
  };
  const response = await fetch(`${broker.url}${path}`, {
    method,
    headers,
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${method} ${path}: ${await response.text()}`);
  return await response.json();
}

function medianLatency(results: readonly LoadResult[]): Latency {
  const median = (of: (latency: Latency) => number) => {
    const sorted = results.map(({ latency }) => of(latency!)).sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)]!;
  };
  return {
    p50: median(({ p50 }) => p50),
    p99: median(({ p99 }) => p99),
    p999: median(({ p999 }) => p999),
    max: median(({ max }) => max),
  };
}
