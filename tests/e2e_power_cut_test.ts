// Owns proof that what was acknowledged survives a power cut on a real file system (I1, I2, I4).
// The power is cut by copying the file below a mounted ext4: the copy holds what the disk was told to keep, and nothing
// of what only the page cache has. The broker is stopped while it is copied, so that the copy is of one moment.
// The negative control runs the same load with durability "os" and must be seen to lose.
import assert from "node:assert/strict";
import { AckChecker } from "../ops/drills/ack_checker.ts";
import { eventually, pause } from "./support/api_calls.ts";
import { type BrokerProcess, startBrokerProcess } from "./support/broker_process.ts";
import { canMountImages, makeImage, mountImage } from "./support/mounts.ts";
import { createTopic, NumberedProducer, readPartition } from "./support/numbered_load.ts";
import { requireOrSkip, run } from "./support/system_needs.ts";

const ROUNDS = 8;
const CONTROL_ROUNDS_MAX = 5;
const IMAGE_BYTES = 64 * 1_048_576;
/** The power goes within this time after so many messages of the round were acknowledged. */
const CUT_WITHIN_MS = 400;
const ACKED_PER_ROUND = 50;
const ACKED_TIMEOUT_MS = 20_000;
/** Copies that differ from the disk after copying are of no one moment: made again. */
const MAX_COPIES = 20;
const PARTITIONS = 3;
const TOPIC = { name: "power", partitions: PARTITIONS, segmentBytes: 65_536 };

const ignore = requireOrSkip(
  "ext4 on loop devices",
  await canMountImages(),
  "a power cut is made by copying the file below a mounted file system, which needs root",
);

interface Run {
  readonly durability: "fsync" | "os";
  readonly rounds: number;
  /** Ends early once something was found. */
  readonly untilViolation: boolean;
}

/** Each round starts on what the cut before it left behind. */
async function cutOver(
  directory: string,
  { durability, rounds, untilViolation }: Run,
): Promise<string[]> {
  const checker = new AckChecker();
  const violations: string[] = [];
  const producers = Array.from(
    { length: PARTITIONS },
    (_, partition) =>
      [1, 8].map((perRequest) =>
        new NumberedProducer(`p${partition}x${perRequest}`, partition, {
          topic: TOPIC.name,
          perRequest,
          acks: "all",
        })
      ),
  ).flat();
  let image = `${directory}/disk-0`;
  await makeImage(image, IMAGE_BYTES);
  for (let round = 0; round <= rounds; round++) {
    const next = `${directory}/disk-${round + 1}`;
    await using mount = await mountImage(image);
    await using broker = await startBrokerProcess({ dataDir: `${mount.directory}/data` });
    if (round === 0) await createTopic(broker.url, { ...TOPIC, durability });
    violations.push(...await readAll(broker.url, checker));
    if (round === rounds || (untilViolation && violations.length > 0)) break;
    const running = producers.map((each) =>
      each.run(broker.url, checker, new AbortController().signal)
    );
    const acked = checker.ackedCount + ACKED_PER_ROUND;
    // deno-lint-ignore require-await -- it may throw
    await eventually(ACKED_TIMEOUT_MS, async () => assert.ok(checker.ackedCount >= acked));
    await pause(Math.random() * CUT_WITHIN_MS);
    // In every other round the disk also has what nobody had asked it to keep yet.
    await cutPower(broker, { image, next, syncFirst: round % 2 === 1 ? mount.directory : null });
    violations.push(...(await Promise.all(running)).flat());
    await Deno.remove(image);
    image = next;
  }
  return violations;
}

/** Leaves in `next` what a power cut now would leave on the disk `image`, and ends the broker. */
async function cutPower(
  broker: BrokerProcess,
  disk: { image: string; next: string; syncFirst: string | null },
): Promise<void> {
  Deno.kill(broker.pid, "SIGSTOP");
  await stopped(broker.pid);
  if (disk.syncFirst !== null) await run("sync", "-f", disk.syncFirst);
  for (let copies = 0; !await copiedInOneMoment(disk.image, disk.next); copies++) {
    assert.ok(copies < MAX_COPIES, "the disk never came to rest");
  }
  await broker.stop("SIGKILL");
}

async function copiedInOneMoment(from: string, to: string): Promise<boolean> {
  await run("cp", "--sparse=always", from, to);
  const { success } = await new Deno.Command("cmp", { args: ["-s", from, to] }).output();
  return success;
}

/** System calls under way end before a stopped thread stops. */
async function stopped(pid: number): Promise<void> {
  for (let tries = 0; tries < 1_000; tries++) {
    const states: string[] = [];
    for await (const { name } of Deno.readDir(`/proc/${pid}/task`)) {
      const stat = await Deno.readTextFile(`/proc/${pid}/task/${name}/stat`);
      states.push(stat.slice(stat.lastIndexOf(")") + 2)[0]!);
    }
    if (states.every((state) => state === "T")) return;
    await pause(5);
  }
  throw new Error(`process ${pid} did not stop`);
}

async function readAll(url: string, checker: AckChecker): Promise<string[]> {
  const violations: string[] = [];
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const seen = await readPartition(url, TOPIC.name, { partition, from: 0 });
    violations.push(...checker.check(partition, 0, seen));
  }
  return violations;
}

async function withDirectory<T>(test: (directory: string) => Promise<T>): Promise<T> {
  const directory = await Deno.makeTempDir({ prefix: "waybill-power-" });
  try {
    return await test(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test({
  name: `power cut ${ROUNDS} times under load loses, changes and doubles nothing acknowledged`,
  ignore,
  async fn() {
    const violations = await withDirectory((directory) =>
      cutOver(directory, { durability: "fsync", rounds: ROUNDS, untilViolation: false })
    );
    assert.deepEqual(violations.slice(0, 10), []);
  },
});

Deno.test({
  name: "checker sees the loss of a power cut where topics do not ask for syncs",
  ignore,
  async fn() {
    const violations = await withDirectory((directory) =>
      cutOver(directory, { durability: "os", rounds: CONTROL_ROUNDS_MAX, untilViolation: true })
    );
    assert.ok(
      violations.some((violation) => violation.startsWith("I1")),
      `${CONTROL_ROUNDS_MAX} power cuts without syncs lost nothing`,
    );
  },
});
