// Owns one administrator of topics: makes, deletes, grows and changes them, others beside it.
// Refuses to judge (ledgers/topic_ledger.ts).
// Invariant: topic t0 is never deleted, so that every run has one that lives through all of it.
import type { Topic, TopicConfig } from "../../../actors/broker.ts";
import { BrokerError } from "../../../storage/broker_error.ts";
import { TOPIC_CONFIG } from "../../support/memory_broker.ts";
import { ConnectionLost } from "../incarnation.ts";
import { type Simulation, WEAK_TOPIC } from "../simulation.ts";

const CHANGE_EVERY_MS = 2_500;
const MAX_FIRST_PARTITIONS = 3;
const MAX_PARTITIONS = 5;
const SHORT_RETENTION_HOURS = 3 / 3_600;
const RETENTION_BYTES = 8_000;

export class TopicAdmin {
  constructor(private readonly simulation: Simulation, readonly name: string) {}

  /** Changes topics for as long as there are faults. */
  async run(): Promise<void> {
    const { world } = this.simulation;
    while (world.phase === "faults") {
      await world.sleep(world.between(0, 2 * CHANGE_EVERY_MS));
      if (world.phase === "faults") await this.change();
    }
  }

  async change(): Promise<void> {
    const { world, machine, topicNames } = this.simulation;
    const name = world.chance.pick(topicNames);
    const topic = machine.broker?.topic(name) ?? null;
    if (topic === null) return await this.create(name);
    const choice = world.chance.integer(4);
    if (choice <= 1 && name !== "t0") await this.#delete(topic);
    else if (choice === 2) await this.#grow(name, topic.partitionCount);
    else await this.#tune(name);
  }

  async create(name: string): Promise<void> {
    const { world, topics } = this.simulation;
    const partitions = world.integer(1, MAX_FIRST_PARTITIONS);
    const config = this.#config(name);
    await this.#ask(`create ${name} with ${partitions}`, async () => {
      const created = await this.simulation.machine.ask(
        this.name,
        (broker) => broker.createTopic({ name, partitions, config }),
      );
      topics.created(created);
    });
  }

  async #delete(topic: Topic): Promise<void> {
    const { name } = topic;
    const settled = this.simulation.topics.deleting(topic);
    const { machine } = this.simulation;
    const done = await this.#ask(
      `delete ${name}`,
      () => machine.ask(this.name, (broker) => broker.deleteTopic(name)),
    );
    settled(done ? true : null);
  }

  async #grow(name: string, from: number): Promise<void> {
    if (from >= MAX_PARTITIONS) return;
    const { machine, topics } = this.simulation;
    const change = { partitions: from + 1 };
    await this.#ask(`grow ${name} to ${from + 1}`, async () => {
      const grown = await machine.ask(this.name, (broker) => broker.updateTopic(name, change));
      topics.grown(grown.topicId, from + 1);
    });
  }

  async #tune(name: string): Promise<void> {
    const { machine } = this.simulation;
    const config = { segmentBytes: this.#segmentBytes() };
    await this.#ask(
      `segments of ${name} hold ${config.segmentBytes}`,
      () => machine.ask(this.name, (broker) => broker.updateTopic(name, { config })),
    );
  }

  /** Whether it was acknowledged; a refusal is an answer too, an unknown outcome is none. */
  async #ask(what: string, run: () => Promise<unknown>): Promise<boolean> {
    const { world } = this.simulation;
    try {
      await run();
      world.note(this.name, what);
      return true;
    } catch (error) {
      if (!(error instanceof BrokerError || error instanceof ConnectionLost)) throw error;
      world.note(this.name, `${what}: ${error instanceof BrokerError ? error.code : "lost"}`);
      return false;
    }
  }

  #segmentBytes(): number {
    return this.simulation.world.chance.pick([2_000, 10_000, 1_048_576]);
  }

  #config(name: string): TopicConfig {
    const { chance } = this.simulation.world;
    const retention = chance.pick([
      { retentionHours: 0, retentionBytes: null },
      { retentionHours: 72, retentionBytes: null },
      { retentionHours: SHORT_RETENTION_HOURS, retentionBytes: null },
      { retentionHours: 0, retentionBytes: RETENTION_BYTES },
    ]);
    return {
      ...TOPIC_CONFIG,
      ...retention,
      durability: name === WEAK_TOPIC ? "os" : "fsync",
      encryption: this.simulation.world.plan.isEncrypted ? "aes-256-gcm" : "none",
      segmentBytes: this.#segmentBytes(),
      segmentHours: chance.pick([1 / 3_600, 24]),
    };
  }
}
