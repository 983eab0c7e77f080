// Owns what looking up single stored messages holds in memory.
// Invariant: a look unfolds a bounded amount, finds every message all the same, and keeps none of the rest of its batch.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { messagesAt } from "../actors/group/retry/stored_messages.ts";
import { allCodecs } from "../storage/format/all_codecs.ts";
import { installCodecs } from "../storage/format/compression.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";

installCodecs(allCodecs);

Deno.test("messages that are looked up in batches that unfold to much are all found, and keep only themselves", async () => {
  const broker = await memoryBrokerStores().open();
  await broker.createTopic({ name: "t", partitions: 1, config: TOPIC_CONFIG });
  const value = new Uint8Array(1_048_576).fill(120);
  const records = Array.from(
    { length: 6 },
    () => ({ key: null, value, headers: [["a", value.subarray(0, 3)]], timestamp: 1 } as const),
  );
  const batch = encodeBatch(records, { crc32c, compression: "zstd" });
  const at = { topic: "t", partition: 0 };
  for (let count = 0; count < 4; count++) {
    await broker.append(at, [batch.slice()], { acks: "all" });
  }
  let fetches = 0;
  const fetch: typeof broker.fetch = (...asked) => (fetches++, broker.fetch(...asked));
  const found = await messagesAt(fetch, at, [0, 6, 12, 18]);
  assert.deepEqual(found.map((record) => record?.offset), [0, 6, 12, 18]);
  for (const record of found) {
    assert.equal(record!.value!.buffer.byteLength, value.length);
    assert.equal(record!.headers[0]![1]!.buffer.byteLength, 3);
  }
  assert.equal(fetches, 2, "12 MiB are enough for one look");
  await broker.close();
});
