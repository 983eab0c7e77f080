// Owns tests of how executions share their places: alerts and people, tenants among each other, and what is not needed any more.
// Refuses to own how one execution goes (runbook_executions_test.ts). Invariant: a real broker and journal, virtual time.
import assert from "node:assert/strict";
import type { BrokerError } from "../storage/broker_error.ts";
import {
  type Execution,
  MAX_OPEN_BY_ALERTS,
  MAX_OPEN_BY_ALERTS_OF_RUNBOOK,
  MAX_OPEN_BY_ALERTS_OF_TENANT,
} from "../actors/runbook/types.ts";
import type { Alert } from "../actors/threshold/types.ts";
import { withdrawWhenResolved } from "../ops/runbooks/withdrawal.ts";
import { runbookScene, toyRunbook } from "./support/runbook_scene.ts";

const code = (wanted: string) => (error: unknown) => (error as BrokerError).code === wanted;
const LOOK = { name: "look", kind: "check" } as const;
const ACT = { name: "act", kind: "action", undo: () => Promise.resolve("undone") } as const;
const SURE = { name: "sure", kind: "approval" } as const;

async function scene() {
  const kinds = ["group", "broker", "none", "tenant"] as const;
  const books = ["one", "two", "three", "four"].map((name) =>
    toyRunbook(name, [LOOK, ACT, SURE], { targetKinds: kinds })
  );
  const made = await runbookScene(books);
  const alert = (runbook: string, name: string, type: "group" | "tenant" | "broker" = "group") =>
    made.broker.runbooks.start({
      runbook,
      target: { type, name, labels: {} },
      mode: "approve",
      alertId: `${runbook} ${name}`,
      reason: "an alert",
    });
  const join = (group: string, tenant: string) =>
    made.broker.group({
      type: "Join",
      group,
      newMemberId: "m1",
      topics: [],
      sessionTimeoutMs: 3_600_000,
      transport: "http",
      partitionCounts: {},
      asker: { principal: `${tenant}:app`, tenant, isAdministrator: false },
    });
  return { ...made, alert, join };
}

Deno.test("what alerts have started and nobody approves leaves half of the places to people", async () => {
  const { alert, execute, time, close } = await scene();
  let begun = 0;
  for (const runbook of ["one", "two", "three"]) {
    for (let index = 0; index < MAX_OPEN_BY_ALERTS; index++) {
      const started = await alert(runbook, `group-${runbook}-${index}`).then(
        () => true,
        (error) => {
          assert.equal(error.code, "OVERLOADED");
          return false;
        },
      );
      if (started) begun++;
    }
    assert.ok(begun <= MAX_OPEN_BY_ALERTS);
    if (runbook === "one") assert.equal(begun, MAX_OPEN_BY_ALERTS_OF_RUNBOOK);
  }
  assert.equal(begun, MAX_OPEN_BY_ALERTS);
  await time.advance(1_000);
  assert.equal((await execute("one", { mode: "approve" })).state, "running");
  // What repairs the broker itself is not kept waiting by what tenants have in trouble.
  await alert("four", "1", "broker");
  await close();
});

Deno.test("a tenant's groups take no more than its share of what alerts may start", async () => {
  const { alert, join, restart, close } = await scene();
  for (let index = 0; index <= MAX_OPEN_BY_ALERTS_OF_TENANT; index++) {
    await join(`evil-${index}`, "evil");
  }
  await join("good", "acme");
  for (let index = 0; index < MAX_OPEN_BY_ALERTS_OF_TENANT; index++) {
    await alert(index % 2 === 0 ? "one" : "two", `evil-${index}`);
  }
  const beyond = `evil-${MAX_OPEN_BY_ALERTS_OF_TENANT}`;
  await assert.rejects(alert("three", beyond), code("OVERLOADED"));
  await assert.rejects(alert("three", "evil", "tenant"), code("OVERLOADED"));
  await alert("one", "good");
  const broker = await restart();
  const order = { mode: "approve", alertId: "again", reason: "an alert" } as const;
  const target = { type: "group", name: beyond, labels: {} } as const;
  await assert.rejects(
    broker.runbooks.start({ ...order, runbook: "three", target }),
    code("OVERLOADED"),
  );
  const [shown] = await broker.runbooks.executions();
  assert.ok(!("tenant" in shown!));
  await close();
});

/** Alerts as a test says them. */
function saidAlerts() {
  let known: Pick<Alert, "alertId" | "executionId" | "state">[] = [];
  const listeners = new Set<() => void>();
  return {
    say: (alerts: typeof known) => {
      known = alerts;
      for (const listener of listeners) listener();
    },
    list: () => known as Alert[],
    onChanged: (listener: () => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

Deno.test("what waits for approval ends when its alert resolves, and gives back what it held", async () => {
  const { broker, alert, execute, settled, close } = await scene();
  const alerts = saidAlerts();
  const warned: unknown[] = [];
  const report = (event: unknown) => void warned.push(event);
  const { executionId: early } = await alert("one", "early");
  await settled(early);
  await withdrawWhenResolved({ alerts, runbooks: broker.runbooks, report });
  const { executionId: late } = await alert("one", "late");
  await settled(late);
  const said = (alertId: string, executionId: string, state: Alert["state"]) => ({
    alertId,
    executionId,
    state,
  });
  alerts.say([said("one early", early, "firing"), said("one late", late, "firing")]);
  assert.equal((await settled(early)).state, "waiting");
  // Another alert still needs what the first has started.
  alerts.say([
    said("one early", early, "resolved"),
    said("one late", late, "resolved"),
    said("another", late, "firing"),
  ]);
  const ended = async (executionId: string): Promise<Execution> => {
    for (let turn = 0; turn < 100; turn++) await Promise.resolve();
    return await settled(executionId);
  };
  const withdrawn = await ended(early);
  assert.equal(withdrawn.outcome, "aborted: the alert resolved before anybody approved");
  assert.deepEqual(withdrawn.steps.map(({ state }) => state), ["done", "skipped", "pending"]);
  assert.equal((await ended(late)).state, "waiting");
  alerts.say([said("one late", late, "resolved"), said("another", late, "resolved")]);
  assert.equal((await ended(late)).state, "aborted");
  const target = { type: "group", name: "early" } as const;
  assert.equal((await execute("one", { target })).state, "running");
  assert.deepEqual(warned, []);
  await close();
});

Deno.test("what has begun to change something, or was started by somebody, is not ended with an alert", async () => {
  const { broker, alert, execute, settled, close } = await scene();
  const { executionId } = await alert("one", "billing");
  await settled(executionId);
  await broker.runbooks.approve({ executionId, principal: "ada", reason: null, step: "act" });
  assert.equal((await settled(executionId)).steps[2]!.state, "waiting");
  const alerts = saidAlerts();
  alerts.say([{ alertId: "one billing", executionId, state: "resolved" }]);
  const report = () => {};
  await withdrawWhenResolved({ alerts, runbooks: broker.runbooks, report });
  const own = await execute("two", {
    mode: "approve",
    target: { type: "group", name: "own" },
  });
  await settled(own.executionId);
  alerts.say(alerts.list());
  assert.equal((await settled(executionId)).state, "waiting");
  assert.equal((await settled(own.executionId)).state, "waiting");
  await close();
});
