// Owns the proof that nothing of the audit log can be changed unnoticed: not a byte, not an entry, not its end.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { auditBatch, readAuditBatch } from "../actors/audit/audit_batch.ts";
import { hashOf } from "../actors/audit/chain.ts";
import type { AuditEntry } from "../actors/audit/types.ts";
import { entryLines } from "../api/audit/entry_lines.ts";
import type { LocalBroker } from "../actors/local_broker.ts";
import {
  baseOffsetAt,
  batchSpans,
  leaderEpochAt,
  setBaseOffset,
  setLeaderEpoch,
  sizeBytesAt,
} from "../storage/format/record_batch.ts";
import { putGuard, takeGuard } from "../storage/file_log/guard_byte.ts";
import { type AuditScene, auditScene, makeChanges } from "./support/audit_scene.ts";

const CRC_AT = 17;
const CRC_FROM = 21;

/** A broker with a short log, and the file that holds it. */
async function written(changes: number) {
  const scene = auditScene();
  const broker = await scene.open();
  await makeChanges(broker, changes);
  return {
    scene,
    broker,
    path: scene.segment(broker),
    bytes: scene.disk.contents(scene.segment(broker)),
  };
}

interface Stored {
  readonly from: number;
  readonly to: number;
  readonly entries: readonly AuditEntry[];
}

/** Places and entries of every batch of the file, which is guarded as on disk. */
function batchesOf(bytes: Uint8Array): Stored[] {
  const plain = unguarded(bytes);
  return [...batchSpans(plain)].map(({ at }) => ({
    from: at,
    to: at + sizeBytesAt(plain, at),
    entries: readAuditBatch(plain, at, crc32c).entries,
  }));
}

function unguarded(bytes: Uint8Array): Uint8Array {
  const plain = bytes.slice();
  for (let at = 0; at < plain.length; at += sizeBytesAt(plain, at)) takeGuard(plain, at);
  return plain;
}

/** The batches one after the other, numbered and guarded as the log does it, with right checksums. */
function fileOf(batches: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(batches.reduce((sum, batch) => sum + batch.length, 0));
  let [at, offset] = [0, 0];
  for (const batch of batches) {
    bytes.set(batch, at);
    setBaseOffset(bytes, at, offset);
    mendChecksum(bytes, at);
    putGuard(bytes, at, { marked: true });
    offset += readAuditBatch(unguardedBatch(batch), 0, crc32c).nextOffset -
      baseOffsetAt(unguardedBatch(batch), 0);
    at += batch.length;
  }
  return bytes;
}

function unguardedBatch(batch: Uint8Array): Uint8Array {
  const plain = batch.slice();
  takeGuard(plain, 0);
  return plain;
}

function mendChecksum(bytes: Uint8Array, at: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setUint32(at + CRC_AT, crc32c(bytes.subarray(at + CRC_FROM, at + sizeBytesAt(bytes, at))));
}

async function verifiedWith(
  { scene, broker, path }: { scene: AuditScene; broker: LocalBroker; path: string },
  bytes: Uint8Array,
) {
  scene.disk.overwrite(path, () => bytes);
  return await broker.audit.verify();
}

/** Ends the broker and damages the fourth entry behind its back. */
async function damageFourth(log: Awaited<ReturnType<typeof written>>): Promise<void> {
  const { from } = batchesOf(log.bytes)[3]!;
  await log.broker.close();
  log.scene.disk.overwrite(log.path, (bytes) => {
    bytes[from + 100]! ^= 1;
    return bytes;
  });
}

Deno.test("a change of any byte of the audit log is found, in the entry that it is in", async () => {
  const log = await written(3);
  const stored = batchesOf(log.bytes);
  assert.equal(stored.length, 6);
  for (let at = 0; at < log.bytes.length; at++) {
    const tampered = log.bytes.slice();
    tampered[at]! ^= 1 << (at % 8);
    const { intact, firstFault } = await verifiedWith(log, tampered);
    const batch = stored.findIndex(({ to }) => at < to);
    assert.equal(intact, false, `byte ${at}`);
    assert.equal(firstFault?.sequence, batch + 1, `byte ${at}: ${firstFault?.reason}`);
  }
  assert.equal((await verifiedWith(log, log.bytes)).intact, true);
  await log.broker.close();
});

Deno.test("a change of any byte is found although the checksum of its batch was mended", async () => {
  const log = await written(3);
  const stored = batchesOf(log.bytes);
  for (const [index, { from, to }] of stored.entries()) {
    for (let at = from + CRC_FROM; at < to; at++) {
      const tampered = log.bytes.slice();
      tampered[at]! ^= 1 << (at % 8);
      mendChecksum(tampered, from);
      const { intact, firstFault } = await verifiedWith(log, tampered);
      assert.equal(intact, false, `byte ${at}`);
      assert.equal(firstFault?.sequence, index + 1, `byte ${at}: ${firstFault?.reason}`);
    }
  }
  await log.broker.close();
});

Deno.test("what is damaged hides no other entry from a query, and is counted", async () => {
  // So many that a start after a clean end does not read as far back.
  const log = await written(20);
  await damageFourth(log);
  const again = await log.scene.open();
  const expected = Array.from({ length: 40 }, (_, at) => at + 1).filter((one) => one !== 4);
  for (const order of ["oldest", "newest"] as const) {
    const { entries, unreadable } = await again.audit.query({ order, at: null, limit: 100 });
    const found = entries.map(({ sequence }) => sequence).sort((a, b) => a - b);
    assert.deepEqual([found, unreadable], [expected, 1]);
  }
  await makeChanges(again, 1);
  assert.equal((await again.audit.verify()).firstFault?.sequence, 4);
  await again.close();
});

Deno.test("behind a fault the others are found too, and those that are known can be left out", async () => {
  const log = await written(20);
  const stored = batchesOf(log.bytes);
  await log.broker.close();
  const sequences = async (broker: LocalBroker, from?: number) => {
    const { intact, faults = [], faultCount = 0 } = await broker.audit.verify(undefined, from);
    assert.deepEqual([intact, faultCount], [faults.length === 0, faults.length]);
    return faults.map(({ sequence }) => sequence);
  };
  log.scene.disk.overwrite(log.path, (bytes) => {
    for (const index of [3, 4, 20]) bytes[stored[index]!.from + 100]! ^= 1;
    // One that is read, and says something else.
    bytes[stored[11]!.to - 70]! ^= 1;
    mendChecksum(bytes, stored[11]!.from);
    return bytes;
  });
  const again = await log.scene.open();
  assert.deepEqual(await sequences(again), [4, 12, 21]);
  assert.deepEqual((await again.audit.verify()).firstFault?.upTo, 5);
  assert.deepEqual(await sequences(again, 5), [4, 12, 21]);
  assert.deepEqual(await sequences(again, 6), [12, 21]);
  assert.deepEqual(await sequences(again, 13), [21]);
  assert.deepEqual(await sequences(again, 22), []);
  await again.close();
});

Deno.test("in a log that was begun anew a later change is found beside what is missing", async () => {
  const log = await written(4);
  await log.broker.close();
  await log.scene.disk.session().removeTree(log.path.split("/").slice(0, 2).join("/"));
  const fresh = await log.scene.open();
  await makeChanges(fresh, 3);
  const { faults, head } = await fresh.audit.verify();
  assert.deepEqual(faults?.map(({ sequence, upTo }) => [sequence, upTo]), [[1, 8]]);
  assert.equal((await fresh.audit.verify(undefined, 9)).intact, true);
  const path = log.scene.segment(fresh);
  const { from } = batchesOf(log.scene.disk.contents(path))[3]!;
  log.scene.disk.overwrite(path, (bytes) => {
    bytes[from + 100]! ^= 1;
    return bytes;
  });
  const later = await fresh.audit.verify(undefined, 9);
  assert.deepEqual([later.intact, later.faultCount], [false, 1]);
  assert.ok(later.firstFault!.sequence > 9 && later.firstFault!.sequence < head.sequence);
  await fresh.close();
});

Deno.test("a start says that it is the audit log in whose middle something is damaged", async () => {
  const log = await written(20);
  await damageFourth(log);
  const before = log.scene.reports.length;
  const again = await log.scene.open();
  const said = log.scene.reports.slice(before);
  assert.equal(said.length, 1);
  assert.match(said[0]!, /^__audit\/0 .* corrupt$/);
  await again.close();
});

Deno.test("an export has a line where entries cannot be read, in either order", async () => {
  const log = await written(20);
  await damageFourth(log);
  const again = await log.scene.open();
  for (const order of ["oldest", "newest"] as const) {
    const pageFrom = (at: number | null) => again.audit.query({ order, at, limit: 10 });
    const lines = entryLines({
      first: await pageFrom(null),
      limit: null,
      pageFrom,
      yieldToEventLoop: () => Promise.resolve(),
      onError: assert.ifError,
    });
    const parsed = (await new Response(lines).text()).trimEnd().split("\n")
      .map((line) => JSON.parse(line));
    const gaps = parsed.filter((line) => line.sequence === undefined);
    assert.deepEqual(gaps, [{ see: "/api/audit:verify", unreadable: 1 }]);
    assert.equal(parsed.length, 40);
  }
  await again.close();
});

Deno.test("a log that is damaged at its end takes no entry; moved away, the chain goes on and what is missing is told", async () => {
  const log = await written(4);
  await log.broker.close();
  log.scene.disk.overwrite(log.path, (bytes) => {
    bytes[bytes.length - 10]! ^= 1;
    return bytes;
  });
  const damaged = await log.scene.open();
  await assert.rejects(makeChanges(damaged, 1), { code: "AUDIT_UNAVAILABLE" });
  assert.equal((await damaged.audit.verify()).firstFault?.sequence, 8);
  await damaged.close();
  await log.scene.disk.session().removeTree(log.path.split("/").slice(0, 2).join("/"));
  const fresh = await log.scene.open();
  await makeChanges(fresh, 1);
  const { intact, firstFault, head } = await fresh.audit.verify();
  assert.deepEqual([intact, firstFault?.sequence], [false, 1]);
  assert.ok(head.sequence > 9);
  await fresh.close();
});

Deno.test("a changed leader epoch with a guard that fits it is found", async () => {
  const log = await written(2);
  for (const [index, { from }] of batchesOf(log.bytes).entries()) {
    const tampered = log.bytes.slice();
    setLeaderEpoch(tampered, from, leaderEpochAt(tampered, from) + 1);
    putGuard(tampered, from, { marked: true });
    const { intact, firstFault } = await verifiedWith(log, tampered);
    assert.equal(intact, false);
    assert.ok(firstFault!.sequence <= index + 2);
  }
  await log.broker.close();
});

Deno.test("a removed, a doubled and a moved entry are found, with everything else mended", async () => {
  const log = await written(4);
  const batches = batchesOf(log.bytes).map(({ from, to }) => log.bytes.slice(from, to));
  const without = (index: number) => batches.filter((_, at) => at !== index);
  const cases: [string, Uint8Array[], number][] = [
    ["the first one is gone", without(0), 1],
    ["one in the middle is gone", without(3), 4],
    ["the last one is gone", without(7), 8],
    ["the last three are gone", batches.slice(0, 5), 6],
    ["all are gone", [], 1],
    ["one is there twice", [...batches.slice(0, 3), batches[2]!, ...batches.slice(3)], 3],
    ["two have changed places", [batches[0]!, batches[2]!, batches[1]!, ...batches.slice(3)], 2],
  ];
  for (const [name, kept, sequence] of cases) {
    const { intact, firstFault } = await verifiedWith(log, fileOf(kept));
    assert.equal(intact, false, name);
    assert.equal(firstFault?.sequence, sequence, `${name}: ${firstFault?.reason}`);
  }
  await log.broker.close();
});

/** What someone can write who knows how entries are made: all of the chain from `index` on, in order with itself. */
function forged(bytes: Uint8Array, index: number, count = Infinity): Uint8Array {
  const entries = batchesOf(bytes).flatMap((batch) => batch.entries);
  let previous = entries[index - 1]?.hash ?? "0".repeat(64);
  return fileOf(entries.map((entry, at) => {
    if (at < index || at >= index + count) return batchFor(entry);
    const { hash: _, ...changed } = { ...entry, previousHash: previous };
    const lie = at === index ? { ...changed, actor: "mallory" } : changed;
    previous = hashOf(lie);
    return batchFor({ ...lie, hash: previous });
  }));
}

function batchFor(entry: AuditEntry): Uint8Array {
  const batch = auditBatch([entry], crc32c);
  setLeaderEpoch(batch, 0, entry.leaderEpoch);
  return batch;
}

Deno.test("an entry that was written again with a hash that fits it is found by the entry after it", async () => {
  const log = await written(4);
  const { intact, firstFault } = await verifiedWith(log, forged(log.bytes, 3, 1));
  assert.equal(intact, false);
  assert.equal(firstFault?.sequence, 5);
  await log.broker.close();
});

Deno.test("a chain that was written again to its end is found by the head, and by a head kept elsewhere", async () => {
  const log = await written(4);
  const head = await log.broker.audit.head();
  const forgery = forged(log.bytes, 3);
  const { intact, firstFault } = await verifiedWith(log, forgery);
  assert.equal(intact, false);
  assert.equal(firstFault?.sequence, 8);
  await log.broker.close();
  // The store's head is forged as well.
  const [last] = batchesOf(forgery).at(-1)!.entries;
  const key = ["audit", "head"];
  const kept = await log.scene.metadata.get(key);
  const value = { ...kept!.value as object, hash: last!.hash };
  await log.scene.metadata.commit({ checks: [], sets: [{ key, value }] });
  const again = await log.scene.open();
  assert.equal((await again.audit.verify()).intact, true);
  assert.equal((await again.audit.verify(head)).firstFault?.sequence, 8);
  assert.equal((await again.audit.verify({ sequence: 9, hash: head.hash })).intact, false);
  await again.close();
});

Deno.test("what was cut off or changed while the broker was down is found, also after it has gone on", async () => {
  for (
    const edit of [
      (bytes: Uint8Array) => bytes.slice(0, batchesOf(bytes)[4]!.from),
      (bytes: Uint8Array) => forged(bytes, 3),
      (bytes: Uint8Array) => forged(bytes, 7),
      () => new Uint8Array(0),
    ]
  ) {
    const { scene, broker, path, bytes } = await written(4);
    scene.disk.killProcess();
    scene.disk.overwrite(path, () => edit(bytes));
    let again = await scene.open();
    if ((await again.audit.head()).sequence > 8) await makeChanges(again, 2);
    const found = await again.audit.verify();
    assert.equal(found.intact, false);
    await again.close();
    again = await scene.open();
    const later = await again.audit.verify();
    assert.equal(later.intact, false);
    assert.deepEqual(later.firstFault, found.firstFault);
    await again.close();
    await broker.close().catch(() => undefined);
  }
});

Deno.test("the log of a fresh topic in the place of the old one is found", async () => {
  const { scene, broker } = await written(2);
  await broker.close();
  const [topic] = (await scene.metadata.list(["topics"])).filter(({ value }) =>
    JSON.stringify(value).includes('"__audit"')
  );
  await scene.metadata.commit({ checks: [], deletes: [topic!.key] });
  const again = await scene.open();
  await makeChanges(again, 1);
  const { intact, firstFault } = await again.audit.verify();
  assert.equal(intact, false);
  assert.equal(firstFault?.sequence, 1);
  await again.close();
});
