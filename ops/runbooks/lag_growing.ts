// Owns the runbook for a group that falls behind: measures it, and says how many consumers and partitions it needs.
// Refuses to own the arithmetic (scale.ts) and starting consumers: that is their owner's.
// Invariant: what is recommended follows from rates that were measured just then, and that the execution shows.
import type { Runbook, StepContext } from "../../actors/runbook/types.ts";
import { again, done, MINUTE_MS, runbook, type RunbookPorts, type Step } from "./definition.ts";
import { growStep, PARTITIONS_PARAMETER, wantedPartitions } from "./grow_step.ts";
import { describeGroup, noted } from "./group_steps.ts";
import { lagAt, lagOf, type Position, positionsOf } from "./positions.ts";
import { type PartitionFigures, recommend } from "./scale.ts";

/** How long rates are measured: consumers commit every few seconds. */
const MEASURE_MS = 15_000;

export function lagGrowing(ports: RunbookPorts): Runbook {
  return runbook(
    {
      name: "lag-growing",
      title: "Lag growing",
      describes:
        "A group falls behind: measures what comes in and what is consumed, says how many members and " +
        "partitions it needs, and sees whether it catches up.",
      targetKinds: ["group"],
    },
    [measureStep(ports), growStep(ports, topicOf), catchesUpStep(ports)],
    {
      onlyLooks: true,
      check: wantedPartitions,
      parameters: [
        PARTITIONS_PARAMETER,
        {
          name: "topic",
          describes: "The topic that gets them. Left out: the one with the largest lag.",
          required: false,
        },
      ],
    },
  );
}

function topicOf({ parameters, facts }: StepContext): string {
  return parameters.topic ?? String(facts.topic);
}

function measureStep(ports: RunbookPorts): Step {
  const { clock } = ports;
  return {
    name: "measure",
    title: "Measure the group, and say what it needs",
    kind: "check",
    timeoutMs: 2 * MINUTE_MS,
    work: {
      async run({ target: { name: group }, signal }) {
        if (await lagOf(ports, group) === 0) {
          return { outcome: "nothing", detail: `group ${group} is not behind` };
        }
        const since = clock.monotonic();
        const before = await positionsOf(ports, group);
        await pause(ports, MEASURE_MS, signal);
        const after = await positionsOf(ports, group);
        const seconds = (clock.monotonic() - since) / 1_000;
        const description = await describeGroup(ports, group);
        const { words, ...figures } = recommend({
          members: description.members.length,
          partitions: after.map((position) => figuresOf(position, before, seconds)),
        });
        const [furthest] = [...after].sort((a, b) => lagAt(b) - lagAt(a));
        return done(words, {
          facts: {
            ...noted(description),
            ...figures,
            advice: words,
            topic: furthest?.topic ?? null,
            measuredSeconds: Math.round(seconds),
          },
        });
      },
    },
  };
}

function figuresOf(
  position: Position,
  before: readonly Position[],
  seconds: number,
): PartitionFigures {
  const { topic, partition, memberId, committed, end } = position;
  const first = before.find((one) => one.topic === topic && one.partition === partition) ??
    position;
  return {
    memberId,
    appendedPerSecond: Math.max(0, end - first.end) / seconds,
    // Offsets that somebody has put back meanwhile are no consumption.
    consumedPerSecond: Math.max(0, committed - first.committed) / seconds,
    lag: lagAt(position),
  };
}

/** Resolves when the time is over, or nobody waits any more. */
export async function pause(
  { timers }: RunbookPorts,
  ms: number,
  signal: AbortSignal,
): Promise<void> {
  const over = Promise.withResolvers<void>();
  const cancel = timers.after(ms, over.resolve);
  signal.addEventListener("abort", () => over.resolve(), { once: true });
  await over.promise;
  cancel();
}

/** Verified when what the group is behind has halved since it was measured. */
function catchesUpStep(ports: RunbookPorts): Step {
  return {
    name: "lag-falls",
    title: "See that the group catches up",
    kind: "verify",
    timeoutMs: 10 * MINUTE_MS,
    work: {
      async run({ target, facts }) {
        const lag = await lagOf(ports, target.name);
        const told = `${lag} messages behind, ${facts.lag} when it was measured`;
        if (lag <= Number(facts.lag) / 2) return done(told, { rpo: { ms: 0, messages: 0 } });
        return again(`${told} (${facts.advice})`);
      },
    },
  };
}
