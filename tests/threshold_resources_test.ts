// Owns tests of what an alert is about: its resource and what is said of it.
// Refuses to own when it fires and ends (threshold_limits_test.ts).
import assert from "node:assert/strict";
import { MAX_LIVE_ALERTS_PER_THRESHOLD } from "../actors/threshold/types.ts";
import { Judged, MEBIBYTE, share } from "./support/judged_threshold.ts";
import { lagOf } from "./support/sample_run.ts";

Deno.test("every resource has an alert of its own, with what the value does not say", async () => {
  const judged = new Judged("consumer-lag");
  const lags = [1, 2, 3].flatMap((partition) => [
    ...lagOf(600_000, { partition }).lags!,
    ...lagOf(700_000, { partition, group: "mail" }).lags!,
  ]);
  await judged.run.feed(1, { lags });
  assert.equal(judged.state.live.size, 6);
  const groups = new Set([...judged.state.live.values()].map(({ alert }) => alert.groupKey));
  assert.deepEqual([...groups], ["consumer-lag/group:billing", "consumer-lag/group:mail"]);
  assert.deepEqual(judged.alert!.resource, {
    type: "group",
    name: "billing",
    labels: { group: "billing", topic: "orders", partition: "1" },
  });
  assert.equal(judged.alert!.detail, "lagging, 12 s behind");
});

Deno.test("a hot partition is named with its key, only where there is traffic, and never one of the broker's own", async () => {
  const judged = new Judged("hot-partition", { forSeconds: 0 });
  await judged.run.feed(1, {
    partitions: [{ topic: "orders", partition: 3, bytes: MEBIBYTE - 1, share: 1 }],
  });
  await judged.run.feed(60, {
    partitions: [{ topic: "__groups", partition: 0, bytes: 8 * MEBIBYTE, share: 1 }],
  });
  assert.equal(judged.status, "none");
  const hot = new Judged("hot-partition", { forSeconds: 0 });
  await hot.run.feed(1, share(0.9));
  assert.equal(hot.status, "firing");
  assert.equal(hot.alert!.resource.name, "orders/3");
  assert.equal(hot.alert!.detail, "hot key k");
});

Deno.test("an audit log that was not looked at keeps its alert as it is", async () => {
  const judged = new Judged("audit-broken");
  await judged.run.feed(5);
  judged.signals = { audit: { fault: "entry 7 was altered" } };
  await judged.run.feed(1);
  assert.equal(judged.status, "firing");
  assert.equal(judged.alert!.detail, "entry 7 was altered");
  judged.signals = { audit: null };
  await judged.run.feed(120);
  assert.equal(judged.status, "firing");
  judged.signals = { audit: { fault: null } };
  await judged.run.feed(61);
  assert.equal(judged.status, "resolved");
});

Deno.test("quota breaches are counted for each tenant, slow syncs where there were any", async () => {
  const quota = new Judged("quota-breaches", { forSeconds: 0 });
  await quota.run.feed(50, { quotaBreaches: { acme: 2, other: 3 } });
  assert.deepEqual([...quota.state.live.values()].map(({ alert }) => alert.resource.name), [
    "other",
  ]);
  const disk = new Judged("disk-slow");
  await disk.run.feed(1, { syncLatencyMs: { p50: 1, p99: 501 } });
  await disk.run.feed(20);
  assert.equal(disk.status, "pending");
  await disk.run.feed(20);
  assert.equal(disk.status, "none");
});

Deno.test("no more resources are followed than is bounded, and those that are not are counted", async () => {
  const judged = new Judged("broker-problem");
  const problems = Array.from(
    { length: MAX_LIVE_ALERTS_PER_THRESHOLD + 7 },
    (_, partition) => `partition orders/${partition} is offline: opening`,
  );
  await judged.run.feed(20, { problems });
  assert.equal(judged.state.live.size, MAX_LIVE_ALERTS_PER_THRESHOLD);
  assert.equal(judged.unfollowed, 7);
});

Deno.test("groups that start at the same time are no rebalance storm; one that rebalances again and again is, and is named", async () => {
  const judged = new Judged("rebalance-rate");
  const groups = Array.from({ length: 20 }, (_, n) => ({ group: `g${n}`, rebalances: 6 }));
  await judged.run.feed(1, { rebalances: 120, rebalancesByGroup: groups });
  assert.equal(judged.status, "none");
  await judged.run.feed(1, {
    rebalances: 1,
    rebalancesByGroup: [{ group: "g7", rebalances: 1 }],
  });
  assert.equal(judged.status, "firing");
  assert.equal(judged.state.live.size, 1);
  const { resource, value, groupKey } = judged.alert!;
  assert.deepEqual(resource, { type: "group", name: "g7", labels: { group: "g7" } });
  assert.deepEqual([value, groupKey], [7, "rebalance-rate/group:g7"]);
});

Deno.test("dead letters and retries of the whole broker name the groups and topics with most of them in the window", async () => {
  const letters = new Judged("dead-letter-rate", { limit: 9, clearLimit: 9, windowSeconds: 10 });
  await letters.run.feed(1, { deadLetters: 9, deadLettersByPlace: { "old on orders": 9 } });
  await letters.run.feed(9);
  const places = { "billing on orders": 2, "mail on letters": 3 };
  await letters.run.feed(2, { deadLetters: 5, deadLettersByPlace: places });
  assert.equal(letters.alert!.value, 10);
  assert.equal(letters.alert!.detail, "mail on letters 6, billing on orders 4");
  const retries = new Judged("retry-rate", { limit: 5, forSeconds: 0 });
  const byPlace = Object.fromEntries([1, 2, 3, 4, 5, 6, 7].map((n) => [`g${n} on orders`, n]));
  await retries.run.feed(1, { retries: 28, retriesByPlace: byPlace });
  assert.equal(
    retries.alert!.detail,
    "g7 on orders 7, g6 on orders 6, g5 on orders 5, g4 on orders 4, g3 on orders 3 and 2 more",
  );
});
