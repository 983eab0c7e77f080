// Owns telling one shard of groups what became of topics, again and again until it has heard.
// Refuses to own what a group makes of it (decide_administration.ts), and the counts of partitions (the topic catalog).
// Invariant: no change is forgotten while the broker runs, and a deletion is heard before whatever came after it. What
// waits is bounded by the number of topics that changed, however often they did.
//
// Groups know topics by name. So that no group takes a new topic for the one that had its name before, a name is not given
// away anew before every shard has heard of the deletion (`heardOfDeletion`).
import type { Timers } from "../../storage/ports.ts";
import type { PartitionCounts } from "./types.ts";

/** Wait before a shard that could not be told is told again: doubles from the first to the last. */
const RETRY_FIRST_MS = 100;
const RETRY_LAST_MS = 5_000;

/** What a shard is told of at once. Null for `changed`: of every topic that any of its groups knows. */
export interface TopicsChanged {
  readonly changed: ReadonlySet<string> | null;
  readonly counts: (topics: readonly string[]) => PartitionCounts;
}

export interface TopicNewsOptions {
  readonly timers: Timers;
  /** Number of partitions of the topics that exist, of those asked for. */
  readonly counts: (topics: readonly string[]) => PartitionCounts;
  /** Tells the shard; resolves when every group in it has heard. */
  readonly tell: (news: TopicsChanged) => Promise<void>;
  /** Called for each attempt that failed. */
  readonly onFailure: (error: unknown) => void;
}

export class TopicNews {
  #changed = new Set<string>();
  /** Of these, those that were deleted in between: whatever has the name now is another topic. */
  #deleted = new Set<string>();
  #everything = false;
  /** Deletions that are being told. */
  #tellingDeleted: ReadonlySet<string> = new Set();
  #waiting = new Set<{ readonly topic: string; readonly settle: (heard: boolean) => void }>();
  #running: Promise<void> | null = null;
  #closed = false;
  #endWait: (() => void) | null = null;

  constructor(private readonly options: TopicNewsOptions) {}

  /** Every topic may have changed. */
  tellAll(): void {
    this.#everything = true;
    this.#start();
  }

  tell(topic: string, options: { deleted: boolean }): void {
    this.#changed.add(topic);
    if (options.deleted) this.#deleted.add(topic);
    this.#start();
  }

  /** Resolves to true when the shard has heard of every deletion of `topic` so far; to false when it never will. */
  heardOfDeletion(topic: string): Promise<boolean> {
    if (!this.#owesDeletion(topic)) return Promise.resolve(true);
    if (this.#closed) return Promise.resolve(false);
    return new Promise((settle) => this.#waiting.add({ topic, settle }));
  }

  /** Gives up what the shard does not hear now: the next start of the broker tells it everything. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#endWait?.();
    await this.#running;
    for (const { settle } of this.#waiting) settle(false);
    this.#waiting.clear();
  }

  #owesDeletion(topic: string): boolean {
    return this.#deleted.has(topic) || this.#tellingDeleted.has(topic);
  }

  #settleHeard(): void {
    for (const waiter of this.#waiting) {
      if (this.#owesDeletion(waiter.topic)) continue;
      this.#waiting.delete(waiter);
      waiter.settle(true);
    }
  }

  #start(): void {
    if (this.#closed) return;
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
    });
  }

  async #run(): Promise<void> {
    // On a microtask, so that what changes in one turn is told at once.
    await null;
    let retryMs = RETRY_FIRST_MS;
    while (this.#everything || this.#changed.size > 0) {
      if (await this.#tellOnce()) {
        retryMs = RETRY_FIRST_MS;
        continue;
      }
      if (this.#closed) return;
      await this.#wait(retryMs);
      retryMs = Math.min(retryMs * 2, RETRY_LAST_MS);
    }
  }

  async #tellOnce(): Promise<boolean> {
    const { tell, counts, onFailure } = this.options;
    const changed = this.#changed;
    const deleted = this.#deleted;
    const everything = this.#everything;
    this.#changed = new Set();
    this.#deleted = new Set();
    this.#everything = false;
    this.#tellingDeleted = deleted;
    try {
      if (deleted.size > 0) {
        const others = (topics: readonly string[]) => topics.filter((topic) => !deleted.has(topic));
        await tell({ changed: deleted, counts: (topics) => counts(others(topics)) });
        this.#tellingDeleted = new Set();
        this.#settleHeard();
      }
      await tell({ changed: everything ? null : changed, counts });
      return true;
    } catch (error) {
      for (const topic of changed) this.#changed.add(topic);
      for (const topic of this.#tellingDeleted) this.#deleted.add(topic);
      this.#tellingDeleted = new Set();
      this.#everything ||= everything;
      onFailure(error);
      return false;
    }
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.options.timers.after(ms, resolve);
      this.#endWait = () => {
        cancel();
        resolve();
      };
    });
  }
}
