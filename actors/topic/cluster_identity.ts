// Owns the cluster's id: made once, kept in the metadata store.
// Refuses to own membership (a cluster's controller will).
// Invariant: once given, the id of a data directory never changes.
import type { MetadataKey, MetadataStore } from "../../storage/metadata.ts";
import type { Randomness } from "../../storage/ports.ts";

const KEY: MetadataKey = ["cluster-id"];

/** The id, made when there is none. */
export async function identityOf(
  metadata: MetadataStore,
  randomness: Randomness,
): Promise<string> {
  const known = await metadata.get(KEY);
  if (known !== null) return known.value as string;
  const id = randomness.uuid();
  const made = await metadata.commit({
    checks: [{ key: KEY, version: null }],
    sets: [{ key: KEY, value: id }],
  });
  return made ? id : ((await metadata.get(KEY))!.value as string);
}
