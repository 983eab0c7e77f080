// Owns the loop from samples to whoever is told: samples go to the alerts, news of alerts to the log and to webhooks.
// Refuses to own measuring, judging (actors/threshold/) and sending (webhook_sender.ts).
// Invariant: neither a sample that cannot be judged nor a webhook that does not answer holds anything else up.
import type { Broker } from "../../actors/broker.ts";
import type { Samples } from "../../actors/measurement/types.ts";
import type { Alert, AlertNews } from "../../actors/threshold/types.ts";
import type { Clock, Randomness, Timers } from "../../storage/ports.ts";
import type { GuardedFetch } from "../outgoing/guarded_fetch.ts";
import { AuditWatch } from "./audit_watch.ts";
import { WebhookSender } from "./webhook_sender.ts";

/** Alerts of one group that are logged one by one. */
const MAX_LOGGED_ALERTS = 10;

export interface AlertingOptions {
  readonly broker: Broker;
  readonly samples: Samples;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly randomness: Randomness;
  /** Where everything is told. */
  readonly webhooks: readonly string[];
  /** Where only what escalates is told. */
  readonly escalationWebhooks: readonly string[];
  readonly secret: CryptoKey | null;
  readonly fetch: GuardedFetch;
  /** 0: never. */
  readonly auditVerifyMs: number;
  report(
    event: { level: "info" | "warning" | "error"; message: string; error?: unknown },
  ): void;
}

export interface Alerting {
  /** Judges and tells no more; resolves when nothing is under way. */
  stop(): Promise<void>;
}

/** Watches over `broker` from now on. */
export function startAlerting(options: AlertingOptions): Alerting {
  const { broker, samples, timers, auditVerifyMs } = options;
  const { alerts } = broker;
  const audit = new AuditWatch({ audit: broker.audit, timers, everyMs: auditVerifyMs });
  const senders = options.webhooks.map((url) => senderTo(url, options));
  const escalated = options.escalationWebhooks.map((url) => senderTo(url, options));
  const endNews = alerts.onNews((news) => {
    logNews(news, options);
    for (const sender of senders) sender.tell(news);
    if (news.kind === "escalated") { for (const sender of escalated) sender.tell(news); }
  });
  let isFailing = false;
  const endSamples = samples.onSample((sample) => {
    try {
      alerts.observe(sample, { audit: audit.found });
      isFailing = false;
    } catch (error) {
      if (!isFailing) options.report({ level: "error", message: "no alert can be judged", error });
      isFailing = true;
    }
  });
  return {
    stop: async () => {
      endSamples();
      endNews();
      await Promise.all([audit, ...senders, ...escalated].map((one) => one.stop()));
    },
  };
}

function senderTo(url: string, options: AlertingOptions): WebhookSender {
  const { nodeId, clusterId } = options.broker;
  return new WebhookSender({ ...options, url, nodeId, clusterId });
}

function logNews({ kind, alerts }: AlertNews, { report }: AlertingOptions): void {
  for (const alert of alerts.slice(0, MAX_LOGGED_ALERTS)) {
    const isBad = kind === "fired" || kind === "escalated";
    const level = !isBad ? "info" : alert.severity === "P1" ? "error" : "warning";
    // The word for ending a silence is the one for beginning it.
    const isAudible = kind === "silenced" && alert.silencedUntil === null;
    report({ level, message: `alert ${isAudible ? "silence ended" : kind}: ${inWords(alert)}` });
  }
  const others = alerts.length - MAX_LOGGED_ALERTS;
  if (others > 0) report({ level: "info", message: `alert ${kind}: ${others} more like these` });
}

/** `P1 consumer-lag of group billing (topic orders, partition 3): 600000 messages, limit 500000` */
function inWords(alert: Alert): string {
  const { severity, name, resource, value, limit, unit, detail, alertId } = alert;
  const others = Object.entries(resource.labels)
    .filter(([, label]) => label !== resource.name).map(([label, of]) => `${label} ${of}`);
  const told = others.length === 0 ? "" : ` (${others.join(", ")})`;
  const more = detail === null ? "" : `: ${detail}`;
  return `${severity} ${name} of ${resource.type} ${resource.name}${told}, ` +
    `${rounded(value)} ${unit}, limit ${rounded(limit)}${more} [${alertId}]`;
}

function rounded(value: number): number {
  return Math.round(value * 10_000) / 10_000;
}
