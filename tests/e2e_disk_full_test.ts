// Owns proof of what a broker does on a disk without space: refuses clearly, keeps nothing by halves, reads on, and
// goes on by itself when there is space again.
import assert from "node:assert/strict";
import { AckChecker } from "../ops/drills/ack_checker.ts";
import { type Answer, call, eventually, publish } from "./support/api_calls.ts";
import { type BrokerProcess, startBrokerProcess } from "./support/broker_process.ts";
import { canMountMemory, mountMemory } from "./support/mounts.ts";
import { createTopic, NumberedProducer, readPartition } from "./support/numbered_load.ts";
import { requireOrSkip } from "./support/system_needs.ts";

const DISK_BYTES = 12 * 1_048_576;
const PAGE_BYTES = 4_096;
/** More than what is left, so that a short write comes before the refusal. */
const VALUE_BYTES = 30_000;
const LEFT_BYTES = 2 * PAGE_BYTES;
/** A partition that could not be opened is tried again at growing intervals: the longest, and some for a busy machine. */
const RESUME_MS = 20_000;
/** Small things that may still fit into pages already taken. */
const MAX_TRIES = 1_000;

const ignore = requireOrSkip(
  "small file systems in memory",
  await canMountMemory(),
  "a disk is filled up on a tmpfs of its own, which needs root",
);

/** The broker on a small disk, and a file that takes what space is left. */
async function onSmallDisk(
  test: (scene: Scene) => Promise<void>,
): Promise<void> {
  await using mount = await mountMemory(DISK_BYTES);
  const dataDir = `${mount.directory}/data`;
  const filler = `${mount.directory}/filler`;
  await using broker = await startBrokerProcess({ dataDir });
  await test({
    broker,
    dataDir,
    fill: (leftBytes) => fill(filler, leftBytes),
    makeRoom: () => Deno.remove(filler),
  });
}

interface Scene {
  readonly broker: BrokerProcess;
  readonly dataDir: string;
  /** Leaves this much space, in whole pages. */
  fill(leftBytes: number): Promise<void>;
  makeRoom(): Promise<void>;
}

async function fill(path: string, leftBytes: number): Promise<void> {
  using file = await Deno.open(path, { create: true, append: true });
  const page = new Uint8Array(PAGE_BYTES).fill(1);
  try {
    while (true) await file.write(page);
  } catch (error) {
    assert.match(String(error), /No space left/);
  }
  await file.truncate((await file.stat()).size - leftBytes);
}

function assertDiskFull(answer: Answer): void {
  assert.deepEqual([answer.status, answer.body.code], [503, "DISK_FULL"], JSON.stringify(answer));
  assert.equal(answer.body.retryable, true);
  assert.ok(Number(answer.headers.get("retry-after")) >= 1, "no Retry-After");
  assert.equal(answer.headers.get("content-type"), "application/problem+json");
}

async function logBytes(dataDir: string, topicId: string): Promise<number> {
  const directory = `${dataDir}/topics/${topicId}/0`;
  let bytes = 0;
  for await (const { name } of Deno.readDir(directory)) {
    if (name.endsWith(".log")) bytes += (await Deno.stat(`${directory}/${name}`)).size;
  }
  return bytes;
}

Deno.test({
  name: "broker on a full disk refuses a publish whole, reads on, and takes it when there is space",
  ignore,
  fn: () =>
    onSmallDisk(async ({ broker, dataDir, fill, makeRoom }) => {
      await createTopic(broker.url, { name: "t" });
      const { topicId } = (await call(broker.url, "/api/topics/t")).body;
      assert.equal((await publish(broker.url, "t", ["0", "1"])).status, 200);
      const before = await logBytes(dataDir, topicId);

      await fill(LEFT_BYTES);
      const large = "x".repeat(VALUE_BYTES);
      for (let tries = 0; tries < 3; tries++) {
        assertDiskFull(await publish(broker.url, "t", ["2", large, "3"]));
        assert.equal(await logBytes(dataDir, topicId), before, "a part of it stayed in the file");
      }
      assert.equal((await readPartition(broker.url, "t", { partition: 0, from: 0 })).length, 2);
      for (const path of ["/livez", "/readyz", "/api/topics", "/api/groups", "/api/cluster"]) {
        assert.equal((await call(broker.url, path)).status, 200, path);
      }
      // What still fits is taken: the disk is full for the large one only.
      assert.equal((await publish(broker.url, "t", ["2"])).status, 200);

      await makeRoom();
      assert.equal((await publish(broker.url, "t", ["3", large])).status, 200);
      const seen = await readPartition(broker.url, "t", { partition: 0, from: 0 });
      assert.deepEqual(seen.map(({ value }) => value), ["0", "1", "2", "3", large]);
      assert.deepEqual(seen.map(({ offset }) => offset), [0, 1, 2, 3, 4]);

      await broker.stop("SIGKILL");
      await using again = await startBrokerProcess({ dataDir });
      assert.deepEqual(await readPartition(again.url, "t", { partition: 0, from: 0 }), seen);
    }),
});

Deno.test({
  name:
    "broker whose disk fills up under load, twice, keeps all it acknowledged, also when it is killed then",
  ignore,
  fn: () =>
    onSmallDisk(async ({ broker, dataDir, fill, makeRoom }) => {
      await createTopic(broker.url, { name: "t", partitions: 2, segmentBytes: 65_536 });
      const checker = new AckChecker();
      const load = { topic: "t", perRequest: 3, acks: "all", padding: 2_000 } as const;
      const producers = [0, 1].map((at) => new NumberedProducer(`p${at}`, at, load));
      const violations: string[] = [];
      let probes = 0;
      const readAll = async (url: string) => {
        for (const partition of [0, 1]) {
          const seen = await readPartition(url, "t", { partition, from: 0 });
          violations.push(...checker.check(partition, 0, seen));
        }
      };
      const runUntilFull = async (leftBytes: number) => {
        const stop = new AbortController();
        const running = producers.map((each) => each.run(broker.url, checker, stop.signal));
        await fill(leftBytes);
        await eventually(RESUME_MS, async () => {
          for (const partition of [0, 1]) {
            const values = [`probe:${probes++}:`.padEnd(VALUE_BYTES, "x")];
            assertDiskFull(await publish(broker.url, "t", values, { partition }));
          }
        });
        stop.abort();
        violations.push(...(await Promise.all(running)).flat());
      };

      await runUntilFull(300_000);
      const acked = checker.ackedCount;
      assert.ok(acked > 0);
      await readAll(broker.url);
      await makeRoom();
      await runUntilFull(500_000);
      assert.ok(checker.ackedCount > acked, "nothing was taken when there was space again");
      await broker.stop("SIGKILL");
      await makeRoom();
      await using again = await startBrokerProcess({ dataDir });
      await readAll(again.url);
      assert.deepEqual(violations.slice(0, 10), []);
    }),
});

Deno.test({
  name:
    "broker on a full disk makes no topic and commits no offset by halves, and both once there is space",
  ignore,
  fn: () =>
    onSmallDisk(async ({ broker, dataDir, fill, makeRoom }) => {
      await createTopic(broker.url, { name: "t" });
      assert.equal((await publish(broker.url, "t", ["0", "1", "2"])).status, 200);
      const commit = (groupId: string, offset: number) =>
        call(broker.url, "/api/offsets:commit", {
          json: { groupId, offsets: [{ topic: "t", partition: 0, offset }] },
        });
      assert.equal((await commit("g", 1)).status, 200);

      await fill(0);
      const create = (name: string) => call(broker.url, "/api/topics", { json: { name } });
      const names = await untilDiskFull(create);
      const refused = names.pop()!;
      assert.equal((await call(broker.url, `/api/topics/${refused}`)).status, 404);
      assertDiskFull(
        await call(broker.url, "/api/topics/t", {
          method: "PATCH",
          json: { partitions: 3, retentionHours: 1 },
        }),
      );
      const unchanged = (await call(broker.url, "/api/topics/t")).body;
      assert.deepEqual([unchanged.partitions.length, unchanged.retentionHours], [1, 72]);
      // The groups' journals have whole pages: small commits still fit into the last one of each.
      const group = (await untilDiskFull((name) => commit(name, 2))).pop()!;
      assert.equal((await call(broker.url, `/api/groups/${group}/lag`)).status, 404);
      const lagOf = async (url: string, name: string) =>
        (await call(url, `/api/groups/${name}/lag`)).body.partitions[0].committedOffset;
      assert.equal(await lagOf(broker.url, "g"), 1);
      assert.equal((await call(broker.url, "/livez")).status, 200);

      await makeRoom();
      assert.equal((await create(refused)).status, 201);
      for (const name of ["g", group]) assert.equal((await commit(name, 3)).status, 200);
      names.push(refused);
      await eventually(RESUME_MS, async () => {
        for (const name of names) {
          assert.equal((await publish(broker.url, name, ["a"])).status, 200);
        }
        assert.equal((await call(broker.url, "/readyz")).status, 200);
      });

      assert.equal((await broker.stop("SIGTERM")).code, 0);
      await using again = await startBrokerProcess({ dataDir });
      const known = (await call(again.url, "/api/topics")).body.topics
        .map(({ name }: { name: string }) => name)
        .filter((name: string) => !name.startsWith("__"));
      assert.deepEqual(known, [...names, "t"].sort());
      for (const name of ["g", group]) assert.equal(await lagOf(again.url, name), 3);
    }),
});

Deno.test({
  name:
    "broker on a full disk ends cleanly on SIGTERM, and says in one line why it cannot start there",
  ignore,
  fn: () =>
    onSmallDisk(async ({ broker, dataDir, fill, makeRoom }) => {
      await createTopic(broker.url, { name: "t" });
      assert.equal((await publish(broker.url, "t", ["0"])).status, 200);
      await fill(0);
      assertDiskFull(await publish(broker.url, "t", ["x".repeat(VALUE_BYTES)]));
      assert.equal((await broker.stop("SIGTERM")).code, 0, broker.log());
      assert.match(broker.log(), /closed cleanly/);
      // It may start, or say that it cannot: nothing in between.
      const outcome = await startBrokerProcess({ dataDir }).catch((error) => error);
      if (outcome instanceof Error) {
        assert.match(String(outcome), /exit code 1\): .*disk is full\n?$/);
      } else await outcome.stop("SIGKILL");
      await makeRoom();
      await using again = await startBrokerProcess({ dataDir });
      assert.equal((await readPartition(again.url, "t", { partition: 0, from: 0 })).length, 1);
      assert.equal((await publish(again.url, "t", ["1"])).status, 200);
    }),
});

/** Asks with new names until the disk is full; the names asked with, the refused one last. */
async function untilDiskFull(ask: (name: string) => Promise<Answer>): Promise<string[]> {
  const names: string[] = [];
  while (names.length < MAX_TRIES) {
    names.push(`made-${names.length}`);
    const answer = await ask(names.at(-1)!);
    if (answer.status < 300) continue;
    assertDiskFull(answer);
    return names;
  }
  throw new Error(`${MAX_TRIES} requests fitted on a full disk`);
}
