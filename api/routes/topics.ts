// Owns the routes that make, list, describe, change and delete topics.
// Refuses to own what is allowed beyond bounds of single values: the broker decides (replication, partitions).
// Invariant: what a topic is made from and what it is described by use the same words and units.
import { z } from "zod";
import type { Topic, TopicConfig, TopicDescription } from "../../actors/broker.ts";
import { CLUSTER } from "../auth/authorizer.ts";
import { refuseInternalTopic, topicName, topicParams } from "../fields.ts";
import { byName, matches, nextCursor, pageOf, searchQuery } from "../paging.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";
import { describedOrGone } from "../topic_lookup.ts";

const TAG = "Topics";
const MAX_PARTITIONS = 10_000;
const MAX_REPLICAS = 100;
/** A hundred years: beyond it, a number of hours is more likely to be one of milliseconds. */
const MAX_HOURS = 876_000;
const MAX_MESSAGE_BYTES = 10 * 1_048_576;
const DEFAULT_TOMBSTONE_HOURS = 24;
const MIN_SEGMENT_BYTES = 65_536;
const MAX_SEGMENT_BYTES = 1_073_741_824;

const configFields = {
  replicationFactor: z.int().min(1).max(MAX_REPLICAS)
    .meta({ description: "Copies of each partition; at most the number of brokers." }),
  minInsyncReplicas: z.int().min(1).max(MAX_REPLICAS)
    .meta({ description: "Copies that must have a message before it is acknowledged." }),
  retentionHours: z.number().min(0).max(MAX_HOURS)
    .meta({ description: "Messages may be dropped when older; 0 keeps them for ever." }),
  retentionBytes: z.int().min(0).max(Number.MAX_SAFE_INTEGER).nullable()
    .meta({
      description: "Oldest messages of a partition may be dropped above it; null: no limit.",
    }),
  cleanupPolicy: z.enum(["delete", "compact"]),
  durability: z.enum(["fsync", "os"]).meta({
    description: "What an acknowledged message has reached: the disk, or the operating system.",
  }),
  maxMessageBytes: z.int().min(1).max(MAX_MESSAGE_BYTES)
    .meta({ description: "Largest message: key, value and headers together." }),
  segmentBytes: z.int().min(MIN_SEGMENT_BYTES).max(MAX_SEGMENT_BYTES)
    .meta({ description: "A file of the log is closed at this size." }),
  segmentHours: z.number().positive().max(MAX_HOURS)
    .meta({ description: "A file of the log is closed at this age." }),
  archive: z.boolean().meta({
    description:
      "What retention lets go is put into the broker's archive first and read from there as before.",
  }),
  archiveRetentionHours: z.number().min(0).max(MAX_HOURS)
    .meta({ description: "Archived messages may be dropped when older; 0 keeps them for ever." }),
  tombstoneHours: z.number().min(0).max(MAX_HOURS).meta({
    description: "With compact: how long a message without value stays, so that consumers see it.",
  }),
};

/** Null: no limit. */
const rate = z.int().min(0).max(Number.MAX_SAFE_INTEGER).nullable();
const quotaFields = {
  publishBytesPerSecond: rate.meta({
    description: "Published by all together, of batches as they are stored; null: no limit.",
  }),
  publishMessagesPerSecond: rate.meta({
    description: "Published by all together; null: no limit.",
  }),
  consumeBytesPerSecond: rate.meta({
    description: "Delivered to all together; null: no limit.",
  }),
};

const encryption = z.enum(["none", "aes-256-gcm"]).meta({
  description: "How messages lie on disk and in the archive; fixed when the topic is made.",
});

const partitionCount = z.int().min(1).max(MAX_PARTITIONS);

const newTopicSchema = z.strictObject({
  name: topicName,
  partitions: partitionCount.default(1),
  replicationFactor: configFields.replicationFactor.default(1),
  minInsyncReplicas: configFields.minInsyncReplicas.default(1),
  retentionHours: configFields.retentionHours.default(72),
  retentionBytes: configFields.retentionBytes.default(null),
  cleanupPolicy: configFields.cleanupPolicy.default("delete"),
  durability: configFields.durability.default("fsync"),
  maxMessageBytes: configFields.maxMessageBytes.default(1_048_576),
  segmentBytes: configFields.segmentBytes.default(128 * 1_048_576),
  segmentHours: configFields.segmentHours.default(168),
  archive: configFields.archive.default(false),
  archiveRetentionHours: configFields.archiveRetentionHours.default(0),
  tombstoneHours: configFields.tombstoneHours.default(DEFAULT_TOMBSTONE_HOURS),
  encryption: encryption.default("none"),
  publishBytesPerSecond: quotaFields.publishBytesPerSecond.default(null),
  publishMessagesPerSecond: quotaFields.publishMessagesPerSecond.default(null),
  consumeBytesPerSecond: quotaFields.consumeBytesPerSecond.default(null),
}).meta({ id: "NewTopic" });

const topicChangeSchema = z.strictObject({
  partitions: partitionCount,
  ...configFields,
  ...quotaFields,
})
  .partial().meta({ id: "TopicChange" });

export const partitionSchema = z.strictObject({
  partition: z.int(),
  leader: z.string().nullable().meta({ description: "Node id; null while there is none." }),
  isr: z.array(z.string()).meta({ description: "Node ids of the in-sync replicas." }),
  leaderEpoch: z.int(),
  logStartOffset: z.int(),
  logEndOffset: z.int(),
  highWatermark: z.int().meta({ description: "Messages below it can be read." }),
  lastStableOffset: z.int().meta({
    description: "Below it every transaction has ended: read_committed reads up to here.",
  }),
  sizeBytes: z.int().meta({ description: "On the broker's own disk." }),
  archivedBytes: z.int().optional()
    .meta({ description: "In the archive; left out where the broker has none." }),
  state: z.enum(["online", "offline"]),
  error: z.string().optional().meta({ description: "Why it is offline." }),
}).meta({ id: "Partition" });

export const topicSchema = z.strictObject({
  topicId: z.string(),
  name: topicName,
  ...configFields,
  encryption,
  ...quotaFields,
  createdAt: z.int().meta({ description: "ms since the epoch" }),
  internal: z.boolean().meta({ description: "Read-only: belongs to the broker." }),
  partitions: z.array(partitionSchema),
}).meta({ id: "Topic" });

/** Routes of topics. */
export function topicRoutes({ broker, authorizer, limits, quota }: ApiDependencies): Route[] {
  return [
    defineRoute({
      method: "POST",
      path: "/api/topics",
      operationId: "createTopic",
      tag: TAG,
      summary: "Make a topic",
      body: newTopicSchema,
      bodyExample: { name: "orders", partitions: 3, retentionHours: 168 },
      responses: { 201: { description: "The topic", schema: topicSchema } },
      errors: [
        "TOPIC_ALREADY_EXISTS",
        "LIMIT_REACHED",
        "INVALID_PARTITIONS",
        "INVALID_REPLICATION_FACTOR",
        "INTERNAL_TOPIC",
        "METADATA_CONFLICT",
      ],
      handler: async ({ body, access, audited }) => {
        refuseInternalTopic(body.name);
        const { name, partitions, ...config } = body;
        const { tenant } = access;
        const beyondShare = authorizer.isAdministrator(access);
        const topic = await quota.creatingTopic(
          access,
          name,
          () => broker.createTopic({ name, partitions, config, tenant, beyondShare }),
        );
        audited({ after: settingsOf(topic) });
        return { status: 201, data: shown(topic), headers: { location: `/api/topics/${name}` } };
      },
    }),
    defineRoute({
      method: "GET",
      path: "/api/topics",
      operationId: "listTopics",
      tag: TAG,
      summary: "List topics by name",
      query: searchQuery(limits),
      responses: {
        200: {
          description: "A page of topics",
          schema: z.strictObject({ topics: z.array(topicSchema), nextCursor }),
        },
      },
      handler: async ({ query, access }) => {
        const names = broker.topicNames().filter((name) =>
          matches(name, query.search) && authorizer.sees(access, "topic", name)
        );
        const page = pageOf(names, query, byName((name: string) => name));
        const topics = await Promise.all(page.entries.map((name) => describedOrGone(broker, name)));
        return {
          data: {
            topics: topics.filter((topic) => topic !== null).map(shown),
            nextCursor: page.nextCursor,
          },
        };
      },
    }),
    ...oneTopicRoutes({ broker, authorizer }),
  ];
}

function oneTopicRoutes(
  { broker, authorizer }: Pick<ApiDependencies, "broker" | "authorizer">,
): Route[] {
  const path = "/api/topics/{topic}";
  return [
    defineRoute({
      method: "GET",
      path,
      operationId: "getTopic",
      tag: TAG,
      summary: "Describe a topic and its partitions",
      params: topicParams,
      responses: { 200: { description: "The topic", schema: topicSchema } },
      errors: ["UNKNOWN_TOPIC"],
      handler: async ({ params }) => ({ data: shown(await broker.describeTopic(params.topic)) }),
    }),
    defineRoute({
      method: "PATCH",
      path,
      operationId: "updateTopic",
      tag: TAG,
      summary: "Change configuration or raise the number of partitions",
      description:
        "Keys that stay as they are go to other partitions once their number was raised. Quotas take `admin` on the cluster " +
        "to be changed: they are limits for those who may alter the topic, too.",
      params: topicParams,
      body: topicChangeSchema,
      bodyExample: { partitions: 6, retentionHours: 24 },
      responses: { 200: { description: "The topic", schema: topicSchema } },
      errors: [
        "UNKNOWN_TOPIC",
        "LIMIT_REACHED",
        "INVALID_PARTITIONS",
        "INVALID_REPLICATION_FACTOR",
        "INTERNAL_TOPIC",
        "METADATA_CONFLICT",
      ],
      handler: async ({ params, body, access, audited, authorize }) => {
        refuseInternalTopic(params.topic);
        const before = broker.topic(params.topic);
        if (before !== null && changesQuota(before.config, body)) {
          authorize({ operation: "admin", resource: "cluster", name: CLUSTER });
        }
        audited({ before: settingsOf(before) });
        const { partitions, ...changes } = body;
        const config = withoutUndefined(changes);
        const topic = await broker.updateTopic(params.topic, {
          ...(partitions === undefined ? {} : { partitions }),
          config,
          beyondShare: authorizer.isAdministrator(access),
        });
        audited({ after: settingsOf(topic) });
        return { data: shown(topic) };
      },
    }),
    defineRoute({
      method: "DELETE",
      path,
      operationId: "deleteTopic",
      tag: TAG,
      summary: "Delete a topic with all its messages",
      params: topicParams,
      responses: { 204: { description: "It is gone" } },
      errors: ["UNKNOWN_TOPIC", "INTERNAL_TOPIC", "METADATA_CONFLICT"],
      handler: async ({ params, audited }) => {
        refuseInternalTopic(params.topic);
        audited({ before: settingsOf(broker.topic(params.topic)) });
        await broker.deleteTopic(params.topic);
        return { status: 204 };
      },
    }),
  ];
}

const QUOTAS = Object.keys(quotaFields) as (keyof typeof quotaFields)[];

function changesQuota(config: Topic["config"], body: z.output<typeof topicChangeSchema>): boolean {
  return QUOTAS.some((name) => body[name] !== undefined && body[name] !== (config[name] ?? null));
}

/** What the audit log keeps of a topic. */
function settingsOf(topic: Topic | null) {
  if (topic === null) return null;
  const { topicId, partitionCount, config } = topic;
  return { topicId, partitions: partitionCount, ...config };
}

/** A key that is there with no value would overwrite what the topic has. */
function withoutUndefined(
  changes: { [Key in keyof TopicConfig]?: TopicConfig[Key] | undefined },
): Partial<TopicConfig> {
  return Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
}

function shown(topic: TopicDescription): z.input<typeof topicSchema> {
  return {
    topicId: topic.topicId,
    name: topic.name,
    // Topics of an older release do not say.
    archive: false,
    archiveRetentionHours: 0,
    tombstoneHours: DEFAULT_TOMBSTONE_HOURS,
    encryption: "none" as const,
    publishBytesPerSecond: null,
    publishMessagesPerSecond: null,
    consumeBytesPerSecond: null,
    ...topic.config,
    createdAt: topic.createdAt,
    internal: topic.internal,
    partitions: topic.partitions.map((partition) => ({ ...partition, isr: [...partition.isr] })),
  };
}
