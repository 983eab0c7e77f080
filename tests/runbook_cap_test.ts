// Owns tests of the cap on runbooks that alerts start.
// Refuses to own executions (runbook_executions_test.ts). Invariant: a cap never lets more than the threshold does.
import assert from "node:assert/strict";
import type { RunbookMode, RunbookOrder } from "../actors/threshold/types.ts";
import { cappedMode, cappedRunbooks, NO_RUNBOOKS } from "../ops/runbooks/cap.ts";

const MODES: readonly RunbookMode[] = ["observe", "approve", "auto"];

Deno.test("a capped runbook goes no further than its threshold and no further than the cap", async () => {
  for (const [mode, wanted] of MODES.entries()) {
    for (const [cap, most] of MODES.entries()) {
      assert.equal(cappedMode(wanted, most), MODES[Math.min(mode, cap)]);
    }
  }
  const started: RunbookOrder[] = [];
  const start = (order: RunbookOrder) => {
    started.push(order);
    return Promise.resolve({ executionId: "e" });
  };
  const order: RunbookOrder = {
    runbook: "retry-storm",
    target: { type: "broker", name: "1", labels: {} },
    mode: "auto",
    alertId: "a",
    reason: "a test",
  };
  assert.equal(cappedRunbooks({ start }, "off"), null);
  await assert.rejects(
    NO_RUNBOOKS.start({
      runbook: "lag-growing",
      target: { type: "broker", name: "1", labels: {} },
      mode: "auto",
      alertId: "a",
      reason: "a test",
    }),
    { code: "INVALID_EXECUTION_STATE", retryable: false, message: /^runbookMode is off/ },
  );
  await cappedRunbooks({ start }, "approve")!.start(order);
  assert.deepEqual(started, [{ ...order, mode: "approve" }]);
});
