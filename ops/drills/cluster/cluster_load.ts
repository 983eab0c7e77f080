// Owns the load of a cluster drill: its pace, and the account of what was acknowledged, where and when.
// Refuses to own how a batch is delivered (partition_producer.ts) and reading back (cluster_read_back.ts).
// Invariant: a message counts as acknowledged only as a broker said it is; what was on its way at the end is "maybe".
import { pause } from "../../demo/waiting.ts";
import { AckChecker } from "../ack_checker.ts";
import { type Delivered, PartitionProducer, type PartitionTarget } from "./partition_producer.ts";
import { Silences } from "./silences.ts";

const TICK_MS = 20;
const MAX_BATCH = 1_000;
/** What could not be handed in for longer than this is not made up for later: the pace stays the pace. */
const MAX_BEHIND_MS = 1_000;
const MAX_KEPT_VIOLATIONS = 1_000;

export interface ClusterLoadOptions extends Omit<PartitionTarget, "partition"> {
  readonly partitions: number;
  /** Messages a second, over all partitions. */
  readonly perSecond: number;
}

export class ClusterLoad {
  readonly checker = new AckChecker();
  readonly silences: Silences;
  /** What acknowledgements contradict, the first ones. */
  readonly violations: string[] = [];
  readonly producers: readonly PartitionProducer[];
  /** Messages of each partition: as one batch is on its way at a time, these are its first ones. */
  readonly acknowledgedOf: number[];
  /** Batches that had been stored by a request whose answer did not come. */
  repeats = 0;
  readonly #handingIn = new AbortController();
  readonly #giveUp = new AbortController();
  #running: Promise<unknown> = Promise.resolve();
  #startedMs = 0;
  #endedMs = 0;

  constructor(private readonly options: ClusterLoadOptions) {
    const { partitions } = options;
    this.silences = new Silences(partitions);
    this.acknowledgedOf = new Array<number>(partitions).fill(0);
    this.producers = Array.from(
      { length: partitions },
      (_, partition) => new PartitionProducer({ ...options, partition }),
    );
  }

  get acknowledged(): number {
    return this.acknowledgedOf.reduce((sum, count) => sum + count, 0);
  }

  /** Acknowledged messages of a partition that are not among `values`. */
  missing(partition: number, values: { has(value: string): boolean }): number {
    const { producers, acknowledgedOf } = this;
    const nameOf = (number: number) => producers[partition]!.nameOf(number);
    let missing = 0;
    for (let number = 0; number < acknowledgedOf[partition]!; number++) {
      if (!values.has(nameOf(number))) missing++;
    }
    return missing;
  }

  /** Acknowledged messages a second, while it ran. */
  get rate(): number {
    const endMs = this.#endedMs === 0 ? performance.now() : this.#endedMs;
    return this.acknowledged / Math.max(endMs - this.#startedMs, 1) * 1_000;
  }

  get gaps(): number {
    return this.producers.reduce((sum, { gaps }) => sum + gaps, 0);
  }

  /** Over all partitions. */
  refusals(): Record<string, number> {
    const all: Record<string, number> = {};
    for (const { refusals } of this.producers) {
      for (const [code, count] of refusals) all[code] = (all[code] ?? 0) + count;
    }
    return all;
  }

  /** Publishes until `stop`. */
  start(): void {
    this.#startedMs = performance.now();
    this.#running = Promise.all(
      this.producers.map((producer, partition) =>
        this.#run(partition, producer).catch((error) => {
          if (!this.#giveUp.signal.aborted && !this.#handingIn.signal.aborted) throw error;
        })
      ),
    );
    // Told by `stop`, which may come much later.
    this.#running.catch(() => undefined);
  }

  /** Hands nothing more in; resolves when what is on its way is acknowledged, or given up after `withinMs`. */
  async stop(withinMs = 15_000): Promise<void> {
    if (this.#endedMs === 0) this.#endedMs = performance.now();
    this.#handingIn.abort();
    const timer = setTimeout(() => this.#giveUp.abort(), withinMs);
    await this.#running;
    clearTimeout(timer);
  }

  async #run(partition: number, producer: PartitionProducer): Promise<void> {
    const perMs = this.options.perSecond / this.options.partitions / 1_000;
    let due = 0;
    let before = performance.now();
    while (!this.#handingIn.signal.aborted) {
      const now = performance.now();
      due = Math.min(due + (now - before) * perMs, Math.max(MAX_BEHIND_MS * perMs, 1));
      before = now;
      const count = Math.min(Math.floor(due), MAX_BATCH);
      if (count === 0) {
        await pause(TICK_MS, this.#handingIn.signal);
        continue;
      }
      due -= count;
      this.#note(partition, await producer.deliver(count, this.#giveUp.signal));
      const spentMs = performance.now() - now;
      if (spentMs < TICK_MS) await pause(TICK_MS - spentMs, this.#handingIn.signal);
    }
  }

  #note(partition: number, { offsets, values, sentMs, isRepeat }: Delivered): void {
    this.silences.acknowledged(partition, { sentMs, ackedMs: performance.now() });
    this.acknowledgedOf[partition]! += offsets.length;
    if (isRepeat) this.repeats++;
    offsets.forEach((offset, index) => {
      const value = withoutPadding(values[index]!, this.options.padding);
      const found = this.checker.acknowledged({ partition, offset, value });
      if (this.violations.length < MAX_KEPT_VIOLATIONS) this.violations.push(...found);
    });
  }
}

/** What the checker keeps of a value: a value whose padding is not whole stays as it is, and is noticed. */
export function withoutPadding(value: string, padding: string): string {
  return padding !== "" && value.endsWith(padding) ? value.slice(0, -padding.length) : value;
}
