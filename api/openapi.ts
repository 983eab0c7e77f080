// Owns the OpenAPI 3.1 document: made from the same route definitions that are served.
// Refuses to own any text about a route (it stands in its definition).
// Invariant: every route is in it, every reference resolves, and one name stands for one schema.
import { z } from "zod";
import { ERROR_CODES, type ErrorCode } from "../storage/broker_error.ts";
import { DATA_TYPES, MSGPACK_TYPE, PROBLEM_TYPE } from "./media.ts";
import { problemSchema } from "./problem.ts";
import { RATE_LIMIT_HEADERS } from "./quota/headers.ts";
import type { AccessEntry } from "./auth/access_entry.ts";
import type { ResponseDoc, Route, ServedRoute } from "./route.ts";

/** A JSON Schema, or any other plain object of the document. */
export type JsonObject = { [key: string]: unknown };

/** The parts of the document that the docs page reads. */
export interface OpenApiDocument {
  readonly openapi: "3.1.0";
  readonly info: { readonly title: string; readonly version: string; readonly description: string };
  readonly tags: readonly { readonly name: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, OpenApiOperation>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, JsonObject>>;
    readonly securitySchemes: JsonObject;
  };
  readonly security: readonly JsonObject[];
}

export interface OpenApiOperation {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly summary: string;
  readonly description?: string;
  readonly parameters?: readonly OpenApiParameter[];
  readonly requestBody?: {
    readonly required: boolean;
    readonly description?: string;
    readonly content: Readonly<Record<string, JsonObject>>;
  };
  readonly responses: Readonly<Record<string, OpenApiResponse>>;
  readonly security?: readonly JsonObject[];
}

export interface OpenApiParameter {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly required: boolean;
  readonly description?: string;
  readonly schema: JsonObject;
}

export interface OpenApiResponse {
  readonly description: string;
  readonly headers?: Readonly<Record<string, JsonObject>>;
  readonly content?: Readonly<Record<string, JsonObject>>;
}

/** Codes of every route that is not open. */
const GUARD_ERRORS: readonly ErrorCode[] = [
  "UNAUTHENTICATED",
  "ORIGIN_NOT_ALLOWED",
  "IDENTITY_UNAVAILABLE",
  "INVALID_REQUEST",
];
/** Codes of every route that quotas hold for: all that are not open. */
const QUOTA_ERRORS: readonly ErrorCode[] = ["QUOTA_EXCEEDED"];
const BODY_ERRORS: readonly ErrorCode[] = ["REQUEST_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE"];
/** Codes of every route that reaches the broker's actors. */
const BROKER_ERRORS: readonly ErrorCode[] = ["OVERLOADED", "SHUTTING_DOWN"];

/** The document of `routes`. Throws plain Errors where routes contradict each other. */
export function openApiDocument(routes: readonly ServedRoute[], version: string): OpenApiDocument {
  const schemas = new SchemaCollection();
  const paths: Record<string, Record<string, OpenApiOperation>> = {};
  const ids = new Set<string>();
  for (const route of routes) {
    if (ids.has(route.operationId)) throw new Error(`operation ${route.operationId} exists twice`);
    ids.add(route.operationId);
    const methods = paths[route.path] ??= {};
    const method = route.method.toLowerCase();
    if (methods[method] !== undefined) throw new Error(`${method} ${route.path} exists twice`);
    methods[method] = operationOf(route, schemas);
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Waybill",
      version,
      description: "Publish over HTTP, consume over WebSocket or HTTP, operate the whole loop.",
    },
    tags: [...new Set(routes.map((route) => route.tag))].map((name) => ({ name })),
    paths,
    components: {
      schemas: schemas.all(),
      securitySchemes: {
        bearer: {
          type: "http",
          scheme: "bearer",
          description: "The administrator's token, an API key, or a JWT.",
        },
      },
    },
    // Asked for only when a credential is configured; without one the broker serves loopback alone.
    security: [{ bearer: [] }, {}],
  };
}

function operationOf(route: ServedRoute, schemas: SchemaCollection): OpenApiOperation {
  const parameters = [
    ...parametersOf(route.params, "path", schemas),
    ...parametersOf(route.query, "query", schemas),
    ...Object.entries(route.requestHeaders ?? {}).map(([name, description]) => ({
      name,
      in: "header" as const,
      required: false,
      description,
      schema: { type: "string" },
    })),
  ];
  const requestBody = requestBodyOf(route, schemas);
  return {
    operationId: route.operationId,
    tags: [route.tag],
    summary: route.summary,
    description: describedWithAccess(route),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(requestBody === undefined ? {} : { requestBody }),
    responses: responsesOf(route, schemas),
    ...(route.open ? { security: [] } : {}),
  };
}

function describedWithAccess({ description, access }: ServedRoute): string {
  const action = auditActionOf(access);
  const audited = action === null ? "" : ` Audited as \`${action}\`.`;
  const needed = `Needs ${access.text}.${audited}`;
  return description === undefined ? needed : `${description}\n\n${needed}`;
}

function parametersOf(
  schema: z.ZodObject | undefined,
  place: "path" | "query",
  schemas: SchemaCollection,
): OpenApiParameter[] {
  return Object.entries(schema?.shape ?? {}).map(([name, field]) => {
    const { description, ...rest } = schemas.inline(field as z.ZodType, "input");
    return {
      name,
      in: place,
      required: place === "path" || !(field as z.ZodType).safeParse(undefined).success,
      ...(typeof description === "string" ? { description } : {}),
      schema: rest,
    };
  });
}

function requestBodyOf(
  route: Route,
  schemas: SchemaCollection,
): OpenApiOperation["requestBody"] {
  if (route.binaryBody !== undefined) {
    const { mediaType, description } = route.binaryBody;
    return { required: true, description, content: { [mediaType]: {} } };
  }
  if (route.body === undefined) return undefined;
  const schema = schemas.inline(route.body, "input");
  const example = route.bodyExample === undefined ? {} : { example: route.bodyExample };
  return { required: !route.bodyOptional, content: inDataTypes({ schema, ...example }) };
}

function inDataTypes(media: JsonObject): Record<string, JsonObject> {
  const { example: _example, ...withoutExample } = media;
  return Object.fromEntries(
    DATA_TYPES.map((type, index) => [type, index === 0 ? media : withoutExample]),
  );
}

function responsesOf(
  route: ServedRoute,
  schemas: SchemaCollection,
): Record<string, OpenApiResponse> {
  const responses: Record<string, OpenApiResponse> = {};
  for (const [status, doc] of Object.entries(route.responses)) {
    responses[status] = responseOf(doc, schemas);
  }
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of errorsOf(route)) {
    const status = route.statuses?.[code] ?? ERROR_CODES[code].httpStatus;
    byStatus.set(status, [...byStatus.get(status) ?? [], code]);
  }
  const schema = schemas.inline(problemSchema, "output");
  for (const [status, codes] of byStatus) {
    responses[status] = {
      description: codes.join(", "),
      ...(status === 429 ? { headers: headersOf(RATE_LIMIT_HEADERS) } : {}),
      content: { [PROBLEM_TYPE]: { schema }, [MSGPACK_TYPE]: { schema } },
    };
  }
  return responses;
}

function responseOf(doc: ResponseDoc, schemas: SchemaCollection): OpenApiResponse {
  const headers = headersOf(doc.headers ?? {});
  const content: Record<string, JsonObject> = {};
  if (doc.schema !== undefined) {
    const schema = schemas.inline(doc.schema, "output");
    const example = doc.example === undefined ? {} : { example: doc.example };
    Object.assign(content, inDataTypes({ schema, ...example }));
  }
  for (const [type, description] of Object.entries(doc.otherTypes ?? {})) {
    content[type] = { schema: { type: "string", description } };
  }
  return {
    description: doc.description,
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
    ...(Object.keys(content).length === 0 ? {} : { content }),
  };
}

function headersOf(described: Readonly<Record<string, string>>): Record<string, JsonObject> {
  return Object.fromEntries(
    Object.entries(described)
      .map(([name, description]) => [name, { description, schema: { type: "string" } }]),
  );
}

/** Codes of those who may not. */
function auditActionOf(access: AccessEntry | undefined): string | null {
  return typeof access?.audit === "object" ? access.audit.action : null;
}

/** Codes of every route that is audited: no entry, no change. */
const AUDIT_ERRORS: readonly ErrorCode[] = ["AUDIT_UNAVAILABLE", "DISK_FULL"];

function accessErrors({ kind, hides }: AccessEntry): readonly ErrorCode[] {
  if (kind !== "needs") return [];
  const HIDDEN = { topic: "UNKNOWN_TOPIC", group: "UNKNOWN_GROUP" } as const;
  return ["FORBIDDEN", ...hides.map((resource) => HIDDEN[resource])];
}

/** Every code that `route` can answer, those of its own first. */
export function errorsOf(route: Route & { readonly access?: AccessEntry }): ErrorCode[] {
  const hasBody = route.body !== undefined || route.binaryBody !== undefined;
  return [
    ...new Set<ErrorCode>([
      ...route.errors ?? [],
      ...(route.access === undefined ? [] : accessErrors(route.access)),
      ...(route.open ? [] : [...GUARD_ERRORS, ...QUOTA_ERRORS, ...BROKER_ERRORS]),
      ...(auditActionOf(route.access) === null ? [] : AUDIT_ERRORS),
      ...(hasBody ? BODY_ERRORS : []),
      ...(route.acceptAnything ? [] : ["NOT_ACCEPTABLE" as const]),
      "INTERNAL" as const,
    ]),
  ];
}

/** Schemas by name (`.meta({ id })`), gathered while they are converted. */
class SchemaCollection {
  readonly #schemas = new Map<string, JsonObject>();

  all(): Record<string, JsonObject> {
    return Object.fromEntries([...this.#schemas].sort(([a], [b]) => a < b ? -1 : 1));
  }

  /** The schema with references to `#/components/schemas` in place of what has a name. */
  inline(schema: z.ZodType, io: "input" | "output"): JsonObject {
    const { $schema: _dialect, $defs, ...root } = z.toJSONSchema(schema, { io }) as JsonObject;
    for (const [id, definition] of Object.entries($defs as JsonObject ?? {})) {
      this.#keep(id, relocated(definition) as JsonObject);
    }
    const { id, ...rest } = relocated(root) as JsonObject;
    if (typeof id !== "string") return rest;
    this.#keep(id, rest);
    return { $ref: `#/components/schemas/${id}` };
  }

  #keep(name: string, definition: JsonObject): void {
    const { id: _id, ...schema } = definition;
    const known = this.#schemas.get(name);
    if (known !== undefined && JSON.stringify(known) !== JSON.stringify(schema)) {
      throw new Error(`two different schemas are named ${name}`);
    }
    this.#schemas.set(name, schema);
  }
}

/** `#/$defs/X` is where the converter puts named schemas, `#/components/schemas/X` where OpenAPI does. */
function relocated(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(relocated);
  if (typeof node !== "object" || node === null) return node;
  return Object.fromEntries(
    Object.entries(node).map(([key, value]) =>
      key === "$ref" && typeof value === "string"
        ? [key, value.replace("#/$defs/", "#/components/schemas/")]
        : [key, relocated(value)]
    ),
  );
}
