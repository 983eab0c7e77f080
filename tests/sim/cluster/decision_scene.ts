// Owns the scene in which brokers only decide: who is there, who is controller, who leads what, who is in sync.
// Refuses to own logs and messages (broker_scene.ts).
// Invariant: at the end every partition is led, by a broker that knows it, with all its replicas in sync.
import type { Topic } from "../../../actors/broker.ts";
import { isSameRecord } from "../../../actors/cluster/types.ts";
import { TOPIC_CONFIG } from "../../support/memory_broker.ts";
import { DEFAULT_WALL_START_MS } from "../../support/virtual_time.ts";
import { DecisionProcess, MIN_INSYNC } from "./decision_program.ts";
import { describeRecord } from "./record_ledger.ts";
import type { ClusterFault, ClusterPlan } from "./plan.ts";
import type { Scene, SceneMaker } from "./run_cluster.ts";
import type { SimulatedCluster } from "./cluster.ts";
import type { RunWorld } from "../world.ts";

const REPLICAS = 3;
const START_LIMIT_MS = 20_000;
const LOOK_EVERY_MS = 100;

/** What else there is strikes disks, and the network between brokers: nothing here goes that way. */
const FAULTS: readonly ClusterFault[] = [
  "kill",
  "restart",
  "pause",
  "wipe",
  "wallJump",
  "metadataCut",
  "metadataOutage",
  "metadataLoss",
];

export const decisionScene: SceneMaker<DecisionProcess> = {
  name: "decisions",
  plan: (plan: ClusterPlan) => {
    const faults = plan.faults.filter((kind) => FAULTS.includes(kind));
    return { ...plan, faults: faults.length > 0 ? faults : FAULTS };
  },
  make: (world, cluster) => makeScene(world, cluster),
};

function makeScene(
  world: RunWorld<ClusterPlan>,
  cluster: () => SimulatedCluster<DecisionProcess>,
): Scene<DecisionProcess> {
  const { topics, partitions } = world.plan;
  const count = topics * partitions;
  const problems = (): string[] => {
    const records = [...cluster().records.all()];
    const found = records.length === count ? [] : [`${records.length} of ${count} records`];
    for (const { nodeId, process } of cluster().machines) {
      if (process === null) found.push(`${nodeId} does not run`);
      else if (!process.cluster.hasLease) found.push(`${nodeId} has no lease`);
    }
    for (const record of records) {
      if (record.leader === null || record.isr.length < REPLICAS) {
        found.push(describeRecord(record));
      }
      for (const { nodeId, process } of cluster().machines) {
        const known = process?.cluster.partition(record.topicId, record.partition) ?? null;
        if (known !== null && isSameRecord(known.record, record)) continue;
        found.push(`${nodeId} does not know ${describeRecord(record)}`);
      }
    }
    return found;
  };
  return {
    program: (ports) => DecisionProcess.open(world, ports),
    async begin() {
      for (let number = 0; number < topics; number++) {
        const name = `t${number}`;
        const value: Topic = {
          topicId: world.chance.uuid(),
          name,
          partitionCount: partitions,
          config: { ...TOPIC_CONFIG, replicationFactor: REPLICAS, minInsyncReplicas: MIN_INSYNC },
          createdAt: DEFAULT_WALL_START_MS,
          internal: false,
        };
        await cluster().metadata.store.commit({
          checks: [],
          sets: [{ key: ["topics", name], value }],
        });
      }
      // A disk that is lost before its replicas have others in sync has lost data for good.
      while (problems().length > 0 && world.violations.length === 0) {
        await world.sleep(LOOK_EVERY_MS);
        if (world.time.monotonic() < START_LIMIT_MS) continue;
        return world.violation(`the cluster does not begin: ${problems().join("; ")}`);
      }
    },
    problems: () => Promise.resolve(problems()),
    end: () => Promise.resolve(),
  };
}
