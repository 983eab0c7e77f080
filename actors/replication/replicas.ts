// Owns the replicas of this broker: finding them for those who fetch, and a fetcher for each broker that they follow.
// Refuses to own the protocol (protocol.ts), answering (replica_sessions.ts) and what roles mean (../partition/).
// Invariant: a replica is fetched for by one fetcher at most, that of the leader which it follows now.
import type { Cancel, Clock, Randomness, Timers } from "../../storage/ports.ts";
import type { Peers } from "../cluster/peers.ts";
import type { Replica, ReplicaRegistry } from "../partition/replica.ts";
import { REPLICA_FETCH, type ReplicaAt, type ReplicaFetch, replicaKey } from "./protocol.ts";
import { ReplicaFetcher } from "./replica_fetcher.ts";
import { ReplicaSessions } from "./replica_sessions.ts";

export interface ReplicasOptions {
  readonly peers: Peers;
  readonly clock: Pick<Clock, "monotonic">;
  readonly timers: Timers;
  readonly randomness: Randomness;
  /** How often leaders look for followers that are late. */
  readonly checkMs: number;
  /** See ReplicaSessionsOptions; left out: as fast as it goes. */
  readonly catchUpBytesPerSecond?: () => number | null;
  report(event: { level: "info" | "warning"; message: string; error?: unknown }): void;
}

export class Replicas implements ReplicaRegistry {
  readonly #replicas = new Map<string, Replica>();
  /** By node id. */
  readonly #fetchers = new Map<string, ReplicaFetcher>();
  readonly #followed = new Map<Replica, ReplicaFetcher>();
  readonly #sessions: ReplicaSessions;
  #cancelCheck: Cancel | null = null;

  constructor(private readonly options: ReplicasOptions) {
    const { peers, clock, timers, catchUpBytesPerSecond = () => null } = options;
    const find = (at: ReplicaAt) => this.find(at);
    this.#sessions = new ReplicaSessions({ clock, timers, find, catchUpBytesPerSecond });
    peers.handle(
      REPLICA_FETCH,
      (args, caller, signal) => this.#sessions.answer(args as ReplicaFetch, caller, signal),
    );
    this.#checkLater();
  }

  /** See ReplicaRegistry. */
  add(replica: Replica): () => void {
    const key = replicaKey(replica.key);
    this.#replicas.set(key, replica);
    const { log, replication } = replica;
    const stopTerm = replication.onTerm(() => this.#follow(replica));
    const stopGrown = log.onGrown(() => this.#sessions.grown(replica.key));
    const stopRisen = log.onRisen(() => this.#sessions.risen(replica.key));
    this.#follow(replica);
    return () => {
      for (const stop of [stopTerm, stopGrown, stopRisen]) stop();
      this.#replicas.delete(key);
      this.#followed.get(replica)?.remove(replica);
      this.#followed.delete(replica);
    };
  }

  /** See ReplicaRegistry. */
  heardAt(nodeId: string): number {
    return this.#sessions.heardAt(nodeId);
  }

  find(at: ReplicaAt): Replica | null {
    return this.#replicas.get(replicaKey(at)) ?? null;
  }

  all(): Iterable<Replica> {
    return this.#replicas.values();
  }

  close(): void {
    this.#cancelCheck?.();
    for (const fetcher of this.#fetchers.values()) fetcher.stop();
    this.#sessions.close();
  }

  #follow(replica: Replica): void {
    const leader = replica.follower.leader;
    const fetcher = leader === null ? null : this.#fetcherOf(leader);
    const before = this.#followed.get(replica) ?? null;
    if (before !== fetcher) before?.remove(replica);
    if (fetcher === null) this.#followed.delete(replica);
    else {
      this.#followed.set(replica, fetcher);
      fetcher.add(replica);
    }
    this.#sessions.changed(replica.key);
  }

  #fetcherOf(nodeId: string): ReplicaFetcher {
    let fetcher = this.#fetchers.get(nodeId);
    if (fetcher === undefined) {
      fetcher = new ReplicaFetcher({ ...this.options, nodeId });
      this.#fetchers.set(nodeId, fetcher);
    }
    return fetcher;
  }

  #checkLater(): void {
    const { timers, checkMs } = this.options;
    this.#cancelCheck = timers.after(checkMs, () => {
      for (const replica of this.#replicas.values()) replica.replication.checkInSync();
      this.#checkLater();
    });
  }
}
