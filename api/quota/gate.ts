// Owns holding tenants and topics to their quotas at this broker's edge: who may come in, with how much, how fast.
// Refuses to own the quotas themselves (actors/quota/), the arithmetic (rate.ts) and the answers' words (refusal.ts).
// Invariant: admission waits for nothing; a refusal is decided before anything is stored, and tells when to come back.
import type { Broker, Topic } from "../../actors/broker.ts";
import type { QuotaLimits } from "../../actors/quota/types.ts";
import type { Clock, Timers } from "../../storage/ports.ts";
import type { Access } from "../auth/access.ts";
import { type ConsumerQuota, TenantConsumer } from "./consumer_quota.ts";
import { hasConsumeLimit, hasPublishLimit, TenantMeter, TopicMeter } from "./meters.ts";
import type { Rate } from "./rate.ts";
import { after, LateRefusals } from "./late_refusals.ts";
import { quotaExceeded, rateExceeded, topicLimitReached, UNKNOWN_DELAY_MS } from "./refusal.ts";
import { type Arrival, refuseRate, RequestUse } from "./request_use.ts";

/** Tenants whose use is in memory; those that are idle go first. Tokens of an issuer may name any number of them. */
const MAX_TENANTS = 10_000;
/** How many are looked at to find one that is idle. */
const MAX_LOOKED_AT = 100;

export interface QuotaGateOptions {
  readonly broker: Pick<Broker, "quotas" | "topic" | "topicNames">;
  readonly clock: Pick<Clock, "monotonic">;
  /** Null: nothing is told late. */
  readonly timers: Timers | null;
  /** Default: MAX_TENANTS. */
  readonly maxTenants?: number;
}

/** Messages that are about to be stored. */
export interface PublishAmount {
  readonly messages: number;
  /** As they will be stored. */
  readonly bytes: number;
}

/** What a tenant has used, but for topics: rates over the last seconds, the rest now. */
export interface QuotaUsage extends Record<Exclude<keyof QuotaLimits, "topics">, number> {
  /** Requests since the broker has started. */
  readonly refused: number;
}

export class QuotaGate {
  readonly #tenants = new Map<string, TenantMeter>();
  /** By topic id. */
  readonly #topics = new Map<string, TopicMeter>();
  readonly #late: LateRefusals;

  constructor(private readonly options: QuotaGateOptions) {
    this.#late = new LateRefusals(options.timers);
  }

  /** What a request of `access` will take. */
  request(access: Pick<Access, "tenant">, arrival: Arrival): RequestUse {
    return new RequestUse(this.#tenant(access.tenant), arrival, this.#nowMs);
  }

  /** Takes messages that are about to be stored. Throws QUOTA_EXCEEDED. */
  publish(access: Pick<Access, "tenant">, topic: Topic, amount: PublishAmount): void {
    const meter = this.#tenant(access.tenant);
    const now = this.#nowMs();
    const { messages, bytes } = amount;
    if (meter.isPaced) {
      const wanted = ["publishMessagesPerSecond", meter.publishMessages, messages] as const;
      refuseRate(meter, [wanted], { nowMs: now });
    }
    if (hasPublishLimit(topic.config)) {
      const own = this.#topic(topic);
      refuseTopicRate(topic, ["publishMessagesPerSecond", own.publishMessages, messages], now);
      refuseTopicRate(topic, ["publishBytesPerSecond", own.publishBytes, bytes], now);
      own.publishMessages.take(messages, now);
      own.publishBytes.take(bytes, now);
    }
    meter.publishMessages.take(messages, now);
  }

  /** One that reads without being a member of a group. */
  reader(access: Pick<Access, "tenant">): ConsumerQuota {
    return this.#consumer(access.tenant, () => {});
  }

  /** One more consumer, until `end` is called. Throws QUOTA_EXCEEDED. */
  connect({ tenant }: Pick<Access, "tenant">): ConsumerQuota {
    const meter = this.#tenant(tenant);
    const limit = meter.limits.connections;
    if (limit !== null && meter.connections >= limit) {
      const retryAfterMs = UNKNOWN_DELAY_MS;
      throw quotaExceeded({ quota: "connections", owner: { tenant }, limit, retryAfterMs });
    }
    meter.connections++;
    return this.#consumer(tenant, () => meter.connections--);
  }

  /** Runs `create`, which makes topic `name` of the tenant. Throws LIMIT_REACHED: no time brings room. */
  async creatingTopic<T>(
    { tenant }: Pick<Access, "tenant">,
    name: string,
    create: () => Promise<T>,
  ): Promise<T> {
    const meter = this.#tenant(tenant);
    const limit = meter.limits.topics;
    if (limit !== null && this.#topicsOf(meter) >= limit) {
      throw topicLimitReached(tenant, limit);
    }
    const creation = { name };
    meter.creating.add(creation);
    try {
      return await create();
    } finally {
      meter.creating.delete(creation);
    }
  }

  /** Resolves when `error` is to be told, to what it then says: see LateRefusals. */
  holdBack(error: unknown, signal: AbortSignal): Promise<unknown> {
    return this.#late.holdBack(error, signal);
  }

  /**
   * Holds back who reads `topic` until there is room, `waitMs` at most or until the caller has gone. Throws QUOTA_EXCEEDED
   * when there is still none.
   */
  async heldBack(
    consumer: ConsumerQuota,
    { topic, waitMs, signal }: { topic: string; waitMs: number; signal: AbortSignal },
  ): Promise<void> {
    const { timers } = this.options;
    const until = this.#nowMs() + waitMs;
    for (let delayMs = consumer.delayMs(topic); delayMs > 0; delayMs = consumer.delayMs(topic)) {
      const leftMs = until - this.#nowMs();
      if (leftMs <= 0 || signal.aborted || timers === null) {
        throw quotaExceeded(consumer.refusal(topic));
      }
      await after(timers, Math.min(delayMs, leftMs), signal);
    }
  }

  /** How many topics there are that principals of each tenant have made. */
  topicsByTenant(): ReadonlyMap<string, number> {
    const { broker } = this.options;
    const counts = new Map<string, number>();
    for (const name of broker.topicNames()) {
      const tenant = broker.topic(name)?.tenant;
      if (tenant !== undefined) counts.set(tenant, (counts.get(tenant) ?? 0) + 1);
    }
    return counts;
  }

  /** Over all tenants. */
  counts(): { readonly refused: number; readonly toldLate: number } {
    return this.#late.counts();
  }

  usage(tenant: string): QuotaUsage {
    const now = this.#nowMs();
    const meter = this.#tenants.get(tenant) ?? new TenantMeter(tenant);
    return {
      publishBytesPerSecond: meter.publishBytes.perSecond(now),
      publishMessagesPerSecond: meter.publishMessages.perSecond(now),
      consumeBytesPerSecond: meter.consumeBytes.perSecond(now),
      requestsPerSecond: meter.requests.perSecond(now),
      connections: meter.connections,
      inFlightBytes: meter.inFlightBytes,
      refused: meter.refused,
    };
  }

  readonly #nowMs = (): number => this.options.clock.monotonic();

  #consumer(tenant: string, onEnd: () => void): ConsumerQuota {
    return new TenantConsumer({
      tenant: () => this.#tenant(tenant),
      topic: (name) => {
        const topic = this.options.broker.topic(name);
        return topic !== null && hasConsumeLimit(topic.config) ? this.#topic(topic) : null;
      },
      nowMs: this.#nowMs,
      onEnd,
    });
  }

  /** With the limits as they are now. */
  #tenant(tenant: string): TenantMeter {
    let meter = this.#tenants.get(tenant);
    if (meter === undefined) {
      if (this.#tenants.size >= (this.options.maxTenants ?? MAX_TENANTS)) this.#forgetOne();
      meter = new TenantMeter(tenant);
      this.#tenants.set(tenant, meter);
    }
    const limits = this.options.broker.quotas.limitsOf(tenant);
    if (limits !== meter.limits) meter.setLimits(limits, this.#nowMs());
    return meter;
  }

  /** One that is idle, else the one that came first. */
  #forgetOne(): void {
    const now = this.#nowMs();
    const first = [...this.#tenants.values().take(MAX_LOOKED_AT)];
    const gone = first.find((meter) => meter.isIdle(now)) ?? first[0]!;
    this.#tenants.delete(gone.tenant);
    for (const meter of first) {
      if (meter === gone) break;
      // Those that were looked at in vain are looked at last the next time.
      this.#tenants.delete(meter.tenant);
      this.#tenants.set(meter.tenant, meter);
    }
  }

  #topic(topic: Topic): TopicMeter {
    let meter = this.#topics.get(topic.topicId);
    if (meter === undefined) {
      this.#forgetDeleted();
      meter = new TopicMeter();
      this.#topics.set(topic.topicId, meter);
    }
    meter.setLimits(topic.config, this.#nowMs());
    return meter;
  }

  /** With those that are being made and not there yet. */
  #topicsOf({ tenant, creating }: TenantMeter): number {
    const { broker } = this.options;
    const isMissing = ({ name }: { name: string }) => broker.topic(name)?.tenant !== tenant;
    return (this.topicsByTenant().get(tenant) ?? 0) + [...creating].filter(isMissing).length;
  }

  /** Called only when a topic with limits is used for the first time: there are never more than topics. */
  #forgetDeleted(): void {
    const { broker } = this.options;
    const kept = new Set(broker.topicNames().map((name) => broker.topic(name)?.topicId));
    for (const topicId of this.#topics.keys()) {
      if (!kept.has(topicId)) this.#topics.delete(topicId);
    }
  }
}

function refuseTopicRate(
  { name: topic }: Topic,
  [quota, rate, count]: readonly [
    "publishMessagesPerSecond" | "publishBytesPerSecond",
    Rate,
    number,
  ],
  nowMs: number,
): void {
  if (rate.delayMs(count, nowMs) === 0) return;
  throw rateExceeded({ quota, owner: { topic } }, rate, { count, nowMs });
}
