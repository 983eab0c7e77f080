// Owns the scene of whole brokers: clients publish, read and copy by transactions at any broker, while everything fails.
// Refuses to own the rules (../ledgers/, ../clients/, replica_watch.ts).
// Invariant: at the end all replicas are in sync and the same, all that was acknowledged is there, all is copied once.
import type { Broker, Topic } from "../../../actors/broker.ts";
import { TOPIC_CONFIG } from "../../support/memory_broker.ts";
import type { ClientScene } from "../client_scene.ts";
import { IdempotentProducer } from "../clients/idempotent_producer.ts";
import { TailReader } from "../clients/tail_reader.ts";
import { Transformer } from "../clients/transformer.ts";
import { MessageLedger } from "../ledgers/message_ledger.ts";
import type { RunWorld } from "../world.ts";
import { BrokerProcess } from "./broker_program.ts";
import { ClientDoor } from "./client_door.ts";
import type { SimulatedCluster } from "./cluster.ts";
import { differentReplicas, readWhole, unsettledPartitions } from "./convergence.ts";
import type { ClusterPlan } from "./plan.ts";
import type { Scene, SceneMaker } from "./run_cluster.ts";
import { CLUSTER_SOURCE } from "./sources.ts";
import { patiently, until } from "./waiting.ts";

const REPLICAS = 3;
const CONFIG = {
  ...TOPIC_CONFIG,
  retentionHours: 0,
  replicationFactor: REPLICAS,
  minInsyncReplicas: 2,
};
const START_LIMIT_MS = 60_000;
/** Once nothing more is sent, everything that was is settled within this. */
const DRAIN_LIMIT_MS = 90_000;

export const brokersScene: SceneMaker<BrokerProcess> = {
  name: "cluster",
  make: (world, cluster) => new BrokerScene(world, cluster),
};

class BrokerScene implements Scene<BrokerProcess> {
  readonly #messages: MessageLedger;
  readonly #topics: Topic[] = [];
  readonly #producers: IdempotentProducer[] = [];
  #transformer: Transformer | null = null;

  constructor(
    private readonly world: RunWorld<ClusterPlan>,
    private readonly clusterOf: () => SimulatedCluster<BrokerProcess>,
  ) {
    this.#messages = new MessageLedger(world, CLUSTER_SOURCE);
  }

  program = (ports: Parameters<typeof BrokerProcess.open>[1]) =>
    BrokerProcess.open(this.world, ports);

  async begin(): Promise<void> {
    const { world } = this;
    await until(
      world,
      { what: "the brokers start", limitMs: START_LIMIT_MS },
      () => this.#unsettled(),
    );
    const door = new ClientDoor<Broker>(this.clusterOf());
    for (let number = 0; number < world.plan.topics; number++) {
      const spec = { name: `t${number}`, partitions: world.plan.partitions, config: CONFIG };
      const made = await patiently(
        world,
        "admin",
        () => door.ask("admin", (broker) => broker.createTopic(spec)),
      );
      if (made === null) return;
      this.#topics.push(made);
    }
    if (world.plan.transforms) await this.#startTransformer();
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
    const reader = new TailReader(this.#client(), "r0");
    world.start("reader", () => reader.run());
    const transformer = this.#transformer;
    if (transformer !== null) world.start("transformer", () => transformer.run());
  }

  problems(): Promise<readonly string[]> {
    return Promise.resolve(this.#unsettled());
  }

  async end(): Promise<void> {
    const { world } = this;
    world.phase = "draining";
    const limit = (what: string) => ({ what, limitMs: DRAIN_LIMIT_MS });
    await until(
      world,
      limit("sends are settled"),
      () => this.#producers.flatMap(({ unsettled }) => unsettled),
    );
    await until(world, limit("all is copied"), async () => {
      const transformer = this.#transformer;
      if (transformer === null) return [];
      const left = await patiently(world, "copier", () => transformer.remaining());
      return left === null || left.length > 0 ? [`${left?.length} are not copied`] : [];
    });
    await until(world, limit("replicas are the same"), () => differentReplicas(this.clusterOf()));
    const door = new ClientDoor<Broker>(this.clusterOf());
    for (const topic of this.#topics) {
      for (let partition = 0; partition < topic.partitionCount; partition++) {
        await readWhole(world, door, this.#messages.of(topic, partition));
      }
    }
  }

  async #startTransformer(): Promise<void> {
    const { world } = this;
    const transformer = this.#transformer = new Transformer(this.#client(), "x0");
    await patiently(world, "copier", () => transformer.prepare(CONFIG));
  }

  #client(): ClientScene<Broker> {
    return {
      world: this.world,
      machine: new ClientDoor<Broker>(this.clusterOf()),
      messages: this.#messages,
      topicNames: this.#topics.map(({ name }) => name),
      mayBeLate: true,
    };
  }

  #unsettled(): string[] {
    const { machines } = this.clusterOf();
    const problems = unsettledPartitions(this.clusterOf(), REPLICAS);
    for (const { nodeId, process } of machines) {
      problems.push(...(process?.problems() ?? []).map((problem) => `${nodeId}: ${problem}`));
    }
    return problems;
  }
}
