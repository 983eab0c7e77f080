// Owns the runbook for a group that makes dead letters of most that it reads.
// Refuses to own mending the consumers: somebody confirms that. Invariant: a letter is redriven to its group alone, and only
// once its consumers are mended.
import type { RedriveRequest } from "../../actors/job/types.ts";
import type { Runbook, StepContext } from "../../actors/runbook/types.ts";
import { again, done, MINUTE_MS, runbook, type RunbookPorts, type Step } from "./definition.ts";
import {
  confirmStep,
  describeGroup,
  groupOf,
  noted,
  pauseStep,
  resumeStep,
} from "./group_steps.ts";
import { floodBeginning, keyOf, type LetterCount, lettersSince, MAX_FLOOD_MS } from "./letters.ts";

/** New letters since the old ones were handed over, as a share of these: some come always. */
const MAX_CAME_SHARE = 0.1;

export function deadLetterFlood(ports: RunbookPorts): Runbook {
  return runbook(
    {
      name: "dead-letter-flood",
      title: "Dead-letter flood",
      describes:
        "A group makes dead letters of most that it reads: stops it, waits until it is mended, and hands it " +
        "the letters once more.",
      targetKinds: ["broker", "group", "topic"],
    },
    [
      findStep(ports),
      pauseStep(ports),
      confirmStep(ports, "Confirm that the consumers are mended"),
      resumeStep(ports),
      redriveStep(ports),
      redrivenStep(ports),
    ],
    { targets: { rtoMs: 10 * MINUTE_MS, rpoMs: 0 } },
  );
}

function findStep(ports: RunbookPorts): Step {
  return {
    name: "find",
    title: "Find the group and the topic that the letters come from",
    kind: "check",
    timeoutMs: MINUTE_MS,
    work: {
      async run({ target, faultAt }) {
        const meant = ({ group, topic }: LetterCount) =>
          target.type === "broker" || target.name === (target.type === "group" ? group : topic);
        // Whose flood it is, is told by the newest; a flood that has ended meanwhile has none of those.
        const most = mostOf(await lettersSince(ports, faultAt - MINUTE_MS), meant) ??
          mostOf(await lettersSince(ports, faultAt - MAX_FLOOD_MS), meant);
        if (most === null) {
          return { outcome: "nothing", detail: "there are no new dead letters" };
        }
        const { group, letters, reason, count } = most;
        const { since, isSeen } = await floodBeginning(ports, most, faultAt);
        const from = `${isSeen ? "since" : "since before"} ${new Date(since).toISOString()}`;
        return done(
          `group ${group} makes letters in ${letters} ${from}, ${count} of the newest, such as: ${reason}`,
          {
            facts: { ...noted(await describeGroup(ports, group)), letters, since },
            holds: [`group:${group}`],
          },
        );
      },
    },
  };
}

function mostOf(
  counts: ReadonlyMap<string, LetterCount>,
  meant: (count: LetterCount) => boolean,
): LetterCount | null {
  return [...counts.values()].filter(meant).sort((a, b) => b.count - a.count)[0] ?? null;
}

/** The same at every try: the job is made once. */
function jobIdOf({ executionId }: StepContext): string {
  return `runbook-${executionId}`;
}

/** All letters of the group since the flood began. */
function redriveOf(context: StepContext): RedriveRequest {
  const jobId = jobIdOf(context);
  const { letters, since } = context.facts;
  return {
    kind: "redrive",
    jobId,
    fingerprint: jobId,
    principal: context.principal,
    reason: context.reason,
    dryRun: false,
    topic: String(letters),
    partition: null,
    group: groupOf(context),
    from: { kind: "time", timestampMs: Number(since) },
    to: { kind: "latest" },
    filter: {},
    includeRedriven: false,
    ratePerSecond: null,
  };
}

function redriveStep({ broker }: RunbookPorts): Step {
  return {
    name: "redrive",
    title: "Hand the group its letters once more",
    kind: "action",
    timeoutMs: MINUTE_MS,
    undo: "ends the job; what was handed over stays",
    work: {
      async run(context) {
        const jobId = jobIdOf(context);
        const { job } = await broker.jobs.submit(redriveOf(context));
        return done(`job ${jobId} hands over ${job.total} letters`, { facts: { jobId } });
      },
      plan: ({ facts }) =>
        Promise.resolve(`would redrive ${facts.letters} to group ${facts.group}`),
      async undo(context) {
        const { principal, reason } = context;
        const jobId = jobIdOf(context);
        const job = (await broker.jobs.list()).find((one) => one.jobId === jobId);
        if (job === undefined) return "no job had been made";
        const isOver = ["completed", "failed", "cancelled"].includes(job.state);
        if (!isOver) await broker.jobs.cancel({ jobId, principal, reason });
        return `job ${jobId} ${
          isOver ? "had ended" : "is cancelled"
        }, ${job.done} letters were handed over`;
      },
    },
  };
}

/** Verified when all are handed over, none is still to be done, and few have become letters again. */
function redrivenStep(ports: RunbookPorts): Step {
  return {
    name: "redriven",
    title: "See that the letters are done with",
    kind: "verify",
    timeoutMs: 10 * MINUTE_MS,
    work: {
      async run(context) {
        const job = await ports.broker.jobs.get(jobIdOf(context));
        if (job.state === "failed" || job.state === "cancelled") {
          return { outcome: "manual", detail: `job ${job.jobId} is ${job.state}` };
        }
        const group = groupOf(context);
        const { retries } = await describeGroup(ports, group);
        const open = retries.waiting + retries.inHand;
        const letters = String(context.facts.letters);
        const came = (await lettersSince(ports, job.createdAt))
          .get(keyOf({ group, letters }))?.count ?? 0;
        const told = `${job.done} letters handed over, ${open} not done with yet, ${came} new ones`;
        if (came > job.total * MAX_CAME_SHARE) {
          return { outcome: "manual", detail: `${told}: its consumers are not mended` };
        }
        if (job.state !== "completed" || open > 0) return again(told);
        const left = await olderLetters(ports, context);
        const more = left === "0"
          ? ""
          : `; ${left} letters of before the flood are left as they were`;
        return done(`${told}${more}`, { rpo: { ms: 0, messages: job.skipped } });
      },
    },
  };
}

/** The group's letters from before the flood that were never handed over, counted without doing anything. */
async function olderLetters({ broker }: RunbookPorts, context: StepContext): Promise<string> {
  const jobId = `${jobIdOf(context)}-left`;
  const { job } = await broker.jobs.submit({
    ...redriveOf(context),
    jobId,
    fingerprint: jobId,
    dryRun: true,
    from: { kind: "earliest" },
    to: { kind: "time", timestampMs: Number(context.facts.since) },
  });
  return `${job.totalExact ? "" : "up to "}${job.total}`;
}
