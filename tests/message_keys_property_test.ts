// Owns the property of message keys: whatever fails and restarts, a key is stored once.
// Refuses to own single cases (message_keys_append_test.ts). Invariant: every repeat is told the same place.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { LocalBroker } from "../actors/local_broker.ts";
import { knownMessagesOf } from "../actors/message_keys/types.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { append, kill, opened, stored } from "./support/keyed_appends.ts";

type Command =
  | { type: "publish"; keys: string[]; partition: number }
  | { type: "race"; keys: string[]; partitions: [number, number] }
  | { type: "fault"; fault: "DISK_FULL" | "STORAGE_FAILED" | "KEPT_BUT_FAILED" }
  | { type: "pass"; ms: number }
  | { type: "restart"; clean: boolean; loseSnapshots: boolean };

const someKeys = fc.uniqueArray(fc.constantFrom(..."abcdefghij"), { minLength: 1, maxLength: 4 });

const commands = fc.array(
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        type: fc.constant("publish" as const),
        keys: someKeys,
        partition: fc.nat(1),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        type: fc.constant("race" as const),
        keys: someKeys,
        partitions: fc.tuple(fc.nat(1), fc.nat(1)),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        type: fc.constant("fault" as const),
        fault: fc.constantFrom(
          "DISK_FULL" as const,
          "STORAGE_FAILED" as const,
          "KEPT_BUT_FAILED" as const,
        ),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ type: fc.constant("pass" as const), ms: fc.nat(400_000) }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        type: fc.constant("restart" as const),
        clean: fc.boolean(),
        loseSnapshots: fc.boolean(),
      }),
    },
  ),
  { minLength: 1, maxLength: 30 },
);

Deno.test("whatever fails and restarts, a key is stored once and every repeat is told the same place", async () => {
  await fc.assert(
    fc.asyncProperty(commands, async (given: Command[]) => {
      const stores = await opened({ partitions: 2 });
      const places = new Map<string, string>();
      let { broker } = stores;
      for (const command of given) {
        if (command.type === "publish") {
          await publishAll(broker, command.keys, { partition: command.partition, places });
        } else if (command.type === "race") {
          const { keys, partitions } = command;
          await Promise.all(
            partitions.map((partition, at) =>
              publishAll(broker, at === 0 ? keys : keys.toReversed(), { partition, places })
            ),
          );
        } else if (command.type === "fault") stores.logs.nextFault = command.fault;
        else if (command.type === "pass") await stores.time.advance(command.ms);
        else {
          if (command.clean) await broker.close().catch(() => undefined);
          else await kill(broker, stores);
          const topicId = broker.topic("orders")!.topicId;
          if (command.loseSnapshots) await stores.snapshots.remove(`message-keys/${topicId}`);
          broker = await stores.open();
        }
      }
      stores.logs.nextFault = null;
      await stores.time.advance(60_000);
      await publishAll(broker, [..."abcdefghij"], { partition: 0, places });
      const all = (await Promise.all([stored(broker, 0), stored(broker, 1)])).flat();
      assert.deepEqual(all.toSorted(), [..."abcdefghij"]);
      assert.equal(places.size, 10);
      await broker.close();
    }),
    { numRuns: 60 },
  );
});

/** Publishes as the HTTP edge does: what is known is left out and the rest tried again. Errors leave it at that. */
async function publishAll(
  broker: LocalBroker,
  keys: readonly string[],
  { partition, places }: { partition: number; places: Map<string, string> },
): Promise<void> {
  const told = (key: string, at: number, offset: number) => {
    const place = `${at}/${offset}`;
    assert.equal(places.get(key) ?? place, place, `${key} is in two places`);
    places.set(key, place);
  };
  let left = keys;
  while (left.length > 0) {
    const tried = left;
    try {
      const { baseOffsets: [base] } = await append(broker, tried, partition);
      tried.forEach((key, at) => told(key, partition, base! + at));
      return;
    } catch (error) {
      const known = knownMessagesOf(error);
      if (known === null) {
        assert.ok(error instanceof BrokerError && error.retryable, String(error));
        return;
      }
      for (const { record, partition, offset } of known) told(tried[record]!, partition, offset);
      left = tried.filter((_, at) => !known.some(({ record }) => record === at));
    }
  }
}
