// Owns a partition's part in its cluster, as a whole: its replication, what it does as a follower, and whether this broker
// holds it at all.
// Refuses to own what each of these does. Invariant: a log is open here only while this broker is a replica of it.
import type { Clock, Crc32c } from "../../storage/ports.ts";
import { Turn } from "../../storage/turns.ts";
import type { ClusterView, PartitionRecord } from "../cluster/types.ts";
import { FollowerLog } from "./follower_log.ts";
import type { ReplicaLog } from "./replica_log.ts";
import type { PartitionProducers } from "./partition_producers.ts";
import { PartitionReplication } from "./partition_replication.ts";

/** Where replicas are known to those who fetch and who answer fetches: see ../replication/replicas.ts. */
export interface ReplicaRegistry {
  /** See ReplicationOptions. */
  heardAt(nodeId: string): number;
  /** It is here from now on, until the returned function is called. */
  add(replica: Replica): () => void;
}

/** What makes the partitions of a broker replicas. */
export interface ReplicationPorts {
  readonly view: ClusterView;
  readonly registry: ReplicaRegistry;
  /** See ReplicationOptions. */
  readonly lagMaxMs: number;
}

export interface ReplicaOptions {
  readonly name: string;
  readonly nodeId: string;
  readonly topicId: string;
  readonly partition: number;
  readonly clock: Clock;
  readonly crc32c: Crc32c;
  readonly ports: ReplicationPorts;
  readonly minInsync: (record: PartitionRecord) => number;
  /** Of a partition that this broker is no longer a replica of, and whose log is closed. */
  readonly removeData: () => Promise<void>;
  report(event: { level: "info" | "warning" | "error"; message: string; error?: unknown }): void;
}

export class Replica {
  readonly replication: PartitionReplication;
  #parts: { readonly log: ReplicaLog; readonly follower: FollowerLog } | null = null;
  #remove: (() => void) | null = null;
  #unwatch: (() => void) | null = null;
  readonly #turn = new Turn();
  #isPresent = false;
  #stopped = false;

  constructor(private readonly options: ReplicaOptions) {
    const { ports: { view, lagMaxMs, registry } } = options;
    const heardAt = (nodeId: string) => registry.heardAt(nodeId);
    this.replication = new PartitionReplication({ ...options, view, lagMaxMs, heardAt });
  }

  /** Begins to take part, with the partition's own parts; resolves when the log is open, where this broker has one. */
  async start(log: ReplicaLog, producers: PartitionProducers): Promise<void> {
    const { name, clock, crc32c, topicId, partition, ports: { registry, view } } = this.options;
    const { replication } = this;
    const follower = new FollowerLog({ name, log, producers, replication, clock, crc32c });
    this.#parts = { log, follower };
    replication.start(log);
    this.#remove = registry.add(this);
    // Before it is looked at first: whatever comes meanwhile is not missed.
    this.#unwatch = view.onPartition({ topicId, partition }, () => void this.#present());
    await this.#present();
  }

  /** Opens the log where this broker has become a replica, and lets go of one that it no longer is one of. */
  #present(): Promise<void> {
    return this.#turn.run(async () => {
      const { log } = this.#started;
      const { isReplica } = this.replication;
      if (this.#stopped || isReplica === this.#isPresent) return;
      this.#isPresent = isReplica;
      if (isReplica) await log.open();
      else await this.#leave(log);
    });
  }

  async #leave(log: ReplicaLog): Promise<void> {
    const { name, report, removeData } = this.options;
    try {
      await log.turn.run(() => log.unload());
      await removeData();
    } catch (error) {
      report({ level: "error", message: `what was kept of ${name} is not removed`, error });
    }
  }

  get key(): { readonly topicId: string; readonly partition: number } {
    return this.replication.at;
  }

  /** This broker is a replica, and holds a log of it. */
  get isPresent(): boolean {
    return this.#isPresent;
  }

  get follower(): FollowerLog {
    return this.#started.follower;
  }

  get log(): ReplicaLog {
    return this.#started.log;
  }

  stop(): void {
    this.#stopped = true;
    this.replication.stop();
    this.#unwatch?.();
    this.#remove?.();
  }

  get #started() {
    if (this.#parts === null) throw new Error(`replica ${this.options.name} has not been started`);
    return this.#parts;
  }
}
