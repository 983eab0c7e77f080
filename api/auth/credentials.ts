// Owns finding out whose a bearer token is: the administrator's, an API key, or a JWT.
// Refuses to own where a token stands in a request (../security.ts) and how a JWT is verified (jwt.ts).
// Invariant: a token that is wrong is refused in the same words whatever is wrong with it, and appears in none.
import type { AccessKey, AccessKeys } from "../../actors/access_key/types.ts";
import type { BrokerError } from "../../storage/broker_error.ts";
import type { Clock } from "../../storage/ports.ts";
import { type Access, type AccessEnd, ADMINISTRATOR, endedError } from "./access.ts";
import { type ClaimedIdentity, claimedSubject, RefusedLogin } from "./refused_login.ts";
import { digestOf, isSameDigest, keyIdOf } from "./api_key.ts";

/** Longest token that is looked at. */
const MAX_TOKEN_CHARS = 8_192;
/** Tokens that are known without a digest, which takes longer than all the rest of the guard; the oldest go first. */
const MAX_RECENT = 1_000;
/** Compared with where there is no such key, so that this takes as long. */
const NO_DIGEST = new Uint8Array(32);

/** Verifies tokens that others have signed. */
export interface TokenVerifier {
  /** At once where the token was verified lately. UNAUTHENTICATED; IDENTITY_UNAVAILABLE where its keys cannot be had. */
  verify(token: string): Access | Promise<Access>;
}

export interface CredentialsOptions {
  readonly adminToken: string | null;
  /** Null: JWTs open nothing. */
  readonly tokens: TokenVerifier | null;
  readonly keys: () => Pick<AccessKeys, "find" | "tenantOf">;
  readonly clock: Clock;
}

/** Whose `token` is, at once unless it is a JWT that has to be verified. Throws, or rejects with, UNAUTHENTICATED. */
export function credentials(
  options: CredentialsOptions,
): (token: string) => Access | Promise<Access> {
  const { adminToken, tokens } = options;
  const adminDigest = adminToken === null ? null : digestOf(adminToken);
  const keyAccess = apiKeyAccess(options);
  const ofItsTenant = tokenAccess(options);
  const recent = new Map<string, Access>();
  const remembered = (token: string, access: Access): Access => {
    if (recent.size >= MAX_RECENT) recent.delete(recent.keys().next().value!);
    recent.set(token, access);
    return access;
  };
  return (token) => {
    const known = recent.get(token);
    if (known !== undefined) {
      if (known.ended() === null) return known;
      recent.delete(token);
    }
    if (token.length > MAX_TOKEN_CHARS) throw invalidToken();
    const digest = digestOf(token);
    if (adminDigest !== null && isSameDigest(digest, adminDigest)) {
      return remembered(token, ADMINISTRATOR);
    }
    const keyId = keyIdOf(token);
    if (keyId !== null) return remembered(token, keyAccess(keyId, digest));
    if (tokens === null) throw invalidToken();
    const verified = tokens.verify(token);
    return verified instanceof Promise ? verified.then(ofItsTenant) : ofItsTenant(verified);
  };
}

interface KeyAccess {
  readonly key: AccessKey;
  readonly digest: Uint8Array;
  readonly access: Access;
}

function apiKeyAccess({ keys, clock }: CredentialsOptions) {
  /** Goes with the key: what is not kept any more is not remembered either. */
  const known = new WeakMap<AccessKey, KeyAccess>();
  return (keyId: string, digest: Uint8Array): Access => {
    const key = keys().find(keyId);
    let found = key === null ? undefined : known.get(key);
    if (key !== null && found === undefined) {
      const access = accessOf(key, () => keys().find(keyId) !== null, clock);
      found = { key, digest: Uint8Array.fromHex(key.digest), access };
      known.set(key, found);
    }
    const isSame = isSameDigest(digest, found?.digest ?? NO_DIGEST);
    const claimed = { type: "key", name: keyId } as const;
    if (found === undefined || !isSame) throw invalidToken(claimed);
    const end = found.access.ended();
    if (end !== null) throw new RefusedLogin(endedError(end).message, claimed);
    return found.access;
  };
}

function accessOf(key: AccessKey, isKept: () => boolean, clock: Clock): Access {
  const { principal, tenant, expiresAt } = key;
  const leftMs = () => expiresAt === null ? Infinity : Math.max(0, expiresAt - clock.now());
  const ended = (): AccessEnd | null => {
    if (!isKept()) return "revoked";
    return leftMs() > 0 ? null : "expired";
  };
  return { principal, tenant, isAdministrator: false, ended, leftMs };
}

/**
 * A principal belongs to one tenant: whoever signs tokens cannot take it into another than its API keys are of. What lasts
 * ends when it gets such a key.
 */
function tokenAccess({ keys }: CredentialsOptions): (access: Access) => Access {
  /** The same for the same: others remember by it what they know of an access. */
  const bound = new WeakMap<Access, Access>();
  return (access) => {
    const { principal, tenant } = access;
    const isForeign = () => (keys().tenantOf(principal) ?? tenant) !== tenant;
    if (isForeign()) {
      throw new RefusedLogin(
        "the bearer token names another tenant than its subject belongs to",
        claimedSubject(principal),
      );
    }
    let known = bound.get(access);
    if (known === undefined) {
      const ended = () => access.ended() ?? (isForeign() ? "revoked" : null);
      known = { principal, tenant, isAdministrator: false, leftMs: access.leftMs, ended };
      bound.set(access, known);
    }
    return known;
  };
}

/** One and the same for every token that is wrong. */
export function invalidToken(claimed: ClaimedIdentity | null = null): BrokerError {
  return new RefusedLogin("the bearer token is not valid", claimed);
}
