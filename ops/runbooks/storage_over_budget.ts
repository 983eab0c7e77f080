// Owns the runbook for topics that take more of the disk than they may.
// Refuses to own dropping anything: retention does, as it is then set.
// Invariant: where nothing is archived first, somebody says that messages may be dropped earlier.
import type { TopicConfig, TopicDescription } from "../../actors/broker.ts";
import type { Runbook, StepContext } from "../../actors/runbook/types.ts";
import { isInternalName } from "../../api/fields.ts";
import { readHeader } from "../../storage/format/record_batch.ts";
import { again, done, MINUTE_MS, runbook, type RunbookPorts, type Step } from "./definition.ts";

/** Topics that are looked at. */
const MAX_TOPICS = 2_000;
/** Partitions whose oldest message is looked at. */
const MAX_LOOKED_AT = 100;
const HOUR_MS = 3_600_000;

export function storageOverBudget(ports: RunbookPorts): Runbook {
  return runbook(
    {
      name: "storage-over-budget",
      title: "Storage over budget",
      describes:
        "Topics take too much of the disk: archives the largest one where there is an archive, and halves " +
        "how long, or where all is young how much of it, is kept.",
      targetKinds: ["broker", "topic"],
    },
    [findStep(ports), archiveStep(ports), dropStep(), shortenStep(ports), smallerStep(ports)],
    { cooldownMs: 60 * MINUTE_MS },
  );
}

function bytesOf({ partitions }: TopicDescription): number {
  return partitions.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

function findStep(ports: RunbookPorts): Step {
  const { broker } = ports;
  return {
    name: "find",
    title: "Find the largest topic that retention can shorten",
    kind: "check",
    timeoutMs: MINUTE_MS,
    work: {
      async run({ target }) {
        const names = target.type === "topic" ? [target.name] : broker.topicNames()
          .slice(0, MAX_TOPICS);
        const own = names.filter((name) => !isInternalName(name));
        const topics = await Promise.all(own.map((name) => broker.describeTopic(name)));
        const [largest] = topics.filter(({ config }) => config.cleanupPolicy === "delete")
          .sort((a, b) => bytesOf(b) - bytesOf(a));
        if (largest === undefined || bytesOf(largest) === 0) {
          return { outcome: "nothing", detail: "no topic can be shortened" };
        }
        const { name, config: { retentionHours, retentionBytes, archive = false } } = largest;
        const bytes = bytesOf(largest);
        return done(`topic ${name} has ${bytes} bytes, kept for ${retentionHours} h`, {
          facts: {
            topic: name,
            bytes,
            archive,
            canArchive: largest.partitions.every((one) => one.archivedBytes !== undefined),
            before: { retentionHours, retentionBytes } satisfies Retention,
            wanted: await shorter(ports, largest),
          },
          holds: [`topic:${name}`],
        });
      },
    },
  };
}

type Retention = Pick<TopicConfig, "retentionHours" | "retentionBytes">;

/** Half the hours where messages are old enough for that to drop any; else half the bytes of the largest partition. */
async function shorter(ports: RunbookPorts, topic: TopicDescription): Promise<Retention> {
  const { retentionHours, retentionBytes } = topic.config;
  // Kept for ever: from now on a week.
  const hours = retentionHours === 0 ? 168 : Math.max(1, Math.floor(retentionHours / 2));
  const ageHours = (ports.clock.now() - await oldestAt(ports, topic)) / HOUR_MS;
  if (hours !== retentionHours && ageHours > hours) {
    return { retentionHours: hours, retentionBytes };
  }
  const largest = Math.max(...topic.partitions.map(({ sizeBytes }) => sizeBytes));
  return { retentionHours, retentionBytes: Math.floor(largest / 2) };
}

/** Time of the oldest message that is still there; Infinity where that cannot be told. */
async function oldestAt({ broker }: RunbookPorts, topic: TopicDescription): Promise<number> {
  const times = topic.partitions.slice(0, MAX_LOOKED_AT).map(async (one) => {
    const { partition, logStartOffset, highWatermark, state } = one;
    if (state === "offline" || logStartOffset >= highWatermark) return Infinity;
    const at = { topic: topic.name, partition };
    const { batches } = await broker.fetch(at, logStartOffset, { maxBytes: 1 });
    return batches.length === 0 ? Infinity : readHeader(batches, 0).maxTimestamp;
  });
  return Math.min(...await Promise.all(times));
}

function retentionWords({ retentionHours, retentionBytes }: Retention): string {
  const hours = retentionHours === 0 ? "for ever" : `for ${retentionHours} h`;
  return retentionBytes === null ? hours : `${hours}, ${retentionBytes} bytes a partition at most`;
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
  const set = async ({ facts: { topic } }: StepContext, retention: unknown): Promise<string> => {
    const config = retention as Retention;
    await broker.updateTopic(String(topic), { config });
    return `topic ${topic} is kept ${retentionWords(config)}`;
  };
  return {
    name: "shorten",
    title: "Keep the topic for a shorter time, or less of it",
    kind: "action",
    timeoutMs: MINUTE_MS,
    undo: "sets the retention as it was; what was dropped meanwhile stays dropped",
    work: {
      run: async (context) => done(await set(context, context.facts.wanted)),
      plan: ({ facts }) =>
        Promise.resolve(
          `would keep topic ${facts.topic} ${retentionWords(facts.wanted as Retention)}`,
        ),
      undo: (context) => set(context, context.facts.before),
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
