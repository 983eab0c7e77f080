// Owns the tests of the metadata stores: the contract over each.
import { openKvMetadata } from "../storage/kv/kv_metadata.ts";
import { MemoryMetadataStore } from "../storage/memory/memory_metadata.ts";
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

metadataContract("kv metadata", async () => {
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
  return {
    store: await connect(),
    clock,
    connect,
    dispose: () => Deno.remove(directory, { recursive: true }),
  };
});
