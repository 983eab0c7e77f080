// Owns the tests of what pages of other origins are told they may do.
import assert from "node:assert/strict";
import { apiUnderTest } from "./support/api_app.ts";

const CONSOLE = "https://console.example.com";
const OPEN = { security: { adminToken: null, allowedOrigins: [CONSOLE] } };
const CORS_HEADER = /^access-control-/;

function asked(method: string, origin: string | null, headers: Record<string, string> = {}) {
  return new Request("http://127.0.0.1/api/topics", {
    method,
    headers: { ...(origin === null ? {} : { origin }), ...headers },
  });
}

function corsHeaders(response: Response): string[] {
  return [...response.headers.keys()].filter((name) => CORS_HEADER.test(name));
}

const PREFLIGHT = { "access-control-request-method": "POST" };

Deno.test("without an allowed origin no answer says anything of CORS", async () => {
  const { app, close } = await apiUnderTest();
  for (const [method, headers] of [["GET", {}], ["OPTIONS", PREFLIGHT]] as const) {
    const response = await app.fetch(asked(method, CONSOLE, headers));
    assert.deepEqual(corsHeaders(response), []);
    assert.equal(response.headers.get("vary"), null);
    assert.equal(response.status, method === "GET" ? 200 : 403);
    await response.body?.cancel();
  }
  await close();
});

Deno.test("a page of an allowed origin is told in a preflight what it may send", async () => {
  const { app, close } = await apiUnderTest({ app: OPEN });
  const response = await app.fetch(asked("OPTIONS", CONSOLE, PREFLIGHT));
  assert.equal(response.status, 204);
  assert.equal(response.headers.get("access-control-allow-origin"), CONSOLE);
  assert.match(response.headers.get("access-control-allow-methods")!, /\bDELETE\b/);
  assert.match(response.headers.get("access-control-allow-headers")!, /\bauthorization\b/);
  assert.match(response.headers.get("vary")!, /\borigin\b/);
  await close();
});

Deno.test("a page of an allowed origin may read answers, problems too, and no cookie is asked of it", async () => {
  const { app, close } = await apiUnderTest({ app: OPEN });
  for (const path of ["/api/topics", "/api/topics/nowhere", "/nowhere"]) {
    const request = new Request(`http://127.0.0.1${path}`, { headers: { origin: CONSOLE } });
    const response = await app.fetch(request);
    assert.equal(response.headers.get("access-control-allow-origin"), CONSOLE, path);
    assert.match(response.headers.get("access-control-expose-headers")!, /x-request-id/);
    assert.equal(response.headers.get("access-control-allow-credentials"), null);
    assert.equal(response.headers.get("vary"), "origin");
    await response.body?.cancel();
  }
  await close();
});

Deno.test("a page of any other origin gets no permission, and caches are told that it depends", async () => {
  const { app, close } = await apiUnderTest({ app: OPEN });
  for (const origin of [null, "https://evil.example.com", `${CONSOLE}.evil.com`, "null"]) {
    for (const [method, headers] of [["GET", {}], ["OPTIONS", PREFLIGHT]] as const) {
      const response = await app.fetch(asked(method, origin, headers));
      assert.deepEqual(corsHeaders(response), [], `${method} from ${origin}`);
      assert.equal(response.headers.get("vary"), "origin");
      await response.body?.cancel();
    }
  }
  await close();
});
