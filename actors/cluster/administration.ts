// Owns what people ask of a cluster, at any of its brokers: how its brokers and replicas stand, moving replicas, emptying a
// broker and forgetting one.
// Refuses to own plans (decide_reassign.ts), beginning moves (reassign.ts) and finishing them (the controller).
// Invariant: what is answered as begun is in the metadata store: it goes on whoever dies.
import { BrokerError } from "../../storage/broker_error.ts";
import type { MetadataStore } from "../../storage/metadata.ts";
import type { FollowerLag } from "../replication/follower_lags.ts";
import type { ReplicaAt } from "../replication/protocol.ts";
import { readCatchUp, writeCatchUp } from "./catch_up.ts";
import { offlinePartitions, underReplicatedPartitions } from "./cluster_health.ts";
import type { AskedMove, PlannedMove } from "./decide_reassign.ts";
import { type BrokerDescription, describeBrokers } from "./describe_cluster.ts";
import type { TopicFacts } from "./min_insync.ts";
import { cancelMoves, type MoveProgress, movesUnderWay, reassign } from "./reassign.ts";
import { type LagTotal, NO_LAG, type ReplicaLags } from "./replica_lags.ts";
import type { PartitionRecord } from "./types.ts";
import type { ClusterMetadata } from "./view.ts";

export interface BrokerLoad extends BrokerDescription {
  readonly version: string | null;
  /** Partitions that it leads, and those that it is a replica of, internal ones too. */
  readonly leaders: number;
  readonly replicas: number;
  /** Of its replicas, those that are not in sync. */
  readonly outOfSync: number;
  /** Null: not every leader could be asked. */
  readonly lag: LagTotal | null;
}

export interface PartitionPlacement {
  readonly topicId: string;
  readonly topic: string;
  readonly partition: number;
  readonly state: "online" | "offline";
  readonly underReplicated: boolean;
  readonly leader: string | null;
  readonly leaderEpoch: number;
  /** The preferred leader first; of a move under way, those that it moves to besides. */
  readonly replicas: readonly string[];
  readonly isr: readonly string[];
  /** Of a move under way. */
  readonly target: readonly string[] | null;
}

export interface ReassignOptions {
  readonly dryRun: boolean;
  /** Left out: as it was; null: none. Of every leader to every follower that is not in sync. */
  readonly throttleBytesPerSecond?: number | null;
}

/** Errors of what changes something: METADATA_UNAVAILABLE, METADATA_CONFLICT; of a broker that is alone INVALID_REQUEST. */
export interface ClusterAdministration {
  /** By node id, those that are offline too. */
  brokers(): Promise<readonly BrokerLoad[]>;
  /** By topic and partition, internal ones too. */
  placements(): Promise<readonly PartitionPlacement[]>;
  /** In the order of `places`; null where no leader tells. */
  lags(places: readonly ReplicaAt[]): Promise<readonly (readonly FollowerLag[] | null)[]>;
  /** See reassign.ts. */
  reassign(
    moves: readonly AskedMove[] | "rebalance",
    options: ReassignOptions,
  ): Promise<readonly PlannedMove[]>;
  /** Under way, those of brokers that are drained too. */
  moves(): readonly MoveProgress[];
  /** The one of a partition, or all; resolves to those that were under way. */
  cancel(place: { topic: string; partition: number } | null): Promise<readonly MoveProgress[]>;
  /** Null: catching up is not held back. */
  throttleBytesPerSecond(): number | null;
  /** NOT_FOUND; INVALID_REQUEST when no other broker is there that could take what it holds. */
  setDraining(nodeId: string, draining: boolean): Promise<void>;
  /** See ClusterMetadata.forget. */
  decommission(nodeId: string): Promise<void>;
}

export interface AdministrationOptions {
  readonly cluster: ClusterMetadata;
  readonly metadata: MetadataStore;
  readonly lags: ReplicaLags;
  readonly topics: () => Iterable<TopicFacts>;
}

export function clusterAdministration(options: AdministrationOptions): ClusterAdministration {
  const { cluster, metadata, lags, topics } = options;
  return {
    brokers: () => brokerLoads(options),
    placements: () => Promise.resolve(placementsOf(cluster, [...topics()])),
    lags: (places) => lags.of(places),
    async reassign(moves, { dryRun, throttleBytesPerSecond }) {
      if (!dryRun && throttleBytesPerSecond !== undefined) {
        // What cannot be moved is refused before anything is changed.
        await reassign(cluster, topics(), { moves, dryRun: true });
        await writeCatchUp({ cluster, metadata }, throttleBytesPerSecond);
      }
      return await reassign(cluster, topics(), { moves, dryRun });
    },
    moves: () => movesUnderWay(cluster, topics()),
    async cancel(place) {
      const wanted = movesUnderWay(cluster, topics()).filter(({ topic, partition }) =>
        place === null || (topic === place.topic && partition === place.partition)
      );
      await cancelMoves(cluster, wanted);
      return wanted;
    },
    throttleBytesPerSecond: () => readCatchUp(cluster),
    async setDraining(nodeId, draining) {
      if (draining) refuseLast(cluster, nodeId);
      await cluster.setDraining(nodeId, draining);
    },
    decommission: (nodeId) => cluster.forget(nodeId),
  };
}

function refuseLast(cluster: ClusterMetadata, nodeId: string): void {
  if (cluster.stateOf(nodeId) === null) return;
  const others = [...cluster.online().keys()].filter((id) =>
    id !== nodeId && cluster.stateOf(id) === "online"
  );
  if (others.length > 0) return;
  const message = `no other broker is online that could take what ${nodeId} holds`;
  throw new BrokerError("INVALID_REQUEST", message, { nodeId });
}

async function brokerLoads({ cluster, lags }: AdministrationOptions): Promise<BrokerLoad[]> {
  const { totals, isWhole } = await lags.totals();
  const counts = new Map<string, { leaders: number; replicas: number; outOfSync: number }>();
  const of = (nodeId: string) => {
    const known = counts.get(nodeId) ?? { leaders: 0, replicas: 0, outOfSync: 0 };
    counts.set(nodeId, known);
    return known;
  };
  for (const { record } of cluster.partitions()) {
    if (record.leader !== null) of(record.leader).leaders++;
    for (const nodeId of record.replicas) {
      of(nodeId).replicas++;
      if (!record.isr.includes(nodeId)) of(nodeId).outOfSync++;
    }
  }
  return describeBrokers(cluster).map((broker) => ({
    ...broker,
    version: cluster.online().get(broker.nodeId)?.version ?? null,
    ...of(broker.nodeId),
    lag: isWhole ? totals.get(broker.nodeId) ?? NO_LAG : null,
  }));
}

function placementsOf(
  cluster: ClusterMetadata,
  topics: readonly TopicFacts[],
): PartitionPlacement[] {
  const named = (places: readonly { topicId: string; partition: number }[]) =>
    new Set(places.map(({ topicId, partition }) => `${topicId}/${partition}`));
  const offline = named(offlinePartitions(cluster, topics));
  const behind = named(underReplicatedPartitions(cluster, topics));
  return [...topics].sort((a, b) => a.name < b.name ? -1 : 1).flatMap(
    ({ topicId, name, partitionCount }) =>
      Array.from({ length: partitionCount }, (_, partition): PartitionPlacement => {
        const place = `${topicId}/${partition}`;
        return {
          topicId,
          topic: name,
          partition,
          state: offline.has(place) ? "offline" : "online",
          underReplicated: behind.has(place),
          ...placed(cluster.partition(topicId, partition)?.record ?? null),
        };
      }),
  );
}

/** Nobody is chosen yet where there is no record. */
function placed(record: PartitionRecord | null) {
  return {
    leader: record?.leader ?? null,
    leaderEpoch: record?.leaderEpoch ?? 0,
    replicas: record?.replicas ?? [],
    isr: record?.isr ?? [],
    target: record?.target ?? null,
  };
}
