// Owns what the configuration says of JSON Web Tokens: which key verifies them, and which combinations make no sense.
// Refuses to own verifying (api/auth/jwt.ts).
// Invariant: tokens are verified with one kind of key, and keys are fetched from where the configuration says alone.
import type { JwtVerifier, TokenKey } from "../api/auth/jwt.ts";
import type { Clock } from "../storage/ports.ts";
import { ConfigError } from "./config.ts";
import type { Config } from "./config_keys.ts";
import type { SeriesDefinition } from "./metrics/series.ts";

const HOUR_MS = 3_600_000;
const LOOPBACK_HOST = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;

/** Whether anything but an API key opens this broker: then nobody comes in without a credential. */
export function hasCredential(config: Config): boolean {
  return config.adminToken !== undefined || config.jwtSecret !== undefined ||
    config.jwtJwksUrl !== undefined;
}

/** The verifier that `config` asks for; null when it names no key. Rejects with ConfigError. */
export async function tokenVerifierOf(
  config: Config,
  clock: Clock,
): Promise<JwtVerifier | null> {
  const key = tokenKeyOf(config);
  if (key === null) return null;
  // Loaded only then: it would take a good part of the time in which a broker starts.
  const { JwtVerifier } = await import("../api/auth/jwt.ts");
  return new JwtVerifier({
    key,
    issuer: config.jwtIssuer ?? null,
    audience: config.jwtAudience ?? null,
    clockSkewMs: config.jwtClockSkewSeconds * 1_000,
    maxLifeMs: config.jwtMaxLifeHours * HOUR_MS,
    tenantClaim: config.jwtTenantClaim,
    clock,
  });
}

/** What metrics tell of the issuer. */
export function issuerSeries(
  tokens: Pick<JwtVerifier, "issuerFailures">,
): readonly SeriesDefinition[] {
  const help = "fetches of the token issuer's keys that brought none";
  const points = () => tokens.issuerFailures;
  return [{ name: "waybill_issuer_failures_total", help, points }];
}

function tokenKeyOf(config: Config): TokenKey | null {
  const { jwtSecret: secret, jwtJwksUrl: jwksUrl, jwtIssuer, jwtAudience } = config;
  if (secret !== undefined && jwksUrl !== undefined) {
    throw new ConfigError("jwtSecret and jwtJwksUrl exclude each other: set one");
  }
  if (secret !== undefined) return { secret };
  if (jwksUrl === undefined) {
    if (jwtIssuer === undefined && jwtAudience === undefined) return null;
    throw new ConfigError("jwtIssuer and jwtAudience need jwtSecret or jwtJwksUrl beside them");
  }
  // An issuer signs tokens for others too: without these theirs would open this broker.
  if (jwtIssuer === undefined || jwtAudience === undefined) {
    throw new ConfigError("jwtJwksUrl needs jwtIssuer and jwtAudience beside it");
  }
  refuseOpenFetch(jwksUrl);
  return { jwksUrl, algorithms: config.jwtAlgorithms };
}

/** Who can change the keys on their way here can sign any token. */
function refuseOpenFetch(jwksUrl: string): void {
  const url = URL.parse(jwksUrl);
  if (url === null) throw new ConfigError("jwtJwksUrl is not a URL");
  if (url.protocol === "https:") return;
  if (url.protocol === "http:" && LOOPBACK_HOST.test(url.hostname)) return;
  throw new ConfigError("jwtJwksUrl must be https, or http on loopback");
}
