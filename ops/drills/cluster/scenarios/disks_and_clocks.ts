// Owns the drills of disks that are slow or replaced, and of a clock that is a day off.
// Refuses to own how a disk or a clock is made so (../../../faults/). Invariant: one broker has the fault, the others none.
import { quantile } from "../../reckoning.ts";
import type { Check, Findings } from "../../types.ts";
import type { ClusterScene } from "../cluster_scene.ts";
import { conclude } from "../conclusion.ts";
import type { ClusterDrill } from "../types.ts";

const SYNC_DELAY_MS = 1_000;
const SLOW_MS = 10_000;
/** Each publish waits for syncs that take so much longer; requests have to be more patient than that. */
const PATIENT_MS = 8_000;
const QUICK_MS = 1_000;
const SLOW_RTO_MS = 10_000;
const DAY_MS = 86_400_000;
const SKEWED_MS = 8_000;
const SKEW_RTO_MS = 5_000;
const WIPED_RTO_MS = 10_000;
const RECOVERY_LIMIT_MS = 60_000;

export const slowDiskOnFollower: ClusterDrill = slowDisk({
  name: "slow-disk-on-follower",
  title: "Slow disk on a follower",
  of: "a broker that leads nothing",
  async choose(scene) {
    const leader = await scene.mainLeader();
    await handOn(scene, scene.others(leader)[0]!);
    return scene.others(leader)[0]!;
  },
});

export const slowDiskOnLeader: ClusterDrill = slowDisk({
  name: "slow-disk-on-leader",
  title: "Slow disk on a leader",
  of: "the broker that leads most",
  choose: (scene) => scene.mainLeader(),
});

function slowDisk({ name, title, of, choose }: {
  readonly name: string;
  readonly title: string;
  /** Whose disk, in words. */
  readonly of: string;
  readonly choose: (scene: ClusterScene) => Promise<string>;
}): ClusterDrill {
  return {
    name,
    title,
    injects: `every sync of ${of} takes ${SYNC_DELAY_MS} ms longer, for ${SLOW_MS / 1_000} s`,
    repair: "none is needed: messages are acknowledged when it has synced them, later",
    control: "acks leader",
    targets: { rtoMs: SLOW_RTO_MS, rpoMs: 0 },
    async run(scene) {
      await scene.begin({ isFaulty: true, requestTimeoutMs: PATIENT_MS });
      return await slow(scene, await choose(scene));
    },
  };
}

/** A broker that was away leads nothing when it is back. */
async function handOn(scene: ClusterScene, nodeId: string): Promise<void> {
  await scene.stage.kill(nodeId, "SIGTERM");
  await scene.stage.startBroker(nodeId);
  if (await scene.whole(performance.now()) === null) throw new Error(`${nodeId} did not come back`);
}

async function slow(scene: ClusterScene, nodeId: string): Promise<Findings> {
  const { silences } = scene.load;
  const led = (await scene.ledBy(nodeId)).join(", ") || "nothing";
  const sinceMs = await scene.inject(
    `syncs of ${nodeId}, leader of ${led}, take ${SYNC_DELAY_MS} ms longer`,
    () => scene.stage.order(nodeId, { disk: { syncDelayMs: SYNC_DELAY_MS } }),
  );
  await scene.pause(SLOW_MS);
  const healedMs = performance.now();
  const slowMs = quantile(silences.latencies(sinceMs, healedMs), 0.5);
  const rtoMs = silences.longest(sinceMs, healedMs);
  await scene.stage.order(nodeId, { disk: { syncDelayMs: 0 } });
  scene.tell("step", `the disk is fast again; partitions were silent for ${rtoMs} ms at most`);
  const quick = await isQuickAgain(scene, healedMs);
  return await conclude(scene, {
    sinceMs,
    rtoMs,
    checks: [quick],
    measured: { publishP50WhileSlowMs: slowMs },
  });
}

async function isQuickAgain(scene: ClusterScene, healedMs: number): Promise<Check> {
  const latest = () => scene.load.silences.latencies(performance.now() - 1_000, Infinity);
  const tookMs = await scene.recovered(() => {
    const sorted = latest();
    return performance.now() - healedMs > 1_000 && sorted.length > 0 &&
      quantile(sorted, 0.9) < QUICK_MS;
  }, { sinceMs: healedMs, limitMs: 20_000, what: "publishes are quick again" });
  return {
    what: `publishes took less than ${QUICK_MS} ms again`,
    isMet: tookMs !== null,
    found: tookMs === null ? "they did not" : `${tookMs} ms after the disk was fast again`,
  };
}

export const clockDayOff: ClusterDrill = {
  name: "clock-day-off",
  title: "Clock a day off on one broker",
  injects: "the wall clock of the broker that leads most jumps a day ahead, then two days back",
  repair:
    "none is needed: leases and timers go by the monotonic clock, order by epochs and offsets",
  control: "acks leader",
  targets: { rtoMs: SKEW_RTO_MS, rpoMs: 0 },
  async run(scene) {
    await scene.begin({ isFaulty: true });
    const nodeId = await scene.mainLeader();
    const before = await epochs(scene);
    const jump = (jumpWallMs: number) => scene.stage.order(nodeId, { clock: { jumpWallMs } });
    const sinceMs = await scene.inject(
      `the clock of ${nodeId} jumps a day ahead`,
      () => jump(DAY_MS),
    );
    await scene.pause(SKEWED_MS);
    await scene.inject(`the clock of ${nodeId} jumps two days back`, () => jump(-2 * DAY_MS));
    await scene.pause(SKEWED_MS);
    const rtoMs = scene.load.silences.longest(sinceMs, performance.now());
    const after = await epochs(scene);
    await jump(DAY_MS);
    scene.tell("step", `the clock is right again; partitions were silent for ${rtoMs} ms at most`);
    return await conclude(scene, {
      sinceMs,
      rtoMs,
      checks: [{
        what: "no partition got another leader",
        isMet: before === after,
        found: before === after ? "none did" : `epochs ${before} became ${after}`,
      }],
    });
  },
};

async function epochs(scene: ClusterScene): Promise<string> {
  const { partitions } = await scene.describe();
  return partitions.map(({ leaderEpoch }) => leaderEpoch).join(" ");
}

export const diskWiped: ClusterDrill = {
  name: "disk-wiped",
  title: "Disk of a leader wiped",
  injects:
    "signal 9 to the broker that leads most; it comes back with an empty disk; then the same " +
    "to the next leader",
  repair:
    "it is not elected for what it has lost; it fetches everything again from those that have it",
  control: "acks leader: what only the wiped disk had is gone",
  targets: { rtoMs: WIPED_RTO_MS, rpoMs: 0 },
  async run(scene) {
    await scene.begin();
    const sinceMs = performance.now();
    const first = await wipeLeader(scene);
    const second = first === null ? null : await wipeLeader(scene);
    return await conclude(scene, {
      sinceMs,
      rtoMs: first === null || second === null ? null : Math.max(first, second),
      measured: { recovery1Ms: first ?? -1, recovery2Ms: second ?? -1 },
    });
  },
};

/** From the kill until every partition acknowledges again, ms; null: that, or fetching everything, took too long. */
async function wipeLeader(scene: ClusterScene): Promise<number | null> {
  const { stage } = scene;
  const nodeId = await scene.mainLeader();
  const sinceMs = await scene.inject(
    `signal 9 to ${nodeId}, and its disk is wiped; ${scene.load.acknowledged} acknowledged`,
    async () => {
      await stage.kill(nodeId);
      await stage.wipe(nodeId);
    },
  );
  // At once: nobody has been elected in its place yet.
  const afterMs = performance.now();
  await stage.startBroker(nodeId);
  scene.tell("step", `${nodeId} is started with an empty disk`);
  const tookMs = await scene.resumed({ sinceMs, afterMs, limitMs: RECOVERY_LIMIT_MS });
  return await scene.whole(performance.now()) === null ? null : tookMs;
}
