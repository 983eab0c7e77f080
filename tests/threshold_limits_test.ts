// Both sides of every limit and of every duration of the thresholds, as they are by default, in virtual time.
import assert from "node:assert/strict";
import type { Sample } from "../actors/measurement/types.ts";
import type { ThresholdName } from "../actors/threshold/types.ts";
import { Judged, requests, share } from "./support/judged_threshold.ts";
import { lagOf } from "./support/sample_run.ts";

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
    name: "under-replicated",
    at: { underReplicatedPartitions: 0 },
    above: { underReplicatedPartitions: 1 },
    fires: 61,
    held: { underReplicatedPartitions: 1 },
    clear: { underReplicatedPartitions: 0 },
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
    count: (rebalances) => ({ rebalancesByGroup: [{ group: "billing", rebalances }] }),
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
