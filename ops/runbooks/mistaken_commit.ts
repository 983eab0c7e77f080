// Owns the runbook for offsets that somebody has committed or moved by mistake.
// Refuses to own commits of members: what they commit is what they did.
// Invariant: each partition goes back to what was committed right before the mistake, as the offset history tells it.
import type { LedgerEntry } from "../../actors/group/ledger/types.ts";
import type { Runbook } from "../../actors/runbook/types.ts";
import { again, done, MINUTE_MS, runbook, type RunbookPorts, type Step } from "./definition.ts";
import { describeGroup, groupOf, noted, pauseStep, resumeStep } from "./group_steps.ts";
import { countStep, type NotedOffset, previewStep, rollbackStep } from "./offset_steps.ts";
import { pastTimeCheck, timeOf } from "./time_parameter.ts";

/** Of the history that is looked through, newest first. */
const MAX_ENTRIES = 1_000;
/** Changes of several partitions that belong together. */
const TOGETHER_MS = 1_000;

export function mistakenCommit(ports: RunbookPorts): Runbook {
  return runbook(
    {
      name: "mistaken-commit",
      title: "Mistaken commit",
      describes:
        "Offsets were committed or moved by hand to a wrong place: puts them back to what was there before.",
      targetKinds: ["group"],
    },
    [
      findStep(ports),
      previewStep(ports),
      pauseStep(ports),
      countStep(ports),
      rollbackStep(ports),
      resumeStep(ports),
      standsStep(ports),
    ],
    {
      parameters: [{
        name: "at",
        describes:
          "When it happened, ms or RFC 3339: the newest change by hand up to then. Left out: the newest.",
        required: false,
      }],
      check: pastTimeCheck(ports.clock, "at"),
      targets: { rtoMs: 10 * MINUTE_MS, rpoMs: MINUTE_MS },
    },
  );
}

function findStep(ports: RunbookPorts): Step {
  return {
    name: "find",
    title: "Find the commit, and what was there before",
    kind: "check",
    timeoutMs: 60_000,
    work: {
      async run({ target: { name: group }, parameters, principal }) {
        const upTo = endOfSecond(timeOf(parameters, "at") ?? Infinity);
        const { entries } = await ports.broker.ledger.history(group, { limit: MAX_ENTRIES });
        const isByHand = (entry: LedgerEntry) =>
          entry.memberId === null && entry.principal !== null && entry.principal !== principal &&
          entry.at <= upTo && ["commit", "rewind", "rollback", "reset"].includes(entry.action);
        const mistake = entries.find(isByHand);
        if (mistake === undefined) {
          return {
            outcome: "nothing",
            detail: `nobody has moved offsets of group ${group} by hand`,
          };
        }
        const together = entries.filter((entry) =>
          isByHand(entry) && entry.principal === mistake.principal &&
          mistake.at - entry.at <= TOGETHER_MS
        );
        // Newest first: of several changes of one partition the oldest tells what was there before.
        const before = new Map(
          together.map(({ topic, partition, previous }) => [
            `${topic}/${partition}`,
            [topic, partition, previous ?? 0] as NotedOffset,
          ]),
        );
        const description = await describeGroup(ports, group);
        return done(
          `${mistake.principal} moved ${before.size} partitions at ${
            new Date(mistake.at).toISOString()
          }`,
          {
            facts: {
              ...noted(description),
              place: "what was committed before",
              mistakeAt: mistake.at,
              wanted: [...before.values()],
            },
          },
        );
      },
    },
  };
}

/** People read times in seconds, and give them so: the change that they mean was in that second. */
function endOfSecond(at: number): number {
  return at % 1_000 === 0 ? at + 999 : at;
}

/** Verified when the offsets are where they were put, or have gone on from there. */
function standsStep(ports: RunbookPorts): Step {
  return {
    name: "stands",
    title: "See that the group goes on from there",
    kind: "verify",
    timeoutMs: MINUTE_MS,
    work: {
      async run(context) {
        const { offsets } = await describeGroup(ports, groupOf(context));
        const wanted = context.facts.wanted as readonly NotedOffset[];
        const behind = wanted.filter(([topic, partition, offset]) => {
          const now = offsets.find((at) => at.topic === topic && at.partition === partition);
          return now === undefined || now.offset < offset;
        }).length;
        if (behind > 0) return again(`${behind} partitions are behind what was committed`);
        return done(`${wanted.length} partitions go on from what was committed before`);
      },
    },
  };
}
