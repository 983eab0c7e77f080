// Owns what an encrypted log promises beyond every log: what lies on disk and in the archive, what happens when it is
// tampered with, and which keys cover it as it grows, is cut, compacted and dropped.
// Refuses to own keys that are wrong, lost or changed (encryption_key_ring_test.ts).
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { SEAL_BYTES } from "../storage/encryption/sealed_batch.ts";
import { SealedSnapshots } from "../storage/encryption/sealed_snapshots.ts";
import type { FileLog } from "../storage/file_log/file_log.ts";
import { putGuard } from "../storage/file_log/guard_byte.ts";
import { stampCrc } from "../storage/format/record_batch.ts";
import type { Log } from "../storage/log.ts";
import { MemorySnapshotStore } from "../storage/memory/memory_snapshots.ts";
import { readAll } from "./contracts/log_fixture.ts";
import { ArchivedMachine } from "./support/archived_machine.ts";
import { appendKeyed, compaction, outlineOf } from "./support/keyed_log.ts";
import {
  appendEach,
  FIRST_SEGMENT,
  LOG,
  masterKeys,
  masterKeyText,
  nextBatch,
  SimulatedMachine,
} from "./support/simulated_logs.ts";
import { settle } from "./support/virtual_time.ts";
import {
  assertHidden,
  assertKeysCover,
  BATCH_BYTES,
  code,
  ENCRYPTED,
  keyCount,
  retention,
  RING,
  SMALL,
} from "./support/encrypted_logs.ts";

Deno.test("an encrypted log gives back what was appended, from disk and from the tail cache, and no file shows it", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open(SMALL, { tailCacheBytes: 400 });
  const batches = await appendEach(log, 12);
  assert.deepEqual(await readAll(log), batches);
  assert.equal(await log.offsetForTimestamp(1_006), 6);
  await log.close();
  const again = await machine.open(SMALL);
  assert.deepEqual(await readAll(again), batches);
  assert.equal(await again.offsetForTimestamp(1_009), 10);
  await again.close();
  const segments = machine.disk.paths(LOG).filter((path) => path.endsWith(".log"));
  assert.equal(segments.length, 4);
  assert.equal(machine.disk.contents(FIRST_SEGMENT).length, 3 * (batches[0]!.length + SEAL_BYTES));
  for (const path of machine.disk.paths(LOG)) assertHidden(machine.disk.contents(path), batches);
  assert.equal(keyCount(machine), 4, "a data key a segment");
});

Deno.test("a log without encryption has no keys and stores batches as they are", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open({}, { masterKeys: null });
  const [batch] = await appendEach(log, 1);
  await log.close();
  assert.deepEqual(machine.disk.contents(FIRST_SEGMENT).subarray(1), batch!.subarray(1));
  assert.ok(!machine.disk.paths(LOG).includes(RING));
});

Deno.test("a stored batch that was changed, with its CRC put right, is found, and what lies before it is served", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open(ENCRYPTED);
  const batches = await appendEach(log, 4);
  await log.close();
  const storedBytes = batches[0]!.length + SEAL_BYTES;
  for (const inBatch of [30, 44, 61, 70, 80, storedBytes - 1]) {
    const twin = new SimulatedMachine({ disk: machine.disk.clone() });
    twin.disk.overwrite(FIRST_SEGMENT, (bytes) => {
      const at = 2 * storedBytes;
      bytes[at + inBatch]! ^= 4;
      stampCrc(bytes, at, crc32c);
      return bytes;
    });
    const opened = await twin.open(ENCRYPTED);
    const read = await opened.read(0, { endOffset: 8, maxBytes: 1e6 });
    assert.deepEqual(read, Uint8Array.from([...batches[0]!, ...batches[1]!]), `byte ${inBatch}`);
    await assert.rejects(opened.read(4, { endOffset: 8, maxBytes: 1e6 }), code("CORRUPT_LOG"));
    await assert.rejects(opened.offsetForTimestamp(1_004), code("CORRUPT_LOG"));
    assert.deepEqual(await opened.read(6, { endOffset: 8, maxBytes: 1e6 }), batches[3]);
    await opened.close();
  }
});

Deno.test("a batch in clear, or of another log, in the place of an encrypted one is refused", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open(ENCRYPTED);
  await appendEach(log, 1);
  await log.close();
  const forged = nextBatch({ logEndOffset: 0 }, { valueBytes: 20 + SEAL_BYTES });
  const other = new SimulatedMachine();
  const stranger = await other.open(ENCRYPTED);
  await appendEach(stranger, 1);
  await stranger.close();
  putGuard(forged, 0, { marked: true });
  for (const bytes of [forged, other.disk.contents(FIRST_SEGMENT)]) {
    const twin = new SimulatedMachine({ disk: machine.disk.clone() });
    twin.disk.overwrite(FIRST_SEGMENT, () => bytes.slice());
    const opened = await twin.open(ENCRYPTED);
    await assert.rejects(opened.read(0, { endOffset: 2, maxBytes: 1e6 }), code("CORRUPT_LOG"));
  }
});

Deno.test("keys of what retention has dropped are forgotten, and those of what the archive holds are kept as long as it does", async () => {
  const at = new ArchivedMachine();
  const log = await at.open(SMALL);
  const batches = await appendEach(log, 12);
  const archive = { retentionMs: null };
  await log.applyRetention(retention({ archive }));
  assert.equal(keyCount(at.machine), 4);
  assert.equal(at.machine.disk.paths(LOG).filter((path) => path.endsWith(".log")).length, 1);
  assert.ok(at.archive.objects.size > 2);
  for (const object of at.archive.objects.values()) assertHidden(object, batches);
  assert.deepEqual(await readAll(log), batches);
  assert.equal(await log.offsetForTimestamp(1_007), 8);
  await log.close();
  const again = await at.open(SMALL);
  assert.deepEqual(await readAll(again), batches);
  await again.applyRetention(retention({ archive: { retentionMs: 0 } }));
  assert.deepEqual([again.logStartOffset, keyCount(at.machine)], [18, 1]);
  assert.deepEqual(await readAll(again), batches.slice(9));
});

Deno.test("an archived object that was changed, with every checksum put right, is found", async () => {
  const at = new ArchivedMachine({ maxObjectBytes: 10_000 });
  const log = await at.open(SMALL);
  const batches = await appendEach(log, 4);
  await log.applyRetention(retention({ archive: { retentionMs: null } }));
  const opened = log as Log & Required<Pick<Log, "openStored">>;
  assert.equal(opened.openStored, undefined, "an archived log hands out what was appended only");
  const [[key, object]] = [...at.archive.objects] as [[string, Uint8Array]];
  const changed = object.slice();
  changed[BATCH_BYTES + 90]! ^= 1;
  stampCrc(changed, BATCH_BYTES, crc32c);
  const crc = crc32c(changed).toString(16).padStart(8, "0");
  at.archive.objects.clear();
  at.archive.objects.set(key.replace(/[0-9a-f]{8}\.batches$/, `${crc}.batches`), changed);
  await log.close();
  await at.machine.disk.session().remove(`${LOG}/archive.index`);
  const again = await at.open(SMALL);
  assert.deepEqual(await again.read(0, { endOffset: 6, maxBytes: 1e6 }), batches[0]);
  await assert.rejects(again.read(2, { endOffset: 6, maxBytes: 1e6 }), code("CORRUPT_LOG"));
});

Deno.test("a compacted log is sealed with keys of its own, and those of what it replaced are forgotten", async () => {
  const at = new ArchivedMachine();
  const log = await at.open({ ...ENCRYPTED, segmentBytes: 600 });
  for (let count = 0; count < 40; count++) await appendKeyed(log, [`k${count % 3}`]);
  await settle();
  const before = keyCount(at.machine);
  await log.compact!(compaction({ now: 40_000 }));
  assert.ok(
    before > 5 && keyCount(at.machine) <= 3,
    `${before} keys, ${keyCount(at.machine)} left`,
  );
  const outline = await outlineOf(log);
  for (let count = 0; count < 20; count++) await appendKeyed(log, [`k${count % 3}`]);
  await settle();
  await log.compact!(compaction({ now: 80_000 }));
  assert.ok(keyCount(at.machine) <= 4);
  await log.compact!(compaction({ now: 90_000 }));
  await log.close();
  const again = await at.open(ENCRYPTED);
  assert.ok((await outlineOf(again)).length <= outline.length + 20);
  assert.equal((await again.compact!(compaction({ now: 95_000 }))).removedRecords, 0);
});

Deno.test("a log that was cut goes on under a key that covers what follows", async () => {
  const machine = new SimulatedMachine();
  const log: FileLog = await machine.open(SMALL);
  const batches = await appendEach(log, 8);
  await log.truncateTo(8);
  const kept = batches.slice(0, 4);
  kept.push(...await appendEach(log, 5));
  assert.deepEqual(await readAll(log), kept);
  await log.forgetKeys({ startOffset: 0, archivedTo: 0 });
  machine.disk.crash("drop");
  const again = await machine.open(SMALL);
  assert.deepEqual([again.fault, await readAll(again)], [null, kept]);
  kept.push(...await appendEach(again, 3));
  assert.deepEqual(await readAll(again), kept);
  assertKeysCover(machine);
});

Deno.test("a log that was cut twice within a segment seals nothing with a key that does not cover it", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open(SMALL);
  await appendEach(log, 4);
  await log.truncateTo(4);
  await appendEach(log, 1);
  await log.truncateTo(2);
  await appendEach(log, 4);
  assertKeysCover(machine);
});

Deno.test("a compaction that finds nothing to take away leaves no key behind", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open({ ...ENCRYPTED, segmentBytes: 400 });
  for (let count = 0; count < 12; count++) await appendKeyed(log, [`k${count}`, `l${count}`]);
  await settle();
  const before = keyCount(machine);
  assert.equal((await log.compact(compaction({ now: 40_000 }))).removedRecords, 0);
  assert.equal(keyCount(machine), before);
  assertKeysCover(machine);
});

Deno.test("snapshots of encrypted topics hold nothing in clear, open under their own name only, and without the key are none", async () => {
  const inner = new MemorySnapshotStore();
  const sealed = new SealedSnapshots(inner, masterKeys());
  const bytes = new TextEncoder().encode("who committed what, in clear");
  const snapshot = { version: 3, nextOffset: 17, bytes };
  await sealed.save("groups/0", snapshot);
  assert.deepEqual(await sealed.load("groups/0"), snapshot);
  const stored = (await inner.load("groups/0"))!;
  assert.ok(!new TextDecoder().decode(stored.bytes).includes("committed"));
  await inner.save("groups/1", stored);
  assert.equal(await sealed.load("groups/1"), null);
  await inner.save("groups/0", { ...stored, nextOffset: 18 });
  assert.equal(await sealed.load("groups/0"), null);
  const others = new SealedSnapshots(inner, masterKeys(masterKeyText(8)));
  await sealed.save("groups/0", snapshot);
  assert.equal(await others.load("groups/0"), null);
  await inner.save("plain", snapshot);
  assert.deepEqual(await sealed.load("plain"), snapshot);
});
