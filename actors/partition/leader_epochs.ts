// Owns the leader epochs this broker may use: numbers that never come back, kept by compare-and-set.
// Refuses to own who leads (a cluster's controller will).
// Invariant: an epoch is durable in the metadata store before any batch carries it.
import { BrokerError } from "../../storage/broker_error.ts";
import type { MetadataKey, MetadataStore } from "../../storage/metadata.ts";

const MAX_CONFLICT_RETRIES = 10;

export class LeaderEpochs {
  private constructor(
    private readonly metadata: MetadataStore,
    private readonly key: MetadataKey,
    private epoch: number,
  ) {}

  /** Raises the epoch once for this start of the broker. */
  static async open(metadata: MetadataStore): Promise<LeaderEpochs> {
    const epochs = new LeaderEpochs(metadata, ["leader-epoch"], -1);
    await epochs.raise();
    return epochs;
  }

  /** The newest epoch. */
  get current(): number {
    return this.epoch;
  }

  /** A new epoch, above every one given before. METADATA_CONFLICT when others keep coming first. */
  async raise(): Promise<number> {
    for (let attempt = 0; attempt <= MAX_CONFLICT_RETRIES; attempt++) {
      const entry = await this.metadata.get(this.key);
      const next = ((entry?.value as number | undefined) ?? -1) + 1;
      const raised = await this.metadata.commit({
        checks: [{ key: this.key, version: entry?.version ?? null }],
        sets: [{ key: this.key, value: next }],
      });
      if (raised) {
        this.epoch = Math.max(this.epoch, next);
        return next;
      }
    }
    throw new BrokerError("METADATA_CONFLICT", "the leader epoch could not be raised");
  }
}
