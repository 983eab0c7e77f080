// Owns what the retention of a groups' journal says to its groups.
// Refuses to own the order of it (../runtime/journal_retention.ts) and what a group writes down (decide_ledger.ts).
// Invariant: nothing is dropped before every live group has written its state down after it.
import { type JournalWords, NO_KEY } from "../runtime/journal_retention.ts";
import type { GroupCommand } from "./types.ts";

export const GROUP_WORDS: JournalWords<GroupCommand> = Object.freeze({
  nothing: () => ({
    type: "PartitionsChanged" as const,
    group: NO_KEY,
    topics: [],
    partitionCounts: {},
  }),
  record: (group: string) => ({ type: "RecordState" as const, group }),
  complete: (fromOffset: number) => ({
    type: "CompleteJournal" as const,
    group: NO_KEY,
    fromOffset,
  }),
});
