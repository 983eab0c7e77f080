// Owns the drill of a disk that is filled by something else, while the broker is published to.
// Refuses to own making room: the runbook has retention do it, once what is dropped is in the archive.
// Invariant: the disk that is full is that of the logs; the archive lies elsewhere, and every message is read back in the end.
import { alertsResolved, nothingGivenUp } from "../checks.ts";
import { Load } from "../load.ts";
import { reckon } from "../reckoning.ts";
import type { Scene } from "../scene.ts";
import type { Drill, Findings } from "../types.ts";

const TOPIC = "events";
const RUNBOOK = "storage-over-budget";
const FILL_PER_SECOND = 1_000;
const FILL_MS = 3_000;
const PER_SECOND = 100;
const MESSAGE_BYTES = 2_000;
const SEGMENT_BYTES = 131_072;
/** Published now, and said to be from three hours ago: within what the topic keeps, beyond what the runbook makes of it. */
const RETENTION_HOURS = 4;
const AGE_MS = 3 * 3_600_000;
/** What is left when the fault begins: eight seconds of publishing. */
const LEFT_BYTES = 8 * PER_SECOND * MESSAGE_BYTES;
const REPAIR_LIMIT_MS = 40_000;
/** By then the disk would be full. */
const FULL_AFTER_MS = 12_000;

export const diskFull: Drill = {
  name: "disk-full",
  title: "Disk full",
  injects: `the disk of the logs has room for ${LEFT_BYTES / 1_000} kB more, at ${
    PER_SECOND * MESSAGE_BYTES / 1_000
  } kB/s`,
  repair:
    "alert disk-usage starts runbook storage-over-budget: the largest topic goes to the archive, and " +
    "is kept on disk for half as long",
  control: "alerts start no runbook: the disk is full, and publishes are refused as DISK_FULL",
  targets: { rtoMs: 60_000, rpoMs: 0 },
  run,
};

async function run(scene: Scene): Promise<Findings> {
  await scene.startBroker({
    faulty: true,
    args: ["--retention-interval-ms=1000", `--archive-dir=${scene.stage.directory}/archive`],
  });
  const client = scene.client();
  await client.topics.create({
    name: TOPIC,
    partitions: 2,
    segmentBytes: SEGMENT_BYTES,
    retentionHours: RETENTION_HOURS,
  });
  await scene.setThreshold("disk-usage", { limit: 0.85, clearLimit: 0.8, runbook: RUNBOOK });
  await scene.setThreshold("publish-failure-rate", { limit: 0.002, windowSeconds: 3 });
  const load = new Load(client, {
    topic: TOPIC,
    perSecond: FILL_PER_SECOND,
    keys: 16,
    padding: MESSAGE_BYTES,
    timestamp: () => Date.now() - AGE_MS,
  });
  scene.onClose(() => load.stop(0));
  load.start();
  await scene.pause(FILL_MS);
  load.perSecond = PER_SECOND;
  await scene.pause(500);

  const used = await usedBytes(scene);
  const sinceMs = await scene.inject(
    `the disk has room for ${LEFT_BYTES / 1_000} kB more, beside ${Math.round(used / 1_000)} kB`,
    () => scene.order({ disk: { capacityBytes: used + LEFT_BYTES } }),
  );
  const rtoMs = await scene.recovered(
    () => scene.watch.execution(RUNBOOK)?.state === "verified",
    { sinceMs, limitMs: REPAIR_LIMIT_MS, what: "there is room again" },
  );
  await scene.pause(Math.max(0, FULL_AFTER_MS - (performance.now() - sinceMs)));
  const lateMs = performance.now() - 2_000;
  const isTaken = load.ackedSince(lateMs) !== null && load.unanswered < PER_SECOND;
  scene.tell("step", `${load.unanswered} messages wait for an answer`);
  const resolved = await alertsResolved(scene, "disk-usage");
  await load.stop(scene.repairs ? 10_000 : 2_000);
  const { messages, checks } = await reckon(client, TOPIC, { load });
  const { partitions } = await scene.api().get(`/api/topics/${TOPIC}`);
  return {
    messages,
    rtoMs,
    rpo: {
      ms: 0,
      messages: Math.max(
        messages.lost,
        scene.watch.execution(RUNBOOK)?.rpo?.messages ?? 0,
      ),
    },
    checks: [
      ...checks,
      {
        what: "publishes were taken when the disk would have been full",
        isMet: isTaken,
        found: `${load.acknowledged.size} acknowledged of ${load.handedIn} handed in`,
      },
      nothingGivenUp(load),
      resolved,
    ],
    measured: {
      usedBeforeBytes: used,
      usedAfterBytes: sizeOf(partitions),
      archivedBytes: partitions.reduce(
        (sum: number, { archivedBytes }: { archivedBytes?: number }) => sum + (archivedBytes ?? 0),
        0,
      ),
    },
  };
}

function sizeOf(partitions: { sizeBytes?: number }[]): number {
  return partitions.reduce((sum, { sizeBytes }) => sum + (sizeBytes ?? 0), 0);
}

/** Of all logs and what belongs to them. */
async function usedBytes(scene: Scene): Promise<number> {
  let used = 0;
  const add = async (directory: string): Promise<void> => {
    for await (const { name, isDirectory } of Deno.readDir(directory)) {
      const path = `${directory}/${name}`;
      if (isDirectory) await add(path);
      else used += (await Deno.stat(path).catch(() => ({ size: 0 }))).size;
    }
  };
  for (const part of ["topics", "snapshots"]) {
    await add(`${scene.stage.dataDir}/${part}`).catch(() => undefined);
  }
  return used;
}
