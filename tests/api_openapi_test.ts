// Owns the tests of the OpenAPI document and of the page made from it.
// Refuses to own the routes themselves: tests/support/api_app.ts holds every answer against its documentation.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { documentationPage } from "../api/docs/page.ts";
import { html, paragraphs } from "../api/docs/html.ts";
import type { JsonObject, OpenApiDocument } from "../api/openapi.ts";
import { openApiDocument } from "../api/openapi.ts";
import { ERROR_CODES } from "../storage/broker_error.ts";
import { apiUnderTest } from "./support/api_app.ts";

/** Routes of the contract that are served here. */
const CONTRACT = `
POST /api/topics
GET /api/topics
GET /api/topics/{topic}
PATCH /api/topics/{topic}
DELETE /api/topics/{topic}
POST /api/messages:publish
POST /api/producers
POST /api/transactions
GET /api/transactions
GET /api/transactions/{transactionId}
POST /api/transactions/{transactionId}:commit
POST /api/transactions/{transactionId}:abort
POST /api/topics/{topic}/partitions/{partition}/messages
GET /api/topics/{topic}/partitions/{partition}/messages
GET /api/traces/{traceId}
POST /api/messages:replay
GET /api/replays
GET /api/replays/{jobId}
POST /api/replays/{jobId}:pause
POST /api/replays/{jobId}:resume
POST /api/replays/{jobId}:cancel
POST /api/dlq:redrive
GET /api/dlq
POST /api/messages:nack
GET /api/groups/{group}/retry-policy
PUT /api/groups/{group}/retry-policy
POST /api/offsets:commit
GET /api/groups
GET /api/groups/{group}
DELETE /api/groups/{group}
GET /api/groups/{group}/rebalances
GET /api/groups/{group}/lag
GET /api/groups/{group}/canary
PUT /api/groups/{group}/canary
DELETE /api/groups/{group}/canary
POST /api/groups/{group}/canary:promote
POST /api/groups/{group}:pause
POST /api/groups/{group}:resume
GET /api/groups/{group}/offsets/history
GET /api/groups/{group}/offsets/snapshots
POST /api/groups/{group}/offsets:snapshot
POST /api/groups/{group}/offsets:rollback
POST /api/groups/{group}/offsets:reset
GET /api/cluster
GET /api/brokers
GET /api/brokers/{nodeId}
POST /api/brokers/{nodeId}:drain
POST /api/brokers/{nodeId}:undrain
DELETE /api/brokers/{nodeId}
GET /api/partitions
GET /api/partitions:reassign
POST /api/partitions:reassign
DELETE /api/partitions:reassign
POST /api/keys
GET /api/keys
DELETE /api/keys/{keyId}
POST /api/acls
GET /api/acls
DELETE /api/acls/{aclId}
GET /api/quotas
GET /api/quotas/{tenant}
PUT /api/quotas/{tenant}
DELETE /api/quotas/{tenant}
GET /api/audit
GET /api/audit:verify
GET /api/alerts
GET /api/alerts/{alertId}
POST /api/alerts/{alertId}:acknowledge
POST /api/alerts/{alertId}:silence
GET /api/thresholds
GET /api/thresholds/{name}
PUT /api/thresholds/{name}
DELETE /api/thresholds/{name}
GET /api/runbooks
POST /api/runbooks/{name}:execute
GET /api/runbooks/executions
GET /api/runbooks/executions/{executionId}
POST /api/runbooks/executions/{executionId}:approve
POST /api/runbooks/executions/{executionId}:abort
GET /livez
GET /readyz
GET /openapi.json
GET /docs
GET /
`.trim().split("\n");

async function served(): Promise<{ document: OpenApiDocument; routes: string[] }> {
  const api = await apiUnderTest();
  const { body } = await api.ask("GET", "/openapi.json");
  await api.close();
  return { document: body, routes: api.app.routes.map(({ method, path }) => `${method} ${path}`) };
}

/** Every object within `node`, with its path. */
function* objectsIn(node: unknown, path = "#"): Generator<[string, JsonObject]> {
  if (typeof node !== "object" || node === null) return;
  if (!Array.isArray(node)) yield [path, node as JsonObject];
  for (const [key, value] of Object.entries(node)) yield* objectsIn(value, `${path}/${key}`);
}

function resolve(document: unknown, reference: string): unknown {
  return reference.slice(2).split("/")
    .reduce<unknown>((node, key) => (node as JsonObject | undefined)?.[key], document);
}

Deno.test("the document has every route of the contract and of the application, and no other", async () => {
  const { document, routes } = await served();
  const documented = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`)
  );
  assert.deepEqual(documented.sort(), [...routes].sort());
  assert.deepEqual([...routes].sort(), [...CONTRACT].sort());
});

Deno.test("the document is well formed: references resolve, parameters and responses are whole", async () => {
  const { document } = await served();
  assert.equal(document.openapi, "3.1.0");
  for (const [path, object] of objectsIn(document)) {
    if (typeof object.$ref !== "string") continue;
    assert.match(object.$ref, /^#\/components\/schemas\//, path);
    assert.ok(resolve(document, object.$ref), `${path} refers to nothing: ${object.$ref}`);
  }
  const tags = document.tags.map(({ name }) => name);
  for (const [path, methods] of Object.entries(document.paths)) {
    const inPath = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
    for (const operation of Object.values(methods)) {
      const parameters = operation.parameters ?? [];
      const declared = parameters.filter((parameter) => parameter.in === "path");
      assert.deepEqual(declared.map(({ name }) => name), inPath, path);
      assert.ok(declared.every(({ required }) => required), path);
      assert.ok(operation.tags.every((tag) => tags.includes(tag)));
      assert.ok(operation.summary.length > 0);
      for (const [status, response] of Object.entries(operation.responses)) {
        assert.match(status, /^[1-5]\d\d$/);
        assert.ok(response.description.length > 0);
      }
    }
  }
});

Deno.test("the document tells defaults, bounds and examples of what it validates", async () => {
  const { document } = await served();
  const read = document.paths["/api/topics/{topic}/partitions/{partition}/messages"]!.get!;
  const parameter = (name: string) => read.parameters!.find((entry) => entry.name === name)!;
  assert.deepEqual(parameter("maxMessages").schema, {
    type: "integer",
    minimum: 1,
    maximum: 10_000,
    default: 100,
  });
  assert.equal(parameter("offset").required, false);
  assert.equal(parameter("offset").schema.default, "earliest");
  const { NewTopic, Publish } = document.components.schemas;
  assert.deepEqual(NewTopic!.required, ["name"]);
  assert.equal(NewTopic!.additionalProperties, false);
  const messages = (Publish!.properties as Record<string, JsonObject>).messages!;
  assert.deepEqual([messages.minItems, messages.maxItems], [1, 10_000]);
  const publish = document.paths["/api/messages:publish"]!.post!;
  assert.ok(publish.requestBody!.content["application/json"]!.example);
  assert.ok("application/msgpack" in publish.requestBody!.content);
  assert.match(publish.responses["404"]!.description, /UNKNOWN_TOPIC/);
  assert.match(
    document.paths["/api/offsets:commit"]!.post!.responses["400"]!.description,
    /OFFSET_OUT_OF_RANGE/,
  );
});

Deno.test("the document is the same in MessagePack", async () => {
  const api = await apiUnderTest();
  const json = await api.ask("GET", "/openapi.json");
  const msgpack = await api.ask("GET", "/openapi.json", { format: "msgpack" });
  assert.deepEqual(msgpack.body, json.body);
  await api.close();
});

Deno.test("two routes may share neither operation nor path nor a schema's name", async () => {
  const api = await apiUnderTest();
  const routeOf = (id: string) => api.app.routes.find((route) => route.operationId === id);
  const [route, other] = [routeOf("publishMessages"), routeOf("createTopic")];
  assert.throws(() => openApiDocument([route!, route!], "1"), /exists twice/);
  assert.throws(
    () => openApiDocument([route!, { ...route!, operationId: "again" }], "1"),
    /exists twice/,
  );
  const body = other!.body!.meta({ id: "Publish" });
  assert.throws(() => openApiDocument([route!, { ...other!, body }], "1"), /named Publish/);
  await api.close();
});

Deno.test("the page shows every operation, schema and code, and loads nothing", async () => {
  const api = await apiUnderTest();
  const response = await api.app.request("http://x/docs", { headers: { accept: "text/html" } });
  const page = await response.text();
  const { body: document } = await api.ask("GET", "/openapi.json");
  assert.equal(response.headers.get("content-type"), "text/html; charset=utf-8");
  for (const route of api.app.routes) assert.ok(page.includes(`id="${route.operationId}"`));
  for (const name of Object.keys(document.components.schemas)) {
    assert.ok(page.includes(`id="schema-${name}"`), name);
  }
  for (const code of Object.keys(ERROR_CODES)) assert.ok(page.includes(`id="${code}"`), code);
  assert.doesNotMatch(
    page,
    /<script|<link|<img|<iframe|\bstyle=|\bon\w+=|https?:\/\/|@import|url\(/,
  );
  const anchors = [...page.matchAll(/href="#([^"]+)"/g)].map((match) => match[1]!);
  for (const anchor of anchors) {
    assert.ok(page.includes(`id="${anchor}"`), `#${anchor} leads nowhere`);
  }
  const style = /<style>([\s\S]*)<\/style>/.exec(page)![1]!;
  const hash = createHash("sha256").update(style).digest("base64");
  const policy = response.headers.get("content-security-policy")!;
  assert.ok(policy.includes(`style-src 'sha256-${hash}'`));
  assert.ok(policy.includes("default-src 'none'") && policy.includes("frame-ancestors 'none'"));
  assert.equal(response.headers.get("x-content-type-options"), "nosniff");
  await api.close();
});

Deno.test("tags of the page are closed in the order in which they were opened", async () => {
  const { document } = await served();
  const page = documentationPage(document).replace(/<style>[\s\S]*<\/style>/, "");
  const open: string[] = [];
  for (const [, closing, tag] of page.matchAll(/<(\/?)([a-z][a-z0-9]*)\b[^>]*>/g)) {
    if (tag === "meta") continue;
    if (closing === "") open.push(tag!);
    else assert.equal(open.pop(), tag);
  }
  assert.deepEqual(open, []);
});

Deno.test("text in a page never becomes markup", () => {
  const evil = `"><script>alert('x')</script>&`;
  assert.equal(
    html`<p title="${evil}">${[html`<b>${evil}</b>`]}${null}${false}${0}</p>`.text,
    '<p title="&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;">' +
      "<b>&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;</b>0</p>",
  );
});

Deno.test("descriptions become paragraphs, lists and code", () => {
  const shown = paragraphs("One `<b>`.\n\n- a `x`\n- b\n\nTwo\nlines").map(({ text }) => text);
  assert.deepEqual(shown, [
    "<p>One <code>&lt;b&gt;</code>.</p>",
    "<ul><li>a <code>x</code></li><li>b</li></ul>",
    "<p>Two\nlines</p>",
  ]);
});

Deno.test("the root leads to the documentation until something else stands there", async () => {
  const api = await apiUnderTest();
  const response = await api.app.request("http://x/", { headers: { accept: "text/html" } });
  assert.equal(response.status, 302);
  assert.equal(response.headers.get("location"), "/docs");
  const root = api.app.routes.find((route) => route.path === "/")!;
  const dashboard = { ...root, operationId: "getDashboard", handler: () => new Response("hi") };
  const other = await apiUnderTest({ app: { routes: [() => [dashboard]] } });
  assert.equal(await (await other.app.request("http://x/")).text(), "hi");
  assert.equal((await other.ask("GET", "/openapi.json")).status, 200);
  await other.close();
  await api.close();
});
