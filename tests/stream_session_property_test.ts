// Owns the property of the state machine of a consuming session: a client and a log play against it at random.
// Refuses to own single cases (stream_session_test.ts). Invariant: the window holds, order holds, nothing is skipped.
import assert from "node:assert/strict";
import fc from "fast-check";
import { Session } from "../api/stream/session.ts";
import type { RedeliveryTurn } from "../api/stream/turns.ts";
import { at, holding, nack, start, TOPIC } from "./support/session_scene.ts";

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
