// Owns proof that a key is stored once while homes of keys come and go, and messages between brokers are late or lost.
// Refuses to own whole brokers (cluster_message_keys_test.ts) and partitions that change their leader.
// Invariant: the keys, the fence and what lies between them are the real ones; only partitions and the network are made up.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { AppendReceipt, FetchResult, Topic } from "../actors/broker.ts";
import { ReachedPartitions } from "../actors/message_keys/keyed_partitions.ts";
import type { KeySnapshot } from "../actors/message_keys/key_snapshot.ts";
import { TopicKeys } from "../actors/message_keys/topic_keys.ts";
import { knownMessagesOf } from "../actors/message_keys/types.ts";
import { KeyFence } from "../actors/partition/key_fence.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { setBaseOffset } from "../storage/format/record_batch.ts";
import { batchOf } from "./support/keyed_appends.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { settle } from "./support/virtual_time.ts";

const PARTITIONS = 2;
const KEYS = ["a", "b", "c"];
const BROKERS = ["x", "y"] as const;
type Name = typeof BROKERS[number];

const hasCode = (code: string) => (error: unknown) =>
  error instanceof BrokerError && error.code === code;

/** What is on its way between brokers. */
interface Message {
  readonly deliver: () => void;
  /** Whoever sent it gives up; it may arrive all the same. */
  readonly lose: () => void;
}

class World {
  readonly messages: Message[] = [];
  readonly logs = Array.from(
    { length: PARTITIONS },
    () => [] as { key: string; bytes: Uint8Array }[],
  );
  readonly fences = this.logs.map((_, partition) =>
    new KeyFence({ name: `orders/${partition}`, homeEpoch: () => -1 })
  );
  readonly epochs = new Map<Name, number>();
  readonly partitionCounts = new Map<Name, number>();
  readonly snapshots = new Map<Name, KeySnapshot>();
  readonly brokers = new Map(BROKERS.map((name) => [name, this.#broker(name)] as const));
  #epoch = 0;

  /** Another home; the one before may not have heard of it. */
  move(to: Name, isHeard: boolean): void {
    const before = BROKERS.find((name) => name !== to)!;
    if (isHeard) this.forget(before);
    this.epochs.set(to, ++this.#epoch);
  }

  /** A broker hears that it is no home, or not the one that it was: others may be since. */
  forget(name: Name): void {
    const keys = this.brokers.get(name)!;
    if (keys.isLoaded) this.snapshots.set(name, keys.snapshot());
    keys.drop();
    this.epochs.delete(name);
  }

  publish(name: Name, partition: number, key: string): Promise<AppendReceipt> {
    const batches = [batchOf([key])];
    return this.brokers.get(name)!.append({ partition, batches, keys: [[key]] });
  }

  /** Everything arrives. */
  async drain(): Promise<void> {
    await settle();
    while (this.messages.length > 0) {
      this.messages.shift()!.deliver();
      await settle();
    }
  }

  stored(): string[] {
    return this.logs.flatMap((log, partition) =>
      log.map(({ key }, offset) => `${key}@${partition}/${offset}`)
    );
  }

  #broker(name: Name): TopicKeys {
    const topic = (): Topic => ({
      topicId: "id",
      name: "orders",
      partitionCount: this.partitionCounts.get(name) ?? PARTITIONS,
      config: TOPIC_CONFIG,
      createdAt: 0,
      internal: false,
    });
    const homeEpoch = () => {
      const epoch = this.epochs.get(name);
      if (epoch === undefined) throw new BrokerError("NOT_LEADER", `${name} is no home`);
      return epoch;
    };
    return new TopicKeys({
      name: "orders",
      windowMs: 1e9,
      maxKeys: 1_000,
      hasTrueTimes: false,
      now: () => 0,
      partitions: new ReachedPartitions({ reach: this.#reach(), topic, homeEpoch }),
      declare: () => Promise.resolve([]),
      loadSnapshot: () => Promise.resolve(this.snapshots.get(name) ?? null),
      yieldTurn: () => Promise.resolve(),
      count: () => {},
    });
  }

  #reach(): ConstructorParameters<typeof ReachedPartitions>[0]["reach"] {
    return {
      append: ({ partition }, batches, options) =>
        this.#send(() => {
          this.fences[partition]!.check(options!.keysTerm);
          const log = this.logs[partition]!;
          const baseOffset = log.length;
          const bytes = batches[0]!.slice();
          setBaseOffset(bytes, 0, baseOffset);
          const key = KEYS.find((each) => new TextDecoder().decode(bytes).includes(`of ${each}`))!;
          log.push({ key, bytes });
          return {
            baseOffsets: [baseOffset],
            duplicates: [false],
            highWatermark: log.length,
            durability: "fsync" as const,
            inSyncReplicas: 1,
          };
        }),
      fenceKeys: ({ partition }, term) =>
        this.#send(() => {
          this.fences[partition]!.raise(term);
          return { startOffset: 0, endOffset: this.logs[partition]!.length };
        }),
      fetch: ({ partition }, offset) => this.#send(() => this.#read(partition, offset)),
    };
  }

  #read(partition: number, offset: number): FetchResult {
    const log = this.logs[partition]!;
    const batches = new Uint8Array(log.slice(offset).flatMap(({ bytes }) => [...bytes]));
    const highWatermark = log.length;
    return { batches, highWatermark, lastStableOffset: highWatermark, logStartOffset: 0 };
  }

  #send<T>(run: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.messages.push({
        deliver: () => {
          try {
            resolve(run());
          } catch (error) {
            reject(error);
          }
        },
        lose: () => {
          reject(new BrokerError("PEER_LOST", "no answer came"));
          const late = () => {
            try {
              run();
            } catch {
              // Refused, and nobody hears it.
            }
          };
          this.messages.push({ deliver: late, lose: () => {} });
        },
      });
    });
  }
}

type Step =
  | {
    readonly type: "publish";
    readonly at: Name;
    readonly partition: number;
    readonly key: string;
  }
  | { readonly type: "move"; readonly to: Name; readonly isHeard: boolean }
  | { readonly type: "forget"; readonly at: Name }
  | { readonly type: "deliver" | "lose"; readonly index: number };

const name = fc.constantFrom(...BROKERS);
const index = fc.nat({ max: 8 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      type: fc.constant("publish" as const),
      at: name,
      partition: fc.nat({ max: PARTITIONS - 1 }),
      key: fc.constantFrom(...KEYS),
    }),
  },
  { weight: 8, arbitrary: fc.record({ type: fc.constant("deliver" as const), index }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("lose" as const), index }) },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant("move" as const),
      to: name,
      isHeard: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("forget" as const), at: name }) },
);

/** True with a step: all that it begins goes as far as it can before the next. */
const steps = fc.array(fc.tuple(step, fc.boolean()), { minLength: 5, maxLength: 100, size: "max" });
const plan = fc.record({ steps, last: name });

/** Where a publish says that the message is: `partition/offset`; null where it does not say. */
function placeOf(publish: Promise<AppendReceipt>, partition: number): Promise<string | null> {
  return publish.then(
    ({ baseOffsets: [offset] }) => `${partition}/${offset}`,
    (error) => {
      const first = knownMessagesOf(error)?.[0];
      return first === undefined ? null : `${first.partition}/${first.offset}`;
    },
  );
}

Deno.test("whatever is late or lost between homes that come and go, a key is stored once", async () => {
  await fc.assert(
    fc.asyncProperty(plan, async ({ steps, last }) => {
      const world = new World();
      world.move("x", true);
      const told: { key: string; place: Promise<string | null> }[] = [];
      const publish = (at: Name, partition: number, key: string) =>
        told.push({ key, place: placeOf(world.publish(at, partition, key), partition) });
      for (const [each, isAlone] of steps) {
        if (each.type === "publish") publish(each.at, each.partition, each.key);
        else if (each.type === "move") world.move(each.to, each.isHeard);
        else if (each.type === "forget") world.forget(each.at);
        else if (world.messages.length > 0) {
          world.messages.splice(each.index % world.messages.length, 1)[0]![each.type]();
        }
        if (isAlone) await settle();
      }
      await world.drain();
      world.move(last, false);
      // The repeats of all clients, until the end is quiet.
      for (const key of KEYS) publish(last, 1, key);
      await world.drain();
      const stored = world.stored();
      assert.equal(stored.length, KEYS.length, stored.join(" "));
      for (const { key, place } of told) {
        const said = await place;
        if (said !== null) assert.ok(stored.includes(`${key}@${said}`), `${key} is not at ${said}`);
      }
    }),
    { numRuns: 300 },
  );
});

Deno.test("a broker that is no home refuses, and one that is one again looks what others have appended", async () => {
  const world = new World();
  const publish = async (at: Name, partition: number, key: string) => {
    const place = placeOf(world.publish(at, partition, key), partition);
    await world.drain();
    return await place;
  };
  world.move("x", true);
  assert.equal(await publish("x", 0, "a"), "0/0");
  world.move("y", true);
  await assert.rejects(world.publish("x", 0, "b"), hasCode("NOT_LEADER"));
  assert.equal(await publish("y", 1, "b"), "1/0");
  // Nobody has told it in between that it was none.
  world.epochs.set("x", 9);
  assert.equal(await publish("x", 0, "b"), "1/0");
  assert.deepEqual(world.stored(), ["a@0/0", "b@1/0"]);
});

Deno.test("a home that hears late of further partitions looks what the one before has put there", async () => {
  const world = new World();
  world.partitionCounts.set("y", 1);
  world.move("x", true);
  const first = world.publish("x", 1, "a");
  await world.drain();
  assert.deepEqual((await first).baseOffsets, [0]);
  world.move("y", true);
  const other = world.publish("y", 0, "b");
  await world.drain();
  await other;
  world.partitionCounts.set("y", 2);
  const again = placeOf(world.publish("y", 1, "a"), 1);
  await world.drain();
  assert.equal(await again, "1/0");
  assert.deepEqual(world.stored(), ["b@0/0", "a@1/0"]);
});
