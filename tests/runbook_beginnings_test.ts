// Owns tests of which executions of runbooks may begin: what is held, cooldowns, alerts about one thing, requests.
// Refuses to own how they go on (runbook_executions_test.ts). Invariant: virtual time, a real broker and a real journal in memory.
import assert from "node:assert/strict";
import type { StepResult } from "../actors/runbook/types.ts";
import { done, runbookScene, toyRunbook } from "./support/runbook_scene.ts";
import { ACT, CHECK, code, VERIFY } from "./support/runbook_steps.ts";

Deno.test("one thing is repaired by one execution at a time, also when it is found on the way", async () => {
  const waits = { ...VERIFY, run: (): StepResult => ({ outcome: "again", detail: "…" }) };
  const finds = { ...CHECK, run: () => done("it is billing", { holds: ["group:billing"] }) };
  const scene = await runbookScene([
    toyRunbook("mend", [ACT, waits]),
    toyRunbook("search", [finds, ACT]),
  ]);
  const { executionId } = await scene.execute("mend");
  await assert.rejects(scene.execute("mend"), code("RUNBOOK_BUSY"));
  await scene.execute("mend", { target: { type: "group", name: "other" } });
  const broker = { type: "broker", name: "1" } as const;
  const searching = await scene.execute("search", { target: broker });
  const refused = await scene.settled(searching.executionId, 5_000);
  assert.equal(refused.state, "aborted");
  assert.match(
    refused.outcome!,
    new RegExp(`group billing is being repaired by execution ${executionId}`),
  );
  await scene.settled(executionId);
  const again = await scene.execute("search", { target: broker });
  assert.equal((await scene.settled(again.executionId)).state, "verified");
  await scene.close();
});

Deno.test("who only looks, and who looks for what to repair all over the broker, keeps nobody else from repairing", async () => {
  const waits = { ...VERIFY, run: (): StepResult => ({ outcome: "again", detail: "…" }) };
  const finds = { ...CHECK, run: () => done("it is billing", { holds: ["group:billing"] }) };
  const scene = await runbookScene([
    { ...toyRunbook("look", [waits]), onlyLooks: true },
    toyRunbook("search", [{ ...waits, kind: "check" }]),
    toyRunbook("find", [finds, ACT, waits]),
    toyRunbook("mend", [ACT, waits]),
  ]);
  const broker = { type: "broker", name: "1" } as const;
  await scene.execute("look");
  await assert.rejects(scene.execute("look"), code("RUNBOOK_BUSY"));
  await scene.execute("search", { target: broker });
  await assert.rejects(scene.execute("search", { target: broker }), code("RUNBOOK_BUSY"));
  const observing = await scene.execute("find", { target: broker, mode: "observe" });
  await scene.settled(observing.executionId);
  await scene.execute("mend");
  const finding = await scene.execute("find", { target: broker });
  assert.equal((await scene.settled(finding.executionId, 5_000)).state, "aborted");
  await scene.close();
});

Deno.test("an alert starts one execution, and not again before the cooldown is over, exactly", async () => {
  const scene = await runbookScene([toyRunbook("mend", [ACT], { cooldownMs: 600_000 })]);
  const { runbooks } = scene.broker;
  const order = (alertId: string) => ({
    runbook: "mend",
    target: { type: "group" as const, name: "billing", labels: { group: "billing", topic: "t" } },
    mode: "auto" as const,
    alertId,
    reason: "alert consumer-lag",
  });
  const first = await runbooks.start(order("a1"));
  const execution = await scene.settled(first.executionId);
  assert.equal(execution.state, "verified");
  assert.deepEqual(execution.parameters, { group: "billing" });
  assert.deepEqual(await runbooks.start(order("a1")), first);
  const endedAt = execution.endedAt!;
  await scene.time.advance(endedAt + 599_999 - scene.time.now());
  await assert.rejects(runbooks.start(order("a2")), code("RUNBOOK_COOLING_DOWN"));
  await scene.time.advance(1);
  const second = await runbooks.start(order("a2"));
  assert.notEqual(second.executionId, first.executionId);
  // Somebody may do it again at once.
  await scene.settled(second.executionId);
  await scene.settled((await scene.execute("mend")).executionId);
  await scene.close();
});

Deno.test("two alerts about one target share the execution that is under way", async () => {
  const waits = { ...VERIFY, run: (): StepResult => ({ outcome: "again", detail: "…" }) };
  const scene = await runbookScene([toyRunbook("mend", [waits])]);
  const target = { type: "group" as const, name: "billing", labels: {} };
  const order = { runbook: "mend", target, mode: "auto" as const, reason: "alert" };
  const [one, two] = await Promise.all([
    scene.broker.runbooks.start({ ...order, alertId: "a1" }),
    scene.broker.runbooks.start({ ...order, alertId: "a2" }),
  ]);
  assert.equal(one.executionId, two.executionId);
  await scene.close();
});

Deno.test("requests that do not fit a runbook are refused, and nothing begins", async () => {
  const declared = toyRunbook("later", [ACT], { available: false });
  const needs = [{ name: "tenant", describes: "who", required: true }];
  const scene = await runbookScene([
    toyRunbook("mend", [ACT]),
    declared,
    toyRunbook("needy", [ACT], { parameters: needs }),
  ]);
  await assert.rejects(scene.execute("nothing"), code("NOT_FOUND"));
  await assert.rejects(scene.execute("later"), code("INVALID_EXECUTION_STATE"));
  await assert.rejects(scene.execute("needy"), code("INVALID_REQUEST"));
  await assert.rejects(
    scene.execute("mend", { parameters: { speed: "9" } }),
    code("INVALID_REQUEST"),
  );
  const tenant = { type: "tenant", name: "acme" } as const;
  await assert.rejects(scene.execute("mend", { target: tenant }), code("INVALID_REQUEST"));
  assert.deepEqual(await scene.broker.runbooks.executions(), []);
  await scene.close();
});
