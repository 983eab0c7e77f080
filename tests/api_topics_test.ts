// Owns the tests of topic routes: making, listing, describing, changing, deleting, and the cluster they make up.
// Refuses to own what a change means for partitions (topic_decide_test.ts).
import assert from "node:assert/strict";
import { type ApiUnderTest, apiUnderTest, FORMATS } from "./support/api_app.ts";

const create = (api: ApiUnderTest, body: object) => api.ask("POST", "/api/topics", { body });

for (const format of FORMATS) {
  Deno.test(`a topic is made with the contract's defaults (${format})`, async () => {
    const api = await apiUnderTest();
    const { status, headers, body } = await api.ask("POST", "/api/topics", {
      body: { name: "orders" },
      format,
    });
    assert.equal(status, 201);
    assert.equal(headers.get("location"), "/api/topics/orders");
    const { topicId, partitions, segmentBytes, segmentHours, ...rest } = body;
    assert.match(topicId, /^[0-9a-f-]{36}$/);
    assert.ok(segmentBytes > 0 && segmentHours > 0);
    assert.deepEqual(rest, {
      name: "orders",
      replicationFactor: 1,
      minInsyncReplicas: 1,
      retentionHours: 72,
      retentionBytes: null,
      cleanupPolicy: "delete",
      durability: "fsync",
      maxMessageBytes: 1_048_576,
      archive: false,
      archiveRetentionHours: 0,
      tombstoneHours: 24,
      encryption: "none",
      publishBytesPerSecond: null,
      publishMessagesPerSecond: null,
      consumeBytesPerSecond: null,
      createdAt: api.time.now(),
      internal: false,
    });
    assert.deepEqual(partitions, [{
      partition: 0,
      leader: "1",
      isr: ["1"],
      leaderEpoch: partitions[0].leaderEpoch,
      logStartOffset: 0,
      logEndOffset: 0,
      highWatermark: 0,
      lastStableOffset: 0,
      sizeBytes: 0,
      state: "online",
    }]);
    assert.deepEqual((await api.ask("GET", "/api/topics/orders", { format })).body, body);
    await api.close();
  });
}

Deno.test("topics that cannot be made are refused with a code of their own", async (test) => {
  const api = await apiUnderTest();
  await create(api, { name: "orders" });
  const cases: [string, object, number, string][] = [
    ["twice", { name: "orders" }, 409, "TOPIC_ALREADY_EXISTS"],
    [
      "more copies than brokers",
      { name: "a", replicationFactor: 2 },
      400,
      "INVALID_REPLICATION_FACTOR",
    ],
    [
      "more in sync than copies",
      { name: "a", minInsyncReplicas: 2 },
      400,
      "INVALID_REPLICATION_FACTOR",
    ],
    ["internal", { name: "__a" }, 403, "INTERNAL_TOPIC"],
    ["no name", {}, 400, "INVALID_REQUEST"],
    ["dot", { name: "." }, 400, "INVALID_REQUEST"],
    ["dots", { name: ".." }, 400, "INVALID_REQUEST"],
    ["a path", { name: "../x" }, 400, "INVALID_REQUEST"],
    ["a long name", { name: "a".repeat(250) }, 400, "INVALID_REQUEST"],
    ["a line break", { name: "a\n" }, 400, "INVALID_REQUEST"],
    ["no partitions", { name: "a", partitions: 0 }, 400, "INVALID_REQUEST"],
    ["part of a partition", { name: "a", partitions: 1.5 }, 400, "INVALID_REQUEST"],
    ["too many partitions", { name: "a", partitions: 10_001 }, 400, "INVALID_REQUEST"],
    ["negative retention", { name: "a", retentionHours: -1 }, 400, "INVALID_REQUEST"],
    ["another policy", { name: "a", cleanupPolicy: "keep" }, 400, "INVALID_REQUEST"],
    ["another durability", { name: "a", durability: "none" }, 400, "INVALID_REQUEST"],
    ["no message fits", { name: "a", maxMessageBytes: 0 }, 400, "INVALID_REQUEST"],
    ["an unknown key", { name: "a", retention: 1 }, 400, "INVALID_REQUEST"],
  ];
  for (const [name, body, status, code] of cases) {
    await test.step(name, async () => {
      const answer = await create(api, body);
      assert.deepEqual([answer.status, answer.body.code], [status, code]);
    });
  }
  assert.deepEqual(Object.keys(await api.stored()), ["orders/0"]);
  await api.close();
});

Deno.test("the longest name is a name", async () => {
  const api = await apiUnderTest();
  const name = "Az09._-".padEnd(249, "x");
  assert.equal((await create(api, { name })).status, 201);
  assert.equal((await api.ask("GET", `/api/topics/${name}`)).body.name, name);
  await api.close();
});

Deno.test("topics are found by a part of their name, page by page", async () => {
  const api = await apiUnderTest();
  for (const name of ["orders-eu", "payments", "Orders-us", "old.orders"]) {
    await create(api, { name });
  }
  const page = async (query: string) => (await api.ask("GET", `/api/topics?${query}`)).body;
  const names = (body: { topics: { name: string }[] }) => body.topics.map((topic) => topic.name);
  const first = await page("search=oRders&limit=2");
  assert.deepEqual(names(first), ["Orders-us", "old.orders"]);
  const second = await page(`search=oRders&limit=2&cursor=${first.nextCursor}`);
  assert.deepEqual([names(second), second.nextCursor], [["orders-eu"], undefined]);
  assert.deepEqual(names(await page("search=nothing-like-it")), []);
  assert.equal((await api.ask("GET", "/api/topics?search=")).status, 400);
  await api.close();
});

Deno.test("topics are listed in order, page by page, whatever comes and goes meanwhile", async () => {
  const api = await apiUnderTest();
  for (const name of ["d", "a", "c", "b", "e"]) await create(api, { name });
  const page = async (query: string) => (await api.ask("GET", `/api/topics?${query}`)).body;
  const names = (body: { topics: { name: string }[] }) => body.topics.map((topic) => topic.name);
  const all = await page("");
  const internal = names(all).filter((name) => name.startsWith("__"));
  assert.deepEqual(names(all), [...internal, "a", "b", "c", "d", "e"]);
  assert.equal("nextCursor" in all, false);
  const first = await page(`limit=${internal.length + 2}`);
  assert.deepEqual(names(first), [...internal, "a", "b"]);
  await api.ask("DELETE", "/api/topics/b");
  await create(api, { name: "aa" });
  const second = await page(`limit=2&cursor=${first.nextCursor}`);
  assert.deepEqual(names(second), ["c", "d"]);
  const third = await page(`limit=2&cursor=${second.nextCursor}`);
  assert.deepEqual(names(third), ["e"]);
  assert.equal(third.nextCursor, undefined);
  for (const query of ["limit=0", "limit=1001", "limit=x", "cursor=%ff", "cursor=***", "page=1"]) {
    assert.equal((await api.ask("GET", `/api/topics?${query}`)).status, 400, query);
  }
  await api.close();
});

Deno.test("a change of a topic changes what it names and nothing else", async () => {
  const api = await apiUnderTest();
  const before = (await create(api, { name: "orders", retentionBytes: 5_000 })).body;
  const { status, body } = await api.ask("PATCH", "/api/topics/orders", {
    body: { retentionHours: 1, partitions: 3 },
  });
  assert.equal(status, 200);
  assert.equal(body.partitions.length, 3);
  const { partitions: _now, ...after } = body;
  const { partitions: _then, ...was } = before;
  assert.deepEqual(after, { ...was, retentionHours: 1 });
  const fewer = await api.ask("PATCH", "/api/topics/orders", { body: { partitions: 2 } });
  assert.deepEqual([fewer.status, fewer.body.code], [400, "INVALID_PARTITIONS"]);
  const unlimited = await api.ask("PATCH", "/api/topics/orders", {
    body: { retentionBytes: null },
  });
  assert.deepEqual([unlimited.body.retentionBytes, unlimited.body.retentionHours], [null, 1]);
  const renamed = await api.ask("PATCH", "/api/topics/orders", { body: { name: "other" } });
  assert.equal(renamed.status, 400);
  const internal = await api.ask("PATCH", "/api/topics/__groups", { body: { retentionHours: 1 } });
  assert.deepEqual([internal.status, internal.body.code], [403, "INTERNAL_TOPIC"]);
  const unknown = await api.ask("PATCH", "/api/topics/other", { body: { retentionHours: 1 } });
  assert.deepEqual([unknown.status, unknown.body.code], [404, "UNKNOWN_TOPIC"]);
  await api.close();
});

Deno.test("a deleted topic is gone, and its name is free again", async () => {
  const api = await apiUnderTest();
  const first = await create(api, { name: "orders" });
  const gone = await api.ask("DELETE", "/api/topics/orders");
  assert.equal(gone.status, 204);
  assert.equal((await api.ask("GET", "/api/topics/orders")).body.code, "UNKNOWN_TOPIC");
  assert.equal((await api.ask("DELETE", "/api/topics/orders")).body.code, "UNKNOWN_TOPIC");
  assert.equal((await api.ask("DELETE", "/api/topics/__groups")).body.code, "INTERNAL_TOPIC");
  const second = await create(api, { name: "orders" });
  assert.notEqual(second.body.topicId, first.body.topicId);
  await api.close();
});

Deno.test("the cluster of one broker names it, its door, and no partition in trouble", async () => {
  const api = await apiUnderTest();
  await create(api, { name: "orders", partitions: 3 });
  const { body } = await api.ask("GET", "/api/cluster");
  assert.deepEqual(body, {
    clusterId: api.broker.clusterId,
    controller: { nodeId: "1", epoch: 1 },
    brokers: [{ nodeId: "1", host: "127.0.0.1", port: 8080, zone: null, state: "online" }],
    offlinePartitions: [],
    underReplicatedPartitions: [],
  });
  await api.close();
});
