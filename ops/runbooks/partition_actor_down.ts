// Owns the runbook for a partition that does not serve.
// Refuses to own opening its log again: the partition does that by itself, with growing pauses, while its disk may mend.
// Invariant: nothing is cut off or left out to get a damaged log to serve; that takes somebody.
import type { PartitionInfo, TopicPartition } from "../../actors/broker.ts";
import type { Runbook, RunbookTarget } from "../../actors/runbook/types.ts";
import { again, done, MINUTE_MS, runbook, type RunbookPorts } from "./definition.ts";

export function partitionActorDown(ports: RunbookPorts): Runbook {
  const { broker } = ports;
  return runbook(
    {
      name: "partition-actor-down",
      title: "Partition actor down",
      describes:
        "A partition, or another part of the broker, does not serve: follows its restarts, and measures " +
        "until it serves again.",
      targetKinds: ["partition", "broker"],
    },
    [
      {
        name: "look",
        title: "See what does not serve, and why",
        kind: "check",
        timeoutMs: MINUTE_MS,
        work: {
          async run({ target }) {
            const why = await reasonOf(ports, target);
            if (why === null) return { outcome: "nothing", detail: `${target.name} serves` };
            return done(why, { facts: { why } });
          },
        },
      },
      {
        name: "serves",
        title: "See that it serves again",
        kind: "verify",
        timeoutMs: 5 * MINUTE_MS,
        work: {
          async run({ target }) {
            const why = await reasonOf(ports, target);
            if (why !== null) return again(why);
            if (target.type === "broker") return done("the broker serves all of it");
            const at = partitionOf(target);
            const { logStartOffset, highWatermark } = await broker.partitionInfo(at);
            await broker.fetch(at, Math.max(logStartOffset, highWatermark - 1), { maxBytes: 1 });
            return done(`it serves offsets ${logStartOffset} to ${highWatermark}`, {
              rpo: { ms: 0, messages: 0 },
            });
          },
        },
      },
    ],
    { cooldownMs: MINUTE_MS, targets: { rtoMs: 2 * MINUTE_MS, rpoMs: 0 } },
  );
}

async function reasonOf({ broker }: RunbookPorts, target: RunbookTarget): Promise<string | null> {
  if (target.type === "broker") {
    const { problems } = broker.health();
    return problems.length === 0 ? null : problems.slice(0, 5).join("; ");
  }
  const info: PartitionInfo = await broker.partitionInfo(partitionOf(target));
  return info.state === "online" ? null : `${target.name} is offline: ${info.error ?? "opening"}`;
}

/** Of `topic/partition`. */
export function partitionOf({ name }: RunbookTarget): TopicPartition {
  const cut = name.lastIndexOf("/");
  return { topic: name.slice(0, cut), partition: Number(name.slice(cut + 1)) };
}
