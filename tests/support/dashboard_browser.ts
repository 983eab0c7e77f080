// Owns the dashboard in a real browser before a real broker: Chromium, headless, and what it complains about.
// Refuses to own what is tested. Invariant: whatever the console, the page or its policy reports is kept, and no browser outlives its test.
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { works } from "./system_needs.ts";

export const CHROMIUM = "/usr/bin/chromium";
/** Longest wait for anything on a page. Machines of the test are slow and shared. */
const TIMEOUT_MS = 15_000;

/** Whether this machine has the browser. */
export function hasChromium(): Promise<boolean> {
  return works(CHROMIUM, "--version");
}

export interface Look {
  readonly width: number;
  readonly height: number;
  readonly colorScheme: "light" | "dark";
}

export const WIDE: Look = { width: 1280, height: 900, colorScheme: "light" };
export const NARROW: Look = { width: 390, height: 844, colorScheme: "light" };

/** `await using` closes it. */
export class DashboardBrowser implements AsyncDisposable {
  /** Errors and warnings of the console, exceptions, and violations of the policy, in words. */
  readonly complaints: string[] = [];

  private constructor(private readonly browser: Browser) {}

  static async open(): Promise<DashboardBrowser> {
    const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
    return new DashboardBrowser(await chromium.launch({ executablePath: CHROMIUM, args }));
  }

  /** A page of a new visitor; requests to anywhere but `origin` are refused and complained about. */
  async page(origin: string, { width, height, colorScheme }: Look): Promise<Page> {
    const context = await this.browser.newContext({ viewport: { width, height }, colorScheme });
    context.setDefaultTimeout(TIMEOUT_MS);
    await this.#listen(context, origin);
    const page = await context.newPage();
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.complaints.push(message.text());
    });
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    return page;
  }

  async #listen(context: BrowserContext, origin: string): Promise<void> {
    await context.route((url) => url.origin !== origin, (route) => {
      this.complaints.push(`asked for ${route.request().url()}`);
      return route.abort();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.browser.close();
  }
}

/** How far the page is wider than the window, CSS pixels. */
export function overflowPx(page: Page): Promise<number> {
  return page.evaluate("document.documentElement.scrollWidth - innerWidth");
}

/**
 * What is wrong for who does not see the page, by the rules that can be checked by looking: names of controls and pictures,
 * labels of fields, one title and one main part, headings without gaps, unique ids, captions of tables.
 */
export function accessFaults(page: Page): Promise<string[]> {
  return page.evaluate(`(${findFaults})()`);
}

/** Runs in the page. */
const findFaults = `() => {
  const faults = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const text = (element) => (element?.textContent ?? "").trim();
  const told = (element) => element.outerHTML.slice(0, 160);
  const nameOf = (element) =>
    element.getAttribute("aria-label") ||
    (element.getAttribute("aria-labelledby") ?? "").split(" ")
      .map((id) => text(document.getElementById(id))).join(" ").trim() ||
    text(element) || element.getAttribute("title") || "";
  for (const control of all("button, a, summary, [role=tab], [role=img], nav, section, dialog")) {
    if (nameOf(control) === "" && control.querySelector("img[alt]:not([alt=''])") === null) {
      faults.push("no name: " + told(control));
    }
  }
  for (const field of all("input, select, textarea, progress")) {
    if ((field.labels?.length ?? 0) === 0 && !field.getAttribute("aria-label")) {
      faults.push("no label: " + told(field));
    }
  }
  for (const image of all("img")) if (!image.hasAttribute("alt")) faults.push("no alt: " + told(image));
  for (const [selector, what] of [["h1", "title"], ["main", "main part"]]) {
    if (all(selector).length !== 1) faults.push(all(selector).length + " of what is one " + what);
  }
  let level = 0;
  for (const heading of all("h1, h2, h3, h4")) {
    const now = Number(heading.tagName[1]);
    if (now > level + 1) faults.push("a heading is left out before: " + told(heading));
    level = now;
  }
  const ids = all("[id]").map((element) => element.id);
  for (const id of new Set(ids)) {
    if (ids.filter((one) => one === id).length > 1) faults.push("twice the id " + id);
  }
  for (const table of all("table")) {
    if (text(table.caption) === "") faults.push("no caption: " + told(table));
    if (table.querySelector("th[scope=col]") === null) faults.push("no heads: " + told(table));
  }
  if (document.documentElement.lang === "") faults.push("no language");
  for (const element of all("[tabindex]")) {
    if (Number(element.getAttribute("tabindex")) > 0) faults.push("order forced: " + told(element));
  }
  return faults;
}`;
