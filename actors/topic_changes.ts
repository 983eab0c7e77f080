// Owns what the making, changing and deleting of a topic takes beyond the catalog: partitions, data, and word to groups.
// Refuses to own what a change means (topic/decide.ts) and how groups are told (group/topic_news.ts).
// Invariant: makings and deletions of one name happen one after the other; a name is given away anew only when every group has
// heard that the topic that had it is gone.
import { BrokerError } from "../storage/broker_error.ts";
import type { LogStore } from "../storage/log.ts";
import type { Clock, Randomness, Timers } from "../storage/ports.ts";
import type { Topic, TopicChange, TopicConfig, TopicSpec } from "./broker.ts";
import type { GroupCoordinator } from "./group/coordinator.ts";
import type { PartitionSet } from "./partition/partition_set.ts";
import { KeyedTurns } from "./runtime/keyed_turns.ts";
import type { CatalogEvent, RemovedTopic } from "./topic/decide.ts";
import type { TopicCatalog } from "./topic/topic_catalog.ts";

/** The longest that the making of a topic waits for groups to hear that its name was another's. */
const NAME_WAIT_MS = 5_000;

export interface TopicChangesParts {
  readonly catalog: TopicCatalog;
  readonly partitions: PartitionSet;
  readonly groups: GroupCoordinator;
  /** How many there are: a topic may have as many replicas. */
  readonly brokers: () => number;
  readonly ports: {
    readonly clock: Clock;
    readonly timers: Timers;
    readonly randomness: Randomness;
    readonly logs: Pick<LogStore, "archives" | "encrypts">;
    report(event: { level: "error"; message: string; error?: unknown }): void;
  };
}

export class TopicChanges {
  private readonly names = new KeyedTurns();
  private readonly removals = new Set<Promise<void>>();

  constructor(private readonly parts: TopicChangesParts) {
    parts.catalog.onEvent((event) => this.follow(event));
  }

  /** Resolves when every partition has been opened; null when the topic was deleted meanwhile. Rejects as `Broker.createTopic`. */
  async create(spec: TopicSpec): Promise<Topic | null> {
    const { catalog, partitions, ports } = this.parts;
    this.refuseArchive(spec.config);
    this.refuseEncryption(spec.config);
    await this.names.run(spec.name, async () => {
      if (catalog.topic(spec.name) === null) await this.untilFree(spec.name);
      await catalog.execute({
        type: "CreateTopic",
        topicId: ports.randomness.uuid(),
        ...spec,
        at: ports.clock.now(),
        brokers: this.parts.brokers(),
      });
    });
    const topic = catalog.topic(spec.name);
    if (topic !== null) await partitions.settled(topic);
    return topic;
  }

  /** As `create`, for `Broker.updateTopic`. */
  async update(name: string, change: TopicChange): Promise<Topic | null> {
    const { catalog, partitions } = this.parts;
    this.refuseArchive(change.config);
    await catalog.execute({ type: "UpdateTopic", name, ...change, brokers: this.parts.brokers() });
    const topic = catalog.topic(name);
    if (topic !== null) await partitions.settled(topic);
    return topic;
  }

  /** Resolves when the topic is gone for everybody; its data goes afterwards. */
  async delete(name: string): Promise<void> {
    const { catalog } = this.parts;
    await this.names.run(name, () => catalog.execute({ type: "DeleteTopic", name }));
  }

  /** Without an archive nothing of such a topic could ever be dropped. */
  private refuseArchive(config: Partial<TopicConfig> | undefined): void {
    if (config?.archive !== true || this.parts.ports.logs.archives === true) return;
    throw new BrokerError("INVALID_REQUEST", "archive: this broker has no archive configured", {
      archive: true,
    });
  }

  private refuseEncryption({ encryption = "none" }: TopicConfig): void {
    if (encryption === "none" || this.parts.ports.logs.encrypts === true) return;
    const message = "encryption: this broker has no encryption key configured";
    throw new BrokerError("INVALID_REQUEST", message, { encryption });
  }

  /** Goes on with removals that the last process has left undone. */
  resume(): void {
    const { catalog, groups } = this.parts;
    for (const topic of catalog.removing()) {
      // A name that is taken anew was free, so groups had heard.
      if (catalog.topic(topic.name) === null) groups.topicChanged(topic.name, { deleted: true });
      this.finishRemoval(topic);
    }
  }

  /** Resolves when no change and no removal is under way; what could not be finished is left to the next start. */
  async close(): Promise<void> {
    await this.parts.groups.endNews();
    await Promise.all(this.removals);
    await this.parts.catalog.close();
    await Promise.all(this.removals);
  }

  /** Also of changes whose outcome came to be known only later. */
  private follow(event: CatalogEvent): void {
    const { groups } = this.parts;
    if (event.type === "TopicRemoved") return;
    const { topic } = event;
    if (event.type === "TopicDeleted") {
      groups.topicChanged(topic.name, { deleted: true });
      this.finishRemoval(topic);
    } else void this.openAndTell(topic);
  }

  private async openAndTell(topic: Topic): Promise<void> {
    const { partitions, groups, ports } = this.parts;
    try {
      await partitions.reconfigure(topic);
    } catch (error) {
      const message = `partitions of ${topic.name} are not all open`;
      ports.report({ level: "error", message, error });
    }
    groups.topicChanged(topic.name, { deleted: false });
  }

  /** In the background: data goes, groups hear. */
  private finishRemoval(topic: RemovedTopic): void {
    const { catalog, partitions, groups, ports } = this.parts;
    const removal = (async () => {
      try {
        await partitions.remove(topic);
        if (!await groups.heardOfDeletion(topic.name)) return;
        await catalog.execute({ type: "FinishRemoval", topicId: topic.topicId });
      } catch (error) {
        if (error instanceof BrokerError && error.code === "SHUTTING_DOWN") return;
        ports.report({ level: "error", message: `data of ${topic.name} is not removed`, error });
      }
    })();
    this.removals.add(removal);
    removal.finally(() => this.removals.delete(removal));
  }

  /** Groups know topics by name: one that has not heard of a deletion would take the new topic for the old one. */
  private async untilFree(name: string): Promise<void> {
    const { groups, ports } = this.parts;
    const waited = Promise.withResolvers<boolean>();
    const cancel = ports.timers.after(NAME_WAIT_MS, () => waited.resolve(false));
    const isFree = await Promise.race([groups.heardOfDeletion(name), waited.promise]);
    cancel();
    if (isFree) return;
    throw new BrokerError(
      "LEADER_NOT_AVAILABLE",
      `groups have not heard yet that the last topic ${name} was deleted`,
      { topic: name },
    );
  }
}
