// Owns proof of how a log line looks to the people who read it.
import assert from "node:assert/strict";
import { startLogging } from "../ops/logging.ts";

async function logged(format: "text" | "json", said: string): Promise<string> {
  const lines: string[] = [];
  const write = (line: string) => void lines.push(line);
  const logger = await startLogging({ level: "info", format, colour: false, write });
  logger.info("{said}", { said });
  logger.debug("too quiet");
  return lines.join("");
}

Deno.test("log shows text as it is, one record a line", async () => {
  assert.match(
    await logged("text", 'cut 12 bytes of "orders/0"'),
    /^\d{4}-.* \[INF\] waybill: cut 12 bytes of "orders\/0"\n$/,
  );
});

Deno.test("log indents the further lines of a record, and shows control characters", async () => {
  const lines = (await logged("text", "stack\nforged [ERR] line\r\u001b[31mred")).split("\n");
  assert.equal(lines.length, 3);
  assert.equal(lines[1], "  forged [ERR] line\\x0d\\x1b[31mred");
});

Deno.test("log as JSON has one object a line whatever was said", async () => {
  const line = await logged("json", 'two\nlines and a "quote"');
  assert.equal(line.indexOf("\n"), line.length - 1);
  assert.match(JSON.parse(line).message, /two\nlines|two\\nlines/);
});
