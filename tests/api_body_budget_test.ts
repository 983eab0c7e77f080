// Owns proof that the bodies of all requests together stay within their budget, and that it is always given back.
import assert from "node:assert/strict";
import { readBody } from "../api/body.ts";
import { BodyBudget, HeldBytes } from "../api/body_budget.ts";
import { DEFAULT_API_LIMITS } from "../api/limits.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { apiUnderTest } from "./support/api_app.ts";
import { settle } from "./support/virtual_time.ts";

const MAX_BODY_BYTES = 1_048_576;
const hasCode = (code: string) => (error: unknown) =>
  error instanceof BrokerError && error.code === code;

function request(bytes: number, options: { declared: boolean }): Request {
  const headers = options.declared ? { "content-length": String(bytes) } : undefined;
  const chunks = Array.from(
    { length: Math.ceil(bytes / 65_536) },
    (_, index) => new Uint8Array(Math.min(65_536, bytes - index * 65_536)),
  );
  return new Request("http://localhost/", {
    method: "POST",
    body: ReadableStream.from(chunks),
    ...(headers === undefined ? {} : { headers }),
  });
}

for (const declared of [true, false]) {
  for (const size of [1_000, 400_000]) {
    const kind = `${size} bytes ${declared ? "with" : "without"} declared length`;
    Deno.test(`a body of ${kind} counts until its request is answered`, async () => {
      const budget = new BodyBudget(500_000);
      const held = new HeldBytes(budget, []);
      const bytes = await readBody(request(size, { declared }), MAX_BODY_BYTES, held);
      assert.equal(bytes.length, size);
      assert.equal(budget.takenBytes, size);
      held.release();
      held.release();
      assert.equal(budget.takenBytes, 0);
    });
  }
}

Deno.test("a body that does not fit beside the others is refused, and what came of it is given back", async () => {
  const budget = new BodyBudget(500_000);
  const first = new HeldBytes(budget, []);
  await readBody(request(400_000, { declared: true }), MAX_BODY_BYTES, first);
  for (const declared of [true, false]) {
    const second = new HeldBytes(budget, []);
    await assert.rejects(
      readBody(request(400_000, { declared }), MAX_BODY_BYTES, second),
      hasCode("OVERLOADED"),
    );
    second.release();
    assert.equal(budget.takenBytes, 400_000);
  }
  first.release();
  const third = new HeldBytes(budget, []);
  await readBody(request(400_000, { declared: true }), MAX_BODY_BYTES, third);
});

Deno.test("a body larger than one may be is refused before it is read, or while it comes", async () => {
  for (const declared of [true, false]) {
    const held = new HeldBytes(new BodyBudget(10_000_000), []);
    await assert.rejects(
      readBody(request(MAX_BODY_BYTES + 1, { declared }), MAX_BODY_BYTES, held),
      hasCode("REQUEST_TOO_LARGE"),
    );
  }
});

Deno.test("a tenant leaves as much as it holds to others, and a principal to others of its tenant; administrators take all", () => {
  const budget = new BodyBudget(1_024);
  const taken = (...holder: string[]) => {
    const held = new HeldBytes(budget, holder);
    try {
      for (;;) held.take(1);
    } catch (error) {
      assert.ok(hasCode("OVERLOADED")(error));
      return held.bytes;
    }
  };
  const first = new HeldBytes(budget, []);
  first.take(1);
  const own = taken("tenant a", "principal a x");
  const sibling = taken("tenant a", "principal a y");
  const tenant = own + sibling + taken("tenant a", "principal a z");
  assert.ok(own > 250 && own <= 256, `${own}`);
  assert.ok(sibling > 80, `${sibling}`);
  assert.ok(tenant <= 512, `${tenant}`);
  assert.ok(taken("tenant b", "principal b x") >= 128);
  assert.equal(taken("tenant a", "principal a x"), 0);
  taken();
  assert.equal(budget.takenBytes, 1_024);
});

Deno.test("bodies that never end leave others' publishes through, and count in their tenant's quota as they come", async () => {
  const KIB = 1_024;
  const limits = { ...DEFAULT_API_LIMITS, maxBodyBytes: 16 * KIB, maxReceivedBytes: 256 * KIB };
  const api = await apiUnderTest({
    app: { limits, security: { adminToken: "the-administrator", allowedOrigins: [] } },
  });
  const admin = { authorization: "Bearer the-administrator" };
  const member = async (principal: string, tenant: string) => {
    const { body } = await api.ask("POST", "/api/keys", {
      headers: admin,
      body: { principal, tenant },
    });
    return { authorization: `Bearer ${body.key}`, "content-type": "application/json" };
  };
  await api.ask("POST", "/api/topics", { headers: admin, body: { name: "orders", partitions: 1 } });
  const acl = { resource: "topic", pattern: "*", patternType: "literal", operation: "all" };
  for (const principal of ["writer", "neighbour"]) {
    const body = { ...acl, principal, effect: "allow" };
    await api.ask("POST", "/api/acls", { headers: admin, body });
  }
  const attacker = await member("nobody", "team-a");
  const ended = Promise.withResolvers<void>();
  const neverEnding = () =>
    new ReadableStream({
      start: (controller) => controller.enqueue(new Uint8Array(16 * KIB).fill(32)),
      pull: () => ended.promise,
      cancel: () => {},
    }, { highWaterMark: 0 });
  const statuses: number[] = [];
  for (let count = 0; count < 17; count++) {
    const options = { headers: attacker, raw: neverEnding() };
    void api.ask("POST", "/api/messages:publish", options).then(({ status }) =>
      statuses.push(status)
    );
    await settle();
  }
  await settle();
  assert.ok(statuses.length >= 12 && statuses.every((status) => status === 503), `${statuses}`);
  const { usage } = (await api.ask("GET", "/api/quotas/team-a", { headers: admin })).body;
  assert.equal(usage.inFlightBytes, (17 - statuses.length) * 16 * KIB);
  const raw = JSON.stringify({ topic: "orders", messages: [{ value: "x".repeat(15 * KIB) }] });
  for (const [principal, tenant] of [["writer", "team-b"], ["neighbour", "team-a"]] as const) {
    const headers = await member(principal, tenant);
    const { status } = await api.ask("POST", "/api/messages:publish", { headers, raw });
    assert.equal(status, 200, principal);
  }
  await api.ask("PUT", "/api/quotas/team-a", { headers: admin, body: { inFlightBytes: 10 * KIB } });
  const late = { headers: attacker, raw: neverEnding() };
  const refused = await api.ask("POST", "/api/messages:publish", late);
  assert.deepEqual([refused.status, refused.body.quota], [429, "inFlightBytes"]);
  await api.close();
});
