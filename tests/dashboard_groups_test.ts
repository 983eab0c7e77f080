// Owns proof of the pages of groups in a real browser before a real broker: what an operator sees, and repairs from there.
// Refuses to own the shell and the first page (e2e_dashboard_test.ts). Invariant: what was done is checked through the API.
import assert from "node:assert/strict";
import {
  assertFits,
  confirmed,
  type DashboardWorld,
  inDashboard,
  opened,
  panel,
  publishNumbered,
  reads,
  WITHOUT_CHROMIUM,
} from "./support/dashboard_world.ts";

async function billing(world: DashboardWorld): Promise<void> {
  const { ask } = world;
  await ask("POST", "/api/topics", { name: "orders", partitions: 3 });
  await publishNumbered(world, "orders", { count: 60 });
  for (const version of ["1.0.0", "1.1.0"]) {
    await ask("POST", "/api/groups/billing/members", {
      topics: ["orders"],
      clientId: `svc-${version}`,
      version,
      sessionTimeoutMs: 120_000,
    });
  }
  await ask("POST", "/api/groups/billing:pause", { reason: "the scene" });
  await ask("POST", "/api/groups/billing/offsets:reset", {
    topic: "orders",
    to: "latest",
    reason: "the scene",
  });
  await ask("POST", "/api/groups/billing:resume");
}

Deno.test({
  name: "a group is paused, its offsets are moved after a look at what would happen, and resumed",
  ignore: WITHOUT_CHROMIUM,
  fn: () =>
    inDashboard(async (world) => {
      await billing(world);
      const { ask, open } = world;
      const page = await open("#/groups");
      await page.getByLabel("Search by name").fill("BILL");
      await page.getByRole("link", { name: "billing", exact: true }).first().click();
      await page.getByRole("heading", { name: "billing", level: 1 }).waitFor();
      const lag = page.getByRole("table", { name: "Lag of group billing by partition" });
      await lag.getByRole("row").nth(3).waitFor();
      await assertFits(page);

      // A look is had while members read; to move what they read is refused before it is asked for.
      const { memberId } = await ask("POST", "/api/groups/billing/members", {
        topics: ["orders"],
        sessionTimeoutMs: 600_000,
      });
      await page.getByRole("tab", { name: "Snapshots and rollback" }).click();
      const looking = await opened(page, "Move offsets…");
      await looking.getByRole("combobox", { name: "Move" }).selectOption("reset");
      await looking.getByLabel("Topic").fill("orders");
      await looking.getByLabel("Reason").fill("only a look");
      await looking.getByRole("button", { name: "Preview" }).click();
      await looking.getByText(/^Not yet: .*pause it first/).waitFor();
      assert.ok(await looking.getByRole("button", { name: "Move 3 offsets" }).isDisabled());
      await looking.getByRole("button", { name: "Cancel" }).click();
      await ask("DELETE", `/api/groups/billing/members/${memberId}`);

      const pausing = await opened(page, "Pause…");
      assert.ok(await pausing.getByRole("button", { name: "Pause" }).isDisabled());
      await pausing.getByLabel("Reason").fill("bad deploy");
      await confirmed(pausing, "Pause");
      await page.getByText(/Paused since .*: bad deploy/).waitFor();

      await page.getByRole("tab", { name: "Snapshots and rollback" }).click();
      await page.getByRole("button", { name: "Take a snapshot" }).click();
      const snapshots = page.getByRole("table", { name: "Snapshots of the group's offsets" });
      await snapshots.getByRole("row").nth(1).waitFor();
      const moving = await opened(page, "Move offsets…");
      await moving.getByRole("combobox", { name: "Move" }).selectOption("reset");
      await moving.getByLabel("Topic").fill("orders");
      await moving.getByLabel("Reason").fill("do it again");
      await moving.getByRole("button", { name: "Preview" }).click();
      await moving.getByText("60 messages", { exact: true }).waitFor();
      const before = (await ask("GET", "/api/groups/billing/lag")).totalLag;
      assert.equal(before, 0);
      // What was looked at is not what is asked for now.
      await moving.getByLabel("Place").fill("-5");
      await moving.getByRole("button", { name: "Preview" }).click();
      await moving.getByText("15 messages", { exact: true }).waitFor();
      await confirmed(moving, "Move 3 offsets");
      assert.equal((await ask("GET", "/api/groups/billing/lag")).totalLag, 15);

      const back = page.getByRole("button", { name: /^Roll back to the snapshot/ }).first();
      await back.click();
      const rolling = page.getByRole("dialog");
      await rolling.getByLabel("Reason").fill("it was fine");
      await rolling.getByRole("button", { name: "Preview" }).click();
      await confirmed(rolling, "Move 3 offsets");
      assert.equal((await ask("GET", "/api/groups/billing/lag")).totalLag, 0);

      await confirmed(await opened(page, "Resume…"), "Resume");
      await page.getByRole("button", { name: "Pause…" }).waitFor();
      assert.equal((await ask("GET", "/api/groups/billing")).paused, null);
    }),
});

Deno.test({
  name: "a group in trouble is marked and told with why and since, and repaired from its page",
  ignore: WITHOUT_CHROMIUM,
  fn: () =>
    inDashboard(async (world) => {
      const { ask, open } = world;
      await billing(world);
      await ask("POST", "/api/groups/billing:pause", { reason: "bad deploy" });
      await publishNumbered(world, "orders", { count: 30 });
      const page = await open("#/groups");
      const troubles = page.getByRole("table", { name: "Groups in trouble, worst first" });
      await reads(troubles, /billing[^]*Paused[^]*30[^]*paused: bad deploy/);
      const all = page.getByRole("table", { name: "Consumer groups" });
      await all.getByRole("row").filter({ hasText: "billing" }).getByText("Paused").waitFor();
      await assertFits(page);
      await troubles.getByRole("link", { name: "billing" }).click();
      const trouble = panel(page, "In trouble");
      await reads(trouble, /Paused[^]*paused: bad deploy[^]*for [^]*since \d\d:\d\d:\d\d/);
      await panel(page, "Now").getByText("Paused").waitFor();
      await assertFits(page);
      for (const runbook of ["consumer-bug", "lag-growing", "mistaken-commit"]) {
        const dialog = await opened(page, new RegExp(`${runbook}…$`));
        assert.equal(await dialog.getByLabel("Group").inputValue(), "billing");
        await page.keyboard.press("Escape");
        await dialog.waitFor({ state: "detached" });
      }
      const dialog = await opened(page, /mistaken-commit…$/);
      const now = new Date();
      const local = new Date(now.getTime() - now.getTimezoneOffset() * 60_000);
      await dialog.getByLabel("at (optional)").fill(local.toISOString().slice(0, 19));
      await dialog.getByLabel("Reason").fill("moved by mistake");
      await confirmed(dialog, "Execute");
      await page.getByRole("heading", { name: "mistaken-commit: group billing" }).waitFor();
      const { executions } = await ask("GET", "/api/runbooks/executions");
      assert.equal(Number(executions[0].parameters.at), Math.floor(now.getTime() / 1_000) * 1_000);
      await reads(panel(page, "What it found"), /at\s+\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/);
      await assertFits(page);
      await panel(page, "Why and who").getByRole("link", { name: "group billing" }).first().click();
      await page.getByRole("heading", { name: "billing", level: 1 }).waitFor();
    }),
});

Deno.test({
  name: "a group's members, rebalances, history and canary are told, and a refusal in its words",
  ignore: WITHOUT_CHROMIUM,
  fn: () =>
    inDashboard(async (world) => {
      await billing(world);
      const { ask, open } = world;
      const page = await open("#/groups/billing?tab=members");
      const members = page.getByRole("table", { name: "Members of group billing" });
      await members.getByText("svc-1.1.0").waitFor();
      await reads(members, /1\.0\.0[^]*orders \d[^]*min[^]*of 2 min/);
      await assertFits(page);

      await page.getByRole("tab", { name: "Members" }).focus();
      await page.keyboard.press("ArrowRight");
      const { rebalances } = await ask("GET", "/api/groups/billing/rebalances");
      await panel(page, "Rebalances").getByText(rebalances[0].cause).first().waitFor();
      await page.keyboard.press("ArrowRight");
      const history = panel(page, "Offset history");
      await history.getByText("the scene; to latest").first().waitFor();
      await history.getByLabel("Show").selectOption("rollback");
      await history.getByText("No change is known.").waitFor();
      await assertFits(page);

      await page.getByRole("tab", { name: "Canary" }).click();
      const setting = await opened(page, "Set a canary…");
      await setting.getByLabel("Version").fill("1.1.0");
      await setting.getByLabel("Share of the partitions, %").fill("34");
      await setting.getByRole("button", { name: "Preview" }).click();
      await setting.getByText(/1 member of version 1\.1\.0 would have 1 of 3 partitions/).waitFor();
      await confirmed(setting, "Set the canary");
      await panel(page, "Canary").getByText("running").waitFor();
      assert.equal((await ask("GET", "/api/groups/billing/canary")).percent, 34);
      await assertFits(page);
      const removing = await opened(page, "Remove…");
      await ask("DELETE", "/api/groups/billing/canary");
      await removing.getByRole("button", { name: "Remove" }).click();
      await removing.getByRole("alert").getByText("UNKNOWN_CANARY").waitFor();
      await page.keyboard.press("Escape");
      await removing.waitFor({ state: "detached" });
    }, { refused: /responded with a status of 404/ }),
});
