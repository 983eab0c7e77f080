// Owns proof of a partition's decisions: offsets, epochs, the high watermark.
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  checkFetchOffset,
  decideAppend,
  evolvePartition,
  openedPartition,
  type PartitionEvent,
} from "../actors/partition/decide.ts";
import { BrokerError } from "../storage/broker_error.ts";

const leader = () =>
  openedPartition({
    name: "orders/0",
    nodeId: "1",
    leaderEpoch: 5,
    logStartOffset: 10,
    flushedOffset: 20,
  });

const hasCode = (code: string) => (error: unknown) =>
  error instanceof BrokerError && error.code === code;

Deno.test("partition gives batches the offsets behind the log end, without gaps", () => {
  const { baseOffsets, events } = decideAppend(leader(), {
    leaderEpoch: 5,
    lastOffsetDeltas: [0, 9, 2],
  });
  assert.deepEqual(baseOffsets, [20, 21, 31]);
  assert.deepEqual(events, [{ type: "BatchesAppended", logEndOffset: 34 }]);
});

Deno.test("partition refuses an append of an older and of a newer leader epoch", () => {
  for (const leaderEpoch of [4, 6]) {
    assert.throws(
      () => decideAppend(leader(), { leaderEpoch, lastOffsetDeltas: [0] }),
      hasCode("STALE_EPOCH"),
    );
  }
});

Deno.test("partition shows nothing to readers before it is flushed", () => {
  const appended = evolvePartition(leader(), { type: "BatchesAppended", logEndOffset: 25 });
  assert.equal(appended.highWatermark, 20);
  const flushed = evolvePartition(appended, {
    type: "ReplicaFlushed",
    nodeId: "1",
    flushedOffset: 25,
  });
  assert.equal(flushed.highWatermark, 25);
});

Deno.test("partition's high watermark is the least that the in-sync replicas have flushed", () => {
  let state = evolvePartition(leader(), { type: "BatchesAppended", logEndOffset: 40 });
  state = evolvePartition(state, { type: "ReplicaFlushed", nodeId: "2", flushedOffset: 20 });
  state = evolvePartition(state, { type: "ReplicaFlushed", nodeId: "1", flushedOffset: 40 });
  assert.equal(state.highWatermark, 20);
  state = evolvePartition(state, { type: "ReplicaFlushed", nodeId: "2", flushedOffset: 30 });
  assert.equal(state.highWatermark, 30);
});

Deno.test("partition refuses offsets on either side of what can be read, with the range", () => {
  for (const offset of [9, 21]) {
    assert.throws(() => checkFetchOffset(leader(), offset), (error) => {
      assert.ok(hasCode("OFFSET_OUT_OF_RANGE")(error));
      assert.deepEqual((error as BrokerError).details, { logStartOffset: 10, highWatermark: 20 });
      return true;
    });
  }
  for (const offset of [10, 15, 20]) checkFetchOffset(leader(), offset);
});

Deno.test("partition keeps start, watermark and end in order whatever happens", () => {
  const event = fc.oneof(
    fc.nat(50).map((more): PartitionEvent => ({ type: "BatchesAppended", logEndOffset: more })),
    fc.tuple(fc.constantFrom("1", "2"), fc.nat(100)).map((
      [nodeId, flushedOffset],
    ): PartitionEvent => ({
      type: "ReplicaFlushed",
      nodeId,
      flushedOffset,
    })),
  );
  fc.assert(fc.property(fc.array(event, { maxLength: 30 }), (events) => {
    let state = leader();
    for (const each of events) {
      const before = state;
      const next: PartitionEvent = each.type === "BatchesAppended"
        ? { ...each, logEndOffset: state.logEndOffset + each.logEndOffset }
        : each;
      state = evolvePartition(state, next);
      assert.ok(state.logStartOffset <= state.highWatermark);
      assert.ok(state.highWatermark <= state.logEndOffset);
      assert.ok(state.highWatermark >= before.highWatermark);
    }
  }));
});
