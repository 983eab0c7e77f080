// Owns the scene of whole brokers: clients publish, read and copy by transactions at any broker, while everything fails.
// Refuses to own the rules (../ledgers/, ../clients/, replica_watch.ts).
// Invariant: at the end all replicas are in sync and the same, all that was acknowledged is there, all is copied once.
import type { Broker, Topic } from "../../../actors/broker.ts";
import { TOPIC_CONFIG } from "../../support/memory_broker.ts";
import type { ClientScene, GroupLedgers } from "../client_scene.ts";
import { IdempotentProducer } from "../clients/idempotent_producer.ts";
import { Member } from "../clients/member.ts";
import { TailReader } from "../clients/tail_reader.ts";
import { Transformer } from "../clients/transformer.ts";
import { CommitLedger, keyOf } from "../ledgers/commit_ledger.ts";
import { OwnerLedger } from "../ledgers/owner_ledger.ts";
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
const GROUP = "g0";
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
  readonly #ledgers: GroupLedgers;
  #transformer: Transformer | null = null;

  constructor(
    private readonly world: RunWorld<ClusterPlan>,
    private readonly clusterOf: () => SimulatedCluster<BrokerProcess>,
  ) {
    this.#messages = new MessageLedger(world, CLUSTER_SOURCE);
    this.#ledgers = {
      group: GROUP,
      commits: new CommitLedger(world, GROUP),
      owners: new OwnerLedger(world, GROUP, null),
    };
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
    for (let number = 0; number < world.plan.members; number++) this.#startMember(number);
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
    await until(world, limit("the group has read all"), () => this.#lagging());
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

  #startMember(number: number): void {
    const { world } = this;
    const name = `m${number}`;
    const topics = this.#topics.map((topic) => topic.name);
    const member = new Member(this.#client({ isSticky: true }), this.#ledgers, {
      name,
      topics,
      instanceId: world.oneIn(4) ? name : null,
      transport: world.chance.pick(["websocket", "http"]),
      sessionTimeoutMs: world.chance.pick([6_000, 12_000]),
    });
    world.start("member", () => member.run());
  }

  /** Partitions of which the group has not committed all that there is. */
  async #lagging(): Promise<string[]> {
    const { world } = this;
    if (world.plan.members === 0) return [];
    const door = new ClientDoor<Broker>(this.clusterOf());
    const described = await patiently(
      world,
      "last look",
      () => door.ask("last look", (broker) => broker.group({ type: "Describe", group: GROUP })),
    );
    const committed = new Map(described?.offsets.map((at) => [keyOf(at), at.offset]));
    const problems: string[] = [];
    for (const topic of this.#topics) {
      for (let partition = 0; partition < topic.partitionCount; partition++) {
        const at = { topic: topic.name, partition };
        const info = await patiently(
          world,
          "last look",
          () => door.ask("last look", (broker) => broker.partitionInfo(at)),
        );
        const offset = committed.get(keyOf(at)) ?? 0;
        if (offset === info?.highWatermark) continue;
        problems.push(`${GROUP} is at ${offset} of ${info?.highWatermark} in ${keyOf(at)}`);
      }
    }
    return problems;
  }

  #client(options: { isSticky?: boolean } = {}): ClientScene<Broker> {
    return {
      world: this.world,
      machine: new ClientDoor<Broker>(this.clusterOf(), options),
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
