// Owns what is decided about retries beside single messages: policies, redeliveries by jobs, writing dead letters.
// Refuses to own nacks (decide_nack.ts) and delivering (decide_take.ts).
// Invariant: a chunk of a job is taken once, a dead letter is removed only when it is durable where it belongs.
import { BrokerError } from "../../../storage/broker_error.ts";
import { Draft, type GroupContext, type GroupDecision, onlyVolatile } from "../draft.ts";
import { refuseUnknownGroup } from "../members.ts";
import type { GroupState } from "../state.ts";
import { entriesOf, lookUp, sortedKeys } from "../table.ts";
import { refuseTooManyRetries } from "./bounds.ts";
import { trustedNow } from "./clock.ts";
import { columnOf, stepsOf } from "./events.ts";
import { heldPlaces, tellOwners } from "./owners.ts";
import { DEFAULT_RETRY_POLICY } from "./policy.ts";
import { entryAt, NO_KEY, partitionOfName, placeName } from "./state.ts";
import type { PendingDeadLettersReply, RetryCommand, RetryPoliciesReply } from "./types.ts";

type Command<T extends RetryCommand["type"]> = Extract<RetryCommand, { type: T }>;

/** What is delivered because a job wants it so is a redelivery, whatever was before. */
const REDELIVERED_ATTEMPT = 2;

/** Makes the group if nobody has heard of it. */
export function decideSetRetryPolicy(
  state: GroupState,
  { topic, policy, principal }: Command<"SetRetryPolicy">,
  context: GroupContext,
): GroupDecision {
  const { now, started } = trustedNow(state, context.at);
  const draft = new Draft(state, context);
  for (const event of started) draft.remember(event);
  draft.record({ type: "RetryPolicySet", v: 1, at: now, topic: topic ?? null, policy, principal });
  for (const memberId of sortedKeys(state.members)) {
    draft.tell(memberId, { type: "retries", partitions: [] });
  }
  return draft.finish(shownPolicies);
}

/** Throws UNKNOWN_GROUP. */
export function decideRetryPolicies(state: GroupState): GroupDecision {
  refuseUnknownGroup(state);
  return onlyVolatile([], shownPolicies(state));
}

function shownPolicies({ retry: { policies } }: GroupState): RetryPoliciesReply {
  const topics = sortedKeys(policies).filter((topic) => topic !== "")
    .map((topic) => ({ topic, policy: lookUp(policies, topic)! }));
  return { policy: lookUp(policies, "") ?? DEFAULT_RETRY_POLICY, topics };
}

/** Throws UNKNOWN_GROUP, OVERLOADED, INVALID_REQUEST. */
export function decideRedeliver(
  state: GroupState,
  command: Command<"Redeliver">,
  context: GroupContext,
): GroupDecision {
  refuseUnknownGroup(state);
  const { jobId, chunk, topic, partition, offsets, principal = null } = command;
  refuseDisorder(command);
  const last = state.retry.jobs.find(([known]) => known === jobId)?.[1] ?? -1;
  if (chunk <= last) return onlyVolatile([], { accepted: 0 });
  const added: number[] = [];
  const keys: number[] = [];
  offsets.forEach((offset, i) => {
    if (entryAt(state.retry, { topic, partition, offset }) !== null) return;
    added.push(offset);
    keys.push(command.keyHashes?.[i] ?? NO_KEY);
  });
  refuseTooManyRetries(state, added.length, context.settings);
  const { now, started } = trustedNow(state, context.at);
  const draft = new Draft(state, context);
  for (const event of started) draft.remember(event);
  const block = { topic, partition, offsets: stepsOf(added), waitsMs: 0 };
  const hashes = keys.every((key) => key === NO_KEY) ? {} : { keys: columnOf(keys) };
  const retries = [{ ...block, attempts: REDELIVERED_ATTEMPT, ...hashes }];
  draft.record({
    type: "RetriesScheduled",
    v: 1,
    at: now,
    cause: "job",
    principal,
    memberId: null,
    job: { jobId, chunk },
    retries: added.length === 0 ? [] : retries,
  });
  tellOwners(draft, heldPlaces(state, draft.state, [{ topic, partition }]));
  return draft.finish(() => ({ accepted: added.length }));
}

function refuseDisorder({ topic, partition, offsets, chunk }: Command<"Redeliver">): void {
  const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0;
  const inOrder = offsets.every((offset, i) =>
    isCount(offset) && (i === 0 || offset > offsets[i - 1]!)
  );
  if (inOrder && isCount(chunk) && isCount(partition)) return;
  throw new BrokerError(
    "INVALID_REQUEST",
    `chunk ${chunk} of partition ${partition} of ${topic} is not in ascending order of offsets`,
    { topic, partition, chunk },
  );
}

export function decidePendingDeadLetters(
  { retry }: GroupState,
  { maxPartitions, maxPerPartition }: Command<"PendingDeadLetters">,
): GroupDecision {
  const partitions = [];
  for (const [name, letters] of entriesOf(retry.outbox)) {
    if (partitions.length === maxPartitions) break;
    partitions.push({ ...partitionOfName(name), letters: letters.slice(0, maxPerPartition) });
  }
  const reply: PendingDeadLettersReply = { producer: retry.producer, partitions };
  return onlyVolatile([], reply);
}

export function decideSetDeadLetterProducer(
  state: GroupState,
  { producerId, producerEpoch, replaces }: Command<"SetDeadLetterProducer">,
  context: GroupContext,
): GroupDecision {
  if ((state.retry.producer?.producerId ?? null) !== replaces) return onlyVolatile([], null);
  const { now, started } = trustedNow(state, context.at);
  const draft = new Draft(state, context);
  for (const event of started) draft.remember(event);
  draft.record({ type: "DeadLetterProducerSet", v: 1, at: now, producerId, producerEpoch });
  return draft.finish(() => null);
}

export function decideDeadLettersWritten(
  state: GroupState,
  { topic, partition, sequences }: Command<"DeadLettersWritten">,
  context: GroupContext,
): GroupDecision {
  const letters = lookUp(state.retry.outbox, placeName({ topic, partition })) ?? [];
  const written = sequences.filter((one) => letters.some(({ sequence }) => sequence === one));
  if (written.length === 0) return onlyVolatile([], null);
  const { now, started } = trustedNow(state, context.at);
  const draft = new Draft(state, context);
  for (const event of started) draft.remember(event);
  draft.record({
    type: "DeadLettersWritten",
    v: 1,
    at: now,
    topic,
    partition,
    sequences: written,
  });
  return draft.finish(() => null);
}
