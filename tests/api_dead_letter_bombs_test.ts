// Owns what a list of dead letters costs others when little on the disk unfolds to much.
// Invariant: a page unfolds a bounded amount, lets others have their turn meanwhile, and its cursor goes on behind it.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { allCodecs } from "../storage/format/all_codecs.ts";
import { installCodecs } from "../storage/format/compression.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { apiUnderTest } from "./support/api_app.ts";

installCodecs(allCodecs);

const MIB = 1_048_576;
const BATCHES = 20;
const RECORDS = 7;

Deno.test("a page of dead letters unfolds 64 MiB and the batch beyond it, in turns, and the next goes on there", async () => {
  let turns = 0;
  const api = await apiUnderTest({
    app: { yieldToEventLoop: () => Promise.resolve(void turns++) },
  });
  await api.ask("POST", "/api/topics", { body: { name: "dlq.orders" } });
  const value = new Uint8Array(MIB).fill(120);
  const records = Array.from(
    { length: RECORDS },
    () => ({ key: null, value, headers: [], timestamp: 1 }),
  );
  const batch = encodeBatch(records, { crc32c, compression: "zstd" });
  assert.ok(batch.length < 10_000);
  const at = { topic: "dlq.orders", partition: 0 };
  for (let count = 0; count < BATCHES; count++) {
    await api.broker.append(at, [batch.slice()], { acks: "all" });
  }
  const pages: number[] = [];
  let cursor = "";
  do {
    const before = turns;
    const { status, body } = await api.ask("GET", `/api/dlq?limit=1${cursor}`);
    assert.deepEqual([status, body.deadLetters], [200, []]);
    pages.push(turns - before);
    cursor = body.nextCursor === undefined ? "" : `&cursor=${body.nextCursor}`;
  } while (cursor !== "" && pages.length < 10);
  assert.equal(pages.length, 3, "140 MiB are three pages");
  for (const turnsOfPage of pages.slice(0, 2)) assert.ok(turnsOfPage >= 15, `${pages} turns`);
  await api.close();
});
