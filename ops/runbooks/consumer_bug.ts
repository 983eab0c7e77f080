// Owns the runbook for consumers that do the wrong thing since they were deployed.
// Refuses to own rolling the consumers back: that is somebody's, who confirms it.
// Invariant: offsets go back to a snapshot from before the deploy, so that nothing the bad version has touched is left out.
import type { Runbook, StepContext } from "../../actors/runbook/types.ts";
import type { GroupDescription } from "../../actors/group/types.ts";
import type { PastOffsets, PastPlace } from "../../actors/group/ledger/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { done, MINUTE_MS, runbook, type RunbookPorts, type Step } from "./definition.ts";
import {
  confirmStep,
  describeGroup,
  lagFallsStep,
  noted,
  pauseStep,
  resumeStep,
} from "./group_steps.ts";
import { countStep, notedAt, previewStep, rollbackStep } from "./offset_steps.ts";
import { pastTimeCheck, timeOf } from "./time_parameter.ts";

/** Snapshots that are looked through for the newest from before the deploy: a day of one a minute. */
const MAX_SNAPSHOTS = 1_440;

export function consumerBug(ports: RunbookPorts): Runbook {
  return runbook(
    {
      name: "consumer-bug",
      title: "Consumer bug",
      describes:
        "Consumers do the wrong thing since a deploy: stops them, waits until the old version is back, and " +
        "lets it do again what the bad one did.",
      targetKinds: ["group"],
    },
    [
      findStep(ports),
      // Before anybody is asked: who approves knows what for.
      previewStep(ports),
      pauseStep(ports),
      confirmStep(ports, "Confirm that the version of before the bug is back"),
      countStep(ports),
      rollbackStep(ports),
      resumeStep(ports),
      lagFallsStep(ports),
    ],
    {
      parameters: [
        {
          name: "deployedAt",
          describes:
            "When the bad version came, ms or RFC 3339. Left out: when the youngest member joined that was " +
            "there as the fault began.",
          required: false,
        },
        { name: "snapshotId", describes: "Where the offsets go back to.", required: false },
      ],
      check: pastTimeCheck(ports.clock, "deployedAt"),
      targets: { rtoMs: 10 * MINUTE_MS, rpoMs: MINUTE_MS },
    },
  );
}

function findStep(ports: RunbookPorts): Step {
  return {
    name: "find",
    title: "Find the snapshot from before the bad deploy",
    kind: "check",
    timeoutMs: 60_000,
    work: {
      async run(context) {
        const group = context.target.name;
        const description = await describeGroup(ports, group);
        const joined = description.members.map(({ joinedAt }) => joinedAt)
          .filter((at) => at <= context.faultAt);
        const deployedAt = timeOf(context.parameters, "deployedAt") ??
          Math.max(...joined, -Infinity);
        const at = Number.isFinite(deployedAt) ? deployedAt : context.faultAt;
        const { place, words } = await placeBefore(ports, context, at);
        const past = await pastOffsets(ports, group, place);
        if (past === null) return { outcome: "manual", detail: nowhereToGo(description, at) };
        const agoMs = Math.max(0, at - past.at);
        const isSame = await sameOffsets(ports, { group, at, past });
        const recoveryPointMs = isSame ? 0 : agoMs;
        const since = isSame ? ", and nothing was committed in between" : "";
        return done(`${words}, ${Math.round(agoMs / 1_000)} s before the deploy${since}`, {
          facts: {
            ...noted(description),
            deployedAt: at,
            place: words,
            recoveryPointMs,
            wanted: notedAt(past.offsets, place),
          },
        });
      },
    },
  };
}

/** Null when nothing is known of the group's offsets at that time. Throws UNKNOWN_SNAPSHOT. */
async function pastOffsets(
  { broker }: RunbookPorts,
  group: string,
  place: PastPlace,
): Promise<PastOffsets | null> {
  try {
    return await broker.ledger.offsetsAt(group, place);
  } catch (error) {
    const isTime = "timeMs" in place;
    if (isTime && error instanceof BrokerError && error.code === "INVALID_REQUEST") return null;
    throw error;
  }
}

function nowhereToGo({ groupId, offsets }: GroupDescription, at: number): string {
  if (offsets.length === 0) {
    return `group ${groupId} has never committed anything, so there is nothing to put back: ` +
      "see what keeps its members from committing";
  }
  return `nothing is known of the offsets of group ${groupId} at ${new Date(at).toISOString()}: ` +
    "name a snapshot, or reset them by hand";
}

/** Whether the group had the offsets of `past` still when the bad version came: then no time is lost. */
async function sameOffsets(
  { broker }: RunbookPorts,
  { group, at, past }: { group: string; at: number; past: PastOffsets },
): Promise<boolean> {
  if (past.at >= at) return true;
  try {
    const before = await broker.ledger.offsetsAt(group, { timeMs: at });
    const had = new Set(before.offsets.map(placeOf));
    return had.size === past.offsets.length && past.offsets.every((one) => had.has(placeOf(one)));
  } catch (error) {
    // The history does not reach back so far: the whole time is taken for lost.
    if (error instanceof BrokerError && error.code === "INVALID_REQUEST") return false;
    throw error;
  }
}

function placeOf({ topic, partition, offset }: PastOffsets["offsets"][number]): string {
  return `${topic}/${partition} ${offset}`;
}

/** The snapshot that was named, the newest from before `at`, or the offsets as they were then. */
async function placeBefore(
  { broker }: RunbookPorts,
  { target, parameters }: StepContext,
  at: number,
): Promise<{ place: PastPlace; words: string }> {
  const { snapshotId } = parameters;
  if (snapshotId !== undefined) return { place: { snapshotId }, words: `snapshot ${snapshotId}` };
  const { snapshots } = await broker.ledger.snapshots(target.name, { limit: MAX_SNAPSHOTS });
  const newest = snapshots.find((snapshot) => snapshot.at <= at);
  if (newest === undefined) {
    return { place: { timeMs: at }, words: `the offsets of ${new Date(at).toISOString()}` };
  }
  const place = { snapshotId: newest.snapshotId };
  return { place, words: `snapshot ${newest.snapshotId}` };
}
