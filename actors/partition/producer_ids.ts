// Owns giving out producer ids: numbers that no other producer of this cluster has, ever.
// Refuses to own what a producer does with its id, and epochs beyond the first.
// Invariant: a block of ids is durable as taken in the metadata store before the first of it is given out; the broker's
// own producers have ids that no caller can name.
import { BrokerError } from "../../storage/broker_error.ts";
import type { MetadataKey, MetadataStore } from "../../storage/metadata.ts";

/** Ids below are left to those who number their producers themselves. */
export const FIRST_ALLOCATED_ID = 2 ** 32;
/**
 * From here on ids are of the broker's own producers (transactions, dead letters, jobs): a caller who could publish under
 * one would fence it, or have its messages taken for repeats. A transaction's name has room for 15 digits of an id.
 */
export const FIRST_OWN_ID = 2 ** 48;
/** Ids taken at once: what a restart may leave unused. */
const BLOCK_IDS = 1_000;
const MAX_CONFLICT_RETRIES = 10;

/** Ids that are counted by themselves. */
interface IdRange {
  readonly key: MetadataKey;
  readonly first: number;
}

const CALLERS: IdRange = { key: ["producer-ids"], first: FIRST_ALLOCATED_ID };
const OWN: IdRange = { key: ["own-producer-ids"], first: FIRST_OWN_ID };

export interface ProducerIdentity {
  readonly producerId: number;
  readonly producerEpoch: number;
}

export class ProducerIds {
  private next = 0;
  private end = 0;
  private taking: Promise<void> | null = null;
  /** Blocks below are known to be taken, here or elsewhere. */
  private takenBelow: number;

  private constructor(
    private readonly metadata: MetadataStore,
    private readonly range: IdRange,
  ) {
    this.takenBelow = range.first;
  }

  /** Of those who publish from outside. */
  static async open(metadata: MetadataStore): Promise<ProducerIds> {
    const ids = new ProducerIds(metadata, CALLERS);
    await ids.learn();
    return ids;
  }

  /** Of the broker's own producers. */
  static openOwn(metadata: MetadataStore): Pick<ProducerIds, "allocate"> {
    return new ProducerIds(metadata, OWN);
  }

  /**
   * Whether nobody will be given this id any more, as far as is known here: it is a caller's own, was given out, or was
   * left unused by an earlier life of a broker. `learn` before a no is final: others give out ids too.
   */
  isSettled(producerId: number): boolean {
    if (producerId < FIRST_ALLOCATED_ID) return true;
    if (producerId >= this.next && producerId < this.end) return false;
    return producerId < this.takenBelow;
  }

  /** Hears which blocks others have taken. */
  async learn(): Promise<void> {
    const entry = await this.metadata.get(this.range.key);
    this.takenBelow = Math.max(this.takenBelow, (entry?.value as number | undefined) ?? 0);
  }

  /**
   * Throws INVALID_REQUEST for an id that somebody may still be given: that one's messages would be taken for repeats; and
   * for one of the broker's own.
   */
  async refuseUnsettled(producerId: number): Promise<void> {
    if (this.isSettled(producerId)) return;
    if (producerId >= FIRST_OWN_ID) throw ownId(producerId);
    await this.learn();
    if (this.isSettled(producerId)) return;
    const message = `producerId ${producerId} was never given out: ask for one with POST ` +
      `/api/producers, or use one of your own below ${FIRST_ALLOCATED_ID}`;
    throw new BrokerError("INVALID_REQUEST", message, { producerId });
  }

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
      const { key } = this.range;
      const entry = await this.metadata.get(key);
      const first = (entry?.value as number | undefined) ?? this.range.first;
      const taken = await this.metadata.commit({
        checks: [{ key, version: entry?.version ?? null }],
        sets: [{ key, value: first + BLOCK_IDS }],
      });
      if (!taken) continue;
      this.next = first;
      this.end = first + BLOCK_IDS;
      this.takenBelow = Math.max(this.takenBelow, this.end);
      return;
    }
    throw new BrokerError("METADATA_CONFLICT", "no producer ids could be taken");
  }
}

function ownId(producerId: number): BrokerError {
  const message = `producerId ${producerId} is of a producer within the broker, and of no other: ` +
    "publish within a transaction with its transactionId, else ask for an id with POST /api/producers";
  return new BrokerError("INVALID_REQUEST", message, { producerId });
}
