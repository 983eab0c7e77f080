// Owns requests made from the OpenAPI document: nearly right, spoiled, or plain rubbish, for every operation in it.
// Refuses to own judging the answers. Invariant: an operation that is added to the document is fuzzed from then on.
import { encode } from "@msgpack/msgpack";
import fc from "fast-check";
import type { JsonObject, OpenApiDocument, OpenApiOperation } from "../../api/openapi.ts";
import {
  type ByteSpoil,
  byteSpoil,
  hostileValue,
  spoiledBytes,
  spoiledValue,
  type ValueSpoil,
  valueSpoil,
} from "./hostile_bytes.ts";
import { type SchemaContext, valuesOf, type Vocabulary } from "./schema_values.ts";

const JSON_TYPE = "application/json";
const MSGPACK_TYPE = "application/msgpack";

/** Words that lead somewhere in a HostileWorld. */
export const VOCABULARY: Vocabulary = {
  topic: ["orders", "orders", "orders", "latest-prices", "dlq.orders", "__groups", "nowhere"],
  topics: ["orders", "latest-prices", "nowhere"],
  name: ["fresh", "fresh-2", "orders"],
  group: ["billing", "readers", "__groups", "nobody"],
  groupId: ["billing", "readers", "nobody"],
  memberId: ["{{memberId}}", "somebody"],
  leaseToken: ["{{leaseToken}}", "0"],
  transactionId: ["{{transactionId}}", "none"],
  transactionalId: ["payments", "others"],
  jobId: ["{{jobId}}", "none"],
  keyId: ["{{keyId}}"],
  aclId: ["{{aclId}}"],
  tenant: ["acme", "nobody"],
  pattern: ["orders", "o", "*", "nowhere"],
  snapshotId: ["{{snapshotId}}", "s0-0"],
  partition: [0, 0, 1, 2],
  partitions: [1, 2, 3, 4],
  partitionCount: [1, 2],
  offset: [0, 1, 2, 3, 4, "earliest", "latest", "@0"],
  from: [0, 1, "earliest", "@0"],
  to: [0, 2, 4, "latest", "+1", "-1", "@0"],
  maxMessages: [1, 10],
  ratePerSecond: [1_000],
  replicationFactor: [1],
  minInsyncReplicas: [1],
  reason: ["because"],
  cursor: ["MA", "b3JkZXJz"],
  producerEpoch: [0, 1],
  sequence: [0, 1, 4],
  valueBase64: ["", "AAEC", "gICA", "AA=="],
};

export interface Operation {
  readonly method: string;
  readonly path: string;
  readonly doc: OpenApiOperation;
}

/** One request, before `{{names}}` are filled in. Plain data, as fast-check shows it. */
export interface HostileRequest {
  readonly operation: string;
  readonly params: Readonly<Record<string, string>>;
  readonly query: readonly (readonly [string, string])[];
  readonly headers: Readonly<Record<string, string>>;
  readonly format: "json" | "msgpack";
  /** No `value`: no body, unless `rubbish` is one. */
  readonly body: { readonly value?: unknown; readonly rubbish?: Uint8Array };
  readonly spoils: readonly ValueSpoil[];
  readonly byteSpoils: readonly ByteSpoil[];
}

/** As it is sent. */
export interface ReadyRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly raw?: Uint8Array<ArrayBuffer>;
  readonly format: "json" | "msgpack";
}

export function operationsOf(document: OpenApiDocument): Operation[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, doc]) => ({ method: method.toUpperCase(), path, doc }))
  );
}

/** Requests to one operation of `document`. */
export function requestsTo(
  { method, path, doc }: Operation,
  document: OpenApiDocument,
  vocabulary: Vocabulary = VOCABULARY,
): fc.Arbitrary<HostileRequest> {
  const context: SchemaContext = { schemas: document.components.schemas, vocabulary };
  const parameters = doc.parameters ?? [];
  const inPlace = (place: string) => parameters.filter((parameter) => parameter.in === place);
  const textOf = (name: string, schema: JsonObject) =>
    fc.oneof(
      { weight: 8, arbitrary: valuesOf(schema, name, context) },
      { weight: 1, arbitrary: hostileValue },
    ).map((value) => typeof value === "string" ? value : JSON.stringify(value));
  const query = inPlace("query").map(({ name, schema, required }) =>
    fc.option(textOf(name, schema).map((text) => [[name, text] as const]), {
      freq: required ? 20 : 1,
      nil: [],
    })
  );
  const params = Object.fromEntries(
    inPlace("path").map(({ name, schema }) => [name, textOf(name, schema)]),
  );
  return fc.record({
    operation: fc.constant(`${method} ${path}`),
    params: fc.record(params, { noNullPrototype: true }),
    query: fc.tuple(fc.tuple(...query), rarely(fc.array(oddPair, { maxLength: 2 }), [])).map((
      [known, odd],
    ) => [...known.flat(), ...odd]),
    headers: headersOf(doc),
    format: fc.constantFrom("json", "msgpack"),
    body: bodyOf(doc, context),
    spoils: sometimes(fc.array(valueSpoil, { minLength: 1, maxLength: 3 }), []),
    byteSpoils: rarely(fc.array(byteSpoil, { minLength: 1, maxLength: 3 }), []),
  });
}

const sometimes = <T>(arbitrary: fc.Arbitrary<T>, otherwise: T) =>
  fc.oneof({ weight: 1, arbitrary: fc.constant(otherwise) }, { weight: 1, arbitrary });
const rarely = <T>(arbitrary: fc.Arbitrary<T>, otherwise: T) =>
  fc.oneof({ weight: 4, arbitrary: fc.constant(otherwise) }, { weight: 1, arbitrary });

const oddPair: fc.Arbitrary<readonly [string, string]> = fc.tuple(
  fc.constantFrom("limit", "offset", "topics", "unknown", "__proto__", ""),
  fc.constantFrom("1", "-1", "1e400", "NaN", "", "orders", "%", "é"),
);

const CONTENT_TYPES = [
  "text/plain",
  "application/json; charset=utf-16",
  ";;,",
  "multipart/form-data",
];

function headersOf(doc: OpenApiOperation): fc.Arbitrary<Record<string, string>> {
  const named = (doc.parameters ?? []).filter((parameter) => parameter.in === "header")
    .map(({ name }) => name);
  const value = fc.oneof(
    fc.constantFrom("a-key", "another", "", "x".repeat(300), "ÿ", "00-abc-def-01", "waybill.v1"),
    fc.string({ unit: fc.constantFrom(...'abc-0 ,;="\t'), maxLength: 20 }),
  );
  const odd: Record<string, fc.Arbitrary<string>> = {
    accept: fc.constantFrom(
      "*/*",
      "application/x-ndjson",
      "text/html",
      ";q=",
      "application/msgpack;q=0",
    ),
    "content-type": fc.constantFrom(...CONTENT_TYPES),
    "content-encoding": fc.constantFrom("gzip", "br", "zstd"),
    "x-request-id": fc.constantFrom("ok", "a b", "é", "x".repeat(200)),
    upgrade: fc.constantFrom("websocket", "h2c"),
  };
  const fields = { ...Object.fromEntries(named.map((name) => [name, value])) };
  const headers = fc.tuple(
    fc.record(fields, { requiredKeys: [], noNullPrototype: true }),
    rarely(fc.record(odd, { requiredKeys: [], noNullPrototype: true }), {}),
  );
  return headers.map(([known, more]) => ({ ...known, ...more }) as Record<string, string>);
}

function bodyOf(
  doc: OpenApiOperation,
  context: SchemaContext,
): fc.Arbitrary<HostileRequest["body"]> {
  const rubbish = fc.oneof(
    fc.uint8Array({ maxLength: 100 }),
    fc.json().map((text) => new TextEncoder().encode(text)),
  ).map((bytes) => ({ rubbish: bytes }));
  const media = doc.requestBody?.content[JSON_TYPE] as { schema: JsonObject } | undefined;
  if (media === undefined) {
    return doc.requestBody === undefined ? rarely<HostileRequest["body"]>(rubbish, {}) : rubbish;
  }
  const value = valuesOf(media.schema, "", context).map((made) => ({ value: made }));
  return fc.oneof({ weight: 12, arbitrary: value }, { weight: 1, arbitrary: rubbish });
}

/** What goes out, with `names` in place of `{{name}}`. */
export function ready(
  request: HostileRequest,
  names: Readonly<Record<string, string>>,
): ReadyRequest {
  const [method, template] = request.operation.split(" ") as [string, string];
  const filled = (text: string) =>
    text.replaceAll(/\{\{(\w+)\}\}/g, (_, name: string) => names[name]!);
  const path = template.replaceAll(
    /\{(\w+)\}/g,
    (_, name: string) => encodeURIComponent(filled(request.params[name]!).toWellFormed()),
  );
  const query = request.query.map(([name, value]) =>
    `${encodeURIComponent(name)}=${encodeURIComponent(filled(value).toWellFormed())}`
  );
  const bytes = bodyBytes(request, filled);
  const type = request.format === "json" ? JSON_TYPE : MSGPACK_TYPE;
  const hasBody = bytes !== null && method !== "GET";
  return {
    method,
    path: query.length === 0 ? path : `${path}?${query.join("&")}`,
    headers: hasBody ? { "content-type": type, ...request.headers } : request.headers,
    format: request.format,
    ...(hasBody ? { raw: spoiledBytes(bytes, request.byteSpoils) } : {}),
  };
}

function bodyBytes(request: HostileRequest, filled: (text: string) => string): Uint8Array | null {
  const { value, rubbish } = request.body;
  if (rubbish !== undefined) return rubbish;
  if (value === undefined) return null;
  const spoiled = withNames(spoiledValue(value, request.spoils), filled);
  return request.format === "json"
    ? new TextEncoder().encode(JSON.stringify(spoiled))
    : encode(spoiled, { maxDepth: 1_000 });
}

function withNames(value: unknown, filled: (text: string) => string): unknown {
  if (typeof value === "string") return filled(value);
  if (Array.isArray(value)) return value.map((item) => withNames(item, filled));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, withNames(item, filled)]),
  );
}
