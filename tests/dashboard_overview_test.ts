// Owns proof of what the first page makes of samples: live state, what stands first, sums, directions, alerts together.
// Refuses to own the page in a browser (e2e_dashboard_test.ts). Invariant: both sides of each limit.
import assert from "node:assert/strict";
import type { Alert } from "../actors/threshold/types.ts";
import { reconnectDelayMs } from "../api/dashboard/live/backoff.ts";
import { EventParser } from "../api/dashboard/live/event_parser.ts";
import { stateOf, withSample } from "../api/dashboard/live/overview_state.ts";
import { alertGroups, startProblems } from "../api/dashboard/pages/overview/alert_groups.ts";
import {
  directionOf,
  groupsAlerted,
  groupsInTrouble,
  replaySuccess,
  shareOf,
  sumsOf,
  worstFirst,
} from "../api/dashboard/pages/overview/summary.ts";
import {
  resourceName,
  troubleCount,
  troubleTone,
  worstTone,
} from "../api/dashboard/pages/overview/wording.ts";
import type { Overview, OverviewNow, OverviewPoint } from "../api/overview/overview.ts";

const NONE = { p50: null, p95: null, p99: null };

function point(at: number, changed: Partial<OverviewPoint> = {}): OverviewPoint {
  return {
    at,
    publishRequestsPerSecond: 0,
    publishFailuresPerSecond: 0,
    publishedMessagesPerSecond: 0,
    publishedBytesPerSecond: 0,
    deliveredMessagesPerSecond: 0,
    deliveredBytesPerSecond: 0,
    publishLatencyMs: NONE,
    endToEndMs: NONE,
    syncLatencyMs: { p50: null, p99: null },
    eventLoopDelayMs: 0,
    replicationDelayMs: 0,
    duplicatesSuppressed: 0,
    deadLetters: 0,
    retries: 0,
    rebalances: 0,
    leaderChanges: 0,
    inSyncChanges: 0,
    offlinePartitions: 0,
    totalLag: 0,
    waitingCommands: 0,
    storageBytes: 0,
    diskFreeBytes: null,
    memoryBytes: 0,
    problems: 0,
    ...changed,
  };
}

type Group = OverviewNow["groups"][number];

function group(name: string, changed: Partial<Group> = {}): Group {
  return {
    group: name,
    state: "stable",
    members: 1,
    totalLag: 0,
    stalledLag: 0,
    maxLagSeconds: 0,
    trouble: null,
    ...changed,
  };
}

function now(at: number, changed: Partial<OverviewNow> = {}): OverviewNow {
  return {
    ready: true,
    problems: [],
    point: point(at),
    groups: [],
    lags: [],
    partitions: [],
    failuresByCode: {},
    quotaBreaches: {},
    jobs: {},
    ...changed,
  };
}

function overview(at: number, changed: Partial<Overview> = {}): Overview {
  const first = now(at);
  return {
    nodeId: "1",
    version: "1",
    now: first,
    history: [first.point],
    trends: {},
    lagTrends: [],
    ...changed,
  };
}

const lagOf = (lag: number, partition = 0, changed: Partial<OverviewNow["lags"][number]> = {}) => ({
  group: "billing",
  topic: "orders",
  partition,
  lag,
  lagSeconds: lag,
  status: "ok" as const,
  ...changed,
});

Deno.test("events are read whole, wherever their text is cut", () => {
  const text =
    ': hello\nevent: overview\ndata: {"a":1}\n\nevent: sample\r\ndata: x\r\ndata: y\r\n\r\n\n';
  const wanted = [{ name: "overview", data: '{"a":1}' }, { name: "sample", data: "x\ny" }];
  for (let size = 1; size <= text.length; size++) {
    const parser = new EventParser();
    const found = [];
    for (let at = 0; at < text.length; at += size) {
      found.push(...parser.take(text.slice(at, at + size)));
    }
    assert.deepEqual(found, wanted);
  }
  assert.deepEqual(new EventParser().take("data:no name\n\n"), [{
    name: "message",
    data: "no name",
  }]);
});

Deno.test("an event without end is not gathered for ever", () => {
  assert.throws(() => new EventParser().take("x".repeat(8_388_609)), /without end/);
});

Deno.test("each loss doubles the wait, up to fifteen seconds", () => {
  assert.deepEqual([1, 2, 3, 6, 60].map((attempt) => reconnectDelayMs(attempt, 1)), [
    500,
    1_000,
    2_000,
    15_000,
    15_000,
  ]);
  assert.equal(reconnectDelayMs(1, 0), 250);
});

Deno.test("samples go on where the overview ended, fifteen minutes back at most", () => {
  let state = stateOf(overview(1_000));
  for (let second = 1; second <= 1_000; second++) {
    state = withSample(state, now(1_000 + second * 1_000));
  }
  assert.equal(state.history.length, 900);
  assert.equal(state.history.at(-1)!.at, 1_001_000);
  assert.equal(state.now!.point.at, 1_001_000);
});

Deno.test("a trend's last value is true now, and one stays each ten seconds", () => {
  const groups = (totalLag: number) => [group("billing", { totalLag })];
  const trends = { billing: [1, 5], gone: [3] };
  const lagTrends = [{ group: "billing", topic: "orders", partition: 0, values: [4] }];
  const first = stateOf(overview(0, { trends, lagTrends }));
  const soon = withSample(first, now(9_999, { groups: groups(7), lags: [lagOf(6)] }));
  assert.deepEqual(soon.trends, { billing: [1, 7] });
  assert.deepEqual(soon.lagTrends[0]!.values, [6]);
  const step = withSample(soon, now(10_000, { groups: groups(9), lags: [lagOf(8), lagOf(1, 1)] }));
  assert.deepEqual(step.trends, { billing: [1, 7, 9] });
  assert.deepEqual(step.lagTrends.map(({ values }) => values), [[6, 8], [1]]);
});

Deno.test("groups that stand still come first, then those furthest behind", () => {
  const trouble = (kind: "stalled" | "paused" | "lagging") => ({ kind, since: 1, why: "x" });
  const groups = [
    group("well", { totalLag: 9_999 }),
    group("slow", { trouble: trouble("lagging"), maxLagSeconds: 500 }),
    group("slower", { trouble: trouble("paused"), maxLagSeconds: 510 }),
    group("stuck", { trouble: trouble("stalled"), maxLagSeconds: 60 }),
  ];
  const seen = { now: now(2, { groups }), trends: {} };
  assert.deepEqual(groupsInTrouble(seen).map((one) => one.group), ["stuck", "slower", "slow"]);
});

Deno.test("a group that grows comes before one that only waits longer, and a forgotten one last", () => {
  const trouble = (kind: "stalled" | "no-members" | "unassigned" | "lagging") => ({
    kind,
    since: 0,
    why: "x",
  });
  const groups = [
    group("old", { trouble: trouble("unassigned"), totalLag: 3, maxLagSeconds: 80_000 }),
    group("left", { trouble: trouble("no-members"), totalLag: 5_000, maxLagSeconds: 90_000 }),
    group("missed", { trouble: trouble("no-members"), totalLag: 10, maxLagSeconds: 700 }),
    group("large", { trouble: trouble("stalled"), totalLag: 40_000, maxLagSeconds: 700 }),
    group("billing", { trouble: trouble("stalled"), totalLag: 15_000, maxLagSeconds: 700 }),
    group("slow", { trouble: trouble("lagging"), totalLag: 9, maxLagSeconds: 700 }),
  ];
  const trends = {
    old: [3, 3, 3],
    left: [0, 5_000, 5_000],
    missed: [4, 10],
    billing: [9_000, 15_000],
  };
  const told = groupsInTrouble({ now: now(600_000, { groups }), trends });
  assert.deepEqual(told.map((one) => one.group), [
    "billing",
    "large",
    "missed",
    "slow",
    "left",
    "old",
  ]);
  assert.deepEqual(told.filter(({ isForgotten }) => isForgotten).map((one) => one.group), [
    "left",
    "old",
  ]);
  assert.deepEqual([told[0]!, told.at(-1)!].map(troubleTone), ["bad", "quiet"]);
  assert.equal(troubleCount(told), "4 in trouble, 2 forgotten");
  assert.equal(worstTone(told.slice(-2)), "ok");
  const about = (labels: Record<string, string>, state: "firing" | "pending" = "firing") => ({
    state,
    resource: { type: "group" as const, name: labels.group ?? "1", labels },
  });
  const alerted = groupsAlerted([
    about({ group: "left" }),
    about({}),
    about({ group: "old" }, "pending"),
  ]);
  const alarmed = groupsInTrouble({ now: now(600_000, { groups }), trends, alerted });
  const forgotten = alarmed.filter(({ isForgotten }) => isForgotten).map((one) => one.group);
  assert.deepEqual(forgotten, ["old"], "what an alert fires for is not forgotten");
  const soon = groupsInTrouble({ now: now(599_999, { groups }), trends });
  assert.deepEqual(soon.filter(({ isForgotten }) => isForgotten), []);
  assert.equal(soon.at(-1)!.group, "slow");
});

Deno.test("an alert's resource is told with its kind", () => {
  assert.equal(resourceName({ type: "broker", name: "1" }), "broker 1");
  assert.equal(resourceName({ type: "none", name: "" }), "none");
});

Deno.test("partitions are told worst first, and those with nothing to read last", () => {
  const lags = [
    lagOf(0, 0, { status: "unassigned" }),
    lagOf(900, 1, { status: "ok" }),
    lagOf(50, 2, { status: "lagging", lagSeconds: 19.9 }),
    lagOf(9, 3, { status: "lagging", lagSeconds: 29.9 }),
    lagOf(1, 4, { status: "lagging", lagSeconds: 30 }),
    lagOf(1, 5, { status: "stalled", lagSeconds: 61 }),
    lagOf(3, 6, { status: "unassigned", lagSeconds: 2 }),
    { ...lagOf(3, 7, { status: "unassigned", lagSeconds: 9_000 }), isForgotten: true },
  ];
  assert.deepEqual(worstFirst(lags).map(({ partition }) => partition), [5, 6, 4, 3, 2, 7, 1, 0]);
});

Deno.test("sums count rates by the time between points, gaps apart", () => {
  const rate = (perSecond: number) => ({ publishedMessagesPerSecond: perSecond, deadLetters: 1 });
  const history = [
    point(0, rate(10)),
    point(2_000, rate(10)),
    point(3_000, rate(10)),
    point(60_000, rate(10)),
  ];
  const sums = sumsOf(history);
  assert.deepEqual([sums.published, sums.deadLetters, sums.minutes], [50, 4, 1]);
  assert.deepEqual([sumsOf([]).published, sumsOf([]).minutes], [0, 0]);
});

Deno.test("a rate of nothing is not known", () => {
  assert.equal(shareOf(0, 0), null);
  assert.equal(shareOf(1, 4), 0.25);
  assert.equal(replaySuccess({ running: 2, cancelled: 1 }), null);
  assert.equal(replaySuccess({ completed: 3, failed: 1, running: 5 }), 0.75);
});

Deno.test("a lag's direction is that of its last whole steps", () => {
  assert.equal(directionOf([]), null);
  assert.equal(directionOf([5, 6]), null);
  assert.deepEqual(directionOf([0, 100, 105]), {
    kind: "growing",
    perSecond: 10,
    secondsLeft: null,
  });
  assert.deepEqual(directionOf([900, 700, 500, 300, 300]), {
    kind: "falling",
    perSecond: 20,
    secondsLeft: 15,
  });
  assert.equal(directionOf([100_000, 100_300, 100_300])!.kind, "steady");
  assert.equal(directionOf([0, 0, 0])!.kind, "steady");
});

Deno.test("why a runbook has not started is told once, and not of one that has", () => {
  const alert = { runbook: "consumer-bug", executionId: null, runbookProblem: "cooling down" };
  assert.deepEqual(
    startProblems([
      alert,
      alert,
      { ...alert, runbook: "lag-growing", executionId: "7" },
      { ...alert, runbook: "lag-growing" },
      { ...alert, runbookProblem: null },
      { ...alert, runbook: null },
    ]),
    ["runbook consumer-bug has not started: cooling down"],
  );
});

Deno.test("alerts that are told together stand together, the worst value first", () => {
  const alert = (alertId: string, groupKey: string, changed: Partial<Alert> = {}) =>
    ({ alertId, groupKey, state: "firing", value: 1, ...changed }) as Alert;
  const groups = alertGroups([
    alert("a", "lag billing"),
    alert("b", "disk"),
    alert("c", "lag billing", { value: 5 }),
    alert("d", "lag billing", { state: "pending" }),
  ]);
  assert.deepEqual(groups.map(({ alerts }) => alerts.map(({ alertId }) => alertId)), [
    ["c", "a"],
    ["b"],
    ["d"],
  ]);
});
