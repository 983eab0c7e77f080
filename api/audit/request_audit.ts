// Owns auditing one request: its intent before the change, its outcome before the answer, what was refused before either.
// Refuses to own which requests are audited (audit_rule.ts) and the log (the broker).
// Invariant: no change is made before its intent is durable; no answer is given before the outcome is, or is said to be lost.
import type { AuditLog, AuditResource } from "../../actors/audit/types.ts";
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import type { Access } from "../auth/access.ts";
import type { Need } from "../auth/authorizer.ts";
import { RefusedLogin } from "../auth/refused_login.ts";
import type { AccessInput } from "../auth/access_entry.ts";
import { type Peer, remoteAddressOf } from "../peer.ts";
import type { Reply, ServedRoute } from "../route.ts";
import type { AuditedChange, AuditRule } from "./audit_rule.ts";

/** What a handler tells of the change that it made; what is left out stays as it was asked for. */
export interface AuditDetails {
  readonly before?: unknown;
  readonly after?: unknown;
  readonly resource?: AuditResource;
  readonly action?: string;
}

/** A request that passed the guard. */
export interface AuditedRequest {
  readonly input: AccessInput;
  readonly access: Access;
  readonly peer: Peer;
  readonly requestId: string;
}

/** How a request is audited: what its handler is given, and how it is run. */
export interface RequestAudit {
  readonly audited: (details: AuditDetails) => void;
  readonly intend: () => Promise<void>;
  /** Runs the handler between intent and outcome. */
  run(handler: () => Promise<Reply | Response> | Reply | Response): Promise<Reply | Response>;
}

/** Of requests that are not audited. */
const NOT_AUDITED = { audited: () => {}, intend: () => Promise.resolve() };

/** How requests to `route` are audited; null where none is, for the hot paths. */
export function auditOf(
  { access: { audit } }: ServedRoute,
  log: AuditLog,
): ((request: AuditedRequest) => RequestAudit) | null {
  if (audit === undefined || typeof audit === "string") return null;
  return (request) => {
    const change = audit.change(request.input);
    if (change === null) return { ...NOT_AUDITED, run: async (handler) => await handler() };
    return new ChangeAudit(log, request, { rule: audit, change });
  };
}

/** What handlers of routes that are not audited are given. */
export const { audited: noAudit, intend: noIntent } = NOT_AUDITED;

class ChangeAudit implements RequestAudit {
  #intent: Promise<number> | null = null;
  #details: AuditDetails = {};

  constructor(
    private readonly log: AuditLog,
    private readonly request: AuditedRequest,
    private readonly what: { rule: AuditRule; change: AuditedChange },
  ) {}

  readonly audited = (details: AuditDetails): void => {
    this.#details = { ...this.#details, ...details };
  };

  readonly intend = async (): Promise<void> => {
    await (this.#intent ??= this.#intend());
  };

  async run(
    handler: () => Promise<Reply | Response> | Reply | Response,
  ): Promise<Reply | Response> {
    const { rule } = this.what;
    if (!rule.late) await this.intend();
    let reply: Reply | Response;
    try {
      reply = await handler();
    } catch (error) {
      // What the caller is told is why it failed; an outcome that cannot be written now is written later.
      await this.#conclude({ outcome: "failure", code: asBrokerError(error).code })
        .catch(() => undefined);
      throw error;
    }
    if (this.#intent === null) throw new Error(`${rule.action} was done without an intent`);
    await this.#conclude({ outcome: "success" });
    return reply;
  }

  #intend(): Promise<number> {
    const { access, peer, requestId, input } = this.request;
    const { rule: { action }, change: { resource, asked } } = this.what;
    return this.log.intend({
      actor: access.principal,
      tenant: access.tenant,
      remoteAddress: remoteAddressOf(peer),
      action,
      resource,
      before: null,
      after: asked === undefined ? input.body ?? null : asked,
      reason: reasonOf(input),
      requestId,
    });
  }

  async #conclude(result: { outcome: "success" | "failure"; code?: string }): Promise<void> {
    const intent = await this.#intent;
    if (intent !== null) await this.log.conclude(intent, { ...result, ...this.#details });
  }
}

function reasonOf({ body }: AccessInput): string | null {
  if (typeof body !== "object" || body === null || !("reason" in body)) return null;
  return typeof body.reason === "string" ? body.reason : null;
}

/** Notes a request that the guard let not in. */
export function noteRefusedLogin(
  log: AuditLog,
  error: unknown,
  request: { route: ServedRoute; peer: Peer; requestId: string },
): void {
  if (!(error instanceof BrokerError) || !LOGIN_REFUSALS.has(error.code)) return;
  log.refused({
    action: "login.refused",
    actor: "anonymous",
    tenant: null,
    // Whose the credential claims to be; nobody has shown that it is.
    resource: error instanceof RefusedLogin ? error.claimed : null,
    ...refusalOf(error, request),
  });
}

/** Notes what a principal was not allowed. */
export function noteRefusedAccess(
  log: AuditLog,
  error: unknown,
  request: { route: ServedRoute; peer: Peer; requestId: string; access: Access; need: Need },
): void {
  if (!(error instanceof BrokerError)) return;
  const { access: { principal: actor, tenant }, need: { operation, resource: type, name } } =
    request;
  const asked = { actor, tenant, resource: { type, name }, operation };
  log.refused({ action: "access.refused", ...asked, ...refusalOf(error, request) });
}

/** What a guard says of those it keeps out; what it says of itself (IDENTITY_UNAVAILABLE) is no refusal. */
const LOGIN_REFUSALS: ReadonlySet<string> = new Set([
  "UNAUTHENTICATED",
  "FORBIDDEN",
  "ORIGIN_NOT_ALLOWED",
]);

function refusalOf(
  error: BrokerError,
  { route, peer, requestId }: { route: ServedRoute; peer: Peer; requestId: string },
) {
  return {
    remoteAddress: remoteAddressOf(peer),
    code: error.code,
    reason: error.message,
    route: `${route.method} ${route.path}`,
    requestId,
  };
}
