// Owns holding a group's offset ledger against its offsets once nothing changes any more.
// Refuses to own what may be committed (ledgers/commit_ledger.ts).
// Invariant: each change starts where the one before it ended, and the last ones are what is committed.
import type { Broker } from "../../actors/broker.ts";
import type { LedgerEntry } from "../../actors/group/ledger/types.ts";
import { keyOf } from "./ledgers/commit_ledger.ts";

const PAGE_ENTRIES = 500;

/** What the history of `group` gets wrong. */
export async function historyProblems(broker: Broker, group: string): Promise<string[]> {
  const told = new Map<string, number>();
  const problems: string[] = [];
  for (const entry of (await wholeHistory(broker, group)).reverse()) {
    const { previous, offset } = entry;
    const key = keyOf(entry);
    const before = told.get(key) ?? null;
    if (before !== previous) {
      problems.push(`history of ${group} goes on at ${previous} in ${key}, which was at ${before}`);
    }
    if (offset === null) told.delete(key);
    else told.set(key, offset);
  }
  const { offsets } = await broker.group({ type: "Describe", group });
  for (const at of offsets) {
    const last = told.get(keyOf(at));
    told.delete(keyOf(at));
    if (last === at.offset) continue;
    problems.push(`history of ${group} ends at ${last} in ${keyOf(at)}, committed is ${at.offset}`);
  }
  for (const key of told.keys()) {
    problems.push(`history of ${group} has ${key}, which has no offset`);
  }
  return problems;
}

async function wholeHistory(broker: Broker, group: string): Promise<LedgerEntry[]> {
  const entries: LedgerEntry[] = [];
  let cursor: string | null = null;
  do {
    const more = cursor === null ? {} : { cursor };
    const page = await broker.ledger.history(group, { limit: PAGE_ENTRIES, ...more });
    entries.push(...page.entries);
    cursor = page.next;
  } while (cursor !== null);
  return entries;
}
