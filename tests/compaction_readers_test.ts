// Owns that every reader gets along with what compaction and the archive leave: gaps in batches, fillers, far objects.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { recordsIn } from "../api/client/received.ts";
import { RecordReader } from "../api/record_reader.ts";
import { pieceAt } from "../api/stream/batch_source.ts";
import { createConsuming } from "../api/stream/consuming.ts";
import { RecordSource } from "../api/stream/record_source.ts";
import type { FileLog } from "../storage/file_log/file_log.ts";
import { apiUnderTest } from "./support/api_app.ts";
import { ArchivedMachine } from "./support/archived_machine.ts";
import { appendKeyed, compaction, recordsOf } from "./support/keyed_log.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { SimulatedMachine } from "./support/simulated_logs.ts";

const SMALL = { segmentBytes: 340, indexIntervalBytes: 100 };
const BOUNDS = { maxDecompressedBytes: 1e6 };

/** All bytes of a compacted log that has whole batches, gaps in batches, and fillers. */
async function compactedBytes(): Promise<{ bytes: Uint8Array; offsets: number[]; log: FileLog }> {
  const log = await new SimulatedMachine().open(SMALL);
  await appendKeyed(log, ["a", "b", "c"]);
  for (let count = 0; count < 4; count++) await appendKeyed(log, ["x", "y", "a"]);
  await appendKeyed(log, ["d", "d", "e", "d"], { compression: "gzip" });
  for (let count = 0; count < 8; count++) await appendKeyed(log, ["z"]);
  await log.compact(compaction());
  const offsets = (await recordsOf(log)).map(({ offset }) => offset);
  assert.deepEqual(offsets.slice(0, 7), [1, 2, 12, 13, 14, 17, 18]);
  const bytes = await log.read(0, { endOffset: log.logEndOffset, maxBytes: 1e6 });
  return { bytes, offsets, log };
}

Deno.test("every way to read records gives those that are left, once each, and ends behind the last offset", async () => {
  const { bytes, offsets, log } = await compactedBytes();
  const end = log.logEndOffset;
  for (let from = 0; from <= end; from++) {
    const wanted = offsets.filter((offset) => offset >= from);

    const reader = new RecordReader({ offset: from, maxMessages: 100, maxBytes: 1e6, ...BOUNDS });
    assert.deepEqual([...reader.records({ batches: bytes })].map(({ offset }) => offset), wanted);
    assert.equal(reader.nextOffset, end);

    const source = new RecordSource(bytes, from, BOUNDS);
    const sourced: number[] = [];
    for (let record = source.peek(); record !== null; record = source.peek()) {
      sourced.push(record.offset);
      source.advance();
    }
    assert.deepEqual(sourced, wanted);
    assert.equal(source.position, end);

    const pieced: number[] = [];
    const received: number[] = [];
    let position = from;
    for (;;) {
      const piece = pieceAt(bytes, position, { room: 2, maxBytes: 150, ...BOUNDS });
      if (piece === null) break;
      for (const run of piece.runs) {
        for (let offset = run.from; offset < run.to; offset++) pieced.push(offset);
      }
      const range = { from: piece.offset, to: piece.nextOffset, crc32c };
      received.push(...recordsIn(piece.bytes, range).map(({ offset }) => offset));
      assert.ok(piece.nextOffset > position, "it gets on");
      position = piece.nextOffset;
    }
    assert.deepEqual(pieced, wanted);
    assert.deepEqual(received, wanted);
    assert.equal(position, end);
  }
  await log.close();
});

Deno.test("a compacted topic is read over HTTP from any offset, also where nothing is left", async () => {
  const machine = new SimulatedMachine();
  const api = await apiUnderTest({ logs: machine.store(), time: machine.clock });
  const config = { ...TOPIC_CONFIG, cleanupPolicy: "compact" as const, segmentBytes: 2_000 };
  await api.broker.createTopic({ name: "users", partitions: 1, config });
  for (let round = 0; round < 50; round++) {
    const messages = Array.from({ length: 10 }, (_, key) => ({ key: `u${key}`, value: round }));
    messages.push({ key: "gone", value: round === 20 ? null as unknown as number : round });
    if (round > 20) messages.pop();
    const { status } = await api.ask("POST", "/api/messages:publish", {
      body: { topic: "users", messages },
    });
    assert.equal(status, 200);
  }
  const read = async (query: string) =>
    (await api.ask("GET", `/api/topics/users/partitions/0/messages?${query}`)).body;
  const before = await api.broker.partitionInfo({ topic: "users", partition: 0 });
  await api.time.advance(61_000);
  const after = await api.broker.partitionInfo({ topic: "users", partition: 0 });
  assert.deepEqual(after.highWatermark, before.highWatermark);
  assert.ok(after.sizeBytes < before.sizeBytes / 3, `${before.sizeBytes} to ${after.sizeBytes}`);
  const table = new Map<string, unknown>();
  let messages = 0;
  for (let offset = after.logStartOffset; offset < after.highWatermark;) {
    const page = await read(`offset=${offset}&maxMessages=7`);
    for (const message of page.messages) {
      messages++;
      if (message.value === null) table.delete(message.key);
      else table.set(message.key, message.value);
    }
    assert.ok(page.nextOffset > offset);
    offset = page.nextOffset;
  }
  assert.ok(messages < 100, `${messages} of ${after.highWatermark}`);
  for (const [offset, left] of [[0, messages], [after.highWatermark - 3, 3]]) {
    const offsets = [{ topic: "users", partition: 0, offset }];
    await api.ask("POST", "/api/offsets:commit", { body: { groupId: `g${offset}`, offsets } });
    const { body } = await api.ask("GET", `/api/groups/g${offset}/lag`);
    assert.equal(body.totalLag, left, "what compaction has taken is not to be read any more");
  }
  assert.deepEqual(table, new Map(Array.from({ length: 10 }, (_, key) => [`u${key}`, 49])));
  assert.equal((await read("offset=earliest&maxMessages=1")).messages.length, 1);
  await api.close();
});

Deno.test("an archived topic is read over HTTP as before; its settings are shown, and refused where they cannot be", async () => {
  const at = new ArchivedMachine({ maxObjectBytes: 3_000 });
  const api = await apiUnderTest({ logs: at.store(), time: at.machine.clock });
  const path = "/api/topics/logs/partitions/0/messages";
  const made = await api.ask("POST", "/api/topics", {
    body: { name: "logs", archive: true, retentionHours: 1, archiveRetentionHours: 24 },
  });
  assert.equal(made.status, 201);
  assert.deepEqual([made.body.archive, made.body.archiveRetentionHours], [true, 24]);
  await api.broker.updateTopic("logs", { config: { segmentBytes: 2_000 } });
  for (let count = 0; count < 50; count++) {
    const messages = [{ value: `${count}`.padStart(200, ".") }];
    await api.ask("POST", "/api/messages:publish", { body: { topic: "logs", messages } });
  }
  await api.broker.updateTopic("logs", { config: { segmentBytes: 65_536 } });
  const all = (await api.ask("GET", `${path}?offset=0&maxMessages=100`)).body;
  await api.time.advance(2 * 3_600_000);
  const info = await api.broker.partitionInfo({ topic: "logs", partition: 0 });
  assert.equal(info.logStartOffset, 0);
  const shown = (await api.ask("GET", "/api/topics/logs")).body.partitions[0];
  assert.deepEqual([shown.sizeBytes, shown.archivedBytes], [info.sizeBytes, info.archivedBytes]);
  assert.ok(shown.archivedBytes > 8_000);
  assert.ok(info.sizeBytes < 3_000 && at.archive.objects.size > 3);
  const messages: unknown[] = [];
  for (let offset = 0; offset < 50;) {
    const page = (await api.ask("GET", `${path}?offset=${offset}&maxMessages=100`)).body;
    messages.push(...page.messages);
    offset = page.nextOffset;
  }
  assert.deepEqual(messages, all.messages);
  // Shortening what stays here archives first; what the archive lets go is out of range for good.
  await api.ask("PATCH", "/api/topics/logs", { body: { archiveRetentionHours: 1 } });
  await api.time.advance(61_000);
  const short = await api.broker.partitionInfo({ topic: "logs", partition: 0 });
  assert.ok(short.logStartOffset > 0);
  assert.equal((await api.ask("GET", `${path}?offset=0`)).body.code, "OFFSET_OUT_OF_RANGE");
  at.archive.failing = /./;
  await api.ask("PATCH", "/api/topics/logs", { body: { archiveRetentionHours: 0 } });
  const refused = await api.ask("PATCH", "/api/topics/logs", {
    body: { cleanupPolicy: "compact" },
  });
  assert.deepEqual([refused.status, refused.body.code], [400, "INVALID_REQUEST"]);
  await api.close();

  const without = await apiUnderTest();
  const spec = { name: "logs", archive: true };
  const answer = await without.ask("POST", "/api/topics", { body: spec });
  assert.deepEqual([answer.status, answer.body.code], [400, "INVALID_REQUEST"]);
  await without.close();
});

Deno.test("a broker that has lost its archive's address drops nothing of what is to be archived, and says so", async () => {
  const at = new ArchivedMachine({ maxObjectBytes: 3_000 });
  const withArchive = memoryBrokerStores({ logs: at.store(), time: at.machine.clock });
  const broker = await withArchive.open();
  const config = { ...TOPIC_CONFIG, archive: true, retentionHours: 1, segmentBytes: 2_000 };
  await broker.createTopic({ name: "logs", partitions: 1, config });
  await broker.close();
  const without = memoryBrokerStores({
    logs: at.machine.store(),
    time: at.machine.clock,
    metadata: withArchive.metadata,
  });
  const poor = await without.open();
  const partition = { topic: "logs", partition: 0 };
  for (let count = 0; count < 30; count++) {
    const record = { key: null, value: "x".repeat(200), headers: [], timestamp: 1_000 };
    await poor.append(partition, [encodeBatch([record], { crc32c })], { acks: "all" });
  }
  await at.machine.clock.advance(2 * 3_600_000);
  assert.equal((await poor.partitionInfo(partition)).logStartOffset, 0);
  assert.ok(without.reports.some(({ message }) => message.includes("no archive is configured")));
  await poor.close();
  const rich = await memoryBrokerStores({
    logs: at.store(),
    time: at.machine.clock,
    metadata: withArchive.metadata,
  }).open();
  await at.machine.clock.advance(61_000);
  const info = await rich.partitionInfo(partition);
  assert.equal(info.logStartOffset, 0);
  assert.ok(info.archivedBytes! > 4_000 && info.sizeBytes < 2_500);
  await rich.close();
});

Deno.test("messages that lie in the archive are replayed and delivered to groups like others, also when it answers late", async () => {
  const at = new ArchivedMachine({ maxObjectBytes: 3_000 });
  const { clock } = at.machine;
  const consuming = createConsuming({ timers: clock });
  const app = { routes: [consuming.routes] };
  const api = await apiUnderTest({ logs: at.store(), time: clock, app });
  const config = { ...TOPIC_CONFIG, archive: true, retentionHours: 1, segmentBytes: 2_000 };
  await api.broker.createTopic({ name: "logs", partitions: 1, config });
  await api.broker.createTopic({ name: "copy", partitions: 1, config: TOPIC_CONFIG });
  for (let count = 0; count < 50; count++) {
    const messages = [{ key: `k${count}`, value: `${count}`.padStart(200, ".") }];
    await api.ask("POST", "/api/messages:publish", { body: { topic: "logs", messages } });
  }
  await api.time.advance(2 * 3_600_000);
  assert.ok(at.archive.objects.size > 3);
  const refused = async () => {
    const { status, body } = await api.ask(
      "GET",
      // Not in the object that the start of the replay has fetched: the last one is kept.
      "/api/topics/logs/partitions/0/messages?offset=29",
    );
    assert.deepEqual([status, body.code, body.retryable], [503, "ARCHIVE_UNAVAILABLE", true]);
  };
  const asked = await api.ask("POST", "/api/messages:replay", {
    body: { topic: "logs", partition: 0, from: 3, to: 33, target: { topic: "copy" } },
    headers: { "idempotency-key": "once" },
  });
  assert.equal(asked.status, 202, JSON.stringify(asked.body));
  at.archive.failing = /get/;
  await refused();
  await api.time.advance(5_000);
  at.archive.failing = null;
  const job = async () => (await api.ask("GET", `/api/replays/${asked.body.jobId}`)).body;
  for (let waits = 0; waits < 100 && (await job()).state !== "completed"; waits++) {
    await api.time.advance(1_000);
  }
  assert.deepEqual([(await job()).state, (await job()).done], ["completed", 30]);
  const copied = (await api.ask("GET", "/api/topics/copy/partitions/0/messages?offset=0")).body;
  const keys = copied.messages.map(({ key }: { key: string }) => key);
  assert.deepEqual(keys, Array.from({ length: 30 }, (_, index) => `k${index + 3}`));
  const commit = (offset: number, by = {}) =>
    api.ask("POST", "/api/offsets:commit", {
      body: { groupId: "late", offsets: [{ topic: "logs", partition: 0, offset }], ...by },
    });
  assert.equal((await commit(0)).status, 200);
  const joining = api.ask("POST", "/api/groups/late/members", { body: { topics: ["logs"] } });
  await clock.advance(1_000);
  const joined = await joining;
  const { memberId } = joined.body;
  const polled: string[] = [];
  for (let polls = 0; polls < 40 && polled.length < 50; polls++) {
    const path = `/api/groups/late/members/${memberId}:poll`;
    const polling = api.ask("POST", path, { body: { maxMessages: 20 } });
    await clock.advance(1_000);
    const { body } = await polling;
    assert.ok(Array.isArray(body.messages), JSON.stringify([polled.length, body]));
    for (const { key } of body.messages) polled.push(key);
    if (body.messages.length === 0) continue;
    await commit(body.messages.at(-1).offset + 1, { memberId, generation: body.generation });
  }
  assert.deepEqual(polled, Array.from({ length: 50 }, (_, index) => `k${index}`));
  const drained = consuming.drain();
  await clock.advance(60_000);
  await drained;
  await api.close();
});

Deno.test("a disk that fails in the middle of a swap takes the partition offline until its log is recovered, and loses nothing", async () => {
  for (const [operation, path] of [["rename", /swap$/], ["remove", /log$/]] as const) {
    const machine = new SimulatedMachine();
    const stores = memoryBrokerStores({ logs: machine.store(), time: machine.clock });
    const broker = await stores.open();
    const config = { ...TOPIC_CONFIG, cleanupPolicy: "compact" as const, segmentBytes: 1_000 };
    const topic = await broker.createTopic({ name: "users", partitions: 1, config });
    const at = { topic: "users", partition: 0 };
    for (let count = 0; count < 60; count++) {
      const record = { key: `k${count % 3}`, value: `${count}`, headers: [], timestamp: 1_000 };
      await broker.append(at, [encodeBatch([record], { crc32c })], { acks: "all" });
    }
    const directory = `topics/${topic.topicId}/0`;
    machine.disk.failOnce(operation, new RegExp(`^${directory}.*${path.source}`));
    await machine.clock.advance(60_000);
    const failed = stores.reports.some(({ message }) => message.includes("is offline until"));
    assert.ok(failed, `${operation} failed`);
    await machine.clock.advance(61_000);
    assert.equal((await broker.partitionInfo(at)).state, "online");
    const bounds = { maxMessages: 1_000, maxBytes: 1e6, ...BOUNDS };
    const newest = new Map<string, string>();
    for (let offset = 0; offset < 60;) {
      const fetched = await broker.fetch(at, offset, { maxBytes: 500 });
      const reader = new RecordReader({ offset, ...bounds });
      const text = (bytes: Uint8Array | null) => new TextDecoder().decode(bytes!);
      for (const { key, value } of reader.records(fetched)) newest.set(text(key), text(value));
      offset = reader.nextOffset;
    }
    assert.deepEqual(Object.fromEntries(newest), { k0: "57", k1: "58", k2: "59" });
    await broker.close();
  }
});
