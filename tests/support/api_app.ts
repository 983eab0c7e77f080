// Owns an API application over a whole broker in memory, asked without sockets, in either body format.
// Refuses to own faults of the log: hand in a FaultyLogStore.
// Invariant: every problem it meets is checked to be a whole one before a test sees it.
import assert from "node:assert/strict";
import { decode, encode } from "@msgpack/msgpack";
import { crc32c } from "@node-rs/crc32";
import type { LocalBroker } from "../../actors/local_broker.ts";
import { type App, type AppOptions, createApp } from "../../api/app.ts";
import { DEFAULT_API_LIMITS } from "../../api/limits.ts";
import { errorsOf } from "../../api/openapi.ts";
import { problemSchema } from "../../api/problem.ts";
import { type Route, templatePattern } from "../../api/route.ts";
import { ERROR_CODES } from "../../storage/broker_error.ts";
import { type MemoryBrokerOptions, memoryBrokerStores } from "./memory_broker.ts";
import type { VirtualClock } from "./virtual_time.ts";

export type Format = "json" | "msgpack";
export const FORMATS: readonly Format[] = ["json", "msgpack"];

const CONTENT_TYPES: Readonly<Record<Format, string>> = {
  json: "application/json",
  msgpack: "application/msgpack",
};

// deno-lint-ignore no-explicit-any -- what a test reads out of an answer is checked by its assertions
export type Answer = { status: number; headers: Headers; body: any };

export interface ApiUnderTest {
  readonly app: App;
  readonly broker: LocalBroker;
  readonly time: VirtualClock;
  /** Faults that reached the hook. */
  readonly faults: unknown[];
  /** A request with a body in `format` (default JSON), the answer decoded. */
  ask(method: string, path: string, options?: AskOptions): Promise<Answer>;
  /** Log end offset of every partition of every topic users made, by `topic/partition`. */
  stored(): Promise<Record<string, number>>;
  close(): Promise<void>;
}

export interface AskOptions {
  readonly body?: unknown;
  readonly format?: Format;
  readonly headers?: Record<string, string>;
  /** Sent as it is, instead of `body`. */
  readonly raw?: BodyInit;
}

export interface ApiOptions extends MemoryBrokerOptions {
  readonly app?: Partial<AppOptions>;
}

/** An application with an empty broker behind it. */
export async function apiUnderTest(options: ApiOptions = {}): Promise<ApiUnderTest> {
  const { time, randomness, open } = memoryBrokerStores(options);
  const broker = await open();
  const faults: unknown[] = [];
  const app = createApp({
    broker,
    clock: time,
    randomness,
    crc32c,
    limits: DEFAULT_API_LIMITS,
    security: { adminToken: null, allowedOrigins: [] },
    version: "0.1.0-test",
    self: () => ({ host: "127.0.0.1", port: 8080, zone: null }),
    onError: (error) => faults.push(error),
    ...options.app,
  });
  return {
    app,
    broker,
    time,
    faults,
    ask: (method, path, request = {}) => ask(app, { method, path, ...request }),
    stored: () => storedIn(broker),
    close: () => broker.close(),
  };
}

async function ask(
  app: App,
  request: AskOptions & { method: string; path: string },
): Promise<Answer> {
  const { method, path, body, raw, format = "json", headers = {} } = request;
  const type = CONTENT_TYPES[format];
  const init: RequestInit = { method, headers: { accept: type, ...headers } };
  if (raw !== undefined) init.body = raw;
  else if (body !== undefined) {
    init.body = format === "json" ? JSON.stringify(body) : encode(body);
    (init.headers as Record<string, string>)["content-type"] ??= type;
  }
  const response = await app.request(`http://127.0.0.1:8080${path}`, init);
  const answer = await answerOf(response);
  assert.match(answer.headers.get("x-request-id") ?? "", /^[A-Za-z0-9._-]+$/);
  const route = routeOf(app, method, path);
  if (route !== undefined) checkDocumented(route, answer);
  if (answer.status >= 400 && route?.responses[answer.status] === undefined) checkProblem(answer);
  return answer;
}

async function answerOf(response: Response): Promise<Answer> {
  const { status, headers } = response;
  const type = headers.get("content-type") ?? "";
  if (type.includes("msgpack")) {
    return { status, headers, body: decode(await response.arrayBuffer()) };
  }
  if (/^application\/(?:problem\+)?json$/.test(type)) {
    return { status, headers, body: await response.json() };
  }
  const bytes = new Uint8Array(await response.arrayBuffer());
  return { status, headers, body: bytes };
}

function routeOf(app: App, method: string, path: string): Route | undefined {
  const { pathname } = new URL(path, "http://x");
  return app.routes.find((route) =>
    route.method === method && templatePattern(route.path).test(pathname)
  );
}

/** What is answered is what is documented: this status, this shape, or one of these codes. */
function checkDocumented(route: Route, { status, body }: Answer): void {
  const documented = route.responses[status];
  if (documented !== undefined) {
    if (!(body instanceof Uint8Array)) documented.schema?.parse(body);
    return;
  }
  const codes: readonly string[] = errorsOf(route);
  assert.ok(codes.includes(body.code), `${route.operationId} does not document ${body.code}`);
}

/** A problem is whole, agrees with the table, and tells nothing of the inside. */
function checkProblem({ status, headers, body }: Answer): void {
  const type = headers.get("content-type");
  assert.ok(type === "application/problem+json" || type === "application/msgpack", `${type}`);
  problemSchema.parse(body);
  assert.equal(body.status, status);
  assert.equal(body.requestId, headers.get("x-request-id"));
  const known = ERROR_CODES[body.code as keyof typeof ERROR_CODES];
  assert.ok(known, `unknown code ${body.code}`);
  assert.equal(body.retryable, known.retryable);
  assert.equal(headers.has("retry-after"), status === 429 || status === 503);
  assert.doesNotMatch(JSON.stringify(body), /\bat .*\.ts:\d+|node_modules|Error:/);
}

async function storedIn(broker: LocalBroker): Promise<Record<string, number>> {
  const stored: Record<string, number> = {};
  for (const name of broker.topicNames()) {
    if (broker.topic(name)!.internal) continue;
    for (const { partition, logEndOffset } of (await broker.describeTopic(name)).partitions) {
      stored[`${name}/${partition}`] = logEndOffset;
    }
  }
  return stored;
}
