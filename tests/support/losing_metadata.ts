// Owns a metadata store whose answer to a commit gets lost when a test says so.
// Refuses to own what is stored. Invariant: whether the commit was carried out is the test's choice, and known to it alone.
import type { MetadataStore } from "../../storage/metadata.ts";

export interface LosingMetadata {
  readonly metadata: MetadataStore;
  /** The answer to the next commit gets lost. */
  loseNext(): void;
}

/** `isKept`: a commit whose answer gets lost was carried out. */
export function losingMetadata(metadata: MetadataStore, isKept: boolean): LosingMetadata {
  let isLosing = false;
  return {
    metadata: Object.assign(Object.create(metadata), {
      list: metadata.list.bind(metadata),
      get: metadata.get.bind(metadata),
      watch: metadata.watch.bind(metadata),
      commit: async (transaction: Parameters<MetadataStore["commit"]>[0]) => {
        if (!isLosing) return await metadata.commit(transaction);
        isLosing = false;
        if (isKept) await metadata.commit(transaction);
        throw new Error("the answer got lost");
      },
    }),
    loseNext: () => isLosing = true,
  };
}
