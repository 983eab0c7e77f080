// Owns the property of producers and transactions of a partition over restarts and crashes.
// Refuses to own single cases (partition_producer_recovery_test.ts). Invariant: stored once, in order, and decided.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { Partition } from "../actors/partition/partition.ts";
import { producerSnapshotId } from "../actors/partition/partition_producers.ts";
import { asBrokerError, BrokerError } from "../storage/broker_error.ts";
import { decodeBatch } from "../storage/format/decode.ts";
import { batchSpans, CONTROL_BIT, readHeader } from "../storage/format/record_batch.ts";
import { LOG_NAME, partitionScene, plain, stamped } from "./support/partition_scene.ts";

const MAX_BYTES = 64 * 1_048_576;

const SNAPSHOT = producerSnapshotId(LOG_NAME);

const all = { acks: "all" } as const;

/** What a partition says of itself that must not change by a restart. */
function stateOf(partition: Partition, producers: readonly { id: number; epoch: number }[]) {
  const { logEndOffset, lastStableOffset } = partition.info();
  const sequences = producers.map(({ id, epoch }) =>
    partition.nextSequence({ producerId: id, producerEpoch: epoch })
  );
  return { logEndOffset, lastStableOffset, aborted: partition.stable().aborted, sequences };
}

type Step =
  | { kind: "send"; producer: number; count: number; transactional: boolean }
  | { kind: "repeat"; producer: number }
  | { kind: "gap"; producer: number }
  | { kind: "end"; producer: number; commit: boolean }
  | { kind: "others" }
  | { kind: "restart" }
  | { kind: "crash" }
  | { kind: "forget snapshot" };

const PRODUCERS = 4;

const producer = fc.nat(PRODUCERS - 1);

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("send" as const),
      producer,
      count: fc.integer({ min: 1, max: 3 }),
      transactional: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("repeat" as const), producer }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("gap" as const), producer }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("end" as const), producer, commit: fc.boolean() }),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      { kind: "others" as const },
      { kind: "restart" as const },
      { kind: "crash" as const },
      { kind: "forget snapshot" as const },
    ),
  },
);

interface Sender {
  readonly id: number;
  epoch: number;
  sequence: number;
  open: boolean;
  last: { values: string[]; sequence: number; transactional: boolean; epoch: number } | null;
}

/** Values of the log by producer; those of aborted transactions left out. */
async function stored(partition: Partition): Promise<Map<number, string[]>> {
  const { batches, aborted = [] } = await partition.fetch(0, {
    maxBytes: MAX_BYTES,
    isolation: "read_committed",
  });
  const found = new Map<number, string[]>();
  for (const { at } of batchSpans(batches)) {
    const { attributes, producerId, baseOffset } = readHeader(batches, at);
    if (attributes & CONTROL_BIT) continue;
    const isAborted = aborted.some((each) =>
      each.producerId === producerId && each.firstOffset <= baseOffset &&
      baseOffset <= each.lastOffset
    );
    if (isAborted && attributes & 0x10) continue;
    const values = decodeBatch(batches, at, { maxDecompressedBytes: MAX_BYTES })
      .map(({ value }) => new TextDecoder().decode(value!));
    found.set(producerId, [...found.get(producerId) ?? [], ...values]);
  }
  return found;
}

Deno.test("whatever is sent, repeated, ended, restarted and crashed, each message is stored once, in order, and decided", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
      const scene = partitionScene();
      let partition = await scene.open();
      const senders = Array.from({ length: PRODUCERS }, (_, id): Sender => ({
        id,
        epoch: 0,
        sequence: 0,
        open: false,
        last: null,
      }));
      const expected = new Map<number, string[]>();
      const pending = new Map<number, string[]>();
      const decided = (id: number, values: readonly string[]) =>
        values.length > 0 && expected.set(id, [...expected.get(id) ?? [], ...values]);
      let counter = 0;
      const send = async (sender: Sender, count: number, transactional: boolean) => {
        const values = Array.from({ length: count }, () => `${counter++}`);
        const { id, epoch, sequence } = sender;
        const stamp = { id, epoch, sequence, transactional };
        const receipt = await partition.append([stamped(values, stamp)], all);
        assert.deepEqual(receipt.duplicates, [false]);
        sender.last = { values, sequence, transactional, epoch };
        sender.sequence += count;
        if (!transactional) return decided(id, values);
        sender.open = true;
        pending.set(id, [...pending.get(id) ?? [], ...values]);
      };
      const finish = async (sender: Sender, commit: boolean) => {
        const { id, epoch } = sender;
        const marker = { producerId: id, producerEpoch: epoch, coordinatorEpoch: 0, commit };
        const offset = await partition.writeMarker(marker);
        assert.notEqual(offset, null);
        assert.equal(await partition.writeMarker(marker), null);
        if (commit) decided(id, pending.get(id) ?? []);
        pending.delete(id);
        // One epoch is one transaction.
        Object.assign(sender, { epoch: epoch + 1, sequence: 0, open: false, last: null });
      };
      const reopen = async (crash: boolean) => {
        const before = stateOf(partition, senders);
        if (crash) scene.logs.crash();
        else await partition.close();
        partition = await scene.open();
        assert.deepEqual(stateOf(partition, senders), before);
      };
      for (const each of steps) {
        const sender = "producer" in each ? senders[each.producer]! : senders[0]!;
        if (each.kind === "send") {
          await send(sender, each.count, sender.open || each.transactional);
        } else if (each.kind === "repeat" && sender.last !== null) {
          const { values, ...stamp } = sender.last;
          const receipt = await partition.append(
            [stamped(values, { ...stamp, id: sender.id })],
            all,
          );
          assert.deepEqual(receipt.duplicates, [true]);
        } else if (each.kind === "gap") {
          const { id, epoch, sequence, open } = sender;
          const stamp = { id, epoch, sequence: sequence + 1, transactional: open };
          const error = await partition.append([stamped(["gap"], stamp)], all).catch(asBrokerError);
          assert.equal((error as BrokerError).code, "OUT_OF_ORDER_SEQUENCE");
        } else if (each.kind === "end") await finish(sender, each.commit);
        else if (each.kind === "others") await partition.append([plain("other")], all);
        else if (each.kind === "forget snapshot") await scene.snapshots.remove(SNAPSHOT);
        else if (each.kind === "restart" || each.kind === "crash") {
          await reopen(each.kind === "crash");
        }
        const { lastStableOffset, highWatermark } = partition.info();
        if (!senders.some(({ open }) => open)) assert.equal(lastStableOffset, highWatermark);
      }
      for (const sender of senders) if (sender.open) await finish(sender, false);
      await reopen(true);
      const found = await stored(partition);
      found.delete(-1);
      assert.deepEqual([...found].sort(), [...expected].sort());
      await partition.close();
    }),
    { numRuns: 150 },
  );
});
