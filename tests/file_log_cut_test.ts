// Owns what cutting a log back leaves behind when something else went wrong before, or goes wrong after it.
import assert from "node:assert/strict";
import { LogWitness } from "./support/log_witness.ts";
import { DiskFullError } from "../storage/ports.ts";
import { appendEach, nextBatch, SimulatedMachine } from "./support/simulated_logs.ts";
import { settle } from "./support/virtual_time.ts";

interface Scene {
  readonly machine: SimulatedMachine;
  readonly witness: LogWitness;
}

async function scene(durability: "fsync" | "os" = "fsync"): Promise<Scene> {
  const machine = new SimulatedMachine();
  const witness = new LogWitness();
  await witness.attach(await machine.open({ durability, segmentBytes: 400 }));
  return { machine, witness };
}

async function reopen({ machine, witness }: Scene): Promise<void> {
  const log = await machine.open({ segmentBytes: 400 });
  assert.equal(log.fault, null, String(log.fault));
  await witness.attach(log);
}

Deno.test("a cut does not move the checkpoint past what durability os has not synced", async () => {
  const at = await scene("os");
  await at.witness.append(3);
  await at.witness.truncateTo(4);
  at.machine.disk.crash("drop");
  await reopen(at);
});

Deno.test("a cut does not move the checkpoint past epochs that are not on disk", async () => {
  const at = await scene();
  await at.witness.append(2, { leaderEpoch: 1 });
  await at.witness.append(2, { leaderEpoch: 2 });
  await at.witness.close();
  await reopen(at);
  await at.witness.truncateTo(0);
  await at.witness.append(2, { leaderEpoch: 3 });
  await at.witness.append(1, { leaderEpoch: 4 });
  await at.witness.truncateTo(4);
  at.machine.disk.crash("keep");
  await reopen(at);
  await at.witness.check();
});

Deno.test("a cut relies on no checkpoint whose sync had failed", async () => {
  const at = await scene();
  await at.witness.append(3);
  await at.witness.close();
  await reopen(at);
  at.machine.disk.failOnce("sync", /checkpoint$/);
  await assert.rejects(() => at.witness.truncateTo(0));
  at.machine.disk.killProcess();
  await reopen(at);
  await at.witness.truncateTo(0);
  at.machine.disk.crash("drop");
  await reopen(at);
});

Deno.test("a log that was cut, killed and continued is not overtaken by segments it had removed", async () => {
  const at = await scene();
  for (let count = 0; count < 9; count++) await at.witness.append(1);
  await settle();
  // The directory sync after the first removal is where the process dies.
  at.machine.disk.crashAtChange = at.machine.disk.changes + 9;
  await assert.rejects(() => at.witness.truncateTo(1));
  at.machine.disk.killProcess();
  await reopen(at);
  for (let count = 0; count < 9; count++) await at.witness.append(1, { leaderEpoch: 5 });
  at.machine.disk.crash("drop");
  await reopen(at);
});

Deno.test("an index of what was cut is never used for what came instead", async () => {
  const machine = new SimulatedMachine();
  const config = { segmentBytes: 1e6, indexIntervalBytes: 100 };
  const log = await machine.open(config);
  await appendEach(log, 30);
  await log.checkpoint();
  await log.truncateTo(2);
  const batches = [];
  for (let count = 0; count < 40; count++) {
    // Two of the new batches are as long as two of the old: every other place in the old index is right.
    const batch = nextBatch(log, { valueBytes: count % 2 === 0 ? 14 : 26, mark: 100 + count });
    batches.push(batch.slice());
    await log.append([batch]);
  }
  machine.disk.failOnce("write", /\.index\.tmp$/);
  await log.checkpoint();
  machine.disk.killProcess();
  const again = await machine.open(config);
  assert.equal(again.fault, null);
  for (const [index, batch] of batches.entries()) {
    const options = { endOffset: 1e9, maxBytes: 1 };
    assert.deepEqual(new Uint8Array(await again.read(2 + 2 * index, options)), batch);
  }
});

Deno.test("closing on a full disk keeps everything and costs the next opening a longer recovery", async () => {
  const at = await scene();
  await at.witness.append(2);
  at.machine.disk.failOnce("write", /leader-epoch-checkpoint/, new DiskFullError("ENOSPC"));
  await at.witness.close();
  assert.match(at.machine.warnings[0]?.message ?? "", /could not move the durable checkpoint/);
  at.machine.disk.crash("drop");
  await reopen(at);
});
