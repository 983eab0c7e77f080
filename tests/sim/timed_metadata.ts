// Owns how long the metadata store takes for one process, and that a commit under way in a crash may be kept or not.
// Refuses to own the data: it outlives the process. Invariant: a commit that was answered is kept.
import type {
  MetadataEntry,
  MetadataKey,
  MetadataStore,
  MetadataTransaction,
} from "../../storage/metadata.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { Incarnation } from "./incarnation.ts";
import type { World } from "./world.ts";

export class TimedMetadata implements MetadataStore {
  constructor(
    private readonly world: World,
    private readonly life: Incarnation,
    private readonly machine: { metadata: MetadataStore; metadataFails: boolean },
  ) {}

  private get below(): MetadataStore {
    return this.machine.metadata;
  }

  get(key: MetadataKey): Promise<MetadataEntry | null> {
    return this.#read(() => this.below.get(key));
  }

  list(
    prefix: MetadataKey,
    options?: { limit?: number; after?: MetadataKey },
  ): Promise<MetadataEntry[]> {
    return this.#read(() => this.below.list(prefix, options));
  }

  /** Takes effect somewhere between the call and the answer: a crash, or a failure, in that time falls before or after it. */
  async commit(transaction: MetadataTransaction): Promise<boolean> {
    const { world, life } = this;
    if (this.machine.metadataFails && world.oneIn(2)) return await this.#fail("before");
    const done = await life.port(this.#delayMs(), () => this.below.commit(transaction));
    const keys = [
      ...(transaction.sets ?? []).map(({ key }) => key),
      ...(transaction.deletes ?? []),
    ];
    world.note("metadata", `${done ? "kept" : "lost"} ${keys.map((key) => key.join("/"))}`);
    if (this.machine.metadataFails) return await this.#fail("after");
    return await life.port(this.#delayMs(), () => Promise.resolve(done));
  }

  watch(prefix: MetadataKey, onChange: (keys: MetadataKey[]) => void): () => void {
    return this.below.watch(prefix, (keys) => {
      if (this.life.isAlive) onChange(keys);
    });
  }

  grantLease(ttlMs: number): Promise<string> {
    return this.#read(() => this.below.grantLease(ttlMs));
  }

  renewLease(leaseId: string): Promise<boolean> {
    return this.#read(() => this.below.renewLease(leaseId));
  }

  revokeLease(leaseId: string): Promise<void> {
    return this.#read(() => this.below.revokeLease(leaseId));
  }

  close(): Promise<void> {
    return this.below.close();
  }

  #read<T>(work: () => Promise<T>): Promise<T> {
    if (this.machine.metadataFails) return this.#fail("before");
    return this.life.port(this.#delayMs(), work);
  }

  #fail(moment: "before" | "after"): Promise<never> {
    return this.life.port(this.#delayMs(), () => {
      this.world.note("metadata", `fails ${moment} a call took effect`);
      return Promise.reject(new BrokerError("STORAGE_FAILED", "the metadata store failed"));
    });
  }

  #delayMs(): number {
    return this.world.between(0, this.world.plan.maxMetadataMs / 2);
  }
}
