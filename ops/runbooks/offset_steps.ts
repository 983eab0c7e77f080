// Owns the steps that take a group's offsets back to where they were, and forward again when that is undone.
// Refuses to own finding out where to: the first step of a runbook notes it as `wanted`.
// Invariant: what is moved is noted before it is, so that doing it twice and undoing it come to the same.
import type { TopicPartition } from "../../actors/broker.ts";
import type { PastPlace } from "../../actors/group/ledger/types.ts";
import type { OffsetTarget } from "../../actors/group/types.ts";
import type { StepContext } from "../../actors/runbook/types.ts";
import { describeGroup, groupOf } from "./group_steps.ts";
import { done, type RunbookPorts, type Step } from "./definition.ts";

export type NotedOffset = readonly [topic: string, partition: number, offset: number];

/** Offsets as facts keep them: themselves, or, where they are many, the place of the ledger that has them. */
type Noted = readonly NotedOffset[] | PastPlace;

/** More bytes of offsets are not kept as facts: all of an execution are to stay within MAX_FACTS_BYTES. */
const MAX_NOTED_BYTES = 16_384;

const MOVE_TIMEOUT_MS = 60_000;

/** `offsets` as facts keep them. */
export function notedOffsets(
  offsets: readonly (TopicPartition & { readonly offset: number })[],
): NotedOffset[] {
  return offsets.map(({ topic, partition, offset }) => [topic, partition, offset]);
}

/** The same once the group is paused: it has gone on since the preview, and this is where undoing puts it. */
export function countStep(ports: RunbookPorts): Step {
  return {
    ...previewStep(ports),
    name: "count",
    title: "Count once more, right before they are put back",
  };
}

/** `offsets` for the facts; `place` is where the ledger has the same. */
export function notedAt(
  offsets: readonly (TopicPartition & { readonly offset: number })[],
  place: PastPlace,
): Noted {
  const noted = notedOffsets(offsets);
  return JSON.stringify(noted).length > MAX_NOTED_BYTES ? place : noted;
}

/** The offsets that were noted as `name`. */
async function offsetsOf(
  { broker }: RunbookPorts,
  context: StepContext,
  name: "wanted" | "before",
): Promise<readonly NotedOffset[]> {
  const noted = context.facts[name] as Noted;
  if (!("length" in noted)) {
    return notedOffsets((await broker.ledger.offsetsAt(groupOf(context), noted)).offsets);
  }
  return noted;
}

/** What is committed now, for undoing; of many a snapshot is taken. In mode observe nothing is moved, and none is taken. */
async function notedBefore(
  { broker }: RunbookPorts,
  context: StepContext,
  offsets: readonly (TopicPartition & { readonly offset: number })[],
): Promise<{ readonly before?: Noted }> {
  const noted = notedOffsets(offsets);
  if (JSON.stringify(noted).length <= MAX_NOTED_BYTES) return { before: noted };
  if (context.mode === "observe") return {};
  const group = groupOf(context);
  const { principal } = context;
  const { snapshotId } = await broker.group({ type: "SnapshotOffsets", group, principal });
  return { before: { snapshotId } };
}

/** Looks what going back would deliver again, and what of it is no longer there. */
export function previewStep(ports: RunbookPorts): Step {
  return {
    name: "preview",
    title: "Count what is delivered again, and what is lost",
    kind: "check",
    timeoutMs: MOVE_TIMEOUT_MS,
    work: {
      async run(context) {
        // The group may be running, and may not be asked to try it.
        const { offsets } = await describeGroup(ports, groupOf(context));
        const wanted = await offsetsOf(ports, context, "wanted");
        let lost = 0;
        let redelivered = 0;
        for (const [topic, partition, offset] of wanted) {
          if (ports.broker.topic(topic) === null) continue;
          const { logStartOffset } = await ports.broker.partitionInfo({ topic, partition });
          lost += Math.max(0, logStartOffset - offset);
          const now = offsets.find((at) => at.topic === topic && at.partition === partition);
          redelivered += Math.max(0, (now?.offset ?? offset) - Math.max(offset, logStartOffset));
        }
        const ms = Number(context.facts.recoveryPointMs ?? 0);
        return done(`${redelivered} messages are delivered again, ${lost} are no longer there`, {
          facts: { ...await notedBefore(ports, context, offsets), redelivered },
          rpo: { ms, messages: lost },
        });
      },
    },
  };
}

/** Moves the group's offsets to `wanted`. */
export function rollbackStep(ports: RunbookPorts): Step {
  return {
    name: "rollback",
    title: "Put the offsets back",
    kind: "action",
    timeoutMs: MOVE_TIMEOUT_MS,
    undo: "puts the offsets to where they were before",
    work: {
      async run(context) {
        const moved = await move(ports, context, "wanted");
        return done(`offsets of ${moved} partitions went to ${context.facts.place}`);
      },
      plan: (context) =>
        Promise.resolve(
          `would put the offsets of group ${groupOf(context)} to ${context.facts.place}: ` +
            `${context.facts.redelivered} messages again`,
        ),
      async undo(context) {
        return `offsets of ${await move(ports, context, "before")} partitions are as before`;
      },
    },
  };
}

async function move(
  ports: RunbookPorts,
  context: StepContext,
  to: "wanted" | "before",
): Promise<number> {
  const targets: OffsetTarget[] = [];
  for (const [topic, partition, offset] of await offsetsOf(ports, context, to)) {
    if (partition >= (ports.broker.topic(topic)?.partitionCount ?? 0)) continue;
    const info = await ports.broker.partitionInfo({ topic, partition });
    targets.push({
      topic,
      partition,
      to: { kind: "offset", offset },
      logStartOffset: info.logStartOffset,
      endOffset: info.highWatermark,
    });
  }
  const { changes } = await ports.broker.group({
    type: "MoveOffsets",
    group: groupOf(context),
    action: "rollback",
    cause: to === "wanted" ? String(context.facts.place) : "before the runbook",
    targets,
    dryRun: false,
    reason: context.reason,
    principal: context.principal,
  });
  return changes.length;
}
