// Owns tests of the state machine of a consuming session where it asks the group for retries: what waits, what settles them.
// Refuses to own all else of sessions (stream_session_test.ts).
import assert from "node:assert/strict";
import { at, deliver, holding, nack, newSession, start, TOPIC } from "./support/session_scene.ts";

/** What the group says when nothing waits. */
const NOTHING = { retries: [], more: false, held: [], blocks: [], skips: [], inHand: [] };

Deno.test("a partition is not read before the group has said what of it waits, and that is passed over", () => {
  const session = newSession(10, true);
  const place = { topic: TOPIC, partition: 0 };
  for (const held of session.assign(1, [place]).added) start(session, held, 4);
  assert.equal(session.nextTurn(0), null);
  const asked = session.withoutRetries();
  assert.deepEqual(asked.map(({ position }) => position), [4]);
  session.takeRetries({ ...NOTHING, skips: [{ ...place, offsets: [4, 5, 8] }] }, asked);
  assert.deepEqual(session.withoutRetries(), []);
  const turn = session.nextTurn(0);
  assert.ok(turn?.kind === "read" && turn.position === 6);
  assert.ok(turn.held.skips.has(8));
});

Deno.test("what waits holds up reading as the group says, and a nack does at once where it blocks", () => {
  const session = holding(1, 10);
  const place = { topic: TOPIC, partition: 0 };
  deliver(session, 2);
  session.takeRetries({ ...NOTHING, blocks: [TOPIC] }, []);
  assert.equal(session.nextTurn(0)?.kind, "read");
  session.nacking(at(0, 0));
  assert.equal(session.nextTurn(0), null);
  session.takeRetries(
    { ...NOTHING, blocks: [TOPIC], held: [{ ...place, hold: "all", from: 0 }] },
    [],
  );
  session.nacked(at(0, 0), { refused: false });
  assert.equal(session.nextTurn(0), null);
  session.takeRetries(
    { ...NOTHING, blocks: [TOPIC], held: [{ ...place, hold: "keys", from: 0 }] },
    [],
  );
  assert.equal(session.nextTurn(0)?.kind, "read");
});

Deno.test("a retry of what is in flight for the first time still is that message", () => {
  const session = holding(1, 10);
  deliver(session, 2);
  const retries = [{ ...at(0, 1), attempt: 2 }, { ...at(0, 5), attempt: 2 }];
  session.takeRetries({ ...NOTHING, retries }, []);
  const redeliver = (offset: number) => {
    const turn = session.nextTurn(0);
    assert.ok(turn?.kind === "redelivery" && turn.redelivery.offset === offset);
    session.redelivered(turn);
  };
  redeliver(1);
  assert.equal(session.inFlight, 2);
  assert.equal(session.nacking(at(0, 1)), 2);
  assert.ok(session.held.get("orders/0")!.skips.has(5), "it is not read a second time");
  deliver(session, 3);
  assert.equal(session.held.get("orders/0")!.position, 6);
  redeliver(5);
  assert.equal(session.inFlight, 6);
});

Deno.test("a commit settles the retry that it is about, and those that it passes only if they were surely seen", () => {
  const session = holding(1, 10);
  deliver(session, 6);
  const resend = (offset: number) => {
    session.redeliveries.schedule({ key: "orders/0", offset, attempt: 2, dueAt: 0 });
    const turn = session.nextTurn(0);
    assert.ok(turn?.kind === "redelivery");
    session.redelivered(turn);
  };
  session.committed(at(0, 5));
  resend(1);
  resend(2);
  assert.deepEqual(session.settledBy(at(0, 6)), [], "it may have crossed them");
  assert.deepEqual(session.settledBy(at(0, 3)), [1, 2]);
  assert.deepEqual(session.settledBy(at(0, 2)), [1]);
  session.committed(at(0, 6));
  assert.equal(session.inFlight, 0, "they take no room any more");
  assert.equal(session.nacking(at(0, 2)), 2, "but may still be nacked");
  session.nacked(at(0, 2), { refused: false });
  deliver(session, 2);
  assert.deepEqual(session.settledBy(at(0, 6)), [], "the same again says nothing new");
  assert.deepEqual(session.settledBy({ ...at(0, 8), settles: [] }), [], "the client knows better");
  assert.deepEqual(session.settledBy({ ...at(0, 8), settles: [1, 2, 3] }), [1]);
  assert.deepEqual(session.settledBy(at(0, 7)), [1], "a later message is committed");
  const before = { sentCount: 0, answerCount: 0 };
  assert.deepEqual(session.settledBy(at(0, 7), before), [], "it came before any was sent");
  session.committed(at(0, 7));
  assert.throws(() => session.nacking(at(0, 1)), { code: "INVALID_REQUEST" });
});

Deno.test("a commit just behind a retry is about it, unless new messages are in flight that a client gets to before", () => {
  const session = holding(1, 10);
  deliver(session, 4);
  const resend = (offset: number) => {
    nack(session, at(0, offset), 0);
    const turn = session.nextTurn(0);
    assert.ok(turn?.kind === "redelivery" && turn.redelivery.offset === offset);
    session.redelivered(turn);
  };
  resend(1);
  assert.deepEqual(session.settledBy(at(0, 2)), [], "2 and 3 come before it");
  resend(2);
  assert.deepEqual(session.settledBy(at(0, 3)), [], "3 does");
  resend(3);
  assert.deepEqual(session.settledBy(at(0, 2)), [1]);
  assert.deepEqual(session.settledBy(at(0, 4)), [1], "of a client that commits the highest it had");
  session.committed(at(0, 4), new Set());
  assert.deepEqual(session.settledBy(at(0, 4)), [1]);
  assert.deepEqual(session.settledBy(at(0, 3)), [1, 2], "what is committed is not passed again");
  assert.equal(session.inFlight, 0);
});

Deno.test("where retries hold up others, a commit settles the retry that it answers, whatever its offset", () => {
  const session = holding(1, 10);
  deliver(session, 6);
  const held = session.held.get("orders/0")!;
  held.blocks = true;
  const resend = (offset: number) => {
    session.redeliveries.schedule({ key: "orders/0", offset, attempt: 2, dueAt: 0 });
    const turn = session.nextTurn(0);
    assert.ok(turn?.kind === "redelivery");
    session.redelivered(turn);
  };
  const commit = (offset: number) => session.arrived(at(0, offset));
  for (const offset of [1, 2, 3]) session.committed(at(0, offset), new Set(commit(offset) && []));
  assert.equal(session.nacking(at(0, 3)), 1);
  session.nacked(at(0, 3), { refused: false });
  commit(4);
  resend(3);
  resend(1);
  assert.deepEqual(session.settledBy(at(0, 5), commit(5)), [], "of 4");
  assert.deepEqual(session.settledBy(at(0, 5), commit(5)), [], "of 5");
  const third = commit(5);
  assert.deepEqual(session.settledBy(at(0, 5), third), [3]);
  held.blocks = false;
  assert.deepEqual(session.settledBy(at(0, 5), third), [], "nothing waits for it");
  held.blocks = true;
  assert.deepEqual(session.settledBy(at(0, 5), commit(5)), [3, 1]);
  assert.deepEqual(session.settledBy({ ...at(0, 5), settles: [] }), []);
  session.committed(at(0, 6), new Set([1, 3]));
  commit(6);
  resend(2);
  assert.deepEqual(
    session.settledBy(at(0, 6), commit(6)),
    [2],
    "more answers than messages count once",
  );
});

Deno.test("a retry that the client has from before is settled by whatever passes it", () => {
  const session = holding(1, 10);
  deliver(session, 4);
  session.redeliveries.schedule({ key: "orders/0", offset: 1, attempt: 2, dueAt: 0 });
  const turn = session.nextTurn(0);
  assert.ok(turn?.kind === "redelivery");
  session.redelivered(turn);
  assert.equal(session.inFlight, 4);
  assert.deepEqual(session.settledBy({ ...at(0, 1), settles: [] }), []);
  assert.deepEqual(session.settledBy({ ...at(0, 2), settles: [] }), [1]);
  assert.deepEqual(session.settledBy(at(0, 3)), [1]);
});
