// Owns staging a transaction's offsets, and what becomes of them when it ends.
// Refuses to own the transaction (../transaction/), which commits are allowed (decide_commit.ts) and the state (staged_offsets.ts).
// Invariant: staged offsets are committed all or none; a commit that is late never takes a partition back.
import { BrokerError } from "../../storage/broker_error.ts";
import { decideCommit } from "./decide_commit.ts";
import { type GroupContext, type GroupDecision, onlyVolatile } from "./draft.ts";
import type { GroupEvent, OffsetsCommitted, OffsetsStaged } from "./events.ts";
import { committedAt } from "./offset_table.ts";
import { inHandBelow, settledBy, wordOfSettled } from "./retry/decide_take.ts";
import type { StagedOffsets } from "./staged_offsets.ts";
import type { GroupState } from "./state.ts";
import { holds, lookUp } from "./table.ts";
import type { GroupCommand } from "./types.ts";

/** Transactions of one group that have staged offsets and not ended. */
const MAX_STAGED_TRANSACTIONS = 1_000;

type Command<T extends GroupCommand["type"]> = Extract<GroupCommand, { type: T }>;
type StagedEntry = Command<"StageOffsets">["offsets"][number];

/** Throws what a commit of the same offsets would, and OVERLOADED. */
export function decideStage(
  state: GroupState,
  { group, transactionId, offsets, principal, asker }: Command<"StageOffsets">,
  context: GroupContext,
): GroupDecision {
  if (state.staged.size >= MAX_STAGED_TRANSACTIONS && !holds(state.staged, transactionId)) {
    throw new BrokerError(
      "OVERLOADED",
      `group ${group} has offsets of ${state.staged.size} open transactions`,
      { groupId: group, transactions: state.staged.size },
    );
  }
  const volatile = [];
  for (const entries of bySender(offsets)) {
    const { memberId, generation } = entries[0]!;
    // A commit of the same offsets, made and thrown away: what it refuses is refused here.
    const asIf = decideCommit(state, {
      type: "CommitOffsets",
      group,
      ...(memberId === undefined ? {} : { memberId }),
      ...(generation === undefined ? {} : { generation }),
      offsets: entries,
      allowRewind: false,
      principal,
      ...(asker === undefined ? {} : { asker }),
    }, context);
    volatile.push(...asIf.volatile.filter(({ type }) => type === "MemberSeen"));
  }
  const staged = offsets.map(({ topic, partition, offset, metadata, memberId }) => ({
    topic,
    partition,
    offset,
    metadata: metadata ?? null,
    memberId: memberId ?? null,
  }));
  const at = context.at.wall;
  const event: OffsetsStaged = {
    type: "OffsetsStaged",
    v: 1,
    at,
    transactionId,
    principal,
    offsets: staged,
  };
  return { events: [event], volatile, notify: [], reply: null };
}

/** Those that the same member sends under the same generation; a partition named twice is found in each. */
function bySender(offsets: readonly StagedEntry[]): StagedEntry[][] {
  const named = new Set<string>();
  for (const { topic, partition } of offsets) {
    const key = `${partition}/${topic}`;
    if (named.has(key)) {
      const message = `the transaction names partition ${partition} of ${topic} more than once`;
      throw new BrokerError("INVALID_REQUEST", message, { topic, partition });
    }
    named.add(key);
  }
  const senders = Map.groupBy(
    offsets,
    ({ memberId, generation }) => JSON.stringify([memberId, generation]),
  );
  return [...senders.values()];
}

/** Nothing when the transaction has staged nothing here, or has ended before. */
export function decideEndStaged(
  state: GroupState,
  { transactionId, commit }: Command<"EndStagedOffsets">,
  context: GroupContext,
): GroupDecision {
  const { at } = context;
  const staged = lookUp(state.staged, transactionId);
  if (staged === undefined) return onlyVolatile([], null);
  const events: GroupEvent[] = commit
    ? committed(state, staged, { transactionId, at: at.wall })
    : [];
  const settled = commit ? settledBy(state, settling(state, staged), context) : null;
  if (settled !== null) events.push(settled);
  events.push({ type: "StagedOffsetsEnded", v: 1, at: at.wall, transactionId, commit });
  const notify = settled === null ? [] : wordOfSettled(state, settled, context);
  return { events, volatile: [], notify, reply: null };
}

/**
 * The retries in hand that the transaction is about: the one just below an offset, and those that nobody had committed past.
 * Others may have been handed out after the offsets were staged.
 */
function settling(state: GroupState, { offsets }: StagedOffsets) {
  return offsets.map(({ topic, partition, offset }) => {
    const committed = committedAt(state.offsets, { topic, partition })?.offset ?? 0;
    const settles = inHandBelow(state, { topic, partition, offset })
      .filter((one) => one === offset - 1 || one >= committed);
    return { topic, partition, offset, settles };
  });
}

/** One event a member, as the ledger tells them apart. Who has committed further meanwhile is not taken back. */
function committed(
  state: GroupState,
  { principal, offsets }: StagedOffsets,
  { transactionId, at }: { transactionId: string; at: number },
): OffsetsCommitted[] {
  const changed = offsets
    .map((entry) => ({ ...entry, previous: committedAt(state.offsets, entry)?.offset ?? null }))
    .filter(({ offset, previous }) => previous === null || offset > previous);
  return [...Map.groupBy(changed, ({ memberId }) => memberId)].map(([memberId, entries]) => ({
    type: "OffsetsCommitted",
    v: 1,
    at,
    principal,
    memberId,
    generation: state.generation,
    reason: `transaction ${transactionId}`,
    offsets: entries.map(({ memberId: _, ...entry }) => entry),
  }));
}
