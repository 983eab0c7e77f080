// Owns which brokers a partition's replicas are put on.
// Refuses to own when (decide_cluster.ts) and how replicas move (decide_moves.ts).
// Invariant: pure and the same for the same state; replicas of one partition lie on different brokers, in as many zones as
// there are, on those that hold the fewest.
import { type BrokerFacts, type ClusterState, mayHold } from "./cluster_state.ts";
import type { PartitionRecord } from "./types.ts";

/** How much each broker holds, kept up while changes are decided. */
export class BrokerLoads {
  readonly #replicas = new Map<string, number>();
  readonly #leaders = new Map<string, number>();

  static of(partitions: ClusterState["partitions"]): BrokerLoads {
    const loads = new BrokerLoads();
    for (const { record } of partitions) loads.add(record);
    return loads;
  }

  /** What it is to hold in the end counts. */
  add({ replicas, target = replicas }: Pick<PartitionRecord, "replicas" | "target">): void {
    this.#count(target, 1);
  }

  remove({ replicas, target = replicas }: Pick<PartitionRecord, "replicas" | "target">): void {
    this.#count(target, -1);
  }

  replicasOn(nodeId: string): number {
    return this.#replicas.get(nodeId) ?? 0;
  }

  /** Partitions whose first replica it is. */
  preferredOn(nodeId: string): number {
    return this.#leaders.get(nodeId) ?? 0;
  }

  #count(replicas: readonly string[], by: number): void {
    for (const id of replicas) this.#replicas.set(id, this.replicasOn(id) + by);
    const first = replicas[0];
    if (first !== undefined) this.#leaders.set(first, this.preferredOn(first) + by);
  }
}

export interface Picking {
  readonly brokers: ReadonlyMap<string, BrokerFacts>;
  readonly loads: BrokerLoads;
  /** Of the partition: where brokers are equal it decides, so that partitions of one broker share theirs with many. */
  readonly seed: string;
}

/** Up to `count` more brokers beside `taken`; fewer when there are not so many that may hold replicas. */
export function pickReplicas(
  taken: readonly string[],
  count: number,
  { brokers, loads, seed }: Picking,
): string[] {
  if (count <= 0) return [];
  const usedZones = new Map<string, number>();
  const use = (id: string) => {
    const zone = zoneOf(brokers.get(id), id);
    usedZones.set(zone, (usedZones.get(zone) ?? 0) + 1);
  };
  for (const id of taken) use(id);
  const free = [...brokers.values()].filter((broker) =>
    mayHold(broker) && !taken.includes(broker.nodeId)
  );
  const picked: string[] = [];
  // One that leads few, and others that lead many already: those that lead few are left for the next partition.
  const byLeading = () => taken.length + picked.length === 0 ? 1 : -1;
  while (picked.length < count && free.length > 0) {
    const rank = (broker: BrokerFacts) => [
      usedZones.get(zoneOf(broker, broker.nodeId)) ?? 0,
      loads.replicasOn(broker.nodeId),
      loads.preferredOn(broker.nodeId) * byLeading(),
      scatter(seed + broker.nodeId),
    ];
    const best = free.reduce((a, b) => compareRanks(rank(b), rank(a)) < 0 ? b : a);
    free.splice(free.indexOf(best), 1);
    use(best.nodeId);
    picked.push(best.nodeId);
  }
  return picked;
}

/** Replicas for a new partition, the one that leads the fewest first. */
export function assignReplicas(count: number, picking: Picking): string[] {
  const picked = pickReplicas([], count, picking);
  const rank = (id: string) => [picking.loads.preferredOn(id), scatter(picking.seed + id)];
  const first = picked.reduce<string | null>(
    (a, b) => a === null || compareRanks(rank(b), rank(a)) < 0 ? b : a,
    null,
  );
  return first === null ? [] : [first, ...picked.filter((id) => id !== first)];
}

/** A broker that names no zone is one of its own. */
export function zoneOf(broker: BrokerFacts | undefined, nodeId: string): string {
  return broker?.zone ? `zone ${broker.zone}` : `node ${nodeId}`;
}

function compareRanks(a: readonly number[], b: readonly number[]): number {
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return a[at]! - b[at]!;
  return 0;
}

/** FNV-1a, 32 bits, and a last mixing: order without pattern, the same everywhere. */
function scatter(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  }
  return Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) >>> 0;
}
