// Owns what members of a group are given of transactions, in every format: nothing open, nothing aborted, no marker.
// Refuses to own reading without a group (api_transactions_test.ts).
// Invariant: what is committed comes in order of offsets, as soon as nothing before it is open.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { recordsIn } from "../api/client/received.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { type FakeClient, StreamWorld } from "./support/stream_fakes.ts";

const AT = { topic: "orders", partition: 0 };
const utf8 = new TextDecoder();

function batchOf(value: string): Uint8Array {
  return encodeBatch([{ key: null, value, headers: [], timestamp: 1 }], { crc32c });
}

async function begin(world: StreamWorld, transactionalId: string): Promise<string> {
  const begun = await world.broker.transactions.begin({ transactionalId, principal: "p" });
  return begun.transactionId;
}

async function within(world: StreamWorld, transactionId: string, value: string): Promise<void> {
  await world.broker.transactions.append(AT, [batchOf(value)], { transactionId });
}

async function outside(world: StreamWorld, value: string): Promise<void> {
  await world.broker.append(AT, [batchOf(value)], { acks: "all" });
}

/** Values in the order in which they came. */
function values(client: FakeClient, format: string): string[] {
  if (format !== "batch") return client.messages().map(({ value }) => value);
  return client.ofType("messages").flatMap(({ batches, offset, nextOffset }) =>
    recordsIn(batches, { from: offset, to: nextOffset, crc32c })
      .map(({ value }) => utf8.decode(value!))
  );
}

for (const format of ["json", "msgpack", "batch"] as const) {
  Deno.test(`members see committed transactions only, and in order (${format})`, async () => {
    const world = await StreamWorld.open();
    const [kept, dropped] = [await begin(world, "kept"), await begin(world, "dropped")];
    await within(world, dropped, "no 1");
    await within(world, kept, "yes 1");
    await outside(world, "plain 1");
    const client = await world.consumer({ format });
    await world.time.advance(100);
    assert.deepEqual(values(client, format), [], "the first open transaction holds up all");
    await within(world, kept, "yes 2");
    await world.broker.transactions.commit(kept, { offsets: [], principal: "p" });
    await world.time.advance(100);
    assert.deepEqual(values(client, format), []);
    await within(world, dropped, "no 2");
    await world.broker.transactions.abort(dropped);
    await outside(world, "plain 2");
    await world.until(() => values(client, format).length >= 4, "what is committed");
    await world.time.advance(100);
    assert.deepEqual(values(client, format), ["yes 1", "plain 1", "yes 2", "plain 2"]);
    assert.deepEqual(world.faults, []);
    await world.close();
  });
}

Deno.test("a member starts only when the transaction that moves its offset has ended", async () => {
  const world = await StreamWorld.open();
  for (const value of ["a", "b", "c"]) await outside(world, value);
  const staged = {
    group: "billing",
    transactionId: "t1",
    offsets: [{ ...AT, offset: 2, endOffset: 3 }],
    principal: "p",
  };
  await world.broker.group({ type: "StageOffsets", ...staged });
  const client = await world.consumer();
  await world.time.advance(5_000);
  assert.deepEqual(client.messages(), []);
  assert.deepEqual(client.ofType("error"), []);
  const ended = { group: "billing", transactionId: "t1", commit: true };
  await world.broker.group({ type: "EndStagedOffsets", ...ended });
  await world.time.advance(5_000);
  assert.deepEqual(values(client, "json"), ["c"]);
  await world.close();
});
