// Owns the routes that move a group's offsets: rollback and reset.
// Refuses to own where to (offset_targets.ts) and whether offsets may be moved: the group decides.
// Invariant: a dry run asks the group exactly what the real run asks, and tells what that would be refused for.
import { z } from "zod";
import type { MoveReply } from "../../actors/group/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { type TopicSight, topicSight } from "../auth/topic_sight.ts";
import { groupParams, partition, reason, refuseInternalGroup, topicName } from "../fields.ts";
import { inParallel, resetTargets, rollbackTargets } from "../offset_targets.ts";
import { pastPlace, type ResetPlace, resetPlace } from "../past_place.ts";
import { countMessages } from "../message_count.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";

const TAG = "Groups";
const PATH = "/api/groups/{group}";
/** Log that is read to count messages exactly; beyond it offsets are counted. */
const MAX_COUNTED_BYTES = 64 * 1_048_576;

export const movedSchema = z.strictObject({
  dryRun: z.boolean(),
  changes: z.array(z.strictObject({
    topic: z.string(),
    partition: z.int(),
    from: z.int().nullable().meta({ description: "Committed before; null: nothing." }),
    to: z.int(),
    redeliver: z.int().meta({
      description:
        "Messages that are delivered again. Far back, where counting them would take long, offsets are counted.",
    }),
  })).meta({ description: "Partitions whose offset changes." }),
  totalRedeliver: z.int(),
  blockedBy: z.strictObject({ code: z.string(), detail: z.string() }).nullable().meta({
    description:
      "Of a dry run: why the same would be refused now, so that the group is to be paused first, or a transaction has to end; null: it would not.",
  }),
}).meta({ id: "MovedOffsets" });

const only = {
  topic: topicName.optional().meta({ description: "Only this topic." }),
  partition: partition.optional().meta({ description: "Only this partition; needs a topic." }),
};
const dryRun = z.boolean().default(false)
  .meta({ description: "Changes nothing and answers what would change." });

const rollbackSchema = z.strictObject({ to: pastPlace, ...only, dryRun, reason })
  .meta({ id: "RollbackOffsets" });

const resetSchema = z.strictObject({
  topic: topicName,
  partition: partition.optional().meta({ description: "Only this partition; default all." }),
  to: resetPlace,
  dryRun,
  reason,
}).meta({ id: "ResetOffsets" });

/** Routes of rollback and reset. */
export function offsetMoveRoutes(dependencies: ApiDependencies): Route[] {
  const { broker, authorizer } = dependencies;
  return [
    defineRoute({
      method: "POST",
      path: `${PATH}/offsets:rollback`,
      operationId: "rollbackOffsets",
      tag: TAG,
      summary: "Put a group's offsets back to a snapshot or a time",
      description:
        "The group must be empty or paused; a dry run may be made of any, and tells in `blockedBy` what the real one waits for. What had no offset then, or was made later, goes to the log start; what is no longer in the log, to the nearest that is.",
      params: groupParams,
      body: rollbackSchema,
      bodyExample: { to: { snapshotId: "s7-1767225600000" }, dryRun: true, reason: "bad deploy" },
      responses: { 200: { description: "What changed, or would", schema: movedSchema } },
      errors: [
        "UNKNOWN_GROUP",
        "UNKNOWN_SNAPSHOT",
        "UNKNOWN_TOPIC",
        "UNKNOWN_PARTITION",
        "GROUP_NOT_EMPTY",
        "CONCURRENT_TRANSACTIONS",
        "ARCHIVE_UNAVAILABLE",
        "FORBIDDEN",
      ],
      handler: async ({ params: { group }, body, principal, access, audited }) => {
        refuseInternalGroup(group);
        const targets = await rollbackTargets(broker, group, body);
        refuseUnseen(targets, topicSight(authorizer, access));
        const { dryRun, reason } = body;
        const cause = "snapshotId" in body.to
          ? `snapshot ${body.to.snapshotId}`
          : `time ${timeInWords(body.to.time)}`;
        const move = { group, targets, dryRun, reason, principal, cause };
        const moved = await broker.group({ type: "MoveOffsets", action: "rollback", ...move });
        audited(movedOffsets(moved));
        return { data: await shown(dependencies, moved) };
      },
    }),
    defineRoute({
      method: "POST",
      path: `${PATH}/offsets:reset`,
      operationId: "resetOffsets",
      tag: TAG,
      summary: "Set a group's offsets in a topic",
      description:
        "The group must be empty or paused; a dry run may be made of any, and tells in `blockedBy` what the real one waits for. `+n` and `-n` stop at the ends of the log.",
      params: groupParams,
      body: resetSchema,
      bodyExample: { topic: "orders", to: "-100", dryRun: true, reason: "process again" },
      responses: { 200: { description: "What changed, or would", schema: movedSchema } },
      errors: [
        "UNKNOWN_GROUP",
        "UNKNOWN_TOPIC",
        "UNKNOWN_PARTITION",
        "OFFSET_OUT_OF_RANGE",
        "GROUP_NOT_EMPTY",
        "CONCURRENT_TRANSACTIONS",
        "ARCHIVE_UNAVAILABLE",
        "FORBIDDEN",
      ],
      statuses: { OFFSET_OUT_OF_RANGE: 400 },
      handler: async ({ params: { group }, body, principal, audited }) => {
        refuseInternalGroup(group);
        const targets = await resetTargets(broker, body);
        const { dryRun, reason } = body;
        const cause = inWords(body.to);
        const move = { group, targets, dryRun, reason, principal, cause };
        const moved = await broker.group({ type: "MoveOffsets", action: "reset", ...move });
        audited(movedOffsets(moved));
        return { data: await shown(dependencies, moved) };
      },
    }),
  ];
}

/** What the audit log keeps of a move. */
function movedOffsets({ changes }: MoveReply) {
  const at = (end: "from" | "to") =>
    changes.map((change) => ({
      topic: change.topic,
      partition: change.partition,
      offset: change[end],
    }));
  return { before: at("from"), after: at("to") };
}

/** The group counts offsets; a caller is told messages, where that differs. */
async function shown(
  { broker, limits: { maxDecompressedBytes } }: ApiDependencies,
  { dryRun, changes: moved, blockedBy }: MoveReply,
) {
  const budget = { bytesLeft: MAX_COUNTED_BYTES };
  const changes = await inParallel(moved, async (change) => {
    const range = { from: change.to, to: change.to + change.redeliver };
    const options = { ...range, budget, maxDecompressedBytes, withOpen: false };
    return { ...change, redeliver: await countMessages(broker, change, options) };
  });
  const totalRedeliver = changes.reduce((sum, { redeliver }) => sum + redeliver, 0);
  return { dryRun, changes, totalRedeliver, blockedBy };
}

/** All of the group goes back, or the part that is named: never silently what one happens to see. */
function refuseUnseen(targets: readonly { readonly topic: string }[], isSeen: TopicSight): void {
  if (targets.every(isSeen)) return;
  throw new BrokerError(
    "FORBIDDEN",
    "the group has offsets in topics that you may not describe: name the topic that is to go back",
  );
}

function inWords(to: ResetPlace): string {
  switch (to.kind) {
    case "offset":
      return `offset ${to.offset}`;
    case "relative":
      return to.by < 0 ? `${to.by}` : `+${to.by}`;
    case "time":
      return `@${timeInWords(to.timestampMs)}`;
    default:
      return to.kind;
  }
}

/** ECMAScript knows no dates beyond this. */
const LAST_DATE_MS = 8.64e15;

function timeInWords(timestampMs: number): string {
  return timestampMs > LAST_DATE_MS ? `${timestampMs}` : new Date(timestampMs).toISOString();
}
