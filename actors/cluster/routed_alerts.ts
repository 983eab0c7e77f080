// Owns alerts as every broker sees them: samples go to whoever leads the alerts' journal and judges them all, a copy of
// what it knows comes back.
// Refuses to own judging (actors/threshold). Invariant: one broker judges at a time; a copy is at most about a second old
// while that broker can be reached, and says so by staying as it was while it cannot.
import type { Cancel, Timers } from "../../storage/ports.ts";
import type { Broker } from "../broker.ts";
import type { Sample } from "../measurement/types.ts";
import { ALERTS_TOPIC } from "../threshold/alerts.ts";
import { isWanted } from "../threshold/alert_views.ts";
import type { Alert, AlertFilter, Alerts, AlertSignals } from "../threshold/types.ts";
import type { Peers } from "./peers.ts";
import type { Router } from "./router.ts";

const HEAR = "alerts.hear";
const COPY = "alerts.copy";
/** Between two looks at what the leader knows. */
const COPY_EVERY_MS = 1_000;
const CALL_MS = 5_000;
const JOURNAL = Object.freeze({ topic: ALERTS_TOPIC, partition: 0 });

interface CopyAnswer {
  readonly change: string;
  /** Null: as at the change that was asked with. */
  readonly alerts: readonly Alert[] | null;
}

/** What the judge is told of other brokers' samples. */
export interface HearsSamples {
  hear(nodeId: string, sample: Sample, signals?: AlertSignals): void;
}

export interface RoutedAlertsOptions {
  readonly router: Router;
  readonly local: Broker;
  readonly timers: Timers;
}

export class RoutedAlerts {
  readonly #listeners = new Set<() => void>();
  #copy: { readonly of: string; readonly answer: CopyAnswer } | null = null;
  #sending = false;
  #cancel: Cancel = () => {};
  #closed = false;

  constructor(private readonly options: RoutedAlertsOptions) {
    options.local.alerts.onChanged(() => this.#leads() && this.#changed());
    this.#next();
  }

  /** See Alerts. A sample is not sent while the one before it is on its way. */
  observe(sample: Sample, signals?: AlertSignals): void {
    const { router, local } = this.options;
    const owner = router.ownerOf(JOURNAL);
    if (owner.at === "here") return local.alerts.observe(sample, signals);
    if (owner.at === "nobody" || this.#sending) return;
    this.#sending = true;
    const request = { method: HEAR, args: { sample, signals } };
    router.there(owner.nodeId, request, { timeoutMs: CALL_MS }).catch(() => {
      // The next one is sent in a second.
    }).finally(() => this.#sending = false);
  }

  list(filter: AlertFilter = {}): readonly Alert[] {
    if (this.#leads()) return this.options.local.alerts.list(filter);
    return (this.#copy?.answer.alerts ?? []).filter((alert) => isWanted(alert, filter));
  }

  find(alertId: string): Alert | null {
    return this.list().find((alert) => alert.alertId === alertId) ?? null;
  }

  onChanged(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#closed = true;
    this.#cancel();
  }

  #leads(): boolean {
    return this.options.router.ownerOf(JOURNAL).at === "here";
  }

  #changed(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  #next(): void {
    if (this.#closed) return;
    this.#cancel = this.options.timers.after(COPY_EVERY_MS, () => {
      void this.#refresh().finally(() => this.#next());
    });
  }

  async #refresh(): Promise<void> {
    const owner = this.options.router.ownerOf(JOURNAL);
    if (owner.at !== "node") return;
    const known = this.#copy?.of === owner.nodeId ? this.#copy.answer.change : null;
    try {
      const request = { method: COPY, args: { known } };
      const answer = await this.options.router.there<CopyAnswer>(owner.nodeId, request, {
        timeoutMs: CALL_MS,
      });
      if (answer.alerts === null) return;
      this.#copy = { of: owner.nodeId, answer };
      this.#changed();
    } catch {
      // What is known stays until somebody leads again.
    }
  }
}

/** What other brokers ask of the alerts here. */
export function serveAlerts(peers: Peers, local: Broker): void {
  const { alerts } = local;
  // Differs from all that this process, or one before it, has told.
  const start = alerts.list().length;
  let changes = 0;
  alerts.onChanged(() => changes++);
  peers.handle(HEAR, (args, { nodeId }) => {
    const { sample, signals } = args as { sample: Sample; signals?: AlertSignals };
    (alerts as Alerts & Partial<HearsSamples>).hear?.(nodeId, sample, signals);
    return Promise.resolve(null);
  });
  peers.handle(COPY, (args, { incarnation }) => {
    const change = `${incarnation} ${start} ${changes}`;
    const isKnown = (args as { known: string | null }).known === change;
    return Promise.resolve({ change, alerts: isKnown ? null : alerts.list() });
  });
}
