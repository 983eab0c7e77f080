// Owns what a request acts as: principal, tenant, and for how long.
// Refuses to own how a credential is verified (credentials.ts) and what a principal may do (authorizer.ts).
// Invariant: it tells at any time whether the credential still holds, without waiting.
import { DEFAULT_TENANT } from "../../actors/access_key/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";

/** Why a credential opens nothing any more. */
export type AccessEnd = "revoked" | "expired";

/** What whoever passed the guard acts as. */
export interface Access {
  /** The name that is written into histories. */
  readonly principal: string;
  readonly tenant: string;
  /** May do everything, without an ACL that says so. */
  readonly isAdministrator: boolean;
  /** Null while the credential holds. Asked again and again where a connection lasts. */
  ended(): AccessEnd | null;
  /** Time until it expires by itself; Infinity: never. */
  leftMs(): number;
}

function lasting(principal: string, isAdministrator: boolean): Access {
  return Object.freeze({
    principal,
    tenant: DEFAULT_TENANT,
    isAdministrator,
    ended: () => null,
    leftMs: () => Infinity,
  });
}

/** Everybody where no credential is configured. */
export const LOCAL_ADMINISTRATOR = lasting("local-admin", true);
/** Whoever holds the administrator's token. */
export const ADMINISTRATOR = lasting("admin", true);
/** Everybody on open routes. */
export const ANONYMOUS = lasting("anonymous", false);

const RESERVED = new Set(
  [LOCAL_ADMINISTRATOR, ADMINISTRATOR, ANONYMOUS].map((one) => one.principal),
);
/** In ACLs it is everybody: a principal of that name would be meant by none and by all. */
const EVERYBODY = "*";
/** Histories name the broker's own parts so. */
const RESERVED_PREFIX = "system:";

/**
 * Whether nobody may be called this: it stands for the administrator, the broker itself, or everybody, or, in other letters
 * only, would be taken for one of these in a history.
 */
export function isReservedPrincipal(principal: string): boolean {
  const name = principal.toLowerCase();
  return name === EVERYBODY || RESERVED.has(name) || name.startsWith(RESERVED_PREFIX);
}

/** What to answer when the credential of a request or connection has ended meanwhile. */
export function endedError(why: AccessEnd): BrokerError {
  return new BrokerError("UNAUTHENTICATED", `the credential has ${ENDED[why]}`);
}

const ENDED: Readonly<Record<AccessEnd, string>> = {
  revoked: "been revoked",
  expired: "expired",
};
