// Owns the tests of stateless reading over HTTP: places, bounds, waiting, lines, batches.
// Refuses to own what a message looks like in detail (api_message_test.ts).
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { RecordReader } from "../api/record_reader.ts";
import { decodeBatch } from "../storage/format/decode.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { batchSpans, setBaseOffset } from "../storage/format/record_batch.ts";
import { type ApiUnderTest, apiUnderTest, FORMATS } from "./support/api_app.ts";
import { settle } from "./support/virtual_time.ts";
import { withMembers } from "./support/with_members.ts";

const PATH = "/api/topics/orders/partitions/0/messages";

async function withMessages(values: readonly string[], options = {}): Promise<ApiUnderTest> {
  const api = await apiUnderTest(options);
  await api.ask("POST", "/api/topics", { body: { name: "orders" } });
  if (values.length > 0) await publish(api, values);
  return api;
}

function publish(api: ApiUnderTest, values: readonly string[], timestamp?: number) {
  const messages = values.map((value) => ({ value, ...(timestamp && { timestamp }) }));
  return api.ask("POST", "/api/messages:publish", { body: { topic: "orders", messages } });
}

const valuesOf = (body: { messages: { value: string }[] }) => body.messages.map((m) => m.value);
const offsetsOf = (body: { messages: { offset: number }[] }) => body.messages.map((m) => m.offset);

for (const format of FORMATS) {
  Deno.test(`read answers messages from an offset within a batch (${format})`, async () => {
    const api = await withMessages(["a", "b", "c", "d"]);
    const { status, body } = await api.ask("GET", `${PATH}?offset=2`, { format });
    assert.equal(status, 200);
    assert.deepEqual(body, {
      messages: ["c", "d"].map((value, index) => ({
        topic: "orders",
        partition: 0,
        offset: 2 + index,
        timestamp: api.time.now(),
        key: null,
        value,
        headers: {},
      })),
      nextOffset: 4,
      highWatermark: 4,
      logStartOffset: 0,
    });
    await api.close();
  });
}

Deno.test("read goes page by page through everything, once", async () => {
  const values = Array.from({ length: 57 }, (_, index) => `m${index}`);
  const api = await withMessages(values.slice(0, 20));
  await publish(api, values.slice(20, 21));
  await publish(api, values.slice(21));
  for (const query of ["maxMessages=7", "maxBytes=10", "maxMessages=100", "maxBytes=1"]) {
    const seen: string[] = [];
    let offset = 0;
    while (offset < 57) {
      const { body } = await api.ask("GET", `${PATH}?offset=${offset}&${query}`);
      assert.ok(body.messages.length > 0);
      assert.ok(query !== "maxBytes=10" || body.messages.length <= 5);
      seen.push(...valuesOf(body));
      offset = body.nextOffset;
    }
    assert.deepEqual(seen, values);
  }
  await api.close();
});

Deno.test("read understands earliest, latest and times", async () => {
  const api = await withMessages([]);
  const times = [1_000_000, 2_000_000, 3_000_000].map((ms) => Date.UTC(2026, 0, 1) + ms);
  for (const [index, time] of times.entries()) await publish(api, [`t${index}`], time);
  const first = async (offset: string) =>
    offsetsOf((await api.ask("GET", `${PATH}?offset=${offset}`)).body)[0];
  assert.equal(await first("earliest"), 0);
  assert.equal(await first("latest"), undefined);
  assert.equal(await first(`@${times[1]}`), 1);
  assert.equal(await first(`@${times[1]! + 1}`), 2);
  assert.equal(await first(`@${new Date(times[2]!).toISOString()}`), 2);
  assert.equal(await first(`@${times[2]! + 1}`), undefined);
  assert.equal(await first("@2026-01-01T02:00:00+02:00"), 0);
  assert.equal(await first(`@${encodeURIComponent("2026-01-01T02:00:00+02:00")}`), 0);
  const without = await api.ask("GET", PATH);
  assert.equal(without.body.messages.length, 3);
  await api.close();
});

Deno.test("read refuses places that are none", async (test) => {
  const api = await withMessages(["a"]);
  const bad = [
    "-1",
    "1.5",
    "1e400",
    "1e1",
    "0x10",
    "",
    "NaN",
    "Infinity",
    "9007199254740992",
    "%201",
  ];
  bad.push("@", "@-1", "@1.5", "@yesterday", "@2026-01-01", "@2026-13-01T00:00:00Z", "first", "+1");
  for (const offset of bad) {
    await test.step(offset, async () => {
      const { status, body } = await api.ask("GET", `${PATH}?offset=${offset}`);
      assert.equal(status, 400);
      assert.equal(body.errors[0].path, "offset");
    });
  }
  await api.close();
});

Deno.test("read refuses bounds beyond the contract, unknown and repeated parameters", async (test) => {
  const api = await withMessages(["a"]);
  const bad = ["maxMessages=0", "maxMessages=10001", "maxMessages=1.0", "maxBytes=0"];
  bad.push("maxBytes=8388609", "waitMs=-1", "waitMs=30001", "waitMs=", "isolation=none", "limit=1");
  bad.push("offset=0&offset=1", "__proto__=1");
  for (const query of bad) {
    await test.step(query, async () => {
      const { status, body } = await api.ask("GET", `${PATH}?${query}`);
      assert.equal(status, 400);
      assert.equal(body.code, "INVALID_REQUEST");
    });
  }
  await api.close();
});

Deno.test("read outside of the partition tells the valid range", async () => {
  const api = await withMessages(["a", "b"]);
  const { status, body } = await api.ask("GET", `${PATH}?offset=3`);
  assert.equal(status, 416);
  assert.equal(body.code, "OFFSET_OUT_OF_RANGE");
  assert.equal(body.logStartOffset, 0);
  assert.equal(body.highWatermark, 2);
  const largest = await api.ask("GET", `${PATH}?offset=${Number.MAX_SAFE_INTEGER}&waitMs=1000`);
  assert.equal(largest.status, 416);
  const end = await api.ask("GET", `${PATH}?offset=2`);
  assert.deepEqual([end.status, end.body.messages, end.body.nextOffset], [200, [], 2]);
  await api.close();
});

Deno.test("read of what is not there says what is not there", async () => {
  const api = await withMessages([]);
  const topic = await api.ask("GET", "/api/topics/nothing/partitions/0/messages?offset=0");
  assert.deepEqual([topic.status, topic.body.code], [404, "UNKNOWN_TOPIC"]);
  const partition = await api.ask("GET", "/api/topics/orders/partitions/1/messages?offset=latest");
  assert.deepEqual([partition.status, partition.body.code], [404, "UNKNOWN_PARTITION"]);
  await api.close();
});

Deno.test("read waits until a message comes, and no longer than it was told to", async () => {
  const api = await withMessages([]);
  let answered = 0;
  const woken = api.ask("GET", `${PATH}?waitMs=5000`).finally(() => answered++);
  await settle();
  assert.equal(answered, 0);
  await publish(api, ["late"]);
  assert.deepEqual(valuesOf((await woken).body), ["late"]);

  const patient = api.ask("GET", `${PATH}?offset=1&waitMs=5000`).finally(() => answered++);
  await api.time.advance(4_999);
  assert.equal(answered, 1);
  await api.time.advance(1);
  assert.deepEqual((await patient).body.messages, []);
  await api.close();
});

Deno.test("a read whose caller goes away waits no longer", async () => {
  const api = await withMessages([]);
  const before = api.time.pendingTimers;
  const caller = new AbortController();
  const waiting = api.app.request(`http://x${PATH}?waitMs=30000`, { signal: caller.signal });
  await settle();
  assert.equal(api.time.pendingTimers, before + 1);
  caller.abort();
  await (await waiting).text();
  assert.equal(api.time.pendingTimers, before);
  await api.close();
});

Deno.test("read as lines streams one message a line over many fetches, JSON values with line breaks too", async () => {
  const api = await withMessages(
    Array.from({ length: 3_000 }, (_, i) => `m${i}` + "x".repeat(500)),
  );
  const pretty = encodeBatch([{
    key: null,
    value: '{\n  "a": 1\r\n}',
    headers: [["content-type", "application/json"]],
    timestamp: 1,
  }], { crc32c });
  await api.ask("POST", PATH, {
    raw: pretty as Uint8Array<ArrayBuffer>,
    headers: { "content-type": "application/vnd.waybill.batch" },
  });
  const { status, headers, body } = await api.ask("GET", `${PATH}?maxMessages=10000`, {
    headers: { accept: "application/x-ndjson" },
  });
  assert.equal(status, 200);
  assert.equal(headers.get("content-type"), "application/x-ndjson");
  const lines = new TextDecoder().decode(body).trimEnd().split("\n").map((line) =>
    JSON.parse(line)
  );
  assert.deepEqual(lines.map(({ offset }) => offset), Array.from({ length: 3_001 }, (_, i) => i));
  assert.deepEqual(lines[3_000].value, { a: 1 });
  const some = await api.ask("GET", `${PATH}?maxMessages=3&offset=5`, {
    headers: { accept: "application/x-ndjson" },
  });
  assert.equal(new TextDecoder().decode(some.body).trimEnd().split("\n").length, 3);
  await api.close();
});

Deno.test("read as lines fetches no further than its reader reads", async () => {
  const api = await withMessages([]);
  for (let i = 0; i < 8; i++) {
    await publish(
      api,
      Array.from({ length: 10 }, () => "x".repeat(100_000)),
    );
  }
  let fetches = 0;
  const broker = withMembers(api.broker, {
    fetch: (at, offset, options) => {
      fetches++;
      return api.broker.fetch(at, offset, options);
    },
  });
  const slow = await apiUnderTest({ app: { broker } });
  const response = await slow.app.request(`http://x${PATH}?maxMessages=10000`, {
    headers: { accept: "application/x-ndjson" },
  });
  const reader = response.body!.getReader();
  await reader.read();
  await settle();
  assert.ok(fetches <= 2, `${fetches} fetches for one chunk read`);
  await reader.cancel();
  await slow.close();
  await api.close();
});

Deno.test("an error amid a stream of lines breaks it off and is heard of", async () => {
  const api = await withMessages([]);
  for (let i = 0; i < 3; i++) await publish(api, ["x".repeat(1_000_000)]);
  let fetches = 0;
  const broker = withMembers(api.broker, {
    fetch: (at, offset, options) =>
      ++fetches === 2
        ? Promise.reject(new Error("the disk fell out"))
        : api.broker.fetch(at, offset, options),
  });
  const broken = await apiUnderTest({ app: { broker } });
  const response = await broken.app.request(`http://x${PATH}?maxMessages=10`, {
    headers: { accept: "application/x-ndjson" },
  });
  await assert.rejects(response.text(), /the disk fell out/);
  assert.equal(broken.faults.length, 1);
  await broken.close();
  await api.close();
});

Deno.test("read as batches answers whole batches as they are stored, and where to go on", async () => {
  const api = await withMessages(["a", "b", "c"]);
  await publish(api, ["d"]);
  const { status, headers, body } = await api.ask("GET", `${PATH}?offset=1`, {
    headers: { accept: "application/vnd.waybill.batch" },
  });
  assert.equal(status, 200);
  const records = [...batchSpans(body)]
    .flatMap(({ at }) => decodeBatch(body, at, { maxDecompressedBytes: 1_000 }));
  assert.deepEqual(records.map(({ offset }) => offset), [0, 1, 2, 3]);
  assert.equal(headers.get("waybill-offset"), "1");
  assert.equal(headers.get("waybill-next-offset"), "4");
  assert.equal(headers.get("waybill-high-watermark"), "4");
  assert.equal(headers.get("waybill-log-start-offset"), "0");
  const end = await api.ask("GET", `${PATH}?offset=4`, {
    headers: { accept: "application/vnd.waybill.batch" },
  });
  assert.equal(end.body.length, 0);
  assert.equal(end.headers.get("waybill-next-offset"), "4");
  await api.close();
});

Deno.test("read as batches tells which offset a time, earliest and latest mean", async () => {
  const api = await withMessages(["a", "b"]);
  await api.time.advance(5_000);
  const time = api.time.now();
  await publish(api, ["c", "d"]);
  const headers = { accept: "application/vnd.waybill.batch" };
  const cases = [[`@${time}`, "2"], [`@${time - 1}`, "2"], ["@0", "0"], ["earliest", "0"]];
  for (const [offset, resolved] of [...cases, ["latest", "4"], ["3", "3"]]) {
    const answer = await api.ask("GET", `${PATH}?offset=${offset}`, { headers });
    assert.equal(answer.headers.get("waybill-offset"), resolved, offset);
  }
  await api.close();
});

Deno.test("what is read as batches can be published as batches", async () => {
  const api = await withMessages(["a", "b", "c"]);
  const type = "application/vnd.waybill.batch";
  const { body } = await api.ask("GET", PATH, { headers: { accept: type } });
  const again = await api.ask("POST", PATH, { raw: body, headers: { "content-type": type } });
  assert.deepEqual(again.body, {
    topic: "orders",
    partition: 0,
    results: [{ partition: 0, offset: 3, lastOffset: 5, duplicate: false }],
    acks: "all",
    durability: "fsync",
    inSyncReplicas: 1,
    highWatermark: 6,
  });
  const read = await api.ask("GET", PATH);
  assert.deepEqual(valuesOf(read.body), ["a", "b", "c", "a", "b", "c"]);
  await api.close();
});

Deno.test("a reader skips control batches and what lies before its offset, and knows where to go on", () => {
  const record = (value: string) => ({ key: null, value, headers: [], timestamp: 1 });
  const batches = [
    encodeBatch([record("a"), record("b")], { crc32c }),
    encodeBatch([record("marker")], {
      crc32c,
      control: true,
      transactional: true,
      producerId: 1,
      producerEpoch: 0,
    }),
    encodeBatch([record("c")], { crc32c }),
    encodeBatch([record("marker")], {
      crc32c,
      control: true,
      transactional: true,
      producerId: 1,
      producerEpoch: 0,
    }),
  ];
  [0, 2, 3, 4].forEach((offset, index) => setBaseOffset(batches[index]!, 0, offset));
  const bytes = new Uint8Array(batches.flatMap((batch) => [...batch]));
  const readFrom = (offset: number, maxMessages: number) => {
    const bounds = { offset, maxMessages, maxBytes: 1_000, maxDecompressedBytes: 1_000 };
    const reader = new RecordReader(bounds);
    const offsets = [...reader.records({ batches: bytes })].map((found) => found.offset);
    return [offsets, reader.nextOffset, reader.full];
  };
  assert.deepEqual(readFrom(0, 10), [[0, 1, 3], 5, false]);
  assert.deepEqual(readFrom(1, 10), [[1, 3], 5, false]);
  assert.deepEqual(readFrom(2, 1), [[3], 4, true]);
  assert.deepEqual(readFrom(4, 1), [[], 5, false]);
});

Deno.test("internal topics can be read", async () => {
  const api = await withMessages(["a"]);
  const offsets = [{ topic: "orders", partition: 0, offset: 1 }];
  await api.ask("POST", "/api/offsets:commit", { body: { groupId: "g", offsets } });
  const counts = await Promise.all([0, 1].map(async (partition) => {
    const path = `/api/topics/__groups/partitions/${partition}/messages`;
    return (await api.ask("GET", path)).body.messages.length;
  }));
  assert.ok(Math.max(...counts) > 0);
  await api.close();
});
