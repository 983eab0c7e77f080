// Owns giving out producer ids: numbers that no other producer of this cluster has, ever.
// Refuses to own what a producer does with its id, and epochs beyond the first.
// Invariant: a block of ids is durable as taken in the metadata store before the first of it is given out.
import { BrokerError } from "../../storage/broker_error.ts";
import type { MetadataKey, MetadataStore } from "../../storage/metadata.ts";

/** Ids below are left to those who number their producers themselves. */
export const FIRST_ALLOCATED_ID = 2 ** 32;
/** Ids taken at once: what a restart may leave unused. */
const BLOCK_IDS = 1_000;
const MAX_CONFLICT_RETRIES = 10;
const KEY: MetadataKey = ["producer-ids"];

export interface ProducerIdentity {
  readonly producerId: number;
  readonly producerEpoch: number;
}

export class ProducerIds {
  private next = 0;
  private end = 0;
  private taking: Promise<void> | null = null;

  constructor(private readonly metadata: MetadataStore) {}

  /** A new id with epoch 0. METADATA_CONFLICT when others keep coming first. */
  async allocate(): Promise<ProducerIdentity> {
    while (this.next === this.end) {
      this.taking ??= this.takeBlock().finally(() => this.taking = null);
      await this.taking;
    }
    return { producerId: this.next++, producerEpoch: 0 };
  }

  private async takeBlock(): Promise<void> {
    for (let attempt = 0; attempt <= MAX_CONFLICT_RETRIES; attempt++) {
      const entry = await this.metadata.get(KEY);
      const first = (entry?.value as number | undefined) ?? FIRST_ALLOCATED_ID;
      const taken = await this.metadata.commit({
        checks: [{ key: KEY, version: entry?.version ?? null }],
        sets: [{ key: KEY, value: first + BLOCK_IDS }],
      });
      if (!taken) continue;
      this.next = first;
      this.end = first + BLOCK_IDS;
      return;
    }
    throw new BrokerError("METADATA_CONFLICT", "no producer ids could be taken");
  }
}
