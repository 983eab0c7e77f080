// Owns publishing numbered messages to one partition, through whichever broker answers, each batch until it is acknowledged.
// Refuses to own the pace and the account (cluster_load.ts).
// Invariant: one batch is on its way at a time, and it comes again with the sequence that it had: a repeat is no duplicate.
import { pause } from "../../demo/waiting.ts";
import { ask, Unanswered } from "./broker_http.ts";

const BACKOFF_MS = 50;
/** Ids that brokers do not give out. */
const MAX_PRODUCER_ID = 2 ** 32;
const MAX_EPOCH = 32_767;

export interface PartitionTarget {
  readonly urls: readonly string[];
  readonly token: string;
  readonly topic: string;
  readonly partition: number;
  readonly acks: "all" | "leader";
  /** After it a request counts as unanswered. */
  readonly requestTimeoutMs: number;
  /** Added to each value. */
  readonly padding: string;
}

export interface Delivered {
  readonly offsets: readonly number[];
  readonly values: readonly string[];
  /** When the request that was acknowledged was sent, monotonic ms. */
  readonly sentMs: number;
  readonly isRepeat: boolean;
}

export class PartitionProducer {
  readonly #producerId = Math.floor(Math.random() * MAX_PRODUCER_ID);
  #producerEpoch = 0;
  #sequence = 0;
  #nextNumber = 0;
  #broker: number;
  /** Answers that were none, by code, and requests without any. */
  readonly refusals = new Map<string, number>();
  /** Times that a broker did not know what another had acknowledged. */
  gaps = 0;

  constructor(private readonly target: PartitionTarget) {
    this.#broker = target.partition % target.urls.length;
  }

  /** The value of a message, but for its padding. */
  nameOf(number: number): string {
    return `p${this.target.partition}:${number}`;
  }

  /** The next `count` messages; resolves when they are acknowledged. Rejects with the signal's reason. */
  async deliver(count: number, signal: AbortSignal): Promise<Delivered> {
    const { padding } = this.target;
    const values = Array.from(
      { length: count },
      () => this.nameOf(this.#nextNumber++) + padding,
    );
    while (true) {
      signal.throwIfAborted();
      const delivered = await this.#attempt(values);
      if (delivered !== null) {
        this.#sequence += count;
        return delivered;
      }
      this.#broker = (this.#broker + 1) % this.target.urls.length;
      await pause(BACKOFF_MS, signal);
    }
  }

  async #attempt(values: readonly string[]): Promise<Delivered | null> {
    const { urls, token, topic, partition, acks, requestTimeoutMs: timeoutMs } = this.target;
    const sentMs = performance.now();
    const body = {
      topic,
      acks,
      partition,
      producerId: this.#producerId,
      producerEpoch: this.#producerEpoch,
      sequence: this.#sequence,
      messages: values.map((value) => ({ value })),
    };
    try {
      const url = `${urls[this.#broker]}/api/messages:publish`;
      const answer = await ask(url, { token, timeoutMs, method: "POST", body });
      if (answer.status === 200) {
        const results: { offset: number; duplicate: boolean }[] = answer.body.results;
        const offsets = results.map(({ offset }) => offset);
        return { offsets, values, sentMs, isRepeat: results[0]!.duplicate };
      }
      this.#refused(answer.body.code);
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error;
      this.#count("UNANSWERED");
    }
    return null;
  }

  #refused(code: string): void {
    this.#count(code);
    if (code !== "OUT_OF_ORDER_SEQUENCE") return;
    // What it was told is stored is not: a new epoch lets it go on, and the checker will tell.
    this.gaps++;
    this.#producerEpoch = Math.min(this.#producerEpoch + 1, MAX_EPOCH);
    this.#sequence = 0;
  }

  #count(code: string): void {
    this.refusals.set(code, (this.refusals.get(code) ?? 0) + 1);
  }
}
