// Owns that a broker whose disk is another one counts nowhere as having anything (faults.md, replicas, rule 8).
// Refuses to own who leads instead (decide_election.ts).
// Invariant: when all is done no record names it in sync, eligible or leader; where it was the last that was in sync, the
// record says that what it had is lost, and nobody leads unless the topic allows unclean elections.
import {
  MAX_TRANSACTION_CHECKS,
  type MetadataEntry,
  type MetadataStore,
} from "../../storage/metadata.ts";
import { type PartitionRecord, PARTITIONS_KEY } from "./types.ts";

/** Rounds over all records; each begins with what is kept then. */
const MAX_ROUNDS = 100;

/** The record without what `nodeId` held; itself when it held nothing that counts. */
export function withoutReplicaData(record: PartitionRecord, nodeId: string): PartitionRecord {
  const isLeader = record.leader === nodeId;
  const isLost = record.lost?.includes(nodeId) ?? false;
  const counts = isLeader || record.elr.includes(nodeId) ||
    (record.isr.includes(nodeId) && !isLost);
  if (!counts) return record;
  const isr = record.isr.filter((id) => id !== nodeId);
  return {
    ...record,
    ...(isr.length > 0 ? { isr } : { lost: [nodeId] }),
    elr: record.elr.filter((id) => id !== nodeId),
    leader: isLeader ? null : record.leader,
    leaderEpoch: record.leaderEpoch + (isLeader ? 1 : 0),
  };
}

/**
 * Takes `nodeId`, which must not be registered, out of every record, and resolves to those whose data is lost with it.
 * Rejects as the store does, and when others change the records without end.
 */
export async function loseReplicas(
  metadata: MetadataStore,
  nodeId: string,
): Promise<PartitionRecord[]> {
  const lost = new Map<string, PartitionRecord>();
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const kept = await metadata.list(PARTITIONS_KEY);
    const changes = kept.flatMap((entry) => {
      const record = entry.value as PartitionRecord;
      const next = withoutReplicaData(record, nodeId);
      return next === record ? [] : [{ entry, next }];
    });
    if (changes.length === 0) return [...lost.values()];
    for (let at = 0; at < changes.length; at += MAX_TRANSACTION_CHECKS) {
      const batch = changes.slice(at, at + MAX_TRANSACTION_CHECKS);
      if (!await keep(metadata, batch)) break;
      for (const { entry, next } of batch) {
        if (next.lost?.includes(nodeId)) lost.set(entry.key.join("/"), next);
      }
    }
  }
  throw new Error(`the records of partitions that ${nodeId} held changed without end`);
}

function keep(
  metadata: MetadataStore,
  changes: readonly { entry: MetadataEntry; next: PartitionRecord }[],
): Promise<boolean> {
  return metadata.commit({
    checks: changes.map(({ entry }) => ({ key: entry.key, version: entry.version })),
    sets: changes.map(({ entry, next }) => ({ key: entry.key, value: next })),
  });
}
