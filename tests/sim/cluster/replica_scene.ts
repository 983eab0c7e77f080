// Owns the scene in which several brokers keep copies of partitions, and clients publish and read.
// Refuses to own groups and transactions (broker_scene.ts), and the rules (../ledgers/, replica_watch.ts).
// Invariant: at the end all replicas are in sync and the same, and hold all that was acknowledged.
import type { Topic } from "../../../actors/broker.ts";
import { TOPIC_CONFIG } from "../../support/memory_broker.ts";
import { DEFAULT_WALL_START_MS } from "../../support/virtual_time.ts";
import type { ClientScene, MessageBroker } from "../client_scene.ts";
import { IdempotentProducer } from "../clients/idempotent_producer.ts";
import { TailReader } from "../clients/tail_reader.ts";
import { MessageLedger } from "../ledgers/message_ledger.ts";
import type { RunWorld } from "../world.ts";
import { ClientDoor } from "./client_door.ts";
import type { ClusterMutant } from "./cluster_mutant.ts";
import type { SimulatedCluster } from "./cluster.ts";
import { differentReplicas, readWhole, unsettledPartitions } from "./convergence.ts";
import type { ClusterPlan } from "./plan.ts";
import { ReplicaProcess } from "./replica_program.ts";
import type { Scene, SceneMaker } from "./run_cluster.ts";
import { CLUSTER_SOURCE } from "./sources.ts";
import { until } from "./waiting.ts";

export const REPLICAS = 3;
const MIN_INSYNC = 2;
const START_LIMIT_MS = 30_000;
/** Once nothing more is sent, everything that was is settled within this. */
const DRAIN_LIMIT_MS = 60_000;
const READERS = 2;

export const replicaScene: SceneMaker<ReplicaProcess> = {
  name: "replicas",
  make: (world, cluster, mutant) => new ReplicaScene(world, cluster, mutant),
};

class ReplicaScene implements Scene<ReplicaProcess> {
  readonly #topics = new Map<string, Topic>();
  readonly #messages: MessageLedger;
  readonly #producers: IdempotentProducer[] = [];

  constructor(
    private readonly world: RunWorld<ClusterPlan>,
    private readonly clusterOf: () => SimulatedCluster<ReplicaProcess>,
    private readonly mutant: ClusterMutant | null,
  ) {
    this.#messages = new MessageLedger(world, CLUSTER_SOURCE);
    for (let number = 0; number < world.plan.topics; number++) {
      const topic = topicNamed(`t${number}`, world);
      this.#topics.set(topic.name, topic);
    }
  }

  program = (ports: Parameters<typeof ReplicaProcess.open>[1]) =>
    ReplicaProcess.open(this.world, ports, { topics: this.#topics, mutant: this.mutant });

  async begin(): Promise<void> {
    const { world } = this;
    const { machines, metadata } = this.clusterOf();
    await until(
      world,
      { what: "the brokers start", limitMs: START_LIMIT_MS },
      () => machines.flatMap(({ nodeId, process }) => process === null ? [`${nodeId} starts`] : []),
    );
    for (const topic of this.#topics.values()) {
      const sets = [{ key: ["topics", topic.name], value: topic }];
      await metadata.store.commit({ checks: [], sets });
    }
    await until(
      world,
      { what: "the cluster begins", limitMs: START_LIMIT_MS },
      () => this.#unsettled(),
    );
    for (let number = 0; number < world.plan.producers; number++) {
      const producer = new IdempotentProducer(this.#client(), `p${number}`, number);
      this.#producers.push(producer);
      world.start("producer", () => producer.run());
    }
    for (let number = 0; number < READERS; number++) {
      const reader = new TailReader(this.#client(), `r${number}`);
      world.start("reader", () => reader.run());
    }
  }

  problems(): Promise<readonly string[]> {
    return Promise.resolve(this.#unsettled());
  }

  async end(): Promise<void> {
    const { world } = this;
    world.phase = "draining";
    await until(
      world,
      { what: "sends are settled", limitMs: DRAIN_LIMIT_MS },
      () => this.#producers.flatMap(({ unsettled }) => unsettled),
    );
    await until(
      world,
      { what: "replicas are the same", limitMs: DRAIN_LIMIT_MS },
      () => differentReplicas(this.clusterOf()),
    );
    const door = new ClientDoor<MessageBroker>(this.clusterOf());
    for (const topic of this.#topics.values()) {
      for (let partition = 0; partition < topic.partitionCount; partition++) {
        await readWhole(world, door, this.#messages.of(topic, partition));
      }
    }
  }

  #client(): ClientScene<MessageBroker> {
    return {
      world: this.world,
      machine: new ClientDoor(this.clusterOf()),
      messages: this.#messages,
      topicNames: [...this.#topics.keys()],
      mayBeLate: true,
    };
  }

  /** All topics have records, and all of those are well. */
  #unsettled(): string[] {
    const problems = unsettledPartitions(this.clusterOf(), REPLICAS);
    const count = [...this.#topics.values()].reduce((sum, topic) => sum + topic.partitionCount, 0);
    const kept = [...this.clusterOf().records.all()].length;
    if (kept !== count) problems.push(`${kept} of ${count} records`);
    return problems;
  }
}

function topicNamed(name: string, world: RunWorld<ClusterPlan>): Topic {
  return {
    topicId: world.chance.uuid(),
    name,
    partitionCount: world.plan.partitions,
    config: {
      ...TOPIC_CONFIG,
      retentionHours: 0,
      replicationFactor: REPLICAS,
      minInsyncReplicas: MIN_INSYNC,
    },
    createdAt: DEFAULT_WALL_START_MS,
    internal: false,
  };
}
