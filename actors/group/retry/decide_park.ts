// Owns what happens to messages on their way to a member: those that have to wait behind a retry, those that are gone.
// Refuses to own handing retries out (decide_take.ts).
// Invariant: a message of a key that waits is parked before anything behind it is delivered; it is never delivered twice.
import type { TopicPartition } from "../../broker.ts";
import { Draft, type GroupContext, type GroupDecision } from "../draft.ts";
import { memberOf, refuseNotOwned, seen } from "../members.ts";
import type { GroupState } from "../state.ts";
import { refuseTooManyRetries } from "./bounds.ts";
import { trustedNow } from "./clock.ts";
import { columnOf, type OffsetsOfPartition, stepsOf } from "./events.ts";
import { queueOf } from "./evolve.ts";
import { heldPlaces, tellOwners } from "./owners.ts";
import { waitsBehind } from "./queue.ts";
import { entryAt, placeName, placeOf, policyOf } from "./state.ts";
import type { RetryCommand } from "./types.ts";

type Command<T extends RetryCommand["type"]> = Extract<RetryCommand, { type: T }>;

/** Throws UNKNOWN_MEMBER, STALE_GENERATION, OVERLOADED. */
export function decideParkBlocked(
  state: GroupState,
  command: Command<"ParkBlocked">,
  context: GroupContext,
): GroupDecision {
  const member = memberOf(state, command.memberId);
  refuseNotOwned(state, member, command);
  const { topic, partition, keyHashes = [] } = command;
  const { now, started } = trustedNow(state, context.at);
  const draft = new Draft(state, context);
  for (const event of started) draft.remember(event);
  draft.remember(seen(member, context.at));
  const place = placeOf(state.retry, command);
  const isByKey = policyOf(state.retry, topic).ordering === "blockKey";
  const parked: number[] = [];
  const added: { offset: number; keyHash: number }[] = [];
  command.offsets.forEach((offset, i) => {
    const keyHash = keyHashes[i] ?? null;
    if (place === null || !isByKey) return;
    if (entryAt(state.retry, { topic, partition, offset }) !== null) parked.push(offset);
    else if (keyHash !== null && waitsBehind(queueOf(state), { place, keyHash })) {
      parked.push(offset);
      added.push({ offset, keyHash });
    }
  });
  if (added.length > 0) {
    refuseTooManyRetries(state, added.length, context.settings);
    draft.record({
      type: "RetriesScheduled",
      v: 1,
      at: now,
      cause: "parked",
      principal: null,
      memberId: command.memberId,
      retries: [{
        topic,
        partition,
        offsets: stepsOf(added.map(({ offset }) => offset)),
        attempts: 1,
        waitsMs: 0,
        keys: columnOf(added.map(({ keyHash }) => keyHash)),
      }],
    });
  }
  return draft.finish(() => ({ parked }));
}

/** The messages are no longer in the log. */
export function decideForgetRetries(
  state: GroupState,
  command: Command<"ForgetRetries">,
  context: GroupContext,
): GroupDecision {
  const { now, started } = trustedNow(state, context.at);
  const draft = new Draft(state, context);
  for (const event of started) draft.remember(event);
  const lost = byPartition(command.retries.filter((at) => entryAt(state.retry, at) !== null));
  if (lost.length > 0) {
    draft.record({ type: "RetriesSettled", v: 1, at: now, reason: "lost", settled: lost });
  }
  tellOwners(draft, heldPlaces(state, draft.state, lost));
  return draft.finish(() => null);
}

function byPartition(
  items: readonly (TopicPartition & { readonly offset: number })[],
): OffsetsOfPartition[] {
  const blocks = new Map<string, { at: TopicPartition; offsets: Set<number> }>();
  for (const { topic, partition, offset } of items) {
    const name = placeName({ topic, partition });
    const block = blocks.get(name) ?? { at: { topic, partition }, offsets: new Set() };
    blocks.set(name, block);
    block.offsets.add(offset);
  }
  return [...blocks.values()].map(({ at, offsets }) => ({
    ...at,
    offsets: stepsOf([...offsets].sort((a, b) => a - b)),
  }));
}
