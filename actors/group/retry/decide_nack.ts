// Owns what becomes of messages that failed: another attempt, or a dead letter, and when too many are dead, a pause.
// Refuses to own the wait itself (policy.ts) and delivering (decide_take.ts).
// Invariant: all nacks of a command or none; a message waits at most once, and once it is done it does not come back.
import { BrokerError } from "../../../storage/broker_error.ts";
import type { TopicPartition } from "../../broker.ts";
import { Draft, type GroupContext, type GroupDecision } from "../draft.ts";
import {
  memberOf,
  refuseNotOwned,
  refuseOtherGeneration,
  refuseUnknownGroup,
  seen,
} from "../members.ts";
import type { GroupState } from "../state.ts";
import { lookUp, sortedKeys } from "../table.ts";
import { refuseTooManyRetries } from "./bounds.ts";
import { trustedNow } from "./clock.ts";
import { columnOf, type DeadLettersDue, type ScheduledRetries, stepsOf } from "./events.ts";
import { heldPlaces, tellOwners } from "./owners.ts";
import { DEADLINE_EXCEEDED, NON_RETRYABLE, retryDelayMs } from "./policy.ts";
import {
  ATTEMPT,
  attemptsOfDead,
  deadLettersOfMinute,
  DUE_AT,
  entryAt,
  FIRST_AT,
  isDone,
  KEY_HASH,
  NO_KEY,
  placeName,
  policyOf,
} from "./state.ts";
import type { Nack, NackResult, RetryCommand } from "./types.ts";

type NackCommand = Extract<RetryCommand, { type: "Nack" }>;

/** Who pauses a group in which too much dies. */
const BREAKER = "system:dead-letter-breaker";

interface Retry {
  readonly offset: number;
  readonly attempt: number;
  readonly waitMs: number;
  readonly keyHash: number;
}

/** What the nacks of one command lead to. */
interface Verdicts {
  /** By `topic/partition`. */
  readonly retries: Map<string, { readonly at: TopicPartition; readonly items: Retry[] }>;
  readonly letters: DeadLettersDue["letters"][number][];
  readonly results: NackResult[];
  added: number;
}

/** Throws as RetryCommand says of Nack. */
export function decideNack(
  state: GroupState,
  command: NackCommand,
  context: GroupContext,
): GroupDecision {
  const { memberId, asker } = command;
  const member = memberId === undefined ? null : memberOf(state, memberId, asker);
  refuseUnknownGroup(state);
  refuseOtherGeneration(state, command);
  refuseRepeats(command.nacks);
  const { now, started } = trustedNow(state, context.at);
  const verdicts: Verdicts = { retries: new Map(), letters: [], results: [], added: 0 };
  for (const nack of command.nacks) {
    refuseMalformed(nack, context);
    if (member !== null) refuseNotOwned(state, member, nack);
    judge(state, { nack, now }, verdicts);
  }
  refuseTooMany(state, verdicts, context);
  const draft = new Draft(state, context);
  for (const event of started) draft.remember(event);
  if (member !== null) draft.remember(seen(member, context.at));
  record(draft, command, { verdicts, now });
  trip(draft, now);
  const { results } = verdicts;
  const held = heldPlaces(state, draft.state, results);
  tellOwners(draft, held, command.fromOutside ? results : []);
  return draft.finish(() => ({ results }));
}

function judge(
  state: GroupState,
  { nack, now }: { nack: Nack; now: number },
  verdicts: Verdicts,
): void {
  const { topic, partition, offset, code } = nack;
  const at = { topic, partition, offset };
  const entry = entryAt(state.retry, nack);
  const failed = entry?.[ATTEMPT] ?? 1;
  if (entry === null && answeredBefore(state, nack, verdicts)) return;
  if (nack.attempt !== undefined && nack.attempt !== failed) {
    if (entry === null || nack.attempt !== failed - 1) throw notThisAttempt(nack, entry);
    verdicts.results.push({ ...at, attempt: nack.attempt, nextAttemptAt: entry[DUE_AT]! });
    return;
  }
  const policy = policyOf(state.retry, topic);
  const waitMs = nack.delayMs ?? retryDelayMs(policy, failed, nack.fraction);
  const isOver = code === NON_RETRYABLE || failed >= policy.maxAttempts;
  const firstAt = entry?.[FIRST_AT] ?? now;
  const isLate = policy.deadlineMs !== null && now + waitMs > firstAt + policy.deadlineMs;
  if (isOver || isLate) {
    const why = code ?? (isOver ? null : DEADLINE_EXCEEDED);
    const reason = nack.reason ?? null;
    verdicts.letters.push({ ...at, attempts: failed, code: why, reason });
    verdicts.results.push({ ...at, attempt: failed, deadLettered: true });
    return;
  }
  const keyHash = entry?.[KEY_HASH] ?? nack.keyHash ?? NO_KEY;
  if (entry === null) verdicts.added += 1;
  const name = placeName(at);
  const block = verdicts.retries.get(name) ?? { at: { topic, partition }, items: [] };
  verdicts.retries.set(name, block);
  block.items.push({ offset, attempt: failed + 1, waitMs, keyHash });
  verdicts.results.push({ ...at, attempt: failed, nextAttemptAt: now + waitMs });
}

/** What has become a dead letter, written or not, is one still; what is done otherwise is not to be tried again. */
function answeredBefore(state: GroupState, nack: Nack, verdicts: Verdicts): boolean {
  const { topic, partition, offset } = nack;
  const attempt = attemptsOfDead(state.retry, nack) ?? attemptsInOutbox(state, nack);
  if (attempt !== null) {
    verdicts.results.push({ topic, partition, offset, attempt, deadLettered: true });
    return true;
  }
  if (isDone(state.retry, nack)) throw notThisAttempt(nack, null);
  return false;
}

/** Of a dead letter to be written that is not remembered any more. */
function attemptsInOutbox({ retry }: GroupState, nack: Nack): number | null {
  if (retry.outboxSize === 0) return null;
  const letters = lookUp(retry.outbox, placeName(nack)) ?? [];
  const letter = letters.find(({ offset, gone }) => offset === nack.offset && gone !== true);
  return letter?.attempts ?? null;
}

function notThisAttempt(nack: Nack, entry: readonly number[] | null): BrokerError {
  const { topic, partition, offset, attempt } = nack;
  const waits = entry === null
    ? "does not wait for a retry: it is done"
    : `is at attempt ${entry[ATTEMPT]}, not ${attempt}`;
  return new BrokerError(
    "INVALID_REQUEST",
    `the message at ${offset} of partition ${partition} of ${topic} ${waits}`,
    { topic, partition, offset, ...(attempt === undefined ? {} : { attempt }) },
  );
}

function refuseRepeats(nacks: readonly Nack[]): void {
  if (nacks.length < 2) return;
  const named = new Map<string, Set<number>>();
  let [last, offsets] = [nacks[0]!, new Set<number>()];
  named.set(placeName(last), offsets);
  for (const nack of nacks) {
    const { topic, partition, offset } = nack;
    // Mostly they are of one partition, or come partition by partition.
    if (partition !== last.partition || topic !== last.topic) {
      offsets = named.get(placeName(nack)) ?? new Set();
      named.set(placeName(nack), offsets);
    }
    last = nack;
    if (offsets.has(offset)) {
      throw new BrokerError(
        "INVALID_REQUEST",
        `offset ${offset} of partition ${partition} of ${topic} is named more than once`,
        { topic, partition, offset },
      );
    }
    offsets.add(offset);
  }
}

function refuseMalformed(nack: Nack, { settings }: GroupContext): void {
  const { topic, partition, offset, endOffset } = nack;
  const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0;
  if (!isCount(partition) || partition >= settings.maxPartitionsPerGroup || !isCount(offset)) {
    throw new BrokerError(
      "INVALID_REQUEST",
      `offset ${offset} of partition ${partition} of ${topic} cannot be`,
      { topic, partition, offset },
    );
  }
  if (offset >= endOffset) {
    throw new BrokerError(
      "OFFSET_OUT_OF_RANGE",
      `partition ${partition} of ${topic} has no message at ${offset}: it ends at ${endOffset}`,
      { topic, partition, offset, endOffset },
    );
  }
}

function refuseTooMany(
  state: GroupState,
  { added, letters }: Verdicts,
  { settings }: GroupContext,
): void {
  refuseTooManyRetries(state, added, settings);
  const { groupId, retry: { outboxSize } } = state;
  const { maxDeadLettersWaiting } = settings;
  if (letters.length === 0 || outboxSize + letters.length <= maxDeadLettersWaiting) return;
  throw new BrokerError(
    "OVERLOADED",
    `group ${groupId} has ${outboxSize} dead letters to be written, ${maxDeadLettersWaiting} may wait`,
    { groupId, maxDeadLettersWaiting },
  );
}

function record(
  draft: Draft,
  { principal, memberId }: NackCommand,
  { verdicts, now: at }: { verdicts: Verdicts; now: number },
): void {
  const who = { principal, memberId: memberId ?? null };
  const retries = [...verdicts.retries.values()].map((block) => scheduledBlock(block));
  if (retries.length > 0) {
    draft.record({ type: "RetriesScheduled", v: 1, at, cause: "nack", ...who, retries });
  }
  const { letters } = verdicts;
  if (letters.length > 0) draft.record({ type: "DeadLettersDue", v: 1, at, ...who, letters });
}

function scheduledBlock(
  { at: { topic, partition }, items }: { at: TopicPartition; items: Retry[] },
): ScheduledRetries {
  items.sort((a, b) => a.offset - b.offset);
  const keys = items.map(({ keyHash }) => keyHash);
  return {
    topic,
    partition,
    offsets: stepsOf(items.map(({ offset }) => offset)),
    attempts: columnOf(items.map(({ attempt }) => attempt)),
    waitsMs: columnOf(items.map(({ waitMs }) => waitMs)),
    ...(keys.every((keyHash) => keyHash === NO_KEY) ? {} : { keys: columnOf(keys) }),
  };
}

/** A group in which more dies than anyone would look through is stopped, not flooded. */
function trip(draft: Draft, now: number): void {
  const { maxDeadLettersPerMinute: limit } = draft.context.settings;
  const { state } = draft;
  if (limit === 0 || state.paused !== null) return;
  const count = deadLettersOfMinute(state.retry, now);
  if (count <= limit) return;
  const reason = `${count} dead letters within a minute, more than ${limit}`;
  const at = draft.context.at.wall;
  draft.record({ type: "GroupPaused", v: 1, at, reason, principal: BREAKER });
  for (const memberId of sortedKeys(state.members)) {
    draft.tell(memberId, { type: "paused", reason });
  }
}
