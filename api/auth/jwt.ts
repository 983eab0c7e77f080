// Owns verifying JSON Web Tokens (RFC 7519): with a secret of our own (HS256), or with the keys of an issuer (JWKS).
// Refuses to own configuration, where it stands whence keys are fetched, and fetching them (issuer_keys.ts).
// Invariant: algorithms are pinned; a token needs a subject and an expiry; at most `MAX_VERIFIED` are remembered, by digest.
import { errors, type JWTPayload, jwtVerify, type JWTVerifyOptions } from "jose";
import { BrokerError } from "../../storage/broker_error.ts";
import type { Clock } from "../../storage/ports.ts";
import { DEFAULT_TENANT } from "../../actors/access_key/types.ts";
import { label, NAME_PATTERN } from "../fields.ts";
import { type Access, isReservedPrincipal } from "./access.ts";
import type { IssuerAlgorithm } from "./algorithms.ts";
import { digestOf } from "./api_key.ts";
import { invalidToken, type TokenVerifier } from "./credentials.ts";
import { claimedSubject, RefusedLogin } from "./refused_login.ts";
import { IssuerKeys, type IssuerNews } from "./issuer_keys.ts";

/** Verified tokens that are remembered; the oldest go first. */
const MAX_VERIFIED = 10_000;
/** A year: a token cannot be revoked. */
const MAX_LIFE_MS = 8_760 * 3_600_000;
/** A remembered token is verified again after this, so that it ends with the key it was signed with. */
const VERIFIED_MS = 60_000;

/** What signs tokens. */
export type TokenKey =
  | { readonly secret: string }
  | { readonly jwksUrl: string; readonly algorithms: readonly IssuerAlgorithm[] };

export interface JwtOptions {
  readonly key: TokenKey;
  /** `iss` must be this; null: anything, or nothing. */
  readonly issuer: string | null;
  /** `aud` must hold this; null: anything, or nothing. */
  readonly audience: string | null;
  /** How far the issuer's clock may be off, for `exp`, `nbf` and `iat`. */
  readonly clockSkewMs: number;
  /** `exp` may be this far ahead at most, so that one in ms, or in a hundred years, is refused. Default: MAX_LIFE_MS. */
  readonly maxLifeMs?: number;
  /** Claim that names the tenant; a token without it belongs to the default one. */
  readonly tenantClaim: string;
  readonly clock: Clock;
  /** Default: the runtime's. */
  readonly fetch?: typeof fetch;
}

interface Verified {
  readonly access: Access;
  /** Monotonic. */
  readonly againAtMs: number;
}

export class JwtVerifier implements TokenVerifier {
  readonly #options: JwtOptions;
  readonly #key: Uint8Array | IssuerKeys;
  readonly #algorithms: readonly string[];
  /** By digest, oldest first. */
  readonly #verified = new Map<string, Verified>();

  constructor(options: JwtOptions) {
    this.#options = options;
    const { key } = options;
    if ("secret" in key) {
      this.#key = new TextEncoder().encode(key.secret);
      this.#algorithms = ["HS256"];
    } else {
      const { clock } = options;
      const url = new URL(key.jwksUrl);
      this.#key = new IssuerKeys({ url, clock, fetch: options.fetch ?? fetch });
      this.#algorithms = key.algorithms;
    }
  }

  /** Fetches of an issuer's keys that brought none, since the start. */
  get issuerFailures(): number {
    return this.#key instanceof IssuerKeys ? this.#key.failures : 0;
  }

  /** Tells `report` when an issuer's keys cannot be fetched, and when they can again. */
  watch(report: (news: IssuerNews) => void): void {
    if (this.#key instanceof IssuerKeys) this.#key.watch(report);
  }

  verify(token: string): Access | Promise<Access> {
    const name = digestOf(token).toBase64();
    const known = this.#verified.get(name);
    if (known !== undefined) {
      const isRecent = this.#options.clock.monotonic() < known.againAtMs;
      if (isRecent && known.access.ended() === null) return known.access;
      this.#verified.delete(name);
    }
    return this.#verify(token, name);
  }

  async #verify(token: string, name: string): Promise<Access> {
    const { clock, tenantClaim, clockSkewMs, maxLifeMs = MAX_LIFE_MS } = this.#options;
    const payload = await this.#payload(token);
    if (payload.exp! * 1_000 - clock.now() > maxLifeMs + clockSkewMs) {
      throw refusedClaim("exp", payload);
    }
    const access = accessOf(payload, { clock, tenantClaim, clockSkewMs });
    if (this.#verified.size >= MAX_VERIFIED) {
      this.#verified.delete(this.#verified.keys().next().value!);
    }
    this.#verified.set(name, { access, againAtMs: clock.monotonic() + VERIFIED_MS });
    return access;
  }

  async #payload(token: string): Promise<JWTPayload> {
    const { issuer, audience, clockSkewMs, clock } = this.#options;
    const options: JWTVerifyOptions = {
      algorithms: [...this.#algorithms],
      ...(issuer === null ? {} : { issuer }),
      ...(audience === null ? {} : { audience }),
      clockTolerance: clockSkewMs / 1_000,
      requiredClaims: ["sub", "exp"],
      currentDate: new Date(clock.now()),
    };
    try {
      // The overloads of jose tell a key from a function, not their union.
      const key = this.#key;
      const verified = key instanceof Uint8Array
        ? await jwtVerify(token, key, options)
        : await jwtVerify(token, (header, token) => key.find(header, token), options);
      return verified.payload;
    } catch (error) {
      throw refusalOf(error);
    }
  }
}

function accessOf(
  payload: JWTPayload,
  { clock, tenantClaim, clockSkewMs }: Pick<JwtOptions, "clock" | "tenantClaim" | "clockSkewMs">,
): Access {
  const principal = label.safeParse(payload.sub);
  if (!principal.success || isReservedPrincipal(principal.data)) {
    throw refusedClaim("sub", payload);
  }
  const tenant = payload[tenantClaim] ?? DEFAULT_TENANT;
  if (typeof tenant !== "string" || !NAME_PATTERN.test(tenant)) {
    throw refusedClaim(tenantClaim, payload);
  }
  const endsAt = payload.exp! * 1_000 + clockSkewMs;
  const leftMs = () => Math.max(0, endsAt - clock.now());
  return {
    principal: principal.data,
    tenant,
    isAdministrator: false,
    leftMs,
    ended: () => leftMs() > 0 ? null : "expired",
  };
}

/** What is wrong with a token may be told by the name of a claim; nothing of the token itself is. */
function refusalOf(error: unknown): BrokerError {
  if (error instanceof BrokerError) return error;
  // Claims are looked at when the signature holds.
  if (error instanceof errors.JWTExpired) {
    return new RefusedLogin("the bearer token has expired", claimedSubject(error.payload.sub));
  }
  if (error instanceof errors.JWTClaimValidationFailed) {
    return refusedClaim(error.claim, error.payload);
  }
  return invalidToken();
}

function refusedClaim(claim: string, { sub }: JWTPayload): BrokerError {
  const detail = `claim ${JSON.stringify(claim.slice(0, 100))} of the bearer token is not accepted`;
  return new RefusedLogin(detail, claimedSubject(sub));
}
