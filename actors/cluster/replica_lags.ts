// Owns gathering from leaders how far the replicas of their partitions are behind: of some partitions, or summed up by broker.
// Refuses to own what a leader knows (../replication/follower_lags.ts).
// Invariant: a leader that does not answer leaves its figures out; nothing is ever guessed.
import type { Clock } from "../../storage/ports.ts";
import { type FollowerLag, followerLags } from "../replication/follower_lags.ts";
import type { ReplicaAt } from "../replication/protocol.ts";
import type { Replicas } from "../replication/replicas.ts";
import type { Peers } from "./peers.ts";
import type { ClusterView } from "./types.ts";

const LAGS = "cluster.replicaLags";
const TOTALS = "cluster.replicaTotals";
/** A broker that does not answer holds up nobody who looks. */
const CALL_MS = 2_000;

/** What one broker's followers are behind, over partitions. */
export interface LagTotal {
  /** Partitions of which it lacks something. */
  readonly partitions: number;
  readonly messages: number;
  /** Of the one that has been behind for longest. */
  readonly behindMs: number;
}

export const NO_LAG: LagTotal = Object.freeze({ partitions: 0, messages: 0, behindMs: 0 });

export interface ReplicaLagsOptions {
  readonly view: ClusterView;
  readonly replicas: Pick<Replicas, "all" | "find">;
  readonly peers: Peers;
  readonly clock: Pick<Clock, "monotonic">;
}

export class ReplicaLags {
  constructor(private readonly options: ReplicaLagsOptions) {
    const { peers } = options;
    peers.handle(LAGS, (args) => Promise.resolve(this.#lagsHere(args as readonly ReplicaAt[])));
    peers.handle(TOTALS, () => Promise.resolve(this.#totalsHere()));
  }

  /** In the order of `places`; null where no leader tells. */
  async of(places: readonly ReplicaAt[]): Promise<(readonly FollowerLag[] | null)[]> {
    const { view } = this.options;
    const byLeader = new Map<string, number[]>();
    places.forEach(({ topicId, partition }, index) => {
      const leader = view.partition(topicId, partition)?.record.leader ?? null;
      if (leader === null) return;
      const indexes = byLeader.get(leader) ?? [];
      byLeader.set(leader, indexes);
      indexes.push(index);
    });
    const found: (readonly FollowerLag[] | null)[] = places.map(() => null);
    await Promise.all([...byLeader].map(async ([leader, indexes]) => {
      const asked = indexes.map((index) => places[index]!);
      const told = leader === view.nodeId
        ? this.#lagsHere(asked)
        : await this.#ask<(FollowerLag[] | null)[]>(leader, LAGS, asked) ?? [];
      indexes.forEach((index, at) => found[index] = told[at] ?? null);
    }));
    return found;
  }

  /** By node id; `isWhole`: every broker that is there has answered. */
  async totals(): Promise<{ readonly totals: ReadonlyMap<string, LagTotal>; isWhole: boolean }> {
    const { view } = this.options;
    const asked = await Promise.all(
      [...view.online().keys()].map((nodeId) =>
        nodeId === view.nodeId
          ? this.#totalsHere()
          : this.#ask<Record<string, LagTotal>>(nodeId, TOTALS, null)
      ),
    );
    const totals = new Map<string, LagTotal>();
    for (const [nodeId, total] of asked.flatMap((one) => Object.entries(one ?? {}))) {
      totals.set(nodeId, added(totals.get(nodeId), total));
    }
    return { totals, isWhole: !asked.includes(null) };
  }

  async #ask<T>(nodeId: string, method: string, args: unknown): Promise<T | null> {
    try {
      return await this.options.peers.call<T>(nodeId, { method, args }, { timeoutMs: CALL_MS });
    } catch {
      return null;
    }
  }

  #lagsHere(places: readonly ReplicaAt[]): (FollowerLag[] | null)[] {
    const { replicas, clock } = this.options;
    return places.map((place) => {
      const replica = replicas.find(place);
      return replica === null ? null : followerLags(replica, clock.monotonic());
    });
  }

  #totalsHere(): Record<string, LagTotal> {
    const { replicas, clock } = this.options;
    const totals: Record<string, LagTotal> = {};
    for (const replica of replicas.all()) {
      for (
        const { nodeId, lagMessages, behindMs } of followerLags(replica, clock.monotonic()) ?? []
      ) {
        if (!lagMessages) continue;
        const one = { partitions: 1, messages: lagMessages, behindMs: behindMs ?? 0 };
        totals[nodeId] = added(totals[nodeId], one);
      }
    }
    return totals;
  }
}

function added(total: LagTotal = NO_LAG, more: LagTotal): LagTotal {
  return {
    partitions: total.partitions + more.partitions,
    messages: total.messages + more.messages,
    behindMs: Math.max(total.behindMs, more.behindMs),
  };
}
