// Owns what moves of replicas a person's wish means: those that are named, or those that balance the cluster.
// Refuses to own carrying them out (reassign.ts, decide_moves.ts).
// Invariant: pure. A plan is allowed as a whole or refused; balancing never puts replicas into fewer zones than before.
import { BrokerError } from "../../storage/broker_error.ts";
import { type BrokerFacts, type ClusterState, mayHold } from "./cluster_state.ts";
import { BrokerLoads, zoneOf } from "./decide_assignment.ts";
import { type TopicFacts, wantedReplicas } from "./min_insync.ts";
import type { PartitionRecord } from "./types.ts";

/** Moves of one plan; balancing goes on with the next plan. */
export const MAX_PLANNED_MOVES = 1_000;

export interface AskedMove {
  readonly topic: string;
  readonly partition: number;
  /** The preferred leader first. */
  readonly replicas: readonly string[];
}

export interface PlannedMove {
  readonly topicId: string;
  readonly topic: string;
  readonly partition: number;
  readonly from: readonly string[];
  readonly to: readonly string[];
}

/**
 * The moves, without those that change nothing. Errors: INVALID_REQUEST for a broker that is not there, is draining or
 * comes twice, a partition that comes twice, too many moves; INVALID_REPLICATION_FACTOR for another number of replicas than
 * the topic's; UNKNOWN_TOPIC, UNKNOWN_PARTITION.
 */
export function planReassign(
  state: ClusterState,
  asked: readonly AskedMove[] | "rebalance",
): PlannedMove[] {
  return asked === "rebalance" ? planBalance(state) : planAsked(state, asked);
}

function planAsked(state: ClusterState, asked: readonly AskedMove[]): PlannedMove[] {
  if (asked.length > MAX_PLANNED_MOVES) {
    throw refused(`at most ${MAX_PLANNED_MOVES} moves at once, not ${asked.length}`);
  }
  const topics = new Map([...state.topics.values()].map((topic) => [topic.name, topic]));
  const records = new Map(
    state.partitions.map(({ record }) => [`${record.topicId}/${record.partition}`, record]),
  );
  const seen = new Set<string>();
  return asked.flatMap(({ topic: name, partition, replicas }) => {
    const topic = topics.get(name);
    if (topic === undefined) {
      throw new BrokerError("UNKNOWN_TOPIC", `no topic ${name}`, { topic: name });
    }
    const { topicId } = topic;
    const record = records.get(`${topicId}/${partition}`);
    if (record === undefined) {
      throw new BrokerError("UNKNOWN_PARTITION", `no partition ${partition} of ${name}`, {
        topic: name,
        partition,
      });
    }
    if (seen.has(`${topicId}/${partition}`)) {
      throw refused(`partition ${partition} of ${name} is named twice`);
    }
    seen.add(`${topicId}/${partition}`);
    checkReplicas(state, topic, replicas);
    const from = record.target ?? record.replicas;
    return isSame(from, replicas)
      ? []
      : [{ topicId, topic: name, partition, from, to: [...replicas] }];
  });
}

function checkReplicas(state: ClusterState, topic: TopicFacts, replicas: readonly string[]): void {
  const members = [...state.brokers.values()].filter((broker) => !broker.isDraining).length;
  const wanted = wantedReplicas(topic, members);
  if (replicas.length !== wanted) {
    throw new BrokerError(
      "INVALID_REPLICATION_FACTOR",
      `a partition of ${topic.name} has ${wanted} replicas, not ${replicas.length}`,
      { topic: topic.name, replicationFactor: wanted, replicas: replicas.length },
    );
  }
  if (new Set(replicas).size !== replicas.length) {
    throw refused(`a broker is named twice in ${replicas.join(", ")}`);
  }
  for (const id of replicas) {
    const broker = state.brokers.get(id);
    if (broker === undefined || !mayHold(broker)) {
      const why = broker === undefined
        ? "is not known"
        : broker.isOnline
        ? "is draining or shutting down"
        : "is not running";
      throw refused(`broker ${id} ${why}`);
    }
  }
}

/** What is to lie where, while a plan is made. */
interface Draft {
  readonly record: PartitionRecord;
  readonly topic: TopicFacts;
  to: readonly string[];
}

function planBalance(state: ClusterState): PlannedMove[] {
  const brokers = [...state.brokers.values()].filter(mayHold);
  const drafts: Draft[] = [];
  for (const { record } of state.partitions) {
    const topic = state.topics.get(record.topicId);
    if (topic === undefined || record.target !== undefined) continue;
    drafts.push({ record, topic, to: record.replicas });
  }
  drafts.sort((a, b) =>
    a.topic.name < b.topic.name
      ? -1
      : a.topic.name > b.topic.name
      ? 1
      : a.record.partition - b.record.partition
  );
  const loads = BrokerLoads.of(state.partitions);
  const left = balance({ drafts, brokers, state, loads, left: MAX_PLANNED_MOVES });
  balanceLeaders({ drafts, brokers, state, loads, left });
  return drafts.filter(({ record, to }) => !isSame(record.replicas, to)).map((
    { record, topic, to },
  ) => ({
    topicId: record.topicId,
    topic: topic.name,
    partition: record.partition,
    from: record.replicas,
    to,
  }));
}

interface Balancing {
  readonly drafts: readonly Draft[];
  readonly brokers: readonly BrokerFacts[];
  readonly state: ClusterState;
  readonly loads: BrokerLoads;
  /** Changes that may still be made. */
  left: number;
}

/** One replica at a time from a broker that holds more to one that holds at least two fewer; gives how many changes are left. */
function balance({ drafts, brokers, state, loads, left }: Balancing): number {
  const step = () => {
    const byLoad = [...brokers].sort((a, b) =>
      loads.replicasOn(a.nodeId) - loads.replicasOn(b.nodeId)
    );
    for (const over of [...byLoad].reverse()) {
      for (const under of byLoad) {
        if (loads.replicasOn(over.nodeId) - loads.replicasOn(under.nodeId) < 2) break;
        const fits = ({ to }: Draft) =>
          to.includes(over.nodeId) && !to.includes(under.nodeId) &&
          keepsZones(state, to, [over.nodeId, under.nodeId]);
        // Another partition's replica first: one that moves as a whole has nothing left to stay with.
        const draft = drafts.find((one) => one.to === one.record.replicas && fits(one)) ??
          drafts.find(fits);
        if (draft === undefined) continue;
        const to = draft.to.map((id) => id === over.nodeId ? under.nodeId : id);
        take(draft, to, loads);
        return true;
      }
    }
    return false;
  };
  while (left > 0 && step()) left--;
  return left;
}

/** Another order of the same replicas: from a broker that leads many, where need be by way of others, to one that leads few. */
function balanceLeaders({ drafts, brokers, loads, left }: Balancing): void {
  const step = () => {
    const byLeading = [...brokers].sort((a, b) =>
      loads.preferredOn(b.nodeId) - loads.preferredOn(a.nodeId)
    );
    for (const { nodeId } of byLeading) {
      const handovers = handoversFrom(nodeId, { drafts, brokers, loads });
      for (const { draft, to } of handovers) {
        take(draft, [to, ...draft.to.filter((id) => id !== to)], loads);
      }
      if (handovers.length > 0) return handovers.length;
    }
    return 0;
  };
  for (let made = 1; left > 0 && made > 0; left -= made) made = step();
}

/** The fewest changes of first replicas after which `from` leads one fewer, and one that leads at least two fewer one more. */
function handoversFrom(
  from: string,
  { drafts, brokers, loads }: Pick<Balancing, "drafts" | "brokers" | "loads">,
): { draft: Draft; to: string }[] {
  const canLead = new Set(brokers.map(({ nodeId }) => nodeId));
  const reached = new Map<string, { draft: Draft; to: string } | null>([[from, null]]);
  for (const via of reached.keys()) {
    for (const draft of drafts.filter(({ to }) => to[0] === via)) {
      for (const to of draft.to) {
        if (!canLead.has(to) || reached.has(to)) continue;
        reached.set(to, { draft, to });
        if (loads.preferredOn(from) - loads.preferredOn(to) >= 2) return wayTo(to, reached);
      }
    }
  }
  return [];
}

function wayTo(
  end: string,
  reached: ReadonlyMap<string, { draft: Draft; to: string } | null>,
): { draft: Draft; to: string }[] {
  const handover = reached.get(end);
  return handover ? [...wayTo(handover.draft.to[0]!, reached), handover] : [];
}

function take(draft: Draft, to: readonly string[], loads: BrokerLoads): void {
  loads.remove({ replicas: draft.to });
  loads.add({ replicas: to });
  draft.to = to;
}

function keepsZones(
  { brokers }: ClusterState,
  replicas: readonly string[],
  [out, into]: readonly [string, string],
): boolean {
  const zones = (ids: readonly string[]) => new Set(ids.map((id) => zoneOf(brokers.get(id), id)));
  const after = zones(replicas.map((id) => id === out ? into : id));
  return after.size >= zones(replicas).size;
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((id, at) => id === b[at]);
}

function refused(why: string): BrokerError {
  return new BrokerError("INVALID_REQUEST", why);
}
