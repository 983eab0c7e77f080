// Owns the drills in which processes end: the leader of etcd, all brokers at once, one broker after another for an upgrade.
// Refuses to own a broker that is killed under load: broker_killed.ts measures that.
// Invariant: what was ended is started again, with what it had.
import type { Check } from "../../types.ts";
import type { ClusterScene } from "../cluster_scene.ts";
import { conclude } from "../conclusion.ts";
import type { ClusterDrill } from "../types.ts";

const ETCD_DOWN_MS = 6_000;
const ETCD_RTO_MS = 10_000;
const ALL_DOWN_MS = 2_000;
const ALL_RTO_MS = 30_000;
const ROLLING_RTO_MS = 5_000;
const RECOVERY_LIMIT_MS = 60_000;

export const etcdLeaderKilled: ClusterDrill = {
  name: "etcd-leader-killed",
  title: "Leader of etcd killed",
  injects: "signal 9 to the member that leads etcd",
  repair: "the two others elect a leader; brokers ask those that answer",
  control: "acks leader",
  targets: { rtoMs: ETCD_RTO_MS, rpoMs: 0 },
  async run(scene) {
    await scene.begin();
    const member = await scene.stage.etcdLeader();
    if (member === null) throw new Error("nobody leads etcd");
    const sinceMs = await scene.inject(
      `signal 9 to ${member}, which leads etcd`,
      async () => void await scene.stage.kill(member),
    );
    const decided = await decides(scene, sinceMs);
    await scene.pause(ETCD_DOWN_MS);
    const rtoMs = scene.load.silences.longest(sinceMs, performance.now());
    await scene.stage.startEtcd(member);
    scene.tell(
      "step",
      `${member} is started again; partitions were silent for ${rtoMs} ms at most`,
    );
    return await conclude(scene, { sinceMs, rtoMs, checks: [decided] });
  },
};

/** A topic can be made: a decision, which needs etcd. */
async function decides(scene: ClusterScene, sinceMs: number): Promise<Check> {
  const tookMs = await scene.recovered(() => scene.createsTopic("decided-without-a-member"), {
    sinceMs,
    limitMs: RECOVERY_LIMIT_MS,
    what: "a topic can be made",
  });
  return {
    what: "a topic could be made with two members of etcd",
    isMet: tookMs !== null,
    found: tookMs === null ? "it could not" : `${tookMs} ms after the fault`,
  };
}

export const allBrokersKilled: ClusterDrill = {
  name: "all-brokers-killed",
  title: "All brokers killed at once",
  injects: `signal 9 to all brokers; they are started again ${ALL_DOWN_MS / 1_000} s later`,
  repair: "each recovers its logs; leaders are elected of those in sync",
  control: "acks leader",
  targets: { rtoMs: ALL_RTO_MS, rpoMs: 0 },
  async run(scene) {
    await scene.begin();
    const { stage } = scene;
    const sinceMs = await scene.inject(
      `signal 9 to ${stage.nodeIds.join(", ")}; ${scene.load.acknowledged} acknowledged`,
      async () => void await Promise.all(stage.nodeIds.map((nodeId) => stage.kill(nodeId))),
    );
    const afterMs = performance.now();
    await scene.pause(ALL_DOWN_MS);
    await Promise.all(stage.nodeIds.map((nodeId) => stage.startBroker(nodeId)));
    scene.tell("step", "all of them are started again");
    const rtoMs = await scene.resumed({ sinceMs, afterMs, limitMs: RECOVERY_LIMIT_MS });
    return await conclude(scene, { sinceMs, rtoMs });
  },
};

export const rollingRestart: ClusterDrill = {
  name: "rolling-restart",
  title: "Rolling restart",
  injects: "signal TERM to one broker after another; the next one when all is in sync again",
  repair: "a broker that stops hands leadership on first, and follows when it is back",
  control: "acks leader",
  targets: { rtoMs: ROLLING_RTO_MS, rpoMs: 0 },
  async run(scene) {
    await scene.begin();
    const { stage } = scene;
    const sinceMs = performance.now();
    const codes: (number | null)[] = [];
    const stops: number[] = [];
    for (const nodeId of stage.nodeIds) {
      const led = (await scene.ledBy(nodeId)).join(", ") || "nothing";
      const atMs = await scene.inject(`signal TERM to ${nodeId}, leader of ${led}`, async () => {
        codes.push(await stage.kill(nodeId, "SIGTERM"));
      });
      const tookMs = Math.round(performance.now() - atMs);
      stops.push(tookMs);
      scene.tell("step", `${nodeId} ended in ${tookMs} ms: ${lastLine(stage.log(nodeId))}`);
      await stage.startBroker(nodeId);
      if (await scene.whole(performance.now()) === null) break;
    }
    const rtoMs = scene.load.silences.longest(sinceMs, performance.now());
    const isClean = codes.length === stage.nodeIds.length && codes.every((code) => code === 0);
    return await conclude(scene, {
      sinceMs,
      rtoMs,
      checks: [{
        what: "every broker ended by itself, with exit code 0",
        isMet: isClean,
        found: codes.join(", "),
      }],
      measured: { longestStopMs: Math.max(...stops) },
    });
  },
};

function lastLine(log: string): string {
  return log.trim().split("\n").at(-1)!;
}
