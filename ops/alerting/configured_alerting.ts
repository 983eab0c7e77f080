// Owns making the alerting of a broker from its configuration.
// Refuses to own what it does (alerting.ts).
// Invariant: what cannot be called or signed is an error of the configuration, found before the broker starts.
import { type GuardedFetch, guardedFetch } from "../outgoing/guarded_fetch.ts";
import { OutgoingRules } from "../outgoing/rules.ts";
import { type Config } from "../config_keys.ts";
import { ConfigError } from "../config.ts";
import { type Alerting, type AlertingOptions, startAlerting } from "./alerting.ts";
import { signingKey } from "./signature.ts";

const MINUTE_MS = 60_000;

/** What of alerting follows from the configuration alone. */
export type AlertingSettings = Pick<
  AlertingOptions,
  "webhooks" | "escalationWebhooks" | "secret" | "fetch" | "auditVerifyMs"
>;

/** Throws ConfigError for a webhook that may not be called, and a secret that is none. */
export async function alertingSettings(config: Config): Promise<AlertingSettings> {
  const { alertWebhooks: webhooks, alertEscalationWebhooks: escalationWebhooks } = config;
  const fetch = outgoingFetch(config, [...webhooks, ...escalationWebhooks]);
  const secret = await secretOf(config);
  return {
    webhooks,
    escalationWebhooks,
    secret,
    fetch,
    auditVerifyMs: config.auditVerifyMinutes * MINUTE_MS,
  };
}

/** Watches over a broker from now on. */
export function startConfiguredAlerting(
  settings: AlertingSettings,
  options: Omit<AlertingOptions, keyof AlertingSettings>,
): Alerting {
  return startAlerting({ ...options, ...settings });
}

/** The operator has listed a webhook by configuring it. */
function outgoingFetch({ outgoingHosts }: Config, webhooks: readonly string[]): GuardedFetch {
  const hosts = webhooks.map((url) => {
    const parsed = URL.parse(url);
    if (parsed === null) throw new ConfigError("alertWebhooks holds something that is no URL");
    const host = parsed.hostname.replace(/^\[|\]$/g, "");
    const isAddress = host.includes(":") || /^[\d.]+$/.test(host);
    return isAddress || parsed.port === "" ? host : `${host}:${parsed.port}`;
  });
  try {
    const rules = new OutgoingRules([...outgoingHosts, ...hosts]);
    for (const url of webhooks) rules.target(url);
    return guardedFetch({ rules });
  } catch (error) {
    throw new ConfigError(`outgoingHosts or alertWebhooks: ${(error as Error).message}`);
  }
}

async function secretOf({ alertWebhookSecret }: Config): Promise<CryptoKey | null> {
  if (alertWebhookSecret === undefined) return null;
  try {
    return await signingKey(alertWebhookSecret);
  } catch {
    throw new ConfigError("alertWebhookSecret begins with whsec_ and is not base64 behind it");
  }
}
