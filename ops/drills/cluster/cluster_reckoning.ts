// Owns the account at the end of a cluster drill: what was acknowledged against what every broker shows and has on its disk.
// Refuses to own reading (cluster_read_back.ts, replica_logs.ts) and the verdict.
// Invariant: what could not be counted is an error, never a zero.
import type { Check, MessageCounts } from "../types.ts";
import { readPartition } from "./cluster_read_back.ts";
import type { ClusterScene } from "./cluster_scene.ts";
import { transactionViolations } from "./transactional_load.ts";
import { differences, storedBatches } from "./replica_logs.ts";

const MAX_NAMED = 3;
/** Until replicas have fetched what the last message left them behind. */
const LEVEL_LIMIT_MS = 20_000;

export interface ClusterReckoning {
  readonly messages: MessageCounts;
  readonly checks: readonly Check[];
  readonly stored: number;
}

/** Stops the load, and counts. All brokers have to run. */
export async function reckonCluster(scene: ClusterScene): Promise<ClusterReckoning> {
  const { load, glances, transactions } = scene;
  await Promise.all([load.stop(), transactions.stop()]);
  await glances.stop();
  const differing = await replicasDiffer(scene);
  const wrong = new Set([...load.violations, ...glances.violations]);
  const shares: Share[] = [];
  for (const nodeId of scene.stage.nodeIds) shares.push(await readAll(scene, nodeId, wrong));
  const stored = Math.max(...shares.map((share) => share.stored));
  scene.tell("step", `${stored} messages are read through each of ${shares.length} brokers`);
  return {
    messages: {
      acknowledged: load.acknowledged,
      lost: Math.max(...shares.map(({ lost }) => lost)),
      unhandled: 0,
      duplicated: Math.max(...shares.map(({ doubled }) => doubled)),
      redelivered: 0,
    },
    stored,
    checks: [
      {
        what:
          "one offset has one content for every reader, and each producer's messages are in order",
        isMet: wrong.size === 0,
        found: wrong.size === 0
          ? `${stored} stored messages keep the rules, as did ${glances.taken} reads meanwhile`
          : `${wrong.size} breaches, such as ${[...wrong].slice(0, MAX_NAMED).join("; ")}`,
      },
      {
        what: "every broker shows the same number of messages",
        isMet: new Set(shares.map((share) => share.stored)).size === 1,
        found: shares.map(({ nodeId, stored }) => `${nodeId} ${stored}`).join(", "),
      },
      {
        what: "the replicas hold the same bytes up to the high watermark",
        isMet: differing.length === 0,
        found: differing.length === 0
          ? `${scene.partitions} partitions do`
          : differing.slice(0, MAX_NAMED).join("; "),
      },
      {
        what: "transactions were committed, and each is shown as a whole or not at all",
        isMet: transactions.count("committed") > 0 &&
          ![...wrong].some((violation) => violation.startsWith("I3")),
        found: `${transactions.count("committed")} committed, ${transactions.count("aborted")} ` +
          `aborted, of ${transactions.count("maybe")} nobody knows`,
      },
      {
        what: "no broker forgot what a producer had stored",
        isMet: load.gaps === 0,
        found: `${load.gaps} gaps in sequences`,
      },
    ],
  };
}

/** What one broker shows. */
interface Share {
  readonly nodeId: string;
  readonly stored: number;
  readonly doubled: number;
  /** Acknowledged, and not there. */
  readonly lost: number;
}

async function readAll(
  { stage, load, target, partitions, transactions }: ClusterScene,
  nodeId: string,
  wrong: Set<string>,
): Promise<Share> {
  let [stored, doubled, lost] = [0, 0, 0];
  const inTransactions = new Map<string, number>();
  for (let partition = 0; partition < partitions; partition++) {
    const seen = await readPartition(stage.urlOf(nodeId), target, partition);
    const values = new Set(seen.map(({ value }) => value));
    stored += seen.length;
    doubled += seen.length - values.size;
    lost += load.missing(partition, values);
    for (const violation of load.checker.check(partition, 0, seen)) wrong.add(violation);
    for (const { value } of seen) {
      if (!value.startsWith("t")) continue;
      inTransactions.set(value, (inTransactions.get(value) ?? 0) + 1);
    }
  }
  const torn = transactionViolations(transactions.transactions, inTransactions);
  for (const violation of torn) wrong.add(violation);
  lost += torn.filter((violation) => violation.startsWith("I1")).length;
  return { nodeId, stored, doubled, lost };
}

/** Of all partitions, once the followers have had time to follow. */
async function replicasDiffer(scene: ClusterScene): Promise<string[]> {
  let found: string[] = [];
  await scene.settled(
    async () => (found = await differencesNow(scene)).length === 0,
    "the replicas to be alike on their disks",
    LEVEL_LIMIT_MS,
  );
  return found;
}

async function differencesNow(scene: ClusterScene): Promise<string[]> {
  const { topicId, partitions } = await scene.describe();
  const found: string[] = [];
  for (const { partition, highWatermark, isr } of partitions) {
    const replicas = new Map();
    for (const nodeId of isr) {
      const directory = `${scene.stage.dataDirOf(nodeId)}/topics/${topicId}/${partition}`;
      replicas.set(nodeId, await storedBatches(directory, highWatermark));
    }
    found.push(...differences(replicas, highWatermark).map((text) => `${partition}: ${text}`));
  }
  return found;
}
