// Owns running one route: who asks, in which format, with which checked input, and rendering what the handler says.
// Refuses to own any route, or how an error looks (problem.ts).
// Invariant: every response carries x-request-id, and a handler only ever sees input that passed its schemas.
import { z } from "zod";
import { BrokerError } from "../storage/broker_error.ts";
import { type Access, ANONYMOUS, endedError } from "./auth/access.ts";
import { refuseUnlessAllowed } from "./auth/access_entry.ts";
import type { Need } from "./auth/authorizer.ts";
import type { AuditLog } from "../actors/audit/types.ts";
import { answerBody } from "./answer_body.ts";
import { type AnswerBudget, AnswerHold } from "./answer_budget.ts";
import {
  auditOf,
  noAudit,
  noIntent,
  noteRefusedAccess,
  noteRefusedLogin,
} from "./audit/request_audit.ts";
import { readBody, skipBody } from "./body.ts";
import { type BodyBudget, bodyHolderOf, HeldBytes } from "./body_budget.ts";
import { checked, checkedBytes } from "./checked_data.ts";
import { bodyType, DATA_TYPES, JSON_TYPE, negotiate, renderData } from "./media.ts";
import { NO_PEER, type Peer } from "./peer.ts";
import { invalidRequest, pathText } from "./plain_data.ts";
import { problemResponse } from "./problem.ts";
import type { ApiDependencies, RawBody, Reply, Route, ServedRoute } from "./route.ts";
import { admissionOf } from "./quota/admission.ts";
import type { RequestUse } from "./quota/request_use.ts";
import { RequestTelling } from "./request_telling.ts";
import type { Guard } from "./security.ts";

/** A request id that a caller may choose; anything else is replaced. */
const REQUEST_ID = /^[A-Za-z0-9._-]{1,128}$/;
const NOTHING = z.strictObject({});

export type ServeOptions =
  & Pick<
    ApiDependencies,
    "limits" | "randomness" | "onError" | "authorizer" | "quota" | "clock" | "telemetry"
  >
  & {
    readonly guard: Guard;
    readonly bodies: BodyBudget;
    readonly answers: AnswerBudget;
    readonly audit: AuditLog;
  };

/** The request's own id when it is sane, else a new one. */
export function requestIdOf(request: Request, options: ServeOptions): string {
  const asked = request.headers.get("x-request-id");
  return asked !== null && REQUEST_ID.test(asked) ? asked : options.randomness.uuid();
}

/** Answers requests to `route`; `params` are the path parameters as the router decoded them. Never rejects. */
export function serveRoute(route: ServedRoute, options: ServeOptions) {
  const offered = [...DATA_TYPES, ...route.produces ?? []];
  const quotaUse = admissionOf(route, options.quota);
  const changeOf = auditOf(route, options.audit);
  return async (
    request: Request,
    params: Record<string, string>,
    peer: Peer = NO_PEER,
  ): Promise<Response> => {
    const requestId = requestIdOf(request, options);
    const telling = new RequestTelling(route, options);
    const accept = route.acceptAnything
      ? JSON_TYPE
      : negotiate(request.headers.get("accept"), offered);
    let use: RequestUse | null = null;
    let held: HeldBytes | null = null;
    let hold: AnswerHold | null = null;
    try {
      const guarded = accessOf(request, { route, requestId, peer }, options);
      const access = guarded instanceof Promise ? await guarded : guarded;
      use = quotaUse(access, request);
      use?.admit();
      held = heldBytesOf(access, use, options);
      if (accept === null) throw notAcceptable(request, offered);
      const authorize = (need: Need) => {
        try {
          options.authorizer.require(access, need);
        } catch (error) {
          noteRefusedAccess(options.audit, error, { route, peer, requestId, access, need });
          throw error;
        }
      };
      const input = {
        params: checked(route.params ?? NOTHING, params),
        query: checkedQuery(route, request.url),
        body: await checkedBody(route, { request, authorize }, { limits: options.limits, held }),
      };
      peer.bodyRead?.();
      use?.received(held.bytes);
      const mayStill = () => refuseUnlessAllowed(route.access, input, authorize);
      mayStill();
      const change = changeOf === null ? null : changeOf({ input, access, peer, requestId });
      hold = new AnswerHold(options.answers, holderOf(access), request);
      const context = {
        ...input,
        request,
        requestId,
        peer,
        principal: access.principal,
        access,
        authorize,
        audited: change?.audited ?? noAudit,
        intend: change?.intend ?? noIntent,
        published: telling,
        hold,
        accept,
      };
      const reply = await (change === null ? route.handler(context) : change.run(() =>
        route.handler(context)
      ));
      if (request.method === "GET") await refuseEnded({ access, mayStill }, reply);
      const response = reply instanceof Response
        ? withRequestId(reply, requestId)
        : render(reply, { accept, requestId, hold, peer, method: request.method });
      // Who asks for no body never takes it.
      if (request.method === "HEAD") await response.body?.cancel();
      telling.answered(response.status, null);
      return use === null ? response : use.stamp(response);
    } catch (error) {
      telling.refused(error, route.statuses);
      if (!(error instanceof BrokerError) || error.code === "INTERNAL") {
        options.onError(error, requestId);
      }
      const mediaType = accept ?? JSON_TYPE;
      const shown = { requestId, mediaType, statuses: route.statuses };
      if (use === null) return problemResponse(error, shown);
      if (!use.refused(error)) return use.stamp(problemResponse(error, shown));
      held?.release();
      const told = await options.quota.holdBack(error, request.signal);
      await skipBody(request, options.limits.maxBodyBytes);
      return use.stamp(problemResponse(told, shown), told);
    } finally {
      held?.release();
      hold?.done();
      use?.release();
    }
  };
}

/** Whose answers count together. Strangers on open routes are nobody's tenant, and no tenant keeps administrators out. */
function holderOf(access: Access): string {
  if (access === ANONYMOUS) return "strangers";
  return access.isAdministrator ? "administrators" : `tenant ${access.tenant}`;
}

/** What the body will hold, of its holder's share and of its tenant's quota. */
function heldBytesOf(
  access: Access,
  use: RequestUse | null,
  { bodies }: Pick<ServeOptions, "bodies">,
): HeldBytes {
  return new HeldBytes(
    bodies,
    bodyHolderOf(access),
    use === null ? undefined : (bytes) => use.collected(bytes),
  );
}

/** Who asks; one that is not let in is audited. */
function accessOf(
  request: Request,
  asked: { route: ServedRoute; requestId: string; peer: Peer },
  options: ServeOptions,
): Access | Promise<Access> {
  const { open, looksAtCredential } = asked.route;
  if (open && !looksAtCredential) return ANONYMOUS;
  const refuse = (error: unknown): Access => {
    if (open) return ANONYMOUS;
    noteRefusedLogin(options.audit, error, asked);
    throw error;
  };
  try {
    const guarded = options.guard(request);
    return guarded instanceof Promise ? guarded.catch(refuse) : guarded;
  } catch (error) {
    return refuse(error);
  }
}

/** What was read, after a long wait for data above all, is not handed out if the credential or the right has ended. */
async function refuseEnded(
  { access, mayStill }: { access: Access; mayStill: () => void },
  reply: Reply | Response,
): Promise<void> {
  // Connections that last look after themselves, and an upgrade cannot be taken back.
  if (reply instanceof Response && reply.status === 101) return;
  try {
    const end = access.ended();
    if (end !== null) throw endedError(end);
    mayStill();
  } catch (error) {
    if (reply instanceof Response) await reply.body?.cancel();
    throw error;
  }
}

function notAcceptable(request: Request, offered: readonly string[]): BrokerError {
  const accept = JSON.stringify(request.headers.get("accept")?.slice(0, 200));
  return new BrokerError(
    "NOT_ACCEPTABLE",
    `accept ${accept} leaves nothing of ${offered.join(", ")}`,
    { offered },
  );
}

function checkedQuery(route: Route, url: string): unknown {
  const at = url.indexOf("?");
  if (at === -1) return route.query === undefined ? {} : checked(route.query, {});
  // Probes and pages are asked with whatever a proxy or browser adds.
  if (route.query === undefined && route.open) return {};
  const found: Record<string, string> = Object.create(null);
  for (const [name, value] of new URLSearchParams(url.slice(at + 1))) {
    if (Object.hasOwn(found, name)) {
      throw invalidRequest([{ path: pathText([name]), message: "is given more than once" }]);
    }
    found[name] = value;
  }
  return checked(route.query ?? NOTHING, found);
}

async function checkedBody(
  route: Route,
  { request, authorize }: Pick<RawBody, "request" | "authorize">,
  { limits, held }: { limits: ServeOptions["limits"]; held: HeldBytes },
): Promise<unknown> {
  if (route.binaryBody !== undefined) {
    bodyType(request.headers, [route.binaryBody.mediaType]);
    return await readBody(request, limits.maxBodyBytes, held);
  }
  if (route.body === undefined) return undefined;
  const mediaType = bodyType(request.headers, DATA_TYPES);
  const bytes = await readBody(request, limits.maxBodyBytes, held);
  if (route.bodyOptional && bytes.length === 0) return checked(route.body, {});
  if (route.prepare !== undefined) {
    return await route.prepare({ bytes, mediaType, request, authorize });
  }
  return checkedBytes(bytes, mediaType, {
    schema: route.body,
    limits,
    ...(route.freeFormAt === undefined ? {} : { freeFormAt: route.freeFormAt }),
  });
}

interface RenderOptions {
  readonly accept: string;
  readonly requestId: string;
  readonly hold: AnswerHold;
  readonly peer: Peer;
  readonly method: string;
}

function render(reply: Reply, options: RenderOptions): Response {
  const status = reply.status ?? 200;
  const headers: Record<string, string> = {
    "x-request-id": options.requestId,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...reply.headers,
  };
  if (status === 204) return new Response(null, { status, headers });
  // A caller that takes only a stream of a type that this reply does not come in gets JSON.
  const mediaType = reply.bytes?.mediaType ??
    (DATA_TYPES.includes(options.accept) ? options.accept : JSON_TYPE);
  headers["content-type"] = mediaType;
  const content = reply.bytes?.body ??
    (reply.json !== undefined && mediaType === JSON_TYPE
      ? reply.json()
      : renderData(reply.data, mediaType));
  const { hold, peer: { isMultiplexed } } = options;
  // What changed something has to be told; what was read with room asked for has it.
  const mustTell = options.method !== "GET" || hold.bytes > 0;
  const { body, lengthBytes } = answerBody(content, { hold, mustTell, isMultiplexed });
  if (lengthBytes !== null) headers["content-length"] = String(lengthBytes);
  return new Response(body, { status, headers });
}

/** Upgrades (101) must be returned as they are. */
function withRequestId(response: Response, requestId: string): Response {
  if (response.status !== 101) response.headers.set("x-request-id", requestId);
  return response;
}
