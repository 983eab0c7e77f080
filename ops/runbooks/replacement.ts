// Owns which brokers take the place of one that is gone, partition by partition.
// Refuses to own moving (the cluster's administration) and when a broker counts as gone (away_steps.ts).
// Invariant: pure; a partition keeps its other replicas and their order, and is never spread over fewer zones by it.
import type { BrokerLoad, PartitionPlacement } from "../../actors/cluster/administration.ts";
import type { AskedMove } from "../../actors/cluster/decide_reassign.ts";

/** Moves that are begun at once; the rest follows when these are done. */
export const MAX_MOVES_AT_ONCE = 100;

export interface Replacement {
  readonly moves: readonly AskedMove[];
  /** Partitions whose replica cannot move now, and why. */
  readonly stuck: readonly { readonly name: string; readonly why: string }[];
}

type Placed = Pick<PartitionPlacement, "topic" | "partition" | "replicas" | "target">;
type Loaded = Pick<BrokerLoad, "nodeId" | "zone" | "state" | "replicas">;

/** Where the replicas on `gone` go: to brokers that are online, other zones and the least loaded first. */
export function replacement(
  gone: string,
  placements: readonly Placed[],
  brokers: readonly Loaded[],
): Replacement {
  const held = new Map(brokers.map(({ nodeId, replicas }) => [nodeId, replicas]));
  const zoneOf = new Map(brokers.map(({ nodeId, zone }) => [nodeId, zone ?? `node ${nodeId}`]));
  const online = brokers.filter(({ state }) => state === "online");
  const isOnline = new Set(online.map(({ nodeId }) => nodeId));
  const moves: AskedMove[] = [];
  const stuck: { name: string; why: string }[] = [];
  for (const { topic, partition, replicas, target } of placements) {
    const wanted = target ?? replicas;
    if (!wanted.includes(gone)) continue;
    const name = `${topic}/${partition}`;
    const others = wanted.filter((id) => id !== gone);
    const away = others.filter((id) => !isOnline.has(id));
    if (away.length > 0) {
      stuck.push({ name, why: `${away.join(", ")} would have to be online` });
      continue;
    }
    const zones = new Set(others.map((id) => zoneOf.get(id)));
    const rank = ({ nodeId }: Loaded) =>
      [
        zones.has(zoneOf.get(nodeId)) ? 1 : 0,
        held.get(nodeId) ?? 0,
      ] as const;
    const [best] = online.filter(({ nodeId }) => !wanted.includes(nodeId)).sort((a, b) => {
      const [one, other] = [rank(a), rank(b)];
      return one[0] - other[0] || one[1] - other[1] || (a.nodeId < b.nodeId ? -1 : 1);
    });
    if (best === undefined) {
      stuck.push({ name, why: "every other broker that is online holds a replica already" });
      continue;
    }
    held.set(best.nodeId, (held.get(best.nodeId) ?? 0) + 1);
    moves.push({
      topic,
      partition,
      replicas: wanted.map((id) => id === gone ? best.nodeId : id),
    });
  }
  return { moves, stuck };
}
