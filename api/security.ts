// Owns who may come in at the HTTP door: where a credential stands in a request, and the origins of browsers.
// Refuses to own whose a credential is (auth/credentials.ts) and what a principal may do once in.
// Invariant: a credential that is sent is verified, whether or not one is asked for.
import { Buffer } from "node:buffer";
import type { AccessKeys } from "../actors/access_key/types.ts";
import { BrokerError } from "../storage/broker_error.ts";
import type { Clock } from "../storage/ports.ts";
import { type Access, LOCAL_ADMINISTRATOR } from "./auth/access.ts";
import { credentials, type TokenVerifier } from "./auth/credentials.ts";
import { parsedAddress } from "./request_address.ts";

export interface ApiSecurity {
  /** Null, and no `tokens`: whoever sends no credential is the local administrator. */
  readonly adminToken: string | null;
  /** Verifies JWTs; left out, they open nothing. */
  readonly tokens?: TokenVerifier | null;
  /** Origins, such as `https://console.example.com`, whose pages may change state here. */
  readonly allowedOrigins: readonly string[];
  /**
   * Names, beside IP addresses, that requests may call this broker by; left out, any. Without a credential this is what
   * keeps a page from making its own name resolve to this machine and passing for the broker's own (DNS rebinding).
   */
  readonly trustedHosts?: readonly string[];
}

/**
 * Decides for a request: what it acts as, at once unless a JWT has to be verified. UNAUTHENTICATED, FORBIDDEN,
 * ORIGIN_NOT_ALLOWED, IDENTITY_UNAVAILABLE.
 */
export type Guard = (request: Request) => Access | Promise<Access>;

const BEARER = /^bearer +(\S+)$/i;
/** Browsers cannot set headers on WebSockets: the token travels as a subprotocol. */
const BEARER_SUBPROTOCOL = "bearer.";
/** The same in base64url: names of subprotocols have no "/" and "=", for example. */
const ENCODED_BEARER_SUBPROTOCOL = "bearer64.";
const SAFE_METHODS = new Set(["GET", "HEAD", "OPTIONS"]);

/** A guard for every route that is not open. */
export function createGuard(
  security: ApiSecurity,
  ports: { readonly keys: () => Pick<AccessKeys, "find" | "tenantOf">; readonly clock: Clock },
): Guard {
  const { adminToken, tokens = null } = security;
  const isAsked = adminToken !== null || tokens !== null;
  const accessOf = credentials({ adminToken, tokens, ...ports });
  const allowed = new Set(security.allowedOrigins);
  const refuseForeignHost = hostCheck(security.trustedHosts ?? null);
  return (request) => {
    refuseForeignHost(request.url);
    refuseForeignOrigin(request, allowed);
    const token = tokenOf(request.headers);
    if (token !== null) return accessOf(token);
    if (!isAsked) return LOCAL_ADMINISTRATOR;
    throw new BrokerError("UNAUTHENTICATED", "send Authorization: Bearer with a token");
  };
}

const IP_ADDRESS = /^(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\])$/;

function hostCheck(trustedHosts: readonly string[] | null): (url: string) => void {
  if (trustedHosts === null) return () => {};
  const trusted = new Set(trustedHosts);
  /** Origin of the last URL that passed: nearly every request brings it again. */
  let known: string | null = null;
  return (url) => {
    if (known !== null && url.startsWith(known)) return;
    const { hostname, origin } = parsedAddress(url);
    if (!IP_ADDRESS.test(hostname) && !trusted.has(hostname)) {
      throw new BrokerError(
        "FORBIDDEN",
        `without a credential this broker does not answer to the name ${
          JSON.stringify(hostname.slice(0, 200))
        }: call it by its address, or configure a credential`,
      );
    }
    known = `${origin}/`;
  };
}

function tokenOf(headers: Headers): string | null {
  const authorization = headers.get("authorization");
  if (authorization !== null) return BEARER.exec(authorization)?.[1] ?? null;
  if (!isUpgrade(headers)) return null;
  const protocols = headers.get("sec-websocket-protocol")?.split(",") ?? [];
  for (const text of protocols.map((text) => text.trim())) {
    if (text.startsWith(BEARER_SUBPROTOCOL)) return text.slice(BEARER_SUBPROTOCOL.length);
    if (!text.startsWith(ENCODED_BEARER_SUBPROTOCOL)) continue;
    return Buffer.from(text.slice(ENCODED_BEARER_SUBPROTOCOL.length), "base64url").toString();
  }
  return null;
}

function isUpgrade(headers: Headers): boolean {
  return headers.get("upgrade")?.toLowerCase() === "websocket";
}

/** A foreign page may neither change state nor open a WebSocket, whose frames no browser keeps from it. */
function refuseForeignOrigin(request: Request, allowed: ReadonlySet<string>): void {
  const origin = request.headers.get("origin");
  if (origin === null || allowed.has(origin)) return;
  if (SAFE_METHODS.has(request.method) && !isUpgrade(request.headers)) return;
  if (hostOf(origin) === hostOf(request.url)) return;
  throw new BrokerError(
    "ORIGIN_NOT_ALLOWED",
    `pages of ${JSON.stringify(origin.slice(0, 200))} may not do this`,
  );
}

function hostOf(url: string): string | null {
  return URL.parse(url)?.host ?? null;
}
