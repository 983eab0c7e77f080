// Owns how a partition gets other replicas: what they are to be, starting, finishing and cancelling a move.
// Refuses to own what a person asks for (decide_reassign.ts) and who leads meanwhile (decide_election.ts).
// Invariant: pure; a replica is taken away only when all that are to stay are in sync, and the leader is one of them.
import type { TopicFacts } from "./min_insync.ts";
import { isInternal, wantedReplicas } from "./min_insync.ts";
import { type Picking, pickReplicas } from "./decide_assignment.ts";
import type { BrokerFacts } from "./cluster_state.ts";
import type { PartitionRecord } from "./types.ts";

/** The record on its way to `target`; finished at once where all of them are in sync. */
export function movingTo(
  record: PartitionRecord,
  target: readonly string[],
  brokers: ReadonlyMap<string, BrokerFacts>,
): PartitionRecord {
  const added = target.filter((id) => !record.replicas.includes(id));
  const moving = {
    ...record,
    replicas: [...record.replicas, ...added],
    target: [...target],
    origin: record.origin ?? record.replicas,
  };
  return finishedMove(moving, brokers);
}

/** The record with `target` as its replicas, when all of them are there and in sync; else itself. */
export function finishedMove(
  record: PartitionRecord,
  brokers: ReadonlyMap<string, BrokerFacts>,
): PartitionRecord {
  const { target, origin: _, lost, ...rest } = record;
  if (target === undefined || target.length === 0 || lost !== undefined) return record;
  const isWhole = target.every((id) =>
    record.isr.includes(id) && (brokers.get(id)?.isOnline ?? false)
  );
  if (!isWhole) return record;
  const stays = record.leader !== null && target.includes(record.leader);
  const next = target.find((id) => {
    const broker = brokers.get(id)!;
    return !broker.isDraining && !broker.isLeaving;
  });
  return {
    ...rest,
    replicas: target,
    isr: [...target],
    elr: [],
    leader: stays ? record.leader : next ?? target[0]!,
    leaderEpoch: record.leaderEpoch + (stays ? 0 : 1),
  };
}

/** The record as it was before the move, or moving back when those of before have fallen behind. */
export function cancelledMove(record: PartitionRecord): PartitionRecord {
  const { target, origin, ...rest } = record;
  if (target === undefined || origin === undefined) return record;
  const isr = record.isr.filter((id) => origin.includes(id));
  const isLed = record.leader === null || isr.includes(record.leader);
  if (isr.length === 0 || !isLed) return { ...record, target: origin };
  const elr = record.elr.filter((id) => origin.includes(id));
  return { ...rest, replicas: origin, isr, elr };
}

/** What the replicas of a partition are to be, with so many members that may hold some; null: what they are. */
export function wantedTarget(
  record: PartitionRecord,
  topic: TopicFacts,
  picking: Picking & { readonly members: number },
): readonly string[] | null {
  const { brokers } = picking;
  const base = record.target ?? record.replicas;
  const isWanted = (id: string) => brokers.get(id)?.isDraining === false;
  const wanted = wantedReplicas(topic, picking.members);
  if (base.length === wanted && base.every(isWanted)) return null;
  const staying = base.filter(isWanted);
  const picked = pickReplicas(staying, wanted - staying.length, picking);
  // Each takes the place of one that goes, so that the order of preference stays; without enough of them some wait.
  const replaced = base.map((id) => isWanted(id) ? id : picked.shift() ?? id);
  const grown = [...replaced, ...picked];
  const target = isInternal(topic)
    ? withoutSome(grown, grown.length - wanted, (id) => !isWanted(id))
    : shrunk(record, grown, { wanted, picking });
  const isSame = target.length === base.length && target.every((id, at) => id === base[at]);
  return isSame ? null : target;
}

/** Internal topics keep what they have, but for what is to go anyway. */
function withoutSome(
  replicas: readonly string[],
  count: number,
  mayGo: (id: string) => boolean,
): readonly string[] {
  const going = replicas.filter(mayGo).slice(0, Math.max(0, count));
  return replicas.filter((id) => !going.includes(id));
}

/** Takes away first those that are draining or not there, then those that are behind, then the last. */
function shrunk(
  record: PartitionRecord,
  replicas: readonly string[],
  { wanted, picking }: { wanted: number; picking: Picking },
): readonly string[] {
  if (replicas.length <= wanted) return replicas;
  const worth = (id: string) => {
    const broker = picking.brokers.get(id);
    if (broker === undefined || broker.isDraining) return 0;
    if (!broker.isOnline) return 1;
    return record.isr.includes(id) ? 3 : 2;
  };
  const kept = replicas
    .map((id, at) => ({ id, at }))
    .sort((a, b) => worth(b.id) - worth(a.id) || a.at - b.at)
    .slice(0, wanted)
    .map(({ id }) => id);
  return replicas.filter((id) => kept.includes(id));
}
