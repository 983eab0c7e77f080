// Owns how fast followers that are not in sync may be given what they lack: where the cluster keeps it.
// Refuses to own holding anybody to it (../replication/).
// Invariant: every broker holds to what the store says, as far as it has heard of it.
import { BrokerError } from "../../storage/broker_error.ts";
import type { MetadataEntry, MetadataKey, MetadataStore } from "../../storage/metadata.ts";
import type { ClusterMetadata } from "./view.ts";

const CATCH_UP_KEY: MetadataKey = ["cluster", "catch-up"];

interface CatchUp {
  readonly bytesPerSecond: number;
}

/** Bytes a second of each leading broker to each follower's; null: no bound. */
export function readCatchUp(
  view: { entry(key: MetadataKey): MetadataEntry | null },
): number | null {
  return (view.entry(CATCH_UP_KEY)?.value as CatchUp | undefined)?.bytesPerSecond ?? null;
}

/** METADATA_UNAVAILABLE when the outcome is not known. */
export async function writeCatchUp(
  { cluster, metadata }: { readonly cluster: ClusterMetadata; readonly metadata: MetadataStore },
  bytesPerSecond: number | null,
): Promise<void> {
  const checks: never[] = [];
  const value: CatchUp | null = bytesPerSecond === null ? null : { bytesPerSecond };
  try {
    await metadata.commit(
      value === null
        ? { checks, deletes: [CATCH_UP_KEY] }
        : { checks, sets: [{ key: CATCH_UP_KEY, value }] },
    );
    await cluster.refresh([CATCH_UP_KEY]);
  } catch (cause) {
    const message = "it is not known whether the throttle of catching up is set";
    throw new BrokerError("METADATA_UNAVAILABLE", message, {}, { cause });
  }
}
