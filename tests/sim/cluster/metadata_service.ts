// Owns the metadata store as simulated brokers reach it: delays, silence, lost answers, brokers cut from it one by one.
// Refuses to own the data (MemoryMetadataStore) and when it fails (faults.ts). Leases end by the store's own clock.
// Invariant: a commit that was answered has happened; one that failed may have; every watch hears of each change, late.
import { BrokerError } from "../../../storage/broker_error.ts";
import { MemoryMetadataStore } from "../../../storage/memory/memory_metadata.ts";
import type {
  MetadataEntry,
  MetadataKey,
  MetadataStore,
  MetadataTransaction,
} from "../../../storage/metadata.ts";
import type { Counts } from "./counts.ts";
import type { NodeLife } from "./node_life.ts";
import type { RunWorld } from "../world.ts";

/** A call that gets no answer fails after this, by the clock of who made it. */
const TIMEOUT_MS = 2_000;

/** Who committed what, at the moment at which it took effect. */
export interface Committed {
  readonly nodeId: string;
  readonly transaction: MetadataTransaction;
}

export class MetadataService {
  readonly store: MemoryMetadataStore;
  /** One way, uniform up to this. */
  maxDelayMs = 5;
  /** One in so many commits loses its answer, or is not sent at all; 0 for none. */
  lossOneIn = 0;
  readonly #cut = new Set<string>();
  readonly #onMended = new Set<() => void>();
  readonly #listeners: ((committed: Committed) => void)[] = [];

  constructor(private readonly world: RunWorld, private readonly counts: Counts) {
    this.store = new MemoryMetadataStore({ timers: world.time, randomness: world.chance });
  }

  /** The store as one process has it. */
  connect(nodeId: string, life: NodeLife): MetadataStore {
    const below = this.store.connect();
    life.onEnd(() => void below.close());
    return new NodeMetadata(this, below, { nodeId, life });
  }

  onCommitted(listener: (committed: Committed) => void): void {
    this.#listeners.push(listener);
  }

  committed(committed: Committed): void {
    for (const listener of this.#listeners) listener(committed);
  }

  isCut(nodeId: string): boolean {
    return this.#cut.has(nodeId);
  }

  cut(nodeId: string): void {
    this.#cut.add(nodeId);
  }

  mend(nodeId: string): void {
    this.#cut.delete(nodeId);
    for (const listener of [...this.#onMended]) listener();
  }

  onMended(listener: () => void): () => void {
    this.#onMended.add(listener);
    return () => this.#onMended.delete(listener);
  }

  delayMs(): number {
    return this.world.between(0, this.maxDelayMs);
  }

  loses(): "request" | "answer" | null {
    if (this.lossOneIn === 0 || !this.world.oneIn(this.lossOneIn)) return null;
    this.counts.add("metadataAnswerLost");
    return this.world.oneIn(2) ? "request" : "answer";
  }

  after(delayMs: number, run: () => void): void {
    this.world.time.after(delayMs, run);
  }

  note(who: string, what: string): void {
    this.world.note(who, what);
  }
}

interface Client {
  readonly nodeId: string;
  readonly life: NodeLife;
}

class NodeMetadata implements MetadataStore {
  constructor(
    private readonly service: MetadataService,
    private readonly below: MetadataStore,
    private readonly client: Client,
  ) {}

  get(key: MetadataKey): Promise<MetadataEntry | null> {
    return this.#call(() => this.below.get(key));
  }

  list(
    prefix: MetadataKey,
    options?: { limit?: number; after?: MetadataKey },
  ): Promise<MetadataEntry[]> {
    return this.#call(() => this.below.list(prefix, options));
  }

  commit(transaction: MetadataTransaction): Promise<boolean> {
    const { nodeId } = this.client;
    const kept = structuredClone(transaction) as MetadataTransaction;
    return this.#call(async () => {
      const answer = this.below.commit(kept);
      const isDone = await answer;
      this.service.note("metadata", `${nodeId} ${isDone ? "sets" : "may not set"} ${keysOf(kept)}`);
      if (isDone) this.service.committed({ nodeId, transaction: kept });
      return isDone;
    });
  }

  /** What changes while this broker is cut off is told when it is not any more, all at once. */
  watch(prefix: MetadataKey, onChange: (keys: MetadataKey[]) => void): () => void {
    const { service, client: { nodeId, life } } = this;
    let untold: MetadataKey[] = [];
    let isOver = false;
    const tell = () => {
      if (isOver || untold.length === 0 || service.isCut(nodeId)) return;
      const keys = untold;
      untold = [];
      onChange(keys);
    };
    const unwatch = this.below.watch(prefix, (keys) => {
      untold.push(...keys);
      life.deliver(service.delayMs(), tell);
    });
    const unlisten = service.onMended(() => life.deliver(service.delayMs(), tell));
    const end = () => {
      isOver = true;
      unwatch();
      unlisten();
    };
    life.onEnd(end);
    return end;
  }

  grantLease(ttlMs: number): Promise<string> {
    return this.#call(() => this.below.grantLease(ttlMs));
  }

  renewLease(leaseId: string): Promise<boolean> {
    return this.#call(() => this.below.renewLease(leaseId));
  }

  revokeLease(leaseId: string): Promise<void> {
    return this.#call(() => this.below.revokeLease(leaseId));
  }

  close(): Promise<void> {
    return this.below.close();
  }

  #call<T>(work: () => Promise<T>): Promise<T> {
    const { service, client: { nodeId, life } } = this;
    const answer = Promise.withResolvers<T>();
    const cancel = life.after(TIMEOUT_MS, () =>
      answer.reject(
        new BrokerError("METADATA_UNAVAILABLE", "the metadata store did not answer in time"),
      ));
    answer.promise.then(cancel, cancel);
    const lost = service.loses();
    service.after(service.delayMs(), () => {
      if (service.isCut(nodeId) || lost === "request" || !life.isAlive) return;
      const settle = (settled: () => void) => {
        if (service.isCut(nodeId) || lost === "answer") return;
        life.deliver(service.delayMs(), settled);
      };
      work().then(
        (value) => settle(() => answer.resolve(value)),
        (error: unknown) => settle(() => answer.reject(error)),
      );
    });
    return answer.promise;
  }
}

function keysOf({ sets, deletes }: MetadataTransaction): string {
  return [...(sets ?? []).map(({ key }) => key), ...(deletes ?? [])]
    .map((key) => key.join("/")).join(" ");
}
