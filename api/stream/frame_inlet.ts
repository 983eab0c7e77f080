// Owns how fast the frames of one client are let in: as its own rate and its tenant's quota have room.
// Refuses to own what a frame says (frames.ts) and does (connection.ts).
// Invariant: frames are let in whole and in the order in which they came; what waits is bounded, and counted with all that
// waits for sockets. Reading from a WebSocket cannot be stopped, so a client that goes on beyond the bound has to go.
import { TokenBucket } from "../../actors/quota/token_bucket.ts";
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";
import type { ConsumerQuota } from "../quota/consumer_quota.ts";
import type { StreamLimits } from "./limits.ts";
import type { BufferBudget } from "./outbox.ts";

/** What a frame costs beside its bytes: a small one is not for nothing. */
const FRAME_OVERHEAD_BYTES = 256;

export interface FrameInletOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly budget: BufferBudget;
  readonly limits: Pick<
    StreamLimits,
    "maxFrameBytesPerSecond" | "maxWaitingFrameBytes" | "tightTurnBytes" | "maxTotalBufferedBytes"
  >;
  /** Left out: the client's own rate alone counts. */
  readonly quota?: ConsumerQuota | undefined;
  readonly onFrame: (data: string | Uint8Array) => void;
  /** Too much waits already: the client is to be closed. */
  readonly onTooFast: () => void;
}

export class FrameInlet {
  readonly #options: FrameInletOptions;
  readonly #rate: TokenBucket;
  #waiting: (string | Uint8Array)[] = [];
  #waitingBytes = 0;
  #cancel: Cancel | null = null;
  #isStopped = false;

  constructor(options: FrameInletOptions) {
    const { clock, limits } = options;
    this.#options = options;
    this.#rate = new TokenBucket(limits.maxFrameBytesPerSecond, clock.monotonic());
  }

  /** A frame has come: it is let in now, or when there is room. */
  push(data: string | Uint8Array): void {
    if (this.#isStopped) return;
    const delayMs = this.#waiting.length > 0 ? null : this.#delayMs(data);
    if (delayMs === 0) return this.#options.onFrame(data);
    const { budget, limits, onTooFast } = this.#options;
    const isTight = budget.totalBytes >= limits.maxTotalBufferedBytes;
    const maxBytes = isTight ? limits.tightTurnBytes : limits.maxWaitingFrameBytes;
    if (this.#waitingBytes + costOf(data) > maxBytes) return onTooFast();
    this.#waiting.push(data);
    this.#count(costOf(data));
    if (delayMs !== null) this.#later(delayMs);
  }

  /** Lets nothing in any more. */
  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
    this.#waiting = [];
    this.#count(-this.#waitingBytes);
  }

  #later(delayMs: number): void {
    this.#cancel = this.#options.timers.after(delayMs, () => this.#next());
  }

  /** One frame a turn of the event loop: others have theirs in between. */
  #next(): void {
    const [data] = this.#waiting;
    if (data === undefined) return;
    const delayMs = this.#delayMs(data);
    if (delayMs > 0) return this.#later(delayMs);
    this.#waiting.shift();
    this.#count(-costOf(data));
    if (this.#waiting.length > 0) this.#later(0);
    this.#options.onFrame(data);
  }

  /** How long the frame has to wait; when that is not at all it has been counted. */
  #delayMs(data: string | Uint8Array): number {
    const now = this.#options.clock.monotonic();
    const cost = costOf(data);
    const ownMs = this.#rate.delayMs(cost, now);
    const delayMs = ownMs > 0 ? ownMs : this.#options.quota?.frameDelayMs(cost) ?? 0;
    if (delayMs === 0) this.#rate.take(cost, now);
    return delayMs;
  }

  #count(bytes: number): void {
    this.#waitingBytes += bytes;
    this.#options.budget.totalBytes += bytes;
  }
}

function costOf(data: string | Uint8Array): number {
  return data.length + FRAME_OVERHEAD_BYTES;
}
