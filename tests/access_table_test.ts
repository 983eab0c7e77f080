// Owns that every route is closed to all but those whom the access table lets in: every route times every caller.
// Refuses to own what ACLs add up to (acl_permissions_test.ts), and what lasts (lasting rights, members, jobs).
// Invariant: what is tried is what is served: a route without an entry, or an entry without a sample, fails.
import assert from "node:assert/strict";
import { ACL_OPERATIONS, type AclOperation } from "../actors/acl/types.ts";
import { authenticated, OPEN } from "../api/auth/access_entry.ts";
import { ACCESS_TABLE } from "../api/auth/access_table.ts";
import { defineRoute } from "../api/route.ts";
import { dashboardRoutes } from "../api/routes/dashboard.ts";
import { createOverview } from "../api/routes/overview.ts";
import { createConsuming } from "../api/stream/consuming.ts";
import { partitionMetricsRoutes } from "../ops/metrics/partition_routes.ts";
import { metricsRoutes } from "../ops/metrics/routes.ts";
import { ACCESS_SAMPLES, type AccessSample } from "./support/access_samples.ts";
import { allow, type Grant, rule } from "./support/acl_grants.ts";
import { type Answer, type ApiUnderTest, apiUnderTest } from "./support/api_app.ts";
import { passing } from "./support/passing_time.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const ADMIN_TOKEN = "s3cret";
const TENANT = "acme";
const KEY_MS = 3_600_000;

/** All that a broker process serves, over an empty broker. */
async function emptyWorld() {
  const time = new VirtualClock();
  const consuming = createConsuming({ timers: time });
  const overview = createOverview({
    latest: () => null,
    history: () => [],
    onSample: () => () => {},
  });
  overview.close();
  const api = await apiUnderTest({
    time,
    group: { initialRebalanceDelayMs: 0, rebalanceDelayMs: 0 },
    app: {
      routes: [
        consuming.routes,
        metricsRoutes("1"),
        partitionMetricsRoutes(null),
        overview.routes,
        dashboardRoutes,
      ],
      security: { adminToken: ADMIN_TOKEN, allowedOrigins: [] },
    },
  });
  return new World(api, time);
}

/** With what the samples speak of. */
async function furnishedWorld() {
  const world = await emptyWorld();
  const admin = (path: string, body: unknown) =>
    world.ask(ADMIN_TOKEN, "POST", { path, body, comesTo: 200 });
  await admin("/api/topics", { name: "orders" });
  await admin("/api/topics", { name: "dlq.orders" });
  await admin("/api/messages:publish", { topic: "orders", messages: [{ value: "x" }] });
  await admin("/api/offsets:commit", {
    groupId: "billing",
    offsets: [{ topic: "orders", partition: 0, offset: 1 }],
  });
  return world;
}

class World {
  #principals = 0;

  constructor(
    readonly api: ApiUnderTest,
    readonly time: VirtualClock,
  ) {}

  ask(token: string | null, method: string, sample: AccessSample): Promise<Answer> {
    const { path, body, raw } = sample;
    return passing(
      this.time,
      this.api.ask(method, path, {
        headers: {
          ...sample.headers,
          ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        },
        ...(body === undefined ? {} : { body }),
        ...(raw === undefined ? {} : { raw }),
      }),
    );
  }

  /** A key of a principal that may do what `grants` say. */
  async keyOf(grants: readonly Grant[] = [], tenant = TENANT): Promise<string> {
    const principal = `p${this.#principals++}`;
    await allow(this.api.broker, principal, grants);
    const body = { principal, tenant, expiresAt: this.time.now() + KEY_MS };
    const sample = { path: "/api/keys", body, comesTo: 201 };
    return (await this.ask(ADMIN_TOKEN, "POST", sample)).body.key;
  }

  /** Allows all of a tenant what `grants` say. */
  async allowTenant(tenant: string, grants: readonly Grant[]): Promise<void> {
    for (const [resource, pattern, operation] of grants) {
      const said = rule({ principal: "*", tenant, resource, pattern, operation: operation! });
      const aclId = crypto.randomUUID();
      await this.api.broker.acls.create({ ...said, aclId, createdBy: "admin" });
    }
  }

  /** All that a request that is refused must leave as it is. */
  async state(): Promise<unknown> {
    const { broker } = this.api;
    const groups = (await broker.groups()).map(({ groupId }) => groupId);
    const described = await Promise.all(
      groups.map((group) => broker.group({ type: "Describe", group })),
    );
    return {
      stored: await this.api.stored(),
      topics: broker.topicNames().map((name) => broker.topic(name)),
      groups: described,
      jobs: (await broker.jobs.list()).length,
      acls: broker.acls.list().length,
      keys: broker.accessKeys.list().length,
    };
  }

  close(): Promise<void> {
    return this.api.close();
  }
}

function outcome({ status, body }: Answer): number | string {
  return typeof body?.code === "string" ? body.code : status;
}

/** The answer without what differs from request to request. */
function told({ status, body }: Answer) {
  const { requestId: _id, ...problem } = body;
  return { status, problem };
}

const REFUSALS = ["FORBIDDEN", "UNKNOWN_TOPIC", "UNKNOWN_GROUP"];

/** Everything on what `grants` speak of, but what they grant and what would bring it with it. */
function allBut(grants: readonly Grant[]): Grant[] {
  return grants.map(([resource, pattern, needed]) => {
    const bringing = ["all", "admin", ...(needed === "describe" ? SHOWING : []), needed];
    const others = ACL_OPERATIONS.filter((operation) => !bringing.includes(operation));
    return [resource, pattern, ...others];
  });
}

const SHOWING: readonly AclOperation[] = ["read", "write", "alter", "delete"];

const names = (await emptyWorld().then(async (world) => {
  const routes = world.api.app.routes.map(({ method, path }) => `${method} ${path}`);
  await world.close();
  return routes;
})).sort();

Deno.test("every entry of the access table is a route, and every route has a sample", () => {
  assert.deepEqual(Object.keys(ACCESS_TABLE).sort(), names);
  assert.deepEqual(Object.keys(ACCESS_SAMPLES).sort(), names);
});

Deno.test("a route that has no entry, or disagrees with it on whether it is open, is not served", async () => {
  const route = defineRoute({
    method: "GET",
    path: "/api/forgotten",
    operationId: "forget",
    tag: "Tests",
    summary: "Forgotten",
    responses: {},
    handler: () => ({}),
  });
  const routes = [() => [route]];
  await assert.rejects(apiUnderTest({ app: { routes } }), /no entry in the access table/);
  const access = { "GET /api/forgotten": OPEN };
  await assert.rejects(apiUnderTest({ app: { routes, access } }), /disagree/);
  const known = { "GET /api/forgotten": authenticated() };
  await (await apiUnderTest({ app: { routes, access: known } })).close();
});

for (const name of names) {
  const entry = ACCESS_TABLE[name];
  const sample = ACCESS_SAMPLES[name];
  if (entry === undefined || sample === undefined) continue;
  const [method] = name.split(" ") as [string];
  const grants = sample.grants ?? [];

  Deno.test(`${name} asks for a credential that is one: ${entry.kind}`, async () => {
    const world = await furnishedWorld();
    const expired = await world.keyOf(grants);
    const before = await world.state();
    await world.time.advance(KEY_MS);
    for (const token of [null, "wrong", `${expired}x`, expired]) {
      const { status, body } = await world.ask(token, method, sample);
      if (entry.kind === "open") assert.equal(status, sample.comesTo);
      else assert.deepEqual([status, body.code], [401, "UNAUTHENTICATED"], `${token}`);
    }
    if (entry.kind !== "open") assert.deepEqual(await world.state(), before);
    await world.close();
  });

  if (entry.kind === "open") continue;

  Deno.test(`${name} opens to its rights, and administrators: ${entry.text}`, async () => {
    const all: Grant[] = grants.map(([resource, pattern]) => [resource, pattern, "all"]);
    const tokens: Record<string, (world: World) => string | Promise<string>> = {
      "by its rights": (world) => world.keyOf(grants),
      "by all rights": (world) => world.keyOf(all),
      "by its tenant": async (world) => {
        await world.allowTenant(TENANT, grants);
        return world.keyOf();
      },
      "administrator": () => ADMIN_TOKEN,
    };
    let world = await furnishedWorld();
    for (const [who, tokenIn] of Object.entries(tokens)) {
      const answer = await world.ask(await tokenIn(world), method, sample);
      assert.equal(outcome(answer), sample.comesTo, who);
      // What only reads leaves the world as it was.
      if (method === "GET") continue;
      await world.close();
      world = await furnishedWorld();
    }
    await world.close();
  });

  if (entry.kind === "authenticated") {
    assert.deepEqual(grants, []);
    continue;
  }
  assert.ok(grants.length > 0, `${name} needs something, and its sample grants nothing`);

  Deno.test(`${name} refuses other tenants and other rights, changing and telling nothing`, async () => {
    const world = await furnishedWorld();
    const callers: Record<string, string> = {
      "with no rights": await world.keyOf(),
      "with all other rights on it": await world.keyOf(allBut(grants)),
      "who may see it": await world.keyOf(
        grants.filter(([, , needed]) => needed !== "describe")
          .map(([resource, pattern]) => [resource, pattern, "describe"]),
      ),
      "with the rights on other names": await world.keyOf(
        grants.filter(([resource]) => resource !== "cluster")
          .map(([resource, pattern, ...operations]) => [resource, `${pattern}-2`, ...operations]),
      ),
      "of another tenant": await world.keyOf([], "other"),
    };
    await world.allowTenant("third", grants);
    for (const missing of grants) {
      const others = grants.filter((grant) => grant !== missing);
      callers[`without ${missing.join(" ")}`] = await world.keyOf(others);
    }
    const before = await world.state();
    for (const [who, key] of Object.entries(callers)) {
      const code = outcome(await world.ask(key, method, sample));
      assert.ok(REFUSALS.includes(`${code}`), `${who}: ${code}`);
    }
    if (grants.every(([, , needed]) => needed !== "describe")) {
      assert.equal(
        outcome(await world.ask(callers["who may see it"]!, method, sample)),
        "FORBIDDEN",
      );
    }
    assert.deepEqual(await world.state(), before);
    await world.close();
  });

  Deno.test(`${name} refuses whoever is denied what else is allowed`, async () => {
    const world = await furnishedWorld();
    const { acls } = world.api.broker;
    const key = await world.keyOf(grants);
    for (const [resource, pattern, operation] of grants) {
      const aclId = crypto.randomUUID();
      const denied = { resource, pattern, operation: operation!, effect: "deny" } as const;
      await acls.create({ ...rule({ principal: "*", ...denied }), aclId, createdBy: "admin" });
      const code = outcome(await world.ask(key, method, sample));
      assert.ok(REFUSALS.includes(`${code}`), `${code}`);
      await acls.delete(aclId);
    }
    await world.close();
  });

  Deno.test(`${name} tells who may not see it what is told of nothing`, async () => {
    const [furnished, empty] = [await furnishedWorld(), await emptyWorld()];
    const answers: unknown[] = [];
    for (const world of [furnished, empty]) {
      answers.push(told(await world.ask(await world.keyOf(), method, sample)));
      await world.close();
    }
    assert.deepEqual(answers[0], answers[1]);
  });
}
