// Owns proof that nobody's groups keep those of others from being watched.
// Refuses to own what lag is. Invariant: what is not known is told as not known, never as well.
import assert from "node:assert/strict";
import fc from "fast-check";
import { sharedAmongTenants } from "../actors/measurement/fair_share.ts";
import type { LagSample } from "../actors/measurement/types.ts";
import { MAX_LIVE_ALERTS_PER_THRESHOLD } from "../actors/threshold/types.ts";
import { nowOf, nowSchema } from "../api/overview/overview.ts";
import { LagWatch } from "../ops/measurement/lag_watch.ts";
import { Judged } from "./support/judged_threshold.ts";
import { measuredApi } from "./support/measured_api.ts";
import { lagOf } from "./support/sample_run.ts";

Deno.test("places are shared in turns, and what stays keeps its order", () => {
  const of = (tenant: string | undefined, count: number) =>
    Array.from({ length: count }, (_, n) => ({ tenant, n }));
  const all = [...of("evil", 100), ...of("acme", 3), ...of(undefined, 2)];
  const shared = sharedAmongTenants(all, 10);
  assert.deepEqual(shared.map(({ tenant, n }) => `${tenant} ${n}`), [
    ...["evil 0", "evil 1", "evil 2", "evil 3", "evil 4"],
    ...["acme 0", "acme 1", "acme 2", "undefined 0", "undefined 1"],
  ]);
  assert.equal(sharedAmongTenants(all, all.length), all);
});

Deno.test("of shares, all places are taken, and nobody has two fewer than somebody who has more than it wants", () => {
  const tenants = fc.array(fc.constantFrom("a", "b", "c", undefined), { maxLength: 40 });
  fc.assert(fc.property(tenants, fc.nat(45), (names, max) => {
    const all = names.map((tenant, index) => ({ tenant, index }));
    const shared = sharedAmongTenants(all, max);
    assert.equal(shared.length, Math.min(max, all.length));
    assert.deepEqual(shared, all.filter((one) => shared.includes(one)));
    const count = (list: readonly { tenant: string | undefined }[], name: string | undefined) =>
      list.filter(({ tenant }) => tenant === name).length;
    for (const poor of new Set(names)) {
      if (count(shared, poor) === count(all, poor)) continue;
      for (const rich of new Set(names)) {
        assert.ok(count(shared, rich) - count(shared, poor) <= 1);
      }
    }
  }));
});

/** One group each, of `tenant`. */
function crowd(tenant: string, count: number, lag: number): LagSample[] {
  return Array.from({ length: count }, (_, n) => (
    { ...lagOf(lag, { group: `${tenant}.${n}` }).lags![0]!, tenant }
  ));
}

Deno.test("a group that fired stays above its limit while three hundred of another tenant lag more, and is shown", async () => {
  const judged = new Judged("consumer-lag");
  const [victim] = crowd("acme", 1, 600_000);
  await judged.run.feed(1, { lags: [victim!] });
  assert.equal(judged.status, "firing");
  const lags = [...crowd("evil", 300, 900_000), victim!];
  await judged.run.feed(90, { lags: lags.slice(0, 200), judgedLags: lags });
  assert.equal(judged.alert!.resource.name, "acme.0");
  assert.equal(judged.status, "firing");
});

Deno.test("what is not known to be well stays as it is; it is resolved once all is known", async () => {
  for (const name of ["consumer-lag", "stalled-consumer"] as const) {
    const judged = new Judged(name, { forSeconds: 0 });
    const lags = lagOf(600_000, { status: "stalled" }).lags!;
    await judged.run.feed(1, { lags, judgedLags: lags });
    assert.equal(judged.status, "firing");
    await judged.run.feed(120, { judgedLags: [], unjudgedLags: 1 });
    assert.equal(judged.status, "firing", name);
    await judged.run.feed(61, { judgedLags: [], unjudgedLags: 0 });
    assert.equal(judged.status, "resolved", name);
  }
});

Deno.test("a tenant that has all places for alerts leaves the last ones to others, a few each", async () => {
  const judged = new Judged("consumer-lag");
  const evil = crowd("evil", MAX_LIVE_ALERTS_PER_THRESHOLD + 40, 900_000);
  await judged.run.feed(1, { judgedLags: evil });
  assert.equal(judged.state.live.size, MAX_LIVE_ALERTS_PER_THRESHOLD);
  const acme = crowd("acme", 8, 600_000);
  await judged.run.feed(1, { judgedLags: [...evil, ...acme] });
  const names = [...judged.state.live.values()].map(({ alert }) => alert.resource.name);
  assert.deepEqual(names.slice(MAX_LIVE_ALERTS_PER_THRESHOLD), [
    ...["acme.0", "acme.1", "acme.2", "acme.3", "acme.4"],
  ]);
  assert.equal(judged.unfollowed, 43);
});

/** A broker with one topic of three messages, and groups that read it. */
async function withGroups(
  groups: readonly (readonly [name: string, tenant: string | null, offset: number])[],
  run: (watch: (maxGroups: number) => LagWatch, api: Api) => Promise<void>,
): Promise<void> {
  const api = await measuredApi();
  await api.ask("POST", "/api/topics", { body: { name: "orders", partitions: 1 } });
  const messages = [1, 2, 3].map((value) => ({ value, partition: 0 }));
  await api.ask("POST", "/api/messages:publish", { body: { topic: "orders", messages } });
  for (const [group, tenant, offset] of groups) {
    const asker = { principal: "p", isAdministrator: tenant === null, tenant: tenant ?? "default" };
    await api.broker.group({
      type: "CommitOffsets",
      group,
      asker,
      offsets: [{ topic: "orders", partition: 0, offset, endOffset: 3 }],
      allowRewind: false,
      principal: "p",
    });
  }
  const options = { broker: api.broker, clock: api.time, maxDecompressedBytes: 1_048_576 };
  await run((maxGroups) => new LagWatch({ ...options, maxGroups }), api);
  await api.close();
}
type Api = Awaited<ReturnType<typeof measuredApi>>;

Deno.test("every group has its turn, however many there are; those that have read all make room", () =>
  withGroups([["a", null, 3], ["b", null, 3], ["c", null, 3], ["d", null, 1]], async (watch) => {
    const lags = watch(2);
    assert.equal(lags.unknownCount, 0);
    await lags.look();
    assert.deepEqual(lags.judged().judgedLags.map(({ group, lag }) => [group, lag]), [["d", 2]]);
    assert.deepEqual([lags.groupCount, lags.unknownCount, lags.judged().unjudgedLags], [4, 0, 0]);
  }));

Deno.test("groups that are behind and have no room are counted as not known, and tenants share the room", () =>
  withGroups(
    [["a1", "evil", 0], ["a2", "evil", 0], ["a3", "evil", 0], ["b", "acme", 2]],
    async (watch) => {
      const lags = watch(2);
      await lags.look();
      const { judgedLags, unjudgedLags } = lags.judged();
      assert.deepEqual(judgedLags.map(({ tenant }) => tenant), ["evil", "acme"]);
      assert.equal(unjudgedLags, 2);
      assert.equal(lags.judged(1).unjudgedLags, 3);
    },
  ));

Deno.test("a user who lists groups is not told whose they are", () =>
  withGroups([["a", "acme", 3]], async (_watch, api) => {
    const { body } = await api.ask("GET", "/api/groups");
    assert.deepEqual(Object.keys(body.groups[0]).sort(), [
      ...["generation", "groupId", "members", "state"],
    ]);
    await api.second();
    assert.equal((await api.second()).groups[0]!.tenant, "acme");
  }));

Deno.test("an overview has groups and lags of every tenant, and tells nobody whose they are", () =>
  withGroups([["a", null, 3]], async (_watch, api) => {
    const lags = [...crowd("evil", 90, 900_000), ...crowd("acme", 1, 600_000)];
    const trouble = { kind: "lagging", since: 1, why: "slow" } as const;
    const groups = lags.map(({ group, tenant, lag }) => (
      { group, tenant: tenant!, state: "stable", members: 1, totalLag: lag, stalledLag: 0 }
    )).map((one) => ({ ...one, maxLagSeconds: 1, trouble }));
    const now = nowSchema.parse(nowOf({ ...await api.second(), lags, groups }));
    assert.deepEqual([now.lags.length, now.groups.length], [50, 50]);
    assert.deepEqual([now.lags.at(-1)!.group, now.groups.at(-1)!.group], ["acme.0", "acme.0"]);
  }));
