// Owns proof that a consumer of the client SDK reads on from where an operator put its group back to.
// Refuses to own the ledger and the routes. Invariant: over real sockets, what comes again is what was counted.
import assert from "node:assert/strict";
import { type ConsumedMessage, WaybillClient } from "../api/client.ts";
import { call } from "./support/api_calls.ts";
import { consumingServer } from "./support/consuming_server.ts";

const GROUP = "/api/groups/billing";

Deno.test("consumer of a paused group reads again exactly what a rollback counted", async () => {
  const server = await consumingServer();
  const client = new WaybillClient({ url: server.url });
  try {
    await server.publish(Array.from({ length: 30 }, (_, i) => `${i}`));
    const paused = Promise.withResolvers<string>();
    const errors: string[] = [];
    const consumer = client.consumer({
      group: "billing",
      topics: ["orders"],
      autoOffsetReset: "earliest",
      onPaused: paused.resolve,
      onError: ({ code }) => errors.push(code),
    });
    const messages = consumer[Symbol.asyncIterator]();
    const take = async (count: number): Promise<ConsumedMessage[]> => {
      const taken: ConsumedMessage[] = [];
      while (taken.length < count) taken.push((await messages.next()).value!);
      return taken;
    };
    const first = await take(20);
    await consumer.commit(first[9]!);
    const { snapshotId } = await client.groups.snapshot("billing");
    // A bug: everything is committed, half of it without having been processed.
    await consumer.commit(first[19]!);
    await client.groups.pause("billing", "half was skipped");
    assert.equal(await paused.promise, "half was skipped");
    const rollback = { to: { snapshotId }, reason: "half was skipped" };
    const dry = await client.groups.rollback("billing", { ...rollback, dryRun: true });
    assert.deepEqual(dry.changes, [
      { topic: "orders", partition: 0, from: 20, to: 10, redeliver: 10 },
    ]);
    assert.equal((await client.groups.rollback("billing", rollback)).totalRedeliver, 10);
    const { history } = await client.groups.history("billing", { topic: "orders", limit: 2 });
    assert.deepEqual(history.map(({ action, offset }) => [action, offset]), [
      ["rollback", 10],
      ["commit", 20],
    ]);
    const { snapshots } = await client.groups.snapshots("billing");
    assert.deepEqual(snapshots.map((each) => each.snapshotId), [snapshotId]);
    await client.groups.resume("billing");
    // What was sent ahead and not handed out yet may come before the consumer hears of it.
    const offsets: number[] = [];
    while (offsets.at(-1) !== 10) offsets.push((await take(1))[0]!.offset);
    assert.deepEqual(offsets.slice(0, -1), offsets.slice(0, -1).map((_, i) => 20 + i));
    const again = await take(19);
    assert.deepEqual(again.map(({ offset }) => offset), again.map((_, i) => 11 + i));
    await consumer.commit(again.at(-1)!);
    const { body: group } = await call(server.url, GROUP);
    assert.equal(group.offsets[0].offset, 30);
    assert.deepEqual(errors, []);
    await assert.rejects(
      client.groups.reset("billing", { topic: "orders", to: "-5", reason: "r" }),
      {
        code: "GROUP_NOT_EMPTY",
      },
    );
    await consumer.close();
    assert.deepEqual(server.faults, []);
  } finally {
    await client.close().catch(() => {});
    await server.close();
  }
});
