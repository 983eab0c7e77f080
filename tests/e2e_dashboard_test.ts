// Owns proof of the first page in a real browser before a real broker: it shows what is the matter, and nothing complains.
// Refuses to own the other pages and what figures mean (dashboard_overview_test.ts).
// Invariant: everything is found as a person or a screen reader finds it: by role, name and text.
import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { eventually } from "./support/api_calls.ts";
import { startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import {
  accessFaults,
  CHROMIUM,
  DashboardBrowser,
  hasChromium,
  type Look,
  NARROW,
  overflowPx,
  WIDE,
} from "./support/dashboard_browser.ts";
import { cuttingProxy } from "./support/cutting_proxy.ts";
import { type DashboardScene, dashboardScene } from "./support/dashboard_scene.ts";
import { panel, reads } from "./support/dashboard_world.ts";
import { requireOrSkip } from "./support/system_needs.ts";

const TOKEN = "the-administrators-token-0123456789";
const ignore = requireOrSkip(
  "Chromium",
  await hasChromium(),
  `the dashboard is looked at with ${CHROMIUM}`,
);

/** What the browser itself says of the first request, which has no token yet. */
const NO_TOKEN_YET = /the server responded with a status of 401/;

interface World {
  readonly url: string;
  readonly scene: DashboardScene;
  readonly browser: DashboardBrowser;
  readonly open: (look: Look) => Promise<Page>;
}

/** Ends with the browser having complained of nothing. */
async function inWorld(run: (world: World) => Promise<void>): Promise<void> {
  await withDataDir(async (dataDir) => {
    await using broker = await startBrokerProcess({ dataDir, args: [`--admin-token=${TOKEN}`] });
    const scene = await dashboardScene(broker.url, TOKEN);
    await using browser = await DashboardBrowser.open();
    const open = async (look: Look) => {
      const page = await browser.page(broker.url, look);
      await page.goto(`${broker.url}/`);
      return page;
    };
    await run({ url: broker.url, scene, browser, open });
    assert.deepEqual(browser.complaints.filter((text) => !NO_TOKEN_YET.test(text)), []);
  });
}

async function signIn(page: Page): Promise<void> {
  await page.getByLabel("Token").fill(TOKEN);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Groups in trouble" }).waitFor();
}

Deno.test({
  name: "dashboard in a browser",
  ignore,
  fn: (test) =>
    // One broker and one browser: to start them takes longer than to look.
    inWorld(async (world) => {
      await test.step(
        "tells which group is in trouble, since when and why, and lets an alert be taken care of",
        () => tellsTrouble(world),
      );
      await test.step(
        "fits wide and narrow windows, light and dark, and can be used without seeing it",
        () => fitsAndIsAccessible(world),
      );
      await test.step(
        "says that its connection broke, shows what it knew, and goes on live by itself",
        () => connectsAgain(world),
      );
    }),
});

async function tellsTrouble({ scene, open }: World): Promise<void> {
  const page = await open(WIDE);
  await page.getByLabel("Token").fill("not-the-token");
  await page.keyboard.press("Enter");
  await page.getByText("The broker refused the token that was sent.").waitFor();
  await signIn(page);
  assert.equal(await page.evaluate("location.href.includes('token')"), false);

  // Within five seconds of the page being there, as an operator reads it.
  const troubles = panel(page, "Groups in trouble");
  const billing = troubles.getByRole("listitem").filter({ hasText: "billing" });
  await billing.getByText("Lagging").waitFor({ timeout: 5_000 });
  await reads(billing, /for [34] min( \d+ s)?, since \d\d:\d\d:\d\d/);
  await reads(billing, /slow on 3 of 3 partitions: orders\/0, orders\/1, orders\/2/);
  await reads(billing, /600 messages behind/);
  const reports = troubles.getByRole("listitem").filter({ hasText: "reports" });
  await reads(reports, /No members[^]*no member reads it/);
  const link = billing.getByRole("link", { name: "billing", exact: true });
  assert.equal(await link.getAttribute("href"), "#/groups/billing");

  const lags = page.getByRole("table", { name: "Lag of groups by partition" });
  const row = lags.getByRole("row").filter({ hasText: "orders" }).first();
  await reads(row, /billing[^]*lagging[^]*its member is slow/);
  await scene.traffic();
  await reports.getByText("70 messages behind").waitFor();
  await page.getByRole("img", { name: /^Messages per second: published/ }).waitFor();
  for (const title of ["Messages per second", "Publish"]) {
    await eventually(5_000, async () => assert.ok(await hasDrawing(page, title)));
  }
  await reads(panel(page, "Stability"), /Leader changes\n0\npartitions that it began to lead/);

  await takeCareOfAlert(page, scene);
  await sortByKeyboard(page);
}

/** Whether a chart's canvas has anything in a series' own colour. */
async function hasDrawing(page: Page, title: string): Promise<boolean> {
  return await page.evaluate(`(() => {
    const canvas = document.querySelector('[role=img][aria-label^="${title}:"] canvas');
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (let at = 0; at < data.length; at += 4) {
      const [red, green, blue, alpha] = data.subarray(at, at + 4);
      if (alpha > 100 && Math.max(red, green, blue) - Math.min(red, green, blue) > 90) return true;
    }
    return false;
  })()`);
}

async function takeCareOfAlert(page: Page, scene: DashboardScene): Promise<void> {
  const alert = panel(page, "Alerts").getByRole("listitem").filter({ hasText: "billing" }).first();
  await alert.getByText("P1 firing").waitFor();
  const acknowledge = alert.getByRole("button", {
    name: "Acknowledge consumer-lag of group billing",
  });
  await acknowledge.focus();
  await page.keyboard.press("Enter");
  await alert.getByText("acknowledged by").waitFor();
  const silence = alert.getByRole("button", { name: "Silence… consumer-lag of group billing" });
  await silence.focus();
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Silence consumer-lag" });
  await dialog.waitFor();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  assert.match(await page.evaluate("document.activeElement.textContent"), /^Silence…/);
  await page.keyboard.press("Enter");
  await dialog.getByLabel("For").selectOption("900");
  await dialog.getByLabel("Reason").fill("deploying");
  await page.keyboard.press("Enter");
  await dialog.waitFor({ state: "detached" });
  await alert.getByText("silent until").waitFor();
  const { alerts } = await scene.ask("GET", "/api/alerts?state=firing&resource=group:billing");
  assert.ok(alerts.length > 0);
  for (const { acknowledgedBy, silencedUntil } of alerts) {
    assert.notEqual(acknowledgedBy, null);
    assert.ok(silencedUntil > Date.now() + 800_000);
  }
}

/** By Tab and Enter alone, as who has no mouse. */
async function sortByKeyboard(page: Page): Promise<void> {
  const head = page.getByRole("columnheader", { name: "Lag", exact: true });
  await head.getByRole("button").focus();
  await page.keyboard.press("Enter");
  await page.locator('th[aria-sort="descending"]', { hasText: "Lag" }).waitFor();
  const lags = await page.getByRole("table", { name: "Lag of groups" })
    .locator("tbody td[data-label=Lag]").allInnerTexts();
  const figures = lags.map((text) => Number(text.replaceAll(",", "")));
  assert.deepEqual(figures, figures.toSorted((a, b) => b - a));
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate("document.activeElement.textContent.trim()"), "Behind");
}

async function fitsAndIsAccessible({ browser, open }: World): Promise<void> {
  for (const look of [WIDE, { ...NARROW, colorScheme: "dark" as const }]) {
    const page = await open(look);
    assert.deepEqual(await accessFaults(page), []);
    await signIn(page);
    await page.getByRole("img", { name: /^Bytes per second: published/ }).waitFor();
    assert.deepEqual(await accessFaults(page), []);
    assert.equal(await overflowPx(page), 0);
    assert.deepEqual(await overlaps(page), []);
    await page.getByText("Publish as a table").click();
    const table = page.getByRole("table", { name: "Publish, newest first" });
    await table.getByRole("row").nth(1).waitFor();
    assert.equal(await overflowPx(page), 0);
    const paper = await page.evaluate("getComputedStyle(document.body).backgroundColor");
    assert.equal(paper, look.colorScheme === "dark" ? "rgb(14, 18, 24)" : "rgb(244, 246, 249)");
    assert.deepEqual(await faintTexts(page), []);
    // The token lasts as long as the tab.
    await page.reload();
    await page.getByRole("heading", { name: "Groups in trouble" }).waitFor();
    await page.keyboard.press("Tab");
    const focused = await page.evaluate("document.activeElement.textContent");
    assert.equal(focused, "Skip to the content");
    await page.context().close();
  }
  const narrow = await open(NARROW);
  await signIn(narrow);
  const menu = narrow.getByRole("button", { name: "Overview" });
  assert.equal(await menu.getAttribute("aria-expanded"), "false");
  await menu.click();
  await narrow.getByRole("link", { name: "Overview", exact: true }).waitFor();
  await policyHolds(narrow, browser);
  await narrow.getByRole("button", { name: "Sign out" }).click();
  await narrow.getByRole("heading", { name: "Sign in" }).waitFor();
  assert.equal(await narrow.evaluate("sessionStorage.length"), 0);
}

async function connectsAgain({ url, scene, browser }: World): Promise<void> {
  const proxy = cuttingProxy(Number(new URL(url).port));
  const page = await browser.page(proxy.url, WIDE);
  await page.goto(`${proxy.url}/`);
  await signIn(page);
  const status = page.getByRole("banner").getByRole("status");
  await status.getByText(/Live$/).waitFor();
  await page.route("**/api/**", (route) => route.abort());
  proxy.cut();
  await status.getByText("Not live").waitFor();
  await page.getByText("What follows is as it was").waitFor();
  await reads(panel(page, "Groups in trouble"), /600 messages behind/);
  await page.unroute("**/api/**");
  await scene.traffic();
  await status.getByText(/Live$/).waitFor();
  await panel(page, "Groups in trouble").getByText("100 messages behind").waitFor();
  const lost = browser.complaints.filter((text) => /net::ERR/.test(text));
  assert.ok(lost.length > 0);
  for (const text of lost) browser.complaints.splice(browser.complaints.indexOf(text), 1);
  await page.context().close();
  await proxy.close();
}

/** What the policy forbids fails, and would be complained about. */
async function policyHolds(page: Page, browser: DashboardBrowser): Promise<void> {
  const before = browser.complaints.length;
  const markup = page.evaluate("void (document.body.innerHTML = '<p>')");
  await assert.rejects(markup, /TrustedHTML/);
  await page.evaluate(`document.body.setAttribute("style", "color: red")`);
  await page.evaluate(`fetch("http://127.0.0.1:9/").catch(() => {})`);
  const complaints = browser.complaints.splice(before).join();
  for (const told of [/TrustedHTML/, /style-src/, /connect-src/]) assert.match(complaints, told);
}

/** Panels that lie upon each other. */
function overlaps(page: Page): Promise<string[]> {
  return page.evaluate(`(() => {
    const boxes = [...document.querySelectorAll(".panel, .strip-item")].map((element) => ({
      name: element.textContent.slice(0, 30),
      box: element.getBoundingClientRect(),
    }));
    const found = [];
    for (const [index, { name, box: a }] of boxes.entries()) {
      for (const { name: other, box: b } of boxes.slice(index + 1)) {
        const apart = a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
        if (!apart) found.push(name + " / " + other);
      }
    }
    return found;
  })()`);
}

/** Texts whose contrast with what is behind them is below 4.5 to 1 (WCAG 2, AA). */
function faintTexts(page: Page): Promise<string[]> {
  return page.evaluate(`(() => {
    const partsOf = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => {
      const [r, g, b] = partsOf(colour).map((part) => {
        const share = part / 255;
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const paperOf = (element) => {
      for (let at = element; at !== null; at = at.parentElement) {
        const paper = getComputedStyle(at).backgroundColor;
        if ((partsOf(paper)[3] ?? 1) === 1) return paper;
      }
      return "rgb(255, 255, 255)";
    };
    const found = new Set();
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      const element = walk.currentNode.parentElement;
      const isOff = element.closest("script, style, noscript, :disabled") !== null;
      if (isOff || walk.currentNode.data.trim() === "") continue;
      const [a, b] = [light(getComputedStyle(element).color), light(paperOf(element))];
      const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (contrast < 4.5) found.add(element.className + ": " + walk.currentNode.data.slice(0, 30) + " " + contrast);
    }
    return [...found];
  })()`);
}
