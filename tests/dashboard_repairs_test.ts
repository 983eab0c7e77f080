// Owns proof of the pages of dead letters, replays and runbooks in a real browser before a real broker.
// Refuses to own what the jobs and runbooks do. Invariant: a count is shown before anything is sent, and what was sent is checked through the API.
import assert from "node:assert/strict";
import {
  assertFits,
  confirmed,
  counted,
  type DashboardWorld,
  inDashboard,
  opened,
  panel,
  publishNumbered,
  reads,
  WITHOUT_CHROMIUM,
} from "./support/dashboard_world.ts";

const FAILED = 5;

async function deadLetters(world: DashboardWorld): Promise<void> {
  const { ask } = world;
  await ask("POST", "/api/topics", { name: "orders" });
  await publishNumbered(world, "orders", { count: 40 });
  const { memberId, leaseToken } = await ask("POST", "/api/groups/billing/members", {
    topics: ["orders"],
    autoOffsetReset: "earliest",
    sessionTimeoutMs: 120_000,
  });
  await ask("PUT", "/api/groups/billing/retry-policy", { maxAttempts: 1 });
  const path = `/api/groups/billing/members/${memberId}:poll`;
  const { generation } = await ask("POST", path, { leaseToken, maxMessages: 40, waitMs: 5_000 });
  for (let offset = 0; offset < FAILED; offset++) {
    await ask("POST", "/api/messages:nack", {
      groupId: "billing",
      memberId,
      generation,
      topic: "orders",
      partition: 0,
      offset,
      code: offset === 0 ? "BAD_INPUT" : "TIMEOUT",
      reason: `attempt at order ${offset} failed`,
    });
  }
}

Deno.test({
  name:
    "dead letters are found, and redriven one and many after a dry run; jobs show how far they are",
  ignore: WITHOUT_CHROMIUM,
  fn: () =>
    inDashboard(async (world) => {
      await deadLetters(world);
      const { ask, open } = world;
      const page = await open("#/dead-letters");
      const letters = page.getByRole("table", { name: "Dead letters" });
      await letters.getByText("attempt at order 4 failed").waitFor();
      await assertFits(page);
      await page.getByLabel("Code").fill("BAD_INPUT");
      await page.getByRole("button", { name: "Filter" }).click();
      await letters.getByText("attempt at order 4 failed").waitFor({ state: "detached" });
      await counted(letters.getByRole("row"), 2);

      const one = await opened(page, /^Redrive the letter dlq\.orders 0, offset 0/);
      await one.getByLabel("Reason").fill("input was mended");
      await one.getByRole("button", { name: "Preview" }).click();
      await one.getByText("1 message", { exact: true }).waitFor();
      await confirmed(one, "Redrive 1 letter");
      await panel(page, "Progress").getByText("completed").waitFor();
      await panel(page, "Progress").getByRole("progressbar").waitFor();
      await assertFits(page);

      await page.getByRole("link", { name: "Dead letters", exact: true }).click();
      const many = await opened(page, "Redrive many…");
      await many.getByLabel("Topic").fill("orders");
      await many.getByLabel("Send to").selectOption("group");
      await many.getByLabel("Group").fill("billing");
      await many.getByLabel("Reason", { exact: true }).fill("the service is back");
      await many.getByRole("button", { name: "Preview" }).click();
      await many.getByText(`${FAILED - 1} messages`, { exact: true }).waitFor();
      await confirmed(many, `Redrive ${FAILED - 1} letters`);
      await panel(page, "What it does").getByText("group billing alone").waitFor();
      const { replays } = await ask("GET", "/api/replays");
      const reasons = replays.filter((job: { dryRun: boolean }) => !job.dryRun)
        .map((job: { reason: string }) => job.reason);
      assert.deepEqual(reasons, ["the service is back", "input was mended"]);

      await page.getByRole("link", { name: "All jobs" }).click();
      const replay = await opened(page, "Replay messages…");
      await replay.getByLabel("Topic").fill("orders");
      await replay.getByLabel("From").fill("0");
      await replay.getByLabel("To, not included").fill("30");
      await replay.getByLabel("Send to").selectOption("same");
      await replay.getByLabel("Messages a second").fill("1");
      await replay.getByLabel("Reason").fill("a lost index");
      await replay.getByRole("button", { name: "Preview" }).click();
      await replay.getByText("30 messages", { exact: true }).waitFor();
      await confirmed(replay, "Replay 30 messages");
      await panel(page, "Progress").getByText("running").waitFor();
      const cancelling = await opened(page, "Cancel…");
      await confirmed(cancelling, "Cancel the job");
      await panel(page, "Progress").getByText("cancelled").waitFor();
      await page.getByRole("link", { name: "All jobs" }).click();
      await page.getByRole("table", { name: "Replay and redrive jobs" }).getByText("cancelled")
        .waitFor();
      await assertFits(page);
    }),
});

Deno.test({
  name: "a runbook is executed with mode and reason, its steps are followed, approved and aborted",
  ignore: WITHOUT_CHROMIUM,
  fn: () =>
    inDashboard(async (world) => {
      const { ask, open } = world;
      await deadLetters(world);
      await ask("POST", "/api/groups/billing/offsets:snapshot");
      const page = await open("#/groups/billing");
      await page.getByRole("link", { name: "Runbooks", exact: true }).last().click();
      const runbooks = page.getByRole("table", { name: "Runbooks", exact: true });
      await runbooks.getByText("consumer-bug").waitFor();
      assert.ok(await page.getByRole("button", { name: "Execute site-failure" }).isDisabled());
      await assertFits(page);
      const dialog = await opened(page, "Execute dead-letter-flood");
      assert.equal(await dialog.getByLabel("Target").inputValue(), "group");
      assert.equal(await dialog.getByLabel("Group").inputValue(), "billing");
      await dialog.getByLabel("Mode").selectOption("approve");
      await dialog.getByLabel("Reason").fill("too many letters");
      await confirmed(dialog, "Execute");
      await page.getByRole("heading", { name: "dead-letter-flood: group billing" }).waitFor();
      const { executions } = await ask("GET", "/api/runbooks/executions");
      assert.deepEqual(
        [executions[0].mode, executions[0].reason],
        ["approve", "too many letters"],
      );
      await page.getByText("It waits for approval.").waitFor();
      await assertFits(page);
      const approving = await opened(page, "Approve…");
      await reads(approving, /group billing[^]*Pause the group[^]*would pause group billing/);
      const sent = page.waitForRequest(/:approve$/);
      await confirmed(approving, "Approve");
      assert.deepEqual((await sent).postDataJSON(), { step: "pause" });
      const path = `/api/runbooks/executions/${executions[0].executionId}`;
      assert.notEqual((await ask("GET", path)).approvedBy, null);
      await panel(page, "Why and who").getByText("nobody", { exact: true }).waitFor({
        state: "detached",
      });
      const steps = panel(page, "Steps");
      await steps.getByText("done").nth(1).waitFor();
      const aborting = await opened(page, "Abort…");
      await aborting.getByLabel("Reason").fill("enough");
      await confirmed(aborting, "Abort");
      await panel(page, "Now").getByText(/aborted|partial/).waitFor();
      assert.match((await ask("GET", path)).state, /aborted|partial/);
      await page.getByRole("link", { name: "All runbooks" }).click();
      await page.getByRole("table", { name: "Executions of runbooks" })
        .getByRole("link", { name: "dead-letter-flood" }).waitFor();
    }),
});
