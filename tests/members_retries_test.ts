// Owns what a member that polls sees of messages that fail, over a whole broker in memory, in virtual time.
// Refuses to own the decisions themselves (retry_decide_test.ts). Invariant: requests without sockets.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { yieldToEventLoop } from "../api/event_loop.ts";
import { createConsuming } from "../api/stream/consuming.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { type Answer, type ApiUnderTest, apiUnderTest } from "./support/api_app.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

const AT = { topic: "orders", partition: 0 };

class Poller {
  readonly time = new VirtualClock();
  memberId = "";
  token = "";
  api!: ApiUnderTest;

  async ask(method: string, path: string, body?: unknown): Promise<Answer> {
    let answer: Answer | null = null;
    const asked = this.api.ask(method, path, body === undefined ? {} : { body });
    void asked.then((got) => answer = got);
    for (let turn = 0; turn < 2_000 && answer === null; turn++) {
      await settle();
      await this.time.advance(turn < 30 ? 0 : 20);
    }
    return await asked;
  }

  async join(): Promise<void> {
    const joined = await this.ask("POST", "/api/groups/billing/members", { topics: ["orders"] });
    assert.equal(joined.status, 200, JSON.stringify(joined.body));
    this.memberId = joined.body.memberId;
    this.token = joined.body.leaseToken;
  }

  async publish(...keys: (string | null)[]): Promise<void> {
    const records = keys.map((key) => ({ key, value: "v", headers: [], timestamp: 1 }));
    await this.api.broker.append(AT, [encodeBatch(records, { crc32c })], { acks: "all" });
  }

  /** `offset`, or `offset#attempt` of what comes again. `lost`: the answer never arrives. */
  async poll(options: { waitMs?: number; lost?: boolean; max?: number } = {}): Promise<string[]> {
    const { waitMs = 0, lost = false, max = 100 } = options;
    const { status, body } = await this.ask(
      "POST",
      `/api/groups/billing/members/${this.memberId}:poll`,
      { leaseToken: this.token, waitMs, maxMessages: max },
    );
    assert.equal(status, 200, JSON.stringify(body));
    if (!lost) this.token = body.leaseToken;
    return body.messages.map(({ offset, attempt }: { offset: number; attempt?: number }) =>
      attempt === undefined ? `${offset}` : `${offset}#${attempt}`
    );
  }

  async nack(offset: number, more: object = {}): Promise<void> {
    const { memberId } = this;
    const body = { groupId: "billing", memberId, ...AT, offset, ...more };
    const { status } = await this.ask("POST", "/api/messages:nack", body);
    assert.equal(status, 200);
  }

  async commit(offset: number, more: { settles?: number[] } = {}): Promise<void> {
    const { memberId } = this;
    const body = { groupId: "billing", memberId, offsets: [{ ...AT, offset, ...more }] };
    const { status, body: answer } = await this.ask("POST", "/api/offsets:commit", body);
    assert.equal(status, 200, JSON.stringify(answer));
  }

  async retries(): Promise<{ waiting: number; inHand: number }> {
    const { waiting, inHand } = (await this.ask("GET", "/api/groups/billing")).body.retries;
    return { waiting, inHand };
  }
}

function polls(name: string, run: (poller: Poller) => Promise<void>): void {
  Deno.test(name, async () => {
    const poller = new Poller();
    const { time } = poller;
    const consuming = createConsuming({ timers: time });
    poller.api = await apiUnderTest({
      time,
      group: { initialRebalanceDelayMs: 0, rebalanceDelayMs: 0 },
      app: { routes: [consuming.routes], yieldToEventLoop },
    });
    await poller.api.broker.createTopic({ name: "orders", partitions: 1, config: TOPIC_CONFIG });
    await poller.join();
    try {
      await run(poller);
      assert.deepEqual(poller.api.faults, []);
    } finally {
      await consuming.drain();
      await poller.api.close();
    }
  });
}

polls("a nacked message is polled again after its wait, with its attempt", async (poller) => {
  await poller.publish(null, null, null);
  assert.deepEqual(await poller.poll(), ["0", "1", "2"]);
  await poller.nack(1, { delayMs: 500 });
  await poller.commit(3);
  assert.deepEqual(await poller.poll(), []);
  assert.deepEqual(await poller.poll({ waitMs: 5_000 }), ["1#2"], "a poll that waits is woken");
  assert.deepEqual(await poller.retries(), { waiting: 0, inHand: 1 });
  await poller.commit(2);
  assert.deepEqual(await poller.retries(), { waiting: 0, inHand: 0 });
  assert.deepEqual(await poller.poll(), []);
});

polls("a commit that names what is done settles nothing else that came again", async (poller) => {
  await poller.publish(null, null, null);
  await poller.poll();
  await poller.nack(0, { delayMs: 0 });
  await poller.nack(1, { delayMs: 0 });
  await poller.commit(2, { settles: [] });
  await poller.commit(3, { settles: [] });
  assert.deepEqual(await poller.poll({ waitMs: 1_000 }), ["0#2", "1#2"]);
  await poller.commit(3, { settles: [] });
  assert.deepEqual(
    await poller.retries(),
    { waiting: 0, inHand: 2 },
    "a timer knows nothing of it",
  );
  await poller.commit(3, { settles: [1] });
  assert.deepEqual(await poller.retries(), { waiting: 0, inHand: 1 });
  await poller.nack(0, { delayMs: 0 });
  assert.deepEqual(await poller.poll({ waitMs: 1_000 }), ["0#3"]);
  await poller.commit(1, { settles: [0] });
  assert.deepEqual(await poller.retries(), { waiting: 0, inHand: 0 });
});

polls(
  "an answer with a retry that was lost is given again, until it is settled or nacked",
  async (poller) => {
    await poller.publish(null, null);
    await poller.poll();
    await poller.nack(0, { delayMs: 0 });
    await poller.commit(2);
    await poller.time.advance(20);
    assert.deepEqual(await poller.poll({ lost: true }), ["0#2"]);
    assert.deepEqual(await poller.poll(), ["0#2"]);
    assert.deepEqual(await poller.poll(), ["0#2"], "it is not settled");
    await poller.nack(0, { delayMs: 0 });
    await poller.time.advance(20);
    assert.deepEqual(await poller.poll(), ["0#3"]);
    await poller.commit(1);
    assert.deepEqual(await poller.poll(), []);
  },
);

polls("what was nacked is not given again with its lease", async (poller) => {
  await poller.publish(null, null, null);
  assert.deepEqual(await poller.poll(), ["0", "1", "2"]);
  await poller.nack(1, { delayMs: 60_000 });
  assert.deepEqual(await poller.poll(), ["0", "2"]);
  await poller.nack(0, { delayMs: 60_000 });
  await poller.nack(2, { code: "NON_RETRYABLE" });
  assert.deepEqual(await poller.poll(), [], "nothing of the lease is left");
  await poller.publish(null);
  assert.deepEqual(await poller.poll(), ["3"]);
});

polls("another member passes over what waits, and gets it in its time", async (poller) => {
  await poller.publish(null, null, null);
  await poller.poll();
  await poller.nack(1, { delayMs: 5_000 });
  await poller.ask("DELETE", `/api/groups/billing/members/${poller.memberId}`);
  await poller.join();
  assert.deepEqual(await poller.poll(), ["0", "2"]);
  await poller.commit(3);
  assert.deepEqual(await poller.poll({ waitMs: 10_000 }), ["1#2"]);
});

polls("a poison message holds up its key, or its partition, as the policy says", async (poller) => {
  const policy = { baseMs: 100, jitterMs: 0, maxAttempts: 2 };
  const path = "/api/groups/billing/retry-policy";
  await poller.ask("PUT", path, { ...policy, ordering: "blockKey" });
  await poller.publish("a", "b");
  assert.deepEqual(await poller.poll(), ["0", "1"]);
  await poller.nack(0);
  await poller.commit(2);
  await poller.publish("a", "b", null);
  assert.deepEqual(await poller.poll(), ["3", "4"]);
  await poller.commit(5);
  assert.deepEqual(await poller.poll({ waitMs: 1_000 }), ["0#2"]);
  await poller.commit(1);
  assert.deepEqual(await poller.poll({ waitMs: 1_000 }), ["2#1"]);
  await poller.commit(3);
  await poller.ask("PUT", path, { ...policy, ordering: "blockPartition" });
  await poller.publish("x");
  assert.deepEqual(await poller.poll({ waitMs: 1_000 }), ["5"]);
  await poller.nack(5);
  await poller.publish("y");
  assert.deepEqual(await poller.poll(), []);
  assert.deepEqual(await poller.poll({ waitMs: 1_000 }), ["5#2"]);
  await poller.nack(5);
  assert.deepEqual(await poller.poll({ waitMs: 1_000 }), ["6"]);
});

polls("under blockPartition the next member reads up to what waits, no further", async (poller) => {
  const path = "/api/groups/billing/retry-policy";
  await poller.ask("PUT", path, { ordering: "blockPartition" });
  await poller.publish(null, null, null, null);
  await poller.poll();
  await poller.nack(2, { delayMs: 5_000 });
  await poller.ask("DELETE", `/api/groups/billing/members/${poller.memberId}`);
  await poller.join();
  assert.deepEqual(await poller.poll(), ["0", "1"]);
  await poller.commit(2);
  assert.deepEqual(await poller.poll({ waitMs: 10_000 }), ["2#2"]);
  assert.deepEqual(await poller.poll({ waitMs: 100 }), ["2#2"], "it is not settled");
  await poller.commit(3);
  assert.deepEqual(await poller.poll({ waitMs: 100 }), ["3"]);
});
