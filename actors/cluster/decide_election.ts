// Owns who of a partition's replicas counts as in sync, as eligible, and as leader, when brokers come and go.
// Refuses to own which brokers are its replicas (decide_assignment.ts, decide_moves.ts).
// Invariant: pure. The leader is online and was in sync or eligible (KIP-966), unless the topic allows more; every other
// leader is a new epoch; the in-sync set is never empty: the last that were in it stay while they are away.
import type { BrokerFacts } from "./cluster_state.ts";
import type { InSyncChange, PartitionRecord } from "./types.ts";

export interface ElectionFacts {
  readonly brokers: ReadonlyMap<string, BrokerFacts>;
  readonly minInsync: number;
  readonly isUncleanAllowed: boolean;
}

/**
 * What a record's in-sync and eligible sets become when `isr` are those in sync. Who leaves a set that is then smaller than
 * `minInsync` stays eligible: the high watermark does not rise without them. Source: KIP-966. The high watermark of a
 * leader may rise only while its record names nobody eligible besides those in sync.
 */
export function inSyncChange(
  record: PartitionRecord,
  isr: readonly string[],
  minInsync: number,
): InSyncChange {
  if (isr.length >= minInsync) return { isr, elr: [] };
  const lost = new Set(record.lost ?? []);
  const eligible = new Set([...record.elr, ...record.isr].filter((id) => !lost.has(id)));
  const elr = record.replicas.filter((id) => eligible.has(id) && !isr.includes(id));
  return { isr, elr };
}

/** The record after those that are not there have left the in-sync set, and with a leader where one can be found. */
export function elected(record: PartitionRecord, facts: ElectionFacts): PartitionRecord {
  if (isQuiet(record, facts)) return record;
  const present = withoutAbsent(record, facts);
  const leader = chosenLeader(present, facts);
  if (leader === present.leader) return present;
  const led = { ...present, leader, leaderEpoch: present.leaderEpoch + 1 };
  if (leader === null) return led;
  const { lost: _, ...whole } = led;
  if (!isClean(present, leader)) return { ...whole, isr: [leader], elr: [] };
  if (present.isr.includes(leader)) return whole;
  return { ...whole, ...inSyncChange(present, [leader], facts.minInsync) };
}

/** Most are, at every moment: nothing is looked at twice then. */
function isQuiet({ isr, elr, leader, lost }: PartitionRecord, { brokers }: ElectionFacts): boolean {
  if (leader === null || elr.length > 0 || lost !== undefined || !isr.includes(leader)) {
    return false;
  }
  const broker = brokers.get(leader);
  if (broker === undefined || broker.isDraining || broker.isLeaving) return false;
  return isr.every((id) => brokers.get(id)?.isOnline ?? false);
}

/** Whether `leader` has all that was acknowledged. */
export function isClean(record: PartitionRecord, leader: string): boolean {
  const isLost = record.lost?.includes(leader) ?? false;
  return !isLost && (record.isr.includes(leader) || record.elr.includes(leader));
}

/** With all of the set away it stays as it is: each of them has everything, whichever comes back first. */
function withoutAbsent(record: PartitionRecord, facts: ElectionFacts): PartitionRecord {
  const isr = record.isr.filter((id) => facts.brokers.get(id)?.isOnline ?? false);
  const lost = record.lost ?? [];
  if (isr.every((id) => lost.includes(id))) return record;
  const isSettled = isr.length === record.isr.length &&
    (record.elr.length === 0 || isr.length < facts.minInsync || record.leader === null);
  if (isSettled) return record;
  return { ...record, ...inSyncChange(record, isr, facts.minInsync) };
}

function chosenLeader(record: PartitionRecord, facts: ElectionFacts): string | null {
  const { brokers, isUncleanAllowed } = facts;
  const lost = new Set(record.lost ?? []);
  const isOnline = (id: string) => brokers.get(id)?.isOnline ?? false;
  const stays = (id: string) => {
    const broker = brokers.get(id);
    return broker !== undefined && !broker.isDraining && !broker.isLeaving;
  };
  const inOrder = [...record.replicas, ...record.isr, ...record.elr];
  const online = inOrder.filter(isOnline);
  const whole = online.filter((id) => !lost.has(id));
  const inSync = whole.filter((id) => record.isr.includes(id));
  const current = record.leader;
  if (current !== null && inSync.includes(current)) {
    return stays(current) ? current : inSync.find(stays) ?? current;
  }
  const eligible = whole.filter((id) => record.elr.includes(id));
  for (const candidates of [inSync, eligible]) {
    if (candidates.length > 0) return candidates.find(stays) ?? candidates[0]!;
  }
  if (!isUncleanAllowed) return null;
  return whole.find(stays) ?? whole[0] ?? online.find(stays) ?? online[0] ?? null;
}
