// Owns the runbook for partitions with fewer replicas in sync than they should have.
// Refuses to own catching up (replication does it by itself) and moving replicas (away_steps.ts).
// Invariant: a broker that is there is given time, however far it is behind: only from one that is away replicas are taken.
import type { PartitionPlacement } from "../../actors/cluster/administration.ts";
import type { Runbook, RunbookTarget } from "../../actors/runbook/types.ts";
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

/** Replicas whose lag their leaders are asked for. */
const MAX_ASKED = 100;

export function underReplicated(ports: RunbookPorts): Runbook {
  return runbook(
    {
      name: "under-replicated",
      title: "Under-replicated",
      describes:
        "Partitions have fewer replicas in sync than they should: names them and the brokers that are missing, waits " +
        "until these have caught up, and moves what brokers held that do not come back.",
      targetKinds: ["broker", "topic", "none"],
    },
    [
      findStep(ports),
      catchUpStep(ports),
      replaceStep(ports),
      wholeStep(ports, (placement, { target }) => isOf(target, placement)),
    ],
    { available: ports.cluster !== undefined, parameters: [AWAY_PARAMETER], check: awayMsOf },
  );
}

/** What a broker leads or holds; a topic's; or all there is. */
function isOf({ type, name }: RunbookTarget, { topic, leader, replicas }: PartitionPlacement) {
  if (type === "topic") return topic === name;
  if (type === "none") return true;
  return leader === name || replicas.includes(name);
}

interface Missing {
  readonly behind: readonly PartitionPlacement[];
  /** By broker: partitions of which its replica is not in sync. */
  readonly brokers: ReadonlyMap<string, readonly PartitionPlacement[]>;
}

async function missing(ports: RunbookPorts, target: RunbookTarget): Promise<Missing> {
  const placements = await clusterOf(ports).administration.placements();
  const behind = placements.filter((one) => one.underReplicated && isOf(target, one));
  const brokers = new Map<string, PartitionPlacement[]>();
  for (const placement of behind) {
    for (const nodeId of placement.target ?? placement.replicas) {
      if (placement.isr.includes(nodeId)) continue;
      brokers.set(nodeId, [...brokers.get(nodeId) ?? [], placement]);
    }
  }
  return { behind, brokers };
}

function words(ports: RunbookPorts, { behind, brokers }: Missing): string {
  const { view } = clusterOf(ports);
  const each = [...brokers].map(([nodeId, of]) =>
    `broker ${nodeId} (${view.stateOf(nodeId) ?? "not known"}) in ${of.length}`
  );
  return `${behind.length} partitions: ${named(behind.map(nameOf))}; missing: ` +
    (each.length === 0 ? "brokers to hold more replicas" : named(each));
}

function findStep(ports: RunbookPorts): Step {
  return {
    name: "find",
    title: "Name the partitions, and the brokers whose replicas are missing",
    kind: "check",
    timeoutMs: MINUTE_MS,
    work: {
      async run({ target }) {
        await clusterOf(ports).view.refresh();
        const found = await missing(ports, target);
        if (found.behind.length === 0) {
          return { outcome: "nothing", detail: "every partition has its replicas in sync" };
        }
        return done(words(ports, found));
      },
    },
  };
}

/** Goes on when all have caught up, or those that have not have been away for long enough to count as gone. */
function catchUpStep(ports: RunbookPorts): Step {
  return {
    name: "catch-up",
    title: "Wait until they have caught up, or brokers have been away for too long",
    kind: "verify",
    timeoutMs: 125 * MINUTE_MS,
    work: {
      async run(context) {
        const { target, startedAt } = context;
        const found = await missing(ports, target);
        if (found.behind.length === 0) return done("all have caught up", { facts: { gone: [] } });
        const away = [...found.brokers.keys()].filter((nodeId) => isAway(ports, nodeId));
        const there = [...found.brokers.keys()].filter((nodeId) => !isAway(ports, nodeId));
        const isGone = ports.clock.now() - startedAt >= awayMsOf(context);
        if (there.length === 0 && away.length > 0 && isGone) {
          return done(`gone: ${away.join(", ")}`, { facts: { gone: away } });
        }
        return again(`${words(ports, found)}${await lagWords(ports, found, there)}`);
      },
    },
  };
}

async function lagWords(
  ports: RunbookPorts,
  { brokers }: Missing,
  there: readonly string[],
): Promise<string> {
  const { administration } = clusterOf(ports);
  const words: string[] = [];
  for (const nodeId of there) {
    const places = brokers.get(nodeId)!.slice(0, MAX_ASKED);
    const lags = await administration.lags(places);
    const lag = lags.reduce(
      (sum, of) => sum + (of?.find((one) => one.nodeId === nodeId)?.lagMessages ?? 0),
      0,
    );
    words.push(`; broker ${nodeId} is ${lag} messages behind`);
  }
  return words.join("");
}
