// Owns proof that the edges tell telemetry what they publish, deliver and answer.
// Refuses to own what becomes of it. Invariant: everything is told once, with what was really done.
import assert from "node:assert/strict";
import { createConsuming } from "../api/stream/consuming.ts";
import type { Answered, Delivered, Published, Telemetry } from "../api/telemetry.ts";
import { type ApiUnderTest, apiUnderTest } from "./support/api_app.ts";
import { STREAM_REQUEST, StreamWorld } from "./support/stream_fakes.ts";
import { passing } from "./support/passing_time.ts";
import { VirtualClock } from "./support/virtual_time.ts";

class Ear implements Telemetry {
  readonly publishes: Published[] = [];
  readonly deliveries: Delivered[] = [];
  readonly answers: Answered[] = [];
  published = (event: Published) => void this.publishes.push(event);
  delivered = (event: Delivered) => void this.deliveries.push(event);
  answered = (event: Answered) => void this.answers.push(event);
}

async function heard(
  run: (api: ApiUnderTest, ear: Ear, time: VirtualClock) => Promise<void>,
): Promise<void> {
  const ear = new Ear();
  const time = new VirtualClock();
  const consuming = createConsuming({ timers: time });
  const api = await apiUnderTest({
    time,
    group: { initialRebalanceDelayMs: 0, rebalanceDelayMs: 0 },
    app: { telemetry: ear, routes: [consuming.routes] },
  });
  await api.ask("POST", "/api/topics", { body: { name: "orders", partitions: 2 } });
  ear.answers.length = 0;
  await run(api, ear, time);
  await api.close();
}

const ABC = [{ value: "a", key: "1" }, { value: "b", key: "2" }, { value: "c", key: "3" }];

function publish(api: ApiUnderTest, body: object, headers: Record<string, string> = {}) {
  return api.ask("POST", "/api/messages:publish", { body, headers });
}

Deno.test("a publish is told once with its messages, its bytes and no code", () =>
  heard(async (api, ear) => {
    await publish(api, { topic: "orders", messages: ABC });
    const sizes = (await api.broker.describeTopic("orders")).partitions;
    assert.equal(ear.publishes.length, 1);
    const { bytes, durationMs, ...rest } = ear.publishes[0]!;
    assert.deepEqual(rest, { topic: "orders", messages: 3, code: null });
    assert.equal(bytes, sizes.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
    assert.ok(durationMs >= 0);
    assert.deepEqual(
      ear.answers.map(({ operationId, status, code }) => [operationId, status, code]),
      [["publishMessages", 200, null]],
    );
  }));

Deno.test("a refused publish is told with its code, whether or not it came as far as its topic", () =>
  heard(async (api, ear) => {
    await publish(api, { topic: "nowhere", messages: ABC });
    await publish(api, { topic: "orders", messages: ABC, partition: 9 });
    await api.ask("POST", "/api/messages:publish", {
      raw: "{",
      headers: { "content-type": "application/json" },
    });
    assert.deepEqual(
      ear.publishes.map(({ code, messages }) => [code, messages]),
      [["UNKNOWN_TOPIC", 0], ["UNKNOWN_PARTITION", 0], ["INVALID_REQUEST", 0]],
    );
    assert.deepEqual(ear.answers.map(({ status }) => status), [404, 404, 400]);
  }));

Deno.test("a repeat with the same Idempotency-Key publishes nothing more", () =>
  heard(async (api, ear) => {
    const key = { "idempotency-key": "k1" };
    for (const _ of [1, 2]) await publish(api, { topic: "orders", messages: ABC }, key);
    assert.deepEqual(ear.publishes.map(({ messages }) => messages), [3, 0]);
  }));

Deno.test("reads tell what was read, and other routes publish nothing", () =>
  heard(async (api, ear, time) => {
    await publish(api, { topic: "orders", messages: ABC, partition: 1 });
    ear.publishes.length = 0;
    await time.advance(2_500);
    const path = "/api/topics/orders/partitions/1/messages?offset=earliest";
    await api.ask("GET", path);
    await api.ask("GET", path, { headers: { accept: "application/x-ndjson" } });
    await api.ask("GET", path, { headers: { accept: "application/vnd.waybill.batch" } });
    await api.ask("GET", "/api/topics/orders/partitions/0/messages");
    const told = ear.deliveries.map(({ group, topic, messages, path }) =>
      `${group} ${topic} ${messages} ${path}`
    );
    assert.deepEqual(new Set(told), new Set(["null orders 3 read"]));
    assert.ok(told.length >= 2);
    assert.deepEqual(new Set(ear.deliveries.map(({ ageMs }) => ageMs)), new Set([2_500]));
    assert.deepEqual(ear.publishes, []);
  }));

Deno.test("a member's poll tells its group what it got, and how old that was", () =>
  heard(async (api, ear, time) => {
    const members = "/api/groups/billing/members";
    const { body } = await passing(
      time,
      api.ask("POST", members, { body: { topics: ["orders"], autoOffsetReset: "earliest" } }),
    );
    await publish(api, { topic: "orders", messages: ABC, partition: 0 });
    const { body: polled } = await passing(
      time,
      api.ask("POST", `${members}/${body.memberId}:poll`),
    );
    assert.equal(polled.messages.length, 3);
    const [{ bytes, ageMs, ...rest }] = ear.deliveries as [Delivered];
    assert.deepEqual(rest, {
      group: "billing",
      member: body.memberId,
      topic: "orders",
      partition: 0,
      spans: [{ from: 0, to: 3 }],
      attempt: 1,
      messages: 3,
      path: "http",
    });
    assert.ok(bytes > 3 && ageMs !== null && ageMs >= 0 && ageMs < 1_000, `${bytes} ${ageMs}`);
    assert.equal(ear.deliveries.length, 1);
  }));

for (const format of ["json", "msgpack", "batch"] as const) {
  Deno.test(`a stream in ${format} tells each delivery once, with the age of its newest message`, async () => {
    const ear = new Ear();
    const world = await StreamWorld.open({ telemetry: ear });
    await world.publish(2);
    await world.time.advance(1_000);
    await world.publish(3);
    await world.time.advance(500);
    await world.consumer({ format, autoOffsetReset: "earliest" });
    const messages = () => ear.deliveries.reduce((sum, { messages }) => sum + messages, 0);
    await world.until(() => messages() >= 5, "five messages");
    await world.calm();
    assert.equal(messages(), 5);
    const last = ear.deliveries.at(-1)!;
    assert.equal(last.path, "websocket");
    assert.equal(last.group, STREAM_REQUEST.group);
    assert.ok(last.ageMs! >= 500 && last.ageMs! < 1_000, `${last.ageMs}`);
    await world.close();
  });
}
