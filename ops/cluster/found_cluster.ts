// Owns bringing a broker to its cluster over both metadata stores: the shared one, and a single node's in the data directory.
// Refuses to own what comes next (decide_founding.ts) and opening the stores.
// Invariant: whatever step the broker dies at, its next start goes on from there; nothing is told to be joined before it is.
import type { JoinedCluster } from "../../storage/file_log/node_identity.ts";
import type { MetadataKey, MetadataStore } from "../../storage/metadata.ts";
import { keyName } from "../../storage/metadata_limits.ts";
import type { Randomness, Timers } from "../../storage/ports.ts";
import {
  adoptedEntries,
  CLUSTER_ID_KEY,
  type CopiedEntry,
  decideFounding,
  type Founding,
  FOUNDING_KEY,
  type FoundingView,
  inTransactions,
} from "./decide_founding.ts";

/** Wait before looking again whether another broker has founded the cluster, and how often that is done. */
const LOOK_AGAIN_MS = 500;
const MAX_LOOKS = 120;
/** Of one transaction: so many of the longest keys fit. */
const MAX_DELETES = 50;

/** The data directory, or the cluster, is not what this start takes it for; the message says what to change. */
export class CannotJoinError extends Error {
  override name = "CannotJoinError";
}

export interface FoundClusterOptions {
  /** Of the cluster. */
  readonly name: string;
  readonly nodeId: string;
  readonly shared: MetadataStore;
  /** What the data directory holds from the time it was a single node's; null where there is nothing. */
  readonly local: MetadataStore | null;
  readonly identity: {
    readonly diskId: string;
    readonly joined: JoinedCluster | null;
    join(cluster: JoinedCluster): Promise<void>;
  };
  readonly timers: Timers;
  readonly randomness: Randomness;
  report(message: string): void;
}

/**
 * Makes this broker part of the cluster, and resolves to the cluster's id. Rejects with CannotJoinError, or as the stores
 * do: then the next start goes on.
 */
export async function foundOrJoinCluster(options: FoundClusterOptions): Promise<string> {
  const { name, identity, report, timers } = options;
  let waited = false;
  for (let look = 0; look < MAX_LOOKS; look++) {
    const step = decideFounding(await viewOf(options));
    switch (step.type) {
      case "ready":
        return step.clusterId;
      case "join":
        await identity.join({ name, clusterId: step.clusterId });
        report(`this broker belongs to cluster ${name} (${step.clusterId}) from now on`);
        break;
      case "found":
        await found(options, step.clusterId);
        break;
      case "copy":
        await copy(options);
        break;
      case "wait":
        if (!waited) report(`waiting for broker ${step.nodeId}, which founds cluster ${name}`);
        waited = true;
        await new Promise<void>((resolve) => void timers.after(LOOK_AGAIN_MS, resolve));
        break;
      case "refuse":
        throw new CannotJoinError(step.reason);
    }
  }
  const { founding } = await viewOf(options);
  throw new CannotJoinError(
    `cluster ${name} is not there: broker ${
      founding?.nodeId ?? "unknown"
    } began to found it with its data and has not ` +
      "finished; start that one, which goes on",
  );
}

async function viewOf(options: FoundClusterOptions): Promise<FoundingView> {
  const { name, nodeId, shared, local, identity: { diskId, joined } } = options;
  // First: who founds it meanwhile is seen below.
  const isEmpty = (await shared.list([], { limit: 1 })).length === 0;
  const founding = (await shared.get(FOUNDING_KEY))?.value as Founding | undefined;
  const clusterId = (await shared.get(CLUSTER_ID_KEY))?.value as string | undefined;
  const localClusterId = (await local?.get(CLUSTER_ID_KEY))?.value as string | undefined;
  return {
    name,
    nodeId,
    diskId,
    joined,
    localClusterId: localClusterId ?? null,
    founding: founding ?? null,
    clusterId: clusterId ?? null,
    isEmpty,
  };
}

/** Whoever makes the marker founds the cluster. Lost to another: the next look sees it. */
async function found(
  { nodeId, shared, identity: { diskId }, randomness }: FoundClusterOptions,
  localClusterId: string | null,
): Promise<void> {
  const clusterId = localClusterId ?? randomness.uuid();
  const state = localClusterId === null ? "done" : "copying";
  const founding: Founding = { nodeId, diskId, clusterId, state };
  const id = state === "done" ? [{ key: CLUSTER_ID_KEY, value: clusterId }] : [];
  await shared.commit({
    checks: [FOUNDING_KEY, CLUSTER_ID_KEY].map((key) => ({ key, version: null })),
    sets: [{ key: FOUNDING_KEY, value: founding }, ...id],
  });
}

/** All of it again, if it was cut short: nobody has changed any of it before the cluster has its id. Guarded by the marker. */
async function copy(options: FoundClusterOptions): Promise<void> {
  const { name, shared, local, report } = options;
  const marker = await shared.get(FOUNDING_KEY);
  const founding = marker?.value as Founding;
  if (local === null) {
    throw new CannotJoinError(`the metadata of cluster ${name} is gone from here`);
  }
  const entries = adoptedEntries(await local.list([]), founding);
  report(`founding cluster ${name} with ${entries.length} entries of metadata of this broker`);
  const checks = [{ key: FOUNDING_KEY, version: marker!.version }];
  for (const deletes of await leftOver(shared, entries)) {
    if (!await shared.commit({ checks, deletes })) return;
  }
  for (const sets of inTransactions(entries)) {
    if (!await shared.commit({ checks, sets })) return;
  }
  const done: Founding = { ...founding, state: "done" };
  await shared.commit({
    checks: [...checks, { key: CLUSTER_ID_KEY, version: null }],
    sets: [{ key: FOUNDING_KEY, value: done }, { key: CLUSTER_ID_KEY, value: founding.clusterId }],
  });
}

/** Keys of an earlier copy that the node has no more: it may have run alone since. As many at once as may be deleted. */
async function leftOver(
  shared: MetadataStore,
  entries: readonly CopiedEntry[],
): Promise<MetadataKey[][]> {
  const wanted = new Set([FOUNDING_KEY, ...entries.map(({ key }) => key)].map(keyName));
  const keys = (await shared.list([])).map(({ key }) => key)
    .filter((key) => !wanted.has(keyName(key)));
  const transactions: MetadataKey[][] = [];
  for (let from = 0; from < keys.length; from += MAX_DELETES) {
    transactions.push(keys.slice(from, from + MAX_DELETES));
  }
  return transactions;
}
