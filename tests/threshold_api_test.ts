// The routes of thresholds and alerts, over a whole broker in memory.
import assert from "node:assert/strict";
import { THRESHOLD_NAMES } from "../actors/threshold/types.ts";
import { type ApiUnderTest, apiUnderTest } from "./support/api_app.ts";
import { toyRunbook } from "./support/runbook_scene.ts";
import { lagOf, SampleRun } from "./support/sample_run.ts";

async function scene(): Promise<{ api: ApiUnderTest; run: SampleRun }> {
  const api = await apiUnderTest();
  const run = new SampleRun((sample) => api.broker.alerts.observe(sample), api.time);
  return { api, run };
}

const SETTINGS = { limit: 10, severity: "P2", enabled: true, mode: "approve" };

Deno.test("GET /api/thresholds lists the five of every broker with their limits, and pages", async () => {
  const { api } = await scene();
  const { status, body } = await api.ask("GET", "/api/thresholds");
  assert.equal(status, 200);
  // deno-lint-ignore no-explicit-any -- what a test reads out of an answer
  const byName = new Map<string, any>(body.thresholds.map((one: any) => [one.name, one]));
  assert.deepEqual([...byName.keys()], [...THRESHOLD_NAMES]);
  const shown = (name: string) => {
    const { limit, forSeconds, windowSeconds, severity, unit } = byName.get(name);
    return [limit, unit, forSeconds, windowSeconds, severity];
  };
  assert.deepEqual(shown("publish-failure-rate"), [0.005, "ratio", 300, 60, "P1"]);
  assert.deepEqual(shown("replication-delay"), [3, "seconds", 180, 0, "P1"]);
  assert.deepEqual(shown("consumer-lag"), [500_000, "messages", 0, 0, "P1"]);
  assert.deepEqual(shown("rebalance-rate"), [6, "rebalances", 0, 600, "P2"]);
  assert.deepEqual(shown("dead-letter-rate"), [2_000, "messages", 0, 60, "P1"]);
  const names: string[] = [];
  for (let cursor: string | null = ""; cursor !== null;) {
    const more = cursor === "" ? "" : `&cursor=${cursor}`;
    const page = await api.ask("GET", `/api/thresholds?limit=5${more}`);
    names.push(...page.body.thresholds.map(({ name }: { name: string }) => name));
    cursor = page.body.nextCursor ?? null;
  }
  assert.deepEqual(names, [...THRESHOLD_NAMES]);
  await api.close();
});

Deno.test("PUT /api/thresholds/{name} sets it from the next sample on, audited with what was before", async () => {
  const { api, run } = await scene();
  await run.feed(1, lagOf(11));
  const put = await api.ask("PUT", "/api/thresholds/consumer-lag", { body: SETTINGS });
  assert.equal(put.status, 200);
  assert.deepEqual(
    [put.body.limit, put.body.clearLimit, put.body.runbook, put.body.mode, put.body.updatedBy],
    [10, null, "lag-growing", "approve", "local-admin"],
  );
  const shown = await api.ask("GET", "/api/thresholds/consumer-lag");
  assert.deepEqual(shown.body, put.body);
  await run.feed(1, lagOf(11));
  const { body } = await api.ask("GET", "/api/alerts?state=firing");
  assert.deepEqual(body.alerts.map(({ severity }: { severity: string }) => severity), ["P2"]);
  const { body: { entries } } = await api.ask("GET", "/api/audit?action=threshold.set");
  const done = entries.find(({ outcome }: { outcome: string }) => outcome === "success");
  assert.equal(done.before.limit, 500_000);
  assert.equal(done.after.limit, 10);
  assert.deepEqual(done.resource, { type: "threshold", name: "consumer-lag" });
  assert.equal((await api.ask("DELETE", "/api/thresholds/consumer-lag")).status, 204);
  assert.equal((await api.ask("GET", "/api/thresholds/consumer-lag")).body.limit, 500_000);
  await api.close();
});

Deno.test("PUT /api/thresholds/{name} refuses what is no threshold and what makes no sense", async () => {
  const { api } = await scene();
  const put = async (name: string, body: unknown) => {
    const answer = await api.ask("PUT", `/api/thresholds/${name}`, { body });
    return [answer.status, answer.body.code];
  };
  assert.deepEqual(await put("nothing", SETTINGS), [404, "NOT_FOUND"]);
  const wrong = [
    { ...SETTINGS, limit: -1 },
    { ...SETTINGS, limit: "10" },
    { ...SETTINGS, clearLimit: 11 },
    { ...SETTINGS, windowSeconds: 901 },
    { ...SETTINGS, severity: "P0" },
    { ...SETTINGS, mode: "always" },
    { ...SETTINGS, more: 1 },
    { limit: 10 },
  ];
  for (const body of wrong) {
    assert.deepEqual(await put("consumer-lag", body), [400, "INVALID_REQUEST"]);
  }
  api.broker.runbooks.use([
    toyRunbook("mend", []),
    toyRunbook("later", [], { available: false }),
    toyRunbook("whole", [], { targetKinds: ["broker"] }),
  ]);
  for (const runbook of ["nosuch", "later", "whole"]) {
    const refused = await put("consumer-lag", { ...SETTINGS, runbook });
    assert.deepEqual(refused, [400, "INVALID_REQUEST"]);
  }
  const ratio = { ...SETTINGS, limit: 1.01 };
  assert.deepEqual(await put("publish-failure-rate", ratio), [400, "INVALID_REQUEST"]);
  assert.equal((await api.ask("GET", "/api/thresholds/consumer-lag")).body.updatedAt, null);
  const own = { ...SETTINGS, runbook: "mend" };
  assert.equal((await api.ask("PUT", "/api/thresholds/consumer-lag", { body: own })).status, 200);
  const whole = { ...SETTINGS, runbook: "whole" };
  assert.equal((await api.ask("PUT", "/api/thresholds/disk-slow", { body: whole })).status, 200);
  await api.close();
});

Deno.test("GET /api/alerts lists live ones first, filters, and pages without gaps while alerts come and go", async () => {
  const { api, run } = await scene();
  await run.feed(1, lagOf(600_000, { group: "old" }));
  await run.feed(62);
  for (let i = 0; i < 5; i++) {
    const lags = Array.from(
      { length: i + 1 },
      (_, at) => lagOf(600_000, { group: `g${at}` }).lags![0]!,
    );
    await run.feed(1, { lags, replicationDelayMs: 5_000 });
  }
  const list = async (query = "") => (await api.ask("GET", `/api/alerts${query}`)).body;
  const groups = (alerts: { resource: { name: string } }[]) =>
    alerts.map((one) => one.resource.name);
  const newestFirst = ["g4", "g3", "g2", "g1", "g0", "old"];
  assert.deepEqual(groups((await list("?name=consumer-lag")).alerts), newestFirst);
  assert.deepEqual(groups((await list("?resource=group:g3")).alerts), ["g3"]);
  assert.deepEqual(groups((await list("?resource=g3")).alerts), ["g3"]);
  assert.equal((await list("?state=pending")).alerts[0].name, "replication-delay");
  assert.equal((await list("?severity=P2")).alerts.length, 0);
  const first = await list("?name=consumer-lag&limit=2");
  const rest = await list(`?name=consumer-lag&limit=200&cursor=${first.nextCursor}`);
  assert.deepEqual(groups([...first.alerts, ...rest.alerts]), newestFirst);
  assert.equal((await api.ask("GET", "/api/alerts?state=over")).status, 400);
  await api.close();
});

Deno.test("an alert is acknowledged and silenced by its id, audited, and only while it lives", async () => {
  const { api, run } = await scene();
  await run.feed(1, { ...lagOf(600_000), replicationDelayMs: 5_000 });
  const { body: { alerts: [pending] } } = await api.ask("GET", "/api/alerts?state=pending");
  const { body: { alerts: [firing] } } = await api.ask("GET", "/api/alerts?state=firing");
  const post = (alertId: string, verb: string, body: unknown = {}) =>
    api.ask("POST", `/api/alerts/${alertId}:${verb}`, { body });
  const taken = await post(firing.alertId, "acknowledge", { reason: "looking" });
  assert.deepEqual([taken.status, taken.body.acknowledgedBy], [200, "local-admin"]);
  assert.equal((await post(pending.alertId, "acknowledge")).body.code, "INVALID_ALERT_STATE");
  assert.equal((await post("nobody", "acknowledge")).body.code, "NOT_FOUND");
  const silenced = await post(firing.alertId, "silence", { seconds: 60, reason: "maintenance" });
  assert.equal(silenced.body.silencedUntil, api.time.now() + 60_000);
  assert.equal((await post(firing.alertId, "silence", { seconds: 0 })).body.silencedUntil, null);
  assert.equal((await post(firing.alertId, "silence", { seconds: -1 })).status, 400);
  const shown = await api.ask("GET", `/api/alerts/${firing.alertId}`);
  assert.equal(shown.body.acknowledgedBy, "local-admin");
  await run.feed(61);
  assert.equal((await post(firing.alertId, "acknowledge")).body.code, "INVALID_ALERT_STATE");
  assert.equal((await post(firing.alertId, "silence", { seconds: 9 })).status, 200);
  const { body: { entries } } = await api.ask(
    "GET",
    "/api/audit?action=alert.*&resource=" + firing.alertId,
  );
  const actions = new Set(entries.map(({ action }: { action: string }) => action));
  assert.deepEqual(actions, new Set(["alert.silence", "alert.acknowledge"]));
  await api.close();
});
