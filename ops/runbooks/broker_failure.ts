// Owns the runbook for a broker of a cluster that is gone.
// Refuses to own election and fencing (the controller and epochs do both), and moving replicas (away_steps.ts).
// Invariant: it is never carried out for a broker that is there; nothing counts as served before every partition that the
// broker held has been written to and read; lost is what readers could see before and cannot any more.
import type { PartitionInfo } from "../../actors/broker.ts";
import type { PartitionPlacement } from "../../actors/cluster/administration.ts";
import type { Runbook, StepContext } from "../../actors/runbook/types.ts";
import { asBrokerError } from "../../storage/broker_error.ts";
import {
  AWAY_PARAMETER,
  awayMsOf,
  isAway,
  named,
  nameOf,
  replaceStep,
  wholeStep,
} from "./away_steps.ts";
import {
  again,
  clusterOf,
  done,
  MINUTE_MS,
  runbook,
  type RunbookPorts,
  type Step,
} from "./definition.ts";
import { probe } from "./partition_actor_down.ts";

/** Partitions whose high watermarks are noted and which are written to; of more, the rest is looked at only. */
const MAX_PROBED = 500;
const PROBES_AT_ONCE = 16;
/** Of the controller's decisions: beyond it nobody can lead what is left. */
const ELECTION_MS = MINUTE_MS;

/** A broker of the cluster is gone. On a broker that is alone it is only declared. */
export function brokerFailure(ports: RunbookPorts): Runbook {
  return runbook(
    {
      name: "broker-failure",
      title: "Broker failure",
      describes:
        "A broker is gone: sees that others lead what it led and that it is written to, counts what was lost, and " +
        "moves what it held to others when it does not come back.",
      targetKinds: ["broker"],
    },
    [
      confirmStep(ports),
      electedStep(ports),
      writesStep(ports),
      returnsStep(ports),
      replaceStep(ports),
      wholeStep(ports, ({ replicas }, { target }) => replicas.includes(target.name)),
    ],
    {
      available: ports.cluster !== undefined,
      parameters: [AWAY_PARAMETER],
      check: awayMsOf,
      targets: { rtoMs: 2 * MINUTE_MS, rpoMs: 0 },
    },
  );
}

async function heldBy(ports: RunbookPorts, nodeId: string): Promise<PartitionPlacement[]> {
  const placements = await clusterOf(ports).administration.placements();
  return placements.filter(({ replicas }) => replicas.includes(nodeId));
}

function confirmStep(ports: RunbookPorts): Step {
  return {
    name: "confirm-loss",
    title: "See that the broker is really away, and that it is not this one that is cut off",
    kind: "check",
    timeoutMs: MINUTE_MS,
    work: {
      async run({ target: { name } }) {
        const { view } = clusterOf(ports);
        // Of a broker that cannot read what is decided nothing is known of others either.
        await view.refresh();
        if (!isAway(ports, name)) {
          return { outcome: "nothing", detail: `broker ${name} is ${view.stateOf(name)}` };
        }
        const held = await heldBy(ports, name);
        const before = await watermarks(ports, held.slice(0, MAX_PROBED));
        const led = held.filter(({ leader }) => leader === name).length;
        const detail = `broker ${name} has no lease any more; it held ${held.length} partitions, ` +
          `${led} of which have no other leader yet`;
        return done(detail, { facts: { before } });
      },
    },
  };
}

/** By `topicId/partition`: the most that a replica is known to have shown to readers. */
async function watermarks(
  ports: RunbookPorts,
  placements: readonly PartitionPlacement[],
): Promise<Record<string, number>> {
  const { watermarkHere } = clusterOf(ports);
  const found: Record<string, number> = {};
  await inTurns(placements, async (placement) => {
    const led = await infoOf(ports, placement);
    const known = Math.max(watermarkHere(placement) ?? -1, led?.highWatermark ?? -1);
    if (known >= 0) found[keyOf(placement)] = known;
  });
  return found;
}

function keyOf({ topicId, partition }: PartitionPlacement): string {
  return `${topicId}/${partition}`;
}

/** As its leader tells; null where none does just now. */
async function infoOf(
  ports: RunbookPorts,
  { topic, partition, leader }: PartitionPlacement,
): Promise<PartitionInfo | null> {
  if (leader === null || isAway(ports, leader)) return null;
  try {
    return await ports.broker.partitionInfo({ topic, partition });
  } catch (error) {
    if (asBrokerError(error).retryable) return null;
    throw error;
  }
}

function electedStep(ports: RunbookPorts): Step {
  return {
    name: "elect",
    title:
      "See that the controller has elected leaders for all that it led, and count what was lost",
    kind: "verify",
    timeoutMs: ELECTION_MS,
    work: {
      async run({ target: { name }, facts }) {
        const held = await heldBy(ports, name);
        const offline = held.filter(({ state }) => state === "offline");
        if (offline.length > 0) return again(withoutLeader(ports, name, offline));
        const before = (facts.before ?? {}) as Watermarks;
        // Before anything is written to see whether that can be done: it would make up for what is missing.
        const { behind, lost } = await compared(ports, held.slice(0, MAX_PROBED), before);
        if (behind.length > 0) return again(`not readable yet as before: ${named(behind)}`);
        const detail = `all ${held.length} partitions have a leader; ` +
          `${lost} messages that could be read before are gone`;
        return done(detail, { rpo: { ms: 0, messages: lost } });
      },
    },
  };
}

function withoutLeader(
  ports: RunbookPorts,
  nodeId: string,
  offline: readonly PartitionPlacement[],
): string {
  const alone = offline.filter(({ isr }) => isr.every((id) => isAway(ports, id)));
  const why = alone.length === 0
    ? ""
    : `; nobody else has all of ${named(alone.map(nameOf))}: start ${nodeId} again`;
  return `no leader: ${named(offline.map(nameOf))}${why}`;
}

type Watermarks = Readonly<Record<string, number>>;

/**
 * What could be read before, against what leaders have now: lost is what lies beyond the end of their logs, behind are
 * partitions that have it and do not show it yet, or whose leader does not tell.
 */
async function compared(
  ports: RunbookPorts,
  placements: readonly PartitionPlacement[],
  before: Watermarks,
): Promise<{ readonly behind: readonly string[]; readonly lost: number }> {
  const behind: string[] = [];
  let lost = 0;
  await inTurns(placements, async (placement) => {
    const shown = before[keyOf(placement)];
    if (shown === undefined) return;
    const info = await infoOf(ports, placement);
    if (info === null || info.highWatermark < Math.min(shown, info.logEndOffset)) {
      behind.push(nameOf(placement));
    } else lost += lostOf(shown, info.logEndOffset);
  });
  return { behind, lost };
}

/** Messages below `shown` that a log which ends at `logEndOffset` does not have. */
export function lostOf(shown: number, logEndOffset: number): number {
  return Math.max(0, shown - logEndOffset);
}

function writesStep(ports: RunbookPorts): Step {
  return {
    name: "see-writes",
    title: "See that every partition that it held is written to and read",
    kind: "verify",
    timeoutMs: 2 * MINUTE_MS,
    work: {
      async run({ target: { name } }) {
        const held = await heldBy(ports, name);
        const probed = held.slice(0, MAX_PROBED);
        const failed: string[] = [];
        await inTurns(probed, async ({ topic, partition }) => {
          try {
            await probe(ports.broker, { topic, partition });
          } catch (error) {
            failed.push(`${topic}/${partition}: ${asBrokerError(error).message}`);
          }
        });
        if (failed.length > 0) return again(named(failed));
        return done(`${probed.length} of ${held.length} partitions have written and read`, {
          served: true,
        });
      },
    },
  };
}

/** Goes on when the broker is back, or has been away for long enough to count as gone. */
function returnsStep(ports: RunbookPorts): Step {
  return {
    name: "returns",
    title: "Wait until it comes back, or has been away for too long",
    kind: "verify",
    timeoutMs: 125 * MINUTE_MS,
    work: {
      run: (context: StepContext) => {
        const { target: { name }, startedAt } = context;
        if (!isAway(ports, name)) {
          return Promise.resolve(done(`broker ${name} is back`, { facts: { gone: [] } }));
        }
        const awayMs = ports.clock.now() - startedAt;
        const boundMs = awayMsOf(context);
        const away = `broker ${name} is away since ${Math.floor(awayMs / MINUTE_MS)} min or longer`;
        if (awayMs >= boundMs) return Promise.resolve(done(away, { facts: { gone: [name] } }));
        return Promise.resolve(again(`${away}; counts as gone after ${boundMs / MINUTE_MS} min`));
      },
    },
  };
}

async function inTurns<T>(all: readonly T[], run: (one: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < all.length; at += PROBES_AT_ONCE) {
    await Promise.all(all.slice(at, at + PROBES_AT_ONCE).map(run));
  }
}
