// Owns the figure of the noisy tenant: what others' publishes cost beside one that asks for ten times its quota.
// Refuses to own load (load.ts) and how quotas work. Invariant: the same noise without a quota is measured beside it, so that
// the figure shows what the quota does, and all three take turns, since the machine drifts.
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

type Beside = "alone" | "noise without quota" | "noise with quota";
const TURNS: readonly Beside[] = [
  "alone",
  "noise with quota",
  "noise without quota",
  "noise without quota",
  "noise with quota",
  "alone",
];

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
  let heard = 0;
  for (const beside of TURNS) {
    context.onStep(`a tenant ${beside === "alone" ? beside : `beside ${beside}`}`);
    const limit = beside === "noise with quota" ? NOISY_QUOTA_MESSAGES : null;
    await ask(broker, "PUT", "/api/quotas/noisy", { publishMessagesPerSecond: limit });
    const seconds = context.plan.secondsPerCase;
    const noise = beside === "alone" ? null : makeNoise(broker, noisy, seconds);
    if (noise !== null) await new Promise((resolve) => setTimeout(resolve, NOISE_LEAD_MS));
    const result = await publishQuietly(broker, quiet, seconds);
    found.set(beside, [...found.get(beside) ?? [], result]);
    if (noise === null) continue;
    const { messages, ms } = await noise;
    if (limit !== null) heard += messages * 1_000 / ms / 2;
  }
  const alone = meanLatency(found.get("alone")!);
  for (const [beside, results] of found) {
    const latency = meanLatency(results);
    const over = `a tenant at ${TIMES_ITS_QUOTA} times its quota`;
    const name = beside === "alone"
      ? `publish JSON, 1 a request, at ${QUIET_RATE}/s, alone`
      : beside === "noise with quota"
      ? `the same beside ${over}, of which ${Math.round(heard)} messages/s pass`
      : `the same beside that tenant without a quota`;
    context.onFigure({
      name,
      latency,
      ratio: { value: latency.p99 / alone.p99, to: "p99 alone" },
      refused: results.reduce((sum, { refused }) => sum + refused, 0),
    });
  }
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
function makeNoise(broker: BrokerChild, noisy: Tenant, seconds: number): Promise<LoadResult> {
  return runLoad({
    ...noisy,
    kind: "http-publish",
    url: broker.url,
    seconds: seconds + NOISE_MARGIN_SECONDS,
    format: "json",
    perRequest: NOISY_PER_REQUEST,
    messageBytes: MESSAGE_BYTES,
    connections: NOISY_CONNECTIONS,
    partitions: 1,
    rate: NOISY_QUOTA_MESSAGES * TIMES_ITS_QUOTA / NOISY_PER_REQUEST,
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

function meanLatency(results: readonly LoadResult[]): Latency {
  const mean = (of: (latency: Latency) => number) =>
    results.reduce((sum, { latency }) => sum + of(latency!), 0) / results.length;
  return {
    p50: mean(({ p50 }) => p50),
    p99: mean(({ p99 }) => p99),
    p999: mean(({ p999 }) => p999),
    max: mean(({ max }) => max),
  };
}
