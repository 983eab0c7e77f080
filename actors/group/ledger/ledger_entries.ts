// Owns which events of a group are part of its offset ledger, and what they say there.
// Refuses to own finding them in the journal (shard_ledger.ts).
// Invariant: whatever changes a committed offset is told here, with what it was before.
import type { CompactOffsets } from "../compact_offsets.ts";
import { listCompact } from "../compact_offsets.ts";
import type { GroupEvent, OffsetsCommitted, OffsetsMoved } from "../events.ts";
import type { LedgerEntry } from "./types.ts";

export type LedgerKind = "change" | "snapshot";

/** All others change no offset. */
const KINDS: Partial<Readonly<Record<GroupEvent["type"], LedgerKind>>> = Object.freeze({
  OffsetsCommitted: "change",
  OffsetsMoved: "change",
  OffsetsDropped: "change",
  GroupDeleted: "change",
  RewindRefused: "change",
  OffsetsSnapshotTaken: "snapshot",
});

/** An event starts with its type: the rest need not be parsed to know it. */
const TYPE_BYTES = 64;
const TYPE = /^\{"type":"(\w+)"/;
const decoder = new TextDecoder();

/** The kind of a journalled event, from its bytes; null when it is not part of the ledger. */
export function ledgerKindOf(stored: Uint8Array): LedgerKind | null {
  const type = TYPE.exec(decoder.decode(stored.subarray(0, TYPE_BYTES)))?.[1] ??
    (JSON.parse(decoder.decode(stored)) as { type: string }).type;
  return Object.hasOwn(KINDS, type) ? KINDS[type as GroupEvent["type"]] ?? null : null;
}

/** What `event` changed, in its order; nothing for those that are not part of the ledger. */
export function ledgerEntriesOf(event: GroupEvent): LedgerEntry[] {
  switch (event.type) {
    case "OffsetsCommitted":
      return event.offsets.map((entry) => committed(event, entry));
    case "OffsetsMoved":
      return event.offsets.map((entry) => moved(event, entry));
    case "OffsetsDropped":
      return gone(event.offsets ?? [], { at: event.at, action: "dropped", principal: null });
    case "GroupDeleted": {
      const principal = event.principal ?? null;
      return gone(event.offsets ?? [], { at: event.at, action: "deleted", principal });
    }
    default:
      return [];
  }
}

/** The commit that was refused, for those who look for them; null of other events. */
export function refusedEntryOf(event: GroupEvent): LedgerEntry | null {
  if (event.type !== "RewindRefused") return null;
  const { at, topic, partition, committed: previous, offset } = event;
  const { principal, memberId, generation, reason } = event;
  const who = { principal, memberId, generation };
  return { at, action: "refused", topic, partition, previous, offset, ...who, reason, cause: null };
}

function committed(
  { at, principal, memberId, generation, reason }: OffsetsCommitted,
  { topic, partition, offset, previous }: OffsetsCommitted["offsets"][number],
): LedgerEntry {
  const action = previous !== null && offset < previous ? "rewind" : "commit";
  const who = { principal, memberId, generation };
  return { at, action, topic, partition, previous, offset, ...who, reason, cause: null };
}

function moved(
  { at, action, cause, principal, generation, reason }: OffsetsMoved,
  { topic, partition, offset, previous }: OffsetsMoved["offsets"][number],
): LedgerEntry {
  const who = { principal, memberId: null, generation };
  return { at, action, topic, partition, previous, offset, ...who, reason, cause };
}

function gone(
  offsets: CompactOffsets,
  what: Pick<LedgerEntry, "at" | "action" | "principal">,
): LedgerEntry[] {
  return listCompact(offsets).map(({ topic, partition, offset }) => ({
    ...what,
    topic,
    partition,
    previous: offset,
    offset: null,
    memberId: null,
    generation: null,
    reason: null,
    cause: null,
  }));
}
