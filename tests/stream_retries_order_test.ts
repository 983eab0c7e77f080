// Owns what a streaming client sees of retries in a narrow window: order, nothing twice, nothing that gets stuck.
// Refuses to own what retries are at all (stream_retries_test.ts). Invariant: a whole broker in memory, in virtual time.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import type { Broker } from "../actors/broker.ts";
import type { GroupCommand } from "../actors/group/types.ts";
import { DEFAULT_RETRY_POLICY } from "../actors/group/retry/policy.ts";
import type { LocalBroker } from "../actors/local_broker.ts";
import type { RetryPolicy } from "../actors/group/retry/types.ts";
import { createApp } from "../api/app.ts";
import { DEFAULT_API_LIMITS } from "../api/limits.ts";
import type { StreamFormat } from "../api/stream/frames.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { type FakeClient, type Frame, StreamWorld } from "./support/stream_fakes.ts";
import { settle } from "./support/virtual_time.ts";
import { withMembers } from "./support/with_members.ts";

const AT = { topic: "orders", partition: 0 };

interface Scene {
  readonly policy: Partial<RetryPolicy>;
  readonly keys: readonly (string | null)[];
  /** The group's answers cross in this many ways, one after the other; default: they do not. */
  readonly crossings?: number;
}

function narrow(
  name: string,
  scene: Scene,
  run: (world: StreamWorld, crossing: number) => Promise<void>,
): void {
  Deno.test(name, async () => {
    if (scene.crossings === undefined) await staged(scene, {}, (world) => run(world, 0));
    for (let turns = 0; turns < (scene.crossings ?? 0); turns++) {
      await staged(scene, { wrap: crossing(turns) }, (world) => run(world, turns));
    }
  });
}

async function staged(
  scene: Scene,
  options: Parameters<typeof StreamWorld.open>[0],
  run: (world: StreamWorld) => Promise<void>,
): Promise<void> {
  const world = await StreamWorld.open(options);
  try {
    await world.broker.group({
      type: "SetRetryPolicy",
      group: "billing",
      policy: { ...DEFAULT_RETRY_POLICY, jitterMs: 0, ...scene.policy },
      principal: "tests",
    });
    const records = scene.keys.map((key) => ({ key, value: "v", headers: [], timestamp: 1 }));
    await world.broker.append(AT, [encodeBatch(records, { crc32c })], { acks: "all" });
    await run(world);
    assert.deepEqual(world.faults, []);
  } finally {
    await world.close();
  }
}

function keysOf(count: number, keys: number): string[] {
  return Array.from({ length: count }, (_, n) => `k${n % keys}`);
}

/** `offset`, or `offset#attempt` of what comes again; of whole batches what the frame says it is about. */
function seen(client: FakeClient): string[] {
  return client.ofType("messages").flatMap((frame: Frame) => {
    const messages = frame.messages ?? Array.from(
      { length: frame.nextOffset - frame.offset },
      (_, n) => ({ offset: frame.offset + n, attempt: frame.attempt }),
    );
    return messages.map(({ offset, attempt }: Frame) =>
      attempt === undefined ? `${offset}` : `${offset}#${attempt}`
    );
  });
}

/** Commits every message when it comes, but nacks the first delivery of those at `poison`. */
async function drive(
  world: StreamWorld,
  client: FakeClient,
  options: { poison: readonly number[]; count: number; seed: number },
): Promise<string[]> {
  const random = seededRandomness(options.seed);
  let read = 0;
  await world.until(() => {
    const all = seen(client);
    const upTo = Math.min(all.length, read + random.integer(4));
    for (; read < upTo; read++) {
      const [offset, attempt] = all[read]!.split("#").map(Number) as [number, number?];
      const isPoison = attempt === undefined && options.poison.includes(offset);
      if (isPoison) client.send({ type: "nack", ...AT, offset });
      else client.commit(offset + 1);
    }
    return new Set(all.map((one) => one.split("#")[0])).size === options.count &&
      all.length >= options.count + options.poison.length && read === all.length;
  }, "all messages");
  await world.calm();
  return seen(client);
}

/** A broker whose answers to TakeRetries arrive `turns` microtasks after the next one to a fetch or to ParkBlocked. */
function crossing(turns: number): (broker: LocalBroker) => Broker {
  let crossed = Promise.withResolvers<void>();
  const cross = async <T>(reply: T): Promise<T> => {
    await settle();
    crossed.resolve();
    crossed = Promise.withResolvers();
    return reply;
  };
  const crossNext = async <T>(reply: T): Promise<T> => {
    await Promise.race([crossed.promise, settle().then(settle).then(settle)]);
    for (let turn = 0; turn < turns; turn++) await null;
    return reply;
  };
  return (broker) =>
    withMembers(broker as Broker, {
      fetch: async (...args: Parameters<Broker["fetch"]>) => cross(await broker.fetch(...args)),
      group: async <C extends GroupCommand>(command: C) => {
        const reply = await broker.group(command);
        if (command.type === "TakeRetries") return await crossNext(reply);
        return command.type === "ParkBlocked" ? await cross(reply) : reply;
      },
    });
}

for (const format of ["json", "batch"] as const satisfies readonly StreamFormat[]) {
  for (const maxInFlight of [1, 2, 6, 100]) {
    narrow(
      `under blockKey nothing that was committed comes again (${format}, maxInFlight ${maxInFlight})`,
      {
        policy: { ordering: "blockKey", maxAttempts: 4, baseMs: 150 },
        keys: keysOf(30, 3),
        crossings: 12,
      },
      async (world, seed) => {
        const client = await world.consumer({ format, maxInFlight });
        const all = await drive(world, client, { poison: [1], count: 30, seed });
        assert.deepEqual(client.ofType("error"), []);
        assert.equal(all.length, 31, all.join(" "));
        assert.equal(new Set(all).size, 31, all.join(" "));
      },
    );
  }
}

/** What came until nothing more does, `N` where the first delivery of `poison` was nacked. */
async function trace(world: StreamWorld, client: FakeClient, poison: number): Promise<string> {
  const story: string[] = [];
  let read = 0;
  for (let turn = 0; turn < 200; turn++) {
    for (const one of seen(client).slice(read)) {
      read++;
      story.push(one);
      if (one === `${poison}`) {
        client.send({ type: "nack", ...AT, offset: poison });
        story.push("N");
      } else client.commit(Number.parseInt(one) + 1);
    }
    await world.time.advance(turn % 10 === 0 ? 50 : 0);
  }
  return story.join(" ");
}

const POISON = { maxAttempts: 4, baseMs: 150 };

for (const format of ["json", "batch"] as const satisfies readonly StreamFormat[]) {
  narrow(
    `nothing of its key comes between a nack and its retry under blockKey (${format})`,
    { policy: { ...POISON, ordering: "blockKey" }, keys: keysOf(6, 1), crossings: 4 },
    async (world) => {
      const client = await world.consumer({ format, maxInFlight: 1 });
      assert.equal(await trace(world, client, 0), "0 N 0#2 1#1 2#1 3#1 4#1 5#1");
    },
  );

  narrow(
    `other keys go on between a nack and its retry under blockKey (${format})`,
    { policy: { ...POISON, ordering: "blockKey" }, keys: keysOf(6, 2), crossings: 4 },
    async (world) => {
      const client = await world.consumer({ format, maxInFlight: 2 });
      assert.equal(await trace(world, client, 0), "0 N 1 3 5 0#2 2#1 4#1");
    },
  );

  narrow(
    `nothing comes between a nack and its retry under blockPartition (${format})`,
    { policy: { ...POISON, ordering: "blockPartition" }, keys: keysOf(6, 2), crossings: 4 },
    async (world) => {
      const client = await world.consumer({ format, maxInFlight: 1 });
      assert.equal(await trace(world, client, 0), "0 N 0#2 1 2 3 4 5");
    },
  );
}

/** A nack over HTTP of what streams hold. */
async function nackOverHttp(world: StreamWorld, offset: number, more = {}): Promise<Frame> {
  const { time, broker } = world;
  const app = createApp({
    broker,
    clock: time,
    randomness: seededRandomness(1),
    crc32c,
    limits: DEFAULT_API_LIMITS,
    security: { adminToken: null, allowedOrigins: [] },
    version: "0.1.0-test",
    self: () => ({ host: "127.0.0.1", port: 8080, zone: null }),
    onError: (error) => world.faults.push(error),
  });
  const body = JSON.stringify({ groupId: "billing", ...AT, offset, ...more });
  const headers = { "content-type": "application/json" };
  const url = "http://127.0.0.1:8080/api/messages:nack";
  const response = await app.request(url, { method: "POST", headers, body });
  const answer = await response.json();
  assert.equal(response.status, 200, JSON.stringify(answer));
  await world.calm();
  return answer;
}

for (const ordering of ["skip", "blockKey", "blockPartition"] as const) {
  for (const named of [false, true]) {
    narrow(
      `what a stream holds and is nacked over HTTP comes again (${ordering}${
        named ? ", memberId" : ""
      })`,
      { policy: { ...POISON, ordering }, keys: keysOf(4, 1) },
      async (world) => {
        const client = await world.consumer({ maxInFlight: 4 });
        await world.calm();
        const who = named ? { memberId: client.memberId } : {};
        assert.deepEqual(seen(client), ["0", "1", "2", "3"]);
        assert.equal((await nackOverHttp(world, 1, who)).attempt, 1);
        await world.time.advance(400);
        assert.deepEqual(seen(client).slice(4), ["1#2"]);
        assert.equal((await nackOverHttp(world, 1, who)).attempt, 2);
        client.commit(4);
        await world.time.advance(1_000);
        assert.deepEqual(seen(client).slice(5), ["1#3"]);
        assert.equal((await nackOverHttp(world, 1, { ...who, attempt: 3 })).attempt, 3);
        await world.time.advance(2_000);
        assert.deepEqual(seen(client).slice(6), ["1#4"]);
        assert.equal((await nackOverHttp(world, 1, who)).deadLettered, true);
        const { retries } = await world.broker.group({ type: "Describe", group: "billing" });
        assert.equal(retries.waiting + retries.inHand, 0);
      },
    );
  }
}

narrow(
  "a nack over HTTP makes room in the window of the stream that holds the message",
  { policy: { ...POISON, ordering: "blockPartition" }, keys: keysOf(3, 1) },
  async (world) => {
    const client = await world.consumer({ maxInFlight: 1 });
    await world.calm();
    await nackOverHttp(world, 0);
    assert.deepEqual(seen(client), ["0"], "nothing takes its place");
    await world.time.advance(400);
    assert.deepEqual(seen(client), ["0", "0#2"]);
    await nackOverHttp(world, 0, { code: "NON_RETRYABLE" });
    await world.calm();
    assert.deepEqual(seen(client), ["0", "0#2", "1"]);
  },
);

for (const maxInFlight of [2, 4]) {
  narrow(
    `a client that commits no offset it was not given gets all of them under blockKey (maxInFlight ${maxInFlight})`,
    { policy: { ...POISON, ordering: "blockKey" }, keys: keysOf(40, 10) },
    async (world) => {
      const client = await world.consumer({ maxInFlight });
      const done = new Set<string>();
      let [read, next] = [0, 0];
      await world.until(() => {
        for (const one of seen(client).slice(read)) {
          read++;
          if (one === "0") client.send({ type: "nack", ...AT, offset: 0 });
          done.add(one.split("#")[0]!);
          while (done.has(`${next}`)) next++;
          client.commit(next);
        }
        return next === 40 && done.has("39");
      }, "all of them");
      assert.equal(new Set(seen(client)).size, seen(client).length);
      assert.equal(seen(client).length, 41);
    },
  );
}
