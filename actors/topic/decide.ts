// Owns every decision about topics: which may be made, changed and deleted, and what that means.
// Refuses to own where topics are kept (topic_catalog.ts) or what a partition does (../partition/).
// Invariant: pure; names are unique, ids are never used twice, the number of partitions never falls.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Topic, TopicConfig } from "../broker.ts";
import { DEAD_LETTER_PREFIX, deadLetterTopic } from "../group/retry/dead_letter_record.ts";
import { unknownTopic } from "./unknown_topic.ts";

/** Most partitions a topic may have. */
export const MAX_PARTITIONS_PER_TOPIC = 10_000;
/** Most partitions one broker keeps open in all. */
export const MAX_PARTITIONS = 20_000;
/** Most of those that one tenant may take, so that others find room. */
export const MAX_PARTITIONS_OF_TENANT = MAX_PARTITIONS * 3 / 4;

export interface CatalogState {
  readonly topics: ReadonlyMap<string, Topic>;
  /** Topics whose name is free again while their data is still being removed, by id. */
  readonly removing: ReadonlyMap<string, RemovedTopic>;
}

export interface RemovedTopic {
  readonly topicId: string;
  readonly name: string;
  readonly partitionCount: number;
}

export type CatalogCommand =
  | {
    readonly type: "CreateTopic";
    readonly topicId: string;
    readonly name: string;
    readonly partitions: number;
    readonly config: TopicConfig;
    readonly tenant?: string;
    /** Who makes it is not held to a tenant's share. */
    readonly beyondShare?: boolean;
    /** Wall time, ms. */
    readonly at: number;
    readonly brokers: number;
  }
  | {
    readonly type: "UpdateTopic";
    readonly name: string;
    readonly partitions?: number;
    readonly config?: Partial<TopicConfig>;
    /** As for CreateTopic. */
    readonly beyondShare?: boolean;
    readonly brokers: number;
  }
  | { readonly type: "DeleteTopic"; readonly name: string }
  | { readonly type: "FinishRemoval"; readonly topicId: string };

export type CatalogEvent =
  | { readonly type: "TopicCreated"; readonly topic: Topic }
  | { readonly type: "TopicChanged"; readonly topic: Topic }
  | { readonly type: "TopicDeleted"; readonly topic: Topic }
  | { readonly type: "TopicRemoved"; readonly topicId: string };

export const EMPTY_CATALOG: CatalogState = { topics: new Map(), removing: new Map() };

/** Events that `command` leads to; throws BrokerError when it is refused. */
export function decideCatalog(state: CatalogState, command: CatalogCommand): CatalogEvent[] {
  switch (command.type) {
    case "CreateTopic":
      return createTopic(state, command);
    case "UpdateTopic":
      return updateTopic(state, command);
    case "DeleteTopic":
      return [{ type: "TopicDeleted", topic: existing(state, command.name) }];
    case "FinishRemoval":
      return state.removing.has(command.topicId)
        ? [{ type: "TopicRemoved", topicId: command.topicId }]
        : [];
  }
}

/** The state after `event`; total. */
export function evolveCatalog(state: CatalogState, event: CatalogEvent): CatalogState {
  const topics = new Map(state.topics);
  const removing = new Map(state.removing);
  switch (event.type) {
    case "TopicCreated":
    case "TopicChanged":
      topics.set(event.topic.name, event.topic);
      break;
    case "TopicDeleted": {
      const { topicId, name, partitionCount } = event.topic;
      topics.delete(name);
      removing.set(topicId, { topicId, name, partitionCount });
      break;
    }
    case "TopicRemoved":
      removing.delete(event.topicId);
      break;
  }
  return { topics, removing };
}

function createTopic(
  state: CatalogState,
  command: Extract<CatalogCommand, { type: "CreateTopic" }>,
): CatalogEvent[] {
  const { name, topicId, partitions, config, tenant, beyondShare, at, brokers } = command;
  if (state.topics.has(name)) {
    throw new BrokerError("TOPIC_ALREADY_EXISTS", `topic ${name} already exists`, { topic: name });
  }
  checkReplication(config, brokers);
  checkArchive(config);
  checkEncryption(state, name, config);
  const origin = originOf(state, name);
  const lettersOf = tenant ?? (origin === undefined ? undefined : tenantOf(origin));
  const owner = { tenant: lettersOf, beyondShare };
  checkPartitions(state, name, { from: 0, to: partitions, ...owner });
  const internal = name.startsWith("__");
  return [{
    type: "TopicCreated",
    topic: {
      topicId,
      name,
      partitionCount: partitions,
      config,
      createdAt: at,
      internal,
      ...(tenant === undefined ? {} : { tenant }),
      ...(tenant !== undefined || lettersOf === undefined ? {} : { lettersOf }),
    },
  }];
}

function updateTopic(
  state: CatalogState,
  command: Extract<CatalogCommand, { type: "UpdateTopic" }>,
): CatalogEvent[] {
  const topic = existing(state, command.name);
  const config = { ...topic.config, ...command.config };
  refuseOtherEncryption(topic, config);
  const partitionCount = command.partitions ?? topic.partitionCount;
  checkReplication(config, command.brokers);
  checkArchive(config);
  checkPartitions(state, topic.name, {
    from: topic.partitionCount,
    to: partitionCount,
    tenant: tenantOf(topic),
    beyondShare: command.beyondShare,
  });
  return [{ type: "TopicChanged", topic: { ...topic, partitionCount, config } }];
}

function existing(state: CatalogState, name: string): Topic {
  const topic = state.topics.get(name);
  if (topic === undefined) throw unknownTopic(name);
  return topic;
}

function checkReplication(config: TopicConfig, brokers: number): void {
  if (config.replicationFactor > brokers) {
    throw new BrokerError(
      "INVALID_REPLICATION_FACTOR",
      `replicationFactor ${config.replicationFactor} needs as many brokers, there ${
        brokers === 1 ? "is 1" : `are ${brokers}`
      }`,
      { replicationFactor: config.replicationFactor, brokers },
    );
  }
  if (config.minInsyncReplicas > config.replicationFactor) {
    throw new BrokerError(
      "INVALID_REPLICATION_FACTOR",
      `minInsyncReplicas ${config.minInsyncReplicas} is more than replicationFactor ${config.replicationFactor}`,
      {
        minInsyncReplicas: config.minInsyncReplicas,
        replicationFactor: config.replicationFactor,
      },
    );
  }
}

/** A compacted topic drops nothing by age, so there is nothing to archive. */
function checkArchive(config: TopicConfig): void {
  if (config.archive !== true || config.cleanupPolicy === "delete") return;
  throw new BrokerError(
    "INVALID_REQUEST",
    'archive needs cleanupPolicy "delete": a compacted topic keeps the newest message of every key',
    { archive: true, cleanupPolicy: config.cleanupPolicy },
  );
}

/** Dead letters of an encrypted topic are its messages: they must not come to lie anywhere in clear. */
function checkEncryption(state: CatalogState, name: string, config: TopicConfig): void {
  const lettersName = deadLetterTopic(name);
  const letters = state.topics.get(lettersName);
  if (isEncrypted(config) && letters !== undefined && !isEncrypted(letters.config)) {
    const message =
      `topic ${name} is to be encrypted, and ${lettersName} for its dead letters is not`;
    throw new BrokerError("INVALID_REQUEST", message, { topic: name, deadLetters: lettersName });
  }
  if (isEncrypted(config) || !name.startsWith(DEAD_LETTER_PREFIX)) return;
  for (const origin of state.topics.values()) {
    if (!isEncrypted(origin.config) || deadLetterTopic(origin.name) !== name) continue;
    const message = `topic ${origin.name} is encrypted, so ${name} for its dead letters must be`;
    throw new BrokerError("INVALID_REQUEST", message, { topic: name, origin: origin.name });
  }
}

/** What lies in the logs already stays as it is. */
function refuseOtherEncryption(topic: Topic, config: TopicConfig): void {
  if (isEncrypted(topic.config) === isEncrypted(config)) return;
  const message = `encryption of topic ${topic.name} was chosen when it was made`;
  throw new BrokerError("INVALID_REQUEST", message, { topic: topic.name });
}

function isEncrypted({ encryption = "none" }: TopicConfig): boolean {
  return encryption !== "none";
}

/** The topic whose dead letters go to `name`. */
function originOf(state: CatalogState, name: string): Topic | undefined {
  if (!name.startsWith(DEAD_LETTER_PREFIX)) return undefined;
  return state.topics.values().find((topic) => deadLetterTopic(topic.name) === name);
}

/** Whose share its partitions are of. */
function tenantOf({ tenant, lettersOf }: Topic): string | undefined {
  return tenant ?? lettersOf;
}

interface PartitionChange {
  readonly from: number;
  readonly to: number;
  readonly tenant?: string | undefined;
  readonly beyondShare?: boolean | undefined;
}

function checkPartitions(state: CatalogState, topic: string, change: PartitionChange): void {
  const { from, to } = change;
  if (to < from) {
    throw new BrokerError(
      "INVALID_PARTITIONS",
      `topic ${topic} has ${from} partitions; their number can only rise, not fall to ${to}`,
      { topic, partitions: from, requested: to },
    );
  }
  if (to > MAX_PARTITIONS_PER_TOPIC) {
    throw new BrokerError(
      "INVALID_PARTITIONS",
      `${to} partitions for topic ${topic} are too many: at most ${MAX_PARTITIONS_PER_TOPIC} a topic`,
      { topic, requested: to, maxPerTopic: MAX_PARTITIONS_PER_TOPIC, maxInAll: MAX_PARTITIONS },
    );
  }
  // Who has more than the share from an older release may still change the rest.
  if (to > from) checkRoom(state, topic, change);
}

/** No time brings room: only who deletes topics does. */
function checkRoom(state: CatalogState, topic: string, change: PartitionChange): void {
  const { from, to, tenant, beyondShare = false } = change;
  let total = to - from;
  let own = to - from;
  for (const other of state.topics.values()) {
    total += other.partitionCount;
    if (tenantOf(other) === tenant) own += other.partitionCount;
  }
  const refuse = (who: string, limit: number, details: Record<string, unknown>) => {
    const detail = `${to} partitions for topic ${topic} are too many: ${who} at most ${limit}`;
    return new BrokerError("LIMIT_REACHED", detail, { topic, requested: to, limit, ...details });
  };
  if (tenant !== undefined && !beyondShare && own > MAX_PARTITIONS_OF_TENANT) {
    throw refuse(`tenant ${tenant} has`, MAX_PARTITIONS_OF_TENANT, { tenant });
  }
  if (total > MAX_PARTITIONS) throw refuse("all topics have", MAX_PARTITIONS, {});
}
