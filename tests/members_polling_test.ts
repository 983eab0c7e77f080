// Tests of members that poll over HTTP, on a whole broker in memory, in virtual time, without sockets.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { createApp } from "../api/app.ts";
import { yieldToEventLoop } from "../api/event_loop.ts";
import { DEFAULT_API_LIMITS } from "../api/limits.ts";
import type { MemberLimits } from "../api/members/limits.ts";
import { type Consuming, createConsuming } from "../api/stream/consuming.ts";
import type { LocalBroker } from "../actors/local_broker.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import {
  type Answer,
  type ApiUnderTest,
  apiUnderTest,
  type Format,
  FORMATS,
} from "./support/api_app.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { passing } from "./support/passing_time.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

interface WorldOptions {
  readonly partitions?: number;
  readonly limits?: Partial<MemberLimits>;
  readonly initialRebalanceDelayMs?: number;
}

/** The API over a broker in memory, with topic `orders`, asked while virtual time goes by. */
class PollingWorld {
  private constructor(
    readonly api: ApiUnderTest,
    readonly time: VirtualClock,
    readonly consuming: Consuming,
  ) {}

  static async open(options: WorldOptions = {}): Promise<PollingWorld> {
    const time = new VirtualClock();
    const members = options.limits ?? {};
    const consuming = createConsuming({ timers: time, members });
    const api = await apiUnderTest({
      time,
      group: {
        initialRebalanceDelayMs: options.initialRebalanceDelayMs ?? 0,
        rebalanceDelayMs: 0,
      },
      app: { routes: [consuming.routes], yieldToEventLoop },
    });
    await api.broker.createTopic({
      name: "orders",
      partitions: options.partitions ?? 1,
      config: TOPIC_CONFIG,
    });
    return new PollingWorld(api, time, consuming);
  }

  async publish(count: number, partition = 0): Promise<void> {
    const records = Array.from({ length: count }, (_, index) => ({
      key: null,
      value: `m${index}`,
      headers: [],
      timestamp: this.time.now(),
    }));
    await this.api.broker.append(
      { topic: "orders", partition },
      [encodeBatch(records, { crc32c })],
      {
        acks: "all",
      },
    );
  }

  /** An answer, letting virtual time go by until it is there. */
  async ask(
    method: string,
    path: string,
    options: { body?: unknown; format?: Format } = {},
  ): Promise<Answer> {
    return await this.pass(this.api.ask(method, path, options));
  }

  async pass<T>(promise: Promise<T>): Promise<T> {
    return await passing(this.time, promise);
  }

  async join(body: object = {}): Promise<Member> {
    const answer = await this.ask("POST", "/api/groups/billing/members", {
      body: { topics: ["orders"], ...body },
    });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return new Member(this, answer.body);
  }

  async commit(
    offset: number,
    options: { partition?: number; memberId?: string } = {},
  ): Promise<Answer> {
    const { partition = 0, memberId } = options;
    const offsets = [{ topic: "orders", partition, offset }];
    return await this.ask("POST", "/api/offsets:commit", {
      body: { groupId: "billing", offsets, ...(memberId === undefined ? {} : { memberId }) },
    });
  }

  async close(): Promise<void> {
    await this.consuming.drain();
    await this.api.close();
  }
}

class Member {
  readonly memberId: string;
  token: string;

  constructor(readonly world: PollingWorld, readonly joined: Answer["body"]) {
    this.memberId = joined.memberId;
    this.token = joined.leaseToken;
  }

  get path(): string {
    return `/api/groups/billing/members/${this.memberId}`;
  }

  /** With the token of the last answer, unless `body` says otherwise. */
  async poll(body: object = {}, format: Format = "json"): Promise<Answer> {
    const answer = await this.world.ask("POST", `${this.path}:poll`, {
      body: { leaseToken: this.token, ...body },
      format,
    });
    if (answer.status === 200) this.token = answer.body.leaseToken;
    return answer;
  }

  async offsets(body: object = {}): Promise<number[]> {
    const { body: { messages } } = await this.poll(body);
    return messages.map(({ offset }: { offset: number }) => offset);
  }
}

function polls(
  name: string,
  options: WorldOptions,
  test: (world: PollingWorld) => Promise<void>,
): void {
  Deno.test(name, async () => {
    const world = await PollingWorld.open(options);
    try {
      await test(world);
      assert.deepEqual(world.api.faults, []);
    } finally {
      await world.close();
    }
  });
}

polls("a join answers with the assignment, and a poll with messages", {
  partitions: 2,
  initialRebalanceDelayMs: 500,
}, async (world) => {
  await world.publish(3);
  const member = await world.join();
  assert.equal(member.joined.generation, 1);
  assert.deepEqual(member.joined.assignment, [
    { topic: "orders", partition: 0 },
    { topic: "orders", partition: 1 },
  ]);
  const { body } = await member.poll();
  assert.deepEqual(body.messages.map(({ value }: { value: string }) => value), ["m0", "m1", "m2"]);
  assert.equal(body.generation, 1);
  assert.equal(body.assignment.length, 2);
});

for (const format of FORMATS) {
  polls(`an answer is the same in ${format}`, {}, async (world) => {
    await world.publish(2);
    const member = await world.join();
    const { body } = await member.poll({}, format);
    assert.deepEqual(body.messages.map(({ offset, value }: Answer["body"]) => [offset, value]), [
      [0, "m0"],
      [1, "m1"],
    ]);
  });
}

polls(
  "the same token returns the same messages until they are committed, then new ones",
  {},
  async (world) => {
    await world.publish(5);
    const member = await world.join();
    assert.deepEqual(await member.offsets({ maxMessages: 3 }), [0, 1, 2]);
    await world.publish(2);
    assert.deepEqual(await member.offsets({ maxMessages: 500 }), [0, 1, 2]);
    await world.commit(2, { memberId: member.memberId });
    assert.deepEqual(await member.offsets(), [0, 1, 2], "one is still uncommitted");
    await world.commit(3, { memberId: member.memberId });
    assert.deepEqual(await member.offsets(), [3, 4, 5, 6]);
  },
);

polls("an answer that was lost comes again with the token before it", {}, async (world) => {
  await world.publish(4);
  const member = await world.join();
  const before = member.token;
  const lost = await member.poll({ maxMessages: 2 });
  const again = await member.poll({ leaseToken: before, maxMessages: 500 });
  assert.deepEqual(again.body, lost.body);
  await world.commit(2, { memberId: member.memberId });
  assert.deepEqual(await member.offsets(), [2, 3]);
  const stale = await member.poll({ leaseToken: before });
  assert.deepEqual([stale.status, stale.body.code], [409, "STALE_LEASE"]);
});

polls("polls without a token go on, committed or not", {}, async (world) => {
  await world.publish(5);
  const member = await world.join();
  assert.deepEqual(await member.offsets({ leaseToken: undefined, maxMessages: 2 }), [0, 1]);
  assert.deepEqual(await member.offsets({ leaseToken: undefined, maxMessages: 2 }), [2, 3]);
  assert.deepEqual(await member.offsets({ leaseToken: undefined }), [4]);
  assert.deepEqual(await member.offsets({ leaseToken: undefined }), []);
});

polls("members start where they ask to when nothing is committed", {}, async (world) => {
  await world.publish(2);
  const earliest = await world.join();
  assert.deepEqual(await earliest.offsets(), [0, 1]);
  await world.ask("DELETE", earliest.path);
  const latest = await world.join({ autoOffsetReset: "latest" });
  await world.publish(1);
  assert.deepEqual(await latest.offsets(), [2]);
});

polls("a long poll ends with data, with the assignment, or with its time", {}, async (world) => {
  const member = await world.join();
  const startedAt = world.time.monotonic();
  const { token } = member;
  assert.deepEqual(await member.offsets({ waitMs: 3_000 }), []);
  assert.equal(member.token, token, "an empty answer is no loss");
  assert.ok(world.time.monotonic() - startedAt >= 3_000);
  const withData = member.poll({ waitMs: 20_000 });
  for (let turn = 0; turn < 40; turn++) await settle();
  const dataAt = world.time.monotonic();
  await world.publish(1);
  assert.equal((await withData).body.messages.length, 1);
  assert.ok(world.time.monotonic() - dataAt < 1_000);
  await world.commit(1);
  const { generation } = (await member.poll()).body;
  const withChange = member.poll({ waitMs: 20_000 });
  const other = await world.join();
  const changed = await world.pass(withChange);
  assert.ok(changed.body.generation > generation);
  assert.equal(changed.body.assignment.length + other.joined.assignment.length, 1);
});

polls(
  "a member that waits in a long poll is not silent, one that does not poll is removed",
  {},
  async (world) => {
    const waiting = await world.join({ sessionTimeoutMs: 3_000 });
    assert.equal((await waiting.poll({ waitMs: 10_000 })).status, 200);
    assert.equal((await waiting.poll()).status, 200);
    await world.time.advance(6_000);
    const gone = await waiting.poll();
    assert.deepEqual([gone.status, gone.body.code], [404, "UNKNOWN_MEMBER"]);
    assert.equal(world.consuming.counts().members, 0);
  },
);

polls("a later poll ends the wait of an earlier one", {}, async (world) => {
  const member = await world.join();
  const first = member.poll({ waitMs: 30_000 });
  for (let turn = 0; turn < 40; turn++) await settle();
  const startedAt = world.time.monotonic();
  const second = member.poll({ waitMs: 0 });
  const answers = await world.pass(Promise.all([first, second]));
  assert.ok(world.time.monotonic() - startedAt < 1_000);
  assert.deepEqual(answers.map(({ status }) => status), [200, 200]);
});

polls("a caller that goes away ends its wait", {}, async (world) => {
  const member = await world.join();
  const abort = new AbortController();
  const request = new Request(`http://127.0.0.1:8080${member.path}:poll`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ waitMs: 30_000 }),
    signal: abort.signal,
  });
  const answer = Promise.resolve(world.api.app.fetch(request));
  for (let turn = 0; turn < 40; turn++) await settle();
  const startedAt = world.time.monotonic();
  abort.abort();
  await world.pass(answer);
  assert.ok(world.time.monotonic() - startedAt < 1_000);
});

polls("partitions that move are given up by the next poll", { partitions: 2 }, async (world) => {
  await world.publish(2, 0);
  await world.publish(2, 1);
  const first = await world.join();
  assert.equal((await first.poll()).body.messages.length, 4);
  const second = await world.join();
  assert.deepEqual(second.joined.assignment, [], "both are still with the first");
  const { body } = await first.poll();
  assert.equal(body.assignment.length, 1);
  assert.equal(body.messages.length, 2, "the rest of its lease again");
  assert.equal(body.messages[0].partition, body.assignment[0].partition);
  const taken = await second.poll({ waitMs: 1_000 });
  assert.equal(taken.body.assignment.length, 1);
  const offsets = (await second.poll()).body.messages.map(({ offset }: Answer["body"]) => offset);
  assert.deepEqual(offsets, [0, 1]);
  const mine = body.assignment[0].partition;
  assert.equal(
    (await world.commit(2, { partition: 1 - mine, memberId: first.memberId })).status,
    409,
  );
});

polls("a member that leaves is one no more", {}, async (world) => {
  const member = await world.join();
  assert.equal((await world.ask("DELETE", member.path)).status, 204);
  assert.equal((await world.ask("DELETE", member.path)).status, 404);
  assert.equal((await member.poll()).status, 404);
  assert.equal(world.consuming.counts().members, 0);
});

polls("a static member that joins again replaces the one before", {}, async (world) => {
  const first = await world.join({ instanceId: "one" });
  const second = await world.join({ instanceId: "one" });
  assert.equal(second.joined.generation, first.joined.generation, "no rebalance");
  assert.equal((await first.poll()).body.code, "UNKNOWN_MEMBER");
  assert.equal((await second.poll()).status, 200);
});

polls(
  "after a restart of the edge a known member goes on at its committed offsets",
  {},
  async (world) => {
    await world.publish(6);
    const member = await world.join();
    assert.deepEqual(await member.offsets({ maxMessages: 4 }), [0, 1, 2, 3]);
    await world.commit(2, { memberId: member.memberId });
    const poll = pollingAgain(world, member);
    const first = await poll({ leaseToken: member.token, maxMessages: 2 });
    assert.deepEqual(first.messages.map(({ offset }: Answer["body"]) => offset), [2, 3]);
    const lost = await poll({ leaseToken: member.token });
    assert.deepEqual(lost, first);
    assert.equal((await poll({ leaseToken: "latest.other" })).code, "STALE_LEASE");
  },
);

polls(
  "a paused group gives nothing out, and what an operator moved is where it goes on",
  {},
  async (world) => {
    await world.publish(4);
    const member = await world.join();
    assert.deepEqual(await member.offsets(), [0, 1, 2, 3]);
    await world.commit(4, { memberId: member.memberId });
    await world.ask("POST", "/api/groups/billing:pause", { body: { reason: "repair" } });
    await world.publish(1);
    assert.deepEqual(await member.offsets({ waitMs: 500 }), []);
    assert.deepEqual((await member.poll()).body.paused, { reason: "repair" });
    const moved = { groupId: "billing", offsets: [{ topic: "orders", partition: 0, offset: 1 }] };
    await world.ask("POST", "/api/offsets:commit", {
      body: { ...moved, allowRewind: true, reason: "again" },
    });
    await world.ask("POST", "/api/groups/billing:resume");
    assert.deepEqual(await member.offsets({ waitMs: 500 }), [1, 2, 3, 4]);
    assert.equal((await member.poll()).body.paused, undefined);
  },
);

polls("a paused group gives nothing out after a restart of the edge either", {}, async (world) => {
  await world.publish(3);
  const member = await world.join();
  await world.ask("POST", "/api/groups/billing:pause", { body: { reason: "repair" } });
  const poll = pollingAgain(world, member);
  const paused = await poll({ leaseToken: member.token, maxMessages: 2 });
  assert.deepEqual([paused.messages, paused.paused], [[], { reason: "repair" }]);
  const offsets = [{ topic: "orders", partition: 0, offset: 1 }];
  await world.ask("POST", "/api/offsets:commit", { body: { groupId: "billing", offsets } });
  await world.ask("POST", "/api/groups/billing:resume");
  const resumed = await poll({ leaseToken: paused.leaseToken, waitMs: 500 });
  assert.deepEqual(resumed.messages.map(({ offset }: Answer["body"]) => offset), [1, 2]);
  assert.equal(resumed.paused, undefined);
});

polls(
  "answers are bounded by messages and by bytes",
  { limits: { maxBytes: 10 } },
  async (world) => {
    await world.publish(20);
    const member = await world.join();
    assert.deepEqual(await member.offsets(), [0, 1, 2, 3, 4]);
    await world.commit(5);
    assert.deepEqual(await member.offsets({ maxMessages: 1 }), [5]);
  },
);

polls("what is no join or poll is refused", { limits: { maxMembers: 1 } }, async (world) => {
  const join = (body: unknown) => world.ask("POST", "/api/groups/billing/members", { body });
  for (
    const body of [{}, { topics: [] }, { topics: ["a b"] }, {
      topics: ["orders"],
      sessionTimeoutMs: 1,
    }, {
      topics: ["orders"],
      assignor: "mine",
    }]
  ) assert.equal((await join(body)).body.code, "INVALID_REQUEST");
  assert.equal((await join({ topics: ["nothing"] })).body.code, "UNKNOWN_TOPIC");
  const inside = await world.ask("POST", "/api/groups/__in/members", {
    body: { topics: ["orders"] },
  });
  assert.equal(inside.body.code, "FORBIDDEN");
  const member = await world.join();
  assert.equal((await join({ topics: ["orders"] })).body.code, "OVERLOADED");
  for (
    const body of [
      { maxMessages: 0 },
      { maxMessages: 10_001 },
      { waitMs: 30_001 },
      { waitMs: -1 },
      { x: 1 },
    ]
  ) {
    assert.equal((await member.poll(body)).body.code, "INVALID_REQUEST", JSON.stringify(body));
  }
  const nobody = await world.ask("POST", "/api/groups/billing/members/nobody:poll", { body: {} });
  assert.deepEqual([nobody.status, nobody.body.code], [404, "UNKNOWN_MEMBER"]);
  const nowhere = await world.ask("POST", "/api/groups/none/members/nobody:poll", { body: {} });
  assert.equal(nowhere.body.code, "UNKNOWN_MEMBER");
});

/** Polls as `member` on an edge that has just been started. */
function pollingAgain(world: PollingWorld, member: Member) {
  const edge = restartedEdge(world);
  return async (body: object): Promise<Answer["body"]> => {
    const response = await world.pass(Promise.resolve(edge.request(`${member.path}:poll`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    })));
    return await response.json();
  };
}

/** Another edge over the same broker: it knows nothing of members. */
function restartedEdge(world: PollingWorld) {
  const broker: LocalBroker = world.api.broker;
  const consuming = createConsuming({ timers: world.time });
  return createApp({
    broker,
    clock: world.time,
    randomness: { uuid: () => crypto.randomUUID(), fraction: () => 0 },
    crc32c,
    limits: DEFAULT_API_LIMITS,
    security: { adminToken: null, allowedOrigins: [] },
    version: "0.1.0-test",
    self: () => ({ host: "127.0.0.1", port: 8080, zone: null }),
    routes: [consuming.routes],
  });
}

polls("as many members as there may be join at the same time, and no more", {
  limits: { maxMembers: 2 },
}, async (world) => {
  const joins = Array.from(
    { length: 5 },
    () => world.ask("POST", "/api/groups/billing/members", { body: { topics: ["orders"] } }),
  );
  const statuses = (await Promise.all(joins)).map(({ status }) => status);
  assert.deepEqual(statuses.sort(), [200, 200, 503, 503, 503]);
  const again = await world.ask("POST", "/api/groups/billing/members", {
    body: { topics: ["orders"] },
  });
  assert.equal(again.status, 503);
});

polls("a join that was refused leaves its place to another", {
  limits: { maxMembers: 1 },
}, async (world) => {
  const path = "/api/groups/billing/members";
  const refused = await world.ask("POST", path, { body: { topics: ["none"] } });
  assert.equal(refused.status, 404);
  const held = world.api.broker.group;
  world.api.broker.group = () => Promise.reject(new BrokerError("ACTOR_DOWN", "down"));
  assert.equal((await world.ask("POST", path, { body: { topics: ["orders"] } })).status, 503);
  world.api.broker.group = held;
  await world.join();
});
