// Owns nacks: sending them when the broker is ready for them, and hearing of those it refused or forgot.
// Refuses to own when a message comes again: the broker decides.
// Invariant: a nack is sent only for what the connection of now has delivered; before that it waits.
import type { ConsumedMessage } from "./consumed.ts";
import { WaybillError } from "./errors.ts";
import type { ClientFrame, ErrorFrame } from "./frames.ts";
import type { PartitionState } from "./partition_state.ts";

/** Nacks whose answer is still listened for. */
const MAX_UNCONFIRMED = 10_000;

export interface NackOptions {
  /** `NON_RETRYABLE` ends the retries. */
  readonly code?: string;
  readonly reason?: string;
  readonly delayMs?: number;
}

interface Nack {
  readonly state: PartitionState;
  readonly offset: number;
  readonly attempt: number;
  readonly options: NackOptions;
}

export interface NacksOptions {
  readonly send: (frame: ClientFrame) => boolean;
  readonly onError: (error: WaybillError) => void;
}

export class Nacks {
  readonly #options: NacksOptions;
  /** Bounded by what the application was given and has not settled. */
  #held: Nack[] = [];
  readonly #unconfirmed = new Map<string, Nack>();
  #nextId = 1;

  constructor(options: NacksOptions) {
    this.#options = options;
  }

  nack(state: PartitionState, message: ConsumedMessage, options: NackOptions): void {
    const { offset, attempt } = message;
    const nack = { state, offset, attempt, options };
    if (this.#send(nack)) return;
    this.#held.push(nack);
    state.unsentNacks.add(offset);
  }

  /** The connection has delivered something, or has begun to: what waited for that can go. */
  flush(): void {
    if (this.#held.length === 0) return;
    this.#held = this.#held.filter((nack) => {
      const isDone = this.#send(nack);
      if (isDone) nack.state.unsentNacks.delete(nack.offset);
      return !isDone;
    });
  }

  /** The broker has taken the nack down for good. */
  confirmed(id: string): void {
    const nack = this.#unconfirmed.get(id);
    if (nack === undefined) return;
    this.#unconfirmed.delete(id);
    nack.state.nackKept(nack.offset);
  }

  /** The broker's `error` for a nack; false when it is about something else. */
  refused(frame: ErrorFrame): boolean {
    const nack = this.#unconfirmed.get(String(frame.id));
    if (nack === undefined) return false;
    this.#unconfirmed.delete(String(frame.id));
    nack.state.unnack(nack.offset);
    const { topic, partition } = nack.state;
    this.#options.onError(
      new WaybillError(frame.code, `nack refused: ${frame.detail}`, {
        retryable: frame.retryable,
        details: { ...frame, topic, partition, offset: nack.offset },
      }),
    );
    return true;
  }

  /** The connection was lost before the message came again, and it was committed past: it will not come. */
  forgotten(state: PartitionState, offset: number): void {
    const { topic, partition } = state;
    const detail =
      `${state.key} offset ${offset} was nacked and committed past; the broker forgot it ` +
      "with the lost connection";
    this.#options.onError(
      new WaybillError("NACK_FORGOTTEN", detail, {
        retryable: false,
        details: { topic, partition, offset },
      }),
    );
  }

  dropGone(): void {
    this.#held = this.#held.filter(({ state }) => !state.gone);
  }

  /** False when it has to wait. */
  #send(nack: Nack): boolean {
    const { state, offset, attempt, options } = nack;
    if (offset < state.startedAt && !state.redelivered.has(offset)) {
      this.forgotten(state, offset);
      return true;
    }
    if (offset >= state.delivered) return false;
    const id = `n${this.#nextId}`;
    const sent = this.#options.send({ type: "nack", id, ...state.toJSON(), offset, ...options });
    if (!sent) return false;
    this.#nextId++;
    state.nack(offset, attempt);
    this.#unconfirmed.set(id, nack);
    if (this.#unconfirmed.size > MAX_UNCONFIRMED) {
      const oldest = this.#unconfirmed.keys().next();
      if (!oldest.done) this.#unconfirmed.delete(oldest.value);
    }
    return true;
  }
}
