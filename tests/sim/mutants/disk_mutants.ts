// Owns mutants below the log: disks and metadata stores that do not keep what they said they kept, clocks that jump.
// Refuses to own what should catch them. Invariant: see mutant.ts.
import type { DiskFile } from "../../../storage/ports.ts";
import type { MetadataStore, MetadataTransaction } from "../../../storage/metadata.ts";
import { type Mutant, withFaults, withGroup } from "./mutant.ts";
import { withMembers } from "../../support/with_members.ts";

/** Commits of the metadata store that a power cut takes back. */
const FORGOTTEN_COMMITS = 2;

const noSync: Mutant = {
  name: "sync-does-nothing",
  fault: "an append is acknowledged before it is synced",
  broken: /I1/,
  plan: withFaults("powerCut"),
  machine: ({ disk }) => disk.syncing = false,
};

const noDirectorySync: Mutant = {
  name: "directories-are-not-synced",
  fault: "a new segment's name is not durable when it is written to",
  broken: /I1|CORRUPT_LOG|I6/,
  plan: withFaults("powerCut"),
  disk: (disk) => withMembers(disk, { syncDirectory: () => Promise.resolve() }),
};

const syncAgain: Mutant = {
  name: "failed-syncs-are-tried-again",
  fault: "a sync that failed is tried again on the same pages and believed",
  broken: /I1|CORRUPT_LOG|I6|could be read before/,
  plan: withFaults("failedSync", "powerCut"),
  disk: (disk) => {
    const believing = (file: DiskFile) =>
      withMembers(file, { sync: () => file.sync().catch(() => file.sync()) });
    return withMembers(disk, { open: async (...at) => believing(await disk.open(...at)) });
  },
};

/** A store that remembers how to take its last commits back. */
function forgetful(store: MetadataStore): { store: MetadataStore; forget: () => void } {
  const undo: (() => Promise<MetadataTransaction>)[] = [];
  const commit = async (transaction: MetadataTransaction) => {
    const keys = [
      ...(transaction.sets ?? []).map(({ key }) => key),
      ...(transaction.deletes ?? []),
    ];
    const before = await Promise.all(keys.map((key) => store.get(key)));
    const done = await store.commit(transaction);
    if (!done) return false;
    undo.push(() => {
      const sets = before.filter((entry) => entry !== null);
      const deletes = keys.filter((_, index) => before[index] === null);
      return Promise.resolve({ checks: [], sets, deletes });
    });
    return true;
  };
  const forget = async () => {
    for (const taken of undo.splice(-FORGOTTEN_COMMITS).reverse()) {
      await store.commit(await taken());
    }
  };
  return { store: withMembers(store, { commit }), forget: () => void forget() };
}

function forgetfulMetadata(): Mutant {
  let forget: () => void = () => undefined;
  return {
    name: "metadata-forgets",
    fault: "the metadata store loses its last commits in a power cut: leader epochs come again",
    broken: /is lost|leader epoch/,
    plan: withFaults("powerCut"),
    machine: (machine) => {
      const { store, forget: forgetIn } = forgetful(machine.metadata);
      machine.metadata = store;
      forget = forgetIn;
    },
    onPowerCut: () => forget(),
  };
}

const wallAsMonotonic: Mutant = {
  name: "deadlines-follow-the-wall-clock",
  fault: "the monotonic clock jumps with the wall clock",
  broken: /too early|I6/,
  plan: withGroup("wallJump"),
  clock: (life) => ({ now: () => life.now(), monotonic: () => life.now() }),
};

export const DISK_MUTANTS: readonly Mutant[] = [
  noSync,
  noDirectorySync,
  syncAgain,
  forgetfulMetadata(),
  wallAsMonotonic,
];
