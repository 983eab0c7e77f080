// Owns how fast one consumer is delivered to: as its tenant's and each topic's quota has room.
// Refuses to own waiting: who delivers holds back, and looks again.
// Invariant: nothing is refused to a consumer for its bytes; what was delivered beyond the room is owed.
import type { TenantMeter, TopicMeter } from "./meters.ts";
import type { QuotaRefusal } from "./refusal.ts";

/** Longest that is held back at once: a quota may be raised meanwhile. */
const MAX_HOLD_MS = 1_000;

export interface ConsumerQuota {
  /** How long to hold back what is of `topic`, ms; 0: there is room. */
  delayMs(topic: string): number;
  /** How much of `topic` there is room for; Infinity without a limit. */
  roomBytes(topic: string): number;
  /** So much of `topic` was delivered. */
  delivered(topic: string, bytes: number): void;
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
    const own = this.ports.tenant().consumeBytes.delayMs(1, now);
    const ofTopic = this.ports.topic(topic)?.consumeBytes.delayMs(1, now) ?? 0;
    return Math.min(MAX_HOLD_MS, Math.max(own, ofTopic));
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
