// Owns what an encrypted log promises beyond every log: what lies on disk and in the archive, its keys, and what happens
// when they are wrong, lost, changed or tampered with.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { BrokerError, type ErrorCode } from "../storage/broker_error.ts";
import { KEY_RING_FILE, KeyRing } from "../storage/encryption/key_ring.ts";
import type { MasterKeys } from "../storage/encryption/master_keys.ts";
import { decodeRing, type RingEntry } from "../storage/encryption/ring_file.ts";
import { keyIdAt, SEAL_BYTES } from "../storage/encryption/sealed_batch.ts";
import { SealedSnapshots } from "../storage/encryption/sealed_snapshots.ts";
import type { FileLog } from "../storage/file_log/file_log.ts";
import type { FileLogStore } from "../storage/file_log/file_log_store.ts";
import { putGuard, storedBaseOffset } from "../storage/file_log/guard_byte.ts";
import { batchSpans, stampCrc } from "../storage/format/record_batch.ts";
import type { Log, LogConfig, RetentionPolicy } from "../storage/log.ts";
import { DiskFullError } from "../storage/ports.ts";
import { MemorySnapshotStore } from "../storage/memory/memory_snapshots.ts";
import { readAll } from "./contracts/log_fixture.ts";
import { ArchivedMachine } from "./support/archived_machine.ts";
import { appendKeyed, compaction, outlineOf } from "./support/keyed_log.ts";
import { UNLIMITED_BYTES } from "./support/simulated_disk.ts";
import {
  appendEach,
  CONFIG,
  FIRST_SEGMENT,
  LOG,
  masterKeys,
  masterKeyText,
  nextBatch,
  segmentFile,
  SimulatedMachine,
} from "./support/simulated_logs.ts";
import { settle } from "./support/virtual_time.ts";

const ENCRYPTED: Partial<LogConfig> = { encryption: "aes-256-gcm" };
/** Three batches of a filled log fit into a segment. */
const BATCH_BYTES = 151;
const SMALL: Partial<LogConfig> = { ...ENCRYPTED, segmentBytes: 3 * BATCH_BYTES };
const RING = `${LOG}/${KEY_RING_FILE}`;

function code(expected: ErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof BrokerError && error.code === expected;
}

/** Every file of the log, as readers see it. */
function filesOf(machine: SimulatedMachine): Map<string, string> {
  const { disk } = machine;
  return new Map(disk.paths(LOG).map((path) => [path, [...disk.contents(path)].join()]));
}

function assertHidden(bytes: Uint8Array, batches: readonly Uint8Array[]): void {
  const text = [...bytes].join();
  for (const batch of batches) {
    assert.ok(!text.includes([...batch.subarray(-21, -1)].join()), "a value lies there in clear");
  }
}

function keysOf(machine: SimulatedMachine): readonly RingEntry[] {
  return decodeRing(machine.disk.contents(RING), crc32c)!;
}

function keyCount(machine: SimulatedMachine): number {
  return keysOf(machine).length;
}

/** Whoever forgets keys goes by the offsets that they say they cover. */
function assertKeysCover(machine: SimulatedMachine): void {
  const keys = new Map(keysOf(machine).map((entry) => [entry.keyId, entry]));
  for (const path of machine.disk.paths(LOG).filter((path) => path.endsWith(".log"))) {
    const bytes = machine.disk.contents(path);
    for (const { at } of batchSpans(bytes)) {
      const offset = storedBaseOffset(bytes, at);
      const { baseOffset, endOffset } = keys.get(keyIdAt(bytes, at)!)!;
      assert.ok(baseOffset <= offset && offset < (endOffset ?? Infinity), `offset ${offset}`);
    }
  }
}

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

Deno.test("a data key is durable before the first byte that needs it is written", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open(SMALL);
  await appendEach(log, 4);
  const { calls } = machine.disk;
  const writes = [FIRST_SEGMENT, segmentFile(6)].map((path) => calls.indexOf(`write ${path}`));
  const rings = calls.flatMap((call, at) => call === `rename ${RING}.tmp` ? [at] : []);
  assert.equal(rings.length, 2);
  for (const [index, ring] of rings.entries()) {
    assert.ok(calls.lastIndexOf(`sync ${RING}.tmp`, ring) >= 0);
    const durable = calls.indexOf(`syncDirectory ${LOG}`, ring);
    assert.ok(durable > ring && durable < writes[index]!);
  }
});

Deno.test("a disk without room for a data key refuses the append with DISK_FULL, keeps nothing of it, and goes on when there is", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open(SMALL);
  const batches = await appendEach(log, 3);
  machine.disk.capacityBytes = 0;
  await assert.rejects(log.append([nextBatch(log)]), code("DISK_FULL"));
  assert.deepEqual(await readAll(log), batches);
  machine.disk.capacityBytes = UNLIMITED_BYTES;
  // The segment can be begun, its key cannot be kept.
  machine.disk.failOnce("write", /encryption\.keys/, new DiskFullError("ENOSPC"));
  await assert.rejects(log.append([nextBatch(log)]), code("DISK_FULL"));
  assert.deepEqual(await readAll(log), batches);
  batches.push(...await appendEach(log, 2));
  machine.disk.crash("drop");
  assert.deepEqual(await readAll(await machine.open(SMALL)), batches);
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

Deno.test("with a wrong key or none a log is not opened, and not a byte of it is changed; with the right one all is there", async () => {
  const machine = new SimulatedMachine();
  const log = await machine.open(SMALL);
  const batches = await appendEach(log, 5);
  await settle();
  machine.disk.killProcess();
  // Something that recovery would cut, and something that it would remove.
  machine.disk.overwrite(segmentFile(6), (bytes) => Uint8Array.from([...bytes, 1, 2, 3]));
  await (await machine.disk.session().open(`${LOG}/left.tmp`, { create: true })).close();
  const before = filesOf(machine);
  for (const keys of [null, masterKeys(masterKeyText(9))]) {
    const store = machine.store({ masterKeys: keys });
    const opening = store.open(LOG, { ...CONFIG, ...SMALL });
    await assert.rejects(opening, code("ENCRYPTION_KEY_UNAVAILABLE"));
    assert.deepEqual(filesOf(machine), before);
    // The store can be asked again.
    await assert.rejects(
      store.open(LOG, { ...CONFIG, ...SMALL }),
      code("ENCRYPTION_KEY_UNAVAILABLE"),
    );
  }
  const again = await machine.open(SMALL);
  assert.deepEqual([again.fault, await readAll(again)], [null, batches]);
});

Deno.test("a log whose file of keys is missing or damaged is not opened and not changed, unless it is empty", async () => {
  for (const damage of ["missing", "damaged"]) {
    const machine = new SimulatedMachine();
    const log = await machine.open(ENCRYPTED);
    await appendEach(log, 2);
    await log.close();
    if (damage === "missing") await machine.disk.session().remove(RING);
    else machine.disk.overwrite(RING, (bytes) => bytes.fill(1, 40, 41));
    const before = filesOf(machine);
    await assert.rejects(machine.open(ENCRYPTED), (error) => {
      assert.ok(error instanceof BrokerError && error.code === "CORRUPT_LOG");
      assert.match(error.message, new RegExp(`data keys is ${damage}`));
      return true;
    });
    assert.deepEqual(filesOf(machine), before);
  }
  const machine = new SimulatedMachine();
  await (await machine.open(ENCRYPTED)).close();
  const empty = await machine.open(ENCRYPTED);
  assert.equal((await appendEach(empty, 1)).length, 1);
});

async function rewrapped(store: FileLogStore): Promise<number> {
  let count = 0;
  for (const log of store.encryptedLogs()) if (await log.rewrap()) count++;
  return count;
}

Deno.test("a new master key wraps the data keys anew and touches no segment; then the old one is not needed", async () => {
  const machine = new SimulatedMachine();
  const keys: MasterKeys = masterKeys(masterKeyText(1));
  const store = machine.store({ masterKeys: keys });
  const log = await store.open(LOG, { ...CONFIG, ...SMALL });
  const batches = await appendEach(log, 7);
  await settle();
  const segments = () => [...filesOf(machine)].filter(([path]) => path.endsWith(".log"));
  const before = segments();
  assert.equal(await rewrapped(store), 0, "nothing to do");
  assert.equal(keys.replace(`${masterKeyText(2)}\n${masterKeyText(1)}`), true);
  assert.equal(await rewrapped(store), 1);
  assert.equal(await rewrapped(store), 0);
  assert.deepEqual(segments(), before);
  batches.push(...await appendEach(log, 3));
  assert.deepEqual(await readAll(log), batches);
  machine.disk.crash("drop");
  const old = machine.store({ masterKeys: masterKeys(masterKeyText(1)) });
  await assert.rejects(
    old.open(LOG, { ...CONFIG, ...SMALL }),
    code("ENCRYPTION_KEY_UNAVAILABLE"),
  );
  const fresh = machine.store({ masterKeys: masterKeys(masterKeyText(2)) });
  const again = await fresh.open(LOG, { ...CONFIG, ...SMALL });
  assert.deepEqual(await readAll(again), batches);
});

Deno.test("a crash at any step of wrapping anew leaves keys that open with the old or the new master key", async () => {
  const both = `${masterKeyText(2)}\n${masterKeyText(1)}`;
  for (const fate of ["keep", "drop", "random"] as const) {
    for (let step = 1; step < 100; step++) {
      const machine = new SimulatedMachine({ seed: step });
      const keys = masterKeys(masterKeyText(1));
      const store = machine.store({ masterKeys: keys });
      const log = await store.open(LOG, { ...CONFIG, ...SMALL });
      const batches = await appendEach(log, 5);
      await settle();
      keys.replace(both);
      machine.disk.crashAtChange = machine.disk.changes + step;
      await rewrapped(store).catch(() => undefined);
      const crashed = machine.disk.isOff;
      machine.disk.crash(fate);
      const after = machine.store({ masterKeys: masterKeys(both) });
      const again = await after.open(LOG, { ...CONFIG, ...SMALL });
      assert.deepEqual([again.fault, await readAll(again)], [null, batches]);
      await rewrapped(after);
      await again.close();
      const fresh = machine.store({ masterKeys: masterKeys(masterKeyText(2)) });
      assert.deepEqual(await readAll(await fresh.open(LOG, { ...CONFIG, ...SMALL })), batches);
      if (!crashed) break;
    }
  }
});

Deno.test("a master key that is taken away while its log is open keeps data keys from being used that were not yet", async () => {
  const machine = new SimulatedMachine();
  await (await machine.open(SMALL).then(async (log) => (await appendEach(log, 4), log))).close();
  const keys = masterKeys();
  const log = await machine.store({ masterKeys: keys }).open(LOG, { ...CONFIG, ...SMALL });
  keys.replace(masterKeyText(3));
  await assert.rejects(
    log.read(0, { endOffset: 8, maxBytes: 1e6 }),
    code("ENCRYPTION_KEY_UNAVAILABLE"),
  );
  await assert.rejects(log.append([nextBatch(log)]), code("ENCRYPTION_KEY_UNAVAILABLE"));
  keys.replace(masterKeyText(7));
  assert.equal((await log.read(0, { endOffset: 2, maxBytes: 1 })).length > 0, true);
});

function retention(change: Partial<RetentionPolicy> = {}): RetentionPolicy {
  return { now: 1e6, retentionMs: 0, retentionBytes: null, keepFrom: 1e9, ...change };
}

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

Deno.test("with as many keys as a ring may have, the newest serves on", async () => {
  const machine = new SimulatedMachine();
  await machine.disk.makeDirectory(LOG);
  const access = { disk: machine.disk, crc32c, masterKeys: masterKeys(), maxDataKeys: 3 };
  const ring = KeyRing.empty(access, LOG);
  for (let base = 0; base < 60; base += 10) await ring.atEnd(base, base);
  assert.equal(ring.keyCount, 3);
  assert.equal((await ring.atEnd(70, 70)).keyId, 3);
  await ring.forget({ startOffset: 20, archivedTo: 0 });
  assert.equal(ring.keyCount, 1);
  assert.equal((await ring.atEnd(80, 80)).keyId, 4);
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
