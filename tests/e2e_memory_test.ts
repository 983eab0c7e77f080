// Owns proof that a broker's memory stays bounded when others send faster than its disk writes, or do not read (I5).
import assert from "node:assert/strict";
import { AckChecker } from "../ops/drills/ack_checker.ts";
import { call, eventually, pause, publish } from "./support/api_calls.ts";
import { type BrokerProcess, startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { FaultySync } from "./support/faulty_sync.ts";
import { createTopic, NumberedProducer, readPartition } from "./support/numbered_load.ts";
import { residentBytes } from "./support/process_memory.ts";
import { openSocket } from "./support/raw_http.ts";
import { requireOrSkip } from "./support/system_needs.ts";

const MIB = 1_048_576;
const PENDING_BYTES = 8 * MIB;
const SLOW_SYNC_MS = 400;
const PRODUCERS = 32;
const OVERLOAD_MS = 3_000;
/**
 * A broker at rest has about 120 MiB. The rest is for what may be there at once: pending publishes, the tail cache (64 MiB),
 * a body of 320 KB and what it parses to for each of 32 producers, and what the garbage collector has not got to.
 */
const MAX_OVERLOADED_BYTES = 512 * MIB;

const PUBLISHED_BYTES = 200 * MIB;
const VALUE_BYTES = 65_536;
const VALUES_PER_REQUEST = 16;
const SILENT_CONSUMERS = 10;
/** At rest 120 MiB, tail cache 64 MiB, and per silent consumer what may wait in its socket, with room for the collector. */
const MAX_UNREAD_BYTES = 640 * MIB;
const READ_ALL_MS = 60_000;

const ignore = requireOrSkip(
  "gcc",
  await FaultySync.available(),
  "syncs are slowed by a preloaded library",
);

async function assertResident(broker: BrokerProcess, limitBytes: number): Promise<void> {
  const { peak } = await residentBytes(broker.pid);
  assert.ok(peak < limitBytes, `${Math.round(peak / MIB)} MiB were resident`);
}

Deno.test({
  name:
    "broker whose disk is slower than its publishers refuses some, keeps its memory and all it acknowledged",
  ignore,
  fn: () =>
    withDataDir(async (dataDir) => {
      await using faults = await FaultySync.build();
      const checker = new AckChecker();
      await using broker = await startBrokerProcess({
        dataDir,
        args: [`--max-pending-publish-bytes=${PENDING_BYTES}`],
        environment: faults.environment,
      });
      await createTopic(broker.url, { name: "t", partitions: 2 });
      await faults.delay("/topics/", SLOW_SYNC_MS);
      const load = { topic: "t", perRequest: 10, acks: "all", padding: 32_000 } as const;
      const stop = new AbortController();
      const running = Array.from(
        { length: PRODUCERS },
        (_, at) =>
          new NumberedProducer(`p${at}`, at % 2, load).run(broker.url, checker, stop.signal),
      );
      const until = performance.now() + OVERLOAD_MS;
      let refused = 0;
      while (performance.now() < until) {
        const { status, body, headers } = await publish(broker.url, "t", [
          `probe:${refused}`.padEnd(MIB / 2),
        ]);
        if (status !== 200) {
          assert.deepEqual([status, body.code, body.retryable], [503, "OVERLOADED", true]);
          assert.ok(Number(headers.get("retry-after")) >= 1);
          refused++;
        }
        for (const path of ["/livez", "/readyz", "/api/topics/t"]) {
          const answer = await call(broker.url, path);
          assert.equal(answer.status, 200);
          assert.ok(answer.ms < 1_000, `${path} took ${answer.ms} ms`);
        }
      }
      stop.abort();
      const violations = (await Promise.all(running)).flat();
      assert.ok(refused > 0, "nothing was refused: the load was too light");
      await assertResident(broker, MAX_OVERLOADED_BYTES);
      await faults.heal();
      assert.equal((await publish(broker.url, "t", ["after:0"])).status, 200);

      await broker.stop("SIGKILL");
      await using again = await startBrokerProcess({ dataDir });
      for (const partition of [0, 1]) {
        const seen = await readPartition(again.url, "t", { partition, from: 0 });
        violations.push(
          ...checker.check(
            partition,
            0,
            seen.filter(({ value }) => !/^(?:probe|after):/.test(value)),
          ),
        );
      }
      assert.deepEqual(violations.map((violation) => violation.slice(0, 200)).slice(0, 10), []);
      assert.ok(checker.ackedCount > 0);
    }),
});

Deno.test(`broker with ${SILENT_CONSUMERS} consumers that never read keeps its memory while others read all of ${PUBLISHED_BYTES / MIB} MiB`, async () => {
  await withDataDir(async (dataDir) => {
    await using broker = await startBrokerProcess({ dataDir });
    await createTopic(broker.url, { name: "t" });
    const silent: Deno.TcpConn[] = [];
    try {
      for (let count = 0; count < SILENT_CONSUMERS; count++) {
        silent.push(await silentConsumer(broker.url, `silent-${count}`));
      }
      const reader = startReader(broker.url);
      const requests = PUBLISHED_BYTES / VALUE_BYTES / VALUES_PER_REQUEST;
      const slowest = await publishAll(broker.url, requests);
      await eventually(READ_ALL_MS, async () => {
        await Promise.resolve();
        assert.equal(reader.count(), requests * VALUES_PER_REQUEST);
      });
      assert.deepEqual(reader.wrong, []);
      await reader.close();
      assert.ok(slowest < 5_000, `a publish took ${slowest} ms`);
      await assertResident(broker, MAX_UNREAD_BYTES);
      const lag = (await call(broker.url, "/api/groups/silent-0/lag")).body;
      assert.ok(lag.totalLag > 0, "the silent consumer has read all of it");
      assert.equal((await broker.stop("SIGTERM")).code, 0);
    } finally {
      for (const socket of silent) socket.close();
    }
  });
});

/** A member of a group of its own, assigned everything, that never reads its socket. */
async function silentConsumer(url: string, group: string): Promise<Deno.TcpConn> {
  const socket = await openSocket(
    url,
    `GET /api/groups/${group}/stream?topics=t&autoOffsetReset=earliest&maxInFlight=100000 HTTP/1.1\r\n` +
      "host: 127.0.0.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n" +
      "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n",
  );
  const answer = new Uint8Array(12);
  await socket.read(answer);
  assert.equal(new TextDecoder().decode(answer), "HTTP/1.1 101");
  return socket;
}

/** A consumer that reads everything, and notes what is not the next message. */
function startReader(url: string) {
  const query = "topics=t&autoOffsetReset=earliest&autoCommit=true";
  const socket = new WebSocket(`${url.replace("http", "ws")}/api/groups/reader/stream?${query}`);
  const closed = new Promise((resolve) => socket.onclose = resolve);
  let next = 0;
  const wrong: string[] = [];
  socket.onmessage = ({ data }) => {
    const frame = JSON.parse(data);
    if (frame.type === "error") wrong.push(data);
    if (frame.type !== "messages") return;
    for (const { offset, value } of frame.messages) {
      const expected = next++;
      if (offset !== expected || !value.startsWith(`${expected}:`)) {
        wrong.push(`${value.slice(0, 20)} at ${offset} instead of ${expected}`);
      }
    }
  };
  return {
    wrong,
    count: () => next,
    async close() {
      socket.close();
      await closed;
    },
  };
}

/** The longest that one publish took, ms. */
async function publishAll(url: string, requests: number): Promise<number> {
  const padding = "x".repeat(VALUE_BYTES);
  let slowestMs = 0;
  for (let request = 0; request < requests; request++) {
    const values = Array.from(
      { length: VALUES_PER_REQUEST },
      (_, at) => `${request * VALUES_PER_REQUEST + at}:${padding}`.slice(0, VALUE_BYTES),
    );
    const { status, ms } = await publish(url, "t", values);
    assert.equal(status, 200);
    slowestMs = Math.max(slowestMs, ms);
    await pause(0);
  }
  return slowestMs;
}
