// Owns delivering news of alerts to one webhook: sending, trying again, giving up.
// Refuses to own what waits (webhook_queue.ts), signing (signature.ts) and whom one may call (ops/outgoing).
// Invariant: a delivery keeps its id in every attempt and after a restart, so that a receiver can tell a repeat.
import { type GuardedFetch } from "../outgoing/guarded_fetch.ts";
import { OutgoingRefusedError } from "../outgoing/rules.ts";
import type { AlertNews } from "../../actors/threshold/types.ts";
import type { Cancel, Clock, Randomness, Timers } from "../../storage/ports.ts";
import { deliveryHeaders } from "./signature.ts";
import { type Delivery, WebhookQueue } from "./webhook_queue.ts";

const TIMEOUT_MS = 10_000;
/** What of the refusals is worth another try: they say that the receiver cannot just now. */
const RETRIED_STATUSES: ReadonlySet<number> = new Set([408, 425, 429]);

export interface WebhookSenderOptions {
  readonly url: string;
  readonly fetch: GuardedFetch;
  readonly secret: CryptoKey | null;
  readonly nodeId: string;
  readonly clusterId: string;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly randomness: Randomness;
  report(event: { level: "warning" | "error"; message: string }): void;
}

export class WebhookSender {
  readonly #queue = new WebhookQueue();
  readonly #host: string;
  #cancel: Cancel | null = null;
  #sending: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(private readonly options: WebhookSenderOptions) {
    // A path may hold a token: the log names the host alone.
    this.#host = new URL(options.url).host;
  }

  tell(news: AlertNews): void {
    if (this.#stopped) return;
    this.#queue.add(news, this.options.clock.monotonic());
    const dropped = this.#queue.takeDropped();
    if (dropped > 0) {
      this.#report("error", `${dropped} deliveries were dropped: too many wait for it`);
    }
    this.#next();
  }

  /** Sends no more; resolves when what is under way has ended. What waits is lost: firing alerts are told after a start. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.#sending;
  }

  #next(): void {
    this.#cancel?.();
    this.#cancel = null;
    if (this.#stopped) return;
    const { clock, timers } = this.options;
    const delivery = this.#queue.take(clock.monotonic());
    if (delivery !== null) {
      this.#sending = this.#send(delivery).then(() => this.#next());
      return;
    }
    const { dueAt } = this.#queue;
    if (dueAt === null) return;
    this.#cancel = timers.after(Math.max(0, dueAt - clock.monotonic()), () => this.#next());
  }

  async #send(delivery: Delivery): Promise<void> {
    const { clock, randomness } = this.options;
    const failure = await this.#attempt(delivery);
    if (failure === null) return this.#queue.settle(clock.monotonic());
    const { isFinal, why } = failure;
    if (isFinal) {
      this.#queue.settle(clock.monotonic());
      this.#report("error", `${delivery.kind} of ${delivery.groupKey} was not taken: ${why}`);
    } else if (!this.#queue.retry(clock.monotonic(), randomness.fraction())) {
      this.#report("error", `${delivery.kind} of ${delivery.groupKey} was given up: ${why}`);
    } else if (delivery.attempts === 0) {
      this.#report("warning", `${delivery.kind} of ${delivery.groupKey} is tried again: ${why}`);
    }
  }

  /** Null when it has arrived. */
  async #attempt(delivery: Delivery): Promise<{ isFinal: boolean; why: string } | null> {
    const { url, fetch, secret, clock } = this.options;
    try {
      const id = await deliveryId(delivery);
      const body = JSON.stringify(this.#payload(delivery, id));
      const headers = await deliveryHeaders({ id, at: clock.now(), body }, secret);
      const { status } = await fetch({ url, method: "POST", headers, body, timeoutMs: TIMEOUT_MS });
      if (status >= 200 && status < 300) return null;
      return { isFinal: status < 500 && !RETRIED_STATUSES.has(status), why: `status ${status}` };
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      return { isFinal: error instanceof OutgoingRefusedError, why };
    }
  }

  #payload({ kind, groupKey, alerts }: Delivery, id: string): unknown {
    const { nodeId, clusterId } = this.options;
    return { version: 1, id, kind, groupKey, clusterId, nodeId, alerts };
  }

  #report(level: "warning" | "error", what: string): void {
    this.options.report({ level, message: `webhook at ${this.#host}: ${what}` });
  }
}

/** The same for the same news, whoever tells them and when. */
async function deliveryId({ kind, groupKey, alerts }: Delivery): Promise<string> {
  const told = alerts.map((alert) => [
    alert.alertId,
    alert.escalations,
    kind === "acknowledged" ? alert.acknowledgedAt : kind === "silenced" ? alert.silencedUntil : 0,
  ]);
  const text = JSON.stringify([kind, groupKey, told]);
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return `alert_${new Uint8Array(hash).slice(0, 16).toHex()}`;
}
