// Tests of partitions that move between consuming members: hand-over, grace, and at-least-once through all of it.
import assert from "node:assert/strict";
import { type FakeClient, StreamWorld } from "./support/stream_fakes.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";

const PARTITIONS = 4;

function rebalances(name: string, test: (world: StreamWorld) => Promise<void>): void {
  Deno.test(name, async () => {
    const world = await StreamWorld.open({ partitions: PARTITIONS });
    try {
      await test(world);
      assert.deepEqual(world.faults, []);
    } finally {
      await world.close();
    }
  });
}

const held = (client: FakeClient): number[] =>
  (client.last("assigned")?.partitions ?? []).map(({ partition }: { partition: number }) =>
    partition
  );

rebalances(
  "only partitions that move are revoked, and the others are not read again",
  async (world) => {
    const first = await world.consumer();
    for (let partition = 0; partition < PARTITIONS; partition++) {
      await world.publish(3, {
        partition,
      });
    }
    assert.equal(first.messages().length, 12);
    const second = world.connect();
    await world.until(() => first.ofType("revoked").length === 1, "a revocation");
    const revoked = first.last("revoked").partitions;
    assert.equal(revoked.length, 2);
    for (const { partition } of revoked) first.commit(3, { partition });
    await world.until(() => held(second).length === 2, "the hand-over");
    assert.deepEqual([...held(first), ...held(second)].sort(), [0, 1, 2, 3]);
    for (let partition = 0; partition < PARTITIONS; partition++) {
      await world.publish(1, {
        partition,
      });
    }
    assert.equal(first.messages().length, 14, "no restart of what stayed");
    assert.deepEqual(second.messages().map(({ offset }) => offset), [3, 3], "no message twice");
  },
);

rebalances(
  "a partition with messages in flight is handed over when they are committed, not before",
  async (world) => {
    const first = await world.consumer();
    for (let partition = 0; partition < PARTITIONS; partition++) {
      await world.publish(2, {
        partition,
      });
    }
    const second = world.connect();
    await world.until(() => first.ofType("revoked").length === 1, "a revocation");
    await world.time.advance(1_000);
    assert.deepEqual(held(second), []);
    const [one, other] = first.last("revoked").partitions;
    first.commit(2, { partition: one.partition });
    await world.until(() => held(second).length === 1, "the one that is settled");
    assert.deepEqual(held(second), [one.partition]);
    await world.publish(1, { partition: other.partition });
    assert.equal(first.offsets(other.partition).length, 2, "nothing more of what is revoked");
    first.send({ type: "revoked", partitions: [other] });
    await world.until(() => held(second).length === 2, "the one that was given up");
    assert.deepEqual(
      second.offsets(other.partition),
      [0, 1, 2],
      "what was not committed comes again",
    );
  },
);

rebalances(
  "after the grace a partition is taken, and a late commit of it is refused",
  async (world) => {
    const first = await world.consumer({ maxInFlight: 8 });
    for (let partition = 0; partition < PARTITIONS; partition++) {
      await world.publish(2, {
        partition,
      });
    }
    const second = world.connect();
    await world.until(() => first.ofType("revoked").length === 1, "a revocation");
    await world.time.advance(3_500);
    await world.calm();
    assert.equal(held(second).length, 2);
    const { partition } = first.last("revoked").partitions[0];
    first.commit(2, { partition, id: "late" });
    await world.calm();
    assert.deepEqual([first.last("error").code, first.last("error").id], [
      "STALE_GENERATION",
      "late",
    ]);
    // The other one is never settled; its place in the window is free again after a while.
    first.send({ type: "heartbeat" });
    await world.time.advance(12_000);
    for (const mine of held(first)) await world.publish(2, { partition: mine });
    assert.equal(first.messages().length, 12);
  },
);

rebalances(
  "a member that comes back while it gives up a partition lets go of it at once",
  async (world) => {
    const first = await world.consumer();
    for (let partition = 0; partition < PARTITIONS; partition++) {
      await world.publish(1, {
        partition,
      });
    }
    const second = world.connect();
    await world.until(() => first.ofType("revoked").length === 1, "a revocation");
    await first.gone();
    const back = world.connect({ memberId: first.memberId });
    const startedAt = world.time.monotonic();
    await world.until(() => held(second).length === 2, "the hand-over");
    assert.ok(
      world.time.monotonic() - startedAt < 1_000,
      "nothing of it is in flight on the new connection",
    );
    await world.until(() => held(back).length === 2, "the rest");
    assert.equal(back.frames[0].type, "welcome");
    assert.equal(back.ofType("revoked").length, 1);
  },
);

rebalances("a member that leaves passes its partitions on at once", async (world) => {
  const first = world.connect();
  const second = world.connect();
  await world.until(() => held(first).length === 2 && held(second).length === 2, "a half each");
  first.send({ type: "leave" });
  await world.until(() => held(second).length === 4, "all of them");
  assert.equal(first.closeCode, 1000);
});

rebalances("partitions that a topic gains are assigned and read", async (world) => {
  const client = await world.consumer();
  await world.broker.updateTopic("orders", { partitions: PARTITIONS + 1 });
  await world.until(() => held(client).length === PARTITIONS + 1, "the new partition");
  await world.publish(1, { partition: PARTITIONS });
  assert.deepEqual(client.offsets(PARTITIONS), [0]);
});

rebalances("a topic that is deleted is taken from its readers without a fault", async (world) => {
  const client = await world.consumer();
  await world.publish(2);
  await world.broker.deleteTopic("orders");
  await world.until(() => held(client).length === 0, "an empty assignment");
  await world.time.advance(15_000);
  assert.equal(client.closeCode, null);
});

for (const seed of [1, 2, 3, 4, 5]) {
  rebalances(
    `members come, go, vanish and nack, and every message arrives (seed ${seed})`,
    async (world) => {
      await new Churn(world, seed).run();
    },
  );
}

/** Members that do everything badly but commit only what they have processed. */
class Churn {
  readonly #random;
  readonly #clients = new Set<FakeClient>();
  /** Offsets processed, by partition, whoever did it. */
  readonly #processed = Array.from({ length: PARTITIONS }, () => new Set<number>());
  /** Offsets that somebody nacked: they come as retries, whoever reads the partition then. */
  readonly #failed = Array.from({ length: PARTITIONS }, () => new Set<number>());
  readonly #published = new Array<number>(PARTITIONS).fill(0);
  /** By client: how many of its frames were looked at, and by partition what it may commit. */
  readonly #read = new Map<
    FakeClient,
    { seen: number; next: Map<number, number>; open: Map<number, Set<number>> }
  >();

  constructor(readonly world: StreamWorld, seed: number) {
    this.#random = seededRandomness(seed);
  }

  async run(): Promise<void> {
    for (let step = 0; step < 120; step++) {
      await this.#step();
      await this.world.time.advance(this.#random.integer(200));
      for (const client of this.#clients) this.#process(client);
    }
    for (const client of [...this.#clients]) await this.#vanish(client);
    const last = this.#join();
    await this.world.until(() => held(last).length === PARTITIONS, "all partitions");
    await this.world.until(() => {
      this.#process(last, true);
      return this.#isDone();
    }, "every message");
    const { offsets } = await this.world.broker.group({ type: "Describe", group: "billing" });
    for (const { partition, offset } of offsets) {
      for (let done = 0; done < offset; done++) {
        assert.ok(
          this.#processed[partition]!.has(done),
          `${done} of ${partition} committed, never processed`,
        );
      }
    }
  }

  #isDone(): boolean {
    return this.#published.every((count, partition) => this.#processed[partition]!.size === count);
  }

  async #step(): Promise<void> {
    const what = this.#random.integer(10);
    const clients = [...this.#clients];
    if (what < 4) {
      const partition = this.#random.integer(PARTITIONS);
      const count = 1 + this.#random.integer(20);
      await this.world.publish(count, { partition });
      this.#published[partition]! += count;
    } else if (what < 6 && clients.length < 5) this.#join();
    else if (what < 7 && clients.length > 0) await this.#vanish(this.#random.pick(clients));
    else if (what < 8 && clients.length > 0) {
      const leaving = this.#random.pick(clients);
      leaving.send({ type: "leave" });
      await this.world.calm();
      this.#clients.delete(leaving);
      await leaving.gone();
    }
  }

  #join(): FakeClient {
    const client = this.world.connect({
      maxInFlight: 1 + this.#random.integer(30),
      maxBatchBytes: 500,
    });
    this.#clients.add(client);
    this.#read.set(client, { seen: 0, next: new Map(), open: new Map() });
    return client;
  }

  async #vanish(client: FakeClient): Promise<void> {
    this.#clients.delete(client);
    await client.gone();
  }

  /** Takes in what came; processes some of it, nacks some, and commits what is processed without a gap. */
  #process(client: FakeClient, all = false): void {
    const state = this.#read.get(client)!;
    const fresh = client.frames.slice(state.seen);
    state.seen = client.frames.length;
    for (const frame of fresh) {
      if (frame.type === "assigned") this.#positions(state, frame);
      if (frame.type === "messages") this.#take(client, frame, all);
    }
    for (const [partition, offset] of state.next) {
      const open = [...state.open.get(partition)!];
      const upTo = open.length === 0 ? offset : Math.min(offset, ...open);
      if (all || this.#random.integer(3) === 0) client.commit(upTo, { partition });
    }
  }

  #positions(state: { next: Map<number, number>; open: Map<number, Set<number>> }, frame: {
    partitions: { partition: number; offset: number }[];
  }): void {
    const kept = new Set(frame.partitions.map(({ partition }) => partition));
    for (const partition of [...state.next.keys()]) {
      if (!kept.has(partition)) state.next.delete(partition);
    }
    for (const { partition, offset } of frame.partitions) {
      if (state.next.has(partition)) continue;
      state.next.set(partition, offset);
      state.open.set(partition, new Set());
    }
  }

  #take(
    client: FakeClient,
    frame: { partition: number; messages: { offset: number; attempt?: number }[] },
    all: boolean,
  ) {
    const state = this.#read.get(client)!;
    const { partition } = frame;
    for (const { offset, attempt } of frame.messages) {
      const next = state.next.get(partition)!;
      if (attempt === undefined) assert.ok(offset >= next, "new messages come in order");
      // What others have nacked comes in its own time, not where it lies.
      for (let passed = next; passed < offset; passed++) {
        assert.ok(this.#failed[partition]!.has(passed), `${passed} is passed over without a nack`);
      }
      state.next.set(partition, Math.max(next, offset + 1));
      if (!all && this.#random.integer(8) === 0) {
        state.open.get(partition)!.add(offset);
        this.#failed[partition]!.add(offset);
        client.send({
          type: "nack",
          topic: "orders",
          partition,
          offset,
          delayMs: this.#random.integer(300),
        });
      } else {
        state.open.get(partition)!.delete(offset);
        this.#processed[partition]!.add(offset);
      }
    }
  }
}
