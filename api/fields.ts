// Owns the schemas of the small things that every route speaks of: names, offsets, partitions, numbers in queries.
// Refuses to own the shapes of whole bodies (they stand beside their routes).
// Invariant: a number in a query or path is decimal digits only, so `1e3`, `0x10`, ` 1` and `` are refused.
import { z } from "zod";
import { BrokerError } from "../storage/broker_error.ts";

/** Names of topics and groups. */
export const NAME_PATTERN = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}$/;
/** Most characters of other free names: client ids, member ids, reasons. */
export const MAX_LABEL_CHARS = 249;
export const MAX_REASON_CHARS = 1_000;
const MAX_PARTITION = 2_147_483_647;

const NAME_RULE = "1 to 249 of A-Z a-z 0-9 . _ - and neither . nor ..";

export const topicName = z.string().regex(NAME_PATTERN, `must be a topic name: ${NAME_RULE}`)
  .meta({ description: "Name of a topic.", examples: ["orders"] });

export const groupName = z.string().regex(NAME_PATTERN, `must be a group name: ${NAME_RULE}`)
  .meta({ description: "Name of a consumer group.", examples: ["billing"] });

/** An id that a caller or the broker gave: printable ASCII without spaces. */
export const label = z.string().regex(/^[!-~]+$/, "must be printable ASCII without spaces")
  .max(MAX_LABEL_CHARS);

export const reason = z.string().min(1).max(MAX_REASON_CHARS)
  .meta({ description: "Why, for the history.", examples: ["maintenance window"] });

export const offset = z.int().min(0).max(Number.MAX_SAFE_INTEGER)
  .meta({ description: "Offset of a message in its partition.", examples: [42] });

export const partition = z.int().min(0).max(MAX_PARTITION)
  .meta({ description: "Index of a partition of the topic.", examples: [0] });

/** Milliseconds since the epoch. */
export const timestampMs = z.int().min(0).max(Number.MAX_SAFE_INTEGER)
  .meta({ description: "Milliseconds since 1970-01-01T00:00Z.", examples: [1_767_225_600_000] });

/** A schema of an integer as it stands in a path or query. */
export function integerText<Schema extends z.ZodType<number>>(schema: Schema) {
  return z.preprocess(integerFromText, schema);
}

function integerFromText(text: unknown): unknown {
  return typeof text === "string" && /^-?\d{1,17}$/.test(text) ? Number(text) : text;
}

/** `true` or `false` as it stands in a query. */
export const booleanText = z.preprocess(
  (text) => text === "true" ? true : text === "false" ? false : text,
  z.boolean(),
);

/** The path parameters of a partition. */
export const partitionParams = z.strictObject({
  topic: topicName,
  partition: integerText(partition),
});

export const topicParams = z.strictObject({ topic: topicName });
export const groupParams = z.strictObject({ group: groupName });

/** True for names that users may read but not write. */
export function isInternalName(name: string): boolean {
  return name.startsWith("__");
}

/** Throws INTERNAL_TOPIC for names that users may not write to. */
export function refuseInternalTopic(topic: string): void {
  if (isInternalName(topic)) {
    throw new BrokerError("INTERNAL_TOPIC", `topic ${topic} is internal and read-only`, { topic });
  }
}

/** Throws FORBIDDEN for groups that users may not change. */
export function refuseInternalGroup(groupId: string): void {
  if (isInternalName(groupId)) {
    throw new BrokerError("FORBIDDEN", `group ${groupId} is internal and read-only`, { groupId });
  }
}
