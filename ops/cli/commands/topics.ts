// Owns the commands on topics. Refuses to own what the broker allows.
// Invariant: what is not given is not sent, so that the broker's defaults are the defaults.
import { confirm } from "../asking.ts";
import type { Json } from "../broker_api.ts";
import {
  type CommandGroup,
  type Context,
  flag,
  LIMIT,
  oneOf,
  option,
  word,
  YES,
} from "../command.ts";
import { UsageError } from "../failures.ts";
import type { Given, Options } from "../given.ts";
import { pathOf } from "../grammar.ts";
import { bytes, type Cell, count, time } from "../output.ts";

const SETTINGS: Options = {
  partitions: option("n", "Number of partitions; it can only grow"),
  "replication-factor": option("n", "Brokers that hold each partition"),
  "min-insync-replicas": option("n", "Brokers that must hold a message before it is acknowledged"),
  "retention-hours": option("hours", "How long messages are kept; 0 for ever"),
  "retention-bytes": option("bytes", "How much of each partition is kept, or none"),
  "cleanup-policy": oneOf(["delete", "compact"], "What happens to old messages"),
  durability: oneOf(["fsync", "os"], "What an acknowledgement promises"),
  "max-message-bytes": option("bytes", "Largest message"),
  "segment-bytes": option("bytes", "Size at which a segment is rolled"),
  "segment-hours": option("hours", "Age at which a segment is rolled"),
  archive: oneOf(["yes", "no"], "Whether what retention lets go is archived first"),
  "archive-retention-hours": option("hours", "How long the archive keeps it; 0 for ever"),
  "tombstone-hours": option("hours", "How long tombstones of a compacted topic stay"),
  "publish-bytes-per-second": option("bytes", "Of all who publish together, or none"),
  "publish-messages-per-second": option("n", "Of all who publish together, or none"),
  "consume-bytes-per-second": option("bytes", "Of all who consume together, or none"),
};
const WORDS = new Set(["cleanup-policy", "durability", "encryption"]);

export const topics: CommandGroup = {
  describes: "List, show, create, alter and delete topics",
  commands: {
    list: {
      describes: "List topics by name",
      options: { ...LIMIT, internal: flag("Those of the broker itself too") },
      examples: [["", "the first hundred"], ["--limit 1000 --json", "as JSON, with partitions"]],
      run: list,
    },
    show: {
      describes: "Show a topic, its settings and its partitions",
      options: { topic: word("Name of the topic") },
      examples: [["orders", "settings, offsets, sizes"]],
      run: async (context) => {
        const topic = await context.api.get(pathOf`/api/topics/${context.given.need("topic")}`);
        await show(context, topic);
      },
    },
    create: {
      describes: "Create a topic",
      options: {
        topic: word("Name of the topic"),
        ...SETTINGS,
        encryption: oneOf(["none", "aes-256-gcm"], "How its data is stored"),
      },
      examples: [
        ["orders --partitions 6", "all else by default"],
        ["prices --cleanup-policy compact --retention-hours 0", "the last value of each key"],
      ],
      run: async (context) => {
        const { given, api } = context;
        const settings = settingsIn(given, [...Object.keys(SETTINGS), "encryption"]);
        const topic = await api.post("/api/topics", { name: given.need("topic"), ...settings });
        await show(context, topic);
      },
    },
    alter: {
      describes: "Change settings of a topic, or give it more partitions",
      options: { topic: word("Name of the topic"), ...SETTINGS },
      examples: [
        ["orders --retention-hours 24", "a day"],
        ["orders --retention-bytes none", "no limit of size any more"],
      ],
      run: async (context) => {
        const { given, api } = context;
        const body = settingsIn(given, Object.keys(SETTINGS));
        if (Object.keys(body).length === 0) throw new UsageError("nothing is to be changed");
        const path = pathOf`/api/topics/${given.need("topic")}`;
        await show(context, await api.json("PATCH", path, { body }));
      },
    },
    delete: {
      describes: "Delete a topic with all its messages",
      options: { topic: word("Name of the topic"), ...YES },
      examples: [["orders", "asks first"], ["orders --yes", "does not"]],
      run: async (context) => {
        const topic = context.given.need("topic");
        confirm(context, `delete topic ${topic} with all its messages`);
        await context.api.delete(pathOf`/api/topics/${topic}`);
        await context.output.result({ deleted: topic }, () => `topic ${topic} is deleted`);
      },
    },
  },
};

async function list({ given, api, output }: Context): Promise<void> {
  const limit = given.integer("limit")!;
  const { entries: all, more } = await api.list("/api/topics", "topics", { limit });
  const entries = all.filter(({ internal }) => !internal || given.flag("internal"));
  const head = ["TOPIC", "PARTITIONS", "MESSAGES", "SIZE", "RETENTION", "POLICY", "DURABILITY"];
  await output.result({ topics: entries }, () =>
    output.table(
      head,
      entries.map((topic) => [
        topic.name,
        topic.partitions.length,
        count(sum(topic, (each) => each.highWatermark - each.logStartOffset)),
        bytes(sum(topic, (each) => each.sizeBytes)),
        retentionOf(topic),
        topic.cleanupPolicy,
        topic.durability,
      ]),
      "there are no topics",
    ));
  if (more) output.remark(`there are more: --limit ${limit * 10}`);
}

async function show({ output }: Context, topic: Json): Promise<void> {
  const { partitions, createdAt, ...settings } = topic;
  const fields = Object.entries(settings) as [string, Cell][];
  await output.result(topic, () => [
    output.fields([...fields, ["createdAt", time(createdAt)]]),
    "",
    output.table(
      ["PARTITION", "STATE", "LEADER", "ISR", "EPOCH", "START", "END", "HIGH WATERMARK", "SIZE"],
      partitions.map((each: Json) => [
        each.partition,
        each.state,
        each.leader,
        each.isr.join(","),
        each.leaderEpoch,
        each.logStartOffset,
        each.logEndOffset,
        each.highWatermark,
        bytes(each.sizeBytes),
      ]),
    ),
  ]);
}

function settingsIn(given: Given, names: readonly string[]): Record<string, unknown> {
  const settings: Record<string, unknown> = {};
  for (const name of names) {
    const text = given.text(name);
    if (text === undefined) continue;
    settings[camel(name)] = valueOf(given, name, text);
  }
  return settings;
}

function valueOf(given: Given, name: string, text: string): unknown {
  if (WORDS.has(name)) return text;
  if (name === "archive") return text === "yes";
  return given.limit(name);
}

export function camel(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function sum(topic: Json, of: (partition: Json) => number): number {
  return topic.partitions.reduce((total: number, each: Json) => total + of(each), 0);
}

function retentionOf({ retentionHours, retentionBytes }: Json): string {
  const age = retentionHours === 0 ? "for ever" : `${retentionHours} h`;
  return retentionBytes === null ? age : `${age}, ${bytes(retentionBytes)}`;
}
