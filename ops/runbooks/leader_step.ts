// Owns moving the leadership of a hot partition to the broker among its replicas that leads the fewest.
// Refuses to own when a partition is hot (the threshold), and who leads meanwhile (the controller).
// Invariant: only a replica in sync is chosen, and only one whose broker leads at least two fewer: done again at once it
// moves nothing, so that leadership never goes to and fro.
import type { BrokerLoad, PartitionPlacement } from "../../actors/cluster/administration.ts";
import type { StepContext } from "../../actors/runbook/types.ts";
import { again, clusterOf, done, MINUTE_MS, type RunbookPorts, type Step } from "./definition.ts";
import { partitionOf } from "./partition_actor_down.ts";

const MIN_FEWER = 2;

export interface Handover {
  readonly moveTo: string;
  readonly replicasBefore: readonly string[];
}

/** Who is to lead instead; null: it would not help, or replicas are being moved. */
export function handover(
  { leader, replicas, isr, target }: Pick<
    PartitionPlacement,
    "leader" | "replicas" | "isr" | "target"
  >,
  brokers: readonly Pick<BrokerLoad, "nodeId" | "state" | "leaders">[],
): Handover | null {
  const own = brokers.find(({ nodeId }) => nodeId === leader);
  if (own === undefined || target !== null || isr.length < replicas.length) return null;
  const [best] = brokers
    .filter(({ nodeId, state }) => nodeId !== leader && state === "online" && isr.includes(nodeId))
    .sort((a, b) => a.leaders - b.leaders || (a.nodeId < b.nodeId ? -1 : 1));
  if (best === undefined || own.leaders - best.leaders < MIN_FEWER) return null;
  return { moveTo: best.nodeId, replicasBefore: replicas };
}

/** Of a hot partition, for the facts of its execution; null on a broker that is alone. */
export async function proposedHandover(
  { cluster }: RunbookPorts,
  { target }: Pick<StepContext, "target">,
): Promise<Handover | null> {
  if (cluster === undefined) return null;
  const placement = await placementOf(cluster, target);
  return placement === null ? null : handover(placement, await cluster.administration.brokers());
}

/** Does what `proposedHandover` has found. */
export function leaderStep(ports: RunbookPorts): Step {
  return {
    name: "move-leader",
    title: "Let the replica lead whose broker leads the fewest partitions",
    kind: "action",
    timeoutMs: 5 * MINUTE_MS,
    undo: "lets the replica lead that led before",
    work: {
      async run({ target, facts }) {
        const { moveTo, replicasBefore } = facts as Partial<Handover>;
        if (moveTo === undefined) return done("no other broker would lead it with less to lead");
        await prefer(ports, target, [moveTo, ...replicasBefore!.filter((id) => id !== moveTo)]);
        const leader = (await placementOf(clusterOf(ports), target))?.leader;
        return leader === moveTo
          ? done(`broker ${moveTo} leads ${target.name}`)
          : again(`broker ${leader ?? "none"} leads ${target.name} yet`);
      },
      plan: ({ target, facts }) =>
        Promise.resolve(
          facts.moveTo === undefined
            ? "would move no leadership: no other broker would lead it with less to lead"
            : `would let broker ${facts.moveTo} lead ${target.name}`,
        ),
      async undo({ target, facts }) {
        const { replicasBefore } = facts as Partial<Handover>;
        if (replicasBefore === undefined) return "no leadership was moved";
        await prefer(ports, target, replicasBefore);
        return `broker ${replicasBefore[0]} is preferred again`;
      },
    },
  };
}

async function placementOf(
  { administration }: NonNullable<RunbookPorts["cluster"]>,
  target: StepContext["target"],
): Promise<PartitionPlacement | null> {
  const { topic, partition } = partitionOf(target);
  const all = await administration.placements();
  return all.find((one) => one.topic === topic && one.partition === partition) ?? null;
}

async function prefer(
  ports: RunbookPorts,
  target: StepContext["target"],
  replicas: readonly string[],
): Promise<void> {
  const move = { ...partitionOf(target), replicas };
  await clusterOf(ports).administration.reassign([move], { dryRun: false });
}
