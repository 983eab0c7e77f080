// Owns which commits of offsets are allowed.
// Refuses to own where offsets are kept (offset_table.ts).
// Invariant: all or nothing; a member commits only what it owns; an offset goes back only on purpose and with a reason.
import { BrokerError } from "../../storage/broker_error.ts";
import { type GroupContext, type GroupDecision } from "./draft.ts";
import type { OffsetsCommitted } from "./events.ts";
import { memberOf, refuseNotOwned, refuseOtherGeneration, seen } from "./members.ts";
import { committedAt } from "./offset_table.ts";
import { snapshotSchedule } from "./decide_ledger.ts";
import { containsPartition } from "./topic_partitions.ts";
import { inHandBelow, settledBy, wordOfSettled } from "./retry/decide_take.ts";
import type { GroupSettings } from "./settings.ts";
import type { GroupState } from "./state.ts";
import type { CommitReply, GroupCommand } from "./types.ts";

type Commit = Extract<GroupCommand, { type: "CommitOffsets" }>;
type CommitEntry = Commit["offsets"][number];

/**
 * Throws UNKNOWN_MEMBER, STALE_GENERATION (also for a partition that the member does not own), OFFSET_OUT_OF_RANGE,
 * GROUP_PAUSED (what an operator has moved), OFFSET_ROLLBACK, INVALID_REQUEST (numbers, sizes, a partition named twice). Costs what the partitions in it cost,
 * however many the group has.
 */
export function decideCommit(
  state: GroupState,
  command: Commit,
  { at, settings }: GroupContext,
): GroupDecision {
  const { memberId, asker } = command;
  const member = memberId === undefined ? null : memberOf(state, memberId, asker);
  refuseOtherGeneration(state, command);
  refuseRepeats(command);
  const changed: OffsetsCommitted["offsets"][number][] = [];
  const results: { topic: string; partition: number; offset: number; previous: number | null }[] =
    [];
  let added = 0;
  for (const entry of command.offsets) {
    refuseMalformed(entry, settings);
    if (member !== null) {
      refuseNotOwned(state, member, entry);
      refuseMoved(state, entry);
    }
    const { topic, partition, offset } = entry;
    const before = committedAt(state.offsets, entry);
    const previous = before?.offset ?? null;
    if (settlesOnly(state, command, { entry, previous })) {
      results.push({ topic, partition, offset: previous!, previous });
      continue;
    }
    refuseOutOfRange(state, command, { entry, previous });
    results.push({ topic, partition, offset, previous });
    const metadata = entry.metadata ?? null;
    if (offset === previous && metadata === before!.metadata) continue;
    if (previous === null) added += 1;
    changed.push({ topic, partition, offset, previous, metadata });
  }
  refuseTooMany(state, added, settings);
  const { generation } = state;
  const event: OffsetsCommitted = {
    type: "OffsetsCommitted",
    v: 1,
    at: at.wall,
    principal: command.principal,
    memberId: command.memberId ?? null,
    generation,
    reason: command.reason ?? null,
    offsets: changed,
  };
  const settled = settledBy(state, command.offsets, { at, settings });
  const reply: CommitReply = { generation, results };
  return {
    events: [...changed.length === 0 ? [] : [event], ...settled === null ? [] : [settled]],
    volatile: [
      ...member === null ? [] : [seen(member, at)],
      ...changed.length === 0 ? [] : snapshotSchedule(state, { at, settings }),
    ],
    notify: settled === null ? [] : wordOfSettled(state, settled, { at, settings }),
    reply,
  };
}

/** One past a redelivered message that lies below what is committed: it settles this message, and moves nothing. */
function settlesOnly(
  state: GroupState,
  { allowRewind }: Commit,
  { entry, previous }: { entry: CommitEntry; previous: number | null },
): boolean {
  if (previous === null || entry.offset >= previous || allowRewind) return false;
  return inHandBelow(state, entry).length > 0;
}

/** Which of two offsets for one partition was meant is not for the broker to guess. */
function refuseRepeats({ offsets }: Commit): void {
  if (offsets.length < 2) return;
  const named = new Set<string>();
  for (const { topic, partition } of offsets) {
    const key = `${partition}/${topic}`;
    if (named.has(key)) {
      throw new BrokerError(
        "INVALID_REQUEST",
        `the commit names partition ${partition} of ${topic} more than once`,
        { topic, partition },
      );
    }
    named.add(key);
  }
}

function refuseMalformed(entry: CommitEntry, settings: GroupSettings): void {
  const { topic, partition, offset, metadata } = entry;
  const { maxPartitionsPerGroup, maxOffsetMetadataBytes } = settings;
  if (!isCount(partition) || partition >= maxPartitionsPerGroup) {
    throw new BrokerError(
      "INVALID_REQUEST",
      `the commit names partition ${partition} of ${topic}, which cannot be`,
      { topic, partition, maxPartitionsPerGroup },
    );
  }
  if (!isCount(offset)) {
    throw new BrokerError(
      "INVALID_REQUEST",
      `${offset} is not an offset to commit for partition ${partition} of ${topic}`,
      { topic, partition, offset },
    );
  }
  if (metadata !== undefined && utf8Exceeds(metadata, maxOffsetMetadataBytes)) {
    throw new BrokerError(
      "INVALID_REQUEST",
      `the metadata for partition ${partition} of ${topic} is longer than ${maxOffsetMetadataBytes} bytes`,
      { topic, partition, maxOffsetMetadataBytes },
    );
  }
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

const encoder = new TextEncoder();

/** A UTF-16 code unit is at most three bytes of UTF-8, so short texts need no encoding. */
function utf8Exceeds(text: string, maxBytes: number): boolean {
  if (text.length > maxBytes) return true;
  return text.length * 3 > maxBytes && encoder.encode(text).length > maxBytes;
}

/** What the member read before the group was paused must not undo what an operator did meanwhile. */
function refuseMoved(state: GroupState, { topic, partition }: CommitEntry): void {
  if (state.paused === null || !containsPartition(state.ledger.moved, { topic, partition })) return;
  throw new BrokerError(
    "GROUP_PAUSED",
    `group ${state.groupId} is paused and an operator has moved its offset for partition ${partition} of ${topic}; ` +
      "read on from there when it is resumed",
    { groupId: state.groupId, topic, partition },
  );
}

function refuseOutOfRange(
  state: GroupState,
  command: Commit,
  { entry, previous }: { entry: CommitEntry; previous: number | null },
): void {
  const { topic, partition, offset, endOffset } = entry;
  if (offset > endOffset) {
    throw new BrokerError(
      "OFFSET_OUT_OF_RANGE",
      `offset ${offset} of partition ${partition} of ${topic} is beyond its end ${endOffset}`,
      { topic, partition, offset, endOffset },
    );
  }
  const onPurpose = command.allowRewind && (command.reason ?? "").trim() !== "";
  if (previous === null || offset >= previous || onPurpose) return;
  throw new BrokerError(
    "OFFSET_ROLLBACK",
    `offset ${offset} of partition ${partition} of ${topic} is before the committed ${previous}; ` +
      "going back needs allowRewind and a reason",
    { groupId: state.groupId, topic, partition, offset, committed: previous },
  );
}

function refuseTooMany(state: GroupState, added: number, settings: GroupSettings): void {
  const offsets = state.offsets.size + added;
  const { maxPartitionsPerGroup } = settings;
  if (added === 0 || offsets <= maxPartitionsPerGroup) return;
  throw new BrokerError(
    "INVALID_REQUEST",
    `the commit would give group ${state.groupId} offsets for ${offsets} partitions, more than ${maxPartitionsPerGroup}`,
    { groupId: state.groupId, offsets, maxPartitionsPerGroup },
  );
}
