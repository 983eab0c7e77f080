// Owns the rules of a transactional id: who holds it, what may join a transaction, and that its end is decided once.
// Refuses to own markers and groups (transaction_coordinator_test.ts). Invariant: given events, when a command, then.
import assert from "node:assert/strict";
import fc from "fast-check";
import { FIRST_OWN_ID } from "../actors/partition/producer_ids.ts";
import { IDLE_ID_MS, MAX_PRODUCER_EPOCH } from "../actors/transaction/decide.ts";
import {
  encodeTransaction,
  evolveTransaction,
  initialTransaction,
  isTransactionGone,
  MAX_OUTCOMES,
} from "../actors/transaction/state.ts";
import { parseTransactionId, transactionIdOf } from "../actors/transaction/transaction_id.ts";
import type { TransactionIdentity } from "../actors/transaction/types.ts";
import { FIRST_ID, ID, TransactionRun } from "./support/transaction_run.ts";

Deno.test("transaction begins under a new producer id, the next one under the next epoch", () => {
  const run = new TransactionRun();
  const first = run.begun();
  assert.deepEqual(first, { transactionalId: ID, producerId: FIRST_ID, producerEpoch: 0 });
  run.prepare(first, true);
  run.finish(first);
  assert.deepEqual(run.begun(), { ...first, producerEpoch: 1 });
});

Deno.test("epoch that has run out is followed by a new producer id", () => {
  const run = new TransactionRun();
  run.begun();
  run.state = { ...run.state, producerEpoch: MAX_PRODUCER_EPOCH, phase: "idle" };
  assert.deepEqual(run.begun(), {
    transactionalId: ID,
    producerId: FIRST_ID + 1,
    producerEpoch: 0,
  });
});

Deno.test("producer id that others can name is left at the next beginning, its holder fenced", () => {
  const run = new TransactionRun();
  run.nextProducerId = FIRST_OWN_ID - 1;
  const old = run.begun();
  run.add(old, 0);
  assert.deepEqual(run.begin(), { outcome: "busy", before: old });
  assert.equal(run.plans[0]!.producerId, old.producerId, "what is open ends as it began");
  run.finish(old);
  const next = run.begun();
  assert.deepEqual(next, { transactionalId: ID, producerId: FIRST_OWN_ID, producerEpoch: 0 });
  assert.equal(run.refusal(() => run.add(old, 1)), "PRODUCER_FENCED");
  run.prepare(next, true);
  run.finish(next);
  assert.deepEqual(run.begun(), { ...next, producerEpoch: 1 });
});

Deno.test("new holder of an id aborts the open transaction and fences the older holder", () => {
  const run = new TransactionRun();
  const old = run.begun();
  run.add(old, 0);
  assert.deepEqual(run.begin(), { outcome: "busy", before: old });
  assert.deepEqual(run.plans.map(({ commit, partitions }) => [commit, partitions.length]), [
    [false, 1],
  ]);
  assert.equal(run.begin().outcome, "busy", "until the abort is everywhere");
  assert.equal(run.plans.length, 1, "an end is started once");
  run.finish(old);
  run.begun();
  assert.equal(run.refusal(() => run.add(old, 1)), "PRODUCER_FENCED");
  assert.equal(run.refusal(() => run.prepare(old, true)), "PRODUCER_FENCED");
  assert.equal(run.prepare(old, false).state, "aborted", "an abort of what is aborted is no news");
});

Deno.test("commit and abort exclude each other, and a repeat hears what became of it", () => {
  const run = new TransactionRun();
  const of = run.begun();
  run.add(of, 0);
  assert.equal(run.prepare(of, true).state, "committing");
  assert.equal(run.refusal(() => run.prepare(of, false)), "INVALID_TRANSACTION_STATE");
  assert.equal(run.refusal(() => run.add(of, 1)), "INVALID_TRANSACTION_STATE");
  assert.equal(run.prepare(of, true).state, "committing");
  run.finish(of);
  assert.equal(run.prepare(of, true).state, "committed");
  assert.equal(run.refusal(() => run.prepare(of, false)), "INVALID_TRANSACTION_STATE");
  run.begun();
  assert.equal(run.prepare(of, true).state, "committed", "also when another is open by now");
  assert.equal(run.plans.length, 1);
});

Deno.test("partitions and groups are noted once, and all of them are told of the end", () => {
  const run = new TransactionRun();
  const of = run.begun();
  run.add(of, 0);
  run.add(of, 1);
  run.add(of, 0);
  run.execute({ type: "AddGroups", ...of, groups: ["g", "h"] });
  run.execute({ type: "AddGroups", ...of, groups: ["h"] });
  run.prepare(of, true);
  const { partitions, groups } = run.plans[0]!;
  assert.deepEqual(partitions.map(({ partition }) => partition), [0, 1]);
  assert.deepEqual(groups, ["g", "h"]);
  assert.equal(run.journal.length, 5);
});

Deno.test("transaction that lasts too long is aborted, and says so", () => {
  const run = new TransactionRun();
  const of = run.begun(5_000);
  run.add(of, 0);
  run.tick(4_999);
  assert.equal(run.describe(of).state, "open");
  run.tick(1);
  assert.equal(run.describe(of).state, "aborting");
  assert.equal(run.describe(of).reason, "timed out");
  assert.equal(run.refusal(() => run.prepare(of, true)), "INVALID_TRANSACTION_STATE");
});

Deno.test("restart carries a decided end out again, and gives an open transaction its time anew", () => {
  const run = new TransactionRun();
  const of = run.begun(5_000);
  run.add(of, 0);
  run.tick(4_000);
  run.restart();
  run.tick(4_999);
  assert.equal(run.describe(of).state, "open");
  run.prepare(of, true);
  run.restart();
  run.restart({ snapshot: true });
  assert.deepEqual(run.plans.map(({ commit }) => commit), [true, true, true]);
  run.finish(of);
  run.restart();
  assert.equal(run.plans.length, 3);
  assert.equal(run.describe(of).state, "committed");
});

Deno.test("id that idles for a week is forgotten, one with an open transaction is not", () => {
  const run = new TransactionRun();
  const of = run.begun();
  run.prepare(of, false);
  run.tick(IDLE_ID_MS);
  assert.equal(isTransactionGone(run.state), false, "it has not ended yet");
  run.finish(of);
  run.tick(IDLE_ID_MS);
  assert.deepEqual(run.state, initialTransaction(ID));
  assert.equal(run.refusal(() => run.describe(of)), "UNKNOWN_TRANSACTION");
  assert.equal(run.begun().producerId, FIRST_ID + 1);
});

Deno.test("transaction id names exactly one transaction, and nothing else is one", () => {
  fc.assert(fc.property(
    fc.string({ minLength: 1, maxLength: 60, unit: "binary" }).filter((text) =>
      text.isWellFormed()
    ),
    fc.oneof(fc.nat(2 ** 31), fc.integer({ min: FIRST_ID, max: FIRST_ID + 2 ** 48 })),
    fc.nat(MAX_PRODUCER_EPOCH),
    (transactionalId, producerId, producerEpoch) => {
      const identity = { transactionalId, producerId, producerEpoch };
      assert.deepEqual(parseTransactionId(transactionIdOf(identity)), identity);
    },
  ));
  const run = new TransactionRun();
  for (const bad of ["", "a.b.c", "YQ.1", "YQ.01.0", "YR.1.0", "YQ.1.99999", "YQ==.1.0"]) {
    assert.equal(run.refusal(() => parseTransactionId(bad)), "UNKNOWN_TRANSACTION", bad);
  }
});

/** One holder's next step, or a fault. */
const steps = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.constant("begin" as const) },
    { weight: 4, arbitrary: fc.constant("add" as const) },
    { weight: 2, arbitrary: fc.constantFrom("commit" as const, "abort" as const) },
    { weight: 3, arbitrary: fc.constant("finish" as const) },
    { weight: 1, arbitrary: fc.constantFrom("crash" as const, "snapshot" as const) },
    { weight: 1, arbitrary: fc.constantFrom("tick" as const, "late" as const) },
    { weight: 1, arbitrary: fc.constant("record" as const) },
  ),
  { maxLength: 60 },
);

Deno.test("of random holders and crashes each transaction ends one way, epochs only rise, a replay is the state", () => {
  fc.assert(
    fc.property(steps, (steps) => {
      const run = new TransactionRun();
      const holders: TransactionIdentity[] = [];
      const seen = new Map<string, boolean>();
      let recordedAt = 0;
      for (const step of steps) {
        const latest = holders.at(-1);
        if (step === "begin") {
          const reply = run.begin(10);
          if (reply.outcome === "begun") {
            const { producerId, producerEpoch } = reply;
            if (latest !== undefined) {
              assert.ok(producerId > latest.producerId || producerEpoch > latest.producerEpoch);
            }
            holders.push({ transactionalId: ID, producerId, producerEpoch });
          }
        } else if (step === "record") {
          recordedAt = run.journal.length;
          run.execute({ type: "RecordState", transactionalId: ID });
        } else if (step === "crash") run.restart();
        else if (step === "snapshot") run.restart({ snapshot: true });
        else if (step === "tick") run.tick(11);
        else if (latest !== undefined) {
          const of = step === "late" ? holders[0]! : latest;
          run.refusal(() => {
            if (step === "add") run.add(of, run.now);
            else if (step === "finish") run.finish(of);
            else run.prepare(of, step !== "abort");
          });
        }
        for (const { producerId, producerEpoch, commit } of run.plans) {
          const key = `${producerId}.${producerEpoch}`;
          assert.equal(seen.get(key) ?? commit, commit, "an end never changes");
          seen.set(key, commit);
        }
      }
      const replayed = run.journal.reduce(evolveTransaction, initialTransaction(ID));
      assert.deepEqual(encodeTransaction(replayed), encodeTransaction(run.state));
      const kept = run.journal.slice(recordedAt);
      const fromRecord = kept.reduce(evolveTransaction, initialTransaction(ID));
      assert.deepEqual(encodeTransaction(fromRecord), encodeTransaction(run.state));
    }),
    { numRuns: 500 },
  );
});

Deno.test("an id remembers the ends of its latest transactions alone", () => {
  const run = new TransactionRun();
  const all = Array.from({ length: 10 }, () => {
    const of = run.begun();
    run.prepare(of, true);
    run.finish(of);
    return of;
  });
  assert.equal(run.state.outcomes.length, MAX_OUTCOMES);
  assert.ok(MAX_OUTCOMES <= 4);
  for (const of of all.slice(-MAX_OUTCOMES)) assert.equal(run.describe(of).state, "committed");
  assert.equal(run.refusal(() => run.describe(all.at(-MAX_OUTCOMES - 1)!)), "PRODUCER_FENCED");
});
