// Owns which figures are measured, and how each is set up.
// Refuses to own load (load.ts), limits (limits.ts) and showing (report.ts).
// Invariant: every figure of throughput names the limit, measured in the same run, that it is a ratio to.
import { startBareServer } from "./bare_server_process.ts";
import {
  type BrokerUnderTest,
  createTopic,
  residentBytes,
  startBroker,
} from "./broker_under_test.ts";
import { encryption } from "./encryption.ts";
import { hostile } from "./hostile.ts";
import type { Limits } from "./limits.ts";
import { runLoad, startLoad } from "./load_process.ts";
import type { HttpPublishSpec, LoadResult } from "./load_spec.ts";
import { replication } from "./replication.ts";
import type { Figure } from "./report.ts";
import { tenants } from "./tenants.ts";

const MESSAGE_BYTES = 1_024;
const GIB = 1024 ** 3;

export interface BenchPlan {
  readonly secondsPerCase: number;
  readonly partitionCounts: readonly number[];
  readonly recoveryBytes: readonly number[];
  readonly idleConsumers: number;
  readonly consumeMessages: number;
  /** Of each turn of the publisher, alone and beside each attack. */
  readonly hostileSeconds: number;
}

export const SHORT_PLAN: BenchPlan = {
  secondsPerCase: 4,
  partitionCounts: [1, 10, 100, 1_000],
  recoveryBytes: [GIB],
  idleConsumers: 1_000,
  consumeMessages: 300_000,
  hostileSeconds: 3,
};

export const FULL_PLAN: BenchPlan = {
  secondsPerCase: 15,
  partitionCounts: [1, 10, 100, 1_000],
  recoveryBytes: [GIB, 4 * GIB],
  idleConsumers: 1_000,
  consumeMessages: 2_000_000,
  hostileSeconds: 10,
};

/** Where a bench runs, and what it tells as it goes. */
export interface BenchContext {
  readonly plan: BenchPlan;
  readonly limits: Limits;
  /** A new empty directory on the measured disk, removed by the caller. */
  readonly newDirectory: () => Promise<string>;
  readonly onFigure: (figure: Figure) => void;
  readonly onStep: (step: string) => void;
}

export interface BenchGroup {
  readonly name: string;
  /** Runs with `--full`, or when it is named. */
  readonly isLong?: boolean;
  run(context: BenchContext): Promise<void>;
}

export const BENCH_GROUPS: readonly BenchGroup[] = [
  { name: "publish", run: publish },
  { name: "latency", run: latency },
  { name: "consume", run: consume },
  { name: "end-to-end", run: endToEnd },
  { name: "partitions", run: partitions },
  { name: "recovery", run: recovery },
  { name: "idle", run: idle },
  { name: "encryption", run: encryption },
  { name: "tenants", run: tenants },
  { name: "hostile", isLong: true, run: hostile },
  { name: "replication", isLong: true, run: replication },
];

async function withBroker(
  context: BenchContext,
  run: (broker: BrokerUnderTest) => Promise<void>,
): Promise<void> {
  const directory = await context.newDirectory();
  const broker = await startBroker(directory);
  try {
    await run(broker);
  } finally {
    await broker.kill("SIGTERM");
    await Deno.remove(directory, { recursive: true });
  }
}

function httpPublish(
  broker: Pick<BrokerUnderTest, "url">,
  topic: string,
  options: Pick<HttpPublishSpec, "seconds"> & Partial<HttpPublishSpec>,
): Promise<LoadResult> {
  return runLoad({
    kind: "http-publish",
    url: broker.url,
    topic,
    format: "json",
    perRequest: 100,
    messageBytes: MESSAGE_BYTES,
    connections: 32,
    partitions: 1,
    rate: null,
    ...options,
  });
}

async function publish(context: BenchContext): Promise<void> {
  const seconds = context.plan.secondsPerCase;
  const cases = [
    ["JSON, 1 a request", { format: "json", perRequest: 1, connections: 64 }],
    ["JSON, 100 a request", { format: "json", perRequest: 100 }],
    ["MessagePack, 100 a request", { format: "msgpack", perRequest: 100 }],
  ] as const;
  await withBroker(context, async (broker) => {
    for (const [name, options] of cases) {
      const bare = options.format === "json" ? await bareServer(context, name, options) : null;
      context.onStep(`publish ${name}`);
      const topic = `t${options.format}${options.perRequest}`;
      await createTopic(broker.url, topic, 1);
      const result = await httpPublish(broker, topic, { ...options, seconds });
      const figure = throughput(`publish ${name}`, result, diskLimit(context));
      context.onFigure(bare === null ? figure : { ...figure, ratio: ratioTo(bare, figure) });
    }
    // Back and forth: the disk and the machine drift by more than what is compared.
    const [plain, idempotent] = [new LoadSum(), new LoadSum()];
    for (const [round, sum] of [plain, idempotent, idempotent, plain].entries()) {
      sum.add(await sdkPublish(context, broker, { round, idempotent: sum === idempotent }));
    }
    const clients = [["not idempotent", plain], ["idempotent", idempotent]] as const;
    for (const [kind, sum] of clients) {
      const name = `publish SDK, 4 partitions, ${kind}`;
      context.onFigure(throughput(name, sum, diskLimit(context)));
    }
    context.onFigure({
      name: "idempotent client beside one that is not",
      ratio: {
        value: (idempotent.messages / idempotent.ms) / (plain.messages / plain.ms),
        to: "the client that is not",
      },
    });
  });
}

/** Loads of one kind, taken together. */
class LoadSum implements LoadResult {
  messages = 0;
  bytes = 0;
  ms = 0;
  readonly latency = null;
  refused = 0;

  add({ messages, bytes, ms, refused }: LoadResult): void {
    this.messages += messages;
    this.bytes += bytes;
    this.ms += ms;
    this.refused += refused;
  }
}

async function sdkPublish(
  context: BenchContext,
  broker: BrokerUnderTest,
  { round, idempotent }: { round: number; idempotent: boolean },
): Promise<LoadResult> {
  context.onStep(`publish SDK, 4 partitions, ${idempotent ? "" : "not "}idempotent`);
  const topic = `sdk-${round}`;
  await createTopic(broker.url, topic, 4);
  return await runLoad({
    kind: "sdk-publish",
    url: broker.url,
    topic,
    seconds: context.plan.secondsPerCase / 2,
    messageBytes: MESSAGE_BYTES,
    totalBytes: null,
    idempotent,
  });
}

/** The same load on a server that does no more than it must. */
async function bareServer(
  context: BenchContext,
  name: string,
  load: Partial<HttpPublishSpec>,
): Promise<Figure> {
  context.onStep(`a bare server, ${name}`);
  const directory = await context.newDirectory();
  const server = await startBareServer(`${directory}/log`);
  try {
    const seconds = context.plan.secondsPerCase;
    const result = await httpPublish(server, "bare", { ...load, seconds });
    const figure = throughput(`a bare server, ${name}`, result, diskLimit(context));
    context.onFigure(figure);
    return figure;
  } finally {
    await server.kill();
    await Deno.remove(directory, { recursive: true });
  }
}

function ratioTo(bare: Figure, { messagesPerSecond }: Figure): Figure["ratio"] {
  return { value: messagesPerSecond! / bare.messagesPerSecond!, to: "the bare server" };
}

async function latency(context: BenchContext): Promise<void> {
  const rate = 8_000;
  await withBroker(context, async (broker) => {
    context.onStep(`publish JSON, 1 a request, at ${rate}/s`);
    await createTopic(broker.url, "latency", 1);
    const load = { perRequest: 1, connections: 128, rate };
    const bare = await bareServer(context, `JSON, 1 a request, at ${rate}/s`, load);
    const result = await httpPublish(broker, "latency", {
      ...load,
      seconds: context.plan.secondsPerCase,
    });
    context.onFigure({
      name: `publish JSON, 1 a request, at ${rate}/s`,
      latency: result.latency,
      ratio: { value: result.latency!.p99 / bare.latency!.p99, to: "p99 of the bare server" },
      refused: result.refused,
    });
  });
}

async function consume(context: BenchContext): Promise<void> {
  await withBroker(context, async (broker) => {
    const messages = context.plan.consumeMessages;
    context.onStep(`filling a topic with ${messages} messages`);
    await createTopic(broker.url, "consume", 1);
    await runLoad({
      kind: "sdk-publish",
      url: broker.url,
      topic: "consume",
      seconds: 600,
      messageBytes: MESSAGE_BYTES,
      totalBytes: messages * MESSAGE_BYTES,
    });
    for (const format of ["json", "msgpack", "batch"] as const) {
      context.onStep(`consume over WebSocket, ${format}`);
      const result = await runLoad({
        kind: "consume",
        url: broker.url,
        topic: "consume",
        group: `g-${format}`,
        format,
        messages,
        maxInFlight: 100_000,
      });
      const limit = context.limits.loopbackMegabytesPerSecond;
      context.onFigure(
        throughput(`consume over WebSocket, ${format}`, result, {
          megabytesPerSecond: limit,
          name: "loopback bandwidth",
        }),
      );
    }
  });
}

async function endToEnd(context: BenchContext): Promise<void> {
  const rate = 1_000;
  await withBroker(context, async (broker) => {
    context.onStep(`end to end at ${rate}/s`);
    await createTopic(broker.url, "e2e", 1);
    const result = await runLoad({
      kind: "end-to-end",
      url: broker.url,
      topic: "e2e",
      seconds: context.plan.secondsPerCase,
      messageBytes: MESSAGE_BYTES,
      rate,
    });
    context.onFigure({
      name: `publish to delivery at ${rate}/s`,
      latency: result.latency,
      ratio: {
        value: result.latency!.p50 / context.limits.syncMs.p50,
        to: "p50 of a 4 KiB write and sync",
      },
      refused: result.refused,
    });
  });
}

async function partitions(context: BenchContext): Promise<void> {
  await withBroker(context, async (broker) => {
    let one: number | null = null;
    for (const count of context.plan.partitionCounts) {
      context.onStep(`publish over ${count} partitions`);
      const topic = `p${count}`;
      await createTopic(broker.url, topic, count);
      const load = { connections: 64, partitions: count };
      const result = await httpPublish(broker, topic, {
        ...load,
        seconds: context.plan.secondsPerCase,
      });
      const messagesPerSecond = result.messages * 1_000 / result.ms;
      one ??= messagesPerSecond;
      context.onFigure({
        ...throughput(
          `publish JSON, 100 a request, ${count} partitions`,
          result,
          diskLimit(context),
        ),
        ratio: { value: messagesPerSecond / one, to: "the same over one partition" },
      });
    }
  });
}

async function recovery(context: BenchContext): Promise<void> {
  for (const totalBytes of context.plan.recoveryBytes) {
    const name = `start after a crash with ${Math.round(totalBytes / GIB)} GiB of log`;
    context.onStep(`${name}: filling`);
    const directory = await context.newDirectory();
    const broker = await startBroker(directory);
    await createTopic(broker.url, "large", 4);
    await runLoad({
      kind: "sdk-publish",
      url: broker.url,
      topic: "large",
      seconds: 600,
      messageBytes: MESSAGE_BYTES,
      totalBytes,
    });
    await broker.kill("SIGKILL");
    context.onStep(name);
    const empty = await context.newDirectory();
    const fresh = await startBroker(empty);
    await fresh.kill("SIGTERM");
    const again = await startBroker(directory);
    await again.kill("SIGTERM");
    await Deno.remove(directory, { recursive: true });
    await Deno.remove(empty, { recursive: true });
    context.onFigure({
      name,
      ms: again.startedInMs,
      ratio: { value: again.startedInMs / fresh.startedInMs, to: "start with no data" },
    });
  }
}

async function idle(context: BenchContext): Promise<void> {
  await withBroker(context, async (broker) => {
    const consumers = context.plan.idleConsumers;
    context.onStep(`${consumers} idle consumers`);
    await createTopic(broker.url, "idle", 16);
    const before = await residentBytes(broker.pid);
    const load = await startLoad({ kind: "idle", url: broker.url, topic: "idle", consumers });
    const after = await residentBytes(broker.pid);
    await load.end();
    context.onFigure({
      name: `memory with ${consumers} idle consumers`,
      bytes: after,
      ratio: { value: after / before, to: "memory without them" },
    });
  });
}

function diskLimit(context: BenchContext): { megabytesPerSecond: number; name: string } {
  const megabytesPerSecond = context.limits.diskMegabytesPerSecond;
  return { megabytesPerSecond, name: "1 MiB writes with sync" };
}

function throughput(
  name: string,
  result: LoadResult,
  limit: { megabytesPerSecond: number; name: string },
): Figure {
  const megabytesPerSecond = result.bytes / 1_000 / result.ms;
  return {
    name,
    messagesPerSecond: result.messages * 1_000 / result.ms,
    megabytesPerSecond,
    latency: result.latency,
    ratio: { value: megabytesPerSecond / limit.megabytesPerSecond, to: limit.name },
    refused: result.refused,
  };
}
