// Owns every decision about the transactions of one transactional id.
// Refuses to own IO: markers and groups are the finisher's, which an effect starts.
// Invariant: pure; a transaction whose end is decided never changes its mind, and takes nothing in any more.
import { BrokerError } from "../../storage/broker_error.ts";
import { mayActOn, ownerFor } from "../ownership.ts";
import { FIRST_OWN_ID } from "../partition/producer_ids.ts";
import type { Decision } from "../runtime/keyed_decider.ts";
import {
  encodeTransaction,
  isTransactionGone,
  type TransactionEvent,
  type TransactionState,
  type TransactionVolatileEvent,
} from "./state.ts";
import { transactionIdOf, unknownTransaction } from "./transaction_id.ts";
import {
  type AddPartitionsReply,
  type AskedBy,
  type At,
  type BeginReply,
  type EndPlan,
  MAX_TRANSACTION_GROUPS,
  MAX_TRANSACTION_PARTITIONS,
  type TransactionCommand,
  type TransactionDescription,
  type TransactionIdentity,
  type TransactionPartition,
  type UnfinishedTransaction,
} from "./types.ts";

/** An id that nobody used for this long is forgotten, and starts under a new producer id. */
export const IDLE_ID_MS = 7 * 24 * 3_600_000;
/** Epochs are 16 bit and signed in the record batch; the last one is left alone, as Kafka does. */
export const MAX_PRODUCER_EPOCH = 32_766;

export type TransactionDecision = Decision<TransactionEvent, TransactionVolatileEvent, EndPlan>;
type Command<T extends TransactionCommand["type"]> = Extract<TransactionCommand, { type: T }>;

/** What `command` leads to in `state`. Throws BrokerError to refuse it, with the codes that Transactions names. */
export function decideTransaction(
  state: TransactionState,
  command: TransactionCommand,
  at: At,
): TransactionDecision {
  switch (command.type) {
    case "Begin":
      return decideBegin(state, command, at);
    case "AddPartitions":
      return decideAddPartitions(state, command, at);
    case "AddGroups":
      return decideAddGroups(state, command, at);
    case "Prepare":
      return decidePrepare(state, command, at);
    case "Finish":
      return decideFinish(state, command, at);
    case "Describe":
      refuseForeign(state, command);
      return nothing(descriptionOf(state, command));
    case "RecordState":
      return decideRecordState(state, at);
    case "CompleteJournal":
      return recorded({
        type: "JournalCompleted",
        v: 1,
        at: at.wall,
        fromOffset: command.fromOffset,
      });
    case "Tick":
      return decideTick(state, at);
    case "Recovered":
      return decideRecovered(state, at);
  }
}

function nothing(reply: unknown): TransactionDecision {
  return { events: [], volatile: [], effects: [], reply };
}

function deadline(deadlineAt: number | null): TransactionVolatileEvent {
  return { type: "DeadlineSet", deadlineAt };
}

/** Every transaction has an epoch of its own: what is late of one can never be taken for the next. */
function decideBegin(state: TransactionState, command: Command<"Begin">, at: At) {
  const { timeoutMs, principal, newProducerId, asker } = command;
  if (!mayActOn(state.owner, asker)) throw ownedByAnother(state);
  const before = identityOf(state);
  const busy: BeginReply = { outcome: "busy", before };
  if (state.phase === "open") return prepared(state, at, { reason: "fenced", reply: busy });
  if (state.phase !== "idle") return nothing(busy);
  // Older journals know ids of before the broker had a range of its own, which others can publish under.
  const goesOn = state.producerId >= FIRST_OWN_ID && state.producerEpoch < MAX_PRODUCER_EPOCH;
  if (!goesOn && newProducerId === null) {
    return nothing({ outcome: "needs producer id" } satisfies BeginReply);
  }
  const producerId = goesOn ? state.producerId : newProducerId!;
  const producerEpoch = goesOn ? state.producerEpoch + 1 : 0;
  const owner = state.owner === null ? ownerFor(asker) : null;
  const owned = owner === null ? {} : { owner };
  const begun = { producerId, producerEpoch, timeoutMs, principal, ...owned };
  return {
    events: [{ type: "TransactionBegun" as const, v: 1 as const, at: at.wall, ...begun }],
    volatile: [deadline(at.monotonic + timeoutMs)],
    effects: [],
    reply: { outcome: "begun", producerId, producerEpoch } satisfies BeginReply,
  };
}

function decideAddPartitions(
  state: TransactionState,
  command: Command<"AddPartitions">,
  at: At,
): TransactionDecision {
  refuseForeign(state, command);
  refuseUnlessOpen(state, command);
  const known = new Set(state.partitions.map(partitionKey));
  const partitions = command.partitions.filter((one) => !known.has(partitionKey(one)));
  const reply: AddPartitionsReply = { owner: state.owner };
  if (partitions.length === 0) return nothing(reply);
  refuseTooMany("partitions", known.size + partitions.length, MAX_TRANSACTION_PARTITIONS);
  const event = { type: "PartitionsAdded" as const, v: 1 as const, at: at.wall, partitions };
  return { events: [event], volatile: [], effects: [], reply };
}

function decideAddGroups(
  state: TransactionState,
  command: Command<"AddGroups">,
  at: At,
): TransactionDecision {
  refuseForeign(state, command);
  refuseUnlessOpen(state, command);
  const groups = command.groups.filter((group) => !state.groups.includes(group));
  if (groups.length === 0) return nothing(null);
  refuseTooMany("groups", state.groups.length + groups.length, MAX_TRANSACTION_GROUPS);
  const event = { type: "GroupsAdded" as const, v: 1 as const, at: at.wall, groups };
  return { events: [event], volatile: [], effects: [], reply: null };
}

/** A repeat answers what the first one did; the other decision is refused. */
function decidePrepare(
  state: TransactionState,
  command: Command<"Prepare">,
  at: At,
): TransactionDecision {
  const { commit } = command;
  refuseForeign(state, command);
  const found = descriptionOf(state, command);
  if (found.state !== "open") {
    const isCommit = found.state === "committing" || found.state === "committed";
    if (isCommit === commit) return nothing(found);
    throw ended(state, command, found);
  }
  const reason = commit ? null : "asked";
  const decision = prepared(state, at, { reason, reply: null });
  return { ...decision, reply: { ...found, state: commit ? "committing" : "aborting", reason } };
}

/** `reason` null commits. */
function prepared(
  state: TransactionState,
  at: At,
  { reason, reply }: { reason: string | null; reply: unknown },
): TransactionDecision {
  const commit = reason === null;
  return {
    events: [{ type: "TransactionPrepared", v: 1, at: at.wall, commit, reason }],
    volatile: [deadline(null)],
    effects: [planOf(state, commit)],
    reply,
  };
}

function decideFinish(
  state: TransactionState,
  command: Command<"Finish">,
  at: At,
): TransactionDecision {
  if (state.phase === "idle" || state.phase === "open" || !isCurrent(state, command)) {
    return nothing(null);
  }
  return {
    events: [{ type: "TransactionEnded", v: 1, at: at.wall }],
    volatile: [deadline(at.monotonic + IDLE_ID_MS)],
    effects: [],
    reply: null,
  };
}

function decideTick(state: TransactionState, at: At): TransactionDecision {
  if (state.deadlineAt === null || at.monotonic < state.deadlineAt) return nothing(null);
  if (state.phase === "open") return prepared(state, at, { reason: "timed out", reply: null });
  const events: TransactionEvent[] = state.phase === "idle" && state.producerId >= 0
    ? [{ type: "TransactionalIdForgotten", v: 1, at: at.wall }]
    : [];
  return { events, volatile: [deadline(null)], effects: [], reply: null };
}

/** What was decided is carried out; the clocks start anew, since the monotonic one has. */
function decideRecovered(state: TransactionState, at: At): TransactionDecision {
  if (state.producerId < 0) return nothing(null);
  if (state.phase === "committing" || state.phase === "aborting") {
    return { ...nothing(null), effects: [planOf(state, state.phase === "committing")] };
  }
  const leftMs = state.phase === "open" ? state.timeoutMs : IDLE_ID_MS;
  return { ...nothing(null), volatile: [deadline(at.monotonic + leftMs)] };
}

function decideRecordState(state: TransactionState, at: At): TransactionDecision {
  if (isTransactionGone(state)) return nothing(null);
  return recorded({ type: "StateRecorded", v: 1, at: at.wall, state: encodeTransaction(state) });
}

function recorded(event: TransactionEvent): TransactionDecision {
  return { events: [event], volatile: [], effects: [], reply: null, large: true };
}

/** Whether `of` names the latest transaction. */
function isCurrent(state: TransactionState, of: TransactionIdentity): boolean {
  return of.producerId === state.producerId && of.producerEpoch === state.producerEpoch;
}

function identityOf({ transactionalId, producerId, producerEpoch }: TransactionState) {
  return { transactionalId, producerId, producerEpoch };
}

function planOf(state: TransactionState, commit: boolean): EndPlan {
  const { partitions, groups } = state;
  return { ...identityOf(state), commit, partitions, groups };
}

function partitionKey({ topicId, partition }: TransactionPartition): string {
  return `${topicId}/${partition}`;
}

/** The transaction of the id that has not ended; null when there is none. */
export function unfinished(state: TransactionState): UnfinishedTransaction | null {
  const { phase, reason, groups, startedAt, timeoutMs, principal } = state;
  if (phase === "idle") return null;
  const identity = identityOf(state);
  const partitions = state.partitions.map(({ topic, partition }) => ({ topic, partition }));
  const transactionId = transactionIdOf(identity);
  const shown = { transactionId, ...identity, state: phase, reason, partitions, groups };
  return { ...shown, startedAt, timeoutMs, principal };
}

/** Throws UNKNOWN_TRANSACTION, and PRODUCER_FENCED for one that ended too long ago to be remembered. */
function descriptionOf(state: TransactionState, of: TransactionIdentity): TransactionDescription {
  const { transactionalId, producerId, producerEpoch } = of;
  const transactionId = transactionIdOf(of);
  const who = { transactionId, transactionalId, producerId, producerEpoch };
  const current = isCurrent(state, of) ? unfinished(state) : null;
  if (current !== null) {
    const { state: phase, reason, partitions, groups } = current;
    return { ...who, state: phase, reason, partitions, groups };
  }
  const outcome = state.outcomes.find((one) =>
    one.producerId === producerId && one.producerEpoch === producerEpoch
  );
  if (outcome !== undefined) {
    const { committed, reason } = outcome;
    const phase = committed ? "committed" : "aborted";
    return { ...who, state: phase, reason, partitions: [], groups: [] };
  }
  refuseFenced(state, of);
  throw unknownTransaction(transactionId);
}

/** Throws UNKNOWN_TRANSACTION: what is another's does not exist for one. */
function refuseForeign(state: TransactionState, of: TransactionIdentity & AskedBy): void {
  if (mayActOn(state.owner, of.asker)) return;
  throw unknownTransaction(transactionIdOf(of));
}

function ownedByAnother({ transactionalId }: TransactionState): BrokerError {
  return new BrokerError(
    "FORBIDDEN",
    `the transactional id ${transactionalId} belongs to another principal`,
    { transactionalId },
  );
}

function refuseFenced(state: TransactionState, of: TransactionIdentity): void {
  const isOlder = of.producerId < state.producerId ||
    (of.producerId === state.producerId && of.producerEpoch < state.producerEpoch);
  if (!isOlder) return;
  throw new BrokerError(
    "PRODUCER_FENCED",
    `a newer holder of ${of.transactionalId} has begun a transaction`,
    { transactionalId: of.transactionalId, currentEpoch: state.producerEpoch },
  );
}

function refuseUnlessOpen(state: TransactionState, of: TransactionIdentity): void {
  refuseFenced(state, of);
  const found = descriptionOf(state, of);
  if (found.state !== "open") throw ended(state, of, found);
}

function ended(
  state: TransactionState,
  of: TransactionIdentity,
  { state: phase, reason, transactionId }: TransactionDescription,
): BrokerError {
  if (reason === "fenced") refuseFenced(state, of);
  const why = reason === null ? "" : ` (${reason})`;
  return new BrokerError(
    "INVALID_TRANSACTION_STATE",
    `transaction ${transactionId} is ${phase}${why}`,
    { transactionId, state: phase, ...(reason === null ? {} : { reason }) },
  );
}

function refuseTooMany(what: string, count: number, max: number): void {
  if (count <= max) return;
  throw new BrokerError("INVALID_REQUEST", `a transaction takes at most ${max} ${what}`, {
    count,
    max,
  });
}
