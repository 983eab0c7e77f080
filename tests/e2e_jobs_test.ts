// Owns proof that a replay and a redrive whose broker is killed (signal 9) again and again in the middle send exactly their
// range, once, in order. Refuses to own what jobs do otherwise (job_api_test.ts).
import assert from "node:assert/strict";
import { type BrokerProcess, startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { call, eventually, pause } from "./support/api_calls.ts";
import { createTopic } from "./support/numbered_load.ts";

const KILLS = 10;
/** On a machine that does other things a job may be done before the last of them. */
const FEWEST_KILLS = 6;
const MESSAGES = 30_000;
const LETTERS = 12_000;
const HANDED_OVER = 12_000;
const PARTITIONS = 2;
const PER_REQUEST = 1_000;
/** Slow enough that ten lives are within the job, fast enough that chunks are under way all the time. */
const RATE_PER_SECOND = 5_000;
/** The broker dies between these two times after it was ready. */
const KILL_AFTER_MIN_MS = 50;
const KILL_AFTER_MAX_MS = 300;
const END_TIMEOUT_MS = 60_000;

interface Read {
  readonly value: string;
  readonly headers: Record<string, string>;
}

async function publishAll(url: string, topic: string, options: {
  partition: number;
  count: number;
  message: (number: number) => unknown;
}): Promise<void> {
  const { partition, count, message } = options;
  for (let from = 0; from < count; from += PER_REQUEST) {
    const messages = Array.from(
      { length: Math.min(PER_REQUEST, count - from) },
      (_, index) => message(from + index),
    );
    const json = { topic, partition, messages };
    assert.equal((await call(url, "/api/messages:publish", { json })).status, 200);
  }
}

async function readAll(url: string, topic: string, partition: number): Promise<Read[]> {
  const all: Read[] = [];
  while (true) {
    const path = `/api/topics/${topic}/partitions/${partition}/messages` +
      `?offset=${all.length}&maxMessages=10000&maxBytes=8388608`;
    const { status, body } = await call(url, path);
    assert.equal(status, 200, JSON.stringify(body));
    if (body.messages.length === 0) return all;
    for (const message of body.messages) {
      assert.equal(message.offset, all.length);
      all.push(message);
    }
  }
}

/** Resolves as soon as something was appended to `topic`. */
async function moved(url: string, topic: string): Promise<void> {
  const end = async () => {
    const { partitions } = (await call(url, `/api/topics/${topic}`)).body;
    return partitions.reduce((sum: number, each: { highWatermark: number }) => {
      return sum + each.highWatermark;
    }, 0);
  };
  const before = await end();
  while (await end() === before);
}

/** Starts the job that `submit` asks for, kills its broker again and again, and resolves to it when it has ended. */
async function killedInTheMiddle(
  dataDir: string,
  first: BrokerProcess,
  submit: { path: string; json: unknown; target: string | null },
) {
  const { status, body } = await call(first.url, submit.path, {
    json: submit.json,
    headers: { "idempotency-key": "the job" },
  });
  assert.equal(status, 202, JSON.stringify(body));
  const progress: number[] = [];
  let broker = first;
  for (let kill = 0; kill < KILLS; kill++) {
    await pause(KILL_AFTER_MIN_MS + Math.random() * (KILL_AFTER_MAX_MS - KILL_AFTER_MIN_MS));
    // Mostly just after a chunk has become visible: that it is done is then hardly written down yet.
    if (kill % 4 !== 0 && submit.target !== null) await moved(broker.url, submit.target);
    await broker.stop("SIGKILL");
    broker = await startBrokerProcess({ dataDir });
    const job = (await call(broker.url, `/api/replays/${body.jobId}`)).body;
    if (job.state === "completed" && kill >= FEWEST_KILLS) break;
    assert.ok(["pending", "running"].includes(job.state), `${job.state} after kill ${kill}`);
    progress.push(job.done);
    // A caller who never heard the answer asks again: it is the same job.
    const again = await call(broker.url, submit.path, {
      json: submit.json,
      headers: { "idempotency-key": "the job" },
    });
    assert.equal(again.body.jobId, body.jobId);
  }
  const givenUpAt = performance.now() + END_TIMEOUT_MS;
  while (true) {
    const job = (await call(broker.url, `/api/replays/${body.jobId}`)).body;
    if (!["pending", "running"].includes(job.state)) return { broker, job, progress };
    assert.ok(performance.now() < givenUpAt, JSON.stringify(job));
    await pause(50);
  }
}

Deno.test(`a replay that is killed again and again in the middle appends exactly its range, once`, async () => {
  await withDataDir(async (dataDir) => {
    const first = await startBrokerProcess({ dataDir });
    await createTopic(first.url, { name: "orders", partitions: 1 });
    await createTopic(first.url, { name: "copy", partitions: PARTITIONS });
    const message = (number: number) => ({ key: `k${number % 97}`, value: `v${number}` });
    await publishAll(first.url, "orders", { partition: 0, count: MESSAGES, message });
    const [from, to] = [100, MESSAGES - 100];
    const { broker, job, progress } = await killedInTheMiddle(dataDir, first, {
      path: "/api/messages:replay",
      target: "copy",
      json: {
        topic: "orders",
        partition: 0,
        from,
        to,
        target: { topic: "copy" },
        ratePerSecond: RATE_PER_SECOND,
      },
    });
    await using _broker = broker;
    assert.equal(job.state, "completed", JSON.stringify(job));
    assert.deepEqual([job.done, job.total], [to - from, to - from]);
    assert.ok(new Set(progress).size > FEWEST_KILLS / 2, `it moved between kills: ${progress}`);
    const numbers: number[] = [];
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const values = (await readAll(broker.url, "copy", partition))
        .map(({ value }) => Number(value.slice(1)));
      assert.deepEqual(values, [...values].sort((a, b) => a - b), "in order");
      numbers.push(...values);
    }
    numbers.sort((a, b) => a - b);
    assert.deepEqual(numbers, Array.from({ length: to - from }, (_, index) => from + index));
  });
});

Deno.test(`a redrive that is killed again and again in the middle sends each letter back, once`, async () => {
  await withDataDir(async (dataDir) => {
    const first = await startBrokerProcess({ dataDir });
    await createTopic(first.url, { name: "orders", partitions: PARTITIONS });
    await createTopic(first.url, { name: "dlq.orders", partitions: PARTITIONS });
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const message = (number: number) => ({
        value: `v${number}`,
        headers: {
          "waybill-origin-topic": "orders",
          "waybill-origin-partition": String(partition),
          "waybill-origin-offset": String(number),
          "waybill-origin-group": "g",
          "waybill-code": number % 3 === 0 ? "SKIP" : "TIMEOUT",
        },
      });
      await publishAll(first.url, "dlq.orders", { partition, count: LETTERS, message });
    }
    const { broker, job, progress } = await killedInTheMiddle(dataDir, first, {
      path: "/api/dlq:redrive",
      target: "orders",
      json: {
        topic: "orders",
        filter: { code: "TIMEOUT" },
        ratePerSecond: RATE_PER_SECOND / 2,
        reason: "test",
      },
    });
    await using _broker = broker;
    assert.equal(job.state, "completed", JSON.stringify(job));
    const meant = Array.from({ length: LETTERS }, (_, number) => number)
      .filter((number) => number % 3 !== 0);
    assert.equal(job.done, meant.length * PARTITIONS);
    assert.ok(new Set(progress).size > FEWEST_KILLS / 2, `it moved between kills: ${progress}`);
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const sent = await readAll(broker.url, "orders", partition);
      assert.deepEqual(sent.map(({ value }) => Number(value.slice(1))), meant);
      assert.ok(sent.every(({ headers }) => headers["waybill-replay-job"] === job.jobId));
    }
    const again = await call(broker.url, "/api/dlq:redrive", {
      json: { topic: "orders", dryRun: true, reason: "test" },
    });
    assert.deepEqual(
      [again.body.total, again.body.alreadyRedriven],
      [LETTERS * PARTITIONS - job.done, job.done],
    );
  });
});

Deno.test(`a replay to a group that is killed again and again in the middle is delivered to it, once`, async () => {
  await withDataDir(async (dataDir) => {
    const first = await startBrokerProcess({ dataDir });
    await createTopic(first.url, { name: "orders", partitions: 1 });
    const message = (number: number) => ({ value: `v${number}` });
    await publishAll(first.url, "orders", { partition: 0, count: HANDED_OVER, message });
    const commit = {
      groupId: "g",
      offsets: [{ topic: "orders", partition: 0, offset: HANDED_OVER }],
    };
    assert.equal((await call(first.url, "/api/offsets:commit", { json: commit })).status, 200);
    const [from, to] = [100, HANDED_OVER - 100];
    const { broker, job, progress } = await killedInTheMiddle(dataDir, first, {
      path: "/api/messages:replay",
      target: null,
      json: {
        topic: "orders",
        partition: 0,
        from,
        to,
        target: { group: "g" },
        ratePerSecond: RATE_PER_SECOND / 2,
      },
    });
    await using _broker = broker;
    assert.deepEqual([job.state, job.done], ["completed", to - from], JSON.stringify(job));
    assert.ok(new Set(progress).size > FEWEST_KILLS / 2, `it moved between kills: ${progress}`);
    const offsets = await deliveredTo(broker.url, "g", to - from);
    assert.deepEqual(offsets, Array.from({ length: to - from }, (_, index) => from + index));
    const { highWatermark } = (await call(broker.url, "/api/topics/orders")).body.partitions[0];
    assert.equal(highWatermark, HANDED_OVER, "nothing was published");
  });
});

/** Offsets of all that a new member of `group` is handed, until `count` have come and a poll brings no more. */
async function deliveredTo(url: string, group: string, count: number): Promise<number[]> {
  const joined = await call(url, `/api/groups/${group}/members`, { json: { topics: ["orders"] } });
  const path = `/api/groups/${group}/members/${joined.body.memberId}:poll`;
  const offsets: number[] = [];
  let leaseToken: string | undefined;
  const givenUpAt = performance.now() + END_TIMEOUT_MS;
  while (true) {
    const json = { maxMessages: 10_000, waitMs: 1_000, leaseToken };
    const { body: { messages, generation, ...polled } } = await call(url, path, { json });
    leaseToken = polled.leaseToken;
    for (const { offset, attempt } of messages) {
      assert.ok(attempt > 1);
      offsets.push(offset);
    }
    if (messages.length > 0) {
      const done = [{ topic: "orders", partition: 0, offset: HANDED_OVER }];
      const json = { groupId: group, memberId: joined.body.memberId, generation, offsets: done };
      assert.equal((await call(url, "/api/offsets:commit", { json })).status, 200);
    }
    if (offsets.length >= count && messages.length === 0) return offsets.sort((a, b) => a - b);
    assert.ok(performance.now() < givenUpAt, `${offsets.length} of ${count} were delivered`);
  }
}

Deno.test("a replay reads what retention has moved to the archive like anything else", async () => {
  await withDataDir(async (dataDir) => {
    const archive = await Deno.makeTempDir({ prefix: "waybill-archive-" });
    try {
      await using broker = await startBrokerProcess({
        dataDir,
        args: [`--archive-dir=${archive}`, "--retention-interval-ms=1000"],
      });
      const limits = { segmentBytes: 65_536, retentionBytes: 65_536, archive: true };
      await createTopic(broker.url, { name: "orders", partitions: 1, ...limits });
      await createTopic(broker.url, { name: "copy", partitions: 1 });
      const padding = "x".repeat(200);
      const message = (number: number) => ({ value: `v${number}`, headers: { padding } });
      await publishAll(broker.url, "orders", { partition: 0, count: 5_000, message });
      await eventually(20_000, async () => {
        const [partition] = (await call(broker.url, "/api/topics/orders")).body.partitions;
        assert.ok(partition.sizeBytes < 5_000 * 100, `${partition.sizeBytes} bytes are here`);
        assert.equal(partition.logStartOffset, 0);
      });
      const json = {
        topic: "orders",
        partition: 0,
        from: 0,
        to: "latest",
        target: { topic: "copy" },
      };
      const { body } = await call(broker.url, "/api/messages:replay", { json });
      assert.equal(body.total, 5_000);
      await eventually(20_000, async () => {
        const job = (await call(broker.url, `/api/replays/${body.jobId}`)).body;
        assert.deepEqual([job.state, job.done], ["completed", 5_000]);
      });
      const values = (await readAll(broker.url, "copy", 0)).map(({ value }) =>
        Number(value.slice(1))
      );
      assert.deepEqual(values, Array.from({ length: 5_000 }, (_, index) => index));
    } finally {
      await Deno.remove(archive, { recursive: true });
    }
  });
});
