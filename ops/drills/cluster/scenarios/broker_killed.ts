// Owns the drill of brokers that are killed by signal 9, one after another, while they lead and are published to.
// Refuses to own electing another leader: that is what is measured.
// Invariant: who is killed leads partitions of the topic at that moment.
import type { Findings } from "../../types.ts";
import { quantile } from "../../reckoning.ts";
import type { ClusterScene } from "../cluster_scene.ts";
import { conclude } from "../conclusion.ts";
import type { ClusterDrill } from "../types.ts";

const MEDIAN_TARGET_MS = 5_000;
const WORST_TARGET_MS = 10_000;
const RECOVERY_LIMIT_MS = 60_000;
const DOWN_MS = 1_000;
const BETWEEN_MS = 1_000;

export const brokerKilled: ClusterDrill = {
  name: "broker-killed",
  title: "Leading broker killed under load",
  injects: "signal 9 to the broker that leads most partitions, and again to the next that does",
  repair:
    "the controller elects a leader of those in sync; the broker is started again and follows",
  control: "acks leader: what is acknowledged is on one broker",
  targets: { rtoMs: WORST_TARGET_MS, rpoMs: 0 },
  run,
};

async function run(scene: ClusterScene): Promise<Findings> {
  await scene.begin();
  const { kills } = scene.options;
  const sinceMs = performance.now();
  const recoveries: number[] = [];
  for (let kill = 1; kill <= kills; kill++) {
    const tookMs = await killLeader(scene, `${kill} of ${kills}`);
    if (tookMs === null) break;
    recoveries.push(tookMs);
  }
  const isComplete = recoveries.length === kills;
  const sorted = recoveries.toSorted((a, b) => a - b);
  const medianMs = quantile(sorted, 0.5);
  return await conclude(scene, {
    sinceMs,
    rtoMs: isComplete ? sorted.at(-1)! : null,
    checks: [{
      what: `publishing resumed within ${MEDIAN_TARGET_MS} ms at the median`,
      isMet: isComplete && medianMs <= MEDIAN_TARGET_MS,
      found: `${medianMs} ms at the median of ${recoveries.length}, ${sorted.at(-1)} at the worst`,
    }],
    measured: {
      kills: recoveries.length,
      medianRecoveryMs: medianMs,
      worstRecoveryMs: sorted.at(-1) ?? -1,
      ...Object.fromEntries(recoveries.map((ms, index) => [`recovery${index + 1}Ms`, ms])),
    },
  });
}

/** From the kill until every partition acknowledges again, ms; null: it did not in time. */
async function killLeader(scene: ClusterScene, which: string): Promise<number | null> {
  const { stage, load } = scene;
  const nodeId = await scene.mainLeader();
  const led = (await scene.ledBy(nodeId)).join(", ");
  const controller = (await stage.cluster(scene.others(nodeId)[0]!))?.controller.nodeId;
  const role = controller === nodeId ? ", the controller" : "";
  const what = `kill ${which}: signal 9 to ${nodeId}${role}, leader of ${led}; ` +
    `${load.acknowledged} acknowledged`;
  const sinceMs = await scene.inject(what, async () => void await stage.kill(nodeId));
  const tookMs = await scene.resumed({ sinceMs, limitMs: RECOVERY_LIMIT_MS });
  await scene.pause(DOWN_MS);
  const startedMs = performance.now();
  await stage.startBroker(nodeId);
  scene.tell("step", `${nodeId} is started again`);
  const wholeMs = await scene.whole(startedMs);
  await scene.pause(BETWEEN_MS);
  return wholeMs === null ? null : tookMs;
}
