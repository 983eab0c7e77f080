// Owns the query of the stream route: what a client may ask of its session, and what it gets when it does not.
// Refuses to own whether the topics exist (routes.ts).
// Invariant: what passes lies within the bounds of limits.ts.
import { z } from "zod";
import { version } from "../canary_view.ts";
import { booleanText, integerText, label, topicName } from "../fields.ts";
import { STREAM_FORMATS } from "./frames.ts";
import {
  DEFAULT_BATCH_TURN_BYTES,
  DEFAULT_MAX_IN_FLIGHT,
  DEFAULT_SESSION_TIMEOUT_MS,
  DEFAULT_TURN_BYTES,
  type StreamLimits,
} from "./limits.ts";

export const assignorName = z.enum(["range", "roundrobin", "sticky"])
  .meta({
    description: "How partitions are shared out; default: the group's, sticky for a new group.",
  });

export const clientId = label.meta({ description: "A name for people, shown in lists." });
export const instanceId = label.meta({
  description: "A static member: one that comes back under this name in time causes no rebalance.",
});

/** Of a member; within `limits`. */
export function sessionTimeoutMs(limits: StreamLimits) {
  return z.int().min(limits.minSessionTimeoutMs).max(limits.maxSessionTimeoutMs).meta({
    description: "A member that gives no sign of life for so long is removed.",
  });
}

/** What the lag of a group that has committed nothing counts from, too. */
export const DEFAULT_OFFSET_RESET = "earliest";

export const autoOffsetReset = z.enum(["earliest", "latest"]).default(DEFAULT_OFFSET_RESET).meta({
  description:
    "Where to start in a partition of which the group has committed nothing, or whose committed offset is " +
    "no longer in the log.",
});

/** Topics as `a,b`; repeats are dropped. */
function topicsText(maxTopics: number) {
  return z.string().max(maxTopics * 250)
    .transform((text) => [...new Set(text.split(","))])
    .pipe(z.array(topicName).min(1).max(maxTopics))
    .meta({ description: "Topics, separated by commas." });
}

export function streamQuery(limits: StreamLimits) {
  return z.strictObject({
    topics: topicsText(limits.maxTopics),
    clientId: clientId.optional(),
    instanceId: instanceId.optional(),
    memberId: label.optional().meta({
      description: "The member of an earlier connection, to go on as after it broke.",
    }),
    version: version.optional(),
    zone: label.optional().meta({
      description:
        "Of whoever consumes: a broker of that zone that has a replica reads from it, as far as it " +
        "knows what may be read.",
    }),
    assignor: assignorName.optional(),
    format: z.enum(STREAM_FORMATS).default("json").meta({
      description:
        "json: all frames are JSON text. msgpack: all are MessagePack. batch: control frames are JSON text, " +
        "messages are binary frames of record batches as they are stored.",
    }),
    autoOffsetReset,
    maxInFlight: integerText(z.int().min(1).max(limits.maxInFlight))
      .prefault(DEFAULT_MAX_IN_FLIGHT)
      .meta({ description: "Most messages that are neither committed past nor nacked at a time." }),
    autoCommit: booleanText.prefault(false).meta({
      description:
        "The broker commits what it has sent, about once a second: at most once in effect.",
    }),
    sessionTimeoutMs: integerText(sessionTimeoutMs(limits)).prefault(DEFAULT_SESSION_TIMEOUT_MS),
    maxBatchBytes: integerText(z.int().min(1).max(limits.maxBatchBytes)).optional().meta({
      description:
        `About how many bytes a messages frame holds at most; one message or batch is always sent. ` +
        `Default ${DEFAULT_TURN_BYTES}, with batch ${DEFAULT_BATCH_TURN_BYTES}.`,
    }),
  });
}
