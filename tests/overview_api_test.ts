// Owns proof that the overview tells how the broker stands and how it went, once and live, within bounds.
// Refuses to own measuring. Invariant: watchers see what a request would be answered, and nothing once they may not.
import assert from "node:assert/strict";
import type { GroupSample, Sample } from "../actors/measurement/types.ts";
import { lagTrendsOf, nowOf, overviewSchema, pointOf, trendsOf } from "../api/overview/overview.ts";
import { createOverview, type OverviewEdge } from "../api/routes/overview.ts";
import { allow } from "./support/acl_grants.ts";
import { type MeasuredApi, measuredApi } from "./support/measured_api.ts";

const ADMIN_TOKEN = "s3cret";
const ADMIN = { authorization: `Bearer ${ADMIN_TOKEN}` };

async function withOverview(
  run: (api: MeasuredApi, overview: OverviewEdge) => Promise<void>,
): Promise<void> {
  let overview: OverviewEdge | null = null;
  const api = await measuredApi({
    app: { security: { adminToken: ADMIN_TOKEN, allowedOrigins: [] } },
    routes: (measuring) => [(overview ??= createOverview(measuring.sampler)).routes],
  });
  const body = { name: "orders", partitions: 1 };
  await api.ask("POST", "/api/topics", { body, headers: ADMIN });
  await run(api, overview!);
  overview!.close();
  await api.close();
}

async function publish(api: MeasuredApi, count: number): Promise<void> {
  const messages = Array.from({ length: count }, (_, value) => ({ value }));
  await api.ask("POST", "/api/messages:publish", {
    body: { topic: "orders", messages },
    headers: ADMIN,
  });
}

/** Events of one watcher. */
class Events {
  #text = "";
  readonly #reader: ReadableStreamDefaultReader<string>;

  constructor(response: Response) {
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "text/event-stream");
    this.#reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Null at the end. */
  async next(): Promise<{ event: string; data: Record<string, unknown> } | null> {
    for (;;) {
      const end = this.#text.indexOf("\n\n");
      if (end >= 0) {
        const [event, data] = this.#text.slice(0, end).split("\n");
        this.#text = this.#text.slice(end + 2);
        assert.match(event!, /^event: (overview|sample)$/);
        assert.match(data!, /^data: /);
        return { event: event!.slice(7), data: JSON.parse(data!.slice(6)) };
      }
      const { done, value } = await this.#reader.read();
      if (done) return null;
      this.#text += value;
    }
  }

  leave(): Promise<void> {
    return this.#reader.cancel();
  }
}

async function watch(api: MeasuredApi, token = ADMIN_TOKEN): Promise<Events> {
  const headers = { authorization: `Bearer ${token}` };
  return new Events(await api.app.request("/api/overview:stream", { headers }));
}

Deno.test("an overview tells rates of the last second and the points before it", () =>
  withOverview(async (api) => {
    assert.equal((await api.ask("GET", "/api/overview", { headers: ADMIN })).body.now, null);
    await api.second();
    await publish(api, 8);
    await api.second();
    const { body } = await api.ask("GET", "/api/overview", { headers: ADMIN });
    assert.equal(body.now.point.publishedMessagesPerSecond, 8);
    assert.equal(body.now.ready, true);
    const rates = body.history.map(
      (point: ReturnType<typeof pointOf>) => point.publishedMessagesPerSecond,
    );
    assert.deepEqual(rates, [0, 8]);
    assert.deepEqual(body.now.problems, []);
  }));

Deno.test("a watcher gets the overview first and then each sample", () =>
  withOverview(async (api) => {
    await api.second();
    const events = await watch(api);
    const first = await events.next();
    assert.equal(first!.event, "overview");
    assert.equal(overviewSchema.parse(first!.data).history.length, 1);
    await publish(api, 5);
    await api.second();
    const sample = await events.next();
    assert.equal(sample!.event, "sample");
    const { point } = sample!.data as { point: { publishedMessagesPerSecond: number } };
    assert.equal(point.publishedMessagesPerSecond, 5);
    await events.leave();
  }));

Deno.test("a watcher that does not read misses samples, and holds up nobody", () =>
  withOverview(async (api) => {
    const slow = await watch(api);
    const quick = await watch(api);
    let heard = 0;
    for (let second = 0; second < 60; second++) {
      await api.second();
      if (second === 0) await quick.next();
      await quick.next();
      heard++;
    }
    assert.equal(heard, 60);
    let kept = 0;
    const late = (async () => {
      while (await slow.next() !== null) kept++;
    })();
    await api.second();
    await slow.leave();
    await late;
    assert.ok(kept < 10, `${kept} events were kept for one that does not read`);
    await quick.leave();
  }));

Deno.test("watching ends when the key is deleted", () =>
  withOverview(async (api) => {
    const { body: key } = await api.ask("POST", "/api/keys", {
      body: { principal: "ops" },
      headers: ADMIN,
    });
    const acl = {
      principal: "ops",
      resource: "cluster",
      pattern: "*",
      patternType: "literal",
      operation: "describe",
      effect: "allow",
    };
    const { body: rule } = await api.ask("POST", "/api/acls", { body: acl, headers: ADMIN });
    const events = await watch(api, key.key);
    await events.next();
    await api.second();
    assert.equal((await events.next())!.event, "sample");
    await api.ask("DELETE", `/api/acls/${rule.aclId}`, { headers: ADMIN });
    await api.second();
    assert.equal(await events.next(), null, "the right has ended");
    await api.ask("POST", "/api/acls", { body: acl, headers: ADMIN });
    const again = await watch(api, key.key);
    await again.next();
    await api.ask("DELETE", `/api/keys/${key.keyId}`, { headers: ADMIN });
    await api.second();
    assert.equal(await again.next(), null, "the credential has ended");
  }));

/** Of one that may see the cluster and nothing else. */
async function opsKey(api: MeasuredApi): Promise<string> {
  const body = { principal: "ops" };
  const { body: { key } } = await api.ask("POST", "/api/keys", { body, headers: ADMIN });
  await allow(api.broker, "ops", [["cluster", "*", "describe"]]);
  return key;
}

Deno.test("watchers are bounded, make room when they go, and end with the broker", () =>
  withOverview(async (api, overview) => {
    const everybody = await opsKey(api);
    const own: Events[] = [];
    for (let count = 0; count < 8; count++) own.push(await watch(api, everybody));
    const ninth = await api.ask("GET", "/api/overview:stream", {
      headers: { authorization: `Bearer ${everybody}` },
    });
    assert.equal(ninth.body.code, "OVERLOADED");
    await own.pop()!.leave();
    own.push(await watch(api, everybody));
    for (const events of own) await events.leave();
    const all: Events[] = [];
    for (let count = 0; count < 80; count++) all.push(await watch(api));
    const kept = await api.ask("GET", "/api/overview:stream", {
      headers: { authorization: `Bearer ${everybody}` },
    });
    assert.equal(kept.body.code, "OVERLOADED", "the last places are the administrators'");
    for (let count = 80; count < 100; count++) all.push(await watch(api));
    const ask = () => api.ask("GET", "/api/overview:stream", { headers: ADMIN });
    assert.equal((await ask()).body.code, "OVERLOADED");
    await all.pop()!.leave();
    all.push(await watch(api));
    overview.close();
    for (const events of all) {
      await events.next();
      assert.equal(await events.next(), null);
    }
    assert.equal((await ask()).body.code, "SHUTTING_DOWN");
  }));

Deno.test("trends end with the newest lag, and have a value for groups that were not there", () => {
  const group = (name: string, totalLag: number): GroupSample => (
    { group: name, state: "stable", members: 1, totalLag, stalledLag: 0, maxLagSeconds: 0 }
  );
  const history = Array.from(
    { length: 25 },
    (_, n) =>
      ({ groups: n < 10 ? [group("a", n)] : [group("a", n), group("b", 2 * n)] }) as Pick<
        Sample,
        "groups"
      >,
  );
  assert.deepEqual(trendsOf(history), { a: [4, 14, 24], b: [0, 28, 48] });
  assert.deepEqual(trendsOf([]), {});
});

Deno.test("trends of partitions end with the newest lag", () => {
  const lag = (partition: number, lag: number) => (
    { group: "a", topic: "t", partition, lag, lagSeconds: 0, status: "ok" as const }
  );
  const history = Array.from({ length: 12 }, (_, n) => ({
    lags: n < 5 ? [lag(0, n)] : [lag(1, 2 * n), lag(0, n)],
  }));
  const at = { group: "a", topic: "t" };
  assert.deepEqual(lagTrendsOf(history), [
    { ...at, partition: 1, values: [22] },
    { ...at, partition: 0, values: [1, 11] },
  ]);
  assert.deepEqual(lagTrendsOf([]), []);
});

Deno.test("a group in trouble is told even where fifty others lag more", () =>
  withOverview(async (api) => {
    const sample = await api.second();
    const groups = Array.from({ length: 60 }, (_, n): GroupSample => {
      const trouble = n === 59 ? { kind: "lagging", since: 1, why: "slow" } as const : null;
      const group = { group: `g${n}`, state: "stable", members: 1, totalLag: 100 - n };
      return { ...group, stalledLag: 0, maxLagSeconds: 0, trouble };
    });
    const told = nowOf({ ...sample, groups }).groups;
    assert.equal(told.length, 50);
    assert.deepEqual(told.slice(-2).map(({ group }) => group), ["g48", "g59"]);
  }));
