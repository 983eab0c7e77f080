// Owns the control of all cluster drills: acknowledgements before replication, and a loss that the checker has to tell of.
// Refuses to own the checker. Invariant: the loss does not hang on luck: followers get nothing of what is acknowledged.
import { conclude } from "../conclusion.ts";
import type { ClusterDrill } from "../types.ts";

const ALONE_MS = 3_000;
const RTO_MS = 60_000;

export const acknowledgedEarly: ClusterDrill = {
  name: "acknowledged-early",
  title: "Control: acknowledged before it is replicated",
  injects:
    "acks leader; the broker that leads most is cut from its followers, goes on acknowledging " +
    `for ${ALONE_MS / 1_000} s, and is killed with its disk`,
  repair:
    "none: what is lost is lost, and the checker tells of it; else no other drill shows anything",
  control: "this is the control",
  targets: { rtoMs: RTO_MS, rpoMs: 0 },
  isControl: true,
  async run(scene) {
    await scene.begin({ acks: "leader" });
    const { stage } = scene;
    const nodeId = await scene.mainLeader();
    const sinceMs = await scene.inject(`${nodeId} is cut from its followers`, async () => {
      for (const other of scene.others(nodeId)) await stage.spaces.cut(nodeId, other);
    });
    await scene.pause(ALONE_MS);
    await scene.inject(
      `signal 9 to ${nodeId}, and its disk is wiped; ${scene.load.acknowledged} acknowledged`,
      async () => {
        await stage.kill(nodeId);
        await stage.wipe(nodeId);
      },
    );
    const afterMs = performance.now();
    await stage.spaces.heal();
    await scene.resumed({ sinceMs, afterMs });
    await stage.startBroker(nodeId);
    return await conclude(scene, { sinceMs, rtoMs: Math.round(performance.now() - sinceMs) });
  },
};
