// Owns tests of what alerting logs of alerts. Refuses to own webhooks (alerting_webhooks_test.ts).
// Invariant: a real broker in memory, judged by the lines alone.
import assert from "node:assert/strict";
import type { Sample } from "../actors/measurement/types.ts";
import { startAlerting } from "../ops/alerting/alerting.ts";
import { OutgoingRules } from "../ops/outgoing/rules.ts";
import { guardedFetch } from "../ops/outgoing/guarded_fetch.ts";
import { memoryBrokerStores } from "./support/memory_broker.ts";
import { lagOf, SampleRun } from "./support/sample_run.ts";
import { VirtualClock } from "./support/virtual_time.ts";

Deno.test("the log tells a silence from its end, and what an alert was about once it is resolved", async () => {
  const time = new VirtualClock();
  const { open, randomness } = memoryBrokerStores({ time });
  const broker = await open();
  const listeners: ((sample: Sample) => void)[] = [];
  const lines: string[] = [];
  const alerting = startAlerting({
    broker,
    samples: {
      latest: () => null,
      history: () => [],
      onSample: (listener) => {
        listeners.push(listener);
        return () => {};
      },
    },
    clock: time,
    timers: time,
    randomness,
    webhooks: [],
    escalationWebhooks: [],
    secret: null,
    fetch: guardedFetch({ rules: new OutgoingRules([]) }),
    auditVerifyMs: 0,
    report: ({ message }) => lines.push(message),
  });
  const run = new SampleRun((sample) => listeners.forEach((listener) => listener(sample)), time);
  await run.feed(1, lagOf(600_000));
  const { alertId, detail } = broker.alerts.list()[0]!;
  const order = { alertId, principal: "ann" };
  await broker.alerts.silence({ ...order, until: time.now() + 60_000 });
  await broker.alerts.silence({ ...order, until: time.now() });
  await run.feed(600, { lags: [] });
  const words = lines.filter((line) => line.startsWith("alert "));
  assert.deepEqual(words.map((line) => line.slice(0, line.indexOf(":"))), [
    "alert fired",
    "alert silenced",
    "alert silence ended",
    "alert resolved",
  ]);
  assert.match(words[0]!, /: P1 consumer-lag of group .*: lagging, \d+ s behind \[/);
  assert.match(words[3]!, /: was: lagging, \d+ s behind \[/);
  assert.equal(broker.alerts.find(alertId)!.detail, `was: ${detail}`);
  await alerting.stop();
  await broker.close();
});
