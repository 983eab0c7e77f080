// Owns the tests of what holds for every route: media types, problems, request ids, credentials, origins, unknown paths.
// Refuses to own any single route's behaviour.
import assert from "node:assert/strict";
import { decode } from "@msgpack/msgpack";
import { z } from "zod";
import type { Broker } from "../actors/broker.ts";
import { dataPlane } from "../api/audit/audit_rule.ts";
import { authenticated } from "../api/auth/access_entry.ts";
import { DEFAULT_API_LIMITS } from "../api/limits.ts";
import { negotiate } from "../api/media.ts";
import { defineRoute } from "../api/route.ts";
import { BrokerError, ERROR_CODES, type ErrorCode } from "../storage/broker_error.ts";
import { apiUnderTest } from "./support/api_app.ts";

const JSON_TYPES = ["application/json", "application/msgpack", "application/vnd.msgpack"];

/** A path that matches a template, with values that pass or at least are names. */
function pathOf(template: string): string {
  return template.replaceAll(/\{(\w+)\}/g, (_whole, name) => name === "partition" ? "0" : "x");
}

Deno.test("the preferred media type is found as RFC 9110 says", () => {
  const cases: [string | null, string | null][] = [
    [null, "application/json"],
    ["", "application/json"],
    ["*/*", "application/json"],
    ["application/*", "application/json"],
    ["text/html, */*;q=0.1", "application/json"],
    ["application/problem+json", "application/json"],
    ["application/msgpack", "application/msgpack"],
    ["APPLICATION/MSGPACK", "application/msgpack"],
    ["application/vnd.msgpack;q=0.9, application/json;q=0.5", "application/vnd.msgpack"],
    ["application/json;q=0, */*", "application/msgpack"],
    ["application/json;q=0.2, application/msgpack; q=0.3", "application/msgpack"],
    ["text/html", null],
    ["application/json;q=0", null],
    ["application/json;q=x", null],
    [",".repeat(3_000), null],
  ];
  for (const [accept, expected] of cases) {
    assert.equal(negotiate(accept, JSON_TYPES), expected, String(accept));
  }
});

Deno.test("answers and problems come in the format that the caller accepts", async () => {
  const api = await apiUnderTest();
  for (const accept of ["application/msgpack", "application/vnd.msgpack"]) {
    const ok = await api.app.request("http://x/api/topics", { headers: { accept } });
    assert.equal(ok.headers.get("content-type"), accept);
    assert.ok(Array.isArray((decode(await ok.arrayBuffer()) as { topics: unknown[] }).topics));
    const bad = await api.app.request("http://x/api/topics/none", { headers: { accept } });
    assert.equal(bad.headers.get("content-type"), accept);
    assert.equal((decode(await bad.arrayBuffer()) as { code: string }).code, "UNKNOWN_TOPIC");
  }
  const refused = await api.ask("GET", "/api/topics", { headers: { accept: "text/html" } });
  assert.deepEqual([refused.status, refused.body.code], [406, "NOT_ACCEPTABLE"]);
  await api.close();
});

Deno.test("bodies of other media types, charsets and encodings are refused", async (test) => {
  const api = await apiUnderTest();
  const raw = new TextEncoder().encode('{"name":"orders"}');
  const post = (headers: Record<string, string>) =>
    api.ask("POST", "/api/topics", { raw, headers });
  const refused: Record<string, string>[] = [
    { "content-type": "text/plain" },
    { "content-type": "application/x-www-form-urlencoded" },
    { "content-type": "multipart/form-data; boundary=x" },
    { "content-type": "application/json; charset=latin1" },
    { "content-type": "application/json", "content-encoding": "gzip" },
    { "content-type": "application/json", "content-encoding": "br" },
  ];
  for (const headers of refused) {
    await test.step(JSON.stringify(headers), async () => {
      const { status, body } = await post(headers);
      assert.deepEqual([status, body.code], [415, "UNSUPPORTED_MEDIA_TYPE"]);
    });
  }
  assert.deepEqual(await api.stored(), {});
  assert.equal((await post({ "content-type": "application/json; charset=UTF-8" })).status, 201);
  // Bytes without any content-type are JSON, the default.
  assert.equal((await post({})).status, 409);
  await api.close();
});

Deno.test("a body larger than the bound is refused, by its declared length and while it streams", async () => {
  const limits = { ...DEFAULT_API_LIMITS, maxBodyBytes: 1_000 };
  const api = await apiUnderTest({ app: { limits } });
  const headers = { "content-type": "application/json" };
  const declared = await api.ask("POST", "/api/topics", {
    raw: "{}",
    headers: { ...headers, "content-length": "1001" },
  });
  assert.deepEqual([declared.status, declared.body.code], [413, "REQUEST_TOO_LARGE"]);
  let sent = 0;
  const raw = new ReadableStream({
    pull(controller) {
      sent += 400;
      controller.enqueue(new Uint8Array(400).fill(32));
    },
  });
  const endless = await api.ask("POST", "/api/topics", { raw, headers });
  assert.deepEqual([endless.status, endless.body.code], [413, "REQUEST_TOO_LARGE"]);
  assert.ok(sent <= 2_000, `${sent} bytes were read`);
  await api.close();
});

Deno.test("a body that breaks off is the caller's fault", async () => {
  const api = await apiUnderTest();
  const raw = new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode('{"name":'));
      controller.error(new Error("connection reset"));
    },
  });
  const headers = { "content-type": "application/json" };
  const { status, body } = await api.ask("POST", "/api/topics", { raw, headers });
  assert.deepEqual([status, body.code], [400, "INVALID_REQUEST"]);
  assert.deepEqual(api.faults, []);
  await api.close();
});

Deno.test("a sane request id is kept, any other is replaced", async () => {
  const api = await apiUnderTest();
  const idOf = async (id?: string) => {
    const headers: Record<string, string> = id === undefined ? {} : { "x-request-id": id };
    return (await api.ask("GET", "/api/cluster", { headers })).headers.get("x-request-id");
  };
  assert.equal(await idOf("trace-1.A_b"), "trace-1.A_b");
  for (const id of [undefined, "a b", "<script>", "x".repeat(129)]) {
    assert.match(String(await idOf(id)), /^[0-9a-f-]{36}$/);
  }
  const unknown = await api.ask("GET", "/nothing", { headers: { "x-request-id": "mine" } });
  assert.equal(unknown.body.requestId, "mine");
  await api.close();
});

Deno.test("an unknown path is 404, a known one with another method 405 with what is allowed", async () => {
  const api = await apiUnderTest();
  for (
    const path of ["/nothing", "/api", "/api/", "/api/topics/", "/api/topics/a/b", "/API/topics"]
  ) {
    const { status, body } = await api.ask("GET", path);
    assert.deepEqual([status, body.code], [404, "NOT_FOUND"], path);
  }
  for (const route of api.app.routes) {
    const path = pathOf(route.path);
    const allow = api.app.routes.filter((other) => other.path === route.path)
      .map((other) => other.method as string);
    const unused = ["PUT", "DELETE", "POST", "PATCH", "GET", "OPTIONS"].find((method) =>
      !allow.includes(method)
    )!;
    const { status, headers, body } = await api.ask(unused, path);
    assert.deepEqual([status, body.code], [405, "METHOD_NOT_ALLOWED"], `${unused} ${path}`);
    const allowed = headers.get("allow")!.split(", ").filter((method) => method !== "HEAD");
    assert.deepEqual(allowed.sort(), allow.sort(), path);
  }
  await api.close();
});

Deno.test("HEAD answers as GET without a body", async () => {
  const api = await apiUnderTest();
  const response = await api.app.request("http://x/api/cluster", { method: "HEAD" });
  assert.equal(response.status, 200);
  assert.equal((await response.arrayBuffer()).byteLength, 0);
  assert.ok(response.headers.has("x-request-id"));
  await api.close();
});

Deno.test("where a token is configured every API route asks for it, and probes and pages do not", async (test) => {
  const security = { adminToken: "s3cret", allowedOrigins: [] };
  const api = await apiUnderTest({ app: { security } });
  for (const route of api.app.routes) {
    const path = pathOf(route.path);
    await test.step(`${route.method} ${route.path}`, async () => {
      const headersOf = [{}, { authorization: "Bearer wrong" }, {
        authorization: "Basic czNjcmV0",
      }];
      for (const headers of headersOf as Record<string, string>[]) {
        const { status, headers: answered } = await api.ask(route.method, path, { headers });
        if (route.open) assert.ok(status < 400);
        else {
          assert.equal(status, 401);
          assert.match(String(answered.get("www-authenticate")), /^Bearer/);
        }
      }
      const headers = { authorization: "Bearer s3cret" };
      assert.notEqual((await api.ask(route.method, path, { headers })).status, 401);
    });
  }
  assert.deepEqual(
    api.app.routes.filter((route) => route.open).map((route) => route.path).sort(),
    ["/", "/docs", "/livez", "/openapi.json", "/readyz"],
  );
  await api.close();
});

Deno.test("a token may come as a subprotocol of a WebSocket, and only there", async () => {
  const security = { adminToken: "s3cret", allowedOrigins: [] };
  const api = await apiUnderTest({ app: { security } });
  const statusOf = async (headers: Record<string, string>) =>
    (await api.ask("GET", "/api/cluster", { headers })).status;
  const protocols = { "sec-websocket-protocol": "waybill.v1, bearer.s3cret" };
  assert.equal(await statusOf({ ...protocols, upgrade: "websocket" }), 200);
  assert.equal(await statusOf(protocols), 401);
  await api.close();
});

Deno.test("pages of other origins may neither change state nor open a WebSocket", async () => {
  const security = { adminToken: null, allowedOrigins: ["https://console.example.com"] };
  const api = await apiUnderTest({ app: { security } });
  const statusOf = async (method: string, headers: Record<string, string>) =>
    (await api.ask(method, "/api/topics", { headers, body: method === "POST" ? {} : undefined }))
      .status;
  const foreign = [
    "https://evil.example",
    "null",
    "http://127.0.0.1:9999",
    "http://localhost:8080",
  ];
  for (const origin of foreign) {
    assert.equal(await statusOf("POST", { origin }), 403, origin);
    assert.equal(await statusOf("GET", { origin }), 200, origin);
    assert.equal(await statusOf("GET", { origin, upgrade: "websocket" }), 403, origin);
  }
  for (const origin of ["http://127.0.0.1:8080", "https://console.example.com"]) {
    assert.equal(await statusOf("POST", { origin }), 400, origin);
  }
  const answer = await api.ask("GET", "/api/topics", { headers: { origin: foreign[0]! } });
  assert.equal(answer.headers.has("access-control-allow-origin"), false);
  await api.close();
});

Deno.test("readiness tells strangers how much stops the broker, and what to who may describe the cluster", async () => {
  const security = { adminToken: "s3cret", allowedOrigins: [] };
  const api = await apiUnderTest({ app: { security } });
  await api.close();
  const problems = async (headers: Record<string, string>) =>
    (await api.ask("GET", "/readyz", { headers })).body.problems;
  const strangers: Record<string, string>[] = [{}, { authorization: "Bearer wrong" }];
  for (const headers of strangers) {
    const told = await problems(headers);
    assert.equal(told.length, 1);
    assert.match(told[0], /^\d+, told to who may describe the cluster$/);
  }
  const told = await problems({ authorization: "Bearer s3cret" });
  assert.ok(told.includes("the broker is shutting down"));
});

Deno.test("readiness tells what stops the broker; liveness does not care", async () => {
  const api = await apiUnderTest();
  assert.deepEqual((await api.ask("GET", "/readyz")).body, { status: "ready", problems: [] });
  await api.close();
  const { status, headers, body } = await api.ask("GET", "/readyz");
  assert.equal(status, 503);
  assert.equal(headers.get("retry-after"), "1");
  assert.equal(body.status, "unready");
  assert.ok(body.problems.includes("the broker is shutting down"));
  assert.equal((await api.ask("GET", "/livez?from=proxy")).status, 200);
  const refused = await api.ask("POST", "/api/topics", { body: { name: "a" } });
  assert.deepEqual([refused.status, refused.body.code], [503, "SHUTTING_DOWN"]);
});

Deno.test("every code becomes a whole problem with its own status, and 429 and 503 say when to come back", async () => {
  for (const code of Object.keys(ERROR_CODES) as ErrorCode[]) {
    const failing = defineRoute({
      method: "GET",
      path: "/api/failing",
      operationId: "fail",
      tag: "Tests",
      summary: "Fails",
      responses: {},
      errors: [code],
      handler: () => {
        throw new BrokerError(code, "as told", { retryAfterSeconds: 2.5, status: 200, code: "X" });
      },
    });
    const access = { "GET /api/failing": authenticated() };
    const api = await apiUnderTest({ app: { routes: [() => [failing]], access } });
    const { status, headers, body } = await api.ask("GET", "/api/failing");
    assert.equal(status, ERROR_CODES[code].httpStatus);
    assert.equal(body.code, code);
    assert.equal(body.detail, "as told");
    if (status === 429 || status === 503) assert.equal(headers.get("retry-after"), "3");
    await api.close();
  }
});

Deno.test("a fault of the broker's own is told to the hook and to nobody else", async () => {
  const fault = new Error("secret path /var/lib/waybill");
  const { broker: whole } = await apiUnderTest();
  const topicNames = () => {
    throw fault;
  };
  const broker: Broker = Object.assign(Object.create(whole), { topicNames });
  const api = await apiUnderTest({ app: { broker } });
  const { status, body } = await api.ask("GET", "/api/topics");
  assert.deepEqual([status, body.code], [500, "INTERNAL"]);
  assert.doesNotMatch(JSON.stringify(body), /secret|var/);
  assert.deepEqual(api.faults, [fault]);
  await api.close();
  await whole.close();
});

Deno.test("a route's template and its parameters must agree", () => {
  const definition = {
    method: "GET",
    path: "/api/things/{thing}:poke",
    operationId: "poke",
    tag: "Tests",
    summary: "Pokes",
    responses: {},
    handler: () => ({}),
  } as const;
  assert.throws(() => defineRoute(definition), /names \(thing\) but declares \(\)/);
  defineRoute({ ...definition, params: z.strictObject({ thing: z.string() }) });
});

Deno.test("verbs behind a parameter are routed by method and verb", async () => {
  const seen: string[] = [];
  const route = (verb: string) =>
    defineRoute({
      method: "POST",
      path: `/api/things/{thing}/parts/{part}:${verb}`,
      operationId: verb,
      tag: "Tests",
      summary: verb,
      params: z.strictObject({ thing: z.string(), part: z.string() }),
      responses: { 200: { description: "ok" } },
      handler: ({ params }) => {
        seen.push(`${verb} ${params.thing} ${params.part}`);
        return { data: {} };
      },
    });
  const path = "POST /api/things/{thing}/parts/{part}";
  const entry = dataPlane(authenticated());
  const access = { [`${path}:poke`]: entry, [`${path}:pull`]: entry };
  const routes = [() => [route("poke"), route("pull")]];
  const api = await apiUnderTest({ app: { routes, access } });
  await api.ask("POST", "/api/things/a.b/parts/c:d:poke");
  await api.ask("POST", "/api/things/%2e%2e%2f/parts/é:pull");
  assert.equal((await api.ask("POST", "/api/things/a/parts/c:push")).status, 404);
  assert.deepEqual(seen, ["poke a.b c:d", "pull ../ é"]);
  await api.close();
});

Deno.test("a broker without credential answers to its addresses and own names, and to no name a page made up", async () => {
  const api = await apiUnderTest({
    app: {
      security: { adminToken: null, allowedOrigins: [], trustedHosts: ["localhost", "edge-7"] },
    },
  });
  const statusOf = async (host: string, origin?: string) => {
    const headers = origin === undefined ? undefined : { origin };
    const request = new Request(
      `http://${host}/api/topics`,
      headers === undefined ? {} : { headers },
    );
    const response = await api.app.fetch(request);
    await response.body?.cancel();
    return response.status;
  };
  for (const host of ["127.0.0.1:8080", "[::1]:8080", "10.0.0.7", "localhost:9", "edge-7"]) {
    assert.equal(await statusOf(host), 200, host);
  }
  for (const host of ["evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example"]) {
    assert.equal(await statusOf(host), 403, host);
    assert.equal(await statusOf(host, `http://${host}`), 403, host);
  }
  await api.close();
});
