// Owns what one tenant or one topic has used of its quotas on this broker.
// Refuses to own whether that is too much (gate.ts).
// Invariant: rates go on over a change of the limits; what is owed stays owed.
import type { TopicConfig } from "../../actors/broker.ts";
import { NO_LIMITS, type QuotaLimits } from "../../actors/quota/types.ts";
import { Rate } from "./rate.ts";

/**
 * Frames of all consumers of a tenant, with or without a quota: to read a MiB of them takes this thread 10 to 30 ms, and no
 * tenant is to have it all.
 */
const MAX_FRAME_BYTES_PER_SECOND = 16 * 1_048_576;

/** A tenant's use. */
export class TenantMeter {
  readonly requests = new Rate();
  readonly publishBytes = new Rate();
  readonly publishMessages = new Rate();
  readonly consumeBytes = new Rate();
  /** Of frames that its consumers send. */
  readonly frameBytes = new Rate();
  /** Consumers there are. */
  connections = 0;
  /** Bytes of bodies of requests under way. */
  inFlightBytes = 0;
  /** Topics that are being made. */
  readonly creating = new Set<{ readonly name: string }>();
  /** Refusals since the broker has started. */
  refused = 0;
  /** Some rate of requests or publishes has a limit: what has none takes the short way. */
  isPaced = false;
  #limits: QuotaLimits = NO_LIMITS;

  constructor(readonly tenant: string) {
    this.frameBytes.setLimit(MAX_FRAME_BYTES_PER_SECOND, 0);
  }

  get limits(): QuotaLimits {
    return this.#limits;
  }

  /** `limits` is the same object as long as nothing has changed. */
  setLimits(limits: QuotaLimits, nowMs: number): void {
    if (limits === this.#limits) return;
    this.#limits = limits;
    this.requests.setLimit(limits.requestsPerSecond, nowMs);
    this.publishBytes.setLimit(limits.publishBytesPerSecond, nowMs);
    this.publishMessages.setLimit(limits.publishMessagesPerSecond, nowMs);
    this.consumeBytes.setLimit(limits.consumeBytesPerSecond, nowMs);
    this.isPaced = limits.requestsPerSecond !== null || limits.publishBytesPerSecond !== null ||
      limits.publishMessagesPerSecond !== null;
  }

  /** Nothing would be lost with it. */
  isIdle(nowMs: number): boolean {
    return this.connections + this.inFlightBytes + this.creating.size === 0 &&
      this.requests.isIdle(nowMs) && this.publishBytes.isIdle(nowMs) &&
      this.publishMessages.isIdle(nowMs) && this.consumeBytes.isIdle(nowMs);
  }
}

/** A topic's use; there is one only for topics with a limit. */
export class TopicMeter {
  readonly publishBytes = new Rate();
  readonly publishMessages = new Rate();
  readonly consumeBytes = new Rate();

  setLimits(config: TopicConfig, nowMs: number): void {
    this.publishBytes.setLimit(config.publishBytesPerSecond ?? null, nowMs);
    this.publishMessages.setLimit(config.publishMessagesPerSecond ?? null, nowMs);
    this.consumeBytes.setLimit(config.consumeBytesPerSecond ?? null, nowMs);
  }
}

/** The same without looking at rates: nearly every topic has none. */
export function hasPublishLimit(config: TopicConfig): boolean {
  const { publishBytesPerSecond: bytes, publishMessagesPerSecond: messages } = config;
  return (bytes !== undefined && bytes !== null) || (messages !== undefined && messages !== null);
}

export function hasConsumeLimit({ consumeBytesPerSecond: bytes }: TopicConfig): boolean {
  return bytes !== undefined && bytes !== null;
}
