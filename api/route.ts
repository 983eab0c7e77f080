// Owns the definition of an HTTP route: one object that is served (serve_route.ts) and documented (openapi.ts).
// Refuses to own running it, or any route of its own.
// Invariant: the schema that validates a parameter, query or body is the one that is documented.
import { z } from "zod";
import type { Broker } from "../actors/broker.ts";
import type { ErrorCode } from "../storage/broker_error.ts";
import type { Clock, Crc32c, Randomness } from "../storage/ports.ts";
import type { Access } from "./auth/access.ts";
import type { AnswerHold } from "./answer_budget.ts";
import type { AuditDetails } from "./audit/request_audit.ts";
import type { AccessEntry } from "./auth/access_entry.ts";
import type { Authorizer, Need } from "./auth/authorizer.ts";
import type { ApiLimits } from "./limits.ts";
import type { QuotaGate } from "./quota/gate.ts";
import type { Peer } from "./peer.ts";
import type { PublishPreparer } from "./publish_preparation.ts";
import type { PublishTelling } from "./request_telling.ts";
import type { Telemetry } from "./telemetry.ts";

export type HttpMethod = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** What route modules are built from. */
export interface ApiDependencies {
  readonly broker: Broker;
  /** Who may do what; within a request, `authorize` of its context asks it. */
  readonly authorizer: Authorizer;
  /** Holds tenants and topics to their quotas. */
  readonly quota: QuotaGate;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly crc32c: Crc32c;
  readonly limits: ApiLimits;
  readonly version: string;
  /** Lets other work of the event loop run before it resolves. */
  readonly yieldToEventLoop: () => Promise<void>;
  /** Prepares publish requests, on other threads perhaps; default: on this one. */
  readonly preparePublish?: PublishPreparer;
  /** Hears of every fault of the broker's own (INTERNAL), and of streams that broke off. */
  readonly onError: (error: unknown, requestId: string) => void;
  /** Hears what is published, delivered and answered. */
  readonly telemetry: Telemetry;
}

/** A part of the API: its routes, made from what they need. */
export type RouteModule = (dependencies: ApiDependencies) => readonly Route[];

/** What a handler is given; everything in it has passed its schema. */
export interface RouteContext<Params, Query, Body> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  /** The request as it came; its `signal` aborts when the caller goes away. */
  readonly request: Request;
  readonly requestId: string;
  /** Whoever the request came from. */
  readonly peer: Peer;
  /** Who asks: the name that is written into histories. */
  readonly principal: string;
  /** The same with all that is known of who asks, and whether the credential still holds. */
  readonly access: Access;
  /**
   * Throws unless whoever asks may do this: as `Authorizer.require`. For what a handler finds out late; what the request
   * itself names is checked before, by the table of accesses.
   */
  readonly authorize: (need: Need) => void;
  /** Tells the audit log more of an audited change: what was before, what it became. Nothing on other routes. */
  readonly audited: (details: AuditDetails) => void;
  /** Writes the intent, on routes where the access table leaves to the handler when: before anything is changed. */
  readonly intend: () => Promise<void>;
  /** For telemetry: to be told what is published, on routes that publish. */
  readonly published: PublishTelling;
  /** What the answer holds of the memory for all answers: to be asked before anything large is read for it. */
  readonly hold: AnswerHold;
  /** The media type to answer in: one of the data types or of the route's `produces`. */
  readonly accept: string;
}

/** What a handler answers with, to be rendered in the caller's format; or a whole Response (streams, upgrades, pages). */
export interface Reply {
  /** Default 200. */
  readonly status?: number;
  /** Plain data; none with 204. */
  readonly data?: unknown;
  /** Ready JSON text of the same data, perhaps in pieces, for hot paths: used when the caller takes JSON. */
  readonly json?: () => string | readonly string[];
  /** A body of another type, instead of `data`. */
  readonly bytes?: { readonly mediaType: string; readonly body: Uint8Array<ArrayBuffer> };
  readonly headers?: Readonly<Record<string, string>>;
}

/** One documented response. */
export interface ResponseDoc {
  readonly description: string;
  /** Schema of the data; documented in JSON and MessagePack. */
  readonly schema?: z.ZodType;
  /** Other media types that this response may come in, with what they hold. */
  readonly otherTypes?: Readonly<Record<string, string>>;
  /** Response headers by name, with what they say. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly example?: unknown;
}

/** The `body` of a route with a `binaryBody`: the handler gets the bytes. */
export const bytesBody = z.instanceof(Uint8Array);

/** What a body is that is not JSON or MessagePack. */
export interface BinaryBody {
  readonly mediaType: string;
  readonly description: string;
}

/** A JSON or MessagePack body that was read whole, within its bounds. */
export interface RawBody {
  readonly bytes: Uint8Array;
  readonly mediaType: string;
  readonly request: Request;
  /** As in the context of the handler: to be asked before anything of what the body names can be told. */
  readonly authorize: (need: Need) => void;
}

export interface RouteDefinition<
  Params extends z.ZodObject = z.ZodObject,
  Query extends z.ZodObject = z.ZodObject,
  Body extends z.ZodType = z.ZodType,
> {
  readonly method: HttpMethod;
  /** OpenAPI template: `/api/groups/{group}:pause`. Every `{name}` is a key of `params`. */
  readonly path: string;
  readonly operationId: string;
  /** Heading under which it is documented. */
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  readonly params?: Params;
  /** Strict: unknown and repeated query parameters are refused. */
  readonly query?: Query;
  readonly body?: Body;
  /** The body may be left out; `body` is then parsed from `{}`. */
  readonly bodyOptional?: boolean;
  /** Where a body may hold data of any shape, and MessagePack bytes; default nowhere. */
  readonly freeFormAt?: (path: readonly (string | number)[]) => boolean;
  /** Parses and checks the body in the place of `body`, which then only documents it; its result is the handler's `body`. */
  readonly prepare?: (raw: RawBody) => Promise<unknown>;
  /** Makes the body an opaque one; `body` is then `bytesBody`. */
  readonly binaryBody?: BinaryBody;
  /** Request headers that the handler reads, with what they say. */
  readonly requestHeaders?: Readonly<Record<string, string>>;
  /** Media types beside JSON and MessagePack that the handler can answer in. */
  readonly produces?: readonly string[];
  readonly responses: Readonly<Record<number, ResponseDoc>>;
  /** Codes that this route can answer beside those that every route can. */
  readonly errors?: readonly ErrorCode[];
  /** Statuses of codes on this route where they are not those of the table. */
  readonly statuses?: Partial<Readonly<Record<ErrorCode, number>>>;
  readonly bodyExample?: unknown;
  /** Its body is messages: the bytes count as published. */
  readonly publishes?: boolean;
  /** Served without credential (probes, documentation). */
  readonly open?: boolean;
  /** Of an open route: a credential that is sent is looked at, since whoever holds one may be told more. */
  readonly looksAtCredential?: boolean;
  /** Answers a browser page or an upgrade: what the caller accepts is not checked, `accept` is JSON's. */
  readonly acceptAnything?: boolean;
  readonly handler: (
    context: RouteContext<z.output<Params>, z.output<Query>, z.output<Body>>,
  ) => Promise<Reply | Response> | Reply | Response;
}

/** A route whose handler's types have been checked against its schemas. */
export type Route = Omit<RouteDefinition, "handler"> & {
  readonly handler: (
    context: RouteContext<unknown, unknown, unknown>,
  ) => Promise<Reply | Response> | Reply | Response;
};

/** A route that is served: with its entry of the access table. */
export type ServedRoute = Route & { readonly access: AccessEntry };

/** Checks a route's types: `params`, `query` and `body` reach the handler as what their schemas put out. */
export function defineRoute<
  Params extends z.ZodObject = z.ZodObject<Record<never, never>>,
  Query extends z.ZodObject = z.ZodObject<Record<never, never>>,
  Body extends z.ZodType = z.ZodUndefined,
>(definition: RouteDefinition<Params, Query, Body>): Route {
  const named = parameterNames(definition.path).join();
  const declared = Object.keys(definition.params?.shape ?? {}).join();
  if (named !== declared) {
    throw new Error(`${definition.path} names (${named}) but declares (${declared})`);
  }
  return definition as unknown as Route;
}

/** `["group"]` of `/api/groups/{group}:pause`. */
export function parameterNames(path: string): string[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!);
}

/** How a template is written for Hono, and which suffix (`:pause`) to cut from which parameter. */
export interface HonoPath {
  readonly path: string;
  readonly suffixes: Readonly<Record<string, string>>;
}

/**
 * A template in Hono's words. Hono takes `{group}:pause` only as one parameter whose pattern ends in `:pause`, and hands
 * over the suffix with the value; values are not restricted here, their schema does that and says why.
 */
export function honoPath(template: string): HonoPath {
  const suffixes: Record<string, string> = {};
  const path = template.replaceAll(
    /\{(\w+)\}(:\w+)?/g,
    (_whole, name: string, suffix: string | undefined) => {
      if (suffix === undefined) return `:${name}`;
      suffixes[name] = suffix;
      return `:${name}{[^/]+${suffix}}`;
    },
  );
  return { path, suffixes };
}

/** Matches the paths of a template, for telling a wrong method from an unknown path. */
export function templatePattern(template: string): RegExp {
  const parts = template.split(/\{\w+\}/).map((part) =>
    part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")
  );
  return new RegExp(`^${parts.join("[^/:]+")}$`);
}
