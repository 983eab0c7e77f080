// Owns proof of the pages of topics, messages and traces in a real browser before a real broker.
// Refuses to own the shell. Invariant: messages are shown as they were published, digit for digit, byte for byte.
import assert from "node:assert/strict";
import {
  assertFits,
  counted,
  inDashboard,
  panel,
  publishNumbered,
  reads,
  WITHOUT_CHROMIUM,
} from "./support/dashboard_world.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const TOPICS = 300;

Deno.test({
  name: "hundreds of topics are paged and searched by the broker, a page at a time",
  ignore: WITHOUT_CHROMIUM,
  fn: () =>
    inDashboard(async ({ ask, open }) => {
      const names = Array.from({ length: TOPICS }, (_, index) => `t-${1_000 + index}`);
      for (let at = 0; at < names.length; at += 25) {
        const some = names.slice(at, at + 25);
        await Promise.all(some.map((name) => ask("POST", "/api/topics", { name })));
      }
      const page = await open("#/");
      await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();
      const asked: URL[] = [];
      page.on("request", (request) => {
        const url = new URL(request.url());
        if (url.pathname === "/api/topics") asked.push(url);
      });
      const from = performance.now();
      await page.getByRole("link", { name: "Topics", exact: true }).click();
      const table = page.getByRole("table", { name: "Topics" });
      await table.getByRole("row").nth(25).waitFor();
      const tookMs = performance.now() - from;
      assert.ok(tookMs < 5_000, `the list took ${tookMs} ms`);
      await counted(table.getByRole("row"), 26);
      await page.getByRole("button", { name: "Next" }).click();
      await page.getByText("Page 2").waitFor();
      await page.getByLabel("Search by name").fill("T-129");
      await table.getByText("t-1290").waitFor();
      await counted(table.getByRole("row"), 11);
      assert.match(page.url(), /search=T-129/);
      assert.ok(asked.length > 0);
      assert.ok(asked.every(({ searchParams }) => searchParams.get("limit") === "25"));
      await assertFits(page);
    }),
});

Deno.test({
  name:
    "messages are found by partition, place and content, shown whole, and followed by their trace",
  ignore: WITHOUT_CHROMIUM,
  fn: () =>
    inDashboard(async (world) => {
      const { ask, open, url } = world;
      await ask("POST", "/api/topics", { name: "orders", partitions: 3 });
      await publishNumbered(world, "orders", {
        count: 300,
        headers: { traceparent: `00-${TRACE}-00f067aa0ba902b7-01` },
      });
      const page = await open("#/topics/orders");
      const partitions = page.getByRole("table", { name: "Partitions of orders" });
      await partitions.getByRole("row").nth(3).waitFor();
      await assertFits(page);
      await page.getByRole("tab", { name: "Messages" }).click();
      await page.getByText("48 messages shown").waitFor();
      await page.getByLabel("From").selectOption("earliest");
      await page.getByLabel("Key or value contains").fill("CUSTOMER-123");
      await page.getByLabel("Look at no more than").selectOption("500");
      await page.keyboard.press("Enter");
      await page.getByRole("button", { name: "Read" }).click();
      await page.getByText("1 message with “CUSTOMER-123”, 300 looked at").waitFor();
      await page.getByRole("button", { name: /^Show the message/ }).click();
      const dialog = page.getByRole("dialog");
      await reads(dialog, /customer-123[^]*"order": 123/);
      await assertFits(page);
      await dialog.getByRole("link", { name: TRACE }).click();
      await page.getByRole("heading", { name: "Traces", level: 1 }).waitFor();
      await panel(page, `Trace ${TRACE}`).getByText("published").first().waitFor();
      await assertFits(page);

      // As it was published: digits, bytes that are no text, markup that stays text.
      await ask("POST", "/api/topics", { name: "odd" });
      await ask("POST", "/api/messages:publish", {
        topic: "odd",
        messages: [
          {
            valueBase64: btoa('{"price":1.10}'),
            headers: { "content-type": "application/json" },
          },
          { valueBase64: "AAECg/8=" },
          { value: "<b>not markup</b>" },
        ],
      });
      await page.goto(`${url}/#/topics/odd?tab=messages`);
      const messages = page.getByRole("table", { name: "Messages" });
      await messages.getByText("5 bytes").waitFor();
      await reads(messages, /"price":1\.10/);
      await reads(messages, /<b>not markup<\/b>/);
      await page.getByRole("button", { name: "Show the message at partition 0, offset 1" }).click();
      await reads(dialog, /Value \(binary\)[^]*000000 {2}00 01 02 83 ff/);
    }),
});
