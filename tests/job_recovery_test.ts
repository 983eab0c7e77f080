// Owns the proof that a job survives the death of its broker at every single append, kept or not: its range, once.
// Refuses to own real processes and disks (e2e_jobs_test.ts).
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import type { JobRequest, JobView } from "../actors/job/types.ts";
import type { LocalBroker } from "../actors/local_broker.ts";
import { decodeBatch } from "../storage/format/decode.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { batchSpans } from "../storage/format/record_batch.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { MortalLogStore } from "./support/mortal_logs.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const MESSAGES = 24;
/** Four messages a chunk. */
const RATE_PER_SECOND = 40;
/** Longer than any job takes, its retries after a start included. */
const LONG_MS = 20_000;
const MAX_APPENDS = 200;
const PARTITIONS = 2;

const BASE = {
  jobId: "job",
  fingerprint: "f",
  principal: "tests",
  reason: null,
  dryRun: false,
  ratePerSecond: RATE_PER_SECOND,
  from: { kind: "earliest" },
  to: { kind: "latest" },
} as const;

const JOBS: Readonly<Record<string, JobRequest>> = {
  "replay to a group": {
    ...BASE,
    kind: "replay",
    topic: "dlq.orders",
    partition: 0,
    target: { group: "g" },
  },
  replay: {
    ...BASE,
    kind: "replay",
    topic: "dlq.orders",
    partition: 0,
    target: { topic: "orders" },
  },
  redrive: {
    ...BASE,
    kind: "redrive",
    topic: "orders",
    partition: null,
    group: null,
    filter: {},
    includeRedriven: false,
  },
};

async function prepared(time: VirtualClock) {
  const logs = new MortalLogStore(time);
  const stores = memoryBrokerStores({ time, logs });
  const broker = await stores.open();
  for (const [name, partitions] of [["orders", PARTITIONS], ["dlq.orders", 1]] as const) {
    await broker.createTopic({ name, partitions, config: TOPIC_CONFIG });
  }
  const records = Array.from({ length: MESSAGES }, (_, number) => ({
    key: `k${number}`,
    value: String(number),
    timestamp: time.now(),
    headers: [
      ["waybill-origin-topic", "orders"],
      ["waybill-origin-partition", String(number % PARTITIONS)],
      ["waybill-origin-offset", String(number)],
      ["waybill-origin-group", "g"],
    ] as [string, string][],
  }));
  const letters = { topic: "dlq.orders", partition: 0 };
  await broker.append(letters, [encodeBatch(records, { crc32c })], { acks: "all" });
  await broker.group({
    type: "CommitOffsets",
    group: "g",
    offsets: [{ ...letters, offset: MESSAGES, endOffset: MESSAGES }],
    allowRewind: false,
    principal: "tests",
  });
  return { broker, stores, logs };
}

/** Offsets that the group is to get once more. */
async function handedTo(broker: LocalBroker, time: VirtualClock): Promise<number[]> {
  await broker.group({
    type: "Join",
    group: "g",
    newMemberId: "m",
    topics: ["dlq.orders"],
    sessionTimeoutMs: LONG_MS,
    transport: "http",
    partitionCounts: { "dlq.orders": 1 },
  });
  await time.advance(LONG_MS / 2);
  const taking = { type: "TakeRetries", group: "g", memberId: "m", max: 1_000 } as const;
  const { retries } = await broker.group(taking);
  return retries.map(({ offset }) => offset).sort((a, b) => a - b);
}

async function numbersIn(broker: LocalBroker): Promise<number[]> {
  const numbers: number[] = [];
  const decoder = new TextDecoder();
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const at = { topic: "orders", partition };
    const { batches } = await broker.fetch(at, 0, { maxBytes: 1_000_000 });
    const found = [...batchSpans(batches)]
      .flatMap(({ at }) => decodeBatch(batches, at, { maxDecompressedBytes: 1_000_000 }))
      .map(({ value }) => Number(decoder.decode(value!)));
    assert.deepEqual(found, [...found].sort((a, b) => a - b), "in order");
    numbers.push(...found);
  }
  return numbers.sort((a, b) => a - b);
}

/** One job, whose broker dies at an append; `null` when it has ended before. */
async function diedAt(
  request: JobRequest,
  death: { append: number; keeps: boolean },
): Promise<JobView | null> {
  const time = new VirtualClock();
  const { broker, stores, logs } = await prepared(time);
  logs.diesAt = logs.appends + death.append;
  logs.keeps = death.keeps;
  let isDead = false;
  void logs.died.then(() => isDead = true);
  void broker.jobs.submit(request).catch(() => undefined);
  await time.advance(LONG_MS);
  if (!isDead) {
    await broker.close();
    return null;
  }
  logs.revive();
  const again = await stores.open();
  // Whoever asked never heard: asks again, under the same name.
  const { job: { jobId } } = await again.jobs.submit(request);
  await time.advance(LONG_MS);
  const job = await again.jobs.get(jobId);
  const text = `${request.kind} that died at append ${death.append}, kept: ${death.keeps}`;
  const isForGroup = request.kind === "replay" && "group" in (request.target ?? {});
  assert.deepEqual(
    isForGroup ? await handedTo(again, time) : await numbersIn(again),
    Array.from({ length: MESSAGES }, (_, number) => number),
    text,
  );
  assert.deepEqual([job.state, job.done, job.total], ["completed", MESSAGES, MESSAGES], text);
  const redriven = await again.jobs.redriven({ topic: "dlq.orders", partition: 0 });
  assert.deepEqual(redriven, request.kind === "redrive" ? [{ from: 0, to: MESSAGES }] : [], text);
  await again.close();
  return job;
}

for (const [name, request] of Object.entries(JOBS)) {
  for (const keeps of [true, false]) {
    const fate = keeps ? "just after" : "just before";
    Deno.test(`a ${name} whose broker dies ${fate} any of its appends sends each message once`, async () => {
      let append = 1;
      while (append < MAX_APPENDS && await diedAt(request, { append, keeps }) !== null) append++;
      assert.ok(append > MESSAGES / 4, `there were only ${append - 1} appends`);
      assert.ok(append < MAX_APPENDS);
    });
  }
}
