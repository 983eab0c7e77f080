// Owns the drills of a leader that is not dead: paused past its lease, or cut from etcd, from all, or on one link one way.
// Refuses to own that it notices. Invariant: clients still reach it, so what it says wrongly is heard.
import type { Findings } from "../../types.ts";
import type { ClusterScene } from "../cluster_scene.ts";
import { conclude, leadershipMoved } from "../conclusion.ts";
import { Stragglers } from "../stragglers.ts";
import type { ClusterDrill } from "../types.ts";

/** Beyond the target, so that who does not come back in time is seen not to. */
const HOLD_MS = 13_000;
const RTO_MS = 10_000;
/** The lag after which a replica leaves the in-sync set (10 s), and what it takes to change that. */
const BEYOND_LAG_MS = 16_000;
const LAG_RTO_MS = 15_000;

export const zombieLeader: ClusterDrill = {
  name: "zombie-leader",
  title: "Leader paused past its lease, and woken",
  injects: `signal STOP to the broker that leads most partitions, for ${HOLD_MS / 1_000} s, ` +
    "with requests waiting for it",
  repair: "its lease ends and others lead; what it says after it wakes up has an old epoch",
  control: "acks leader: the zombie acknowledges by itself",
  targets: { rtoMs: RTO_MS, rpoMs: 0 },
  async run(scene) {
    await scene.begin();
    const nodeId = await scene.mainLeader();
    const led = await scene.ledBy(nodeId);
    const stragglers = new Stragglers(scene.stage.urlOf(nodeId), scene.target, scene.load.checker);
    const sinceMs = await scene.inject(
      `signal STOP to ${nodeId}, leader of ${led.join(", ")}`,
      () => scene.stage.signal(nodeId, "SIGSTOP"),
    );
    stragglers.send(led);
    await scene.pause(HOLD_MS);
    const moved = await leadershipMoved(scene, nodeId);
    const rtoMs = scene.load.silences.longest(sinceMs, performance.now());
    scene.stage.signal(nodeId, "SIGCONT");
    scene.tell("step", `${nodeId} is woken; partitions were silent for ${rtoMs} ms at most`);
    const answered = await stragglers.settle();
    scene.tell("step", `${answered} of ${led.length} requests that waited were acknowledged`);
    scene.load.violations.push(...stragglers.violations);
    return await conclude(scene, {
      sinceMs,
      rtoMs,
      checks: [moved],
      measured: { waitingRequestsAcknowledged: answered },
    });
  },
};

/** A drill in which links of the main leader are cut, and others have to lead meanwhile. */
async function cutOff(
  scene: ClusterScene,
  what: string,
  cut: (nodeId: string) => Promise<void>,
): Promise<Findings> {
  await scene.begin();
  const nodeId = await scene.mainLeader();
  const led = (await scene.ledBy(nodeId)).join(", ");
  const sinceMs = await scene.inject(
    `${nodeId}, leader of ${led}, is cut from ${what}`,
    () => cut(nodeId),
  );
  await scene.pause(HOLD_MS);
  const moved = await leadershipMoved(scene, nodeId);
  const rtoMs = scene.load.silences.longest(sinceMs, performance.now());
  await scene.stage.spaces.heal();
  scene.tell("step", `links are whole again; partitions were silent for ${rtoMs} ms at most`);
  return await conclude(scene, { sinceMs, rtoMs, checks: [moved] });
}

export const leaderCutFromEtcd: ClusterDrill = {
  name: "leader-cut-from-etcd",
  title: "Leader cut from etcd only",
  injects: `no link between the broker that leads most and any member of etcd, for ${
    HOLD_MS / 1_000
  } s`,
  repair: "its lease ends, it stops to lead, and others do",
  control: "acks leader",
  targets: { rtoMs: RTO_MS, rpoMs: 0 },
  run: (scene) =>
    cutOff(scene, "etcd", async (nodeId) => {
      for (const member of scene.stage.etcdNames) await scene.stage.spaces.cut(nodeId, member);
    }),
};

export const minorityIsolated: ClusterDrill = {
  name: "minority-isolated",
  title: "Minority isolated",
  injects: `no link between the broker that leads most and any other or etcd, for ${
    HOLD_MS / 1_000
  } s; clients reach it`,
  repair: "the two others have etcd and each other, and lead everything",
  control: "acks leader",
  targets: { rtoMs: RTO_MS, rpoMs: 0 },
  run: (scene) =>
    cutOff(scene, "all others and etcd", (nodeId) => scene.stage.spaces.isolate(nodeId)),
};

export const leaderCutFromFollowers: ClusterDrill = {
  name: "leader-cut-from-followers",
  title: "Leader cut from its followers only",
  injects: `no link between the broker that leads most and the two others, for ${
    BEYOND_LAG_MS / 1_000
  } s; all have etcd`,
  repair: "none while it lasts: what cannot be replicated is not acknowledged; then they follow",
  control: "acks leader: it goes on acknowledging alone",
  targets: { rtoMs: RTO_MS, rpoMs: 0 },
  async run(scene) {
    await scene.begin();
    const nodeId = await scene.mainLeader();
    const led = await scene.ledBy(nodeId);
    const sinceMs = await scene.inject(
      `${nodeId}, leader of ${led.join(", ")}, is cut from its followers`,
      async () => {
        for (const other of scene.others(nodeId)) await scene.stage.spaces.cut(nodeId, other);
      },
    );
    await scene.pause(BEYOND_LAG_MS);
    const healedMs = performance.now();
    await scene.stage.spaces.heal();
    scene.tell("step", "links are whole again");
    const rtoMs = await scene.resumed({ sinceMs: healedMs, of: "healing" });
    return await conclude(scene, { sinceMs, rtoMs });
  },
};

export const oneWayLink: ClusterDrill = {
  name: "one-way-link",
  title: "One link, one way only",
  injects: "nothing of the broker that leads most reaches one follower, whose packets reach it, " +
    `for ${BEYOND_LAG_MS / 1_000} s`,
  repair: "the follower leaves the in-sync sets when it is behind for 10 s, and comes back",
  control: "acks leader",
  targets: { rtoMs: LAG_RTO_MS, rpoMs: 0 },
  async run(scene) {
    await scene.begin();
    const nodeId = await scene.mainLeader();
    const [follower] = scene.others(nodeId);
    const sinceMs = await scene.inject(
      `nothing of ${nodeId} reaches ${follower}`,
      () => scene.stage.spaces.cutOneWay(nodeId, follower!),
    );
    await scene.pause(BEYOND_LAG_MS);
    const rtoMs = scene.load.silences.longest(sinceMs, performance.now());
    await scene.stage.spaces.heal();
    scene.tell("step", `the link is whole again; partitions were silent for ${rtoMs} ms at most`);
    return await conclude(scene, { sinceMs, rtoMs });
  },
};
