// Owns a tenant over its quota on the real process: what it is told and when, on which connection, and what others notice.
// Refuses to own rules of quotas (quota_*_test.ts). Invariant: nothing outlives the test.
import assert from "node:assert/strict";
import { HttpConnection, requestBytes } from "../ops/bench/http_connection.ts";
import { type BrokerProcess, startBrokerProcess } from "./support/broker_process.ts";

const ADMIN_TOKEN = "admin-of-quotas";

async function admin(broker: BrokerProcess, method: string, path: string, body?: unknown) {
  const response = await fetch(`${broker.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${ADMIN_TOKEN}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const answer = response.status === 204 ? null : await response.json();
  assert.ok(response.ok, JSON.stringify(answer));
  return answer;
}

async function withTenants(run: (broker: BrokerProcess, keys: string[]) => Promise<void>) {
  const dataDir = await Deno.makeTempDir({ prefix: "waybill-quota-" });
  const start = () => startBrokerProcess({ dataDir, args: [`--admin-token=${ADMIN_TOKEN}`] });
  try {
    await using broker = await start();
    const acl = { principal: "*", resource: "topic", pattern: "*", patternType: "literal" };
    await admin(broker, "POST", "/api/acls", { ...acl, operation: "all", effect: "allow" });
    await admin(broker, "POST", "/api/topics", { name: "orders" });
    const keys: string[] = [];
    for (const tenant of ["noisy", "quiet"]) {
      const { key } = await admin(broker, "POST", "/api/keys", { principal: tenant, tenant });
      keys.push(key);
    }
    await run(broker, keys);
    await broker.stop("SIGTERM");
    await using again = await start();
    const kept = await admin(again, "GET", "/api/quotas/noisy");
    assert.deepEqual([kept.publishBytesPerSecond, kept.connections], [null, 3]);
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
}

function publishBytes(token: string, bytes: number): Uint8Array {
  const data = { topic: "orders", messages: [{ value: "x".repeat(bytes) }] };
  const body = new TextEncoder().encode(JSON.stringify(data));
  const path = "/api/messages:publish";
  return requestBytes({ method: "POST", path, contentType: "application/json", body, token });
}

Deno.test("a tenant over its quota is told so late on a connection that goes on, and others are served", async () => {
  await withTenants(async (broker, [noisy, quiet]) => {
    // The first passes, being alone, and is owed for minutes.
    await admin(broker, "PUT", "/api/quotas/noisy", { publishBytesPerSecond: 1_024 });
    const large = publishBytes(noisy!, 700_000);
    const [one, two] = [
      await HttpConnection.open(broker.url),
      await HttpConnection.open(broker.url),
    ];
    assert.equal(await one.send(large), 200);
    const startedAt = performance.now();
    const refused = one.send(large);
    // What others ask meanwhile is answered at once.
    assert.equal(await two.send(publishBytes(quiet!, 700_000)), 200);
    const othersMs = performance.now() - startedAt;
    assert.equal(await refused, 429);
    const lateMs = performance.now() - startedAt;
    assert.ok(lateMs >= 450, `told after ${lateMs} ms`);
    assert.ok(othersMs < lateMs, `${othersMs} of ${lateMs} ms`);
    // Its body was never read, and yet what comes behind it is.
    await admin(broker, "PUT", "/api/quotas/noisy", { connections: 3 });
    assert.equal(await one.send(publishBytes(noisy!, 10)), 200);
    const { usage } = await admin(broker, "GET", "/api/quotas/noisy");
    assert.deepEqual([usage.refused, usage.inFlightBytes], [1, 0]);
    for (const connection of [one, two]) connection.close();
  });
});
