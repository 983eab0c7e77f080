// Owns the API over a broker in memory, with topic `orders`, and members that poll it while virtual time goes by.
// Refuses to own what polls are to answer. Invariant: no sockets; every test ends with the broker closed and no fault.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { createApp } from "../../api/app.ts";
import { yieldToEventLoop } from "../../api/event_loop.ts";
import { DEFAULT_API_LIMITS } from "../../api/limits.ts";
import type { MemberLimits } from "../../api/members/limits.ts";
import { type Consuming, createConsuming } from "../../api/stream/consuming.ts";
import type { LocalBroker } from "../../actors/local_broker.ts";
import { encodeBatch } from "../../storage/format/encode.ts";
import { type Answer, type ApiUnderTest, apiUnderTest, type Format } from "./api_app.ts";
import { TOPIC_CONFIG } from "./memory_broker.ts";
import { passing } from "./passing_time.ts";
import { VirtualClock } from "./virtual_time.ts";

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

export function polls(
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

/** Polls as `member` on an edge that has just been started. */
export function pollingAgain(world: PollingWorld, member: Member) {
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
