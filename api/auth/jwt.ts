// Owns verifying JSON Web Tokens (RFC 7519): with a secret of our own (HS256), or with the keys of an issuer (JWKS).
// Refuses to own configuration. Where keys are fetched from stands there, never in a token.
// Invariant: algorithms are pinned; a token needs a subject and an expiry; at most `MAX_VERIFIED` are remembered, by digest.
import {
  createRemoteJWKSet,
  customFetch,
  errors,
  type JWTPayload,
  jwtVerify,
  type JWTVerifyGetKey,
  type JWTVerifyOptions,
} from "jose";
import { BrokerError } from "../../storage/broker_error.ts";
import type { Clock } from "../../storage/ports.ts";
import { DEFAULT_TENANT } from "../../actors/access_key/types.ts";
import { label, NAME_PATTERN } from "../fields.ts";
import { type Access, isReservedPrincipal } from "./access.ts";
import type { IssuerAlgorithm } from "./algorithms.ts";
import { digestOf } from "./api_key.ts";
import { invalidToken, type TokenVerifier } from "./credentials.ts";

/** Verified tokens that are remembered; the oldest go first. */
const MAX_VERIFIED = 10_000;
/** A remembered token is verified again after this, so that it ends with the key it was signed with. */
const VERIFIED_MS = 60_000;
const JWKS_TIMEOUT_MS = 5_000;
/** Keys are fetched at most this often for tokens that name one we do not know. */
const JWKS_COOLDOWN_MS = 30_000;
const JWKS_MAX_AGE_MS = 600_000;
const MAX_JWKS_BYTES = 1_048_576;

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
  readonly #key: Uint8Array | JWTVerifyGetKey;
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
      this.#key = createRemoteJWKSet(new URL(key.jwksUrl), {
        timeoutDuration: JWKS_TIMEOUT_MS,
        cooldownDuration: JWKS_COOLDOWN_MS,
        cacheMaxAge: JWKS_MAX_AGE_MS,
        [customFetch]: boundedFetch(options.fetch ?? fetch),
      });
      this.#algorithms = key.algorithms;
    }
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
    const { clock, tenantClaim, clockSkewMs } = this.#options;
    const payload = await this.#payload(token);
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
        : await jwtVerify(token, key, options);
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
  if (!principal.success || isReservedPrincipal(principal.data)) throw refusedClaim("sub");
  const tenant = payload[tenantClaim] ?? DEFAULT_TENANT;
  if (typeof tenant !== "string" || !NAME_PATTERN.test(tenant)) throw refusedClaim(tenantClaim);
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
  if (error instanceof errors.JWTExpired) {
    return new BrokerError("UNAUTHENTICATED", "the bearer token has expired");
  }
  if (error instanceof errors.JWTClaimValidationFailed) return refusedClaim(error.claim);
  // No key fits, or the keys that were fetched are no good.
  if (error instanceof errors.JWKSNoMatchingKey) return invalidToken();
  const isIssuers = error instanceof errors.JWKSTimeout || error instanceof errors.JWKSInvalid ||
    error instanceof UnreachableIssuer || isUnexpectedAnswer(error);
  if (isIssuers) {
    const detail = "the keys of the token's issuer cannot be fetched at the moment";
    return new BrokerError("IDENTITY_UNAVAILABLE", detail, {}, { cause: error });
  }
  return invalidToken();
}

/** An answer of the issuer that is not 200, or not JSON, has no class of its own. */
function isUnexpectedAnswer(error: unknown): boolean {
  return error instanceof errors.JOSEError && error.code === "ERR_JOSE_GENERIC";
}

function refusedClaim(claim: string): BrokerError {
  const detail = `claim ${JSON.stringify(claim.slice(0, 100))} of the bearer token is not accepted`;
  return new BrokerError("UNAUTHENTICATED", detail);
}

class UnreachableIssuer extends Error {
  override name = "UnreachableIssuer";
}

/** Follows no redirect and reads no endless answer. */
function boundedFetch(fetchOf: typeof fetch) {
  return async (url: string, init: RequestInit): Promise<Response> => {
    try {
      const response = await fetchOf(url, { ...init, redirect: "manual" });
      const bytes = await boundedBytes(response);
      return new Response(bytes, { status: response.status });
    } catch (cause) {
      if (cause instanceof DOMException && cause.name === "TimeoutError") throw cause;
      throw new UnreachableIssuer("the issuer's keys cannot be fetched", { cause });
    }
  };
}

async function boundedBytes(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > MAX_JWKS_BYTES) throw new Error(`more than ${MAX_JWKS_BYTES} bytes of keys`);
    chunks.push(chunk);
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
