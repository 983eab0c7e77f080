// Owns what tests of the dashboard's pages stand on: a real broker with a token, a browser that is signed in, the public API.
// Refuses to own signing in (e2e_dashboard_test.ts). Invariant: a test ends with the browser having complained of nothing.
import assert from "node:assert/strict";
import type { Locator, Page } from "playwright-core";
import { eventually } from "./api_calls.ts";
import { startBrokerProcess, withDataDir } from "./broker_process.ts";
import {
  accessFaults,
  CHROMIUM,
  DashboardBrowser,
  hasChromium,
  type Look,
  NARROW,
  overflowPx,
  WIDE,
} from "./dashboard_browser.ts";
import { requireOrSkip } from "./system_needs.ts";

/** Longest wait for what a page is to show. Machines of the test are slow and shared. */
const WAIT_MS = 15_000;
const TOKEN = "the-administrators-token-0123456789";

/** Without the browser the tests are left out, and say so. */
export const WITHOUT_CHROMIUM: boolean = requireOrSkip(
  "Chromium",
  await hasChromium(),
  `the dashboard is looked at with ${CHROMIUM}`,
);

export interface DashboardWorld {
  readonly url: string;
  /** A page at `#/…`, signed in. */
  readonly open: (hash: string, look?: Look) => Promise<Page>;
  /** Asks the broker; throws with the problem's text where it refuses. */
  readonly ask: (
    method: string,
    path: string,
    body?: unknown,
    headers?: Readonly<Record<string, string>>,
    // deno-lint-ignore no-explicit-any
  ) => Promise<any>;
}

/** `refused`: what the browser itself says of a request that the test has refused on purpose. */
export async function inDashboard(
  run: (world: DashboardWorld) => Promise<void>,
  { refused }: { readonly refused?: RegExp } = {},
): Promise<void> {
  await withDataDir(async (dataDir) => {
    await using broker = await startBrokerProcess({ dataDir, args: [`--admin-token=${TOKEN}`] });
    await using browser = await DashboardBrowser.open();
    const { url } = broker;
    const open: DashboardWorld["open"] = async (hash, look = WIDE) => {
      const page = await browser.page(url, look);
      await page.addInitScript(`sessionStorage.setItem("waybill.token", "${TOKEN}")`);
      await page.goto(`${url}/${hash}`);
      return page;
    };
    const ask: DashboardWorld["ask"] = async (method, path, body, headers = {}) => {
      const response = await fetch(`${url}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${TOKEN}`,
          "content-type": "application/json",
          ...headers,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      if (!response.ok) throw new Error(`${method} ${path}: ${text}`);
      return text === "" ? null : JSON.parse(text);
    };
    await run({ url, open, ask });
    assert.deepEqual(browser.complaints.filter((text) => !refused?.test(text)), []);
  });
}

/** Publishes JSON values, keyed in turn. */
export async function publishNumbered(
  { ask }: Pick<DashboardWorld, "ask">,
  topic: string,
  { count, headers }: { count: number; headers?: Readonly<Record<string, string>> },
): Promise<void> {
  const messages = Array.from({ length: count }, (_, number) => ({
    key: `customer-${number}`,
    value: { order: number },
  }));
  await ask("POST", "/api/messages:publish", { topic, messages }, headers);
}

/** The page can be used without seeing it, and fits wide and narrow windows. */
export async function assertFits(page: Page): Promise<void> {
  assert.deepEqual(await accessFaults(page), []);
  for (const look of [NARROW, WIDE]) {
    await page.setViewportSize({ width: look.width, height: look.height });
    assert.equal(await overflowPx(page), 0, `wider than ${look.width} pixels: ${page.url()}`);
  }
}

export function panel(page: Page, name: string): Locator {
  return page.getByRole("region", { name, exact: true });
}

/** Waits until there are exactly so many: what the page shows follows its requests. */
export async function counted(found: Locator, expected: number): Promise<void> {
  await eventually(WAIT_MS, async () => assert.equal(await found.count(), expected));
}

/** Waits until the text reads so. */
export async function reads(found: Locator, expected: RegExp): Promise<void> {
  await eventually(WAIT_MS, async () => assert.match(await found.innerText(), expected));
}

/** Presses what opens a dialog by keyboard, and answers the dialog. */
export async function opened(page: Page, button: string | RegExp): Promise<Locator> {
  const pressed = page.getByRole("button", { name: button }).first();
  await pressed.waitFor();
  await pressed.focus();
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  assert.deepEqual(await accessFaults(page), []);
  return dialog;
}

/** Presses a dialog's button and waits until the dialog is gone. */
export async function confirmed(dialog: Locator, button: string | RegExp): Promise<void> {
  await dialog.getByRole("button", { name: button }).click();
  await dialog.waitFor({ state: "detached" });
}
