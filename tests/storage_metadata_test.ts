// Owns the tests of the metadata stores: the contract over each.
import assert from "node:assert/strict";
import { openKvMetadata } from "../storage/kv/kv_metadata.ts";
import { MemoryMetadataStore } from "../storage/memory/memory_metadata.ts";
import { eventually } from "./contracts/eventually.ts";
import { metadataContract } from "./contracts/metadata_contract.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { VirtualClock } from "./support/virtual_time.ts";

metadataContract("memory metadata", () => {
  const clock = new VirtualClock();
  const store = new MemoryMetadataStore({ timers: clock, randomness: seededRandomness(1) });
  return Promise.resolve({
    store,
    clock,
    connect: () => Promise.resolve(store.connect()),
    dispose: () => Promise.resolve(),
  });
});

async function openedKv() {
  const directory = await Deno.makeTempDir({ prefix: "waybill-metadata-" });
  const clock = new VirtualClock();
  let seed = 0;
  const connect = () =>
    openKvMetadata({
      path: `${directory}/metadata.db`,
      clock,
      timers: clock,
      randomness: seededRandomness(++seed),
    });
  const dispose = () => Deno.remove(directory, { recursive: true });
  return { store: await connect(), clock, connect, dispose };
}

metadataContract("kv metadata", openedKv);

Deno.test("kv metadata keeps a lease over a restart for its whole time, however long that took, and then ends it", async () => {
  const { store, clock, connect, dispose } = await openedKv();
  const leaseId = await store.grantLease(5_000);
  const sets = [{ key: ["nodes", "a"], value: 1, leaseId }];
  await store.commit({ checks: [], sets });
  await store.close();
  await clock.advance(86_400_000);
  const again = await connect();
  await clock.advance(4_000);
  assert.equal((await again.list(["nodes"])).length, 1);
  assert.ok(await again.renewLease(leaseId));
  await eventually(clock, async () => (await again.list(["nodes"])).length === 0);
  await again.close();
  await dispose();
});

Deno.test("kv metadata that nobody else writes tells of its own commits, and looks for none of others", async () => {
  const directory = await Deno.makeTempDir({ prefix: "waybill-metadata-" });
  const clock = new VirtualClock();
  const ports = { clock, timers: clock, path: `${directory}/metadata.db` };
  const sole = await openKvMetadata({ ...ports, randomness: seededRandomness(1), isSole: true });
  const other = await openKvMetadata({ ...ports, randomness: seededRandomness(2) });
  const told: string[] = [];
  sole.watch(["topics"], (keys) => told.push(...keys.map((key) => key.join("/"))));
  await sole.commit({ checks: [], sets: [{ key: ["topics", "a"], value: 1 }] });
  await other.commit({ checks: [], sets: [{ key: ["topics", "b"], value: 1 }] });
  await sole.commit({ checks: [], deletes: [["topics", "a"], ["others", "a"]] });
  for (let at = 0; at < 5; at++) await clock.advance(1_000);
  await sole.close();
  await other.close();
  await Deno.remove(directory, { recursive: true });
  assert.deepEqual(told, ["topics/a", "topics/a"]);
});
