// Owns proof that keys of messages are told only to whoever may read the topic: in overviews, alerts and executions.
// Refuses to own who finds them. Invariant: the same answers are asked for by an administrator, who is told.
import assert from "node:assert/strict";
import type { Sample } from "../actors/measurement/types.ts";
import { createOverview, type OverviewEdge } from "../api/routes/overview.ts";
import { allRunbooks } from "../ops/runbooks/install.ts";
import { allow } from "./support/acl_grants.ts";
import { apiUnderTest } from "./support/api_app.ts";
import { portsOf } from "./support/runbook_scene.ts";
import { SampleRun } from "./support/sample_run.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const ADMIN = "an-admin-token-of-some-length";
/** With what the runbook says behind a key, to be left out wholly. */
const KEY = "customer-7 has 3% of the bytes: SECRET";

async function scene() {
  const time = new VirtualClock();
  const measured: Sample[] = [];
  const heard = new Set<(sample: Sample) => void>();
  const samples = {
    latest: () => measured.at(-1) ?? null,
    history: () => measured,
    onSample: (hear: (sample: Sample) => void) => {
      heard.add(hear);
      return () => void heard.delete(hear);
    },
  };
  const overview: OverviewEdge = createOverview(samples);
  const api = await apiUnderTest({
    time,
    app: { security: { adminToken: ADMIN, allowedOrigins: [] }, routes: [overview.routes] },
  });
  const ports = portsOf(api.broker, time, { samples: measured, usage: {} });
  api.broker.runbooks.use(allRunbooks({ ...ports, samples }));
  const as = (token: string) => ({ authorization: `Bearer ${token}` });
  const run = new SampleRun((sample) => {
    measured.push(sample);
    api.broker.alerts.observe(sample);
    for (const hear of heard) hear(sample);
  }, time);
  const keyOf = async (principal: string) => {
    const body = { principal };
    const made = await api.ask("POST", "/api/keys", { body, headers: as(ADMIN) });
    await allow(api.broker, principal, [["cluster", "*", "describe"]]);
    return made.body.key as string;
  };
  const close = async () => {
    overview.close();
    await api.close();
  };
  return { api, run, as, keyOf, close };
}

Deno.test("keys of messages are told only to whoever may read the topic", async () => {
  const { api, run, as, keyOf, close } = await scene();
  const admin = { headers: as(ADMIN) };
  await api.ask("POST", "/api/topics", { body: { name: "orders", partitions: 1 }, ...admin });
  const messages = [{ key: KEY, value: "x".repeat(1_000) }];
  await api.ask("POST", "/api/messages:publish", { body: { topic: "orders", messages }, ...admin });
  const ops = await keyOf("ops");
  const reader = await keyOf("reader");
  await allow(api.broker, "reader", [["topic", "orders", "read"]]);
  const events = async (token: string) => {
    const answer = await api.app.request("/api/overview:stream", { headers: as(token) });
    const stream = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    return async () => (await stream.read()).value ?? "";
  };
  const [toOps, toReader] = [await events(ops), await events(reader)];
  await Promise.all([toOps(), toReader()]);

  const bytes = 1e9;
  const hot = { topic: "orders", partition: 0, bytes, share: 1, hotKey: KEY };
  await run.feed(1, { partitions: [hot] });
  assert.ok((await toReader()).includes("SECRET"));
  const sample = await toOps();
  assert.ok(sample.includes(`"topic":"orders"`) && !sample.includes("SECRET"), sample);

  await run.feed(200, { partitions: [hot] });
  const body = { target: { type: "partition", name: "orders/0" }, mode: "observe", reason: "look" };
  const path = "/api/runbooks/hot-partition:execute";
  const { body: begun } = await api.ask("POST", path, { body, ...admin });
  await api.time.advance(2_000);
  const { body: { alerts } } = await api.ask("GET", "/api/alerts?name=hot-partition", admin);
  for (
    const path of [
      "/api/overview",
      "/api/alerts",
      `/api/alerts/${alerts[0].alertId}`,
      "/api/runbooks/executions",
      `/api/runbooks/executions/${begun.executionId}`,
    ]
  ) {
    const told = async (token: string) => {
      const answer = await api.ask("GET", path, { headers: as(token) });
      assert.equal(answer.status, 200, path);
      return JSON.stringify(answer.body);
    };
    assert.ok((await told(ADMIN)).includes("SECRET"), path);
    assert.ok((await told(reader)).includes("SECRET"), path);
    const hidden = await told(ops);
    assert.ok(!hidden.includes("SECRET") && !hidden.includes("customer-7"), `${path} ${hidden}`);
    assert.ok(hidden.includes("orders"), path);
  }
  const { body: shown } = await api.ask(
    "GET",
    `/api/runbooks/executions/${begun.executionId}`,
    { headers: as(ops) },
  );
  assert.match(shown.outcome, /a key has \d+% of the bytes/);
  await close();
});
