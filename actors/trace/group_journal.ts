// Owns reading a partition of `__groups` as a journal that nobody writes through here.
// Refuses to own what is in it (group_walk.ts). Invariant: read in small pieces, since nobody waits for them but one who asks.
import type { Crc32c } from "../../storage/ports.ts";
import type { Partition } from "../partition/partition.ts";
import { partitionJournal } from "../partition/partition_journal.ts";
import type { GroupJournal } from "./group_walk.ts";

const MAX_READ_BYTES = 262_144;

export function groupJournal(partition: Partition, crc32c: Crc32c): GroupJournal {
  const journal = partitionJournal(partition, crc32c, MAX_READ_BYTES);
  return {
    replay: (fromOffset, onEntry, endOffset) => journal.replay(fromOffset, onEntry, endOffset),
    bounds: () => journal.bounds(),
    offsetForTime: (timestampMs) => partition.offsetForTime(timestampMs),
    leads: () => partition.leads,
  };
}
