// Owns the tests of how news of alerts reach webhooks, and of the look after the audit log, in virtual time.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import type { AuditLog, AuditVerification } from "../actors/audit/types.ts";
import type { Sample, SampleListener } from "../actors/measurement/types.ts";
import type { Alert } from "../actors/threshold/types.ts";
import { startAlerting } from "../ops/alerting/alerting.ts";
import { AuditWatch } from "../ops/alerting/audit_watch.ts";
import { deliveryHeaders, signingKey } from "../ops/alerting/signature.ts";
import { WebhookSender } from "../ops/alerting/webhook_sender.ts";
import type { GuardedFetch, OutgoingCall } from "../ops/outgoing/guarded_fetch.ts";
import { guardedFetch } from "../ops/outgoing/guarded_fetch.ts";
import { OutgoingRules } from "../ops/outgoing/rules.ts";
import { alertOf, newsOf } from "./support/alert_news.ts";
import { memoryBrokerStores } from "./support/memory_broker.ts";
import { lagOf, sampleOf, SampleRun } from "./support/sample_run.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

/** What was heard so far, and a wait for more of it: hashing takes a thread of its own, which no count of turns waits for. */
class Heard<T> {
  readonly all: T[] = [];
  #news = Promise.withResolvers<void>();

  add(item: T): void {
    this.all.push(item);
    this.#news.resolve();
    this.#news = Promise.withResolvers();
  }

  async until(count: number): Promise<void> {
    while (this.all.length < count) await this.#news.promise;
  }
}

function senderScene(
  answer: (call: OutgoingCall, nth: number) => Promise<{ status: number }>,
  options: { readonly url?: string; readonly fetch?: GuardedFetch } = {},
) {
  const time = new VirtualClock();
  const calls = new Heard<OutgoingCall>();
  const reports = new Heard<string>();
  const fetch: GuardedFetch = async (call) => {
    calls.add(call);
    return { ...await answer(call, calls.all.length), body: new Uint8Array(), isCut: false };
  };
  const sender = new WebhookSender({
    url: "https://hooks.example.com/secret-token",
    fetch,
    ...options,
    secret: null,
    nodeId: "1",
    clusterId: "c",
    clock: time,
    timers: time,
    randomness: seededRandomness(1),
    report: ({ message }) => reports.add(message),
  });
  return { time, calls, reports, sender };
}

const idOf = ({ headers }: OutgoingCall) => headers!["webhook-id"];

function kindOf({ body }: OutgoingCall): string {
  const { kind, alerts } = JSON.parse(String(body));
  return `${kind} of ${alerts.map(({ alertId }: Alert) => alertId)}`;
}

Deno.test("a webhook that cannot just now is asked again under the same id, and its path is never logged", async () => {
  const scene = senderScene((_call, nth) =>
    nth === 1
      ? Promise.reject(new Error("connection refused"))
      : Promise.resolve({ status: nth === 2 ? 503 : nth === 3 ? 429 : 200 })
  );
  scene.sender.tell(newsOf("fired", ["a"]));
  for (let nth = 1; nth < 4; nth++) {
    await scene.calls.until(nth);
    await settle();
    assert.equal(scene.time.pendingTimers, 1);
    await scene.time.advance(scene.time.nextTimerInMs!);
  }
  await scene.calls.until(4);
  await settle();
  assert.equal(scene.time.pendingTimers, 0);
  assert.equal(scene.calls.all.length, 4);
  assert.equal(new Set(scene.calls.all.map(idOf)).size, 1);
  assert.equal(scene.reports.all.length, 1);
  assert.ok(!scene.reports.all.join().includes("secret-token"));
  await scene.sender.stop();
});

Deno.test("a webhook that refuses is not asked again, and the next news go on", async () => {
  const scene = senderScene((_call, nth) => Promise.resolve({ status: nth === 1 ? 404 : 200 }));
  scene.sender.tell(newsOf("fired", ["a"]));
  scene.sender.tell(newsOf("fired", ["x"], "mail"));
  await scene.calls.until(2);
  await settle();
  assert.equal(scene.time.pendingTimers, 0);
  assert.deepEqual(scene.calls.all.map(kindOf), ["fired of a", "fired of x"]);
  assert.match(scene.reports.all.join(), /was not taken: status 404/);
  await scene.sender.stop();
});

Deno.test("the same news have the same id, others have another", async () => {
  const ids: string[] = [];
  for (
    const news of [
      newsOf("fired", ["a"]),
      newsOf("fired", ["a"]),
      newsOf("resolved", ["a"]),
      newsOf("fired", ["b"]),
      { ...newsOf("fired", ["a"]), alerts: [{ ...alertOf("a"), escalations: 1 }] },
    ]
  ) {
    const { calls, sender } = senderScene(() => Promise.resolve({ status: 200 }));
    sender.tell(news);
    await calls.until(1);
    await sender.stop();
    ids.push(idOf(calls.all[0]!)!);
  }
  assert.equal(ids[0], ids[1]);
  assert.equal(new Set(ids).size, 4);
});

Deno.test("a delivery is signed as Standard Webhooks say, with a secret as text or as base64", async () => {
  const delivery = { id: "msg_1", at: 1_614_265_330_999, body: '{"test": 2432232314}' };
  const signed = `msg_1.1614265330.${delivery.body}`;
  const raw = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]);
  for (
    const [secret, key] of [["some text as secret", "some text as secret"], [
      `whsec_${raw.toBase64()}`,
      raw,
    ]] as const
  ) {
    const headers = await deliveryHeaders(delivery, await signingKey(secret));
    const mac = createHmac("sha256", key).update(signed).digest("base64");
    assert.equal(headers["webhook-signature"], `v1,${mac}`);
    assert.equal(headers["webhook-timestamp"], "1614265330");
  }
  assert.equal("webhook-signature" in await deliveryHeaders(delivery, null), false);
  await assert.rejects(signingKey("whsec_not base64"));
});

Deno.test("a webhook on a host that is not allowed is never called and not tried again", async () => {
  const { time, reports, sender } = senderScene(() => Promise.resolve({ status: 200 }), {
    url: "http://127.0.0.1:9/hook",
    fetch: guardedFetch({ rules: new OutgoingRules(["hooks.example.com"]) }),
  });
  sender.tell(newsOf("fired", ["a"]));
  await reports.until(1);
  await settle();
  assert.match(reports.all.join(), /was not taken: host 127.0.0.1 port 9 is not on the list/);
  assert.equal(time.pendingTimers, 0);
  await sender.stop();
});

Deno.test("the audit log is verified again and again, sooner once it was found broken", async () => {
  const time = new VirtualClock();
  let looks = 0;
  let answer: () => Promise<Partial<AuditVerification>> = () => Promise.resolve({ intact: true });
  const audit = { verify: () => (looks++, answer()) } as unknown as AuditLog;
  const watch = new AuditWatch({ audit, timers: time, everyMs: 3_600_000 });
  assert.equal(watch.found, null);
  await time.advance(30_000);
  assert.deepEqual(watch.found, { fault: null });
  await time.advance(3_599_999);
  assert.equal(looks, 1);
  const firstFault = { sequence: 7, reason: "it was altered" };
  answer = () => Promise.resolve({ intact: false, firstFault });
  await time.advance(1);
  assert.deepEqual(watch.found, { fault: "entry 7: it was altered" });
  answer = () => Promise.reject(new Error("gone"));
  await time.advance(60_000);
  assert.match(String((watch as AuditWatch).found?.fault), /^it cannot be verified/);
  answer = () => Promise.resolve({ intact: true });
  await time.advance(60_000);
  assert.deepEqual(watch.found, { fault: null });
  await watch.stop();
  assert.equal(time.pendingTimers, 0);
});

Deno.test("samples are judged and news go to every webhook, escalations to those of the escalation too", async () => {
  const { time, open } = memoryBrokerStores();
  const broker = await open();
  const listeners = new Set<SampleListener>();
  const calls = new Heard<[string, string]>();
  const lines: string[] = [];
  const alerting = startAlerting({
    broker,
    samples: {
      latest: () => null,
      history: () => [],
      onSample: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    clock: time,
    timers: time,
    randomness: seededRandomness(1),
    webhooks: ["https://a.example.com/"],
    escalationWebhooks: ["https://b.example.com/"],
    secret: null,
    fetch: ({ url, body }) => {
      calls.add([new URL(url).host, JSON.parse(String(body)).kind]);
      return Promise.resolve({ status: 200, body: new Uint8Array(), isCut: false });
    },
    auditVerifyMs: 0,
    report: ({ message }) => lines.push(message),
  });
  const run = new SampleRun((sample: Sample) => listeners.forEach((hear) => hear(sample)), time);
  await run.feed(302, lagOf(600_000));
  await calls.until(3);
  assert.deepEqual(calls.all.toSorted(), [
    ["a.example.com", "escalated"],
    ["a.example.com", "fired"],
    ["b.example.com", "escalated"],
  ]);
  assert.match(
    lines[0]!,
    /^alert fired: P1 consumer-lag of group billing \(topic orders, partition 0\), 600000 messages, limit 500000: lagging, 12 s behind \[/,
  );
  // What cannot be judged is said once, and the next sample is judged.
  const broken = sampleOf({ at: 1, monotonic: 1e9, lags: null as unknown as [] });
  listeners.forEach((hear) => hear(broken));
  assert.match(lines.at(-1)!, /no alert can be judged/);
  await alerting.stop();
  assert.equal(listeners.size, 0);
  await broker.close();
});
