// Owns one call of this broker to another, as its caller sees it: its answer, its deadline, giving up.
// Refuses to own the connection. Invariant: it ends once; as not sent (PEER_UNAVAILABLE) only when no byte of it has left.
import type { PeerCallOptions } from "../../actors/cluster/peers.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { Cancel, Timers } from "../../storage/ports.ts";
import type { EncodedMessage } from "./message.ts";

export interface CallOptions extends PeerCallOptions {
  readonly timers: Timers;
  readonly to: string;
  readonly method: string;
  /** With its id. */
  readonly encode: (id: number) => EncodedMessage;
}

export class OutgoingCall {
  readonly result: Promise<unknown>;
  /** Told when its caller has given up, after that was settled. */
  onGivenUp: () => void = () => {};
  #ended = false;
  #isSent = false;
  #resolve!: (value: unknown) => void;
  #reject!: (error: unknown) => void;
  readonly #cancelTimeout: Cancel;
  readonly #giveUp = () => this.#givenUp("nobody waits for it any more");

  constructor(readonly options: CallOptions) {
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    const { timers, timeoutMs, signal } = options;
    this.#cancelTimeout = timers.after(timeoutMs, () => {
      this.#givenUp(`${timeoutMs} ms have passed`);
    });
    signal?.addEventListener("abort", this.#giveUp);
    if (signal?.aborted === true) this.#giveUp();
  }

  get hasEnded(): boolean {
    return this.#ended;
  }

  get isSent(): boolean {
    return this.#isSent;
  }

  /** Its first byte leaves. */
  sent(): void {
    this.#isSent = true;
  }

  answered(value: unknown): void {
    this.#end(() => this.#resolve(value));
  }

  refused(error: BrokerError): void {
    this.#end(() => this.#reject(error));
  }

  /** No answer will come. */
  lost(why: string, cause?: unknown): void {
    const { to, method } = this.options;
    const details = { nodeId: to };
    this.#end(() =>
      this.#reject(
        this.#isSent
          ? new BrokerError("PEER_LOST", `${to} did not answer ${method}: ${why}`, details, {
            cause,
          })
          : unavailable(to, why, cause),
      )
    );
  }

  #givenUp(why: string): void {
    if (this.#ended) return;
    this.lost(why);
    this.onGivenUp();
  }

  #end(how: () => void): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#cancelTimeout();
    this.options.signal?.removeEventListener("abort", this.#giveUp);
    how();
  }
}

export function unavailable(nodeId: string, why: string, cause?: unknown): BrokerError {
  const message = `${nodeId} was not asked: ${why}`;
  return new BrokerError("PEER_UNAVAILABLE", message, { nodeId }, { cause });
}
