// Owns the tests of what waits for a webhook: what is told together, in which order, and what is dropped.
// Refuses to own sending it (alerting_webhooks_test.ts).
import assert from "node:assert/strict";
import {
  type Delivery,
  GROUP_INTERVAL_MS,
  MAX_ATTEMPTS,
  MAX_DELIVERED_ALERTS,
  MAX_WAITING_DELIVERIES,
  WebhookQueue,
} from "../ops/alerting/webhook_queue.ts";
import { newsOf } from "./support/alert_news.ts";

const shown = (delivery: Delivery | null) =>
  delivery === null ? null : [delivery.kind, ...delivery.alerts.map(({ alertId }) => alertId)];

Deno.test("what befalls a group soon after it was told is told in one delivery, in its order", () => {
  const queue = new WebhookQueue();
  queue.add(newsOf("fired", ["a"]), 0);
  assert.deepEqual(shown(queue.take(0)), ["fired", "a"]);
  queue.add(newsOf("fired", ["b"]), 5);
  assert.equal(queue.take(5), null, "one at a time");
  queue.settle(10);
  queue.add(newsOf("fired", ["c", "b"]), 20);
  queue.add(newsOf("resolved", ["a"]), 30);
  queue.add(newsOf("fired", ["d"]), 40);
  queue.add(newsOf("fired", ["x"], "mail"), 50);
  assert.deepEqual(shown(queue.take(50)), ["fired", "x"], "another group does not wait for it");
  queue.settle(60);
  assert.equal(queue.take(4 + GROUP_INTERVAL_MS), null);
  assert.deepEqual(shown(queue.take(5 + GROUP_INTERVAL_MS)), ["fired", "c", "b"]);
  queue.settle(10 + GROUP_INTERVAL_MS);
  const later = 40 + 2 * GROUP_INTERVAL_MS;
  assert.deepEqual(shown(queue.take(later)), ["resolved", "a"]);
  queue.settle(later);
  assert.deepEqual(shown(queue.take(later)), ["fired", "d"]);
});

Deno.test("a delivery that failed is tried again later and later, before all others, and given up in the end", () => {
  const queue = new WebhookQueue();
  queue.add(newsOf("fired", ["a"]), 0);
  queue.add(newsOf("fired", ["x"], "mail"), 0);
  let now = 0;
  const pauses: number[] = [];
  for (let attempt = 1; attempt < MAX_ATTEMPTS; attempt++) {
    assert.deepEqual(shown(queue.take(now)), ["fired", "a"]);
    assert.ok(queue.retry(now, 1));
    assert.equal(queue.take(now), null);
    pauses.push(queue.dueAt! - now);
    now = queue.dueAt!;
  }
  assert.deepEqual(pauses.slice(0, 4), [1_000, 2_000, 4_000, 8_000]);
  assert.equal(Math.max(...pauses), 300_000);
  assert.ok(now > 3_600_000);
  queue.take(now);
  assert.equal(queue.retry(now, 1), false);
  assert.deepEqual(shown(queue.take(now)), ["fired", "x"]);
});

Deno.test("a queue keeps the newest of what waits, and a delivery holds so many alerts at most", () => {
  const queue = new WebhookQueue();
  for (let i = 0; i < MAX_WAITING_DELIVERIES + 3; i++) {
    queue.add(newsOf("fired", ["a"], `g${i}`), 0);
  }
  assert.equal(queue.size, MAX_WAITING_DELIVERIES);
  assert.equal(queue.takeDropped(), 3);
  assert.equal(queue.take(0)!.groupKey, "consumer-lag/group:g3");
  const large = new WebhookQueue();
  large.add(
    newsOf("fired", Array.from({ length: MAX_DELIVERED_ALERTS + 1 }, (_, i) => `a${i}`)),
    0,
  );
  assert.equal(large.take(0)!.alerts.length, MAX_DELIVERED_ALERTS);
  large.settle(0);
  assert.equal(large.take(0)!.alerts.length, 1);
});
