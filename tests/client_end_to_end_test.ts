// Owns the client SDK against a whole broker over real HTTP and WebSockets on loopback.
import assert from "node:assert/strict";
import { type ConsumedMessage, WaybillClient, type WaybillError } from "../api/client.ts";
import { partitionForKey } from "../storage/format/murmur2.ts";
import { allow } from "./support/acl_grants.ts";
import { consumingServer, type ServerOptions } from "./support/consuming_server.ts";
import { cuttingProxy } from "./support/cutting_proxy.ts";

interface World {
  readonly server: Awaited<ReturnType<typeof consumingServer>>;
  readonly client: WaybillClient;
}

function endToEnd(
  name: string,
  options: ServerOptions & { token?: string },
  test: (world: World) => Promise<void>,
): void {
  Deno.test(name, async () => {
    const server = await consumingServer(options);
    const { token } = options;
    const client = new WaybillClient({
      url: `${server.url}/`,
      ...(token === undefined ? {} : { token }),
    });
    try {
      await test({ server, client });
      assert.deepEqual(server.faults, []);
    } finally {
      await client.close().catch(() => {});
      await server.close();
    }
  });
}

/** The first `count` messages. */
async function take(
  messages: AsyncIterable<ConsumedMessage>,
  count: number,
): Promise<ConsumedMessage[]> {
  const taken: ConsumedMessage[] = [];
  for await (const message of messages) {
    taken.push(message);
    if (taken.length === count) break;
  }
  return taken;
}

endToEnd("what is sent is consumed, in order by key, as it was", {}, async ({ client }) => {
  await client.topics.create({ name: "trips", partitions: 3 });
  const producer = client.producer();
  const messages = Array.from({ length: 3_000 }, (_, index) => ({
    key: `car-${index % 17}`,
    value: { index, note: "grün €" },
    headers: { trace: `${index}` },
  }));
  const sent = await producer.sendMany("trips", messages);
  assert.equal(sent.count, 3_000);
  for (const [index, { partition }] of sent.results().entries()) {
    assert.equal(partition, partitionForKey(new TextEncoder().encode(messages[index]!.key), 3));
  }
  const consumer = client.consumer({
    group: "fleet",
    topics: ["trips"],
    autoOffsetReset: "earliest",
  });
  const got = await take(consumer, 3_000);
  const last = new Map<string, number>();
  for (const message of got) {
    const { index } = message.value as { index: number };
    const { key, headers } = message;
    assert.deepEqual(message.value, messages[index]!.value);
    assert.equal(headers.trace, `${index}`);
    assert.equal(key, messages[index]!.key);
    assert.ok(index > (last.get(key!) ?? -1));
    last.set(key!, index);
  }
  assert.equal((await client.lag("fleet")).totalLag, 3_000);
  await consumer.commitAll();
  const lag = await client.lag("fleet");
  assert.equal(lag.totalLag, 0);
  assert.deepEqual(
    lag.partitions.map(({ committedOffset, highWatermark }) => committedOffset === highWatermark),
    [true, true, true],
  );
});

endToEnd("a credential opens HTTP and WebSocket, a wrong one neither", {
  adminToken: "right",
  token: "right",
}, async ({ server, client }) => {
  const sent = await client.producer().send("orders", "a");
  assert.equal(sent.offset, 0);
  const consumer = client.consumer({
    group: "billing",
    topics: ["orders"],
    autoOffsetReset: "earliest",
  });
  assert.equal((await take(consumer, 1))[0]!.value, "a");
  await using stranger = new WaybillClient({ url: server.url, token: "wrong" });
  await assert.rejects(stranger.producer().send("orders", "b"), (error: WaybillError) => {
    assert.deepEqual([error.code, error.status, error.retryable], ["UNAUTHENTICATED", 401, false]);
    assert.match(error.requestId!, /.+/);
    return true;
  });
  await assert.rejects(
    take(stranger.consumer({ group: "billing", topics: ["orders"] }), 1),
    { code: "UNAUTHENTICATED" },
  );
});

endToEnd(
  "whoever may not do something hears so, and a consumer's end comes with its right or its key",
  {
    adminToken: "right",
  },
  async ({ server }) => {
    const admin = async (method: string, path: string, body?: object) => {
      const response = await fetch(server.url + path, {
        method,
        headers: { authorization: "Bearer right", "content-type": "application/json" },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      return response.status === 204 ? null : await response.json();
    };
    const { key, keyId } = await admin("POST", "/api/keys", { principal: "billing" });
    await using client = new WaybillClient({ url: server.url, token: key });
    const join = { group: "billing", topics: ["orders"], autoOffsetReset: "earliest" } as const;
    const refused = async (act: Promise<unknown>, status: number, code: string) =>
      await assert.rejects(act, (error: WaybillError) => {
        assert.deepEqual([error.status, error.code, error.retryable], [status, code, false]);
        return true;
      });
    await refused(client.producer().send("orders", "a"), 404, "UNKNOWN_TOPIC");
    await refused(take(client.consumer(join), 1), 404, "UNKNOWN_GROUP");
    await allow(server.broker, "billing", [["topic", "orders", "read"], ["group", "*", "read"]]);
    await refused(client.producer().send("orders", "a"), 403, "FORBIDDEN");
    await refused(client.read({ topic: "other", partition: 0 }), 404, "UNKNOWN_TOPIC");
    const consumed = async () => {
      await server.publish(["m"]);
      const consumer = client.consumer({ ...join, group: crypto.randomUUID() });
      const messages = consumer[Symbol.asyncIterator]();
      assert.equal((await messages.next()).value.value, "m");
      const rest = (async () => {
        while (!(await messages.next()).done);
      })();
      return { consumer, rest };
    };
    const first = await consumed();
    const [acl] = server.broker.acls.list().filter(({ resource }) => resource === "topic");
    await server.broker.acls.delete(acl!.aclId);
    await assert.rejects(first.rest, { code: "FORBIDDEN" });
    await allow(server.broker, "billing", [["topic", "orders", "read"]]);
    const second = await consumed();
    await admin("DELETE", `/api/keys/${keyId}`);
    await assert.rejects(second.rest, { code: "UNAUTHENTICATED" });
    await refused(client.producer().send("orders", "a"), 401, "UNAUTHENTICATED");
    await Promise.all([first.consumer.close(), second.consumer.close()]);
  },
);

endToEnd("reading without a group starts where one says", {}, async ({ client }) => {
  const producer = client.producer();
  const at = (index: number) => ({ partition: 0, value: `v${index}`, timestamp: 1_000 + index });
  await producer.send("orders", Array.from({ length: 10 }, (_, index) => at(index)));
  const read = (more: object) => client.read({ topic: "orders", partition: 0, ...more });
  const values = async (more: object) => (await read(more)).messages.map(({ value }) => value);
  assert.equal((await values({})).length, 10);
  assert.deepEqual(await values({ offset: 7 }), ["v7", "v8", "v9"]);
  assert.deepEqual(await values({ offset: "@1008" }), ["v8", "v9"]);
  assert.deepEqual(await values({ offset: "latest" }), []);
  const page = await read({ offset: 2, maxMessages: 3 });
  assert.deepEqual(page.messages.map(({ offset }) => offset), [2, 3, 4]);
  assert.deepEqual([page.nextOffset, page.highWatermark, page.logStartOffset], [5, 10, 0]);
  const waiting = read({ offset: 10, waitMs: 10_000 });
  await producer.send("orders", { partition: 0, value: "news" });
  assert.deepEqual((await waiting).messages.map(({ value }) => value), ["news"]);
  await assert.rejects(read({ offset: 99 }), (error: WaybillError) => {
    assert.equal(error.code, "OFFSET_OUT_OF_RANGE");
    assert.deepEqual([error.details.logStartOffset, error.details.highWatermark], [0, 11]);
    return true;
  });
});

endToEnd("topics are made, listed, changed and deleted", {}, async ({ client }) => {
  const made = await client.topics.create({ name: "a.b", partitions: 2, retentionHours: 1 });
  assert.deepEqual([made.name, made.retentionHours, made.partitions.length], ["a.b", 1, 2]);
  await assert.rejects(client.topics.create({ name: "a.b" }), { code: "TOPIC_ALREADY_EXISTS" });
  const names = (await client.topics.list()).topics.map(({ name }) => name);
  const internal = names.filter((name) => name.startsWith("__"));
  const page = await client.topics.list({ limit: internal.length + 1 });
  assert.deepEqual(page.topics.map(({ name }) => name), [...internal, "a.b"]);
  const rest = await client.topics.list({ cursor: page.nextCursor! });
  assert.deepEqual(rest.topics.map(({ name }) => name), ["orders"]);
  assert.equal((await client.topics.update("a.b", { partitions: 3 })).partitions.length, 3);
  await client.topics.delete("a.b");
  await assert.rejects(client.topics.describe("a.b"), { code: "UNKNOWN_TOPIC", status: 404 });
  await assert.rejects(client.producer().send("a.b", "x"), { code: "UNKNOWN_TOPIC" });
  await assert.rejects(
    take(client.consumer({ group: "g", topics: ["orders", "a.b"] }), 1),
    { code: "UNKNOWN_TOPIC" },
  );
});

endToEnd(
  "offsets are committed from outside, and go back only when asked to",
  {},
  async ({ client }) => {
    await client.producer().send("orders", ["a", "b", "c"]);
    const offset = (offset: number) => ({
      groupId: "nightly",
      offsets: [{ topic: "orders", partition: 0, offset }],
    });
    const { results } = await client.commit(offset(2));
    assert.deepEqual([results[0]!.offset, results[0]!.previous], [2, null]);
    await assert.rejects(client.commit(offset(1)), { code: "OFFSET_ROLLBACK", status: 409 });
    await client.commit({ ...offset(1), allowRewind: true, reason: "again" });
    assert.equal((await client.lag("nightly")).totalLag, 2);
  },
);

endToEnd(
  "a message whose idempotency key is known is not stored again, and is reported where the first is",
  {
    partitions: 3,
  },
  async ({ client }) => {
    const producer = client.producer();
    const first = await producer.send("orders", { value: "a", idempotencyKey: "k1" });
    assert.equal(first.duplicate, undefined);
    const sent = await producer.send("orders", [
      { value: "none", partition: first.partition },
      { value: "b", idempotencyKey: "k2", partition: first.partition },
      { value: "again", idempotencyKey: "k1", partition: (first.partition + 1) % 3 },
      { value: "c", headers: { "idempotency-key": "k3" }, partition: first.partition },
      { value: "last", partition: first.partition },
    ]);
    const { partition } = first;
    assert.deepEqual(sent, [
      { topic: "orders", partition, offset: 1 },
      { topic: "orders", partition, offset: 2 },
      { topic: "orders", partition, offset: 0, duplicate: true },
      { topic: "orders", partition, offset: 3 },
      { topic: "orders", partition, offset: 4 },
    ]);
    const mixed = await client.producer().send(
      "orders",
      ["k3", "k4", "k2"].map((key) => ({
        value: key,
        idempotencyKey: key,
        partition,
      })),
    );
    assert.deepEqual(mixed.map(({ offset, duplicate = false }) => [offset, duplicate]), [
      [3, true],
      [5, false],
      [2, true],
    ]);
    const { messages } = await client.read({ topic: "orders", partition });
    assert.deepEqual(messages.map(({ value }) => value), ["a", "none", "b", "c", "last", "k4"]);
    await assert.rejects(
      producer.send("orders", { idempotencyKey: "x", headers: { "idempotency-key": "y" } }),
      { code: "INVALID_REQUEST" },
    );
  },
);

endToEnd("a message that is too large fails alone, before and after the broker says so", {
  partitions: 1,
}, async ({ client }) => {
  await client.topics.create({ name: "small", maxMessageBytes: 2_000 });
  const producer = client.producer();
  const values = ["a", "x".repeat(2_001), "b"];
  const sends = await Promise.allSettled(values.map((value) => producer.send("small", value)));
  assert.deepEqual(sends.map(({ status }) => status), ["fulfilled", "rejected", "fulfilled"]);
  await client.topics.update("small", { maxMessageBytes: 1_000 });
  const later = ["c", "x".repeat(1_500), "d", "e"];
  const again = await Promise.allSettled(later.map((value) => producer.send("small", value)));
  const codes = again.map((one) => one.status === "fulfilled" ? "stored" : one.reason.code);
  assert.deepEqual(codes, ["stored", "MESSAGE_TOO_LARGE", "stored", "stored"]);
  const { messages } = await client.read({ topic: "small", partition: 0 });
  assert.deepEqual(messages.map(({ value }) => value), ["a", "b", "c", "d", "e"]);
});

endToEnd(
  "broken connections lose nothing that was acknowledged, and a consumer sees no offset twice",
  {
    partitions: 2,
  },
  async ({ server }) => {
    const proxy = cuttingProxy(server.port);
    const client = new WaybillClient({ url: proxy.url });
    try {
      const producer = client.producer({ backoff: { baseMs: 5, maxMs: 50 } });
      const consumer = client.consumer({
        group: "billing",
        topics: ["orders"],
        autoOffsetReset: "earliest",
        autoCommit: true,
        autoCommitIntervalMs: 20,
        backoff: { baseMs: 5, maxMs: 50 },
      });
      const total = 2_000;
      const acknowledged = new Set<string>();
      const publishing = (async () => {
        for (let round = 0; round < 20; round++) {
          const values = Array.from({ length: total / 20 }, (_, index) => `${round}-${index}`);
          const sent = await Promise.all(values.map((value) => producer.send("orders", value)));
          assert.equal(sent.length, values.length);
          for (const value of values) acknowledged.add(value);
          if (round % 3 === 1) proxy.cut();
        }
      })();
      const places = new Set<string>();
      const seen = new Set<string>();
      let received = 0;
      for await (const message of consumer) {
        const place = `${message.partition}/${message.offset}`;
        assert.ok(!places.has(place), `${place} came twice`);
        places.add(place);
        seen.add(message.value as string);
        if (++received % 300 === 0) proxy.cut();
        if (seen.size === total) break;
      }
      await publishing;
      assert.equal(acknowledged.size, total);
      assert.ok([...acknowledged].every((value) => seen.has(value)));
    } finally {
      await client.close();
      await proxy.close();
    }
  },
);
