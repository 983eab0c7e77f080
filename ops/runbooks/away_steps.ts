// Owns the steps for brokers that do not come back: waiting for them, moving what they hold to others, seeing it whole.
// Refuses to own electing leaders and catching up (the cluster does both by itself) and which brokers are meant.
// Invariant: nothing moves away from a broker that is there, or has been away for less than somebody allowed.
import type { PartitionPlacement } from "../../actors/cluster/administration.ts";
import type { Facts, StepContext } from "../../actors/runbook/types.ts";
import type { ParameterDefinition } from "../../actors/runbook/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { again, clusterOf, done, MINUTE_MS, type RunbookPorts, type Step } from "./definition.ts";
import { MAX_MOVES_AT_ONCE, type Replacement, replacement } from "./replacement.ts";

const DEFAULT_AWAY_MINUTES = 10;
const MAX_AWAY_MINUTES = 120;
/** Partitions that are named in words. */
const MAX_NAMED = 5;
/** Of copying what a broker held. */
const COPY_MS = 120 * MINUTE_MS;

export const AWAY_PARAMETER: ParameterDefinition = Object.freeze({
  name: "awayMinutes",
  describes:
    `A broker that is away for so long counts as gone, and what it holds moves to others; 0 to ${MAX_AWAY_MINUTES}. ` +
    `Left out: ${DEFAULT_AWAY_MINUTES}.`,
  required: false,
});

/** For how long a broker may be away, ms. Throws INVALID_REQUEST. */
export function awayMsOf({ parameters: { awayMinutes } }: Pick<StepContext, "parameters">): number {
  if (awayMinutes === undefined) return DEFAULT_AWAY_MINUTES * MINUTE_MS;
  const minutes = /^\d{1,3}$/.test(awayMinutes) ? Number(awayMinutes) : Infinity;
  if (minutes <= MAX_AWAY_MINUTES) return minutes * MINUTE_MS;
  const message = `awayMinutes is no count of 0 to ${MAX_AWAY_MINUTES}: ${awayMinutes}`;
  throw new BrokerError("INVALID_REQUEST", message);
}

export function named(names: readonly string[]): string {
  const more = names.length > MAX_NAMED ? ` and ${names.length - MAX_NAMED} more` : "";
  return `${names.slice(0, MAX_NAMED).join(", ")}${more}`;
}

export function nameOf({ topic, partition }: Pick<PartitionPlacement, "topic" | "partition">) {
  return `${topic}/${partition}`;
}

/** Brokers that were found gone by an earlier step. */
export function goneOf(facts: Facts): readonly string[] {
  return (facts.gone as readonly string[] | undefined) ?? [];
}

export function isAway(ports: RunbookPorts, nodeId: string): boolean {
  return !clusterOf(ports).view.online().has(nodeId);
}

/** Moves the replicas of those in facts.gone; done again it begins what is missing. */
export function replaceStep(ports: RunbookPorts): Step {
  return {
    name: "re-replicate",
    title: "Move the replicas of brokers that are gone to others",
    kind: "action",
    timeoutMs: COPY_MS,
    undo: "cancels the moves that are under way",
    work: {
      async run({ facts }) {
        const { administration } = clusterOf(ports);
        const gone = goneOf(facts).filter((nodeId) => isAway(ports, nodeId));
        if (gone.length === 0) return done("no broker is gone: nothing has to move");
        const underWay = movesFrom(ports, gone);
        if (underWay.length > 0) return again(`${underWay.length} replicas are being copied`);
        const { moves, stuck } = await replacements(ports, gone);
        if (moves.length > 0) {
          const begun = moves.slice(0, MAX_MOVES_AT_ONCE);
          await administration.reassign(begun, { dryRun: false });
          return again(`${begun.length} replicas are being copied, ${stuck.length} cannot move`);
        }
        if (stuck.length === 0) return done(`${gone.join(", ")}: holds no replica any more`);
        return { outcome: "manual", detail: stuckWords(gone, stuck) };
      },
      async plan({ facts, target }) {
        const gone = goneOf(facts).length > 0 || target.type !== "broker"
          ? goneOf(facts)
          : [target.name];
        const away = gone.filter((nodeId) => isAway(ports, nodeId));
        const { moves, stuck } = await replacements(ports, away);
        return `would move ${moves.length} replicas from ${away.join(", ") || "no broker"}; ` +
          `${stuck.length} cannot move`;
      },
      async undo({ facts }) {
        const { administration } = clusterOf(ports);
        const underWay = movesFrom(ports, goneOf(facts));
        for (const { topic, partition } of underWay) {
          await administration.cancel({ topic, partition });
        }
        return `${underWay.length} moves cancelled; what has moved stays where it is`;
      },
    },
  };
}

function stuckWords(gone: readonly string[], stuck: Replacement["stuck"]): string {
  const names = named(stuck.map(({ name }) => name));
  return `${gone.join(", ")} still counts as a replica of ${names}: ${stuck[0]!.why}. Start it ` +
    `again, or start another broker, and execute this once more`;
}

function movesFrom(ports: RunbookPorts, gone: readonly string[]) {
  return clusterOf(ports).administration.moves().filter(({ from, to }) =>
    gone.some((nodeId) => from.includes(nodeId) && !to.includes(nodeId))
  );
}

async function replacements(
  ports: RunbookPorts,
  gone: readonly string[],
): Promise<Replacement> {
  const { administration } = clusterOf(ports);
  const [placements, brokers] = await Promise.all([
    administration.placements(),
    administration.brokers(),
  ]);
  const each = gone.map((nodeId) => replacement(nodeId, placements, brokers));
  // A partition of two that are gone is stuck with both.
  return { moves: each.flatMap(({ moves }) => moves), stuck: each.flatMap(({ stuck }) => stuck) };
}

/** Until no partition of `wanted` lacks a replica in sync. */
export function wholeStep(
  ports: RunbookPorts,
  wanted: (placement: PartitionPlacement, context: StepContext) => boolean,
): Step {
  return {
    name: "see-replicas",
    title: "See that no partition has fewer replicas in sync than it should",
    kind: "verify",
    timeoutMs: 30 * MINUTE_MS,
    work: {
      async run(context) {
        const placements = await clusterOf(ports).administration.placements();
        const of = placements.filter((placement) => wanted(placement, context));
        const behind = of.filter(({ underReplicated }) => underReplicated);
        if (behind.length === 0) return done(`${of.length} partitions are whole`);
        return again(`not in sync yet: ${named(behind.map(nameOf))}`);
      },
    },
  };
}
