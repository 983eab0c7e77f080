// Owns the runbook for a group that makes dead letters of most that it reads.
// Refuses to own mending the consumers: somebody confirms that. Invariant: a letter is redriven to its group alone, and only
// once its consumers are mended.
import type { Runbook, StepContext } from "../../actors/runbook/types.ts";
import { letterOf } from "../../actors/job/letter.ts";
import { decodeBatch } from "../../storage/format/decode.ts";
import { batchSpans } from "../../storage/format/record_batch.ts";
import { again, done, MINUTE_MS, runbook, type RunbookPorts, type Step } from "./definition.ts";
import {
  confirmStep,
  describeGroup,
  groupOf,
  noted,
  pauseStep,
  resumeStep,
} from "./group_steps.ts";

const DEAD_LETTERS = "dlq.";
/** Newest letters of each partition that are looked at, and bytes of them. */
const MAX_LETTERS = 1_000;
const MAX_LOOK_BYTES = 1_048_576;
const MAX_DECOMPRESSED_BYTES = 16 * 1_048_576;
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
        const since = faultAt - MINUTE_MS;
        const counts = await lettersSince(ports, since);
        const [most] = [...counts.values()]
          .filter(({ group, topic }) =>
            target.type === "broker" ||
            target.name === (target.type === "group" ? group : topic)
          ).sort((a, b) => b.count - a.count);
        if (most === undefined) {
          return { outcome: "nothing", detail: "there are no new dead letters" };
        }
        const { group, letters, reason, count } = most;
        return done(`${count} letters of group ${group} in ${letters}, such as: ${reason}`, {
          facts: { ...noted(await describeGroup(ports, group)), letters, since },
          holds: [`group:${group}`],
        });
      },
    },
  };
}

interface Flood {
  readonly group: string;
  readonly topic: string;
  readonly letters: string;
  readonly reason: string;
  count: number;
}

function keyOf(group: string, letters: string): string {
  return `${group} ${letters}`;
}

/** By group and topic of dead letters, among the newest of each partition. */
async function lettersSince({ broker }: RunbookPorts, since: number): Promise<Map<string, Flood>> {
  const counts = new Map<string, Flood>();
  for (const letters of broker.topicNames().filter((name) => name.startsWith(DEAD_LETTERS))) {
    const { partitions } = await broker.describeTopic(letters);
    for (const { partition, logStartOffset, highWatermark } of partitions) {
      const from = Math.max(logStartOffset, highWatermark - MAX_LETTERS);
      if (from >= highWatermark) continue;
      const { batches } = await broker.fetch({ topic: letters, partition }, from, {
        maxBytes: MAX_LOOK_BYTES,
      });
      for (const { at } of batchSpans(batches)) {
        const limits = { maxDecompressedBytes: MAX_DECOMPRESSED_BYTES };
        for (const record of decodeBatch(batches, at, limits)) {
          if (record.timestamp < since) continue;
          const { group, origin, reason } = letterOf(record);
          if (group === null) continue;
          const key = keyOf(group, letters);
          const flood = counts.get(key) ?? {
            group,
            topic: origin?.topic ?? letters.slice(DEAD_LETTERS.length),
            letters,
            reason: reason ?? "no reason given",
            count: 0,
          };
          flood.count++;
          counts.set(key, flood);
        }
      }
    }
  }
  return counts;
}

/** The same at every try: the job is made once. */
function jobIdOf({ executionId }: StepContext): string {
  return `runbook-${executionId}`;
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
        const { letters, since } = context.facts;
        const { job } = await broker.jobs.submit({
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
        });
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
        const came = (await lettersSince(ports, job.createdAt))
          .get(keyOf(group, String(context.facts.letters)))?.count ?? 0;
        const told = `${job.done} letters handed over, ${open} not done with yet, ${came} new ones`;
        if (came > job.total * MAX_CAME_SHARE) {
          return { outcome: "manual", detail: `${told}: its consumers are not mended` };
        }
        return job.state === "completed" && open === 0
          ? done(told, { rpo: { ms: 0, messages: job.skipped } })
          : again(told);
      },
    },
  };
}
