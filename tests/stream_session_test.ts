// Owns tests of the state machine of a consuming session, without sockets, frames or reading: window, turns, assignment.
// Refuses to own what retries do to it (stream_session_retries_test.ts).
import assert from "node:assert/strict";
import { at, deliver, holding, nack, TOPIC } from "./support/session_scene.ts";

Deno.test("a session stops at its window and goes on when something is committed", () => {
  const session = holding(1, 10);
  deliver(session, 10);
  assert.equal(session.room, 0);
  assert.equal(session.nextTurn(0), null);
  session.committed(at(0, 4));
  assert.equal(session.room, 4);
  assert.equal(session.nextTurn(0)?.held.position, 10);
});

Deno.test("a session serves its partitions in turn", () => {
  const session = holding(3, 100);
  const served = Array.from({ length: 6 }, () => deliver(session, 1).partition);
  assert.deepEqual(served, [0, 1, 2, 0, 1, 2]);
});

Deno.test("a nacked message leaves the window when the group knows, and takes room again when it comes again", () => {
  const session = holding(1, 2);
  deliver(session, 2);
  assert.equal(session.nacking(at(0, 1)), 1);
  assert.equal(session.room, 0, "the group has not confirmed it yet");
  session.nacked(at(0, 1), { refused: false });
  assert.equal(session.room, 1);
  session.redeliveries.schedule({ key: "orders/0", offset: 1, attempt: 2, dueAt: 0 });
  const turn = session.nextTurn(0);
  assert.ok(turn?.kind === "redelivery");
  session.redelivered(turn);
  assert.equal(session.room, 0);
  assert.equal(session.nacking(at(0, 1)), 2);
  session.nacked(at(0, 1), { refused: true });
  assert.equal(session.room, 0, "refused, it stays in flight");
  assert.equal(session.nacking(at(0, 1)), 2);
});

Deno.test("a session refuses to nack what is not in flight, and what is nacked already", () => {
  const session = holding(1, 10);
  deliver(session, 5);
  assert.throws(() => session.nacking(at(0, 7)), { code: "INVALID_REQUEST" });
  assert.throws(() => session.nacking(at(1, 0)), { code: "STALE_GENERATION" });
  session.nacking(at(0, 0));
  assert.throws(() => session.nacking(at(0, 0)), { code: "INVALID_REQUEST" });
  session.nacked(at(0, 0), { refused: false });
  assert.throws(() => session.nacking(at(0, 0)), { code: "INVALID_REQUEST" });
  assert.equal(session.inFlight, 4);
});

Deno.test("a commit past a nacked message does not call its redelivery off", () => {
  const session = holding(1, 10);
  deliver(session, 3);
  nack(session, at(0, 0), 10);
  session.committed(at(0, 3));
  assert.equal(session.inFlight, 0);
  const turn = session.nextTurn(10);
  assert.ok(turn?.kind === "redelivery");
  session.redelivered(turn);
  assert.equal(session.inFlight, 1);
  assert.equal(session.committed(at(0, 1)), 3);
  assert.equal(session.inFlight, 0);
  assert.equal(session.redeliveries.size, 0);
});

Deno.test("a revoked partition is delivered no more and released when nothing of it is in flight", () => {
  const session = holding(2, 10);
  deliver(session, 2);
  deliver(session, 1);
  session.revoke([{ topic: TOPIC, partition: 0 }, { topic: "others", partition: 0 }], 5);
  assert.deepEqual(session.takeReleasable(), []);
  assert.equal(deliver(session, 1).partition, 1);
  assert.equal(deliver(session, 1).partition, 1);
  session.committed(at(0, 1));
  assert.deepEqual(session.takeReleasable(), []);
  nack(session, at(0, 1), 5);
  assert.deepEqual(session.takeReleasable().map((held) => held.key), ["orders/0"]);
  assert.equal(session.held.size, 1);
  assert.equal(session.nextRedeliveryAt(), null);
  assert.throws(() => session.fence([at(0, 2)]), { code: "STALE_GENERATION" });
});

Deno.test("a session lets a partition go at once when the client says that it has stopped", () => {
  const session = holding(1, 10);
  deliver(session, 5);
  session.giveUp([{ topic: TOPIC, partition: 0 }]);
  assert.equal(session.inFlight, 5, "nobody asked for it back");
  session.revoke([{ topic: TOPIC, partition: 0 }], 5);
  session.giveUp([{ topic: TOPIC, partition: 0 }]);
  assert.equal(session.takeReleasable().length, 1);
  assert.equal(session.inFlight, 0);
});

Deno.test("a new assignment keeps the position of what is held and names what is new and what is lost", () => {
  const session = holding(2, 10);
  deliver(session, 3);
  const { added, lost } = session.assign(2, [{ topic: TOPIC, partition: 0 }, {
    topic: TOPIC,
    partition: 5,
  }]);
  assert.deepEqual(added.map(({ key }) => key), ["orders/5"]);
  assert.deepEqual(lost.map(({ key }) => key), ["orders/1"]);
  assert.equal(session.held.get("orders/0")!.position, 3);
  assert.equal(session.inFlight, 3);
});

Deno.test("a turn is no longer wanted once its partition moved, paused, was revoked, or the window filled", () => {
  const session = holding(1, 10);
  const turn = session.nextTurn(0)!;
  assert.ok(session.stillWanted(turn));
  session.setPaused([turn.held], true);
  assert.ok(!session.stillWanted(turn));
  session.setPaused([turn.held], false);
  session.groupPaused = true;
  assert.ok(!session.stillWanted(turn));
  session.groupPaused = false;
  session.committed(at(0, 4));
  assert.equal(turn.held.position, 4, "a commit ahead moves the position");
  assert.ok(!session.stillWanted(turn));
  const later = session.nextTurn(0)!;
  session.revoke([turn.held], 0);
  assert.ok(!session.stillWanted(later));
});
