// Owns finding where newly assigned partitions start, and trying again for those that cannot be read yet.
// Refuses to own what is assigned, and what happens once a start is known.
// Invariant: a partition that is no longer wanted is neither started nor tried again.
import type { Broker } from "../../actors/broker.ts";
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import type { Cancel, Timers } from "../../storage/ports.ts";
import type { HeldPartition, StartOffset } from "./held_partition.ts";
import { type AutoOffsetReset, type CommittedOffsets, startOffset } from "./start_offsets.ts";

export interface StarterOptions {
  readonly broker: Pick<Broker, "partitionInfo">;
  readonly committedOffsets: CommittedOffsets;
  readonly timers: Timers;
  readonly group: string;
  readonly autoOffsetReset: AutoOffsetReset;
  readonly retryMs: number;
  readonly isWanted: (held: HeldPartition) => boolean;
  readonly start: (held: HeldPartition, at: StartOffset) => void;
  /** All that could be started of what was asked for is. */
  readonly onStarted: () => void;
  /** Told once for each partition and request; it is tried again without further word. */
  readonly onFault: (held: HeldPartition, error: BrokerError) => void;
}

export class Starter {
  readonly #options: StarterOptions;
  readonly #retries = new Set<Cancel>();
  #attempts = 0;
  /** Settles when no first attempt is under way any more. */
  #idle: Promise<unknown> = Promise.resolve();
  #stopped = false;

  constructor(options: StarterOptions) {
    this.#options = options;
  }

  /** Starts these; resolves when `onStarted` was called. Never rejects. */
  start(partitions: readonly HeldPartition[]): Promise<void> {
    const attempt = this.#attempt(partitions, this.#options.onFault);
    this.#idle = Promise.all([this.#idle, attempt]);
    return attempt;
  }

  /** Resolves when everything that was to be started so far has been tried once. */
  async tried(): Promise<void> {
    await this.#idle;
  }

  /** Whether `onStarted` is still to come for something. */
  get busy(): boolean {
    return this.#attempts > 0;
  }

  stop(): void {
    this.#stopped = true;
    for (const cancel of this.#retries) cancel();
    this.#retries.clear();
  }

  async #attempt(
    partitions: readonly HeldPartition[],
    onFault: StarterOptions["onFault"],
  ): Promise<void> {
    const { isWanted, start, onStarted } = this.#options;
    this.#attempts++;
    const outcomes = await this.#find(partitions);
    this.#attempts--;
    if (this.#stopped) return;
    // All at once, so that nothing is delivered before the client knows what it is assigned.
    const failed: HeldPartition[] = [];
    for (const [held, outcome] of outcomes) {
      if (!isWanted(held)) continue;
      if (!(outcome instanceof BrokerError)) start(held, outcome);
      else {
        failed.push(held);
        // Ends by itself, soon: nothing for a client to hear of.
        if (outcome.code !== "CONCURRENT_TRANSACTIONS") onFault(held, outcome);
      }
    }
    if (failed.length > 0) this.#retry(failed);
    onStarted();
  }

  async #find(
    partitions: readonly HeldPartition[],
  ): Promise<[HeldPartition, StartOffset | BrokerError][]> {
    const { broker, committedOffsets, group, autoOffsetReset } = this.#options;
    try {
      const offsets = await committedOffsets.read(group);
      return await Promise.all(partitions.map(async (held) => {
        if (offsets.staged?.has(held.key)) return [held, aboutToChange(held)];
        const committed = offsets.get(held.key) ?? null;
        const found = startOffset(broker, held, { committed, autoOffsetReset });
        return [held, await found.catch(asBrokerError)] as [
          HeldPartition,
          StartOffset | BrokerError,
        ];
      }));
    } catch (error) {
      return partitions.map((held) => [held, asBrokerError(error)]);
    }
  }

  #retry(failed: readonly HeldPartition[]): void {
    const { timers, retryMs, isWanted } = this.#options;
    const cancel = timers.after(retryMs, () => {
      this.#retries.delete(cancel);
      const wanted = failed.filter(isWanted);
      if (wanted.length > 0) void this.#attempt(wanted, () => {});
    });
    this.#retries.add(cancel);
  }
}

/** Whoever started at the offset of now would read again what the transaction has dealt with. */
function aboutToChange(held: HeldPartition): BrokerError {
  return new BrokerError(
    "CONCURRENT_TRANSACTIONS",
    `the offset of ${held.key} waits for a transaction to end`,
  );
}
