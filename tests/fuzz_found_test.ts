// Owns a test for each fault that the fuzz tests found, so that it is told by name when it comes back.
// Refuses to own the search for more (fuzz_*_test.ts). Invariant: each fails without the mend that came with it.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { allCodecs } from "../storage/format/all_codecs.ts";
import { COMPRESSIONS, installCodecs } from "../storage/format/compression.ts";
import { readBody } from "../api/body.ts";
import { BodyBudget, HeldBytes } from "../api/body_budget.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { apiUnderTest } from "./support/api_app.ts";
import { changed } from "./support/format_samples.ts";

installCodecs(allCodecs);

Deno.test("compressed data that is malformed is refused without a word of what is inside the broker", async () => {
  const api = await apiUnderTest();
  await api.ask("POST", "/api/topics", { body: { name: "orders" } });
  for (const compression of COMPRESSIONS.slice(1)) {
    const records = [{ key: null, value: "x".repeat(100), headers: [], timestamp: 1 }];
    const raw = changed(encodeBatch(records, { crc32c, compression }), (view) => {
      for (let at = 61; at < 67; at++) view.setUint8(at, 0x22);
    }) as Uint8Array<ArrayBuffer>;
    const headers = { "content-type": "application/vnd.waybill.batch" };
    const path = "/api/topics/orders/partitions/0/messages";
    const { status, body } = await api.ask("POST", path, { raw, headers });
    assert.deepEqual([status, body.code], [400, "CORRUPT_BATCH"], compression);
    const standard = ["type", "title", "status", "detail", "code", "retryable", "requestId"];
    assert.deepEqual(Object.keys(body), standard, compression);
  }
  await api.close();
});

Deno.test("a body that comes in drops holds none of the large buffers that they came in", async () => {
  // One buffer for every drop: whoever keeps it instead of its byte reads the last byte everywhere.
  const buffer = new Uint8Array(65_536);
  const text = `"${"0123456789".repeat(1_000)}"`;
  let at = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (at === text.length) return controller.close();
      buffer[0] = text.charCodeAt(at++);
      controller.enqueue(buffer.subarray(0, 1));
    },
  }, { highWaterMark: 0 });
  const request = new Request("http://x/", { method: "POST", body });
  const budget = new BodyBudget(1_000_000);
  const bytes = await readBody(request, 100_000, new HeldBytes(budget, []));
  assert.ok(new TextDecoder().decode(bytes) === text);
  assert.ok(bytes.buffer.byteLength <= 2 * text.length);
});
