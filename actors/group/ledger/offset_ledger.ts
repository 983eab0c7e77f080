// Owns answering what a group's offsets were: the history of changes, snapshots, the offsets at a past place.
// Refuses to own the journal and its index (shard_ledger.ts), and moving offsets (../decide_ledger.ts).
// Invariant: order is the journal's; times are only used to find a place in it, by the log's own time index.
import { BrokerError } from "../../../storage/broker_error.ts";
import type { TopicPartition } from "../../broker.ts";
import { listCompact } from "../compact_offsets.ts";
import type { OffsetsSnapshotTaken } from "../events.ts";
import { comparePartitions } from "../topic_partitions.ts";
import type { OffsetsSnapshot } from "../types.ts";
import { unknownGroup } from "../unknown_group.ts";
import { ledgerEntriesOf, refusedEntryOf } from "./ledger_entries.ts";
import {
  chunksBackwards,
  chunksForwards,
  type LedgerRecord,
  type ShardLedger,
} from "./shard_ledger.ts";
import type { LedgerEntry, LedgerPage, OffsetLedger, PastOffsets, PastPlace } from "./types.ts";
import type { SnapshotPage } from "./types.ts";

/** Offsets of the journal that one page of history looks through; beyond it the page ends early. */
const MAX_SCANNED_OFFSETS = 100_000;
/** Offsets of the journal between a time and the next snapshot that are looked through. */
const MAX_REWOUND_OFFSETS = 20_000_000;
/** Offsets in the snapshots of one page; beyond it the page ends early, after one at least. */
const MAX_PAGE_OFFSETS = 100_000;
const CURSOR = /^(\d{1,16})(?:\.(\d{1,9}))?$/;

type Offset = TopicPartition & { readonly offset: number };

export interface OffsetLedgerOptions {
  readonly shardOf: (group: string) => ShardLedger;
  /** The group's offsets now, as far as they are durable; null when there is no such group. */
  readonly offsetsOf: (group: string) => Promise<readonly Offset[] | null>;
  /** First offset of the group's journal with a timestamp of at least `timestampMs`; the end when there is none. */
  readonly offsetForTime: (group: string, timestampMs: number) => Promise<number>;
}

export class GroupOffsetLedger implements OffsetLedger {
  constructor(private readonly options: OffsetLedgerOptions) {}

  async history(
    group: string,
    options: Parameters<OffsetLedger["history"]>[1],
  ): Promise<LedgerPage> {
    const shard = this.options.shardOf(group);
    const start = await shard.current();
    const stretches = shard.stretches(group, "change", start);
    if (stretches.length === 0) await this.refuseUnknown(group);
    const place = parseCursor(options.cursor);
    const wanted = wantedBy(options);
    const entries: LedgerEntry[] = [];
    let scanned = 0;
    for (const chunk of chunksBackwards(stretches, place.offset + 1)) {
      if (scanned >= MAX_SCANNED_OFFSETS) return { entries, next: `${chunk.to}` };
      scanned += chunk.to - chunk.from;
      const records = await shard.read(group, "change", chunk);
      for (const { offset, index, entry } of newestFirst(records, place)) {
        if (!wanted(entry)) continue;
        if (entries.length === options.limit) return { entries, next: `${offset}.${index + 1}` };
        entries.push(entry);
      }
    }
    return { entries, next: null };
  }

  async snapshots(
    group: string,
    options: { readonly limit: number; readonly cursor?: string },
  ): Promise<SnapshotPage> {
    const shard = this.options.shardOf(group);
    const start = await shard.current();
    const stretches = shard.stretches(group, "snapshot", start);
    if (stretches.length === 0) await this.refuseUnknown(group);
    const before = parseCursor(options.cursor).offset;
    const snapshots: OffsetsSnapshot[] = [];
    let held = 0;
    for (const chunk of chunksBackwards(stretches, before)) {
      for (const { offset, event } of (await shard.read(group, "snapshot", chunk)).toReversed()) {
        const full = snapshots.length === options.limit || held > MAX_PAGE_OFFSETS;
        if (full) return { snapshots, next: `${offset + 1}` };
        const snapshot = shown(event as OffsetsSnapshotTaken);
        held += snapshot.offsets.length;
        snapshots.push(snapshot);
      }
    }
    return { snapshots, next: null };
  }

  async offsetsAt(group: string, place: PastPlace): Promise<PastOffsets> {
    if ("snapshotId" in place) return await this.offsetsOfSnapshot(group, place.snapshotId);
    return await this.offsetsAtTime(group, place.timeMs);
  }

  private async offsetsOfSnapshot(group: string, snapshotId: string): Promise<PastOffsets> {
    const shard = this.options.shardOf(group);
    const start = await shard.current();
    const stretches = shard.stretches(group, "snapshot", start);
    if (stretches.length === 0) await this.refuseUnknown(group);
    const takenAt = Number(snapshotId.split("-")[1] ?? NaN);
    const near = Number.isSafeInteger(takenAt)
      ? await this.options.offsetForTime(group, takenAt)
      : Infinity;
    // Where its time says it is; should the clock have jumped then, anywhere.
    const places = [{ since: near, before: Infinity }, { since: start, before: near }];
    for (const range of places) {
      for (const chunk of chunksForwards(stretches, range)) {
        for (const { event } of await shard.read(group, "snapshot", chunk)) {
          const snapshot = event as OffsetsSnapshotTaken;
          const { at, offsets } = snapshot;
          if (snapshot.snapshotId === snapshotId) return { at, offsets: listCompact(offsets) };
        }
      }
    }
    throw new BrokerError(
      "UNKNOWN_SNAPSHOT",
      `group ${group} has no snapshot ${snapshotId}; it may have been older than the history that is kept`,
      { groupId: group, snapshotId },
    );
  }

  private async offsetsAtTime(group: string, timeMs: number): Promise<PastOffsets> {
    const now = await this.options.offsetsOf(group) ?? await this.refuseUnknown(group);
    const shard = this.options.shardOf(group);
    const start = await shard.current();
    const cut = await this.options.offsetForTime(group, timeMs + 1);
    if (start > 0 && cut <= start) {
      throw invalidTime(group, `the history of group ${group} does not reach back so far`);
    }
    const base = await this.firstSnapshotFrom(group, { cut, start });
    const { offsets, before } = base ?? { offsets: now, before: Infinity };
    const past = await this.unchanged(group, { offsets, since: cut, before });
    if (past.length === 0) throw invalidTime(group, `group ${group} had no offsets then`);
    return { at: timeMs, offsets: past };
  }

  private async firstSnapshotFrom(
    group: string,
    { cut, start }: { cut: number; start: number },
  ): Promise<{ offsets: readonly Offset[]; before: number } | null> {
    const shard = this.options.shardOf(group);
    const stretches = shard.stretches(group, "snapshot", start);
    for (const chunk of chunksForwards(stretches, { since: cut, before: Infinity })) {
      const [first] = await shard.read(group, "snapshot", chunk);
      if (first === undefined) continue;
      const { offsets } = first.event as OffsetsSnapshotTaken;
      return { offsets: listCompact(offsets), before: first.offset };
    }
    return null;
  }

  /** `offsets`, which are those before journal offset `before`, with every change from `since` on undone. */
  private async unchanged(
    group: string,
    { offsets, since, before }: { offsets: readonly Offset[]; since: number; before: number },
  ): Promise<Offset[]> {
    const shard = this.options.shardOf(group);
    const past = new Map(offsets.map((entry) => [`${entry.topic}/${entry.partition}`, entry]));
    const seen = new Set<string>();
    let scanned = 0;
    const stretches = shard.stretches(group, "change", since);
    for (const chunk of chunksForwards(stretches, { since, before })) {
      scanned += chunk.to - chunk.from;
      if (scanned > MAX_REWOUND_OFFSETS) {
        throw invalidTime(group, `too much has changed since then: roll back to a snapshot`);
      }
      for (const { event } of await shard.read(group, "change", chunk)) {
        for (const { topic, partition, previous } of ledgerEntriesOf(event)) {
          const key = `${topic}/${partition}`;
          if (seen.has(key)) continue;
          seen.add(key);
          if (previous === null) past.delete(key);
          else past.set(key, { topic, partition, offset: previous });
        }
      }
    }
    return [...past.values()].sort(comparePartitions);
  }

  /** A group that is gone still has a history: only one of which nothing is known is unknown. */
  private async refuseUnknown(group: string): Promise<never[]> {
    if (await this.options.offsetsOf(group) !== null) return [];
    throw unknownGroup(group);
  }
}

function shown(event: OffsetsSnapshotTaken): OffsetsSnapshot {
  const { snapshotId, at, automatic, principal, offsets } = event;
  return { snapshotId, at, automatic, principal, offsets: listCompact(offsets) };
}

/** Entries below `place`, newest first, each with the place of its own: an event may hold many. */
function* newestFirst(
  records: readonly LedgerRecord[],
  place: { readonly offset: number; readonly index: number },
): Generator<{ offset: number; index: number; entry: LedgerEntry }> {
  for (const { offset, event } of records.toReversed()) {
    const refused = refusedEntryOf(event);
    const entries = refused === null ? ledgerEntriesOf(event) : [refused];
    const last = offset === place.offset ? Math.min(place.index, entries.length) : entries.length;
    for (let index = last - 1; index >= 0; index--) {
      yield { offset, index, entry: entries[index]! };
    }
  }
}

function wantedBy(
  { topic, partition, actions }: Parameters<OffsetLedger["history"]>[1],
): (entry: LedgerEntry) => boolean {
  return (entry) =>
    (topic === undefined || entry.topic === topic) &&
    (partition === undefined || entry.partition === partition) &&
    (actions === undefined ? entry.action !== "refused" : actions.includes(entry.action));
}

/** `<offset>.<index>`: entries of that offset below the index, and all before it. Throws INVALID_REQUEST. */
function parseCursor(cursor: string | undefined): { offset: number; index: number } {
  if (cursor === undefined) return { offset: Number.MAX_SAFE_INTEGER, index: 0 };
  const [, offset, index] = CURSOR.exec(cursor) ?? [];
  if (offset !== undefined && Number.isSafeInteger(Number(offset))) {
    return { offset: Number(offset), index: Number(index ?? 0) };
  }
  const message = "is not a cursor of this list";
  throw new BrokerError("INVALID_REQUEST", `cursor: ${message}`, {
    errors: [{ path: "cursor", message }],
  });
}

function invalidTime(groupId: string, message: string): BrokerError {
  const errors = [{ path: "to.time", message }];
  return new BrokerError("INVALID_REQUEST", `to.time: ${message}`, { groupId, errors });
}
