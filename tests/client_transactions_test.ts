// Owns transactions of the client SDK against a whole broker over real HTTP and WebSockets on loopback.
// Refuses to own kills (e2e_transactions_test.ts).
// Invariant: what `commit` resolved for is shown, what was aborted or failed is not, in doubt nothing is doubled.
import assert from "node:assert/strict";
import { type Fetch, WaybillClient, WaybillError } from "../api/client.ts";
import { consumingServer } from "./support/consuming_server.ts";

interface World {
  readonly server: Awaited<ReturnType<typeof consumingServer>>;
  readonly client: WaybillClient;
}

function overSockets(
  name: string,
  test: (world: World) => Promise<void>,
  options: { fetch?: Fetch } = {},
): void {
  Deno.test(name, async () => {
    const server = await consumingServer({ partitions: 2 });
    const client = new WaybillClient({ url: server.url, ...options });
    try {
      await client.topics.create({ name: "out", partitions: 3 });
      await test({ server, client });
      assert.deepEqual(server.faults, []);
    } finally {
      await client.close().catch(() => {});
      await server.close();
    }
  });
}

async function read(client: WaybillClient, topic: string, partitions: number): Promise<unknown[]> {
  const values: unknown[] = [];
  for (let partition = 0; partition < partitions; partition++) {
    const { messages } = await client.read({ topic, partition, maxMessages: 10_000 });
    values.push(...messages.map(({ value }) => value));
  }
  return values;
}

overSockets(
  "messages sent in a transaction show when it is committed, as they were",
  async (world) => {
    const { client } = world;
    const producer = client.transactional({ transactionalId: "p" });
    const transaction = await producer.begin();
    const sent = await transaction.send("out", [
      { key: "k", value: { n: 1 }, headers: { h: "grün" } },
      { value: "text €", partition: 2, timestamp: 5 },
      new Uint8Array([255, 0]),
    ]);
    await transaction.send("out", { key: "k", value: null });
    assert.deepEqual(await read(client, "out", 3), []);
    await transaction.commit();
    const first = sent[0]!;
    const { messages } = await client.read({ topic: "out", partition: first.partition });
    const [found] = messages.filter(({ offset }) => offset === first.offset);
    assert.deepEqual([found!.key, found!.value, found!.headers.h], ["k", { n: 1 }, "grün"]);
    const { messages: named } = await client.read({ topic: "out", partition: 2 });
    const text = named.find(({ value }) => value === "text €")!;
    assert.equal(text.timestamp, 5);
    assert.equal((await read(client, "out", 3)).length, 4);
    await assert.rejects(transaction.send("out", "late"), { code: "INVALID_TRANSACTION_STATE" });
  },
);

overSockets(
  "aborted transaction shows nothing, and the next one begins behind it",
  async (world) => {
    const { client } = world;
    const producer = client.transactional({ transactionalId: "p" });
    const dropped = await producer.begin();
    await dropped.send("out", ["a", "b"]);
    await assert.rejects(producer.begin(), /neither committed nor aborted/);
    await dropped.abort();
    const kept = await producer.begin();
    await kept.send("out", ["c"]);
    await kept.commit();
    assert.deepEqual(await read(client, "out", 3), ["c"]);
  },
);

overSockets("a second producer of a transactional id fences the first one", async ({ client }) => {
  const first = await client.transactional({ transactionalId: "p" }).begin();
  await first.send("out", "old");
  const second = await client.transactional({ transactionalId: "p" }).begin();
  await assert.rejects(first.send("out", "late"), { code: "PRODUCER_FENCED" });
  await assert.rejects(first.commit(), { code: "PRODUCER_FENCED" });
  await first.abort();
  await second.send("out", "new");
  await second.commit();
  assert.deepEqual(await read(client, "out", 3), ["new"]);
});

overSockets("after a send that failed a transaction can only be aborted", async ({ client }) => {
  const producer = client.transactional({ transactionalId: "p" });
  const transaction = await producer.begin();
  await transaction.send("out", "stored");
  const wrong = transaction.send("out", { value: "x", partition: 9 });
  await assert.rejects(wrong, { code: "UNKNOWN_PARTITION" });
  await assert.rejects(transaction.send("out", "more"), { code: "UNKNOWN_PARTITION" });
  await assert.rejects(transaction.commit(), { code: "UNKNOWN_PARTITION" });
  await transaction.abort();
  assert.deepEqual(await read(client, "out", 3), []);
});

/** A fetch whose every second answer is lost on its way back, but for that to making a topic. */
function lossy(): Fetch {
  let count = 0;
  return async (url, init) => {
    const response = await fetch(url, init);
    const isLost = init.method === "POST" && !url.endsWith("/api/topics") && ++count % 2 === 1;
    if (isLost) {
      await response.body?.cancel();
      throw new TypeError("the connection broke");
    }
    return response;
  };
}

overSockets(
  "answers that are lost change nothing: what is sent again is stored once",
  async ({ client }) => {
    const producer = client.transactional({
      transactionalId: "p",
      backoff: { baseMs: 1, maxMs: 2 },
    });
    for (let round = 0; round < 5; round++) {
      const transaction = await producer.begin();
      for (const half of [0, 1]) {
        await transaction.send("out", [{ value: 2 * round + half, partition: 0 }]);
      }
      await transaction.commit();
    }
    assert.deepEqual(await read(client, "out", 3), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  },
  { fetch: lossy() },
);

overSockets("large transactions go in several batches, in order", async ({ client }) => {
  const transaction = await client.transactional({ transactionalId: "p" }).begin();
  const count = 25_000;
  const values = Array.from({ length: count }, (_, value) => ({ value, partition: 1 }));
  const sent = await transaction.send("out", values);
  await transaction.commit();
  assert.deepEqual(sent.map(({ offset }) => offset), values.map(({ value }) => value));
  const { messages } = await client.read({ topic: "out", partition: 1, maxBytes: 8_000_000 });
  assert.equal(messages[0]!.value, 0);
});

overSockets(
  "what is consumed is transformed once, although the transformation fails at times",
  async (world) => {
    const { client, server } = world;
    const count = 300;
    const texts = Array.from({ length: count }, (_, index) => String(index));
    await server.publish(texts.slice(0, 150), 0);
    await server.publish(texts.slice(150), 1);
    const errors: WaybillError[] = [];
    let failures = 2;
    const transformer = client.transform({
      group: "copies",
      topics: ["orders"],
      transactionalId: "copier",
      maxInFlight: 50,
      onError: (error) => errors.push(error),
      async transform(messages, transaction) {
        await transaction.send("out", messages.map(({ value }) => ({ value: String(value) })));
        if (failures-- > 0) throw new Error("not now");
      },
    });
    const deadline = performance.now() + 20_000;
    let values: unknown[] = [];
    while (values.length < count && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      values = await read(client, "out", 3);
    }
    await transformer.close();
    assert.deepEqual(values.map(Number).sort((a, b) => a - b), texts.map(Number));
    assert.deepEqual(errors.map(({ message }) => message), ["not now", "not now"]);
    const lag = await client.lag("copies");
    assert.equal(lag.totalLag, 0);
  },
);

overSockets(
  "a transformation that another instance has taken over ends, and says so",
  async (world) => {
    const { client, server } = world;
    const started = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const transformer = client.transform({
      group: "copies",
      topics: ["orders"],
      transactionalId: "copier",
      async transform(messages, transaction) {
        started.resolve();
        await goOn.promise;
        await transaction.send("out", messages.map(({ value }) => ({ value: String(value) })));
      },
    });
    await server.publish(["a"], 0);
    await started.promise;
    const other = await client.transactional({ transactionalId: "copier" }).begin();
    goOn.resolve();
    await assert.rejects(transformer.done, { code: "PRODUCER_FENCED" });
    await other.abort();
    await assert.rejects(transformer.close(), { code: "PRODUCER_FENCED" });
    assert.deepEqual(await read(client, "out", 3), []);
  },
);

overSockets(
  "members that poll are given committed messages only, and the same again for a lease",
  async (world) => {
    const { client, server } = world;
    const producer = client.transactional({ transactionalId: "p" });
    const ask = async (path: string, body: unknown) => {
      const headers = { "content-type": "application/json" };
      const init = { method: "POST", headers, body: JSON.stringify(body) };
      return await (await fetch(`${server.url}/api/groups/g/members${path}`, init)).json();
    };
    for (const how of ["abort", "commit"] as const) {
      const transaction = await producer.begin();
      await transaction.send("orders", [{ value: how, partition: 0 }]);
      await transaction[how]();
    }
    const open = await producer.begin();
    await open.send("orders", [{ value: "open", partition: 0 }]);
    const member = await ask("", { topics: ["orders"] });
    const { messages, leaseToken } = await ask(`/${member.memberId}:poll`, { waitMs: 5_000 });
    const values = (polled: { value: string }[]) => polled.map(({ value }) => value);
    assert.deepEqual(values(messages), ["commit"]);
    const again = await ask(`/${member.memberId}:poll`, { leaseToken });
    assert.deepEqual(again.messages, messages);
    await open.commit();
    const last = await ask(`/${member.memberId}:poll`, { waitMs: 5_000 });
    assert.deepEqual(values(last.messages), ["open"]);
  },
);

overSockets(
  "a transformation that starts ends what an instance before it left open",
  async (world) => {
    const { client } = world;
    const old = await client.transactional({ transactionalId: "copier" }).begin();
    await old.send("out", { value: "half done", partition: 0 });
    const producer = client.producer();
    await producer.send("out", { value: "other", partition: 0 });
    await producer.close();
    const transformer = client.transform({
      group: "copies",
      topics: ["orders"],
      transactionalId: "copier",
      transform: () => {},
    });
    const at = { topic: "out", partition: 0, offset: 0, waitMs: 10_000 };
    const { messages } = await client.read(at);
    assert.deepEqual(messages.map(({ value }) => value), ["other"]);
    await assert.rejects(old.commit(), { code: "PRODUCER_FENCED" });
    await transformer.close();
  },
);
