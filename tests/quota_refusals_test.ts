// Owns tests of when a refusal for want of quota is told.
// Refuses to own what is refused (quota_api_test.ts).
// Invariant: time is virtual; a refusal that is told late is waited for by moving it.
import assert from "node:assert/strict";
import { publish, quotaDoor } from "./support/quota_door.ts";
import { settle } from "./support/virtual_time.ts";

Deno.test("refusals that wait long are told late, by half a second to one and a half, not all at once, and say what is left", async () => {
  const api = await quotaDoor({ late: true });
  const headers = await api.member("team-a");
  await api.admin("PUT", "/api/quotas/team-a", { publishMessagesPerSecond: 10 });
  assert.equal((await publish(api, 35, headers)).status, 200);
  const toldAt: number[] = [];
  const startedAt = api.time.monotonic();
  const refused = Array.from({ length: 20 }, async () => {
    const answer = await publish(api, 1, headers);
    const lateMs = api.time.monotonic() - startedAt;
    toldAt.push(lateMs);
    const { retryAfterMs } = answer.body;
    assert.equal(answer.status, 429);
    assert.ok(retryAfterMs >= 2_600 - lateMs, `${retryAfterMs} ms`);
    assert.equal(answer.headers.get("retry-after"), String(Math.ceil(retryAfterMs / 1_000)));
  });
  await settle();
  await api.time.advance(499);
  await settle();
  assert.equal(toldAt.length, 0);
  const { usage } = (await api.admin("GET", "/api/quotas/team-a")).body;
  assert.deepEqual([usage.inFlightBytes, usage.refused], [0, 20]);
  for (let ms = 499; ms < 1_500; ms++) {
    await api.time.advance(1);
    await settle();
  }
  await Promise.all(refused);
  assert.equal(new Set(toldAt).size, 20);
  assert.ok(Math.max(...toldAt) - Math.min(...toldAt) > 800);
  await api.close();
});

Deno.test("refusals are told one after the other, each when there is room for what was refused", async () => {
  const api = await quotaDoor({ late: true });
  const headers = await api.member("team-a");
  await api.admin("PUT", "/api/quotas/team-a", { publishMessagesPerSecond: 10 });
  // What remains is not enough for any of those that follow.
  assert.equal((await publish(api, 9, headers)).status, 200);
  const startedAt = api.time.monotonic();
  const toldAt: number[] = [];
  const asking = Array.from({ length: 4 }, async () => {
    const refused = await publish(api, 2, headers);
    toldAt.push(api.time.monotonic() - startedAt);
    assert.deepEqual([refused.status, refused.body.retryAfterMs], [429, 0]);
    assert.equal((await publish(api, 2, headers)).status, 200);
  });
  for (let ms = 0; ms < 900; ms++) {
    await settle();
    await api.time.advance(1);
  }
  await Promise.all(asking);
  assert.deepEqual(toldAt, [100, 300, 500, 700]);
  await api.close();
});

Deno.test("a caller that goes away while its refusal is held is held no longer", async () => {
  const api = await quotaDoor({ late: true });
  const headers = await api.member("team-a");
  await api.admin("PUT", "/api/quotas/team-a", { requestsPerSecond: 1 });
  await api.ask("GET", "/api/topics", { headers });
  const gone = new AbortController();
  const request = new Request("http://127.0.0.1:8080/api/topics", { headers, signal: gone.signal });
  const timers = api.time.pendingTimers;
  const answer = Promise.resolve(api.app.fetch(request));
  await settle();
  assert.equal(api.time.pendingTimers, timers + 1);
  gone.abort();
  assert.equal((await answer).status, 429);
  assert.equal(api.time.pendingTimers, timers);
  await api.close();
});
