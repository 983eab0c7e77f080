// Owns how fast one consumer is delivered to: as its tenant's and each topic's quota has room.
// Refuses to own waiting: who delivers holds back, and looks again.
// Invariant: nothing is refused to a consumer for its bytes; what was delivered beyond the room is owed.
import type { TenantMeter, TopicMeter } from "./meters.ts";
import type { Rate } from "./rate.ts";
import type { QuotaRefusal } from "./refusal.ts";

/** Longest that is held back at once: a quota may be raised meanwhile. */
const MAX_HOLD_MS = 1_000;
/** Once there is no room, there is to be room for what the rate yields in this time: not for one message after the other. */
const PORTION_MS = 50;
/** A frame that a consumer sends counts as a request for each so many bytes of it that are begun. */
const FRAME_REQUEST_BYTES = 16_384;

export interface ConsumerQuota {
  /** How long to hold back what is of `topic`, ms; 0: there is room. */
  delayMs(topic: string): number;
  /** How long until something of one of `topics` may be delivered. */
  delayMsOfAny(topics: readonly string[]): number;
  /** How much of `topic` there is room for; Infinity without a limit. */
  roomBytes(topic: string): number;
  /** So much of `topic` was delivered. */
  delivered(topic: string, bytes: number): void;
  /** How long a frame of the consumer has to wait, ms; 0: not at all, and it is counted. */
  frameDelayMs(bytes: number): number;
  /** What to say to who cannot be held back. */
  refusal(topic: string): QuotaRefusal;
  /** The consumer is gone. Safe to call again. */
  end(): void;
}

export interface ConsumerQuotaPorts {
  /** With the limits as they are now. */
  readonly tenant: () => TenantMeter;
  /** The same of a topic; null when it has no limit. */
  readonly topic: (name: string) => TopicMeter | null;
  readonly nowMs: () => number;
  readonly onEnd: () => void;
}

export class TenantConsumer implements ConsumerQuota {
  #ended = false;

  constructor(private readonly ports: ConsumerQuotaPorts) {}

  delayMs(topic: string): number {
    const now = this.ports.nowMs();
    const own = holdMs(this.ports.tenant().consumeBytes, now);
    const ofTopic = this.ports.topic(topic)?.consumeBytes;
    return Math.max(own, ofTopic === undefined ? 0 : holdMs(ofTopic, now));
  }

  delayMsOfAny(topics: readonly string[]): number {
    return topics.length === 0 ? 0 : Math.min(...topics.map((topic) => this.delayMs(topic)));
  }

  roomBytes(topic: string): number {
    const now = this.ports.nowMs();
    const own = this.ports.tenant().consumeBytes.available(now);
    const ofTopic = this.ports.topic(topic)?.consumeBytes.available(now) ?? Infinity;
    return Math.max(0, Math.min(own, ofTopic));
  }

  delivered(topic: string, bytes: number): void {
    const now = this.ports.nowMs();
    this.ports.tenant().consumeBytes.take(bytes, now);
    this.ports.topic(topic)?.consumeBytes.take(bytes, now);
  }

  frameDelayMs(bytes: number): number {
    const now = this.ports.nowMs();
    const { requests, frameBytes } = this.ports.tenant();
    const count = Math.ceil(bytes / FRAME_REQUEST_BYTES);
    const delayMs = Math.max(requests.delayMs(count, now), frameBytes.delayMs(bytes, now));
    if (delayMs > 0) return Math.min(MAX_HOLD_MS, delayMs);
    requests.take(count, now);
    frameBytes.take(bytes, now);
    return 0;
  }

  refusal(topic: string): QuotaRefusal {
    const now = this.ports.nowMs();
    const { tenant, consumeBytes: own } = this.ports.tenant();
    const ofTopic = this.ports.topic(topic)?.consumeBytes ?? own;
    const isOwn = own.delayMs(1, now) >= ofTopic.delayMs(1, now);
    const rate = isOwn ? own : ofTopic;
    return {
      quota: "consumeBytesPerSecond",
      owner: isOwn ? { tenant } : { topic },
      limit: rate.limit ?? 0,
      retryAfterMs: rate.delayMs(1, now),
    };
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.ports.onEnd();
  }
}

function holdMs(rate: Rate, nowMs: number): number {
  if (rate.limit === null || rate.delayMs(1, nowMs) === 0) return 0;
  return Math.min(MAX_HOLD_MS, rate.delayMs(rate.limit * PORTION_MS / 1_000, nowMs));
}
