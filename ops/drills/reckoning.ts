// Owns the account at the end of a drill: what was acknowledged against what is stored and what a group has handled.
// Refuses to own reading back (read_back.ts) and the verdict (verdict.ts).
// Invariant: what could not be counted is an error, never a zero.
import type { WaybillClient } from "../../api/client.ts";
import type { Flood } from "./flood.ts";
import type { Book } from "./group_members.ts";
import type { Load } from "./load.ts";
import { readBack } from "./read_back.ts";
import type { Check, MessageCounts } from "./types.ts";

const MAX_NAMED = 3;

export interface Reckoning {
  readonly messages: MessageCounts;
  readonly checks: readonly Check[];
}

/** Counts what `load` was told against the topic, and against what the consumers of `book` have handled. */
export async function reckon(
  client: WaybillClient,
  topic: string,
  { load, book }: { load: Load; book?: Book },
): Promise<Reckoning> {
  const { lost, duplicated, violations, stored } = await readBack(client, topic, load.checker);
  const all = [...load.violations, ...violations];
  const missing = book === undefined ? 0 : book.missing(load.acknowledged);
  const checks: Check[] = [{
    what: "one offset has one content, and each producer's messages are in their order",
    isMet: all.length === 0,
    found: all.length === 0
      ? `${stored} stored messages keep the rules`
      : `${all.length} breaches, such as ${all.slice(0, MAX_NAMED).join("; ")}`,
  }];
  if (book !== undefined) {
    checks.push({
      what: "every acknowledged message was handled by the group",
      isMet: missing === 0,
      found: `${missing} of ${load.acknowledged.size} were not`,
    });
  }
  return {
    messages: {
      acknowledged: load.acknowledged.size,
      lost,
      // What cannot be read cannot be handled: it is told of once.
      unhandled: Math.max(0, missing - lost),
      duplicated,
      redelivered: book === undefined ? 0 : book.handled - book.distinct,
    },
    checks,
  };
}

/** `messages` and those that a flood was told are stored, in a topic of its own with one partition. */
export async function withFlood(
  client: WaybillClient,
  messages: MessageCounts,
  { flood, topic }: { flood: Flood; topic: string },
): Promise<MessageCounts> {
  const stored = (await client.topics.describe(topic)).partitions[0]!.highWatermark;
  return {
    ...messages,
    acknowledged: messages.acknowledged + flood.acknowledgedMessages,
    lost: messages.lost + Math.max(0, flood.acknowledgedMessages - stored),
  };
}

/** The quantile of sorted values; 0 of none. */
export function quantile(sorted: readonly number[], share: number): number {
  if (sorted.length === 0) return 0;
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!);
}
