// Owns a broker's orderly leave: that leadership goes to others before it stops.
// Refuses to own who leads instead (decide_election.ts), and closing anything.
// Invariant: it waits only for what can happen, and no longer than its bound.
import type { MetadataStore } from "../../storage/metadata.ts";
import type { Timers } from "../../storage/ports.ts";
import { type BrokerLeaving, type KeptPartition, LEAVING_KEY } from "./types.ts";
import type { ClusterMetadata } from "./view.ts";

const DEFAULT_LEAVE_MS = 10_000;

/** See ClusterMetadata.leave. */
export async function leaveCluster(
  cluster: ClusterMetadata,
  { metadata, timers }: { readonly metadata: MetadataStore; readonly timers: Timers },
  timeoutMs: number = DEFAULT_LEAVE_MS,
): Promise<number> {
  const { nodeId, incarnation } = cluster;
  const { leaseId } = cluster.registration;
  if (leaseId === null) return leading(cluster).length;
  const key = [...LEAVING_KEY, nodeId];
  const value: BrokerLeaving = { nodeId, incarnation };
  try {
    const isAsked = await metadata.commit({ checks: [], sets: [{ key, value, leaseId }] });
    if (!isAsked) return leading(cluster).length;
    await cluster.refresh([key]);
  } catch {
    return leading(cluster).length;
  }
  await new Promise<void>((resolve) => {
    const end = () => {
      unfollow();
      cancel();
      resolve();
    };
    const look = () => {
      if (!cluster.hasLease || !leading(cluster).some((kept) => canFollow(cluster, kept))) end();
    };
    const unfollow = cluster.onChanged(look);
    const cancel = timers.after(timeoutMs, end);
    look();
  });
  return leading(cluster).length;
}

function leading(cluster: ClusterMetadata): KeptPartition[] {
  return [...cluster.partitions()].filter(({ record }) => record.leader === cluster.nodeId);
}

/** Whether the controller has another broker to lead this. */
function canFollow(cluster: ClusterMetadata, { record }: KeptPartition): boolean {
  return record.isr.some((id) =>
    id !== cluster.nodeId && cluster.online().has(id) && !cluster.isLeaving(id) &&
    !(cluster.members().get(id)?.draining ?? false)
  );
}
