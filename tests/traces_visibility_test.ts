// Owns the tests of to whom a trace tells what, on a whole broker in memory and virtual time.
// Refuses to own what it tells (traces_api_test.ts). Invariant: nobody is told of what they may not read or see.
import assert from "node:assert/strict";
import { allow, type Grant } from "./support/acl_grants.ts";
import { VirtualClock } from "./support/virtual_time.ts";
import { type Any, parentOf, scene, shortly, TRACE } from "./support/trace_scene.ts";

const keyed = (key: string) => ({ authorization: `Bearer ${key}` });

Deno.test("a trace names to each only topics that they may read and groups that they may see", async () => {
  const time = new VirtualClock();
  const admin = "an-admin-token-of-some-length";
  const { api } = await scene({
    time,
    app: { security: { adminToken: admin, allowedOrigins: [] } },
  }, []);
  const ask = (method: string, path: string, options: Any = {}) =>
    api.ask(method, path, { headers: keyed(admin), ...options });
  for (const name of ["orders", "secrets"]) {
    await ask("POST", "/api/topics", { body: { name, partitions: 1 } });
    await ask("POST", "/api/messages:publish", {
      body: { topic: name, messages: [{ value: "x" }] },
      headers: { ...keyed(admin), traceparent: parentOf(TRACE) },
    });
    for (const groupId of ["billing", "hidden"]) {
      const offsets = [{ topic: name, partition: 0, offset: 1 }];
      await ask("POST", "/api/offsets:commit", { body: { groupId, offsets } });
    }
  }
  // A letter that tells of a topic that its reader does not see.
  const origin = (topic: string) => ({
    "traceparent": parentOf(TRACE),
    "waybill-origin-topic": topic,
    "waybill-origin-partition": "0",
    "waybill-origin-offset": "0",
    "waybill-origin-group": "billing",
    "waybill-attempts": "1",
  });
  for (const topic of ["orders", "secrets"]) {
    const name = `dlq.${topic}`;
    await ask("POST", "/api/topics", { body: { name, partitions: 1 } });
    const messages = [{ value: "x", headers: origin(topic) }];
    await ask("POST", "/api/messages:publish", { body: { topic: name, messages } });
  }
  const toldTo = async (grants: readonly Grant[]): Promise<string[]> => {
    const made = await ask("POST", "/api/keys", {
      body: { principal: crypto.randomUUID(), tenant: "t" },
    });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    await allow(api.broker, made.body.principal, grants);
    const answer = await ask("GET", `/api/traces/${TRACE}`, { headers: keyed(made.body.key) });
    assert.equal(answer.status, 200);
    return answer.body.events.map(shortly).sort();
  };
  const all = await ask("GET", `/api/traces/${TRACE}`);
  assert.equal(all.body.events.length, 8);
  assert.deepEqual(await toldTo([]), []);
  assert.deepEqual(await toldTo([["topic", "orders", "describe"], ["group", "*", "all"]]), []);
  assert.deepEqual(await toldTo([["topic", "orders", "read"]]), ["published orders 0"]);
  assert.deepEqual(
    await toldTo([["topic", "orders", "read"], ["group", "billing", "describe"]]),
    ["committed orders 0 billing", "published orders 0"],
  );
  assert.deepEqual(
    await toldTo([
      ["topic", "orders", "describe"],
      ["topic", "dlq.orders", "read"],
      ["topic", "dlq.secrets", "read"],
      ["group", "billing", "describe"],
    ]),
    ["dead-lettered orders 0 billing 1"],
  );
  await api.close();
});

Deno.test("a letter that lies elsewhere than its origin's letters do is a message and nothing more", async () => {
  const { api, publish, told } = await scene({}, ["acme.o", "dlq.acme.o", "dlq.evil.o"]);
  const headers = {
    "traceparent": parentOf(TRACE),
    "waybill-origin-topic": "acme.o",
    "waybill-origin-partition": "0",
    "waybill-origin-offset": "0",
    "waybill-origin-group": "billing",
    "waybill-attempts": "1",
  };
  await publish([{ value: "x", headers }], { topic: "dlq.evil.o" });
  assert.deepEqual(await told(), ["published dlq.evil.o 0"]);
  await publish([{ value: "x", headers }], { topic: "dlq.acme.o" });
  assert.deepEqual(await told(), ["published dlq.evil.o 0", "dead-lettered acme.o 0 billing 1"]);
  await api.close();
});

Deno.test("a copy of a job that nobody knows is told as such: anybody may write its header", async () => {
  const { api, publish, trace } = await scene({}, ["acme.o", "evil.o"]);
  const headers = {
    "traceparent": parentOf(TRACE),
    "waybill-origin-topic": "acme.o",
    "waybill-origin-partition": "0",
    "waybill-origin-offset": "0",
    "waybill-replay-job": "made-up",
  };
  await publish([{ value: "x", headers }], { topic: "evil.o" });
  const [event] = (await trace()).events;
  assert.deepEqual([event.kind, event.detail], [
    "replayed",
    { jobId: "made-up", isJobKnown: false },
  ]);
  await api.close();
});

Deno.test("who may not see what a copy was made from is told of the copy alone", async () => {
  const time = new VirtualClock();
  const admin = "an-admin-token-of-some-length";
  const { api } = await scene({
    time,
    app: { security: { adminToken: admin, allowedOrigins: [] } },
  }, []);
  const post = (path: string, body: unknown) =>
    api.ask("POST", path, { body, headers: { ...keyed(admin), traceparent: parentOf(TRACE) } });
  for (const name of ["secrets", "copies"]) await post("/api/topics", { name, partitions: 1 });
  await post("/api/messages:publish", { topic: "secrets", messages: [{ value: "x" }] });
  const source = { topic: "secrets", partition: 0, from: 0, to: "latest" };
  await post("/api/messages:replay", { ...source, target: { topic: "copies" }, reason: "x" });
  await time.advance(2_000);
  const made = await post("/api/keys", { principal: "reader", tenant: "t" });
  const told = async (credential: string) => {
    const headers = keyed(credential);
    const { body } = await api.ask("GET", `/api/traces/${TRACE}`, { headers });
    return body.events.map((event: Any) => [shortly(event), event.related?.topic]);
  };
  await allow(api.broker, "reader", [["topic", "copies", "read"]]);
  assert.deepEqual(await told(made.body.key), [["replayed copies 0", undefined]]);
  await allow(api.broker, "reader", [["topic", "secrets", "describe"]]);
  assert.deepEqual(await told(made.body.key), [["replayed copies 0", "secrets"]]);
  assert.equal((await told(admin)).length, 2);
  await api.close();
});
