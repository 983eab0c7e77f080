// Tests of the state machine of a consuming session, without sockets, frames or reading.
import assert from "node:assert/strict";
import fc from "fast-check";
import { HeldPartition } from "../api/stream/held_partition.ts";
import { OffsetRanges } from "../api/stream/offset_ranges.ts";
import { Session } from "../api/stream/session.ts";
import type { ReadTurn, RedeliveryTurn } from "../api/stream/turns.ts";

const TOPIC = "orders";

function newSession(maxInFlight: number, asksForRetries = false): Session {
  return new Session({ maxInFlight, asksForRetries });
}

/** A nack that the group has taken down, and gives back for its next attempt at `dueAt`. */
function nack(session: Session, item: ReturnType<typeof at>, dueAt: number): void {
  const attempt = session.nacking(item) + 1;
  session.nacked(item, { refused: false });
  const key = `${item.topic}/${item.partition}`;
  session.redeliveries.schedule({ key, offset: item.offset, attempt, dueAt });
}

/** A session that holds partitions 0 to `count` - 1 from offset 0. */
function holding(count: number, maxInFlight: number): Session {
  const session = newSession(maxInFlight);
  const partitions = Array.from({ length: count }, (_, partition) => ({ topic: TOPIC, partition }));
  for (const held of session.assign(1, partitions).added) start(session, held, 0);
  return session;
}

function start(session: Session, held: HeldPartition, offset: number): void {
  session.start(held, { offset, committed: null, highWatermark: 1_000, leaderEpoch: 0 });
}

/** Delivers `count` messages of what is next. */
function deliver(session: Session, count: number): HeldPartition {
  const turn = session.nextTurn(0);
  assert.equal(turn?.kind, "read");
  const { held, position } = turn as ReadTurn;
  const nextOffset = position + count;
  session.delivered(turn as ReadTurn, {
    runs: [{ from: position, to: nextOffset }],
    nextOffset,
    highWatermark: 1_000,
  });
  return held;
}

const at = (partition: number, offset: number) => ({ topic: TOPIC, partition, offset });

Deno.test("offset ranges hold what a set of offsets would", () => {
  const step = fc.record({
    what: fc.constantFrom("add", "remove", "removeBelow"),
    offset: fc.nat(60),
    count: fc.integer({ min: 1, max: 6 }),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const ranges = new OffsetRanges();
    const model = new Set<number>();
    for (const { what, offset, count } of steps) {
      if (what === "remove") assert.equal(ranges.remove(offset), model.delete(offset));
      else if (what === "removeBelow") {
        const below = [...model].filter((other) => other < offset);
        for (const other of below) model.delete(other);
        assert.equal(ranges.removeBelow(offset), below.length);
      } else {
        const added = Array.from({ length: count }, (_, index) => offset + index);
        if (added.some((other) => model.has(other))) {
          assert.throws(() => ranges.add(offset, offset + count), /overlap/);
        } else {
          ranges.add(offset, offset + count);
          for (const other of added) model.add(other);
        }
      }
      assert.equal(ranges.size, model.size);
      const held = ranges.ranges.flatMap(({ from, to }) =>
        Array.from({ length: to - from }, (_, index) => from + index)
      );
      assert.deepEqual(held, [...model].sort((a, b) => a - b));
      assert.ok(
        ranges.ranges.every(({ from }, index) =>
          index === 0 || ranges.ranges[index - 1]!.to < from
        ),
      );
      assert.equal(ranges.has(offset), model.has(offset));
    }
  }));
});

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

/** What a property run may do next; numbers are taken modulo what is there. */
const action = fc.record({
  what: fc.constantFrom(
    ...["deliver", "deliver", "deliver", "commit", "nack", "pause", "resume", "revoke", "giveUp"],
    ...["assign", "groupPause", "groupResume", "time", "forget"] as const,
  ),
  partition: fc.nat(2),
  amount: fc.nat(12),
});

Deno.test("whatever happens, the window holds, order holds, and nothing is skipped", () => {
  const runs = fc.record({
    maxInFlight: fc.integer({ min: 1, max: 8 }),
    actions: fc.array(action, { maxLength: 120 }),
  });
  fc.assert(
    fc.property(runs, ({ maxInFlight, actions }) => {
      const run = new SessionRun(maxInFlight);
      for (const { what, partition, amount } of actions) {
        run.act(what, partition, amount);
        run.check();
      }
      run.finish();
    }),
    { numRuns: 200 },
  );
});

/** Plays a client and a log against a session, and knows what must be true. */
class SessionRun {
  readonly session: Session;
  now = 0;
  /** By partition: offset of the next new message, committed offset, offsets delivered and neither committed nor nacked. */
  readonly next = [0, 0, 0];
  readonly committed = [0, 0, 0];
  readonly inFlight = [new Set<number>(), new Set<number>(), new Set<number>()];
  readonly waiting = [
    new Map<number, number>(),
    new Map<number, number>(),
    new Map<number, number>(),
  ];
  readonly attempts = [
    new Map<number, number>(),
    new Map<number, number>(),
    new Map<number, number>(),
  ];
  readonly paused = [false, false, false];
  readonly revoking = [false, false, false];

  constructor(readonly maxInFlight: number) {
    this.session = holding(3, maxInFlight);
  }

  act(what: string, partition: number, amount: number): void {
    const place = { topic: TOPIC, partition };
    if (what === "deliver") this.deliver(amount + 1);
    else if (what === "time") this.now += amount * 50;
    else if (what === "groupPause") this.session.groupPaused = true;
    else if (what === "groupResume") this.session.groupPaused = false;
    else if (what === "assign") this.assign();
    else if (!this.session.held.has(`orders/${partition}`)) return;
    else if (what === "commit") this.commit(partition, amount);
    else if (what === "nack") this.nack(partition, amount);
    else if (what === "pause" || what === "resume") {
      this.paused[partition] = what === "pause";
      this.session.setPaused([place], what === "pause");
    } else if (what === "revoke") {
      this.revoking[partition] = true;
      this.session.revoke([place], this.now);
      this.release();
    } else if (what === "giveUp" && this.revoking[partition]) {
      this.session.giveUp([place]);
      this.inFlight[partition]!.clear();
      this.attempts[partition]!.clear();
      this.release();
    }
  }

  deliver(count: number): void {
    const turn = this.session.nextTurn(this.now);
    if (turn === null) return;
    assert.ok(!this.session.groupPaused);
    assert.ok(this.total() < this.maxInFlight, "delivers into a full window");
    const { partition } = turn.held;
    assert.ok(!this.paused[partition] && !this.revoking[partition], "delivers what is stopped");
    if (turn.kind === "redelivery") return this.redeliver(turn);
    assert.equal(turn.position, this.next[partition], "skips or repeats");
    const nextOffset = turn.position + Math.min(count, this.session.room);
    this.session.delivered(turn, {
      runs: [{ from: turn.position, to: nextOffset }],
      nextOffset,
      highWatermark: 0,
    });
    for (let offset = turn.position; offset < nextOffset; offset++) {
      this.inFlight[partition]!.add(offset);
    }
    this.next[partition] = nextOffset;
  }

  redeliver(turn: RedeliveryTurn): void {
    const { held: { partition }, redelivery: { offset, attempt, dueAt } } = turn;
    assert.ok(dueAt <= this.now);
    assert.equal(this.waiting[partition]!.get(offset), attempt, "redelivers what was not nacked");
    this.session.redelivered(turn);
    this.waiting[partition]!.delete(offset);
    this.attempts[partition]!.set(offset, attempt);
    this.inFlight[partition]!.add(offset);
  }

  commit(partition: number, amount: number): void {
    const offset = Math.min(this.committed[partition]! + amount, this.next[partition]!);
    this.session.committed(at(partition, offset));
    this.committed[partition] = Math.max(this.committed[partition]!, offset);
    for (const other of [...this.inFlight[partition]!]) {
      if (other >= offset) continue;
      this.inFlight[partition]!.delete(other);
      this.attempts[partition]!.delete(other);
    }
    this.release();
  }

  nack(partition: number, amount: number): void {
    const offsets = [...this.inFlight[partition]!];
    if (offsets.length === 0) return;
    const offset = offsets[amount % offsets.length]!;
    nack(this.session, at(partition, offset), this.now + amount * 30);
    this.inFlight[partition]!.delete(offset);
    this.waiting[partition]!.set(offset, (this.attempts[partition]!.get(offset) ?? 1) + 1);
    this.attempts[partition]!.delete(offset);
    this.release();
  }

  release(): void {
    for (const { partition } of this.session.takeReleasable()) {
      assert.ok(
        this.revoking[partition] && this.inFlight[partition]!.size === 0,
        "released too early",
      );
      this.forget(partition);
    }
  }

  /** The next owner, here this session again, starts at the committed offset. */
  assign(): void {
    const partitions = [0, 1, 2].map((partition) => ({ topic: TOPIC, partition }));
    const { added, lost } = this.session.assign(this.session.generation + 1, partitions);
    assert.equal(lost.length, 0);
    this.revoking.fill(false);
    for (const held of added) {
      start(this.session, held, this.committed[held.partition]!);
      this.next[held.partition] = this.committed[held.partition]!;
      this.paused[held.partition] = false;
    }
  }

  forget(partition: number): void {
    this.revoking[partition] = false;
    this.inFlight[partition]!.clear();
    this.waiting[partition]!.clear();
    this.attempts[partition]!.clear();
  }

  total(): number {
    return this.inFlight.reduce((sum, offsets) => sum + offsets.size, 0);
  }

  check(): void {
    assert.equal(this.session.inFlight, this.total());
    assert.ok(this.session.inFlight <= this.maxInFlight, "window exceeded");
  }

  /** With everything going again, every redelivery comes and every partition is delivered on. */
  finish(): void {
    for (const partition of [0, 1, 2]) this.commit(partition, Infinity);
    this.assign();
    for (const partition of [0, 1, 2]) this.act("resume", partition, 0);
    this.session.groupPaused = false;
    this.now += 1_000_000;
    const before = [...this.next];
    for (let turn = 0; turn < 500; turn++) {
      this.deliver(1);
      for (const partition of [0, 1, 2]) this.commit(partition, Infinity);
    }
    assert.equal(
      this.waiting.reduce((sum, map) => sum + map.size, 0),
      0,
      "a redelivery never came",
    );
    assert.ok(
      this.next.every((offset, partition) => offset > before[partition]!),
      "a partition starves",
    );
  }
}
