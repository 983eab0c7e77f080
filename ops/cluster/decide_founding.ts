// Owns the decisions by which a broker comes to its cluster: founding one, with what a single node kept or with nothing,
// joining one, or being refused; and what a single node's metadata becomes.
// Refuses to own the stores (found_cluster.ts). Invariant: pure; a cluster is founded by one broker, and a data directory is
// never part of two.
import type { Topic } from "../../actors/broker.ts";
import {
  type BrokerMember,
  MEMBERS_KEY,
  type PartitionRecord,
  partitionRecordKey,
} from "../../actors/cluster/types.ts";
import type { JoinedCluster } from "../../storage/file_log/node_identity.ts";
import {
  MAX_TRANSACTION_MUTATIONS,
  type MetadataEntry,
  type MetadataKey,
  type MetadataValue,
} from "../../storage/metadata.ts";
import {
  keyBytes,
  MAX_TRANSACTION_KEY_BYTES,
  MAX_TRANSACTION_VALUE_BYTES,
} from "../../storage/metadata_limits.ts";

/** Who founded the cluster, or is about to. */
export const FOUNDING_KEY: MetadataKey = ["cluster", "founding"];
export const CLUSTER_ID_KEY: MetadataKey = ["cluster-id"];

/** Kept below FOUNDING_KEY, made by compare-and-set before anything else of the cluster. */
export interface Founding {
  readonly nodeId: string;
  readonly diskId: string;
  readonly clusterId: string;
  /** While it copies what it has kept as a single node, there is no cluster yet. */
  readonly state: "copying" | "done";
}

export interface FoundingView {
  readonly name: string;
  readonly nodeId: string;
  readonly diskId: string;
  /** What the data directory says. */
  readonly joined: JoinedCluster | null;
  /** Of the metadata that the data directory holds from a single node; null: none. */
  readonly localClusterId: string | null;
  /** What the shared store says. */
  readonly founding: Founding | null;
  readonly clusterId: string | null;
  readonly isEmpty: boolean;
}

export type FoundingStep =
  /** The broker belongs to the cluster, and its data directory says so. */
  | { readonly type: "ready"; readonly clusterId: string }
  | { readonly type: "join"; readonly clusterId: string }
  /** By compare-and-set: there is none. A new id when `clusterId` is null. */
  | { readonly type: "found"; readonly clusterId: string | null }
  | { readonly type: "copy" }
  /** Another broker is about to found it. */
  | { readonly type: "wait"; readonly nodeId: string }
  | { readonly type: "refuse"; readonly reason: string };

/** What comes next. */
export function decideFounding(view: FoundingView): FoundingStep {
  if (view.joined !== null) return decideMember(view, view.joined);
  const { name, diskId, localClusterId, founding, clusterId } = view;
  if (founding?.state === "copying") {
    if (founding.diskId === diskId) return { type: "copy" };
    if (localClusterId === null) return { type: "wait", nodeId: founding.nodeId };
    return refuse(
      `broker ${founding.nodeId} is founding cluster ${name} with its data, and this data directory holds other data ` +
        "of a broker that was alone: start it with an empty one",
    );
  }
  if (clusterId !== null) {
    const isOwn = founding?.diskId === diskId && localClusterId === clusterId;
    if (localClusterId === null || isOwn) return { type: "join", clusterId };
    return refuse(
      `cluster ${name} exists already, and this data directory holds data of a broker that was alone, ` +
        "which would be lost in it: start it with an empty one, or give the cluster another name to found one with this data",
    );
  }
  if (view.isEmpty) return { type: "found", clusterId: localClusterId };
  return refuse(`etcd holds keys of ${name} that are no cluster's: give the cluster another name`);
}

function decideMember({ name, clusterId }: FoundingView, joined: JoinedCluster): FoundingStep {
  if (clusterId === joined.clusterId) return { type: "ready", clusterId };
  if (clusterId !== null) {
    return refuse(
      `this data directory belongs to cluster ${joined.name} (${joined.clusterId}), and etcd holds another one as ${name}: ` +
        "use that cluster's etcd and name, or an empty data directory",
    );
  }
  return refuse(
    `this data directory belongs to cluster ${joined.name} (${joined.clusterId}), of which etcd holds nothing as ${name}: ` +
      "restore etcd from its snapshot, or say the name under which the cluster was founded",
  );
}

function refuse(reason: string): FoundingStep {
  return { type: "refuse", reason };
}

export interface CopiedEntry {
  readonly key: MetadataKey;
  readonly value: MetadataValue;
}

/**
 * What the shared store holds for a cluster that is founded with the metadata of a single node, but its id: all that was
 * kept, and of every partition a record that `nodeId` has it, alone, without a leader so far.
 */
export function adoptedEntries(
  local: readonly MetadataEntry[],
  { nodeId, diskId }: { readonly nodeId: string; readonly diskId: string },
): CopiedEntry[] {
  const kept = local.filter(({ key }) => key[0] !== CLUSTER_ID_KEY[0] && key[0] !== "cluster");
  const lastEpoch = local.find(({ key }) => key[0] === "leader-epoch" && key.length === 1)?.value;
  const leaderEpoch = ((lastEpoch as number | undefined) ?? -1) + 1;
  const records = local.filter(({ key }) => key[0] === "topics")
    .flatMap(({ value }) => recordsOf(value as Topic, { nodeId, leaderEpoch }));
  // Its first registration would pass for one with another disk, on which nothing of the records is.
  const member: BrokerMember = { nodeId, diskId, incarnation: 0, zone: null, draining: false };
  const members = [{ key: [...MEMBERS_KEY, nodeId], value: member }];
  return [...kept.map(({ key, value }) => ({ key, value })), ...members, ...records];
}

function recordsOf(
  { topicId, partitionCount }: Topic,
  { nodeId, leaderEpoch }: { readonly nodeId: string; readonly leaderEpoch: number },
): CopiedEntry[] {
  return Array.from({ length: partitionCount }, (_, partition) => {
    const [replicas, isr] = [[nodeId], [nodeId]];
    const at = { topicId, partition };
    const record: PartitionRecord = { ...at, replicas, isr, elr: [], leader: null, leaderEpoch };
    return { key: partitionRecordKey(topicId, partition), value: record };
  });
}

/** `entries` in order, as many at once as one transaction may set. */
export function* inTransactions(entries: readonly CopiedEntry[]): Generator<CopiedEntry[]> {
  const utf8 = new TextEncoder();
  let batch: CopiedEntry[] = [];
  let [keys, values] = [0, 0];
  for (const entry of entries) {
    const keySize = keyBytes(entry.key);
    const valueSize = utf8.encode(JSON.stringify(entry.value)).length;
    const isFull = batch.length === MAX_TRANSACTION_MUTATIONS ||
      keys + keySize > MAX_TRANSACTION_KEY_BYTES ||
      values + valueSize > MAX_TRANSACTION_VALUE_BYTES;
    if (isFull) {
      yield batch;
      batch = [];
      [keys, values] = [0, 0];
    }
    batch.push(entry);
    keys += keySize;
    values += valueSize;
  }
  if (batch.length > 0) yield batch;
}
