// Owns the runbook for a partition, or another part of the broker, that does not serve.
// Refuses to own opening a log and restarting an actor (the broker's).
// Invariant: nothing is cut off or left out to get a damaged log to serve; that takes somebody. It is verified only once
// something was written and read back.
import type { Broker, PartitionInfo, Revival, TopicPartition } from "../../actors/broker.ts";
import type { RecoveryPoint, Runbook, RunbookTarget } from "../../actors/runbook/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { again, done, MINUTE_MS, runbook, type RunbookPorts, type Step } from "./definition.ts";

/** Problems that are told. */
const MAX_TOLD = 5;

export function partitionActorDown(ports: RunbookPorts): Runbook {
  return runbook(
    {
      name: "partition-actor-down",
      title: "Partition actor down",
      describes:
        "A partition, or another part of the broker, does not serve: starts it again at once, and sees that it " +
        "writes and reads. A corrupt log is left as it is, for somebody to restore.",
      targetKinds: ["partition", "broker"],
    },
    [lookStep(ports), restartStep(ports), servesStep(ports)],
    { cooldownMs: MINUTE_MS, targets: { rtoMs: 2 * MINUTE_MS, rpoMs: 0 } },
  );
}

function lookStep({ broker }: RunbookPorts): Step {
  return {
    name: "look",
    title: "See what does not serve, and why",
    kind: "check",
    timeoutMs: MINUTE_MS,
    work: {
      async run({ target }) {
        const why = await reasonOf(broker, target);
        if (why === null) return { outcome: "nothing", detail: `${target.name} serves` };
        if (target.type === "broker") return done(why, { facts: { why } });
        const { leaderEpoch, highWatermark } = await broker.partitionInfo(partitionOf(target));
        // What it had shown before is not known of a log that was never open since the start.
        const shownBefore = leaderEpoch < 0 ? null : highWatermark;
        return done(why, { facts: { why, shownBefore } });
      },
    },
  };
}

/** Started again each second until it serves; done twice it comes to the same. */
function restartStep({ broker }: RunbookPorts): Step {
  return {
    name: "restart",
    title: "Start again what does not serve",
    kind: "action",
    timeoutMs: 2 * MINUTE_MS,
    work: {
      async run({ target }) {
        const at = target.type === "partition" ? partitionOf(target) : null;
        const revived = await broker.revive(at);
        const failed = revived.filter(({ error }) => error !== null);
        const lasting = failed.filter(({ error }) => !error!.retryable);
        if (lasting.length > 0) return { outcome: "manual", detail: lastingWords(lasting) };
        if (failed.length > 0) return again(failed.slice(0, MAX_TOLD).map(words).join("; "));
        const back = revived.slice(0, MAX_TOLD).map(({ what }) => what).join(", ");
        return done(back === "" ? "nothing had to be started any more" : `${back}: back`);
      },
      plan: ({ target }) => Promise.resolve(`would start ${target.type} ${target.name} again`),
    },
  };
}

function words({ what, error }: Revival): string {
  return `${what}: ${error!.message}`;
}

function lastingWords(lasting: readonly Revival[]): string {
  const told = lasting.slice(0, MAX_TOLD).map(words).join("; ");
  const isCorrupt = lasting.some(({ error }) => error!.code === "CORRUPT_LOG");
  if (!isCorrupt) return told;
  return `${told}. Starting again finds the same bytes: restore the log's directory from a copy while the ` +
    `broker is stopped, or make the topic anew and replay what is known elsewhere. What lies before ` +
    `the damage can still be read where the log is open.`;
}

function servesStep({ broker }: RunbookPorts): Step {
  return {
    name: "serves",
    title: "See that it writes and reads again",
    kind: "verify",
    timeoutMs: 2 * MINUTE_MS,
    work: {
      async run({ target, facts }) {
        const why = await reasonOf(broker, target);
        if (why !== null) return again(why);
        if (target.type === "broker") return done("the broker serves all of it");
        const at = partitionOf(target);
        const probed = await probe(broker, at);
        const { highWatermark } = await broker.partitionInfo(at);
        const rpo = recoveryPoint(facts.shownBefore, highWatermark);
        return done(probed, rpo === null ? {} : { rpo });
      },
    },
  };
}

/**
 * Writes the end of a transaction that nobody has begun, which no reader is shown, and reads it back from the disk. The
 * broker's own topics are only read: their actors write them, and are looked at as problems.
 */
export async function probe(broker: Broker, at: TopicPartition): Promise<string> {
  const name = `${at.topic}/${at.partition}`;
  if (at.topic.startsWith("__")) {
    const { logStartOffset, highWatermark } = await broker.partitionInfo(at);
    await broker.fetch(at, Math.max(logStartOffset, highWatermark - 1), { maxBytes: 1 });
    return `${name} is read up to offset ${highWatermark}`;
  }
  const producer = await broker.producers.allocate();
  const marker = { ...producer, coordinatorEpoch: 0, commit: false };
  const { offset } = await broker.writeMarker(at, marker);
  if (offset === null) throw new Error(`a producer id of ${name} was given out twice`);
  const { batches } = await broker.fetch(at, offset, { maxBytes: 1, uncached: true });
  if (batches.length === 0) {
    throw new BrokerError("LEADER_NOT_AVAILABLE", `${name} does not show offset ${offset} yet`);
  }
  return `${name} has written and read offset ${offset}`;
}

/** What was shown to readers and is no longer there. */
function recoveryPoint(shownBefore: unknown, highWatermark: number): RecoveryPoint | null {
  if (typeof shownBefore !== "number") return null;
  return { ms: 0, messages: Math.max(0, shownBefore - highWatermark) };
}

async function reasonOf(broker: Broker, target: RunbookTarget): Promise<string | null> {
  if (target.type === "broker") {
    const { problems } = broker.health();
    return problems.length === 0 ? null : problems.slice(0, MAX_TOLD).join("; ");
  }
  const info: PartitionInfo = await broker.partitionInfo(partitionOf(target));
  return info.state === "online" ? null : `${target.name} is offline: ${info.error ?? "opening"}`;
}

/** Of `topic/partition`. */
export function partitionOf({ name }: RunbookTarget): TopicPartition {
  const cut = name.lastIndexOf("/");
  return { topic: name.slice(0, cut), partition: Number(name.slice(cut + 1)) };
}
