// Owns proof that the journal of transactions lets old segments go and loses nothing that is still needed.
// Refuses to own the order of retention (group_retention_test.ts shows it under crashes).
// Invariant: after retention a start without any snapshot knows every id as before.
import assert from "node:assert/strict";
import { DAY_MS } from "./support/journal_logs.ts";
import { TransactionWorld } from "./support/transaction_world.ts";

Deno.test("journal of transactions lets old segments go, and a start without snapshots knows every id as before", async () => {
  const world = new TransactionWorld();
  const partition = await world.partition();
  const before = await world.coordinator(partition);
  const run = async (transactionalId: string) => {
    const who = { transactionalId, principal: "p", timeoutMs: 900_000 };
    const begun = await before.begin(who);
    return {
      ...begun,
      commit: () => before.commit(begun.transactionId, { offsets: [], principal: "p" }),
    };
  };
  const quiet = await run("quiet");
  await quiet.commit();
  for (let count = 0; count < 100; count++) await (await run("busy")).commit();
  await world.time.advance(2 * DAY_MS);
  const open = await run("open");
  await before.applyRetention(world.time.now(), { minDroppableOffsets: 50 });
  const { startOffset } = partition.readable();
  assert.deepEqual(world.reports, []);
  assert.ok(startOffset > 100, `the journal starts at ${startOffset}`);
  await before.close();
  await partition.close();

  const reopened = await world.partition();
  const after = await world.coordinator(reopened);
  assert.equal((await after.describe(quiet.transactionId)).state, "committed");
  assert.equal((await after.describe(open.transactionId)).state, "open");
  assert.equal((await after.unfinished()).length, 1);
  const next = await after.begin({ transactionalId: "busy", principal: "p" });
  assert.equal(next.producerEpoch, 100, "no epoch is given away twice");
  await after.close();
  await reopened.close();
});
