// Both sides of every limit and of every duration of the thresholds, as they are by default, in virtual time.
import assert from "node:assert/strict";
import type { Sample } from "../actors/measurement/types.ts";
import { decideAcknowledge, judge, MAX_SAMPLE_GAP_MS } from "../actors/threshold/decide.ts";
import { KNOWN_THRESHOLDS } from "../actors/threshold/defaults.ts";
import { readingsOf } from "../actors/threshold/signals.ts";
import { type AlertsState, evolveAlerts, NO_ALERTS } from "../actors/threshold/state.ts";
import {
  type Alert,
  type AlertSignals,
  MAX_ALERT_SAMPLES,
  MAX_LIVE_ALERTS_PER_THRESHOLD,
  type Threshold,
  type ThresholdName,
  type ThresholdSettings,
} from "../actors/threshold/types.ts";
import { lagOf, SampleRun } from "./support/sample_run.ts";

/** The deciders alone, over one threshold. */
class Judged {
  state: AlertsState = NO_ALERTS;
  readonly words: string[] = [];
  readonly run = new SampleRun((sample) => this.observe(sample));
  signals: AlertSignals = { audit: null };
  threshold: Threshold;
  unfollowed = 0;
  readonly #samples: Sample[] = [];
  #alerts = 0;

  constructor(readonly name: ThresholdName, settings: Partial<ThresholdSettings> = {}) {
    const { definition, defaults } = KNOWN_THRESHOLDS.get(name)!;
    this.threshold = { ...definition, ...defaults, ...settings, updatedAt: null, updatedBy: null };
  }

  observe(sample: Sample): void {
    const last = this.#samples.at(-1);
    this.#samples.push(sample);
    const { at, monotonic } = sample;
    const gapped = last !== undefined && monotonic - last.monotonic > MAX_SAMPLE_GAP_MS;
    const { windowSeconds } = this.threshold;
    const context = { nodeId: "1", windowSeconds, signals: this.signals };
    const readings = new Map([[this.name, readingsOf(this.name, this.#samples, context)]]);
    const observation = { at, monotonic, gapped, thresholds: [this.threshold], readings };
    const decision = judge(this.state, observation, () => `a${++this.#alerts}`);
    const { events, volatile, words } = decision;
    this.state = evolveAlerts(this.state, [...volatile, ...events]);
    this.words.push(...words.map(({ kind }) => kind));
    this.unfollowed = decision.unfollowed;
  }

  get alert(): Alert | null {
    return this.state.live.values().next().value?.alert ?? null;
  }

  get status(): string {
    return this.alert?.state ?? (this.state.resolved.length > 0 ? "resolved" : "none");
  }
}

interface Limit {
  readonly name: ThresholdName;
  /** At the limit, and just above; each second. */
  readonly at: Partial<Sample>;
  readonly above: Partial<Sample>;
  /** Samples of `above` after which it fires. */
  readonly fires: number;
  /** Just above the clear limit, and at it. */
  readonly held: Partial<Sample>;
  readonly clear: Partial<Sample>;
  /** Samples of `clear` after which a firing one is resolved. */
  readonly resolves: number;
  /** Samples that fill the window. */
  readonly window?: number;
}

const requests = (failures: number): Partial<Sample> => ({
  publishRequests: 10_000,
  publishFailures: failures,
});
const MEBIBYTE = 1_048_576;
const share = (share: number): Partial<Sample> => ({
  partitions: [
    { topic: "orders", partition: 3, bytes: share * 8 * MEBIBYTE, share, hotKey: "k" },
    { topic: "orders", partition: 4, bytes: (1 - share) * 8 * MEBIBYTE, share: 1 - share },
  ],
});

/** Steady values: for those with a window, the window is filled before. */
const STEADY: readonly Limit[] = [
  {
    name: "publish-failure-rate",
    at: requests(50),
    above: requests(51),
    // Above from the first sample on; after 300 s it has been so for 300 s.
    fires: 301,
    held: requests(26),
    clear: requests(25),
    // The window of 60 s has to be clear of what was before, first.
    resolves: 60 + 60,
    window: 60,
  },
  {
    name: "replication-delay",
    at: { replicationDelayMs: 3_000 },
    above: { replicationDelayMs: 3_001 },
    fires: 181,
    held: { replicationDelayMs: 2_001 },
    clear: { replicationDelayMs: 2_000 },
    resolves: 61,
  },
  {
    name: "consumer-lag",
    at: lagOf(500_000),
    above: lagOf(500_001),
    fires: 1,
    held: lagOf(400_001),
    clear: lagOf(400_000),
    resolves: 61,
  },
  {
    name: "stalled-consumer",
    at: lagOf(10),
    above: lagOf(10, { status: "stalled" }),
    fires: 61,
    held: lagOf(10, { status: "stalled" }),
    clear: lagOf(10),
    resolves: 61,
  },
  {
    name: "hot-partition",
    at: share(0.8),
    above: share(0.8125),
    fires: 121,
    held: share(0.625),
    clear: share(0.5),
    // The 41st sample brings the window to 0.6, 60 s later it has been clear for long enough.
    resolves: 101,
    window: 60,
  },
  {
    name: "disk-usage",
    at: { storageBytes: 85, diskFreeBytes: 15 },
    above: { storageBytes: 86, diskFreeBytes: 14 },
    fires: 61,
    held: { storageBytes: 81, diskFreeBytes: 19 },
    clear: { storageBytes: 80, diskFreeBytes: 20 },
    resolves: 61,
  },
  {
    name: "broker-problem",
    at: { problems: ["the broker is shutting down"] },
    above: { problems: ["partition orders/3 is offline: its log is damaged"] },
    fires: 16,
    held: { problems: ["partition orders/3 is offline: its log is damaged"] },
    clear: {},
    resolves: 11,
  },
];

for (const limit of STEADY) {
  const { name, at, above, fires, held, clear, resolves, window = 0 } = limit;

  Deno.test(`${name} never fires at its limit, and fires above it after exactly its time`, async () => {
    const quiet = new Judged(name);
    await quiet.run.feed(fires + window + 10, at);
    assert.equal(quiet.status, "none");
    const judged = new Judged(name);
    await judged.run.feed(fires - 1, above);
    assert.equal(judged.status, fires === 1 ? "none" : "pending");
    await judged.run.feed(1, above);
    assert.equal(judged.status, "firing");
    assert.deepEqual(judged.words, ["fired"]);
    const { since, firedAt } = judged.alert!;
    assert.equal(firedAt! - since, (fires - 1) * 1_000);
  });

  Deno.test(`${name} stays above its clear limit, and is resolved at it after exactly its time`, async () => {
    const judged = new Judged(name, { escalateAfterSeconds: null });
    await judged.run.feed(fires, above);
    await judged.run.feed(resolves + window + 10, held);
    assert.equal(judged.status, "firing");
    const again = new Judged(name, { escalateAfterSeconds: null });
    await again.run.feed(fires, above);
    await again.run.feed(resolves - 1, clear);
    assert.equal(again.status, "firing");
    await again.run.feed(1, clear);
    assert.equal(again.status, "resolved");
    assert.deepEqual(again.words, ["fired", "resolved"]);
    assert.equal(again.state.resolved[0]!.resolvedAt, again.run.time.now());
  });
}

/** Counts over a window: this many within it are at the limit. */
const COUNTED: readonly {
  readonly name: ThresholdName;
  readonly windowSeconds: number;
  readonly limit: number;
  readonly count: (count: number) => Partial<Sample>;
}[] = [
  {
    name: "rebalance-rate",
    windowSeconds: 600,
    limit: 6,
    count: (rebalances) => ({ rebalances }),
  },
  {
    name: "dead-letter-rate",
    windowSeconds: 60,
    limit: 2_000,
    count: (deadLetters) => ({ deadLetters }),
  },
];

for (const { name, windowSeconds, limit, count } of COUNTED) {
  Deno.test(`${name} fires with one more than its limit within its window, and not with as many`, async () => {
    const judged = new Judged(name);
    await judged.run.feed(1, count(limit));
    await judged.run.feed(windowSeconds - 1);
    assert.equal(judged.status, "none");
    await judged.run.feed(1, count(1));
    // The first is out of the window now.
    assert.equal(judged.status, "none");
    await judged.run.feed(1, count(limit));
    assert.equal(judged.status, "firing");
    assert.equal(judged.alert!.value, limit + 1);
  });

  Deno.test(`${name} counts what lies a second less than its window apart, and is resolved when that is over`, async () => {
    const judged = new Judged(name);
    await judged.run.feed(1, count(limit));
    await judged.run.feed(windowSeconds - 2);
    await judged.run.feed(1, count(1));
    assert.equal(judged.status, "firing");
    // A sample later the first count is out of the window, and it has to stay clear for 60 s.
    await judged.run.feed(60);
    assert.equal(judged.status, "firing");
    await judged.run.feed(1);
    assert.equal(judged.status, "resolved");
  });
}

Deno.test("a pending alert begins anew when the value was at the limit once", async () => {
  const judged = new Judged("replication-delay");
  await judged.run.feed(180, { replicationDelayMs: 9_000 });
  await judged.run.feed(1, { replicationDelayMs: 3_000 });
  assert.equal(judged.status, "none");
  await judged.run.feed(180, { replicationDelayMs: 9_000 });
  assert.equal(judged.status, "pending");
  await judged.run.feed(1, { replicationDelayMs: 9_000 });
  assert.equal(judged.status, "firing");
});

Deno.test("a firing alert has to be clear without a break", async () => {
  const judged = new Judged("consumer-lag");
  await judged.run.feed(1, lagOf(600_000));
  await judged.run.feed(60, lagOf(1));
  await judged.run.feed(1, lagOf(450_000));
  await judged.run.feed(60, lagOf(1));
  assert.equal(judged.status, "firing");
  await judged.run.feed(1, lagOf(1));
  assert.equal(judged.status, "resolved");
});

Deno.test("jumps of the wall clock make no alert fire or end earlier or later", async () => {
  for (const jumpMs of [3_600_000, -3_600_000]) {
    const judged = new Judged("replication-delay");
    await judged.run.feed(10, { replicationDelayMs: 9_000 });
    judged.run.time.jumpWall(jumpMs);
    await judged.run.feed(170, { replicationDelayMs: 9_000 });
    assert.equal(judged.status, "pending");
    await judged.run.feed(1, { replicationDelayMs: 9_000 });
    assert.equal(judged.status, "firing");
    judged.run.time.jumpWall(jumpMs);
    await judged.run.feed(60);
    assert.equal(judged.status, "firing");
    await judged.run.feed(1);
    assert.equal(judged.status, "resolved");
  }
});

Deno.test("a time in which nobody measured counts neither as above nor as clear", async () => {
  const judged = new Judged("replication-delay", { clearForSeconds: 60 });
  await judged.run.feed(10, { replicationDelayMs: 9_000 });
  await judged.run.after(600_000, { replicationDelayMs: 9_000 });
  await judged.run.feed(179, { replicationDelayMs: 9_000 });
  assert.equal(judged.status, "pending");
  await judged.run.feed(1, { replicationDelayMs: 9_000 });
  assert.equal(judged.status, "firing");
  await judged.run.feed(1);
  await judged.run.after(600_000);
  await judged.run.feed(59);
  assert.equal(judged.status, "firing");
  await judged.run.feed(1);
  assert.equal(judged.status, "resolved");
});

Deno.test("a sample that is longer than the window counts as much of it as the window is", async () => {
  const judged = new Judged("dead-letter-rate");
  await judged.run.after(120_000, { deadLetters: 4_000 });
  assert.equal(judged.status, "none");
  await judged.run.after(120_000, { deadLetters: 4_002 });
  assert.equal(judged.status, "firing");
});

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

Deno.test("an alert that nobody acknowledges escalates a few times, one that somebody has taken does not", async () => {
  const judged = new Judged("consumer-lag");
  await judged.run.feed(300, lagOf(600_000));
  assert.deepEqual(judged.words, ["fired"]);
  await judged.run.feed(1, lagOf(600_000));
  assert.deepEqual(judged.words, ["fired", "escalated"]);
  assert.equal(judged.alert!.escalations, 1);
  await judged.run.feed(2_000, lagOf(600_000));
  assert.deepEqual(judged.words, ["fired", "escalated", "escalated", "escalated"]);
  const taken = new Judged("consumer-lag");
  await taken.run.feed(10, lagOf(600_000));
  const { alertId } = taken.alert!;
  const events = decideAcknowledge(taken.state, { alertId, principal: "ann" }, 5);
  taken.state = evolveAlerts(taken.state, events);
  await taken.run.feed(1_000, lagOf(600_000));
  assert.deepEqual(taken.words, ["fired"]);
  assert.equal(taken.alert!.acknowledgedBy, "ann");
});

Deno.test("a silenced alert fires and is told nobody, and is told when the silence is over", async () => {
  const judged = new Judged("consumer-lag");
  await judged.run.feed(1, lagOf(600_000));
  const [series] = judged.state.live.keys();
  await judged.run.feed(61, lagOf(1));
  assert.deepEqual(judged.words.splice(0), ["fired", "resolved"]);
  const at = judged.run.time.now();
  const silence = { series: series!, until: at + 400_000, by: "ann" };
  judged.state = evolveAlerts(judged.state, [{ v: 1, type: "SeriesSilenced", at, ...silence }]);
  await judged.run.feed(399, lagOf(600_000));
  assert.equal(judged.status, "firing");
  assert.deepEqual(judged.words, []);
  await judged.run.feed(1, lagOf(600_000));
  assert.deepEqual(judged.words, ["fired"]);
});

Deno.test("an alert that fired and ended within a silence is never told", async () => {
  const judged = new Judged("consumer-lag");
  const series = "consumer-lag group:billing group=billing partition=0 topic=orders";
  const silence = { series, until: judged.run.time.now() + 600_000, by: "ann" };
  judged.state = evolveAlerts(judged.state, [{ v: 1, type: "SeriesSilenced", at: 0, ...silence }]);
  await judged.run.feed(10, lagOf(600_000));
  await judged.run.feed(61, lagOf(1));
  assert.equal(judged.status, "resolved");
  assert.deepEqual(judged.words, []);
});

Deno.test("the samples that made an alert fire are kept, thinned out evenly, with the newest", async () => {
  const judged = new Judged("publish-failure-rate");
  let second = 0;
  await judged.run.until(() => judged.status === "firing", requests(200), 400);
  second = judged.run.second;
  const { samples, firedAt, since } = judged.alert!;
  assert.equal(second, 301);
  assert.ok(samples.length <= MAX_ALERT_SAMPLES && samples.length > MAX_ALERT_SAMPLES / 3);
  assert.equal(samples[0]!.at, since);
  assert.equal(samples.at(-1)!.at, firedAt);
  const steps = new Set(samples.slice(1, -1).map(({ at }, i) => at - samples[i]!.at));
  assert.equal(steps.size, 1);
});

Deno.test("a threshold that is switched off ends its alerts, one that is set otherwise counts at once", async () => {
  const judged = new Judged("consumer-lag");
  await judged.run.feed(1, lagOf(600_000));
  judged.threshold = { ...judged.threshold, enabled: false };
  await judged.run.feed(1, lagOf(600_000));
  assert.equal(judged.status, "resolved");
  assert.equal(judged.state.resolved[0]!.detail, "the threshold was switched off");
  judged.threshold = { ...judged.threshold, enabled: true, limit: 700_000, clearLimit: null };
  await judged.run.feed(1, lagOf(600_000));
  assert.equal(judged.state.live.size, 0);
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
