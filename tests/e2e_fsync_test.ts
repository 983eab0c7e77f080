// Owns proof of what a broker does when its disk does not sync: with an error, or late.
// Rule: a failed sync is never tried again on the same pages. Linux marks them clean, so a later sync would succeed
// without having written them: what they held must be written again before it may count as synced.
import assert from "node:assert/strict";
import { AckChecker } from "../ops/drills/ack_checker.ts";
import { call, eventually, pause, publish } from "./support/api_calls.ts";
import { type BrokerProcess, startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { FaultySync, type SyncEvent } from "./support/faulty_sync.ts";
import { createTopic, NumberedProducer, readPartition } from "./support/numbered_load.ts";
import { requireOrSkip, works } from "./support/system_needs.ts";

const COMES_BACK_MS = 20_000;
const SLOW_SYNC_MS = 2_000;
/** Of a publish elsewhere while one log is slow: far below the slow one, far above a busy machine's normal. */
const NORMAL_MS = 1_000;
const SLOW_PARTITIONS = 8;
const FAILURES_UNDER_LOAD = 6;

const ignore = requireOrSkip(
  "gcc",
  await FaultySync.available(),
  "syncs fail by a preloaded library",
);
const ignoreStrace = requireOrSkip(
  "strace",
  await works("strace", "-f", "-o", "/dev/null", "true"),
  "the order of system calls is seen by tracing them",
);

interface Scene {
  readonly broker: BrokerProcess;
  readonly dataDir: string;
  readonly faults: FaultySync;
  /** Part of the paths of the log files of partition `number` of topic "t". */
  logOf(number: number): string;
}

async function onFaultyDisk(
  topic: Record<string, unknown>,
  test: (scene: Scene) => Promise<void>,
): Promise<void> {
  await withDataDir(async (dataDir) => {
    await using faults = await FaultySync.build();
    await using broker = await startBrokerProcess({ dataDir, environment: faults.environment });
    await createTopic(broker.url, { name: "t", ...topic });
    const { topicId } = (await call(broker.url, "/api/topics/t")).body;
    await test({ broker, dataDir, faults, logOf: (number) => `${topicId}/${number}/0` });
  });
}

const valuesOf = async (url: string, partition: number) =>
  (await readPartition(url, "t", { partition, from: 0 })).map(({ value }) => value);

/** What was in a file whose sync failed and was not written again before the next sync of it succeeded. */
function neverWrittenAgain(events: readonly SyncEvent[]): string[] {
  const wrong: string[] = [];
  const unsynced = new Map<string, SyncEvent[]>();
  const suspect = new Map<string, SyncEvent[]>();
  for (const event of events) {
    const { type, path } = event;
    const written = unsynced.get(path) ?? [];
    if (type === "wrote") {
      unsynced.set(path, [...written, event]);
      const left = (suspect.get(path) ?? []).filter((lost) =>
        lost.position < event.position ||
        lost.position + lost.bytes > event.position + event.bytes
      );
      suspect.set(path, left);
      continue;
    }
    unsynced.set(path, []);
    if (type === "failed") suspect.set(path, [...(suspect.get(path) ?? []), ...written]);
    else {
      const lost = suspect.get(path) ?? [];
      wrong.push(...lost.map((write) => `${path} ${write.position}+${write.bytes}`));
      suspect.set(path, []);
    }
  }
  return wrong;
}

Deno.test({
  name:
    "broker whose sync fails does not acknowledge, writes all of it again, and comes back by itself",
  ignore,
  fn: () =>
    onFaultyDisk({ partitions: 2 }, async ({ broker, dataDir, faults, logOf }) => {
      assert.equal((await publish(broker.url, "t", ["0"])).status, 200);
      const epochBefore = (await call(broker.url, "/api/topics/t")).body.partitions[0].leaderEpoch;
      await faults.failNext(logOf(0));
      const failed = await publish(broker.url, "t", ["1"]);
      assert.deepEqual([failed.status, failed.body.code], [503, "STORAGE_FAILED"]);
      assert.equal(failed.body.retryable, true);
      assert.ok(Number(failed.headers.get("retry-after")) >= 1);
      assert.ok(await faults.hasFailed());

      const ready = await call(broker.url, "/readyz");
      assert.equal(ready.status, 503);
      assert.match(ready.body.problems.join(), /t\/0 is offline/);
      const next = await publish(broker.url, "t", ["2"]);
      assert.deepEqual([next.status, next.body.code], [503, "STORAGE_FAILED"]);
      assert.equal((await publish(broker.url, "t", ["a"], { partition: 1 })).status, 200);

      await eventually(COMES_BACK_MS, async () => {
        assert.equal((await publish(broker.url, "t", ["3"])).status, 200);
      });
      assert.equal((await call(broker.url, "/readyz")).status, 200);
      const events = await faults.trace(logOf(0));
      assert.ok(events.some(({ type }) => type === "failed"));
      assert.deepEqual(neverWrittenAgain(events), []);
      // "1" may be there, since nobody can know; "2" was refused before it was written.
      const values = await valuesOf(broker.url, 0);
      assert.deepEqual(values.filter((value) => value !== "1"), ["0", "3"]);
      const { leaderEpoch } = (await call(broker.url, "/api/topics/t")).body.partitions[0];
      assert.ok(leaderEpoch > epochBefore, `leader epoch ${leaderEpoch}, before ${epochBefore}`);

      await broker.stop("SIGKILL");
      await using again = await startBrokerProcess({ dataDir });
      assert.deepEqual(await valuesOf(again.url, 0), values);
    }),
});

Deno.test({
  name:
    `broker whose syncs fail ${FAILURES_UNDER_LOAD} times under load loses, changes and doubles nothing`,
  ignore,
  fn: () =>
    onFaultyDisk({ partitions: 2, segmentBytes: 65_536 }, async (scene) => {
      const { broker, dataDir, faults, logOf } = scene;
      const checker = new AckChecker();
      const stop = new AbortController();
      const producers = [0, 1].flatMap((at) =>
        [1, 7].map((perRequest) =>
          new NumberedProducer(`p${at}x${perRequest}`, at, { topic: "t", perRequest, acks: "all" })
        )
      );
      const running = producers.map((each) => each.run(broker.url, checker, stop.signal));
      for (let failures = 0; failures < FAILURES_UNDER_LOAD; failures++) {
        await pause(100 * Math.random());
        await faults.failNext(logOf(failures % 2));
        await eventually(COMES_BACK_MS, async () => {
          assert.ok(await faults.hasFailed());
          assert.equal((await call(broker.url, "/readyz")).status, 200);
        });
      }
      const acked = checker.ackedCount;
      await eventually(COMES_BACK_MS, async () => {
        await Promise.resolve();
        assert.ok(checker.ackedCount > acked, "nothing is acknowledged any more");
      });
      stop.abort();
      const violations = (await Promise.all(running)).flat();
      const check = async (url: string) => {
        for (const partition of [0, 1]) {
          const seen = await readPartition(url, "t", { partition, from: 0 });
          violations.push(...checker.check(partition, 0, seen));
        }
      };
      await check(broker.url);
      for (const partition of [0, 1]) {
        violations.push(...neverWrittenAgain(await faults.trace(logOf(partition))));
      }
      await broker.stop("SIGKILL");
      await using again = await startBrokerProcess({ dataDir });
      await check(again.url);
      assert.deepEqual(violations.slice(0, 10), []);
    }),
});

Deno.test({
  name:
    "broker whose sync fails under a commit or a new topic says so, and does it when asked again",
  ignore,
  fn: () =>
    onFaultyDisk({}, async ({ broker, dataDir, faults }) => {
      assert.equal((await publish(broker.url, "t", ["0", "1", "2"])).status, 200);
      const commit = (offset: number) =>
        call(broker.url, "/api/offsets:commit", {
          json: { groupId: "g", offsets: [{ topic: "t", partition: 0, offset }] },
        });
      const create = (name: string) => call(broker.url, "/api/topics", { json: { name } });
      assert.equal((await commit(1)).status, 200);
      const journals = (await call(broker.url, "/api/topics/__groups")).body.topicId;

      await faults.failNext(journals);
      const failed = await commit(2);
      assert.deepEqual([failed.status, failed.body.retryable], [503, true]);
      await eventually(COMES_BACK_MS, async () => assert.equal((await commit(3)).status, 200));

      await faults.failNext("metadata.kv");
      const unmade = await create("u");
      assert.deepEqual([unmade.status, unmade.body.retryable], [503, true]);
      assert.equal((await create("u")).status, 201);

      await faults.failNext(`${dataDir}/topics/`);
      const made = await create("v");
      assert.ok(made.status === 201 || made.body.retryable === true, JSON.stringify(made.body));
      // Where the failed sync was the audit's, the topic is not made before it can say who made it.
      await eventually(COMES_BACK_MS, async () => {
        const again = await create("v");
        assert.ok([201, 409].includes(again.status), JSON.stringify(again.body));
      });
      for (const name of ["u", "v"]) {
        await eventually(COMES_BACK_MS, async () => {
          assert.equal((await publish(broker.url, name, ["0"])).status, 200);
        });
      }
      assert.equal((await call(broker.url, "/readyz")).status, 200);

      await broker.stop("SIGKILL");
      await using again = await startBrokerProcess({ dataDir });
      const { topics } = (await call(again.url, "/api/topics")).body;
      assert.deepEqual(
        topics.map(({ name }: { name: string }) => name)
          .filter((name: string) => !name.startsWith("__")),
        ["t", "u", "v"],
      );
      const lag = (await call(again.url, "/api/groups/g/lag")).body;
      assert.equal(lag.partitions[0].committedOffset, 3);
    }),
});

Deno.test({
  name:
    `broker does not acknowledge before a sync of ${SLOW_SYNC_MS} ms has ended, and serves other partitions meanwhile`,
  ignore,
  fn: () =>
    onFaultyDisk({ partitions: SLOW_PARTITIONS }, async ({ broker, faults, logOf }) => {
      await createTopic(broker.url, { name: "other" });
      const partitions = Array.from({ length: SLOW_PARTITIONS }, (_, number) => number);
      for (const partition of partitions) {
        assert.equal((await publish(broker.url, "t", ["0"], { partition })).status, 200);
      }
      await faults.delay(logOf(0).split("/")[0]!, SLOW_SYNC_MS);
      let answered = 0;
      const late = Promise.all(partitions.map(async (partition) => {
        const answer = await publish(broker.url, "t", ["1"], { partition });
        answered++;
        return answer;
      }));
      late.catch(() => undefined);
      await eventually(SLOW_SYNC_MS / 2, async () => {
        for (const partition of partitions) {
          const events = await faults.trace(logOf(partition));
          assert.equal(events.filter(({ type }) => type === "wrote").length, 2);
        }
      });
      for (const partition of partitions) {
        assert.deepEqual(await valuesOf(broker.url, partition), ["0"], "shown before its sync");
      }
      for (let count = 0; count < 20; count++) {
        const { status, ms } = await publish(broker.url, "other", ["a"]);
        assert.equal(status, 200);
        assert.ok(ms < NORMAL_MS, `a publish elsewhere took ${ms} ms`);
      }
      assert.equal(answered, 0, "acknowledged before its sync, or the publishes elsewhere waited");
      for (const answer of await late) {
        assert.equal(answer.status, 200);
        assert.ok(answer.ms >= SLOW_SYNC_MS, `acknowledged after ${answer.ms} ms`);
      }
      await faults.heal();
      for (const partition of partitions) {
        assert.deepEqual(await valuesOf(broker.url, partition), ["0", "1"]);
      }
    }),
});

Deno.test({
  name: "broker asks the kernel to sync between the write of a message and its acknowledgement",
  ignore: ignoreStrace,
  fn: () =>
    withDataDir(async (dataDir) => {
      const trace = `${dataDir}/trace`;
      const calls = "trace=pwrite64,fdatasync,write,writev,sendto,sendmsg";
      await using broker = await startBrokerProcess({
        dataDir: `${dataDir}/data`,
        // -D: the broker stays our child, and is the one that gets signals.
        wrapper: ["strace", "-D", "-f", "-y", "-s", "300", "-e", calls, "-o", trace],
      });
      await createTopic(broker.url, { name: "t" });
      const markers = Array.from({ length: 5 }, (_, number) => `marker-${number}-of-this-test`);
      for (const marker of markers) {
        assert.equal((await publish(broker.url, "t", [marker])).status, 200);
      }
      await broker.stop("SIGTERM");
      const lines = (await Deno.readTextFile(trace)).split("\n");
      for (const marker of markers) {
        const { wrote, synced, answered } = orderOf(lines, marker);
        assert.ok(
          0 <= wrote && wrote < synced && synced < answered,
          `${marker}: written in line ${wrote}, synced in ${synced}, answered in ${answered}`,
        );
      }
    }),
});

/** Lines of a trace in which a message was written to its log, that log was synced, and its publisher answered. */
function orderOf(lines: readonly string[], marker: string) {
  const wrote = lines.findIndex((line) => line.includes("pwrite64(") && line.includes(marker));
  const path = /<([^>]+\.log)>/.exec(lines[wrote] ?? "")?.[1] ?? "no log";
  const after = (from: number, test: (line: string) => boolean) => {
    const found = lines.slice(from + 1).findIndex(test);
    return found === -1 ? -1 : from + 1 + found;
  };
  const began = after(wrote, (line) => line.includes("fdatasync(") && line.includes(path));
  // Numbers of threads stand in a column: a short one has more than one blank behind it.
  const isResumed = new RegExp(`^${lines[began]?.split(" ")[0]} +<\\.\\.\\. fdatasync resumed>`);
  const synced = lines[began]?.includes("unfinished")
    ? after(began, (line) => isResumed.test(line))
    : began;
  const answered = after(wrote, (line) => line.includes("HTTP/1.1 200"));
  return { wrote, synced, answered };
}
