// Owns tests of what operators look at and set by commands, against a broker in memory: access, alerts, runbooks, traces.
// Refuses to own how command lines are read (cli_words_test.ts).
import assert from "node:assert/strict";
import { cli } from "./support/cli_run.ts";
import { consumingServer } from "./support/consuming_server.ts";
import { lagOf, sampleOf } from "./support/sample_run.ts";
import { toyRunbook } from "./support/runbook_scene.ts";
import { done, until, withBroker } from "./support/cli_broker.ts";

Deno.test("keys, ACLs and quotas are made, listed and deleted; a key is shown once", () =>
  withBroker(async (run) => {
    const made = (await done(run("keys create billing --tenant shop --expires 30d --json"))).json();
    assert.ok(made.expiresAt > Date.now() + 29 * 86_400_000);
    assert.ok(!(await done(run("keys list --json"))).out.includes(made.key));
    await done(run(`keys delete ${made.keyId} --yes`));
    assert.match((await done(run("keys list"))).out, /there are no keys/);

    const rule = "--principal billing --resource topic --pattern orders --operation read";
    const acl = (await done(run(`acls create ${rule} --json`))).json();
    assert.equal((await done(run("acls list --principal billing --json"))).json().acls.length, 1);
    assert.equal((await done(run("acls list --principal other --json"))).json().acls.length, 0);
    await done(run(`acls delete ${acl.aclId} --yes`));

    await done(run("quotas set shop --connections 5 --requests-per-second 100"));
    const quota = (await done(run("quotas set shop --connections none --json"))).json();
    assert.deepEqual([quota.connections, quota.requestsPerSecond], [null, 100]);
    assert.match((await done(run("quotas list"))).out, /shop +tenant/);
    await done(run("quotas delete shop --yes"));
  }));

Deno.test("alerts are listed, and a threshold is changed in one thing and put back", () =>
  withBroker(async (run) => {
    assert.match((await done(run("alerts list --fail-if-firing"))).out, /there are no alerts/);
    assert.equal((await run("alerts acknowledge nothing")).code, 1);
    const before = (await done(run("thresholds show consumer-lag --json"))).json();
    const after = (await done(run("thresholds set consumer-lag --limit 7 --json"))).json();
    assert.deepEqual([after.limit, after.severity, after.runbook], [7, "P1", before.runbook]);
    await done(run("thresholds reset consumer-lag --yes"));
    assert.equal((await done(run("thresholds show consumer-lag --json"))).json().limit, 500_000);
    assert.match((await done(run("thresholds list"))).out, /consumer-lag +P1 +500,000/);
  }));

Deno.test("alerts of one group are told apart by topic and partition", async () => {
  const server = await consumingServer();
  try {
    const lags = [0, 1].flatMap((partition) => lagOf(600_000, { partition }).lags!);
    server.broker.alerts.observe(sampleOf({ at: Date.now(), monotonic: 1, lags }));
    const world = { environment: { WAYBILLCTL_URL: server.url } };
    const listed = await done(cli(["alerts", "list"], world));
    for (const partition of [0, 1]) {
      assert.match(listed.out, new RegExp(`group billing, orders/${partition} `));
    }
    const { json } = await done(cli(["alerts", "list", "--json"], world));
    const shown = await done(cli(["alerts", "show", json().alerts[0].alertId], world));
    assert.match(shown.out, /^resource +group billing, orders\/[01]$/m);
  } finally {
    await server.close();
  }
});

Deno.test("a runbook is executed, waits for approval, is followed to its end, and tells a partial one", async () => {
  const server = await consumingServer();
  const environment = { WAYBILLCTL_URL: server.url };
  const run = (...words: string[]) => cli(["runbooks", ...words], { environment });
  try {
    server.broker.runbooks.use([
      toyRunbook("mend", [{ name: "look", kind: "check" }, { name: "act", kind: "action" }]),
      toyRunbook("fail", [{
        name: "act",
        kind: "action",
        run: () => ({ outcome: "manual", detail: "somebody must look" }),
      }]),
    ]);
    assert.match((await done(run("list"))).out, /^mend +group broker none +2 /m);
    assert.match((await done(run("show", "mend"))).out, /^act +action/m);
    const start = ["execute", "mend", "--target", "group:billing", "--reason", "x"];
    const waiting = (await done(run(...start, "--mode", "approve", "--json"))).json();
    const id = waiting.executionId;
    await until(
      async () => (await done(run("execution", id, "--json"))).json(),
      ({ state }) => state === "waiting",
    );
    assert.match((await done(run("executions", "--state", "waiting"))).out, new RegExp(id));
    assert.equal((await run("approve", id)).code, 2);
    const other = await run("approve", id, "--step", "look", "--yes");
    assert.notEqual(other.code, 0);
    assert.match(other.err, /waits for approval of step act, not of look/);
    const ended = await done(run("approve", id, "--yes", "--watch"));
    assert.match(ended.err, /^act: act/m);
    assert.match(ended.err, /^approved step act$/m);
    assert.match(ended.out, /^state +verified$/m);
    assert.match(ended.err, /act done: act is done/);
    const shown = await done(run(...start));
    assert.doesNotMatch(shown.out, /^state +running$/m);
    assert.match(shown.out, /^look +check +done /m);
    const asked = await done(run(...start, "--mode", "approve"));
    assert.match(asked.err, /it waits: waybill runbooks approve /);
    await done(run("abort", /approve (\S+)/.exec(asked.err)![1]!, "--yes"));
    const observed = await done(run(...start, "--watch", "--json"));
    assert.equal(observed.json().steps[1].state, "skipped");
    const failed = await run(
      "execute",
      "fail",
      "--reason",
      "x",
      "--mode",
      "auto",
      "--yes",
      "--watch",
    );
    assert.equal(failed.code, 1);
    assert.match(failed.err, /partial: manual intervention required/);
  } finally {
    await server.close();
  }
});

Deno.test("what became of a trace is shown, by its id or a whole traceparent", () =>
  withBroker(async (run) => {
    const id = "4bf92f3577b34da6a3ce929d0e0e4736";
    const parent = `00-${id}-00f067aa0ba902b7-01`;
    await done(run(`publish orders one two --partition 1 -H traceparent=${parent}`));
    await done(run("consume orders --partition 1 --json"));
    const told = (await done(run(`traces show ${id} --json`))).json();
    assert.equal(told.traceId, id);
    assert.equal(told.isTruncated, false);
    const [published, delivered] = told.events;
    assert.deepEqual(
      [published.kind, published.partition, published.offset, published.lastOffset],
      ["published", 1, 0, 1],
    );
    assert.equal(delivered.kind, "delivered");
    const table = await done(run(`traces show ${parent}`));
    assert.match(table.out, /^AT +WHAT +MESSAGE/);
    assert.match(table.out, /published +orders\/1 0-1 /);
    assert.match(table.err, /deliveries are known from/);
    assert.match((await done(run(`traces show ${"f".repeat(32)}`))).out, /nothing is known/);
    const wrong = await run("traces show nothing");
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, /no trace id/);
  }));
