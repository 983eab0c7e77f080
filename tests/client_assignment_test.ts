// Owns what assignments, revocations and reconnects do to a consumer's partitions, frame by frame.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { Assignment } from "../api/client/assignment.ts";
import type { AssignedPartition, MessagesFrame } from "../api/client/frames.ts";
import { parseServerFrame } from "../api/client/frames.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { setBaseOffset } from "../storage/format/record_batch.ts";

const AT = { topic: "orders", partition: 0 };

function batch(from: number, to: number): Uint8Array {
  const records = Array.from({ length: to - from }, (_, index) => ({
    key: null,
    value: `${from + index}`,
    headers: [],
    timestamp: 0,
  }));
  const bytes = encodeBatch(records, { crc32c });
  setBaseOffset(bytes, 0, from);
  return bytes;
}

/** A frame whose one batch holds [from, to), of which [offset, nextOffset) is meant. */
function messages(
  from: number,
  to: number,
  more: { offset?: number; nextOffset?: number; attempt?: number } = {},
): MessagesFrame {
  return {
    type: "messages",
    ...AT,
    highWatermark: to,
    offset: from,
    nextOffset: to,
    ...more,
    batches: batch(from, to),
  };
}

function assigned(assignment: Assignment, offset: number, more: Partial<AssignedPartition> = {}) {
  return assignment.assigned({
    type: "assigned",
    generation: 1,
    partitions: [{ ...AT, offset, leaderEpoch: 0, ...more }],
  });
}

/** An assignment that was told partition 0 from `offset` on. */
function begun(offset = 0): Assignment {
  const assignment = new Assignment();
  assignment.welcomed(false);
  assigned(assignment, offset);
  return assignment;
}

/** Gives everything that can be given; `offset*attempt` for redeliveries. */
function give(assignment: Assignment): string[] {
  const given: string[] = [];
  for (let state = assignment.nextTurn(); state !== null; state = assignment.nextTurn()) {
    const handOut = state.take(crc32c)!;
    for (const { offset } of handOut.records) {
      state.give(offset, handOut);
      const attempt = handOut.attemptOf(offset);
      given.push(attempt === 1 ? `${offset}` : `${offset}*${attempt}`);
    }
    state.handedOut(handOut);
  }
  return given;
}

Deno.test("of a batch that is sent twice for want of room each part is given once", () => {
  const assignment = begun();
  assignment.receive(messages(0, 10, { nextOffset: 4 }));
  assignment.receive(messages(0, 10, { offset: 4 }));
  assert.deepEqual(give(assignment), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
});

Deno.test("a reconnect gives nothing twice and drops nothing that waits", () => {
  const assignment = begun();
  assignment.receive(messages(0, 4));
  assert.deepEqual(give(assignment), ["0", "1", "2", "3"]);
  assignment.receive(messages(4, 8));
  assignment.welcomed(true);
  assigned(assignment, 2);
  assignment.receive(messages(2, 10));
  assert.deepEqual(give(assignment), ["4", "5", "6", "7", "8", "9"]);
});

Deno.test("what others have committed past during an absence is not given any more", () => {
  const assignment = begun();
  assignment.receive(messages(0, 8));
  assignment.welcomed(true);
  assigned(assignment, 20);
  assert.deepEqual(give(assignment), []);
  assignment.receive(messages(20, 22));
  assert.deepEqual(give(assignment), ["20", "21"]);
});

Deno.test("offsets that an operator turned back are given again, in a connection and across one", () => {
  const inside = begun();
  inside.receive(messages(0, 6));
  give(inside);
  assigned(inside, 2);
  inside.receive(messages(2, 6));
  assert.deepEqual(give(inside), ["2", "3", "4", "5"]);

  const across = begun();
  across.receive(messages(0, 6));
  give(across);
  across.state(AT)!.settleBelow(6);
  across.welcomed(true);
  assigned(across, 3);
  across.receive(messages(3, 6));
  assert.deepEqual(give(across), ["3", "4", "5"]);
});

Deno.test("a start anew after the log was cut is taken over", () => {
  const assignment = begun();
  assignment.receive(messages(0, 6));
  give(assignment);
  assignment.welcomed(true);
  assigned(assignment, 4, { reset: { committed: 0 } });
  assignment.receive(messages(4, 8));
  assert.deepEqual(give(assignment), ["4", "5", "6", "7"]);
});

Deno.test("without the broker's memory of the member everything begins again", () => {
  const assignment = begun();
  assignment.receive(messages(0, 6));
  give(assignment);
  const state = assignment.state(AT)!;
  assert.deepEqual(assignment.welcomed(false), [state]);
  assert.equal(state.gone, true);
  assert.equal(assigned(assignment, 1).added.length, 1);
  assignment.receive(messages(1, 6));
  assert.deepEqual(give(assignment), ["1", "2", "3", "4", "5"]);
});

Deno.test("a partition that the first assignment after a reconnect leaves out is lost", () => {
  const assignment = begun();
  const state = assignment.state(AT)!;
  assignment.welcomed(true);
  const none = { type: "assigned" as const, generation: 2, partitions: [] };
  assert.deepEqual(assignment.assigned(none).lost, [state]);
  assert.equal(assignment.size, 0);
});

Deno.test("a partition that is asked back gives nothing, and everything when the group thinks better of it", () => {
  const assignment = begun();
  assignment.receive(messages(0, 4));
  assert.equal(assignment.revoked([AT]).length, 1);
  assert.deepEqual(give(assignment), []);
  assert.equal(assigned(assignment, 4).mustReconnect, false);
  assert.deepEqual(give(assignment), ["0", "1", "2", "3"]);
});

Deno.test("a partition given back while it was being released calls for a new connection", () => {
  const assignment = begun();
  assignment.receive(messages(0, 4));
  const [state] = assignment.revoked([AT]);
  assignment.release(state!);
  assert.equal(assigned(assignment, 4).mustReconnect, true, "0 to 3 would be lost otherwise");
  assignment.welcomed(true);
  assert.equal(assigned(assignment, 0).mustReconnect, false);
  assignment.receive(messages(0, 4));
  assert.deepEqual(give(assignment), ["0", "1", "2", "3"]);
});

Deno.test("a partition that comes back after others had it starts where they left it", () => {
  const assignment = begun();
  assignment.receive(messages(0, 4));
  const [state] = assignment.revoked([AT]);
  assignment.release(state!);
  assert.equal(assigned(assignment, 50).mustReconnect, false);
  assignment.receive(messages(50, 51));
  assert.deepEqual(give(assignment), ["50"]);
});

Deno.test("a redelivery is given though it lies below what was received", () => {
  const assignment = begun();
  assignment.receive(messages(0, 6));
  give(assignment);
  const state = assignment.state(AT)!;
  state.nack(2, 1);
  assignment.receive(messages(0, 6, { offset: 2, nextOffset: 3, attempt: 2 }));
  assert.deepEqual(give(assignment), ["2*2"]);
  assert.equal(state.handed, 6);
  assert.deepEqual([...state.redelivered.values()], [{ offset: 2, handed: 6 }]);
});

Deno.test("a nack that the lost connection took with it is made good by the next one", () => {
  const assignment = begun();
  assignment.receive(messages(0, 6));
  give(assignment);
  const state = assignment.state(AT)!;
  state.nack(4, 3);
  state.nack(1, 1);
  assignment.welcomed(true);
  assigned(assignment, 3);
  assert.equal(state.mustNotPass(6), true);
  assignment.receive(messages(0, 6, { offset: 3 }));
  assert.equal(state.mustNotPass(6), false);
  assert.deepEqual(give(assignment), ["4*4"]);
});

Deno.test("a nack that the broker has confirmed is its own affair, a lost connection changes nothing", () => {
  const assignment = begun();
  assignment.receive(messages(0, 6));
  give(assignment);
  const state = assignment.state(AT)!;
  state.nack(4, 1);
  state.nackKept(4);
  assignment.welcomed(true);
  assigned(assignment, 3);
  assert.equal(state.mustNotPass(6), false);
  assignment.receive(messages(0, 6, { offset: 5 }));
  assert.deepEqual(give(assignment), []);
  assignment.receive(messages(0, 6, { offset: 4, nextOffset: 5, attempt: 2 }));
  assert.deepEqual(give(assignment), ["4*2"]);
});

Deno.test("what had to wait for another of its key is given though later ones were received", () => {
  const assignment = begun();
  assignment.receive(messages(0, 2));
  assignment.receive(messages(0, 6, { offset: 3 }));
  assert.deepEqual(give(assignment), ["0", "1", "3", "4", "5"]);
  assignment.receive(messages(0, 6, { offset: 2, nextOffset: 3, attempt: 1 }));
  assert.deepEqual(give(assignment), ["2"]);
});

Deno.test("in a pause nothing comes again, and a commit passes over what was nacked", () => {
  const assignment = begun();
  assignment.receive(messages(0, 6));
  give(assignment);
  const state = assignment.state(AT)!;
  state.nack(4, 1);
  assert.equal(state.mustNotPass(6), false, "the broker knows of it");
  assignment.welcomed(true);
  assigned(assignment, 0);
  assert.equal(state.mustNotPass(6), true);
  assert.equal(state.mustNotPass(4), false);
  state.paused = true;
  assert.equal(state.mustNotPass(6), false);
  assert.deepEqual(state.takePassedOver(6), [4]);
  assert.deepEqual(state.takePassedOver(6), []);
});

Deno.test("partitions take turns", () => {
  const assignment = new Assignment();
  assignment.welcomed(false);
  const partitions = [0, 1, 2].map((partition) => ({
    ...AT,
    partition,
    offset: 0,
    leaderEpoch: 0,
  }));
  assignment.assigned({ type: "assigned", generation: 1, partitions });
  for (const partition of [0, 0, 0, 1, 1, 2]) {
    const state = assignment.state({ ...AT, partition })!;
    const from = state.received;
    assignment.receive({ ...messages(from, from + 1), partition });
  }
  const order: number[] = [];
  for (let state = assignment.nextTurn(); state !== null; state = assignment.nextTurn()) {
    order.push(state.partition);
    state.take(crc32c);
  }
  assert.deepEqual(order, [0, 1, 2, 0, 1, 0]);
  assert.equal(assignment.waitingBytes, 0);
});

Deno.test("frames that are none are refused", () => {
  const wrong = ["", "[]", "7", "{}", "{", new ArrayBuffer(2), new Uint8Array([0, 0, 1, 0, 1]), 7];
  for (const data of wrong) assert.throws(() => parseServerFrame(data), { code: "BAD_RESPONSE" });
  const header = new TextEncoder().encode('{"type":"heartbeat"}');
  const frame = new Uint8Array(4 + header.length);
  frame[3] = header.length;
  frame.set(header, 4);
  assert.throws(() => parseServerFrame(frame.buffer), { code: "BAD_RESPONSE" });
});
