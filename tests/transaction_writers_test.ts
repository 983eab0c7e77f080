// Owns the rules of appends within transactions: known to the journal first, counted, and waited for by an end.
// Refuses to own the partition's own guard. Invariant: after `close` no append is under way.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { TransactionWriters } from "../actors/transaction/writers.ts";
import type { AppendReceipt } from "../actors/broker.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { crcMatches, readHeader, TRANSACTIONAL_BIT } from "../storage/format/record_batch.ts";

const OF = { transactionalId: "t", producerId: 7, producerEpoch: 3 };
const AT = { topic: "orders", partition: 1 };
const RECEIPT: AppendReceipt = {
  baseOffsets: [0],
  duplicates: [false],
  highWatermark: 1,
  durability: "fsync",
  inSyncReplicas: 1,
};

function batch(more: { producerId?: number; producerEpoch?: number; baseSequence?: number } = {}) {
  const record = { key: null, value: "v", headers: [], timestamp: 1 };
  return encodeBatch([record, record], { crc32c, ...more });
}

/** Writers over logs that say what they were asked, in order, and settle when `release` is called. */
function writersOver(options: { refuse?: BrokerError } = {}) {
  const told: string[] = [];
  const appended: Uint8Array[] = [];
  const waiting: (() => void)[] = [];
  const writers = new TransactionWriters({
    crc32c,
    addPartition: (_of, { topic, partition, topicId }) => {
      told.push(`add ${topic}/${partition} ${topicId}`);
      return options.refuse === undefined ? Promise.resolve(null) : Promise.reject(options.refuse);
    },
    logs: {
      topicIdOf: () => "id-1",
      nextSequence: () => Promise.resolve(appended.length * 2),
      writeMarker: () => Promise.reject(new Error("writers write no markers")),
      append: (_at, batches) => {
        told.push("append");
        appended.push(...batches);
        return new Promise((resolve) => waiting.push(() => resolve(RECEIPT)));
      },
    },
  });
  const release = async () => {
    waiting.shift()!();
    await turns();
  };
  return { writers, told, appended, release };
}

async function turns(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

Deno.test("partition is in the journal before the first append there, once", async () => {
  const { writers, told, appended, release } = writersOver();
  const first = writers.append(OF, { at: AT, batches: [batch()] });
  await turns();
  await release();
  await first;
  const second = writers.append(OF, { at: AT, batches: [batch()] });
  await turns();
  await release();
  await second;
  assert.deepEqual(told, ["add orders/1 id-1", "append", "append"]);
  for (const [index, bytes] of appended.entries()) {
    const header = readHeader(bytes, 0);
    assert.equal(header.attributes & TRANSACTIONAL_BIT, TRANSACTIONAL_BIT);
    assert.deepEqual([header.producerId, header.producerEpoch, header.baseSequence], [
      7,
      3,
      index * 2,
    ]);
    assert.ok(crcMatches(bytes, 0, crc32c));
  }
});

Deno.test("appends of one partition are counted one after the other", async () => {
  const { writers, told, appended, release } = writersOver();
  const both = [1, 2].map(() => writers.append(OF, { at: AT, batches: [batch()] }));
  await turns();
  assert.equal(told.filter((what) => what === "append").length, 1);
  await release();
  await release();
  await Promise.all(both);
  assert.deepEqual(appended.map((bytes) => readHeader(bytes, 0).baseSequence), [0, 2]);
});

Deno.test("end of a transaction waits for appends that are under way, and lets no other begin", async () => {
  const { writers, release } = writersOver();
  const under = writers.append(OF, { at: AT, batches: [batch()] });
  await turns();
  let isClosed = false;
  const closing = writers.close(OF).then(() => isClosed = true);
  await turns();
  assert.equal(isClosed, false);
  await assert.rejects(writers.append(OF, { at: AT, batches: [batch()] }), {
    code: "INVALID_TRANSACTION_STATE",
  });
  await release();
  await Promise.all([under, closing]);
  writers.reopen(OF);
  const later = writers.append(OF, { at: AT, batches: [batch()] });
  await turns();
  await release();
  await later;
});

Deno.test("what the journal refuses is not appended, and batches of other producers are refused", async () => {
  const refuse = new BrokerError("PRODUCER_FENCED", "a newer holder");
  const fenced = writersOver({ refuse });
  await assert.rejects(fenced.writers.append(OF, { at: AT, batches: [batch()] }), refuse);
  assert.deepEqual(fenced.appended, []);
  const { writers, appended } = writersOver();
  for (const producerEpoch of [2, 3]) {
    const other = batch({ producerId: 7 + (producerEpoch - 2), producerEpoch, baseSequence: 0 });
    await assert.rejects(writers.append(OF, { at: AT, batches: [other] }), {
      code: "INVALID_REQUEST",
    });
  }
  assert.deepEqual(appended, []);
});
