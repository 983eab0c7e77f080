// Owns what a broker that is alone says of itself where a cluster is asked for, and its refusal of what takes several.
// Refuses to own what a cluster says (actors/cluster/administration.ts).
// Invariant: partitions are told as offline or under-replicated exactly as their topics describe them.
import type { Broker } from "../actors/broker.ts";
import type {
  BrokerLoad,
  ClusterAdministration,
  PartitionPlacement,
} from "../actors/cluster/administration.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { describedOrGone } from "./topic_lookup.ts";

export interface AloneOptions {
  readonly broker: Broker;
  readonly version: string;
  /** Where clients reach it. */
  readonly self: () => {
    readonly host: string;
    readonly port: number;
    readonly zone: string | null;
  };
}

export function administrationAlone(options: AloneOptions): ClusterAdministration {
  const { broker } = options;
  const refuse = (what: string): never => {
    const message = `broker ${broker.nodeId} is alone: ${what} takes a cluster of several brokers`;
    throw new BrokerError("INVALID_REQUEST", message, { nodeId: broker.nodeId });
  };
  const refused = (what: string) => () => Promise.resolve().then(() => refuse(what));
  return {
    brokers: async () => [await loadAlone(options)],
    placements: () => placementsAlone(broker),
    lags: (places) => Promise.resolve(places.map(() => [])),
    reassign: refused("moving replicas"),
    moves: () => [],
    cancel: refused("moving replicas"),
    throttleBytesPerSecond: () => null,
    setDraining: refused("draining a broker"),
    decommission: refused("decommissioning a broker"),
  };
}

async function loadAlone({ broker, self, version }: AloneOptions): Promise<BrokerLoad> {
  const { nodeId } = broker;
  const placements = await placementsAlone(broker);
  return {
    nodeId,
    ...self(),
    state: "online",
    version,
    leaders: placements.filter(({ leader }) => leader === nodeId).length,
    replicas: placements.length,
    outOfSync: placements.filter(({ isr }) => !isr.includes(nodeId)).length,
    lag: { partitions: 0, messages: 0, behindMs: 0 },
  };
}

/** By topic and partition. */
export async function placementsAlone(broker: Broker): Promise<PartitionPlacement[]> {
  const found: PartitionPlacement[] = [];
  for (const name of [...broker.topicNames()].sort()) {
    const described = await describedOrGone(broker, name);
    if (described === null) continue;
    const { topicId, config } = described;
    for (const { partition, state, leader, leaderEpoch, isr } of described.partitions) {
      found.push({
        topicId,
        topic: name,
        partition,
        state,
        underReplicated: isr.length < config.replicationFactor,
        leader,
        leaderEpoch,
        replicas: [broker.nodeId],
        isr,
        target: null,
      });
    }
  }
  return found;
}
