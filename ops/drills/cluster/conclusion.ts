// Owns how cluster drills end: when all is whole again, the account, and the figures that all of them tell.
// Refuses to own faults. Invariant: interruptions are measured by acknowledgements alone, whatever brokers say of themselves.
import { quantile } from "../reckoning.ts";
import type { Check, Findings } from "../types.ts";
import { reckonCluster } from "./cluster_reckoning.ts";
import type { ClusterScene } from "./cluster_scene.ts";

const AFTERWARDS_MS = 1_000;
const WHOLE_LIMIT_MS = 60_000;
/** Of one broker, whatever was broken (rule I5): several times what it takes in peace. */
const MAX_PEAK_MIB = 1_024;

export interface Ending {
  /** When the fault began, monotonic ms. */
  readonly sinceMs: number;
  /** What recovery took; null: it did not come. */
  readonly rtoMs: number | null;
  readonly checks?: readonly Check[];
  readonly measured?: Readonly<Record<string, number>>;
}

/** Waits until the cluster is whole again, goes on a little, and counts. Faults have to be healed before. */
export async function conclude(scene: ClusterScene, ending: Ending): Promise<Findings> {
  const { sinceMs, rtoMs, checks = [], measured = {} } = ending;
  const { load } = scene;
  const healedMs = performance.now();
  const wholeMs = await scene.whole(healedMs, WHOLE_LIMIT_MS);
  await scene.resumed({ sinceMs: healedMs, afterMs: healedMs, of: "healing" });
  await scene.pause(AFTERWARDS_MS);
  const endMs = performance.now();
  const rate = Math.round(load.rate);
  const { stage } = scene;
  const peakMiB = Math.max(...await Promise.all(stage.nodeIds.map((id) => stage.peakMiB(id))));
  const account = await reckonCluster(scene);
  return {
    messages: account.messages,
    rtoMs,
    rpo: { ms: 0, messages: account.messages.lost },
    checks: [...account.checks, {
      what: "all brokers are online and all replicas in sync in the end",
      isMet: wholeMs !== null,
      found: wholeMs === null ? `not within ${WHOLE_LIMIT_MS} ms` : `${wholeMs} ms after healing`,
    }, {
      what: `no broker took more than ${MAX_PEAK_MIB} MiB of memory`,
      isMet: peakMiB <= MAX_PEAK_MIB,
      found: `${peakMiB} MiB at most`,
    }, ...checks],
    measured: {
      ...measured,
      longestSilenceMs: load.silences.longest(sinceMs, endMs),
      longestSilenceOfTransactionsMs: scene.transactions.silences.longest(sinceMs, endMs),
      publishP50Ms: quantile(load.silences.latencies(sinceMs, endMs), 0.5),
      publishP99Ms: quantile(load.silences.latencies(sinceMs, endMs), 0.99),
      acknowledgedPerSecondBefore: scene.rateBefore,
      acknowledgedPerSecond: rate,
      stored: account.stored,
      repeats: load.repeats,
      ...refusalsOf(scene),
    },
  };
}

/** Whether somebody else leads what `nodeId` led. */
export async function leadershipMoved(
  scene: ClusterScene,
  nodeId: string,
): Promise<Check> {
  const { partitions } = await scene.describe(scene.others(nodeId));
  const left = partitions.filter(({ leader }) => leader === nodeId || leader === null);
  return {
    what: `others lead what ${nodeId} led while it was out of reach`,
    isMet: left.length === 0,
    found: `${left.length} of ${partitions.length} partitions were left without`,
  };
}

/** Answers that were none, by code. */
function refusalsOf({ load, transactions }: ClusterScene): Record<string, number> {
  const published = Object.entries(load.refusals()).map((
    [code, count],
  ) => [`publish ${code}`, count]);
  const inTransactions = [...transactions.refusals].map(([what, count]) => [
    `transaction ${what}`,
    count,
  ]);
  return Object.fromEntries([...published, ...inTransactions]);
}
