// Owns proof that a rollback reaches the members of a paused group: they stay, get nothing, and read on from there.
// Refuses to own the ledger's rules. Invariant: what is delivered again is what the dry run counted.
import assert from "node:assert/strict";
import type { MoveReply } from "../actors/group/types.ts";
import { StreamWorld } from "./support/stream_fakes.ts";

const PAUSED_MS = 120_000;
const HEARTBEAT_MS = 10_000;

Deno.test("slow client's commit of what it had before a rollback does not undo it", async () => {
  const { world, client, good } = await skippedAndPaused({ good: 2, mistaken: 9, maxInFlight: 10 });
  await rollBack(world, good, false);
  client.send({ type: "pause", partitions: [{ topic: "orders", partition: 0 }] });
  await world.broker.group({ type: "Resume", group: "billing", principal: "op" });
  await world.until(() => client.last("assigned").partitions[0]?.offset === 2, "the new start");
  client.commit(10);
  await world.calm();
  assert.equal(client.last("error").code, "STALE_GENERATION");
  client.send({ type: "resume", partitions: [{ topic: "orders", partition: 0 }] });
  await world.until(() => client.messages().length === 18, "all of it again");
  client.commit(10);
  await world.calm();
  assert.deepEqual(client.last("committed").offsets[0].offset, 10);
  await world.close();
});

/** A paused group whose one member has read 10 messages and committed both; `good` is when only the first was. */
async function skippedAndPaused(
  { maxInFlight = 1_000, ...offsets }: { good: number; mistaken: number; maxInFlight?: number },
) {
  const world = await StreamWorld.open();
  await world.publish(10);
  const client = await world.consumer({ maxInFlight });
  await world.calm();
  client.commit(offsets.good);
  await world.calm();
  const good = world.time.now();
  await world.time.advance(1_000);
  client.commit(offsets.mistaken);
  await world.calm();
  await world.broker.group({ type: "Pause", group: "billing", reason: "skipped", principal: "op" });
  return { world, client, good };
}

/** To where the group was at `timeMs`, as the route does it. */
async function rollBack(world: StreamWorld, timeMs: number, dryRun: boolean): Promise<MoveReply> {
  const { offsets } = await world.broker.ledger.offsetsAt("billing", { timeMs });
  const { highWatermark } = await world.broker.partitionInfo({ topic: "orders", partition: 0 });
  return await world.broker.group({
    type: "MoveOffsets",
    group: "billing",
    action: "rollback",
    cause: `time ${timeMs}`,
    targets: offsets.map(({ offset, ...at }) => ({
      ...at,
      to: { kind: "offset", offset },
      logStartOffset: 0,
      endOffset: highWatermark,
    })),
    dryRun,
    reason: "skipped",
    principal: "op",
  });
}

Deno.test("members of a paused group stay, get nothing, and after a rollback exactly what was counted", async () => {
  const { world, client, good } = await skippedAndPaused({ good: 4, mistaken: 10 });
  await world.publish(2);
  for (let waited = 0; waited < PAUSED_MS; waited += HEARTBEAT_MS) {
    client.send({ type: "heartbeat" });
    await world.time.advance(HEARTBEAT_MS);
  }
  assert.equal(client.last("paused").reason, "skipped");
  assert.equal(client.messages().length, 10, "nothing is delivered to a paused group");
  const group = await world.broker.group({ type: "Describe", group: "billing" });
  assert.deepEqual(group.members.map(({ memberId }) => memberId), [client.memberId]);
  assert.equal(group.paused?.reason, "skipped");

  const dry = await rollBack(world, good, true);
  assert.deepEqual(dry.changes, [
    { topic: "orders", partition: 0, from: 10, to: 4, redeliver: 6 },
  ]);
  assert.deepEqual((await rollBack(world, good, false)).changes, dry.changes);
  client.commit(11);
  await world.calm();
  assert.equal(client.last("error").code, "GROUP_PAUSED");
  await world.broker.group({ type: "Resume", group: "billing", principal: "op" });
  await world.until(() => client.messages().length === 18, "what was skipped, and what came since");
  assert.deepEqual(client.offsets().slice(10), [4, 5, 6, 7, 8, 9, 10, 11]);
  assert.equal(client.last("assigned").partitions[0].offset, 4);
  client.commit(12);
  await world.calm();
  assert.deepEqual(client.last("committed").offsets, [
    { topic: "orders", partition: 0, offset: 12 },
  ]);
  assert.deepEqual(world.faults, []);
  await world.close();
});

Deno.test("assignment that is told after a rollback says where reading goes on, while the group is paused still", async () => {
  const { world, client, good } = await skippedAndPaused({ good: 4, mistaken: 10 });
  await world.calm();
  const told = client.ofType("assigned").length;
  await rollBack(world, good, false);
  await world.time.advance(1_000);
  await world.calm();
  const offsets = () =>
    client.ofType("assigned").slice(told).map(({ partitions }) => partitions[0].offset);
  assert.deepEqual(offsets(), [4]);
  await world.broker.group({ type: "Resume", group: "billing", principal: "op" });
  await world.until(() => client.messages().length === 16, "what was skipped");
  assert.deepEqual(offsets(), [4]);
  assert.deepEqual(world.faults, []);
  await world.close();
});
