// Owns the proof that our record batches are Kafka's: two independent clients read ours, and we read theirs.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { allCodecs } from "../storage/format/all_codecs.ts";
import { COMPRESSIONS, installCodecs } from "../storage/format/compression.ts";
import { encodeMarker, markerAt } from "../storage/format/control_batch.ts";
import { decodeBatch } from "../storage/format/decode.ts";
import { encodeBatch, type RecordInput } from "../storage/format/encode.ts";
import { setBaseOffset, setLeaderEpoch } from "../storage/format/record_batch.ts";
import { validateBatches } from "../storage/format/validate.ts";
import { expected, LIMITS, SAMPLES, T0 } from "./support/format_samples.ts";
import { type KafkaClient, kafkajs, platformatic } from "./support/kafka_clients.ts";

installCodecs(allCodecs);

/** What else is told of a batch of no producer. */
const NO_PRODUCER = { producerId: null, hasHeader: false };

for (const client of [kafkajs, platformatic]) {
  for (const compression of COMPRESSIONS) {
    Deno.test(`batches of ${client.name} with compression ${compression} are read here`, async () => {
      for (const [what, records] of samplesFor(client)) {
        const batch = await client.encode(records, compression);
        assert.deepEqual(decodeBatch(batch, 0, LIMITS), expected(records), what);
        const checked = [{
          at: 0,
          sizeBytes: batch.length,
          recordCount: records.length,
          ...NO_PRODUCER,
        }];
        assert.deepEqual(validateBatches(batch, LIMITS), checked, what);
      }
    });

    Deno.test(`our batches with compression ${compression} are read by ${client.name}`, async () => {
      for (const [what, records] of Object.entries(SAMPLES)) {
        const batch = encodeBatch(records, { crc32c, compression });
        setBaseOffset(batch, 0, 2 ** 40 + 5);
        setLeaderEpoch(batch, 0, 7);
        assert.deepEqual(await client.decode(batch), expected(records, 2 ** 40 + 5), what);
      }
    });
  }

  Deno.test(`a transaction's marker is a control record to ${client.name}`, async () => {
    for (const commit of [true, false]) {
      const marker = { producerId: 2 ** 32, producerEpoch: 3, coordinatorEpoch: 258, commit };
      const batch = encodeMarker({ ...marker, timestamp: T0 }, crc32c);
      setBaseOffset(batch, 0, 41);
      // As Kafka's EndTransactionMarker and control record key have it.
      const [record] = await client.decode(batch);
      assert.deepEqual([record!.offset, record!.timestamp], [41, T0]);
      assert.deepEqual([...record!.key!], [0, 0, 0, commit ? 1 : 0]);
      assert.deepEqual([...record!.value!], [0, 0, 0, 0, 1, 2]);
      assert.deepEqual(markerAt(batch, 0), { commit, coordinatorEpoch: 258 });
      const { producerId } = marker;
      const checked = [{
        at: 0,
        sizeBytes: batch.length,
        recordCount: 1,
        producerId,
        hasHeader: false,
      }];
      const allowed = { ...LIMITS, allowControl: true, allowTransactional: true };
      assert.deepEqual(validateBatches(batch, allowed), checked);
      assert.throws(() => validateBatches(batch, LIMITS), { code: "CORRUPT_BATCH" });
    }
  });

  Deno.test(`an uncompressed batch is the same to the byte as that of ${client.name}`, async () => {
    for (const [what, records] of samplesFor(client)) {
      const theirs = await client.encode(records, "none");
      const ours = encodeBatch(records, { crc32c });
      // Leader epoch, producer epoch and sequence: some write 0 for none. The CRC follows them.
      for (const [at, end] of [[12, 16], [17, 21], [51, 57]]) {
        ours.set(theirs.subarray(at, end), at);
      }
      assert.deepEqual(ours, theirs, what);
    }
  });
}

Deno.test("null header values and repeated header keys are read by the other client as written", async () => {
  const records = [{
    key: null,
    value: "v",
    headers: [["a", null], ["a", "1"], ["", "2"]] as const,
    timestamp: T0,
  }];
  const batch = encodeBatch(records, { crc32c });
  assert.deepEqual(await platformatic.decode(batch), expected(records));
  const [decoded] = await kafkajs.decode(batch);
  assert.deepEqual(Object.fromEntries(decoded!.headers).a?.length, 2);
});

/** What the client can encode: one miscounts times that are 2^31 ms and more from the first. */
function samplesFor(client: KafkaClient): [string, readonly RecordInput[]][] {
  return Object.entries(SAMPLES).filter(([, records]) =>
    records.every(({ timestamp }) =>
      Math.abs(timestamp - records[0]!.timestamp) <= client.maxTimestampDelta
    )
  );
}
