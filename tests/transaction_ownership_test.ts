// Owns the rules of whose a transactional id is, and that journals and snapshots of before there were owners are read.
// Refuses to own all else about transactions (transaction_decide_test.ts) and what users see (ownership_api_test.ts).
import assert from "node:assert/strict";
import type { Asker } from "../actors/ownership.ts";
import { IDLE_ID_MS } from "../actors/transaction/decide.ts";
import { encodeTransaction, initialTransaction } from "../actors/transaction/state.ts";
import { transactionDecider } from "../actors/transaction/keyed_transaction.ts";
import type { BeginReply, TransactionIdentity } from "../actors/transaction/types.ts";
import { FIRST_ID, ID, TransactionRun } from "./support/transaction_run.ts";

const asker = (principal: string, more: Partial<Asker> = {}): Asker => ({
  principal,
  tenant: "default",
  isAdministrator: false,
  ...more,
});
const MINE = asker("billing");
const OTHERS = [asker("rival"), asker("billing", { tenant: "acme" })];

function begin(run: TransactionRun, who?: Asker): BeginReply {
  return run.execute({
    type: "Begin",
    transactionalId: ID,
    timeoutMs: 60_000,
    principal: who?.principal ?? "local-admin",
    newProducerId: FIRST_ID,
    ...(who === undefined ? {} : { asker: who }),
  }) as BeginReply;
}

function begun(run: TransactionRun, who?: Asker): TransactionIdentity {
  const reply = begin(run, who);
  assert.equal(reply.outcome, "begun");
  const { producerId, producerEpoch } = reply as Extract<BeginReply, { outcome: "begun" }>;
  return { transactionalId: ID, producerId, producerEpoch };
}

Deno.test("another principal cannot begin with a transactional id, and fences nobody by trying", () => {
  const run = new TransactionRun();
  const mine = begun(run, MINE);
  run.add(mine, 0);
  for (const other of OTHERS) assert.equal(run.refusal(() => begin(run, other)), "FORBIDDEN");
  assert.equal(run.plans.length, 0, "nothing is aborted");
  assert.equal(run.describe(mine).state, "open");
  run.prepare(mine, true);
  run.finish(mine);
  for (const other of OTHERS) assert.equal(run.refusal(() => begin(run, other)), "FORBIDDEN");
  assert.equal(begun(run, MINE).producerEpoch, mine.producerEpoch + 1);
});

Deno.test("for others there is no transaction of the id, whatever they ask of it", () => {
  const run = new TransactionRun();
  const of = begun(run, MINE);
  const partitions = [{ topic: "orders", topicId: "t1", partition: 0 }];
  for (const other of OTHERS) {
    const asked = { ...of, asker: other };
    const unknown = (act: () => unknown) => assert.equal(run.refusal(act), "UNKNOWN_TRANSACTION");
    unknown(() => run.describe(asked));
    unknown(() => run.prepare(asked, true));
    unknown(() => run.prepare(asked, false));
    unknown(() => run.execute({ type: "AddPartitions", ...asked, partitions }));
    unknown(() => run.execute({ type: "AddGroups", ...asked, groups: ["billing"] }));
  }
  assert.equal(run.describe({ ...of }).state, "open");
  const mine = { ...of, asker: MINE };
  const added = run.execute({ type: "AddPartitions", ...mine, partitions });
  assert.deepEqual(added, { owner: { principal: "billing", tenant: "default" } });
});

Deno.test("an administrator may end what is another's, and the id stays whose it was", () => {
  const run = new TransactionRun();
  const of = begun(run, MINE);
  const admin = asker("admin", { isAdministrator: true });
  assert.equal(
    run.prepare({ ...of, asker: admin } as TransactionIdentity, false).state,
    "aborting",
  );
  run.finish(of);
  begun(run, admin);
  run.tick(60_000);
  run.finish({ ...of, producerEpoch: of.producerEpoch + 1 });
  assert.equal(run.refusal(() => begin(run, OTHERS[0])), "FORBIDDEN");
  begun(run, MINE);
});

Deno.test("whose an id is survives a restart from the journal and from a snapshot, and goes with the id", () => {
  for (const snapshot of [false, true]) {
    const run = new TransactionRun();
    const of = begun(run, MINE);
    run.restart({ snapshot });
    assert.equal(run.refusal(() => begin(run, OTHERS[0])), "FORBIDDEN");
    run.prepare(of, true);
    run.finish(of);
    run.execute({ type: "RecordState", transactionalId: ID });
    run.restart({ snapshot });
    assert.equal(run.refusal(() => begin(run, OTHERS[0])), "FORBIDDEN");
    run.tick(IDLE_ID_MS);
    assert.equal(begin(run, OTHERS[0]).outcome, "begun", "it was forgotten");
  }
});

Deno.test("an id without owner, of an older journal or of no credentials, goes to the next who has one", () => {
  const run = new TransactionRun();
  const old = begun(run);
  assert.equal(JSON.stringify(run.journal).includes("owner"), false, "as older releases wrote");
  assert.equal(begin(run, MINE).outcome, "busy", "a holder fences the one before, as ever");
  run.finish(old);
  begun(run, MINE);
  assert.equal(run.refusal(() => begin(run, OTHERS[0])), "FORBIDDEN");
  run.restart();
  assert.equal(run.refusal(() => begin(run, OTHERS[0])), "FORBIDDEN");
});

Deno.test("a snapshot and a recorded state of before there were owners are read", () => {
  const run = new TransactionRun();
  begun(run);
  const { owner: _, ...older } = encodeTransaction(run.state);
  run.state = initialTransaction(ID);
  run.journal.splice(0, Infinity, {
    type: "StateRecorded",
    v: 1,
    at: 1,
    state: JSON.parse(JSON.stringify(older)),
  });
  run.restart();
  assert.deepEqual([run.state.owner, run.state.phase], [null, "open"]);
  const { decodeState } = transactionDecider;
  assert.equal(decodeState(JSON.parse(JSON.stringify(older))).owner, null);
});
