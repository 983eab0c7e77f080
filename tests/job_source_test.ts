// Owns the proof that reading the messages of a job unfolds only so much at a time, and loses none over it.
// Refuses to own what a job does with them.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { readSource } from "../actors/job/source.ts";
import { allCodecs } from "../storage/format/all_codecs.ts";
import { installCodecs } from "../storage/format/compression.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";

const AT = { topic: "orders", partition: 0 };
const MEBIBYTE = 1_048_576;

installCodecs(allCodecs);

/** A broker with `count` batches of `values` each, and what reading them in turns gave. */
async function readInTurns(count: number, values: readonly Uint8Array[]) {
  const broker = await memoryBrokerStores().open();
  await broker.createTopic({ name: AT.topic, partitions: 1, config: TOPIC_CONFIG });
  const records = values.map((value) => ({ key: null, value, headers: [], timestamp: 1 }));
  const batch = encodeBatch(records, { crc32c, compression: "zstd" });
  for (let left = count; left > 0; left--) {
    await broker.append(AT, [batch.slice()], { acks: "all" });
  }
  const to = count * values.length;
  const turns: number[] = [];
  const offsets: number[] = [];
  const sizes: number[] = [];
  for (let offset = 0; offset < to;) {
    const read = await readSource(broker, AT, { offset, to });
    assert.ok(read.next > offset);
    offset = read.next;
    turns.push(read.records.length);
    sizes.push(read.sizeBytes);
    for (const record of read.records) offsets.push(record.offset);
  }
  await broker.close();
  assert.deepEqual(offsets, Array.from({ length: to }, (_, offset) => offset));
  return { turns, sizes };
}

Deno.test("a job reads no further than to the batch that makes 8 MiB unfolded, and goes on behind it", async () => {
  const value = new Uint8Array(MEBIBYTE - 100);
  const { turns, sizes } = await readInTurns(5, Array.from({ length: 6 }, () => value));
  assert.deepEqual(turns, [12, 12, 6]);
  assert.deepEqual(sizes, turns.map((messages) => messages * value.length));
});

Deno.test("a job reads one batch however much it unfolds to", async () => {
  const value = new Uint8Array(MEBIBYTE - 100);
  const { turns } = await readInTurns(2, Array.from({ length: 20 }, () => value));
  assert.deepEqual(turns, [20, 20]);
});

Deno.test("a job reads only so many records at a time, however small they are", async () => {
  const empty = new Uint8Array(0);
  const { turns } = await readInTurns(3, Array.from({ length: 60_000 }, () => empty));
  assert.deepEqual(turns, [120_000, 60_000]);
});
