// Owns proof of the page of the cluster in a real browser, before whole brokers of a cluster in memory.
// Refuses to own what the broker allows (cluster_administration_test.ts).
// Invariant: what the page says is what the API says, and it moves nothing that was not confirmed.
import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { createOverview } from "../api/routes/overview.ts";
import { dashboardRoutes } from "../api/routes/dashboard.ts";
import { type ClusterServer, withClusterServer } from "./support/cluster_server.ts";
import { DashboardBrowser, WIDE } from "./support/dashboard_browser.ts";
import {
  assertFits,
  confirmed,
  counted,
  inDashboard,
  opened,
  panel,
  reads,
  WITHOUT_CHROMIUM,
} from "./support/dashboard_world.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { plain } from "./support/partition_scene.ts";

interface ClusterWorld extends ClusterServer {
  readonly page: Page;
  /** Lets virtual time go by until the page shows it. */
  shown(wait: () => Promise<unknown>): Promise<void>;
}

async function inCluster(
  names: readonly string[],
  test: (world: ClusterWorld) => Promise<void>,
): Promise<void> {
  const overview = createOverview({
    latest: () => null,
    history: () => [],
    onSample: () => () => {},
  });
  await withClusterServer(names, async (server) => {
    await using browser = await DashboardBrowser.open();
    const { scene, url } = server;
    const config = { ...TOPIC_CONFIG, replicationFactor: 2, minInsyncReplicas: 1 };
    const spec = { name: "orders", partitions: 30, config };
    await scene.until(scene.node(names[0]!).broker.createTopic(spec));
    const page = await browser.page(url, WIDE);
    await page.goto(`${url}/#/cluster`);
    await test({
      ...server,
      page,
      async shown(wait) {
        let isShown = false;
        const waiting = wait().finally(() => isShown = true);
        waiting.catch(() => {});
        while (!isShown) await Promise.all([server.advance(200), page.waitForTimeout(20)]);
        await waiting;
      },
    });
    overview.close();
    assert.deepEqual(browser.complaints, []);
  }, { routes: [overview.routes, dashboardRoutes] });
}

Deno.test({
  name: "brokers, replicas and what is in trouble are shown, partitions a page at a time",
  ignore: WITHOUT_CHROMIUM,
  fn: () =>
    inCluster(["1", "2", "3"], async ({ page, scene, shown, advance, inTurn }) => {
      const brokers = page.getByRole("table", { name: "Brokers" });
      await brokers.getByRole("row").nth(3).waitFor();
      await reads(panel(page, "Now"), /3 of 3[^]*controller 1, epoch 1/);
      await counted(brokers.getByText("online"), 3);
      const table = page.getByRole("table", { name: "Partitions and their replicas" });
      await counted(table.getByRole("row"), 26);
      const asked: URLSearchParams[] = [];
      page.on("request", (request) => {
        const url = new URL(request.url());
        if (url.pathname === "/api/partitions") asked.push(url.searchParams);
      });
      await page.getByLabel("Search by topic").fill("ORDERS");
      await table.getByText("__audit 0", { exact: true }).waitFor({ state: "detached" });
      await table.getByText("orders 0", { exact: true }).waitFor();
      await reads(table.getByRole("row").nth(1), /in sync[^]*leads/);
      await panel(page, "Partitions").getByRole("button", { name: "Next" }).click();
      await table.getByText("orders 29", { exact: true }).waitFor();
      assert.ok(asked.every((query) => query.get("limit") === "25"));
      await assertFits(page);

      const at = { topic: "orders", partition: 0 };
      const { leader, isr } = await inTurn(() =>
        scene.until(scene.node("1").broker.partitionInfo(at))
      );
      const gone = isr.find((id) => id !== leader && id !== "1") ?? "3";
      scene.kill(gone);
      const by = scene.node(leader === gone ? "1" : leader!).broker;
      await inTurn(() => scene.until(by.append(at, [plain("a", "b")], { acks: "leader" })));
      await advance(15_000);
      await shown(() => brokers.getByText("offline").waitFor());
      await reads(panel(page, "Now"), /2 of 3/);
      await page.getByLabel("Show").selectOption("under-replicated");
      await shown(() => table.getByText("under-replicated").first().waitFor());
      await reads(table, /not in sync/);
      await assertFits(page);
    }),
});

Deno.test({
  name:
    "a rebalance shows its plan before it moves anything, and a broker is drained and taken back",
  ignore: WITHOUT_CHROMIUM,
  fn: () =>
    inCluster(["1", "2"], async ({ page, scene, shown, advance, inTurn }) => {
      const brokers = page.getByRole("table", { name: "Brokers" });
      await brokers.getByRole("row").nth(2).waitFor();
      const before = [...scene.node("1").cluster.partitions()].length;
      await inTurn(() => scene.start("3"));
      await shown(() => brokers.getByRole("row").nth(3).waitFor());
      const held = () =>
        [...scene.node("1").cluster.partitions()]
          .filter(({ record }) => record.replicas.includes("3")).length;
      await advance(20_000);
      const had = held();
      scene.network.cut("1", "3");
      const dialog = await opened(page, "Rebalance…");
      await dialog.getByRole("button", { name: "Preview" }).click();
      await dialog.getByRole("table", { name: "Moves of the plan" }).waitFor();
      assert.equal(held(), had, "a preview moves nothing");
      await assertFits(page);
      await confirmed(dialog, /^Move \d+ partitions$/);
      const moves = panel(page, "Moves under way");
      await moves.getByRole("button", { name: /^Cancel the move of/ }).first().waitFor();
      await reads(moves, /of 2/);
      await assertFits(page);
      scene.network.heal();
      await shown(() => moves.waitFor({ state: "detached" }));
      assert.ok(held() > had, `${held()} of ${before}`);

      await confirmed(await opened(page, "Drain broker 3"), "Drain");
      await shown(() => page.getByRole("button", { name: "Take back broker 3" }).waitFor());
      await shown(() =>
        brokers.getByRole("row").nth(3).getByText("0", { exact: true }).first().waitFor()
      );
      await shown(() => moves.waitFor({ state: "detached" }));
      await confirmed(await opened(page, "Take back broker 3"), "Take back");
      await shown(() => page.getByRole("button", { name: "Drain broker 3" }).waitFor());
    }),
});

Deno.test({
  name: "a broker that is alone is shown as a cluster of one, without what takes several",
  ignore: WITHOUT_CHROMIUM,
  fn: () =>
    inDashboard(async ({ ask, open }) => {
      await ask("POST", "/api/topics", { name: "orders", partitions: 3 });
      const page = await open("#/cluster");
      await reads(panel(page, "Now"), /1 of 1/);
      const table = page.getByRole("table", { name: "Partitions and their replicas" });
      await table.getByText("orders 2", { exact: true }).waitFor();
      assert.ok(await page.getByRole("button", { name: "Rebalance…" }).isDisabled());
      await counted(page.getByRole("button", { name: /^Drain/ }), 0);
      await assertFits(page);
    }),
});
