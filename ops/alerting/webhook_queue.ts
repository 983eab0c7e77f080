// Owns what waits to be delivered to one webhook: what is told together, in which order, when it is tried again.
// Refuses to own sending (webhook_sender.ts) and time: every function is told the monotonic time. Pure.
// Invariant: at most one delivery is under way; news of one group stay in their order; the queue is bounded.
import type { Alert, AlertNews } from "../../actors/threshold/types.ts";

/** After a delivery of a group, what befalls it within this time is told in one. */
export const GROUP_INTERVAL_MS = 10_000;
/** Deliveries that wait; beyond it the oldest are dropped. */
export const MAX_WAITING_DELIVERIES = 500;
/** Alerts in one delivery; more make another. */
export const MAX_DELIVERED_ALERTS = 100;
/** Tries of one delivery: with the pauses between them about an hour and a half. */
export const MAX_ATTEMPTS = 24;
const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 300_000;
/** Groups of which it is known when they were told last. */
const MAX_TOLD_GROUPS = 2_000;

export interface Delivery {
  readonly kind: AlertNews["kind"];
  readonly groupKey: string;
  readonly alerts: readonly Alert[];
  /** Monotonic ms. */
  readonly notBefore: number;
  readonly attempts: number;
}

export class WebhookQueue {
  #waiting: Delivery[] = [];
  /** The first of those that wait, as long as it is under way. */
  #taken: Delivery | null = null;
  readonly #toldAt = new Map<string, number>();
  #dropped = 0;

  get size(): number {
    return this.#waiting.length + (this.#taken === null ? 0 : 1);
  }

  /** Deliveries that were dropped for lack of room, since it was asked last. */
  takeDropped(): number {
    const dropped = this.#dropped;
    this.#dropped = 0;
    return dropped;
  }

  add({ kind, groupKey, alerts }: AlertNews, now: number): void {
    const told = this.#taken?.groupKey === groupKey ? now : this.#toldAt.get(groupKey);
    const notBefore = told === undefined ? now : Math.max(now, told + GROUP_INTERVAL_MS);
    // Only with the last of its group, else what fired after it had ended would be told before.
    const last = this.#waiting.findLastIndex((waiting) => waiting.groupKey === groupKey);
    const before = this.#waiting[last];
    const isJoined = before?.kind === kind && before.attempts === 0 &&
      before.alerts.length + alerts.length <= MAX_DELIVERED_ALERTS;
    if (isJoined) {
      const newer = new Set(alerts.map(({ alertId }) => alertId));
      const others = before.alerts.filter(({ alertId }) => !newer.has(alertId));
      this.#waiting[last] = { ...before, alerts: [...others, ...alerts] };
      return;
    }
    for (let at = 0; at < alerts.length; at += MAX_DELIVERED_ALERTS) {
      const part = alerts.slice(at, at + MAX_DELIVERED_ALERTS);
      this.#waiting.push({ kind, groupKey, alerts: part, notBefore, attempts: 0 });
    }
    const over = this.#waiting.length - MAX_WAITING_DELIVERIES;
    if (over > 0) this.#dropped += this.#waiting.splice(0, over).length;
  }

  /** The next one that is due, which is under way from then on; null when none is, or one is under way. */
  take(now: number): Delivery | null {
    if (this.#taken !== null) return null;
    const groups = new Set<string>();
    for (const [index, delivery] of this.#waiting.entries()) {
      const isFirst = !groups.has(delivery.groupKey);
      groups.add(delivery.groupKey);
      if (!isFirst || delivery.notBefore > now) continue;
      this.#waiting.splice(index, 1);
      this.#taken = delivery;
      return delivery;
    }
    return null;
  }

  /** Monotonic ms when something is due, while nothing is under way; null: nothing waits. */
  get dueAt(): number | null {
    if (this.#taken !== null || this.#waiting.length === 0) return null;
    return Math.min(...this.#waiting.map(({ notBefore }) => notBefore));
  }

  /** What was under way has arrived, or will never. */
  settle(now: number): void {
    const { groupKey } = this.#taken!;
    this.#taken = null;
    this.#toldAt.delete(groupKey);
    this.#toldAt.set(groupKey, now);
    if (this.#toldAt.size > MAX_TOLD_GROUPS) {
      this.#toldAt.delete(this.#toldAt.keys().next().value!);
    }
  }

  /** What was under way is tried again, if it may be: false when not. `fraction` spreads the pause. */
  retry(now: number, fraction: number): boolean {
    const delivery = this.#taken!;
    const attempts = delivery.attempts + 1;
    if (attempts >= MAX_ATTEMPTS) {
      this.settle(now);
      return false;
    }
    this.#taken = null;
    const pauseMs = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** (attempts - 1));
    const notBefore = now + pauseMs * (0.5 + fraction / 2);
    // The receiver is away: nothing goes before this one.
    this.#waiting.unshift({ ...delivery, attempts, notBefore });
    this.#waiting = this.#waiting.map((waiting) =>
      waiting.notBefore >= notBefore ? waiting : { ...waiting, notBefore }
    );
    return true;
  }
}
