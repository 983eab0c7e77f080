// Owns the producer's identities at the broker: an id, and epochs of it that are used once each.
// Refuses to own sequence numbers (accumulator.ts has the next one of each partition) and when a new identity is due (sender.ts).
// Invariant: no two stretches of sequence numbers share an identity, so nothing new can ever look like a repeat.
import { parseJson, type Transport } from "./transport.ts";
import { WaybillError } from "./errors.ts";

const MAX_EPOCH = 32_767;
/** Sequence numbers count modulo this (KIP-98). */
export const SEQUENCES = 0x8000_0000;

/** Under which a stretch of sequence numbers is sent to one partition. */
export interface Identity {
  readonly producerId: number;
  readonly producerEpoch: number;
}

/** Who sends a chunk, and the sequence number of its first message. */
export interface Stamp {
  readonly identity: Identity;
  readonly sequence: number;
}

export interface IdentitiesOptions {
  readonly transport: Transport;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export class Identities {
  readonly #options: IdentitiesOptions;
  #producerId: number | null = null;
  #nextEpoch = 0;
  #asked: Promise<void> | null = null;

  constructor(options: IdentitiesOptions) {
    this.#options = options;
  }

  /** Asks for an id ahead of its first use; `take` meets what goes wrong. */
  prepare(): void {
    if (this.#producerId === null && this.#asked === null) this.#askOnce().catch(() => undefined);
  }

  /** An identity that nobody has used; asks the broker for an id when there is none. Errors: the transport's, BAD_RESPONSE. */
  async take(): Promise<Identity> {
    while (this.#producerId === null || this.#nextEpoch > MAX_EPOCH) {
      await this.#askOnce();
    }
    return { producerId: this.#producerId, producerEpoch: this.#nextEpoch++ };
  }

  /** Somebody else has taken the id over: the next identity has another. */
  forget(producerId: number): void {
    if (this.#producerId === producerId) this.#producerId = null;
  }

  #askOnce(): Promise<void> {
    this.#asked ??= this.#ask().finally(() => this.#asked = null);
    return this.#asked;
  }

  async #ask(): Promise<void> {
    const answer = await this.#options.transport.send({
      method: "POST",
      path: "/api/producers",
      headers: { "accept": "application/json" },
      timeoutMs: this.#options.timeoutMs,
      signal: this.#options.signal,
    });
    const { producerId, producerEpoch } = parseJson<Partial<Identity>>(answer);
    if (!Number.isSafeInteger(producerId) || !Number.isSafeInteger(producerEpoch)) {
      const { status } = answer;
      const detail = "the answer to a new producer has no identity";
      throw new WaybillError("BAD_RESPONSE", detail, { retryable: false, status });
    }
    this.#producerId = producerId!;
    this.#nextEpoch = producerEpoch!;
  }
}
