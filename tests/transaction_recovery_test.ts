// Owns proof that consume-transform-produce is exactly once whatever append the broker dies at, in memory and virtual time.
// Refuses to own real processes (e2e_transactions_test.ts).
// Invariant: every input has one output that read_committed shows, in each of two topics, and the offset is that of all.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import fc from "fast-check";
import type { LocalBroker } from "../actors/local_broker.ts";
import type { TransactionOffset } from "../actors/transaction/types.ts";
import { RecordReader } from "../api/record_reader.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import type { AppendFault } from "./support/faulty_logs.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { MortalLogStore } from "./support/mortal_logs.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const INPUTS = 12;
const PER_TRANSACTION = 5;
const OUTPUTS = ["left", "right"];
const GROUP = "g";

function batchOf(values: readonly number[]): Uint8Array {
  const records = values.map((value) => ({
    key: null,
    value: String(value),
    headers: [],
    timestamp: 0,
  }));
  return encodeBatch(records, { crc32c });
}

class Died extends Error {}

/** A machine on which brokers live one after the other, and the application that uses them. */
class World {
  readonly time = new VirtualClock();
  readonly logs = new MortalLogStore(this.time);
  readonly #stores = memoryBrokerStores({ time: this.time, logs: this.logs });
  #broker: LocalBroker | null = null;
  lives = 0;

  /** What `ask` answers; rejects with Died when the broker dies first. Virtual time goes on meanwhile. */
  async ask<T>(ask: (broker: LocalBroker) => Promise<T>): Promise<T> {
    const broker = await this.#living();
    let isSettled = false;
    const dead = this.logs.died.then(() => {
      throw new Died();
    });
    const answer = Promise.race([ask(broker), dead]).finally(() => isSettled = true);
    answer.catch(() => {});
    for (let i = 0; i < 2_000 && !isSettled; i++) await this.time.advance(10);
    assert.ok(isSettled, "an answer never came");
    try {
      return await answer;
    } catch (error) {
      if (error instanceof Died) {
        this.#broker = null;
        this.logs.revive();
      }
      throw error;
    }
  }

  async #living(): Promise<LocalBroker> {
    for (;;) {
      if (this.#broker !== null) return this.#broker;
      this.lives++;
      let opened: LocalBroker | null = null;
      let isDead = false;
      const opening = this.#stores.open().then((broker) => opened = broker);
      this.logs.died.then(() => isDead = true);
      while (opened === null && !isDead) await this.time.advance(1);
      if (isDead) {
        this.logs.revive();
        continue;
      }
      this.#broker = await opening;
    }
  }

  async setUp(): Promise<void> {
    for (const name of ["in", ...OUTPUTS]) {
      await this.ask((broker) => broker.createTopic({ name, partitions: 1, config: TOPIC_CONFIG }));
    }
    const inputs = Array.from({ length: INPUTS }, (_, value) => value);
    const at = { topic: "in", partition: 0 };
    await this.ask((broker) => broker.append(at, [batchOf(inputs)], { acks: "all" }));
  }

  /** What read_committed shows from `offset` on. */
  async read(
    topic: string,
    offset: number,
    maxMessages: number,
  ): Promise<{ values: number[]; nextOffset: number }> {
    const reader = new RecordReader({
      offset,
      maxMessages,
      maxBytes: Infinity,
      maxDecompressedBytes: 1_000_000,
    });
    const values: number[] = [];
    for (;;) {
      const from = reader.nextOffset;
      const options = { maxBytes: 1_000_000, isolation: "read_committed" as const };
      const at = { topic, partition: 0 };
      const fetched = await this.ask((broker) => broker.fetch(at, from, options));
      for (const { value } of reader.records(fetched)) {
        values.push(Number(new TextDecoder().decode(value!)));
      }
      if (reader.full || reader.nextOffset === from) break;
    }
    return { values, nextOffset: reader.nextOffset };
  }

  /** The group's offset, when no transaction is about to change it. */
  async committed(): Promise<number> {
    for (;;) {
      const { groups } = { groups: await this.ask((broker) => broker.groups()) };
      if (!groups.some(({ groupId }) => groupId === GROUP)) return 0;
      const group = await this.ask((broker) => broker.group({ type: "Describe", group: GROUP }));
      if (group.staged.length === 0) return group.offsets[0]?.offset ?? 0;
      await this.time.advance(100);
    }
  }
}

/** One round of the application; true when there was nothing left to do. */
async function round(world: World, abort: boolean): Promise<boolean> {
  const offset = await world.committed();
  const { values, nextOffset } = await world.read("in", offset, PER_TRANSACTION);
  if (values.length === 0) return true;
  const who = { transactionalId: "app", principal: "p" };
  const { transactionId } = await world.ask((broker) => broker.transactions.begin(who));
  for (const topic of OUTPUTS) {
    const at = { topic, partition: 0 };
    const batches = [batchOf(values)];
    await world.ask((broker) => broker.transactions.append(at, batches, { transactionId }));
  }
  if (abort) {
    await world.ask((broker) => broker.transactions.abort(transactionId));
    return false;
  }
  const offsets: TransactionOffset[] = [
    { groupId: GROUP, topic: "in", partition: 0, offset: nextOffset },
  ];
  const commit = { offsets, principal: "p" };
  await world.ask((broker) => broker.transactions.commit(transactionId, commit));
  return false;
}

interface Failure {
  readonly after: number;
  readonly how: AppendFault;
}

/** Runs the application to its end; each death happens `after` so many further appends. */
async function run(
  deaths: readonly { readonly after: number; readonly keeps: boolean; readonly abort?: boolean }[],
  failure?: Failure,
): Promise<{ world: World; appends: number }> {
  const world = new World();
  await world.setUp();
  const start = world.logs.appends;
  if (failure !== undefined) {
    world.logs.failsAt = start + failure.after;
    world.logs.failure = failure.how;
  }
  const plan = [...deaths];
  const arm = () => {
    const next = plan.shift();
    if (next === undefined) return;
    world.logs.diesAt = world.logs.appends + next.after;
    world.logs.keeps = next.keeps;
  };
  arm();
  let aborts = deaths.map(({ abort = false }) => abort);
  for (let isDone = false; !isDone;) {
    try {
      const [abort = false, ...rest] = aborts;
      aborts = rest;
      isDone = await round(world, abort);
    } catch (error) {
      // A refusal is no news to an application that then begins anew.
      if (error instanceof Died) arm();
      else if (!(error instanceof BrokerError) || failure === undefined) throw error;
      else await world.time.advance(1_000);
    }
  }
  world.logs.diesAt = null;
  return { world, appends: world.logs.appends - start };
}

async function check(world: World): Promise<void> {
  const expected = Array.from({ length: INPUTS }, (_, value) => value);
  for (const topic of OUTPUTS) {
    // The last transaction of a dead life may still hold readers up until its time is over.
    await world.time.advance(70_000);
    const { values } = await world.read(topic, 0, 1_000);
    assert.deepEqual(values, expected, topic);
  }
  assert.equal(await world.committed(), INPUTS);
}

Deno.test("broker that dies at any append of consume-transform-produce changes nothing of the outcome", async () => {
  const { world, appends } = await run([]);
  await check(world);
  assert.ok(appends > 20, "a run has that many steps");
  for (let after = 1; after <= appends; after++) {
    for (const keeps of [false, true]) {
      const { world } = await run([{ after, keeps }]);
      assert.equal(world.lives, 2, `it died at append ${after}`);
      await check(world).catch((error) => {
        throw new Error(`died at append ${after}, which was ${keeps ? "kept" : "lost"}`, {
          cause: error,
        });
      });
    }
  }
});

for (const how of ["DISK_FULL", "STORAGE_FAILED", "KEPT_BUT_FAILED"] as const) {
  Deno.test(`append that fails anywhere in consume-transform-produce changes nothing of the outcome (${how})`, async () => {
    const { appends } = await run([]);
    for (let after = 1; after <= appends; after++) {
      const { world } = await run([], { after, how });
      assert.equal(world.lives, 1);
      await check(world).catch((error) => {
        throw new Error(`append ${after} failed`, { cause: error });
      });
    }
  });
}

Deno.test("broker that dies again and again, also while it recovers, loses and doubles nothing", async () => {
  const death = fc.record({
    after: fc.integer({ min: 1, max: 14 }),
    keeps: fc.boolean(),
    abort: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(death, { minLength: 2, maxLength: 10 }), async (deaths) => {
      const { world } = await run(deaths);
      await check(world);
    }),
    { numRuns: 40 },
  );
});
