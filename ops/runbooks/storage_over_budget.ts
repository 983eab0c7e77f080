// Owns the runbook for topics that take more of the disk than they may.
// Refuses to own dropping anything: retention does, as it is then set.
// Invariant: where nothing is archived first, somebody says that messages may be dropped earlier.
import type { TopicDescription } from "../../actors/broker.ts";
import type { Runbook, StepContext } from "../../actors/runbook/types.ts";
import { again, done, MINUTE_MS, runbook, type RunbookPorts, type Step } from "./definition.ts";

/** Topics that are looked at. */
const MAX_TOPICS = 2_000;

export function storageOverBudget(ports: RunbookPorts): Runbook {
  return runbook(
    {
      name: "storage-over-budget",
      title: "Storage over budget",
      describes:
        "Topics take too much of the disk: archives the largest one where there is an archive, and halves " +
        "how long it is kept.",
      targetKinds: ["broker", "topic"],
    },
    [findStep(ports), archiveStep(ports), dropStep(), shortenStep(ports), smallerStep(ports)],
    { cooldownMs: 60 * MINUTE_MS },
  );
}

function bytesOf({ partitions }: TopicDescription): number {
  return partitions.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

function findStep({ broker }: RunbookPorts): Step {
  return {
    name: "find",
    title: "Find the largest topic that retention can shorten",
    kind: "check",
    timeoutMs: MINUTE_MS,
    work: {
      async run({ target }) {
        const names = target.type === "topic" ? [target.name] : broker.topicNames()
          .filter((name) => !name.startsWith("__")).slice(0, MAX_TOPICS);
        const topics = await Promise.all(names.map((name) => broker.describeTopic(name)));
        const [largest] = topics.filter(({ config }) =>
          config.cleanupPolicy === "delete" && config.retentionHours !== 1
        ).sort((a, b) => bytesOf(b) - bytesOf(a));
        if (largest === undefined || bytesOf(largest) === 0) {
          return { outcome: "nothing", detail: "no topic can be shortened" };
        }
        const { name, config: { retentionHours, archive = false }, partitions } = largest;
        const bytes = bytesOf(largest);
        return done(`topic ${name} has ${bytes} bytes, kept for ${retentionHours} h`, {
          facts: {
            topic: name,
            bytes,
            retentionHours,
            archive,
            canArchive: partitions.every(({ archivedBytes }) => archivedBytes !== undefined),
            // Kept for ever: from now on a week.
            shorter: retentionHours === 0 ? 168 : Math.max(1, Math.floor(retentionHours / 2)),
          },
          holds: [`topic:${name}`],
        });
      },
    },
  };
}

function archiveStep({ broker }: RunbookPorts): Step {
  const set = (context: StepContext, archive: boolean) =>
    broker.updateTopic(String(context.facts.topic), { config: { archive } });
  return {
    name: "archive",
    title: "Have what retention drops go to the archive first",
    kind: "action",
    timeoutMs: MINUTE_MS,
    undo: "sets archiving as it was",
    work: {
      async run(context) {
        const { topic, canArchive } = context.facts;
        if (canArchive !== true) return done("this broker has no archive");
        await set(context, true);
        return done(`topic ${topic} goes to the archive`);
      },
      async undo(context) {
        await set(context, context.facts.archive === true);
        return "archiving is as before";
      },
    },
  };
}

/** By itself only where the archive keeps what is dropped. */
function dropStep(): Step {
  return {
    name: "agree",
    title: "Agree that messages are dropped earlier",
    kind: "approval",
    timeoutMs: 60 * MINUTE_MS,
    work: {
      run: ({ facts }) =>
        Promise.resolve(
          facts.canArchive === true
            ? done("the archive keeps what is dropped")
            : again("there is no archive: what is dropped is lost"),
        ),
    },
  };
}

function shortenStep({ broker }: RunbookPorts): Step {
  const set = (context: StepContext, retentionHours: unknown) =>
    broker.updateTopic(String(context.facts.topic), {
      config: { retentionHours: Number(retentionHours) },
    });
  return {
    name: "shorten",
    title: "Keep the topic for a shorter time",
    kind: "action",
    timeoutMs: MINUTE_MS,
    undo: "sets the retention as it was; what was dropped meanwhile stays dropped",
    work: {
      async run(context) {
        await set(context, context.facts.shorter);
        return done(`topic ${context.facts.topic} is kept for ${context.facts.shorter} h`);
      },
      plan: ({ facts }) => Promise.resolve(`would keep ${facts.topic} for ${facts.shorter} h`),
      async undo(context) {
        await set(context, context.facts.retentionHours);
        return `topic ${context.facts.topic} is kept for ${context.facts.retentionHours} h`;
      },
    },
  };
}

function smallerStep({ broker }: RunbookPorts): Step {
  return {
    name: "smaller",
    title: "See that the topic became smaller",
    kind: "verify",
    timeoutMs: 15 * MINUTE_MS,
    work: {
      async run({ facts }) {
        const bytes = bytesOf(await broker.describeTopic(String(facts.topic)));
        const told = `${bytes} bytes, ${facts.bytes} before`;
        return bytes < Number(facts.bytes) ? done(told) : again(told);
      },
    },
  };
}
