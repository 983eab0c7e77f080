// Owns the tests of journals kept in logs of record batches.
import assert from "node:assert/strict";
import type { JournalEntry } from "../actors/runtime/journal.ts";
import { type JournalLog, journalLogOver, LogJournal } from "../actors/runtime/log_journal.ts";
import { crc32c } from "../storage/format/crc32c.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import {
  baseOffsetAt,
  batchSpans,
  crcMatches,
  lastOffsetDeltaAt,
  leaderEpochAt,
  setBaseOffset,
} from "../storage/format/record_batch.ts";
import type { Log } from "../storage/log.ts";

/** Just enough of a log to keep batches: reads give whole batches up to `maxBytes`, at least one. */
class BatchList {
  readonly batches: Uint8Array[] = [];
  reads = 0;
  logStartOffset = 0;
  flushedOffset = 0;

  get logEndOffset(): number {
    return this.flushedOffset;
  }

  append(batches: readonly Uint8Array[]): Promise<{ baseOffset: number; logEndOffset: number }> {
    const baseOffset = this.flushedOffset;
    for (const batch of batches) {
      assert.equal(baseOffsetAt(batch, 0), this.flushedOffset);
      assert.ok(crcMatches(batch, 0, crc32c));
      this.batches.push(batch);
      this.flushedOffset += lastOffsetDeltaAt(batch, 0) + 1;
    }
    return Promise.resolve({ baseOffset, logEndOffset: this.flushedOffset });
  }

  read(offset: number, options: { endOffset: number; maxBytes: number }): Promise<Uint8Array> {
    this.reads += 1;
    const chosen: Uint8Array[] = [];
    let sizeBytes = 0;
    for (const batch of this.batches) {
      const last = baseOffsetAt(batch, 0) + lastOffsetDeltaAt(batch, 0);
      if (last < offset || last >= options.endOffset) continue;
      if (chosen.length > 0 && sizeBytes + batch.length > options.maxBytes) break;
      chosen.push(batch);
      sizeBytes += batch.length;
    }
    return Promise.resolve(Uint8Array.from(chosen.flatMap((batch) => [...batch])));
  }
}

function journalOver(list: BatchList, maxReadBytes = 1_000_000) {
  const log = journalLogOver(list as unknown as Log, 7);
  return new LogJournal(log, { crc32c, maxReadBytes, maxDecompressedBytes: 1_000_000 });
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
  const list = new BatchList();
  const journal = journalOver(list);
  assert.deepEqual(await journal.append([entry("a", 1), entry("ü", 2, 6)], 0), { nextOffset: 2 });
  assert.deepEqual(await journal.append([entry("a", { n: 3 })], 2), { nextOffset: 3 });
  const expected = [[0, "a", 1, 5], [1, "ü", 2, 6], [2, "a", { n: 3 }, 5]];
  for (let from = 0; from <= 3; from++) {
    assert.deepEqual(await all(journal, from), { read: expected.slice(from), next: 3 });
  }
  assert.deepEqual(await journal.bounds(), { startOffset: 0, endOffset: 3 });
});

Deno.test("one append is one batch, with the leader epoch, and an empty one is none", async () => {
  const list = new BatchList();
  const journal = journalOver(list);
  await journal.append(Array.from({ length: 500 }, (_, n) => entry("k", n)), 0);
  assert.deepEqual(await journal.append([], 500), { nextOffset: 500 });
  assert.equal(list.batches.length, 1);
  assert.equal(leaderEpochAt(list.batches[0]!, 0), 7);
});

Deno.test("a long journal is replayed in bounded reads", async () => {
  const list = new BatchList();
  const journal = journalOver(list, 300);
  for (let n = 0; n < 50; n++) await journal.append([entry("k", n)], n);
  const { read, next } = await all(journal);
  assert.deepEqual(
    read.map((line) => (line as unknown[])[2]),
    Array.from({ length: 50 }, (_, n) => n),
  );
  assert.equal(next, 50);
  assert.ok(list.reads > 10, `${list.reads} reads`);
});

Deno.test("a writer that believes in another end of the journal is refused before it writes", async () => {
  const list = new BatchList();
  const journal = journalOver(list);
  await journal.append([entry("k", 1)], 0);
  await assert.rejects(journal.append([entry("k", 2)], 0), { code: "STALE_EPOCH" });
  assert.equal(list.batches.length, 1);
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
  const list = new BatchList();
  const journal = journalOver(list);
  const put = async (value: string | null, control: boolean) => {
    const record = { key: "x", value, headers: [], timestamp: 1 };
    const batch = encodeBatch([record], { crc32c, control });
    setBaseOffset(batch, 0, list.flushedOffset);
    await list.append([batch]);
  };
  await journal.append([entry("k", 1)], 0);
  await put("marker", true);
  await journal.append([entry("k", 2)], 2);
  assert.deepEqual((await all(journal)).read, [[0, "k", 1, 5], [2, "k", 2, 5]]);
  await put(null, false);
  await assert.rejects(all(journal), /journal record at 3 has no key or no value/);
});

Deno.test("a log that goes in circles ends the replay with an error instead of never", async () => {
  const list = new BatchList();
  const writer = journalOver(list);
  await writer.append([entry("k", 1)], 0);
  const again = list.batches[0]!;
  const log: JournalLog = {
    append: () => Promise.reject(new Error("not here")),
    read: () => Promise.resolve(again),
    bounds: () => Promise.resolve({ startOffset: 0, endOffset: 9 }),
  };
  const journal = new LogJournal(log, { crc32c, maxReadBytes: 99, maxDecompressedBytes: 9_999 });
  await assert.rejects(all(journal), /gave nothing newer/);
  assert.equal([...batchSpans(again)].length, 1);
});
