// Owns publishing the flights at a pace, and keeping what was acknowledged.
// Refuses to own retries and batches (the client's producer does), and when anything is killed.
// Invariant: flights are handed in in their order; an acknowledgement is kept exactly as the broker gave it.
import type { Producer } from "../../api/client.ts";
import type { Flight } from "./flights.ts";
import type { Acknowledgement } from "./proof.ts";
import { pause } from "./waiting.ts";

const TICK_MS = 20;
/** While the broker is away no more than this is handed in ahead. */
const MAX_UNACKNOWLEDGED = 2_000;

export interface PublisherOptions {
  readonly topic: string;
  readonly flights: readonly Flight[];
  /** Flights a second. */
  readonly rate: number;
  readonly signal: AbortSignal;
}

export class Publisher {
  readonly acknowledgements: Acknowledgement[] = [];
  /** Flights that were given up, with the reason. */
  readonly failures: { readonly number: number; readonly reason: string }[] = [];
  /** Only so many flights are handed in until this is raised. */
  gate = Infinity;
  #handedIn = 0;
  /** Numbers without an answer, the lowest first. */
  readonly #pending = new Set<number>();
  readonly #options: PublisherOptions;
  readonly #producer: Producer;

  constructor(producer: Producer, options: PublisherOptions) {
    this.#options = options;
    this.#producer = producer;
  }

  /** Flights handed to the producer so far. */
  get handedIn(): number {
    return this.#handedIn;
  }

  /** The fate of all flights up to this number is known. */
  get settledThrough(): number {
    for (const lowest of this.#pending) return lowest - 1;
    return this.#handedIn;
  }

  /** Publishes all flights; resolves when the fate of each is known. */
  async run(): Promise<void> {
    const { flights, rate, signal } = this.#options;
    const sends: Promise<void>[] = [];
    let due = 0;
    let before = performance.now();
    while (this.#handedIn < flights.length) {
      await pause(TICK_MS, signal);
      const now = performance.now();
      due += (now - before) * rate / 1000;
      before = now;
      // What could not be handed in is not made up for later: the pace stays the pace.
      due = Math.min(due, Math.max(rate * TICK_MS * 5 / 1000, 1));
      while (due >= 1 && this.#mayGoOn()) {
        due -= 1;
        sends.push(this.#send(flights[this.#handedIn++]!));
      }
    }
    await this.#producer.flush();
    await Promise.all(sends);
  }

  /** Gives up what is not settled within `timeoutMs`. */
  async close(timeoutMs: number): Promise<void> {
    await this.#producer.close({ timeoutMs });
  }

  #mayGoOn(): boolean {
    return this.#handedIn < Math.min(this.gate, this.#options.flights.length) &&
      this.#pending.size < MAX_UNACKNOWLEDGED;
  }

  async #send(flight: Flight): Promise<void> {
    const { topic } = this.#options;
    const { number, origin } = flight;
    this.#pending.add(number);
    try {
      const message = { key: origin, value: { ...flight } };
      const { partition, offset } = await this.#producer.send(topic, message);
      this.acknowledgements.push({ number, partition, offset });
    } catch (error) {
      this.failures.push({ number, reason: (error as Error).message });
    }
    this.#pending.delete(number);
  }
}
