// Owns what a person changes of a member: that it is draining, and that it is forgotten.
// Refuses to own what the controller does about it (decide_moves.ts).
// Invariant: a change is a compare-and-set on the member's entry; a member that holds replicas is not forgotten, and its
// incarnations do not come back when it is.
import { BrokerError } from "../../storage/broker_error.ts";
import type { MetadataStore } from "../../storage/metadata.ts";
import { type BrokerMember, FORGOTTEN_KEY, MEMBERS_KEY } from "./types.ts";
import type { ClusterMetadata } from "./view.ts";

/** Times a change is decided again after another writer came first. */
const MAX_ATTEMPTS = 10;

export interface MemberChange {
  readonly nodeId: string;
  /** Null: it goes. */
  readonly change: (member: BrokerMember) => BrokerMember | null;
}

/** Known in the view when it resolves. Errors: NOT_FOUND, METADATA_CONFLICT, METADATA_UNAVAILABLE. */
export async function changeMember(
  cluster: ClusterMetadata,
  metadata: MetadataStore,
  { nodeId, change }: MemberChange,
): Promise<void> {
  const key = [...MEMBERS_KEY, nodeId];
  try {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const kept = await metadata.get(key);
      if (kept === null) {
        throw new BrokerError("NOT_FOUND", `no broker ${nodeId} is known`, { nodeId });
      }
      const member = kept.value as BrokerMember;
      const next = change(member);
      const checks = [{ key, version: kept.version }];
      const forgotten = { key: [...FORGOTTEN_KEY, nodeId], value: member.incarnation };
      const isKept = await metadata.commit(
        next === null
          ? { checks, deletes: [key], sets: [forgotten] }
          : { checks, sets: [{ key, value: next }] },
      );
      await cluster.refresh([key]);
      if (isKept) return;
    }
  } catch (error) {
    throw error instanceof BrokerError ? error : metadataUnavailable(`broker ${nodeId}`, error);
  }
  throw new BrokerError("METADATA_CONFLICT", `broker ${nodeId} is being changed by others`);
}

/** See ClusterMetadata.forget. */
export async function forgetMember(
  cluster: ClusterMetadata,
  metadata: MetadataStore,
  nodeId: string,
): Promise<void> {
  await cluster.refresh().catch((error) => {
    throw metadataUnavailable("the cluster", error);
  });
  const held =
    [...cluster.partitions()].filter(({ record }) =>
      record.replicas.includes(nodeId) || record.origin?.includes(nodeId)
    ).length;
  if (cluster.online().has(nodeId) || held > 0) {
    const why = held > 0 ? `still holds ${held} replicas` : "is running";
    const message = `broker ${nodeId} ${why}: drain it and stop it first`;
    throw new BrokerError("INVALID_REQUEST", message, { nodeId, replicas: held });
  }
  await changeMember(cluster, metadata, { nodeId, change: () => null });
}

/** The outcome of a change is not known. */
export function metadataUnavailable(what: string, cause: unknown): BrokerError {
  const message = `it is not known what became of ${what}`;
  return new BrokerError("METADATA_UNAVAILABLE", message, {}, { cause });
}
