// Owns tests of setting quotas and showing them: who may, and what is refused.
// Refuses to own what a quota does (quota_api_test.ts).
import assert from "node:assert/strict";
import { quotaExceeded } from "../api/quota/refusal.ts";
import { ADMIN, publish, quotaDoor } from "./support/quota_door.ts";

Deno.test("a quota is set as a whole, shown with where it comes from, listed and deleted", async () => {
  const api = await quotaDoor();
  const none = await api.admin("GET", "/api/quotas/team-a");
  assert.deepEqual([none.status, none.body.source], [200, "none"]);
  const put = await api.admin("PUT", "/api/quotas/team-a", {
    requestsPerSecond: 5,
    connections: 2,
  });
  assert.equal(put.status, 200);
  assert.deepEqual(
    [put.body.tenant, put.body.requestsPerSecond, put.body.connections, put.body.updatedBy],
    ["team-a", 5, 2, "admin"],
  );
  const again = await api.admin("PUT", "/api/quotas/team-a", { topics: 3 });
  assert.deepEqual([again.body.requestsPerSecond, again.body.topics], [null, 3]);
  await api.admin("PUT", "/api/quotas/*", { connections: 9 });
  const other = await api.admin("GET", "/api/quotas/team-b");
  assert.deepEqual([other.body.source, other.body.connections], ["default", 9]);
  const own = await api.admin("GET", "/api/quotas/team-a");
  assert.deepEqual([own.body.source, own.body.connections], ["tenant", null]);
  const list = await api.admin("GET", "/api/quotas?limit=1");
  assert.deepEqual(list.body.quotas.map(({ tenant }: { tenant: string }) => tenant), ["*"]);
  assert.ok(list.body.nextCursor);
  assert.equal((await api.admin("DELETE", "/api/quotas/team-a")).status, 204);
  assert.equal((await api.admin("DELETE", "/api/quotas/team-a")).status, 404);
  assert.equal(
    (await api.admin("PUT", "/api/quotas/team-a", { requestsPerSecond: -1 })).status,
    400,
  );
  assert.equal((await api.admin("PUT", "/api/quotas/team-a", { requests: 1 })).status, 400);
  await api.close();
});

Deno.test("quotas are the administrator's: others are refused", async () => {
  const api = await quotaDoor();
  const headers = await api.member("team-a");
  for (const [method, path] of [["GET", ""], ["GET", "/team-b"], ["DELETE", "/team-a"]] as const) {
    const { status } = await api.ask(method, `/api/quotas${path}`, { headers });
    assert.equal(status, 403, `${method} ${path}`);
  }
  const put = await api.ask("PUT", "/api/quotas/team-a", { headers, body: {} });
  assert.equal(put.status, 403);
  await api.close();
});

Deno.test("an administrator reaches quotas and keys however small the quota of its tenant is", async () => {
  const api = await quotaDoor();
  await api.admin("PUT", "/api/quotas/default", { requestsPerSecond: 0, inFlightBytes: 0 });
  assert.equal((await api.admin("GET", "/api/topics")).status, 429);
  assert.equal((await api.admin("GET", "/api/keys")).status, 200);
  assert.equal((await api.admin("PUT", "/api/quotas/default", {})).status, 200);
  assert.equal((await api.admin("GET", "/api/topics")).status, 200);
  await api.close();
});

Deno.test("whoever belongs to a tenant sees its quota and usage, in figures to read, and no other's", async () => {
  const api = await quotaDoor();
  await api.admin("PUT", "/api/quotas/team-a", { connections: 1 });
  const headers = await api.member("team-a");
  for (let count = 0; count < 3; count++) await publish(api, 7, headers);
  const own = await api.ask("GET", "/api/quotas/team-a", { headers });
  assert.deepEqual([own.status, own.body.connections], [200, 1]);
  for (const [name, value] of Object.entries(own.body.usage as Record<string, number>)) {
    assert.equal(value, Math.round(value * 10) / 10, name);
  }
  assert.equal((await api.ask("GET", "/api/quotas/team-b", { headers })).status, 403);
  assert.equal((await api.ask("GET", "/api/quotas/*", { headers })).status, 403);
  assert.equal((await api.ask("GET", "/api/quotas", { headers })).status, 403);
  const { message } = quotaExceeded({
    quota: "connections",
    owner: { tenant: "team-a" },
    limit: 1,
    retryAfterMs: 1,
  });
  assert.equal(message, "tenant team-a has a quota of 1 consumer at once");
  await api.close();
});

Deno.test("a body that is nested too deep is told with the beginning of the path", async () => {
  const api = await quotaDoor();
  const deep = `${"[".repeat(100)}${"]".repeat(100)}`;
  const { status, body } = await api.ask("POST", "/api/topics", {
    headers: { ...ADMIN, "content-type": "application/json" },
    raw: deep,
  });
  assert.equal(status, 400);
  assert.ok(body.detail.length < 200, body.detail);
  await api.close();
});
