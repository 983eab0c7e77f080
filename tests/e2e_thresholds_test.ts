// Owns proof that the five thresholds that operators must have fire and are resolved through the whole loop: load, the
// broker's own samples, alerts; with shortened durations. Four of them in the real process. The delay of replicas is 0 on
// one node whatever happens: there the sampler's port says it, in a broker in this process.
// Refuses to own exact limits and durations (threshold_limits_test.ts). Invariant: every wait is bounded.
import assert from "node:assert/strict";
import { KNOWN_THRESHOLDS } from "../actors/threshold/defaults.ts";
import { DEFAULT_API_LIMITS } from "../api/limits.ts";
import { startAlerting } from "../ops/alerting/alerting.ts";
import { SyncWatch } from "../ops/measurement/measured_disk.ts";
import { startMeasuring } from "../ops/measurement/measuring.ts";
import { call, eventually, publish } from "./support/api_calls.ts";
import { startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { memoryBrokerStores } from "./support/memory_broker.ts";
import { createTopic } from "./support/numbered_load.ts";

const WAIT_MS = 40_000;
/** Far more than may wait for the disk, all at once. */
const LARGE = "x".repeat(900_000);
const BURST = 8;

// deno-lint-ignore no-explicit-any -- what a test reads out of an answer is checked by its assertions
type Data = any;

function scene(url: string) {
  const ask = async (method: string, path: string, json?: unknown): Promise<Data> => {
    const answer = await call(url, path, { method, ...(json === undefined ? {} : { json }) });
    assert.ok(answer.status < 300, `${method} ${path}: ${JSON.stringify(answer.body)}`);
    return answer.body;
  };
  return {
    ask,
    /** Short windows; everything else as it is by default. */
    shorten: (name: string, settings: Data) =>
      ask("PUT", `/api/thresholds/${name}`, {
        severity: "P1",
        enabled: true,
        clearForSeconds: 1,
        mode: "auto",
        ...settings,
      }),
    alert: (name: string, state: string): Promise<Data> =>
      eventually(WAIT_MS, async () => {
        const { alerts } = await ask("GET", `/api/alerts?name=${name}&state=${state}`);
        assert.equal(alerts.length, 1, `no alert ${name} is ${state}`);
        return alerts[0];
      }),
    ended: (executionId: string): Promise<Data> =>
      eventually(WAIT_MS, async () => {
        const execution = await ask("GET", `/api/runbooks/executions/${executionId}`);
        assert.notEqual(execution.endedAt, null, JSON.stringify(execution));
        return execution;
      }),
  };
}

function assertLife(alert: Data, forSeconds: number): void {
  const { since, firedAt, resolvedAt, samples, limit } = alert;
  assert.ok(firedAt - since >= forSeconds * 1_000, `fired ${firedAt - since} ms after it began`);
  assert.ok(resolvedAt > firedAt);
  assert.ok(samples.some(({ value }: { value: number }) => value > limit));
}

Deno.test("publish failures, lag, rebalances and dead letters fire and are resolved in the real process; the lag's runbook measures it and is verified", async () => {
  await withDataDir(async (dataDir) => {
    await using broker = await startBrokerProcess({
      dataDir,
      args: [
        "--max-pending-publish-bytes=1048576",
        "--group-initial-delay-ms=0",
        "--group-rebalance-delay-ms=0",
      ],
    });
    const { url } = broker;
    const { ask, shorten, alert, ended } = scene(url);
    await shorten("publish-failure-rate", { limit: 0.005, windowSeconds: 2, forSeconds: 1 });
    await shorten("consumer-lag", { limit: 10, forSeconds: 1 });
    await shorten("rebalance-rate", { limit: 3, windowSeconds: 3, severity: "P2" });
    await shorten("dead-letter-rate", { limit: 5, windowSeconds: 3, runbook: null });
    for (const name of ["orders", "large", "letters"]) await createTopic(url, { name });

    // Lag: its runbook measures for a while, beside everything else.
    await publish(url, "orders", Array.from({ length: 100 }, (_, index) => String(index)));
    const committed = (offset: number) =>
      ask("POST", "/api/offsets:commit", {
        groupId: "billing",
        offsets: [{ topic: "orders", partition: 0, offset }],
      });
    await committed(0);
    const lagging = await alert("consumer-lag", "firing");

    for (let member = 0; member < 5; member++) {
      await ask("POST", "/api/groups/crowd/members", { topics: ["orders"] });
    }
    const rebalanced = await alert("rebalance-rate", "firing");

    await publish(url, "letters", ["1", "2", "3", "4", "5", "6"]);
    await ask("POST", "/api/groups/readers/members", { topics: ["letters"] });
    for (let offset = 0; offset < 6; offset++) {
      const nack = { groupId: "readers", topic: "letters", partition: 0, offset };
      await ask("POST", "/api/messages:nack", { ...nack, code: "NON_RETRYABLE", reason: "bad" });
    }
    const letters = await alert("dead-letter-rate", "firing");

    let failing = true;
    const load = (async () => {
      while (failing) {
        await Promise.all(Array.from({ length: BURST }, () => publish(url, "large", [LARGE])));
      }
    })();
    const failed = await alert("publish-failure-rate", "firing").finally(() => failing = false);
    await load;
    assert.match(failed.detail, /^OVERLOADED \d+$/);
    assert.equal((await publish(url, "large", ["small"])).status, 200);

    assertLife(await alert("publish-failure-rate", "resolved"), 1);
    assertLife(await alert("dead-letter-rate", "resolved"), 0);
    assertLife(await alert("rebalance-rate", "resolved"), 0);
    assert.deepEqual([rebalanced.value > 3, letters.value], [true, 6]);

    // A broker that is overloaded has nothing to be started again.
    const { executionId: nothing } = await ask("GET", `/api/alerts/${failed.alertId}`);
    assert.match((await ended(nothing)).outcome, /^aborted: nothing to repair/);

    const { executionId } = await ask("GET", `/api/alerts/${lagging.alertId}`);
    await eventually(WAIT_MS, async () => {
      const { steps } = await ask("GET", `/api/runbooks/executions/${executionId}`);
      assert.equal(steps[0].state, "done");
    });
    await committed(100);
    const execution = await ended(executionId);
    assert.equal(execution.outcome, "verified");
    assert.match(execution.steps[0].detail, /^100 messages behind; .*start its consumers$/);
    assert.ok(execution.rtoMs >= 15_000);
    assert.deepEqual(execution.rpo, { ms: 0, messages: 0 });
    assertLife(await alert("consumer-lag", "resolved"), 1);
    assert.equal((await broker.stop("SIGTERM")).code, 0);
  });
});

Deno.test("the delay of replicas, as the sampler's port says it, fires above 3 s for 3 min and is resolved", async () => {
  const { time, randomness, open } = memoryBrokerStores();
  const broker = await open();
  let replicationDelayMs = 0;
  const report = () => {};
  const measuring = startMeasuring({
    broker,
    activity: () => broker.activity(),
    clock: time,
    timers: time,
    syncs: new SyncWatch(time),
    maxDecompressedBytes: DEFAULT_API_LIMITS.maxDecompressedBytes,
    diskFreeBytes: () => Promise.resolve(null),
    memoryBytes: () => 1,
    replication: () => ({
      delayMs: replicationDelayMs,
      leaderChanges: 0,
      inSyncChanges: 0,
      underReplicatedPartitions: 0,
      offlinePartitions: 0,
    }),
    report,
  });
  const alerting = startAlerting({
    broker,
    samples: measuring.sampler,
    clock: time,
    timers: time,
    randomness,
    webhooks: [],
    escalationWebhooks: [],
    secret: null,
    fetch: () => Promise.reject(new Error("nobody is told")),
    auditVerifyMs: 0,
    report,
  });
  const states = () => broker.alerts.list({ name: "replication-delay" }).map(({ state }) => state);
  const { forSeconds, limit } = KNOWN_THRESHOLDS.get("replication-delay")!.defaults;
  replicationDelayMs = limit * 1_000;
  await time.advance(600_000);
  assert.deepEqual(states(), []);
  replicationDelayMs = limit * 1_000 + 1;
  await time.advance(forSeconds * 1_000);
  assert.deepEqual(states(), ["pending"]);
  await time.advance(1_000);
  assert.deepEqual(states(), ["firing"]);
  replicationDelayMs = 0;
  await time.advance(62_000);
  assert.deepEqual(states(), ["resolved"]);
  await measuring.stop();
  await alerting.stop();
  await broker.close();
});
