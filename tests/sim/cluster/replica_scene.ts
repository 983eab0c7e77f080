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
import { valuesIn } from "../ledgers/partition_ledger.ts";
import { describeError, type RunWorld } from "../world.ts";
import { ClientDoor } from "./client_door.ts";
import type { ClusterMutant } from "./cluster_mutant.ts";
import type { SimulatedCluster } from "./cluster.ts";
import type { ClusterPlan } from "./plan.ts";
import { describeRecord } from "./record_ledger.ts";
import { ReplicaProcess } from "./replica_program.ts";
import type { Scene, SceneMaker } from "./run_cluster.ts";
import { CLUSTER_SOURCE } from "./sources.ts";

export const REPLICAS = 3;
const MIN_INSYNC = 2;
const START_LIMIT_MS = 30_000;
const LOOK_EVERY_MS = 100;
/** Once nothing more is sent, everything that was is settled within this. */
const DRAIN_LIMIT_MS = 60_000;
/** Leaders may still go back to where they are preferred. */
const MAX_LOOKS = 200;
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
    await this.#until(
      "the brokers start",
      START_LIMIT_MS,
      () => machines.flatMap(({ nodeId, process }) => process === null ? [`${nodeId} starts`] : []),
    );
    for (const topic of this.#topics.values()) {
      const sets = [{ key: ["topics", topic.name], value: topic }];
      await metadata.store.commit({ checks: [], sets });
    }
    await this.#until("the cluster begins", START_LIMIT_MS, () => this.#unsettled());
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
    this.world.phase = "draining";
    await this.#until(
      "sends are settled",
      DRAIN_LIMIT_MS,
      () => this.#producers.flatMap(({ unsettled }) => unsettled),
    );
    await this.#until("replicas are the same", DRAIN_LIMIT_MS, () => this.#different());
    for (const topic of this.#topics.values()) {
      for (let partition = 0; partition < topic.partitionCount; partition++) {
        await this.#readAll(topic, partition);
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

  async #until(what: string, limitMs: number, look: () => readonly string[]): Promise<void> {
    const { world } = this;
    const from = world.time.monotonic();
    while (world.violations.length === 0) {
      const problems = look();
      if (problems.length === 0) return;
      if (world.time.monotonic() - from > limitMs) {
        return world.violation(`${what}: after ${limitMs} ms: ${problems.join("; ")}`);
      }
      await world.sleep(LOOK_EVERY_MS);
    }
  }

  /** Partitions without leader, or not with all replicas in sync, and brokers that are not there. */
  #unsettled(): string[] {
    const { machines, records } = this.clusterOf();
    const problems: string[] = [];
    for (const { nodeId, process } of machines) {
      if (process === null) problems.push(`${nodeId} does not run`);
      else if (!process.cluster.hasLease) problems.push(`${nodeId} has no lease`);
    }
    const kept = [...records.all()];
    for (const record of kept) {
      if (record.leader === null || record.isr.length < REPLICAS) {
        problems.push(describeRecord(record));
      }
    }
    const count = [...this.#topics.values()].reduce((sum, topic) => sum + topic.partitionCount, 0);
    if (kept.length !== count) problems.push(`${kept.length} of ${count} records`);
    const led = new Set(
      machines.flatMap(({ process }) =>
        [...process?.leaderships() ?? []].map(({ topicId, partition }) => `${topicId}/${partition}`)
      ),
    );
    if (led.size < kept.length) problems.push(`${led.size} of ${kept.length} are led`);
    return problems;
  }

  /** Replicas whose disks do not end where their leader says that all is committed. */
  #different(): string[] {
    const cluster = this.clusterOf();
    const problems: string[] = [];
    for (const { nodeId, process } of cluster.machines) {
      for (const { topicId, partition, highWatermark } of process?.leaderships() ?? []) {
        for (const member of cluster.records.of(topicId, partition)?.replicas ?? []) {
          const stored = cluster.machine(member).logs
            .stored(`topics/${topicId}/${partition}`);
          const end = stored?.batches.endOffset ?? 0;
          if (end === highWatermark && stored?.flushedOffset === end) continue;
          problems.push(
            `${topicId}/${partition} ends at ${end} on ${member}, at ${highWatermark} on ${nodeId}`,
          );
        }
      }
    }
    return problems;
  }

  async #readAll(topic: Topic, partition: number): Promise<void> {
    const { world } = this;
    const door = new ClientDoor(this.clusterOf());
    const ledger = this.#messages.of(topic, partition);
    for (let attempt = 0; attempt < MAX_LOOKS; attempt++) {
      try {
        const fetched = await door.ask(
          "the last look",
          (broker) => broker.fetch({ topic: topic.name, partition }, 0, { maxBytes: 1e9 }),
        );
        const read = valuesIn(fetched.batches);
        ledger.shown(0, fetched, ledger.floor());
        ledger.checkAll(0, read, fetched.highWatermark);
        return world.note("the last look", `${ledger.name} holds ${read.length}`);
      } catch (error) {
        world.note("the last look", describeError(error));
        await world.sleep(LOOK_EVERY_MS);
      }
    }
    world.violation(`${ledger.name} cannot be read in the end`);
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
