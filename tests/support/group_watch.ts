// Owns what must hold of a group after every single step, whatever the step was.
// Refuses to own which steps are taken. Invariant: it knows the state and what members were told, not how decisions are made.
import assert from "node:assert/strict";
import type { GroupEvent } from "../../actors/group/events.ts";
import { phaseOf } from "../../actors/group/describe.ts";
import { listOffsets } from "../../actors/group/offset_table.ts";
import { encodeGroupState, groupDeadline, type GroupState } from "../../actors/group/state.ts";
import { entriesOf, holds, lookUp } from "../../actors/group/table.ts";
import { listPartitions } from "../../actors/group/topic_partitions.ts";
import type { GroupNotification, JoinReply } from "../../actors/group/types.ts";
import type { TopicPartition } from "../../actors/broker.ts";
import { type GroupRun, replay } from "./group_run.ts";

const keyOf = ({ topic, partition }: TopicPartition) => `${topic}/${partition}`;

/** Owner by partition, what is being given up included. Fails when two own the same. */
export function ownersOf(state: GroupState): Map<string, string> {
  const owners = new Map<string, string>();
  const own = (memberId: string, at: TopicPartition) => {
    assert.ok(!owners.has(keyOf(at)), `${keyOf(at)}: ${owners.get(keyOf(at))} and ${memberId}`);
    assert.ok(holds(state.members, memberId), `${memberId} owns and is no member`);
    owners.set(keyOf(at), memberId);
  };
  for (const [memberId, set] of entriesOf(state.assignments)) {
    for (const at of listPartitions(set)) own(memberId, at);
  }
  for (const [memberId, list] of entriesOf(state.handovers)) {
    assert.ok(list.length > 0);
    for (const at of list) own(memberId, at);
  }
  return owners;
}

/** What may explain that a partition has another owner than before the step. */
export interface StepAllowance {
  readonly released?: { readonly memberId: string; readonly keys: ReadonlySet<string> };
  readonly rewinds?: boolean;
}

export class GroupWatch {
  /** By member: what it believes it may read, from nothing but replies and notifications. */
  readonly #views = new Map<string, Set<string>>();
  allowance: StepAllowance = {};

  constructor(readonly run: GroupRun) {
    run.onStep = (events, before) => this.#check(events, before);
  }

  joined(reply: JoinReply): void {
    this.#views.set(reply.memberId, new Set(reply.assignment.map(keyOf)));
    this.#compareViews();
  }

  /** Delivers what was told; call after every step that no crash has cut off. */
  deliver(): void {
    for (const { memberId, notification } of this.run.told) this.#deliverTo(memberId, notification);
    this.run.told.length = 0;
    this.#compareViews();
  }

  #deliverTo(memberId: string, notification: GroupNotification): void {
    const view = this.#views.get(memberId) ?? new Set();
    if (notification.type === "assigned") {
      this.#views.set(memberId, new Set(notification.partitions.map(keyOf)));
    } else if (notification.type === "revoked") {
      for (const at of notification.partitions) view.delete(keyOf(at));
    } else if (notification.type === "removed") this.#views.delete(memberId);
  }

  #compareViews(): void {
    const { state } = this.run;
    for (const [memberId, set] of entriesOf(state.assignments)) {
      const view = this.#views.get(memberId);
      if (view === undefined) continue;
      assert.deepEqual([...view].sort(), listPartitions(set).map(keyOf).sort(), memberId);
    }
  }

  #check(events: readonly GroupEvent[], before: GroupState): void {
    const { state } = this.run;
    const owners = ownersOf(state);
    this.#checkHandsOver(events, ownersOf(before), owners);
    this.#checkRevoked(events, before);
    const rebalances = events.filter(({ type }) => type === "Rebalanced").length;
    if (state.exists) assert.equal(state.generation, before.generation + rebalances);
    this.#checkOffsets(events, before);
    if (phaseOf(state) !== "empty") assert.notEqual(groupDeadline(state), null);
    if (phaseOf(state) === "empty") assert.equal(owners.size, 0);
    if (events.length > 0) this.checkJournal();
  }

  /** The journal alone gives the state, but for what is volatile. */
  checkJournal(): void {
    assert.deepEqual(
      encodeGroupState(replay(this.run.journal)),
      JSON.parse(JSON.stringify(encodeGroupState(this.run.state))),
    );
  }

  #checkHandsOver(
    events: readonly GroupEvent[],
    before: ReadonlyMap<string, string>,
    after: ReadonlyMap<string, string>,
  ): void {
    const renamed = new Map<string, string>();
    const forced = new Set<string>();
    for (const event of events) {
      if (event.type === "MemberUpdated") renamed.set(event.memberId, event.member.memberId);
      if (event.type === "PartitionsHandedOver" && event.reason === "timed out") {
        for (const { partitions } of event.handed) {
          for (const at of listPartitions(partitions)) forced.add(keyOf(at));
        }
      }
    }
    const gone = events.some(({ type }) => type === "PartitionCountsChanged");
    const { released } = this.allowance;
    for (const [key, was] of before) {
      const owner = after.get(key);
      if (owner === (renamed.get(was) ?? was) || (gone && owner === undefined)) continue;
      const allowed = !holds(this.run.state.members, was) || forced.has(key) ||
        (released?.memberId === was && released.keys.has(key));
      assert.ok(allowed, `${key} went from ${was} to ${owner} without being given up`);
    }
  }

  /** A rebalance asks of each member exactly what the new target gives to another, and of the others nothing. */
  #checkRevoked(events: readonly GroupEvent[], before: GroupState): void {
    if (!events.some(({ type }) => type === "Rebalanced")) return;
    const { state, told } = this.run;
    for (const [memberId, set] of entriesOf(before.assignments)) {
      if (!holds(state.members, memberId)) continue;
      const keeps = new Set(listPartitions(lookUp(state.assignments, memberId)!).map(keyOf));
      const lost = listPartitions(set).map(keyOf).filter((key) => !keeps.has(key));
      const revoked = told.filter((entry) => entry.memberId === memberId)
        .flatMap(({ notification }) =>
          notification.type === "revoked" ? notification.partitions.map(keyOf) : []
        );
      assert.deepEqual(revoked.sort(), lost.sort(), `what ${memberId} was told to give up`);
    }
  }

  #checkOffsets(events: readonly GroupEvent[], before: GroupState): void {
    if (this.allowance.rewinds) return;
    const dropped = new Set(
      events.flatMap((event) => event.type === "OffsetsDropped" ? event.dropped : [])
        .map(({ topic }) => topic),
    );
    if (!this.run.state.exists) return;
    const after = new Map(listOffsets(this.run.state.offsets).map((at) => [keyOf(at), at.offset]));
    for (const { offset, ...at } of listOffsets(before.offsets)) {
      if (dropped.has(at.topic)) continue;
      assert.ok(after.get(keyOf(at))! >= offset, `${keyOf(at)} fell from ${offset}`);
    }
  }
}
