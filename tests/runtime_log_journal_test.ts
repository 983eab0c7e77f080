// Owns the tests of journals kept in logs of record batches.
import assert from "node:assert/strict";
import type { JournalEntry } from "../actors/runtime/journal.ts";
import { type JournalLog, journalLogOver, LogJournal } from "../actors/runtime/log_journal.ts";
import { crc32c } from "../storage/format/crc32c.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import {
  batchSpans,
  crcMatches,
  leaderEpochAt,
  setBaseOffset,
  setLeaderEpoch,
} from "../storage/format/record_batch.ts";
import type { Log, LogConfig } from "../storage/log.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const CONFIG: LogConfig = {
  durability: "fsync",
  segmentBytes: 1_000_000,
  segmentMs: 1_000_000,
  indexIntervalBytes: 4_096,
};

function openLog(): Promise<Log> {
  return new MemoryLogStore(new VirtualClock()).open("groups/0", CONFIG);
}

function journalOver(log: Log, maxReadBytes = 1_000_000) {
  const options = { crc32c, maxReadBytes, maxDecompressedBytes: 1_000_000 };
  return new LogJournal(journalLogOver(log, 7), options);
}

function entry(key: string, event: unknown, timestampMs = 5): JournalEntry {
  return { key, value: new TextEncoder().encode(JSON.stringify(event)), timestampMs };
}

async function all(journal: LogJournal, from = 0) {
  const read: unknown[] = [];
  const next = await journal.replay(from, ({ key, value, timestampMs }, offset) => {
    read.push([offset, key, JSON.parse(new TextDecoder().decode(value)), timestampMs]);
  });
  return { read, next };
}

Deno.test("what is appended to a journal is replayed in order, from any offset, within a batch too", async () => {
  const log = await openLog();
  const journal = journalOver(log);
  assert.deepEqual(await journal.append([entry("a", 1), entry("ü", 2, 6)], 0), { nextOffset: 2 });
  assert.deepEqual(await journal.append([entry("a", { n: 3 })], 2), { nextOffset: 3 });
  const expected = [[0, "a", 1, 5], [1, "ü", 2, 6], [2, "a", { n: 3 }, 5]];
  for (let from = 0; from <= 3; from++) {
    assert.deepEqual(await all(journal, from), { read: expected.slice(from), next: 3 });
  }
  assert.deepEqual(await journal.bounds(), { startOffset: 0, endOffset: 3 });
});

Deno.test("one append is one batch, with the leader epoch, and an empty one is none", async () => {
  const log = await openLog();
  const journal = journalOver(log);
  await journal.append(Array.from({ length: 500 }, (_, n) => entry("k", n)), 0);
  assert.deepEqual(await journal.append([], 500), { nextOffset: 500 });
  const bytes = await log.read(0, { endOffset: 500, maxBytes: 1_000_000 });
  assert.equal([...batchSpans(bytes)].length, 1);
  assert.equal(leaderEpochAt(bytes, 0), 7);
  assert.ok(crcMatches(bytes, 0, crc32c));
});

Deno.test("a long journal is replayed in bounded reads", async () => {
  const log = await openLog();
  let reads = 0;
  const counted = journalLogOver(log, 7);
  const read = (offset: number, maxBytes: number) => (reads += 1, counted.read(offset, maxBytes));
  const options = { crc32c, maxReadBytes: 300, maxDecompressedBytes: 1_000_000 };
  const journal = new LogJournal({ ...counted, read }, options);
  for (let n = 0; n < 50; n++) await journal.append([entry("k", n)], n);
  const { read: lines, next } = await all(journal);
  assert.deepEqual(
    lines.map((line) => (line as unknown[])[2]),
    Array.from({ length: 50 }, (_, n) => n),
  );
  assert.equal(next, 50);
  assert.ok(reads > 10, `${reads} reads`);
});

Deno.test("a writer that believes in another end of the journal is refused before it writes", async () => {
  const log = await openLog();
  const journal = journalOver(log);
  await journal.append([entry("k", 1)], 0);
  await assert.rejects(journal.append([entry("k", 2)], 0), { code: "STALE_EPOCH" });
  assert.equal(log.logEndOffset, 1);
});

Deno.test("a log that cannot tell beforehand is caught when it has written elsewhere", async () => {
  const log: JournalLog = {
    append: () => Promise.resolve({ baseOffset: 9 }),
    read: () => Promise.resolve(new Uint8Array()),
    bounds: () => Promise.resolve({ startOffset: 0, endOffset: 9 }),
  };
  const journal = new LogJournal(log, { crc32c, maxReadBytes: 1, maxDecompressedBytes: 1 });
  await assert.rejects(journal.append([entry("k", 1)], 8), {
    code: "STALE_EPOCH",
    details: { expectedOffset: 8, actualOffset: 9 },
  });
});

Deno.test("control batches are passed over, records without key or value refuse the replay", async () => {
  const log = await openLog();
  const journal = journalOver(log);
  const put = async (value: string | null, control: boolean) => {
    const record = { key: "x", value, headers: [], timestamp: 1 };
    const batch = encodeBatch([record], { crc32c, control });
    setBaseOffset(batch, 0, log.logEndOffset);
    setLeaderEpoch(batch, 0, 7);
    await log.append([batch]);
  };
  await journal.append([entry("k", 1)], 0);
  await put("marker", true);
  await journal.append([entry("k", 2)], 2);
  assert.deepEqual((await all(journal)).read, [[0, "k", 1, 5], [2, "k", 2, 5]]);
  await put(null, false);
  await assert.rejects(all(journal), /journal record at 3 has no key or no value/);
});

Deno.test("a log that goes in circles ends the replay with an error instead of never", async () => {
  const log = await openLog();
  await journalOver(log).append([entry("k", 1)], 0);
  const again = await log.read(0, { endOffset: 1, maxBytes: 1_000 });
  const circling: JournalLog = {
    append: () => Promise.reject(new Error("not here")),
    read: () => Promise.resolve(again),
    bounds: () => Promise.resolve({ startOffset: 0, endOffset: 9 }),
  };
  const journal = new LogJournal(circling, {
    crc32c,
    maxReadBytes: 99,
    maxDecompressedBytes: 9_999,
  });
  await assert.rejects(all(journal), /gave nothing newer/);
});
