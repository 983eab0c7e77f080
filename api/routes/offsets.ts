// Owns committing a group's offsets over HTTP.
// Refuses to own what may be committed: the group decides (generation, rollback, end of the partition).
// Invariant: all offsets of a request are committed or none.
import { z } from "zod";
import { askedBy } from "../auth/asker.ts";
import { commitEndOf } from "../commit_end.ts";
import {
  groupName,
  label,
  offset,
  partition,
  reason,
  refuseInternalGroup,
  topicName,
} from "../fields.ts";
import { invalidRequest } from "../plain_data.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";
import { existingTopic, refuseUnknownPartition } from "../topic_lookup.ts";

const MAX_OFFSETS_PER_COMMIT = 10_000;
const MAX_METADATA_CHARS = 4_096;
const MAX_SETTLES_PER_OFFSET = 10_000;

const commitSchema = z.strictObject({
  groupId: groupName,
  memberId: label.optional().meta({ description: "Refused when it is no longer a member." }),
  generation: z.int().min(0).optional().meta({ description: "Refused when it is older." }),
  offsets: z.array(z.strictObject({
    topic: topicName,
    partition,
    offset: offset.meta({ description: "The next offset to read." }),
    metadata: z.string().max(MAX_METADATA_CHARS).optional(),
    settles: z.array(offset).max(MAX_SETTLES_PER_OFFSET).optional().meta({
      description:
        "Offsets of redelivered messages below `offset` that are done: these, and no other redelivered messages. " +
        "Left out: all below it that are out for delivery. For whoever commits by a timer, or past what it nacked.",
    }),
  })).min(1).max(MAX_OFFSETS_PER_COMMIT),
  allowRewind: z.boolean().default(false)
    .meta({ description: "Offsets may go back; needs a reason." }),
  reason: reason.optional(),
}).meta({ id: "CommitOffsets" });

type Commit = z.output<typeof commitSchema>;

const committedSchema = z.strictObject({
  groupId: groupName,
  results: z.array(z.strictObject({
    topic: topicName,
    partition,
    offset,
    previous: offset.nullable().meta({ description: "What was committed before; null: nothing." }),
  })),
}).meta({ id: "CommittedOffsets" });

/** Routes of committed offsets. */
export function offsetRoutes({ broker }: ApiDependencies): Route[] {
  return [
    defineRoute({
      method: "POST",
      path: "/api/offsets:commit",
      operationId: "commitOffsets",
      tag: "Groups",
      summary: "Commit a group's offsets",
      body: commitSchema,
      bodyExample: { groupId: "billing", offsets: [{ topic: "orders", partition: 0, offset: 43 }] },
      responses: { 200: { description: "They are committed", schema: committedSchema } },
      errors: [
        "OFFSET_OUT_OF_RANGE",
        "UNKNOWN_TOPIC",
        "UNKNOWN_PARTITION",
        "UNKNOWN_MEMBER",
        "STALE_GENERATION",
        "OFFSET_ROLLBACK",
        "GROUP_PAUSED",
        "FORBIDDEN",
      ],
      statuses: { OFFSET_OUT_OF_RANGE: 400 },
      handler: async ({ body, principal, access, audited }) => {
        refuseInternalGroup(body.groupId);
        checkPartitions(body.offsets);
        const offsets = await Promise.all(body.offsets.map(withEndOffset));
        const { results } = await broker.group({
          type: "CommitOffsets",
          group: body.groupId,
          ...(body.memberId === undefined ? {} : { memberId: body.memberId }),
          ...(body.generation === undefined ? {} : { generation: body.generation }),
          offsets,
          allowRewind: body.allowRewind,
          ...(body.reason === undefined ? {} : { reason: body.reason }),
          principal,
          ...askedBy(access),
        });
        audited({
          before: results.map(({ topic, partition, previous }) => ({
            topic,
            partition,
            offset: previous,
          })),
          after: results.map(({ topic, partition, offset }) => ({ topic, partition, offset })),
        });
        return { data: { groupId: body.groupId, results } };
      },
    }),
  ];

  function checkPartitions(offsets: Commit["offsets"]): void {
    const seen = new Set<string>();
    for (const [index, { topic, partition }] of offsets.entries()) {
      const path = `offsets[${index}]`;
      refuseUnknownPartition(existingTopic(broker, topic), partition, `${path}.partition`);
      const key = `${topic}/${partition}`;
      if (seen.has(key)) throw invalidRequest([{ path, message: `names ${key} a second time` }]);
      seen.add(key);
    }
  }

  async function withEndOffset({ metadata, settles, ...entry }: Commit["offsets"][number]) {
    const { topic, partition } = entry;
    const endOffset = await commitEndOf(broker, { topic, partition }, entry.offset);
    return {
      ...entry,
      ...(metadata === undefined ? {} : { metadata }),
      ...(settles === undefined ? {} : { settles }),
      endOffset,
    };
  }
}
