// Owns the loop through the real process: load, alert, webhook, acknowledgement, recovery, restart.
// Refuses to own limits and durations (threshold_limits_test.ts). Invariant: every wait is bounded.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { startBrokerProcess } from "./support/broker_process.ts";

const SECRET = "a secret of some length";
const WAIT_MS = 30_000;

// deno-lint-ignore no-explicit-any -- what a test reads out of an answer is checked by its assertions
type Data = any;

interface Told {
  readonly headers: Headers;
  readonly text: string;
  readonly body: Data;
}

function receiver() {
  const told: Told[] = [];
  let refusals = 0;
  const server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen: () => {} },
    async (request) => {
      const text = await request.text();
      if (refusals > 0) {
        refusals--;
        return new Response("not now", { status: 503 });
      }
      told.push({ headers: request.headers, text, body: JSON.parse(text) });
      return new Response(null, { status: 204 });
    },
  );
  return {
    told,
    url: `http://127.0.0.1:${server.addr.port}/hook?token=1`,
    refuse: (times: number) => refusals = times,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

async function eventually<T>(find: () => Promise<T | null> | T | null, what: string): Promise<T> {
  const givenUpAt = performance.now() + WAIT_MS;
  while (performance.now() < givenUpAt) {
    const found = await find();
    if (found !== null) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${what} did not come about`);
}

function client(url: string) {
  return async (method: string, path: string, body?: unknown): Promise<Data> => {
    const response = await fetch(`${url}${path}`, {
      method,
      ...(body === undefined ? {} : {
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      }),
    });
    const text = await response.text();
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
    return text === "" ? null : JSON.parse(text);
  };
}

Deno.test("lag fires an alert that a signed webhook is told once, outlives a kill, and is resolved when it is gone", async () => {
  const dataDir = await Deno.makeTempDir();
  await using hook = receiver();
  const start = () =>
    startBrokerProcess({
      dataDir,
      args: [`--alert-webhooks=${hook.url}`, `--alert-webhook-secret=${SECRET}`],
    });
  try {
    let alertId = "";
    {
      await using broker = await start();
      const ask = client(broker.url);
      await ask("PUT", "/api/thresholds/consumer-lag", {
        limit: 10,
        forSeconds: 1,
        clearForSeconds: 1,
        severity: "P1",
        enabled: true,
        mode: "observe",
      });
      await ask("POST", "/api/topics", { name: "orders", partitions: 1 });
      await ask("POST", "/api/messages:publish", {
        topic: "orders",
        messages: Array.from({ length: 11 }, (_, value) => ({ value })),
      });
      const offsets = [{ topic: "orders", partition: 0, offset: 0 }];
      await ask("POST", "/api/offsets:commit", { groupId: "billing", offsets });
      hook.refuse(1);
      const alert = await eventually(async () => {
        const { alerts } = await ask("GET", "/api/alerts?state=firing&name=consumer-lag");
        return alerts[0] ?? null;
      }, "the alert");
      alertId = alert.alertId;
      assert.equal(alert.value, 11);
      assert.ok(alert.firedAt - alert.since >= 1_000);
      const fired = await eventually(() => hook.told[0] ?? null, "word of the alert");
      assert.equal(fired.body.kind, "fired");
      assert.equal(fired.body.alerts[0].alertId, alertId);
      const id = fired.headers.get("webhook-id");
      const signed = `${id}.${fired.headers.get("webhook-timestamp")}.${fired.text}`;
      const mac = createHmac("sha256", SECRET).update(signed).digest("base64");
      assert.equal(fired.headers.get("webhook-signature"), `v1,${mac}`);
      await ask("POST", `/api/alerts/${alertId}:acknowledge`, { reason: "looking" });
      assert.match(broker.log(), /alert fired: P1 consumer-lag of group billing/);
      assert.ok(!broker.log().includes("token=1"));
      await broker.stop("SIGKILL");
    }
    await using broker = await start();
    const ask = client(broker.url);
    const before = await ask("GET", `/api/alerts/${alertId}`);
    assert.deepEqual([before.state, before.acknowledgedBy], ["firing", "local-admin"]);
    // Told again after a start, under the same id.
    const firstId = hook.told[0]!.headers.get("webhook-id");
    await eventually(() => {
      const same = hook.told.filter(({ headers }) => headers.get("webhook-id") === firstId);
      return same.length === 2 ? same : null;
    }, "word of the alert after the start");
    const offsets = [{ topic: "orders", partition: 0, offset: 11 }];
    await ask("POST", "/api/offsets:commit", { groupId: "billing", offsets });
    const resolved = await eventually(async () => {
      const alert = await ask("GET", `/api/alerts/${alertId}`);
      return alert.state === "resolved" ? alert : null;
    }, "the end of the alert");
    assert.ok(resolved.resolvedAt > resolved.firedAt);
    assert.equal((await broker.stop("SIGTERM")).code, 0);
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
});
