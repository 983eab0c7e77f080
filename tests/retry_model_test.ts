// Owns random lives of retries: nacks, takes, commits, jobs, policies, members that come and go, and crashes.
// Refuses to own single rules (retry_decide_test.ts).
// Invariant: a message that failed waits, is in hand, is done or is a dead letter; it is never lost, and dead once.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { RetryOrdering } from "../actors/group/retry/types.ts";
import { queueOf } from "../actors/group/retry/evolve.ts";
import { DUE, rebuiltQueue, type RetryQueue } from "../actors/group/retry/queue.ts";
import { attemptsOfDead, ENTRIES, PLACES } from "../actors/group/retry/state.ts";
import { decodeGroupState } from "../actors/group/state.ts";
import { GROUP, replay } from "./support/group_run.ts";
import { RetryRun, shown } from "./support/retry_run.ts";

const OFFSETS = 12;
const PARTITIONS = 2;
const MEMBERS = ["a", "b"];

type Step =
  | { do: "nack"; partition: number; offset: number; how: "plain" | "final" | "soon"; key: number }
  | { do: "take"; who: number; max: number; starting: boolean }
  | { do: "commit"; partition: number; offset: number }
  | { do: "job"; chunk: number; partition: number; offsets: number[] }
  | { do: "park"; who: number; offset: number; key: number }
  | { do: "policy"; ordering: RetryOrdering; maxAttempts: number }
  | { do: "write"; partition: number; count: number }
  | { do: "wait"; ms: number }
  | { do: "leave" | "join"; who: number }
  | { do: "crash" | "snapshot" | "pause" | "resume" };

const partition = fc.nat(PARTITIONS - 1);
const offset = fc.nat(OFFSETS - 1);
const key = fc.nat(2);
const who = fc.nat(MEMBERS.length - 1);
const only = <T extends string>(...names: T[]) => fc.constantFrom(...names);
const orderings = only<RetryOrdering>("skip", "blockKey", "blockPartition");
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: only("nack"),
      partition,
      offset,
      how: only("plain", "plain", "soon", "final"),
      key,
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ do: only("take"), who, max: fc.nat(4), starting: fc.boolean() }),
  },
  { weight: 5, arbitrary: fc.record({ do: only("commit"), partition, offset }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: only("job"),
      chunk: fc.nat(4),
      partition,
      offsets: fc.uniqueArray(offset, { maxLength: 4 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: only("park"), who, offset, key }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: only("policy"),
      ordering: only<RetryOrdering>("skip", "blockKey", "blockPartition"),
      maxAttempts: fc.integer({ min: 1, max: 4 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: only("write"), partition, count: fc.nat(3) }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: only("wait"), ms: fc.constantFrom(10, 200, 900, 5_000) }),
  },
  { weight: 2, arbitrary: fc.record({ do: only("leave", "join"), who }) },
  { weight: 2, arbitrary: fc.record({ do: only("crash", "snapshot", "pause", "resume") }) },
);

/** Takes steps, and knows of every message what may be the matter with it. */
class Life {
  readonly run = new RetryRun({ maxDeadLettersPerMinute: 0, recoveryGraceMs: 1e9 });
  /** `partition/offset` to how often it became a dead letter. */
  readonly dead = new Map<string, number>();
  /** Sequences of dead letters that were written, by partition: each once, in order, without a gap. */
  readonly written = new Map<number, number[]>();
  readonly done = new Set<string>();
  jobChunk = -1;

  constructor(ordering: RetryOrdering) {
    this.run.counts = { orders: PARTITIONS };
    this.run.setPolicy({ ordering });
    for (const memberId of MEMBERS) this.run.join(memberId, { sessionTimeoutMs: 600_000 });
    this.run.advance(3_000);
  }

  take(taken: Step): void {
    const before = this.run.waiting();
    this.#take(taken);
    this.#check(before, taken);
  }

  #take(taken: Step): void {
    const { run } = this;
    switch (taken.do) {
      case "nack":
        return this.#nack(taken);
      case "take":
        return this.#hand(MEMBERS[taken.who]!, taken);
      case "commit": {
        const { partition, offset } = taken;
        void run.refusal(run.commitCommand([["orders", partition, offset + 1]]));
        return;
      }
      case "job": {
        const { accepted } = run.execute({
          type: "Redeliver",
          group: GROUP,
          jobId: "job",
          chunk: taken.chunk,
          topic: "orders",
          partition: taken.partition,
          offsets: taken.offsets.toSorted((a, b) => a - b),
        });
        if (taken.chunk <= this.jobChunk) assert.equal(accepted, 0, "a chunk is taken once");
        this.jobChunk = Math.max(this.jobChunk, taken.chunk);
        return;
      }
      case "park":
        return this.#park(taken);
      case "policy":
        return run.setPolicy({ ordering: taken.ordering, maxAttempts: taken.maxAttempts });
      case "write":
        return this.#write(taken);
      case "wait":
        return run.advance(taken.ms);
      case "leave":
        return void run.refusal({ type: "Leave", group: GROUP, memberId: MEMBERS[taken.who]! });
      case "join":
        run.join(MEMBERS[taken.who]!, { sessionTimeoutMs: 600_000 });
        return run.advance(500);
      case "crash":
        return run.crash();
      case "snapshot": {
        run.state = decodeGroupState(run.journalled());
        return void run.execute({ type: "Recovered", group: GROUP });
      }
      case "pause":
        run.execute({ type: "Pause", group: GROUP, reason: "stop", principal: "ops" });
        return;
      case "resume":
        run.execute({ type: "Resume", group: GROUP, principal: "ops" });
        return;
    }
  }

  #nack({ partition, offset, how, key }: Extract<Step, { do: "nack" }>): void {
    const more = how === "final" ? { code: "NON_RETRYABLE" } : how === "soon" ? { delayMs: 0 } : {};
    const nack = this.run.nackOf(partition, offset, { ...more, keyHash: key });
    const command = { type: "Nack" as const, group: GROUP, nacks: [nack], principal: "t" };
    const place = `${partition}/${offset}`;
    const pending = this.run.pending().partitions.find((at) => at.partition === partition);
    const wasDead = pending?.letters.some((letter) => letter.offset === offset) === true ||
      attemptsOfDead(this.run.state.retry, { topic: "orders", partition, offset }) !== null;
    const waits = this.run.waiting().some((one) => one.startsWith(`${place}#`));
    const isDone = this.run.done().includes(place);
    try {
      const [result] = this.run.execute(command).results;
      if (result!.deadLettered === true && (!wasDead || waits)) {
        this.dead.set(place, (this.dead.get(place) ?? 0) + 1);
      }
    } catch (error) {
      assert.equal((error as { code?: string }).code, "INVALID_REQUEST");
      assert.ok(isDone && !waits && !wasDead, `${place} is refused without a reason`);
    }
  }

  #hand(memberId: string, { max, starting }: Extract<Step, { do: "take" }>): void {
    const { run } = this;
    const owned = run.readable()[memberId];
    if (owned === undefined) return;
    const start = starting
      ? owned.map((partition) => ({ topic: "orders", partition, offset: 0 }))
      : [];
    const waiting = new Set(run.waiting());
    const { retries, skips } = run.take(memberId, { max, starting: start });
    assert.ok(retries.length <= max);
    if (run.state.paused !== null) assert.equal(retries.length, 0);
    for (const retry of retries) {
      assert.ok(owned.includes(retry.partition), "taken by one who does not read there");
      assert.ok(waiting.has(shown(retry)), "taken, and does not wait");
    }
    const skipped = skips.flatMap(({ partition, offsets }) =>
      offsets.map((offset) => `${partition}/${offset}`)
    );
    const expected = [...run.waiting().map((one) => one.split("#")[0]!), ...run.done()]
      .filter((place) => start.some(({ partition }) => place.startsWith(`${partition}/`)));
    assert.deepEqual(skipped.sort(), expected.sort());
  }

  #park({ who, offset, key }: Extract<Step, { do: "park" }>): void {
    const memberId = MEMBERS[who]!;
    const partition = this.run.readable()[memberId]?.[0];
    if (partition === undefined) return;
    this.run.execute({
      type: "ParkBlocked",
      group: GROUP,
      memberId,
      topic: "orders",
      partition,
      offsets: [offset],
      keyHashes: [key],
    });
  }

  #write({ partition, count }: Extract<Step, { do: "write" }>): void {
    const pending = this.run.pending().partitions.find((at) => at.partition === partition);
    const sequences = (pending?.letters ?? []).slice(0, count).map(({ sequence }) => sequence);
    const at = { type: "DeadLettersWritten" as const, group: GROUP, topic: "orders", partition };
    const all = [...this.written.get(partition) ?? [], ...sequences];
    this.written.set(partition, all);
    this.run.execute({ ...at, sequences });
    // A repeat, after a crash that lost the answer, changes nothing.
    const before = this.run.journal.length;
    this.run.execute({ ...at, sequences });
    assert.equal(this.run.journal.length, before);
  }

  #check(before: readonly string[], taken: Step): void {
    const { run } = this;
    const { retry } = run.state;
    const queue = queueOf(run.state);
    const now = new Set(run.waiting().map((one) => one.split("#")[0]!));
    const done = new Set(run.done());
    for (const one of before) {
      const place = one.split("#")[0]!;
      if (now.has(place)) continue;
      const isDead = taken.do === "nack" && this.dead.has(place);
      assert.ok(isDead || taken.do === "commit", `${place} is lost by ${taken.do}`);
    }
    for (const place of now) assert.ok(!done.has(place), `${place} waits and is done`);
    assert.equal([...ENTRIES.from(retry.entries, [])].length, retry.entries.size);
    checkQueue(queue, run);
    assert.deepEqual(
      JSON.parse(JSON.stringify(run.journalled())),
      journalledOf(run),
      "the journal says otherwise",
    );
  }

  finish(): void {
    for (const partition of [0, 1]) this.#write({ do: "write", partition, count: Infinity });
    const total = [...this.dead.values()].reduce((sum, count) => sum + count, 0);
    const written = [...this.written.values()].flat();
    assert.equal(written.length, total, "dead letters are written once each");
    for (const sequences of this.written.values()) {
      assert.deepEqual(sequences, sequences.map((_, i) => i), "sequences have no gap");
    }
    this.#allComeAgain();
  }

  /** With time, members and no pause, everything that waits comes again, one after the other where it must. */
  #allComeAgain(): void {
    const { run } = this;
    run.execute({ type: "Resume", group: GROUP, principal: "ops" });
    run.join("c", { sessionTimeoutMs: 6_000_000 });
    for (const memberId of MEMBERS) {
      void run.refusal({ type: "Leave", group: GROUP, memberId });
    }
    run.advance(10_000);
    for (let turn = 0; run.waiting().length > 0; turn++) {
      assert.ok(turn < 200, `never came again: ${run.waiting()}`);
      run.advance(30_000);
      const starting = turn === 0
        ? [0, 1].map((partition) => ({ topic: "orders", partition, offset: 0 }))
        : [];
      for (const { partition } of run.take("c", { starting }).retries) {
        void run.refusal(run.commitCommand([["orders", partition, OFFSETS]], { memberId: "c" }));
      }
    }
  }
}

function journalledOf(run: RetryRun): unknown {
  const other = new RetryRun();
  other.state = replay(run.journal);
  return other.journalled();
}

/** Due, ready and taken are of what waits, each of it in one at most; and what is not in hand follows from the retries. */
function checkQueue(queue: RetryQueue, run: RetryRun): void {
  const { retry } = run.state;
  const places = [...DUE.from(queue.due, [])].map(([, place, offset]) => `${place}@${offset}`);
  for (const rows of [queue.ready, queue.taken]) {
    for (const [place, offset] of PLACES.from(rows, [])) places.push(`${place}@${offset}`);
  }
  assert.equal(new Set(places).size, places.length, "twice in the queue");
  const entries = new Set([...ENTRIES.from(retry.entries, [])].map((row) => `${row[0]}@${row[1]}`));
  for (const place of places) assert.ok(entries.has(place), `${place} is queued and does not wait`);
  const fresh = rebuiltQueue(retry, queue);
  const open = (one: RetryQueue) =>
    [
      ...[...DUE.from(one.due, [])].map(([, place, offset]) => `${place}@${offset}`),
      ...[...PLACES.from(one.ready, [])].map(([place, offset]) => `${place}@${offset}`),
    ].sort();
  assert.deepEqual(open(queue), open(fresh), "somebody waits who need not, or comes too early");
}

Deno.test("whatever happens, no message that failed is lost, and none is dead twice", () => {
  fc.assert(
    fc.property(orderings, fc.array(step, { maxLength: 60 }), (ordering, steps) => {
      const life = new Life(ordering);
      for (const taken of steps) life.take(taken);
      life.finish();
    }),
    { numRuns: 150 },
  );
});
