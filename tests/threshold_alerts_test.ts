// Alerts of a whole broker in memory: what is written down, what outlives a restart, what happens while nothing can be written.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import type { LocalBroker } from "../actors/local_broker.ts";
import { LogJournal } from "../actors/runtime/log_journal.ts";
import { alertViews } from "../actors/threshold/alert_views.ts";
import { ALERTS_TOPIC } from "../actors/threshold/alerts.ts";
import { KNOWN_THRESHOLDS } from "../actors/threshold/defaults.ts";
import { type AlertEvent, upcastAlertEvent } from "../actors/threshold/events.ts";
import { evolveAlerts, NO_ALERTS } from "../actors/threshold/state.ts";
import type { AlertNews, RunbookOrder } from "../actors/threshold/types.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { FaultyLogStore } from "./support/faulty_logs.ts";
import { memoryBrokerStores } from "./support/memory_broker.ts";
import { lagOf, SampleRun } from "./support/sample_run.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

function world() {
  const time = new VirtualClock();
  const faults = new FaultyLogStore(new MemoryLogStore(time));
  const stores = memoryBrokerStores({ time, logs: faults });
  const news: AlertNews[] = [];
  const open = async (): Promise<{ broker: LocalBroker; run: SampleRun }> => {
    const broker = await stores.open();
    broker.alerts.onNews((one) => news.push(one));
    return { broker, run: new SampleRun((sample) => broker.alerts.observe(sample), time) };
  };
  return { ...stores, faults, news, open };
}

/** All of the journal of alerts. */
async function writtenBy(broker: LocalBroker): Promise<{ offset: number; event: AlertEvent }[]> {
  const written: { offset: number; event: AlertEvent }[] = [];
  const log = {
    append: () => Promise.reject(new Error("only read")),
    read: async (offset: number, maxBytes: number) =>
      (await broker.fetch({ topic: ALERTS_TOPIC, partition: 0 }, offset, { maxBytes })).batches,
    bounds: () => Promise.reject(new Error("only read")),
  };
  const bounds = { crc32c, maxReadBytes: 1_048_576, maxDecompressedBytes: 1_048_576 };
  await new LogJournal(log, bounds).replay(0, ({ value }, offset) => {
    const event = upcastAlertEvent(JSON.parse(new TextDecoder().decode(value)));
    written.push({ offset, event });
  });
  return written;
}

const told = (news: readonly AlertNews[]) => news.map(({ kind, alerts }) => [kind, alerts.length]);

Deno.test("what fired outlives a restart, with who took it, its silence and its execution, and is told again once", async () => {
  const { open, news, time } = world();
  const first = await open();
  first.broker.alerts.useRunbooks({ start: () => Promise.resolve({ executionId: "e1" }) });
  await first.run.feed(3, lagOf(600_000));
  const [alert] = first.broker.alerts.list();
  assert.equal(alert!.executionId, "e1");
  const { alertId } = alert!;
  await first.broker.alerts.acknowledge({ alertId, principal: "ann" });
  const before = first.broker.alerts.find(alertId)!;
  await first.broker.close();
  assert.deepEqual(told(news.splice(0)), [["fired", 1], ["acknowledged", 1]]);

  const second = await open();
  assert.deepEqual(second.broker.alerts.find(alertId), before);
  await second.run.feed(2, lagOf(600_000));
  assert.deepEqual(told(news.splice(0)), [["fired", 1]]);
  const until = time.now() + 3_600_000;
  await second.broker.alerts.silence({ alertId, principal: "bob", until });
  await second.run.feed(61, lagOf(0));
  assert.equal(second.broker.alerts.find(alertId)!.state, "resolved");
  await second.broker.close();

  const third = await open();
  const [resolved, ...others] = third.broker.alerts.list();
  assert.deepEqual(others, []);
  assert.equal(resolved!.state, "resolved");
  assert.equal(resolved!.acknowledgedBy, "ann");
  assert.equal(resolved!.silencedBy, "bob");
  await third.broker.close();
});

Deno.test("a pending alert is forgotten by a restart, and begins anew", async () => {
  const { open } = world();
  const first = await open();
  await first.run.feed(179, { replicationDelayMs: 9_000 });
  assert.equal(first.broker.alerts.list()[0]!.state, "pending");
  await first.broker.close();
  const second = await open();
  assert.deepEqual(second.broker.alerts.list(), []);
  await second.broker.close();
});

Deno.test("alerts of one group that fire at once are told together", async () => {
  const { open, news } = world();
  const { broker, run } = await open();
  const lags = [0, 1, 2].flatMap((partition) => [
    ...lagOf(600_000, { partition }).lags!,
    ...lagOf(600_000, { partition, group: "mail" }).lags!,
  ]);
  await run.feed(1, { lags });
  assert.deepEqual(news.map(({ groupKey, alerts }) => [groupKey, alerts.length]), [
    ["consumer-lag/group:billing", 3],
    ["consumer-lag/group:mail", 3],
  ]);
  await broker.close();
});

for (const fault of ["DISK_FULL", "STORAGE_FAILED"] as const) {
  Deno.test(`an alert fires and is told while its journal says ${fault}, and is written when that is over`, async () => {
    const { open, news, faults } = world();
    const first = await open();
    faults.nextFault = fault;
    await first.run.feed(1, lagOf(600_000));
    await settle();
    assert.deepEqual(told(news), [["fired", 1]]);
    const { alertId } = first.broker.alerts.list()[0]!;
    await first.run.feed(61, lagOf(0));
    await first.broker.close();
    const second = await open();
    assert.equal(second.broker.alerts.find(alertId)?.state, "resolved");
    await second.broker.close();
  });
}

Deno.test("a journal that cannot be read at the start is read later, and what fired meanwhile stays", async () => {
  const { open, reports, faults } = world();
  const first = await open();
  await first.run.feed(1, lagOf(600_000));
  const { alertId } = first.broker.alerts.list()[0]!;
  await first.broker.close();

  const damaged = new BrokerError("ENCRYPTION_KEY_UNAVAILABLE", "its key is missing");
  const open1 = faults.open.bind(faults);
  const topicId = first.broker.topic(ALERTS_TOPIC)!.topicId;
  let refuses = true;
  faults.open = (name, config) => {
    if (refuses && name.includes(topicId)) return Promise.reject(damaged);
    return open1(name, config);
  };
  const second = await open();
  assert.deepEqual(second.broker.alerts.list(), []);
  assert.ok(reports.some(({ message }) => message.includes("journal of alerts cannot be read")));
  await second.run.feed(1, { lags: lagOf(700_000, { group: "mail" }).lags! });
  const [meanwhile] = second.broker.alerts.list();
  await assert.rejects(
    second.broker.alerts.acknowledge({ alertId: meanwhile!.alertId, principal: "ann" }),
    { code: "LEADER_NOT_AVAILABLE" },
  );
  refuses = false;
  await second.run.time.advance(120_000);
  await second.run.feed(2, { lags: lagOf(700_000, { group: "mail" }).lags! });
  const ids = second.broker.alerts.list().map((alert) => alert.alertId);
  assert.ok(ids.includes(alertId) && ids.includes(meanwhile!.alertId));
  await second.broker.close();
  const third = await open();
  assert.equal(third.broker.alerts.list().length, 2);
  await third.broker.close();
});

Deno.test("a firing alert starts its runbook once; what may succeed later is tried again, what cannot is not", async () => {
  const { open } = world();
  const { broker, run } = await open();
  const orders: RunbookOrder[] = [];
  let answer: () => Promise<{ executionId: string }> = () =>
    Promise.reject(new BrokerError("OVERLOADED", "too many"));
  await run.feed(1, lagOf(600_000));
  broker.alerts.useRunbooks({
    start: (order) => {
      orders.push(order);
      return answer();
    },
  });
  await run.feed(30, lagOf(600_000));
  assert.equal(orders.length, 1);
  assert.equal(broker.alerts.list()[0]!.runbookProblem, "too many");
  answer = () => Promise.resolve({ executionId: "e7" });
  await run.feed(30, lagOf(600_000));
  assert.equal(orders.length, 2);
  const [alert] = broker.alerts.list();
  assert.deepEqual([alert!.executionId, alert!.runbookProblem], ["e7", null]);
  assert.deepEqual(orders[1], {
    runbook: "lag-growing",
    target: alert!.resource,
    mode: "auto",
    alertId: alert!.alertId,
    reason: "alert consumer-lag on group billing",
  });
  answer = () => Promise.reject(new BrokerError("NOT_FOUND", "no such runbook"));
  await run.feed(100, { deadLetters: 3_000 });
  assert.equal(orders.length, 3);
  const problems = (of: LocalBroker) =>
    of.alerts.list({ name: "dead-letter-rate" }).map(({ runbookProblem }) => runbookProblem);
  assert.deepEqual(problems(broker), ["no such runbook"]);
  const refused = (await writtenBy(broker))
    .filter(({ event }) => event.type === "AlertExecutionRefused");
  assert.equal(refused.length, 2);
  await broker.close();
  const again = await open();
  assert.deepEqual(problems(again.broker), ["no such runbook"]);
  await again.broker.close();
});

Deno.test("settings of thresholds outlive a restart, and are put back to the default", async () => {
  const { open } = world();
  const first = await open();
  const { defaults } = KNOWN_THRESHOLDS.get("consumer-lag")!;
  const settings = { ...defaults, limit: 10, clearLimit: null };
  await first.broker.alerts.putThreshold({ name: "consumer-lag", settings, updatedBy: "ann" });
  await first.run.feed(1, lagOf(11));
  assert.equal(first.broker.alerts.list().length, 1);
  await first.broker.close();
  const second = await open();
  assert.equal(second.broker.alerts.threshold("consumer-lag").limit, 10);
  assert.equal(second.broker.alerts.threshold("consumer-lag").updatedBy, "ann");
  const reset = await second.broker.alerts.resetThreshold("consumer-lag");
  assert.equal(reset.limit, 500_000);
  assert.equal(reset.updatedBy, null);
  await second.broker.close();
});

Deno.test("retention drops old entries of the journal only after all that is known was written down after them", async () => {
  const { open, time } = world();
  const first = await open();
  // One that stays, one that ended, one silence, over a journal of many entries.
  await first.run.feed(1, { lags: lagOf(600_000, { group: "mail" }).lags! });
  const { alertId } = first.broker.alerts.list()[0]!;
  const until = time.now() + 365 * 86_400_000;
  await first.broker.alerts.silence({ alertId, principal: "ann", until });
  const mail = lagOf(600_000, { group: "mail" }).lags!;
  for (let i = 0; i < 40; i++) {
    await first.run.feed(1, { lags: [...mail, ...lagOf(600_000).lags!] });
    await first.run.feed(61, { lags: mail });
  }
  const known = first.broker.alerts.list();
  assert.equal(known.length, 41);
  const alerts = first.broker.alerts as unknown as {
    applyRetention(now: number, options: { minDroppableOffsets: number }): Promise<void>;
  };
  const later = time.now() + 91 * 86_400_000;
  await alerts.applyRetention(later, { minDroppableOffsets: 50 });
  const written = await writtenBy(first.broker);
  const last = written.at(-1)!.event;
  assert.ok(last.type === "JournalCompleted" && last.fromOffset >= 80);
  const kept = written.filter(({ offset }) => offset >= last.fromOffset);
  const state = evolveAlerts(NO_ALERTS, kept.map(({ event }) => event));
  assert.deepEqual(alertViews(state, time.now()), known);
  await first.broker.close();
  const second = await open();
  assert.deepEqual(second.broker.alerts.list(), known);
  await second.broker.close();
});
