// Owns who may come in at the HTTP door: the administrator's token and the origins of browsers.
// Refuses to own what a principal may do once in.
// Invariant: a token is compared in constant time and appears in no message.
import { createHash, timingSafeEqual } from "node:crypto";
import { BrokerError } from "../storage/broker_error.ts";

export interface ApiSecurity {
  /** Null: no credential is asked for and everybody is the local administrator. */
  readonly adminToken: string | null;
  /** Origins, such as `https://console.example.com`, whose pages may change state here. */
  readonly allowedOrigins: readonly string[];
  /**
   * Names, beside IP addresses, that requests may call this broker by; left out, any. Without a credential this is what
   * keeps a page from making its own name resolve to this machine and passing for the broker's own (DNS rebinding).
   */
  readonly trustedHosts?: readonly string[];
}

/** Decides for a request: the principal it acts as, or UNAUTHENTICATED or ORIGIN_NOT_ALLOWED. */
export type Guard = (request: Request) => string;

const BEARER = /^bearer +(\S+)$/i;
/** Browsers cannot set headers on WebSockets: the token travels as a subprotocol. */
const BEARER_SUBPROTOCOL = "bearer.";
const SAFE_METHODS = new Set(["GET", "HEAD", "OPTIONS"]);

/** A guard for every route that is not open. */
export function createGuard(security: ApiSecurity): Guard {
  const expected = security.adminToken === null ? null : digest(security.adminToken);
  const allowed = new Set(security.allowedOrigins);
  const refuseForeignHost = hostCheck(security.trustedHosts ?? null);
  return (request) => {
    refuseForeignHost(request.url);
    refuseForeignOrigin(request, allowed);
    if (expected === null) return "local-admin";
    const token = tokenOf(request.headers);
    if (token === null) {
      throw new BrokerError("UNAUTHENTICATED", "send Authorization: Bearer with a token");
    }
    if (!timingSafeEqual(digest(token), expected)) {
      throw new BrokerError("UNAUTHENTICATED", "the bearer token is not valid");
    }
    return "admin";
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
    const { hostname, origin } = new URL(url);
    if (!IP_ADDRESS.test(hostname) && !trusted.has(hostname)) {
      throw new BrokerError(
        "FORBIDDEN",
        `without a credential this broker does not answer to the name ${
          JSON.stringify(hostname.slice(0, 200))
        }: call it by its address, or configure an admin token`,
      );
    }
    known = `${origin}/`;
  };
}

/** Digests have one length, which `timingSafeEqual` needs and which hides that of the token. */
function digest(token: string): Uint8Array {
  return createHash("sha256").update(token).digest();
}

function tokenOf(headers: Headers): string | null {
  const authorization = headers.get("authorization");
  if (authorization !== null) return BEARER.exec(authorization)?.[1] ?? null;
  if (!isUpgrade(headers)) return null;
  const protocols = headers.get("sec-websocket-protocol")?.split(",") ?? [];
  const bearer = protocols.map((text) => text.trim())
    .find((text) => text.startsWith(BEARER_SUBPROTOCOL));
  return bearer?.slice(BEARER_SUBPROTOCOL.length) ?? null;
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
