// Owns the tests of publishing ready record batches: what is taken, what is refused, that nothing half is stored.
// Refuses to own the check of a batch in detail (format_validate_test.ts).
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { allCodecs } from "../storage/format/all_codecs.ts";
import { COMPRESSIONS, installCodecs } from "../storage/format/compression.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { type ApiUnderTest, apiUnderTest } from "./support/api_app.ts";

const PATH = "/api/topics/orders/partitions/1/messages";
const TYPE = "application/vnd.waybill.batch";

installCodecs(allCodecs);

async function withTopic(extra = {}): Promise<ApiUnderTest> {
  const api = await apiUnderTest();
  await api.ask("POST", "/api/topics", { body: { name: "orders", partitions: 2, ...extra } });
  return api;
}

function batch(values: readonly string[], options = {}): Uint8Array<ArrayBuffer> {
  const records = values.map((value) => ({ key: "k", value, headers: [], timestamp: 1_000 }));
  return encodeBatch(records, { crc32c, ...options }) as Uint8Array<ArrayBuffer>;
}

function joined(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

function post(api: ApiUnderTest, raw: BodyInit, path = PATH, type = TYPE) {
  return api.ask("POST", path, { raw, headers: { "content-type": type } });
}

Deno.test("batches of every codec are stored as they are and told with their offsets", async () => {
  const api = await withTopic();
  const batches = COMPRESSIONS.map((compression) => batch(["a", "b"], { compression }));
  const { status, body } = await post(api, joined(...batches), `${PATH}?acks=leader`);
  assert.equal(status, 200);
  assert.deepEqual(body, {
    topic: "orders",
    partition: 1,
    results: COMPRESSIONS.map((_, index) => ({
      partition: 1,
      offset: 2 * index,
      lastOffset: 2 * index + 1,
      duplicate: false,
    })),
    acks: "leader",
    durability: "fsync",
    inSyncReplicas: 1,
    highWatermark: 10,
  });
  const read = await api.ask("GET", PATH);
  const values = read.body.messages.map((message: { value: string }) => message.value);
  assert.deepEqual(values, COMPRESSIONS.flatMap(() => ["a", "b"]));
  await api.close();
});

Deno.test("batches that are wrong are refused with all that come with them", async (test) => {
  const api = await withTopic({ maxMessageBytes: 1_000 });
  const good = batch(["a"]);
  const flipped = batch(["b"]);
  flipped[flipped.length - 1]! ^= 1;
  const cases: [string, Uint8Array<ArrayBuffer>, number, string][] = [
    ["nothing", new Uint8Array(0), 400, "INVALID_REQUEST"],
    ["a flipped bit after a good batch", joined(good, flipped), 400, "CORRUPT_BATCH"],
    ["a cut off batch", joined(good, batch(["c"]).subarray(0, 65)), 400, "CORRUPT_BATCH"],
    ["text", new TextEncoder().encode("x".repeat(200)), 400, "CORRUPT_BATCH"],
    ["a record too large", joined(good, batch(["x".repeat(1_001)])), 413, "MESSAGE_TOO_LARGE"],
    [
      "too many batches",
      joined(...Array.from({ length: 1_001 }, () => good)),
      413,
      "REQUEST_TOO_LARGE",
    ],
    ["a control batch", batch(["c"], { control: true }), 400, "CORRUPT_BATCH"],
    [
      "a producer's batch that does not start with sequence 0",
      batch(["p"], { producerId: 1, producerEpoch: 0, baseSequence: 1 }),
      409,
      "OUT_OF_ORDER_SEQUENCE",
    ],
  ];
  for (const [name, body, status, code] of cases) {
    await test.step(name, async () => {
      const answer = await post(api, body);
      assert.deepEqual([answer.status, answer.body.code], [status, code]);
    });
  }
  assert.deepEqual(await api.stored(), { "orders/0": 0, "orders/1": 0 });
  await api.close();
});

Deno.test("a compressed batch that unfolds to more than 8 MiB is refused, unless it holds one large message", async () => {
  const api = await withTopic({ maxMessageBytes: 10 * 1_048_576 });
  const mebibytes = (count: number, size = 1) => {
    const values = Array.from({ length: count }, () => "0".repeat(size * 1_048_576));
    return batch(values, { compression: "zstd" });
  };
  assert.equal((await post(api, mebibytes(1, 9))).status, 200);
  const refused = await post(api, mebibytes(11));
  assert.deepEqual([refused.status, refused.body.code], [400, "CORRUPT_BATCH"]);
  assert.match(refused.body.detail, /more than the \d+ bytes/);
  const small = { name: "small", partitions: 1, maxMessageBytes: 2 * 1_048_576 };
  await api.ask("POST", "/api/topics", { body: small });
  const path = "/api/topics/small/partitions/0/messages";
  assert.equal((await post(api, mebibytes(8), path)).body.code, "CORRUPT_BATCH");
  assert.equal((await post(api, joined(mebibytes(7), mebibytes(7)), path)).status, 200);
  await api.close();
});

Deno.test("batches go only where they can, as what they are", async () => {
  const api = await withTopic();
  const codeOf = async (path: string, type?: string) =>
    (await post(api, batch(["a"]), path, type)).body.code;
  assert.equal(await codeOf(PATH, "application/json"), "UNSUPPORTED_MEDIA_TYPE");
  assert.equal(await codeOf(`${PATH}?acks=some`), "INVALID_REQUEST");
  assert.equal(await codeOf("/api/topics/orders/partitions/2/messages"), "UNKNOWN_PARTITION");
  assert.equal(await codeOf("/api/topics/orders/partitions/-1/messages"), "INVALID_REQUEST");
  assert.equal(await codeOf("/api/topics/other/partitions/0/messages"), "UNKNOWN_TOPIC");
  assert.equal(await codeOf("/api/topics/__groups/partitions/0/messages"), "INTERNAL_TOPIC");
  assert.deepEqual(await api.stored(), { "orders/0": 0, "orders/1": 0 });
  await api.close();
});

Deno.test("records with a known idempotency key are left out of batches of no producer", async (test) => {
  for (const compression of COMPRESSIONS) {
    await test.step(compression, async () => {
      const api = await withTopic();
      const keyed = (keys: readonly (string | null)[], options = {}) =>
        encodeBatch(
          keys.map((key, at) => ({
            key: null,
            value: `${key}-${at}`,
            headers: key === null ? [] : [["idempotency-key", key] as const],
            timestamp: 1_000,
          })),
          { crc32c, compression, ...options },
        ) as Uint8Array<ArrayBuffer>;
      const first = await post(api, keyed(["a", null, "b"]));
      assert.deepEqual(first.body.results, [
        { partition: 1, offset: 0, lastOffset: 2, duplicate: false },
      ]);
      const body = joined(keyed(["b", "c", "c"]), keyed(["a"]), keyed(["c", "d"]));
      const { results } = (await post(api, body)).body;
      const place = (offset: number, duplicate: boolean) => ({ partition: 1, offset, duplicate });
      assert.deepEqual(results, [
        {
          partition: 1,
          offset: 2,
          lastOffset: 3,
          duplicate: false,
          records: [place(2, true), place(3, false), place(3, true)],
        },
        { ...place(0, true), lastOffset: 0, records: [place(0, true)] },
        {
          partition: 1,
          offset: 3,
          lastOffset: 4,
          duplicate: false,
          records: [place(3, true), place(4, false)],
        },
      ]);
      // A producer's own sequence deduplicates its batches, and nothing else.
      const { producerId, producerEpoch } = (await api.ask("POST", "/api/producers")).body;
      const sequenced = keyed(["a"], { producerId, producerEpoch, baseSequence: 0 });
      assert.equal((await post(api, sequenced)).body.results[0].offset, 5);
      const read = await api.ask("GET", PATH);
      const values = read.body.messages.map((message: { value: string }) => message.value);
      assert.deepEqual(values, ["a-0", "null-1", "b-2", "c-1", "d-1", "a-0"]);
      await api.close();
    });
  }
});

Deno.test("batches of a request with an Idempotency-Key are stored once", async () => {
  const api = await withTopic();
  const send = (raw: BodyInit, path = PATH) =>
    api.ask("POST", path, { raw, headers: { "content-type": TYPE, "idempotency-key": "a" } });
  const bytes = () => joined(batch(["a", "b"]), batch(["c"], { compression: "gzip" }));
  const first = await send(bytes());
  assert.deepEqual([first.status, first.headers.get("idempotency-replayed")], [200, null]);
  const again = await send(bytes());
  assert.deepEqual([again.headers.get("idempotency-replayed"), again.body], ["true", first.body]);
  assert.equal((await send(batch(["other"]))).status, 422);
  assert.equal((await send(bytes(), PATH.replace("1", "0"))).status, 422);
  assert.deepEqual(await api.stored(), { "orders/0": 0, "orders/1": 3 });
  await api.close();
});
