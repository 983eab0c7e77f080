// Owns tests of what the gate keeps of tenants and topics: how many, and what is forgotten.
// Refuses to own what requests are told (quota_api_test.ts). Invariant: time is virtual.
import assert from "node:assert/strict";
import type { Topic } from "../actors/broker.ts";
import { NO_LIMITS, type QuotaLimits, type Quotas } from "../actors/quota/types.ts";
import { QuotaGate } from "../api/quota/gate.ts";
import type { QuotaExceeded } from "../api/quota/refusal.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const ONE_MESSAGE = { messages: 1, bytes: 100 };
const REQUEST = { publishes: false, bodyBytes: null };

function scene(options: { limits?: Partial<QuotaLimits>; maxTenants?: number } = {}) {
  const clock = new VirtualClock();
  const limits = { ...NO_LIMITS, ...options.limits };
  const topics = new Map<string, Topic>();
  const quotas = { limitsOf: () => limits } as unknown as Quotas;
  const broker = {
    quotas,
    topic: (name: string) => topics.get(name) ?? null,
    topicNames: () => [...topics.keys()],
  };
  const { maxTenants = 10 } = options;
  const gate = new QuotaGate({ broker, clock, timers: clock, maxTenants });
  const topic = (name: string, topicId: string): Topic => {
    const config = { ...TOPIC_CONFIG, publishMessagesPerSecond: 1 };
    const made = { topicId, name, partitionCount: 1, config, createdAt: 0, internal: false };
    topics.set(name, made);
    return made;
  };
  return { clock, gate, topic };
}

Deno.test("of more tenants than the bound an idle one is forgotten, not one that has used up its quota", async () => {
  const { clock, gate } = scene({ limits: { requestsPerSecond: 1 }, maxTenants: 3 });
  const ask = (tenant: string) => gate.request({ tenant }, REQUEST).admit();
  ask("idle");
  for (const tenant of ["busy", "other"]) gate.connect({ tenant });
  await clock.advance(60_000);
  ask("busy");
  ask("new");
  assert.equal(gate.usage("idle").requestsPerSecond, 0);
  assert.throws(() => ask("busy"), { code: "QUOTA_EXCEEDED" });
  assert.throws(() => ask("new"), { code: "QUOTA_EXCEEDED" });
  assert.equal(gate.usage("other").connections, 1);
});

Deno.test("where no tenant is idle the first one goes, and nothing fails", () => {
  const { gate } = scene({ limits: { requestsPerSecond: 1 }, maxTenants: 3 });
  for (let n = 0; n < 50; n++) {
    const use = gate.request({ tenant: `t${n}` }, REQUEST);
    use.admit();
    use.release();
  }
  assert.throws(() => gate.request({ tenant: "t49" }, REQUEST).admit(), { code: "QUOTA_EXCEEDED" });
});

Deno.test("a topic that was deleted and made again begins with a full quota", () => {
  const { gate, topic } = scene();
  const access = { tenant: "a" };
  const first = topic("orders", "id-1");
  gate.publish(access, first, ONE_MESSAGE);
  assert.throws(() => gate.publish(access, first, ONE_MESSAGE), { code: "QUOTA_EXCEEDED" });
  gate.publish(access, topic("orders", "id-2"), ONE_MESSAGE);
});

Deno.test("what a tenant publishes is not taken from it when a topic's quota refuses it", () => {
  const { gate, topic } = scene({ limits: { publishMessagesPerSecond: 2 } });
  const access = { tenant: "a" };
  const orders = topic("orders", "id-1");
  gate.publish(access, orders, ONE_MESSAGE);
  for (let n = 0; n < 3; n++) {
    assert.throws(
      () => gate.publish(access, orders, ONE_MESSAGE),
      /topic orders has a quota of 1 message published/,
    );
  }
  gate.publish(access, topic("other", "id-2"), ONE_MESSAGE);
  assert.throws(() => gate.publish(access, topic("third", "id-3"), ONE_MESSAGE), {
    code: "QUOTA_EXCEEDED",
    message: /tenant a has a quota of 2 messages/,
  });
});

Deno.test("usage shows rates over about ten seconds, without a quota too", async () => {
  const { clock, gate, topic } = scene();
  const orders = { ...topic("orders", "id-1"), config: TOPIC_CONFIG };
  for (let second = 0; second < 20; second++) {
    for (let n = 0; n < 5; n++) gate.request({ tenant: "a" }, REQUEST).admit();
    gate.publish({ tenant: "a" }, orders, { messages: 100, bytes: 1 });
    await clock.advance(1_000);
  }
  const { requestsPerSecond, publishMessagesPerSecond } = gate.usage("a");
  assert.deepEqual([requestsPerSecond, publishMessagesPerSecond], [5, 100]);
  await clock.advance(30_000);
  assert.equal(gate.usage("a").requestsPerSecond, 0);
});

Deno.test("those who were refused before are waited for while they are held, and no longer", async () => {
  const { clock, gate, topic } = scene({ limits: { publishMessagesPerSecond: 10 } });
  const other = { ...topic("other", "id-1"), config: TOPIC_CONFIG };
  const ask = () => {
    try {
      gate.publish({ tenant: "a" }, other, { messages: 5, bytes: 1 });
    } catch (error) {
      return error as QuotaExceeded;
    }
    throw new Error("not refused");
  };
  gate.publish({ tenant: "a" }, other, { messages: 10, bytes: 1 });
  const { signal } = new AbortController();
  const [first, second] = [ask(), ask()];
  assert.deepEqual([first, second].map(({ details }) => details.retryAfterMs), [500, 1_000]);
  const told = [first, second].map((error) => gate.holdBack(error, signal));
  assert.deepEqual(gate.counts(), { refused: 2, toldLate: 2 });
  await clock.advance(1_000);
  await Promise.all(told);
  assert.deepEqual(gate.counts(), { refused: 2, toldLate: 0 });
  gate.publish({ tenant: "a" }, other, { messages: 10, bytes: 1 });
  assert.equal(ask().details.retryAfterMs, 500);
});
