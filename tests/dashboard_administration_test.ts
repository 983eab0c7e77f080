// Owns proof of the pages of audit, quotas, thresholds and service levels in a real browser before a real broker.
// Refuses to own what is audited and limited. Invariant: a change is told before it is confirmed, and checked through the API.
import assert from "node:assert/strict";
import {
  assertFits,
  confirmed,
  inDashboard,
  opened,
  panel,
  publishNumbered,
  reads,
  WITHOUT_CHROMIUM,
} from "./support/dashboard_world.ts";

Deno.test({
  name: "the audit log is searched, verified and exported with the credential",
  ignore: WITHOUT_CHROMIUM,
  fn: () =>
    inDashboard(async ({ ask, open }) => {
      await ask("POST", "/api/topics", { name: "orders" });
      await ask("DELETE", "/api/topics/orders");
      const page = await open("#/audit");
      const entries = page.getByRole("table", { name: "Entries of the audit log" });
      await entries.getByText("topic.create").waitFor();
      await assertFits(page);
      await page.getByLabel("Action").fill("topic.delete");
      await page.getByRole("button", { name: "Filter" }).click();
      await entries.getByText("topic.create").waitFor({ state: "detached" });
      await page.getByRole("button", { name: /^Show entry/ }).first().click();
      const entry = page.getByRole("dialog");
      await reads(entry, /topic\.delete[^]*Before[^]*"partitions": 1/);
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Verify the chain" }).click();
      await panel(page, "Chain").getByText("intact").waitFor();
      const download = page.waitForEvent("download");
      await page.getByRole("button", { name: "Export NDJSON" }).click();
      const saved = await download;
      assert.equal(saved.suggestedFilename(), "audit.ndjson");
      const lines = (await Deno.readTextFile(await saved.path())).trim().split("\n");
      const actions = lines.map((line) => JSON.parse(line).action);
      assert.deepEqual(new Set(actions), new Set(["topic.delete"]));
    }),
});

Deno.test({
  name: "a quota and a threshold are changed after telling what changes; service levels are told",
  ignore: WITHOUT_CHROMIUM,
  fn: () =>
    inDashboard(async (world) => {
      const { ask, open } = world;
      await ask("POST", "/api/topics", { name: "orders" });
      await publishNumbered(world, "orders", { count: 10 });
      await ask("PUT", "/api/quotas/default", { topics: 50 });
      const page = await open("#/quotas");
      const quotas = page.getByRole("table", { name: "Quotas by tenant" });
      await quotas.getByText("of 50").waitFor();
      await assertFits(page);
      const editing = await opened(page, "Change the quota of default");
      assert.ok(await editing.getByRole("button", { name: "Set the quota" }).isDisabled());
      await editing.getByLabel("Topics").fill("60");
      await editing.getByText("Topics: 50 → 60").waitFor();
      await confirmed(editing, "Set the quota");
      await quotas.getByText("of 60").waitFor();
      const quota = await ask("GET", "/api/quotas/default");
      assert.deepEqual([quota.topics, quota.requestsPerSecond], [60, null]);
      await confirmed(await opened(page, "Delete the quota of default"), "Delete the quota");
      await page.getByText("No quota is set: nobody is limited.").waitFor();

      // Nothing of it may fall back to its default unseen.
      await ask("PUT", "/api/thresholds/disk-slow", {
        limit: 600,
        forSeconds: 11,
        windowSeconds: 12,
        severity: "P3",
        enabled: true,
        runbook: "storage-over-budget",
        mode: "observe",
        clearLimit: 500,
        clearForSeconds: 13,
        escalateAfterSeconds: 14,
      });
      const before = await ask("GET", "/api/thresholds/disk-slow");
      await page.getByRole("link", { name: "Alerts", exact: true }).click();
      const threshold = await opened(page, "Change the threshold disk-slow");
      await threshold.getByLabel("Limit, milliseconds").fill("700");
      await threshold.getByText(`limit: ${before.limit} → 700`).waitFor();
      await confirmed(threshold, "Set the threshold");
      await page.getByRole("button", { name: "Put the threshold disk-slow back" }).waitFor();
      const { updatedAt: _, updatedBy: by, ...after } = await ask(
        "GET",
        "/api/thresholds/disk-slow",
      );
      const { updatedAt: _at, updatedBy: _by, ...was } = before;
      assert.deepEqual(after, { ...was, limit: 700 });
      assert.notEqual(by, null);
      await assertFits(page);
      const reset = await opened(page, "Put the threshold disk-slow back");
      await confirmed(reset, "Put it back to the default");
      await page.getByRole("button", { name: "Put the threshold disk-slow back" })
        .waitFor({ state: "detached" });

      await page.getByRole("link", { name: "Service levels" }).click();
      const start = panel(page, "Since the broker's start");
      await start.getByText("of 1 requests").waitFor();
      await reads(start, /100%[^]*objective 99\.95%/);
      await panel(page, "The last 15 minutes").getByText("100%", { exact: true }).first().waitFor();
      await page.getByRole("img", { name: /^Publish latency, p99/ }).waitFor();
      await assertFits(page);
    }),
});
