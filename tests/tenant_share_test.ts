// Owns proof that a tenant takes no more than its share of the consumers that a broker may have, without any quota.
// Refuses to own quotas (quota_api_test.ts) and whose members are (ownership_api_test.ts).
import assert from "node:assert/strict";
import { type Access, LOCAL_ADMINISTRATOR } from "../api/auth/access.ts";
import { ALL_TOPICS_AND_GROUPS, allow } from "./support/acl_grants.ts";
import { consumingApi } from "./support/consuming_api.ts";
import { StreamWorld } from "./support/stream_fakes.ts";

const of = (tenant: string): Access => ({
  ...LOCAL_ADMINISTRATOR,
  principal: `app of ${tenant}`,
  tenant,
  isAdministrator: false,
});

Deno.test("a tenant has no more than its share of the sessions, and others have the rest", async () => {
  const world = await StreamWorld.open({ limits: { maxSessions: 8, maxTenantShare: 0.75 } });
  const clients = Array.from({ length: 6 }, () => world.connect({ access: of("greedy") }));
  assert.throws(() => world.connect({ access: of("greedy") }), { code: "OVERLOADED" });
  clients.push(world.connect({ access: of("other") }));
  assert.throws(() => world.connect({ access: of("greedy") }), { code: "OVERLOADED" });
  await clients[0]!.gone();
  clients.push(world.connect({ access: of("greedy") }), world.connect());
  assert.throws(() => world.connect({ access: of("other") }), { code: "OVERLOADED" });
  for (const client of clients) await client.gone();
  await world.close();
});

Deno.test("a tenant has no more than its share of the members that poll, and others have the rest", async () => {
  const members = { maxMembers: 4, maxTenantShare: 0.5 };
  const { api, askAs, close } = await consumingApi({ adminToken: "s3cret", members });
  await allow(api.broker, "*", ALL_TOPICS_AND_GROUPS);
  const keyOf = async (tenant: string) =>
    (await askAs("s3cret", "POST", "/api/keys", { principal: `app-${tenant}`, tenant })).body.key;
  const join = async (key: string) =>
    (await askAs(key, "POST", "/api/groups/billing/members", { topics: ["orders"] })).status;
  const [greedy, other] = [await keyOf("greedy"), await keyOf("other")];
  const statuses: number[] = [];
  for (const key of [greedy, greedy, greedy, other, greedy, "s3cret", other]) {
    statuses.push(await join(key));
  }
  assert.deepEqual(statuses, [200, 200, 503, 200, 503, 200, 503]);
  await close();
});
