// Owns what the keys of an encrypted log promise: written before they are used, wrapped anew, wrong, lost, taken away.
// Refuses to own what lies in its segments and archive (encryption_log_test.ts).
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { BrokerError } from "../storage/broker_error.ts";
import { KeyRing } from "../storage/encryption/key_ring.ts";
import type { MasterKeys } from "../storage/encryption/master_keys.ts";
import { DiskFullError } from "../storage/ports.ts";
import { readAll } from "./contracts/log_fixture.ts";
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
import { code, ENCRYPTED, filesOf, rewrapped, RING, SMALL } from "./support/encrypted_logs.ts";

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
