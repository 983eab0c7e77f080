// Owns proof that a data directory keeps its id, and the cluster it has joined, whenever the power goes.
import assert from "node:assert/strict";
import { NodeIdentity } from "../storage/file_log/node_identity.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { SimulatedDisk } from "./support/simulated_disk.ts";

const CLUSTER = { name: "waybill", clusterId: "c1" };

Deno.test("a data directory keeps the id that was made with it, and another one has another", async () => {
  const disk = new SimulatedDisk({ seed: 1 });
  const randomness = seededRandomness(1);
  const made = await NodeIdentity.open(disk.session(), randomness);
  disk.crash("drop");
  const again = await NodeIdentity.open(disk.session(), randomness);
  assert.equal(again.diskId, made.diskId);
  assert.equal(again.joined, null);
  const other = await NodeIdentity.open(new SimulatedDisk({ seed: 2 }).session(), randomness);
  assert.notEqual(other.diskId, made.diskId);
});

Deno.test("a data directory knows the cluster that it has joined, or nothing of it, wherever the power goes", async () => {
  for (let step = 0;; step++) {
    const disk = new SimulatedDisk({ seed: step });
    const randomness = seededRandomness(1);
    const { diskId } = await NodeIdentity.open(disk.session(), randomness);
    const identity = await NodeIdentity.open(disk.session(), randomness);
    disk.crashAtChange = disk.changes + step + 1;
    const joined = await identity.join(CLUSTER).then(() => true, () => false);
    disk.crash("random");
    const after = await NodeIdentity.open(disk.session(), randomness);
    assert.equal(after.diskId, diskId);
    if (joined || after.joined !== null) assert.deepEqual(after.joined, CLUSTER);
    if (joined) break;
  }
});

Deno.test("a damaged identity is refused, not replaced", async () => {
  const disk = new SimulatedDisk({ seed: 1 });
  const randomness = seededRandomness(1);
  await NodeIdentity.open(disk.session(), randomness);
  const file = await disk.open("node/identity.json", { create: false });
  await file.truncate(3);
  await file.close();
  await assert.rejects(NodeIdentity.open(disk.session(), randomness), /is damaged/);
});

Deno.test("a data directory that nobody has asked for its id has none", async () => {
  const disk = new SimulatedDisk({ seed: 1 });
  assert.equal(await NodeIdentity.read(disk.session()), null);
  assert.deepEqual(disk.paths(), []);
});
