// Owns proof of repairs through the real process: an offline partition, its alert, its runbook, and kill -9 in between.
// Refuses to own what runbooks do in detail (runbook_*_test.ts) and load (ops/drills/).
// Invariant: every wait is bounded; what is repaired is judged by the messages themselves.
import assert from "node:assert/strict";
import { call, eventually, publish } from "./support/api_calls.ts";
import { type BrokerProcess, startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { createTopic, readPartition } from "./support/numbered_load.ts";

const WAIT_MS = 30_000;
const SEGMENT_BYTES = 1_048_576;
const RUNBOOK = "partition-actor-down";
const TARGET = { type: "partition", name: "orders/0" };
const EXECUTIONS = "/api/runbooks/executions";

// deno-lint-ignore no-explicit-any -- what a test reads out of an answer is checked by its assertions
type Data = any;

async function get(broker: BrokerProcess, path: string): Promise<Data> {
  const { status, body } = await call(broker.url, path);
  assert.equal(status, 200, `${path}: ${JSON.stringify(body)}`);
  return body;
}

/** The only alert of the threshold in that state. */
function alertIn(broker: BrokerProcess, name: string, state: string): Promise<Data> {
  return eventually(WAIT_MS, async () => {
    const { alerts } = await get(broker, `/api/alerts?name=${name}&state=${state}`);
    assert.ok(alerts.length > 0, `no alert ${name} is ${state}`);
    return alerts[0];
  });
}

function executionIn(broker: BrokerProcess, id: string, check: (execution: Data) => boolean) {
  return eventually(WAIT_MS, async () => {
    const execution = await get(broker, `${EXECUTIONS}/${id}`);
    assert.ok(check(execution), JSON.stringify(execution));
    return execution;
  });
}

function execute(broker: BrokerProcess) {
  const json = { target: TARGET, mode: "auto", reason: "somebody else" };
  return call(broker.url, `/api/runbooks/${RUNBOOK}:execute`, { json });
}

async function setThreshold(broker: BrokerProcess, name: string, settings: Data) {
  const json = { enabled: true, severity: "P1", clearForSeconds: 1, mode: "auto", ...settings };
  const { status, body } = await call(broker.url, `/api/thresholds/${name}`, {
    method: "PUT",
    json,
  });
  assert.equal(status, 200, JSON.stringify(body));
}

/** The log's directory is out of reach: something else lies in its place. */
async function hide(directory: string): Promise<void> {
  await Deno.rename(directory, `${directory}.aside`);
  await Deno.writeTextFile(directory, "no directory");
}

async function bringBack(directory: string): Promise<void> {
  await Deno.remove(directory);
  await Deno.rename(`${directory}.aside`, directory);
}

Deno.test("an offline partition is brought back by the runbook that its alert starts, through kill -9 within a step, once at a time and not again before its cooldown", async () => {
  await withDataDir(async (dataDir) => {
    let directory = "";
    const start = () => startBrokerProcess({ dataDir });
    {
      await using broker = await start();
      await setThreshold(broker, "broker-problem", { limit: 0, forSeconds: 1 });
      await createTopic(broker.url, { name: "orders" });
      await createTopic(broker.url, { name: "others" });
      assert.equal((await publish(broker.url, "orders", ["a", "b"])).status, 200);
      const { topicId } = await get(broker, "/api/topics/orders");
      directory = `${dataDir}/topics/${topicId}/0`;
      await broker.stop("SIGKILL");
    }
    await hide(directory);
    let executionId = "";
    let startedAt = 0;
    {
      await using broker = await start();
      const alert = await alertIn(broker, "broker-problem", "firing");
      assert.equal(alert.resource.name, "orders/0");
      executionId = await executionOf(broker, "broker-problem");
      const running = await executionIn(
        broker,
        executionId,
        ({ steps }) => steps[1].state === "running" && steps[1].detail !== null,
      );
      startedAt = running.startedAt;
      assert.deepEqual([running.name, running.mode, running.by], [
        RUNBOOK,
        "auto",
        "system:alerts",
      ]);
      // The rest goes on meanwhile, and nobody else repairs the same.
      assert.equal((await publish(broker.url, "others", ["x"])).status, 200);
      assert.equal((await publish(broker.url, "orders", ["c"])).status, 503);
      const busy = await execute(broker);
      assert.deepEqual([busy.status, busy.body.code], [409, "RUNBOOK_BUSY"]);
      await broker.stop("SIGKILL");
    }
    {
      await using broker = await start();
      const again = await executionIn(
        broker,
        executionId,
        ({ steps }) => steps[1].state === "running" && steps[1].detail !== null,
      );
      assert.equal(again.startedAt, startedAt);
      const busy = await execute(broker);
      assert.deepEqual([busy.status, busy.body.code], [409, "RUNBOOK_BUSY"]);
      await bringBack(directory);
      const { outcome, rtoMs, rpo, targets, steps } = await executionIn(
        broker,
        executionId,
        ({ endedAt }) => endedAt !== null,
      );
      assert.equal(outcome, "verified");
      assert.match(steps[1].detail, /^partition orders\/0: back|^nothing had to be started/);
      assert.match(steps[2].detail, /^orders\/0 has written and read offset 2$/);
      assert.ok(rtoMs > 1_000 && rtoMs <= targets.rtoMs, `${rtoMs} of ${targets.rtoMs}`);
      assert.ok(rpo === null || rpo.messages === 0);
      assert.equal((await publish(broker.url, "orders", ["d"])).status, 200);
      const seen = await readPartition(broker.url, "orders", { partition: 0, from: 0 });
      assert.deepEqual(seen.map(({ value }) => value), ["a", "b", "d"]);
      const { executions } = await get(broker, `${EXECUTIONS}?name=${RUNBOOK}`);
      assert.equal(executions.length, 1);
      await alertIn(broker, "broker-problem", "resolved");
      await broker.stop("SIGKILL");
    }
    await hide(directory);
    {
      await using broker = await start();
      const alert = await alertIn(broker, "broker-problem", "firing");
      await eventually(WAIT_MS, () => {
        assert.match(broker.log(), /RUNBOOK_COOLING_DOWN: .* has just ended for orders\/0/);
        return Promise.resolve();
      });
      assert.equal((await get(broker, `/api/alerts/${alert.alertId}`)).executionId, null);
      await bringBack(directory);
      // A person need not wait.
      const { status, body } = await execute(broker);
      assert.equal(status, 202, JSON.stringify(body));
      await executionIn(broker, body.executionId, ({ endedAt }) => endedAt !== null);
      assert.equal((await publish(broker.url, "orders", ["e"])).status, 200);
    }
  });
});

Deno.test("storage over its budget is archived before less of it is kept on the disk, by the runbook that its alert starts: no message is lost", async () => {
  await withDataDir(async (dataDir) => {
    await using broker = await startBrokerProcess({
      dataDir,
      args: [`--archive-dir=${dataDir}/archive`, "--retention-interval-ms=1000"],
    });
    await createTopic(broker.url, { name: "clicks", segmentBytes: SEGMENT_BYTES });
    const values: string[] = [];
    for (let batch = 0; batch < 8; batch++) {
      const some = Array.from({ length: 4 }, (_, at) => `${batch}.${at} ${"x".repeat(100_000)}`);
      assert.equal((await publish(broker.url, "clicks", some)).status, 200);
      values.push(...some);
    }
    await setThreshold(broker, "storage-budget", { limit: 2_500_000, forSeconds: 1 });
    const executionId = await executionOf(broker, "storage-budget");
    const ended = await executionIn(broker, executionId, ({ endedAt }) => endedAt !== null);
    assert.equal(ended.outcome, "verified", JSON.stringify(ended.steps));
    assert.equal(ended.steps[2].detail, "the archive keeps what is dropped");
    await alertIn(broker, "storage-budget", "resolved");
    const { partitions: [{ archivedBytes, sizeBytes }], archive } = await get(
      broker,
      "/api/topics/clicks",
    );
    assert.ok(archive && archivedBytes > 0 && sizeBytes <= 2_500_000);
    const seen = await readPartition(broker.url, "clicks", { partition: 0, from: 0 });
    assert.deepEqual(seen.map(({ value }) => value), values);
  });
});

Deno.test("a repair that kill -9 meets after its first action goes on at its step: nothing is done twice, and all is put back", async () => {
  await withDataDir(async (dataDir) => {
    const start = () => startBrokerProcess({ dataDir, args: ["--group-initial-delay-ms=0"] });
    let policy: Data = null;
    const policyOf = (broker: BrokerProcess) => get(broker, "/api/groups/mailer/retry-policy");
    let executionId = "";
    {
      await using broker = await start();
      policy = await startStorm(broker);
      executionId = await executionOf(broker, "retry-rate");
      await executionIn(broker, executionId, ({ steps }) => steps[2].state === "running");
      assert.equal((await policyOf(broker)).baseMs, 800);
      await broker.stop("SIGKILL");
    }
    await using broker = await start();
    await executionIn(broker, executionId, ({ steps }) => steps[2].state === "running");
    assert.equal((await policyOf(broker)).baseMs, 800);
    await readAll(broker, executionId);
    const ended = await executionIn(broker, executionId, ({ endedAt }) => endedAt !== null);
    assert.equal(ended.outcome, "verified", JSON.stringify(ended.steps));
    assert.ok(ended.rtoMs <= ended.targets.rtoMs);
    assert.deepEqual(await policyOf(broker), policy);
    const { entries } = await get(broker, "/api/audit?action=runbook.action");
    const steps = entries.map(({ after }: Data) => after.step).sort();
    assert.deepEqual(steps, ["restore", "slow-down"]);
  });
});

Deno.test("with repairs switched off alerts start none, and what they had started before is ended and taken back", async () => {
  await withDataDir(async (dataDir) => {
    let executionId = "";
    let before: Data = null;
    {
      await using broker = await startBrokerProcess({ dataDir });
      before = await startStorm(broker);
      executionId = await executionOf(broker, "retry-rate");
      await executionIn(broker, executionId, ({ steps }) => steps[2].state === "running");
      await broker.stop("SIGTERM");
    }
    await using broker = await startBrokerProcess({ dataDir, args: ["--runbook-mode=off"] });
    const ended = await executionIn(broker, executionId, ({ endedAt }) => endedAt !== null);
    assert.equal(
      ended.outcome,
      "aborted: by system:configuration: runbookMode is off; what was done was taken back",
    );
    assert.deepEqual(await get(broker, "/api/groups/mailer/retry-policy"), before);
    await setThreshold(broker, "dead-letter-rate", { limit: 0, windowSeconds: 5 });
    const nack = { groupId: "mailer", topic: "mails", partition: 0, offset: 0 };
    await call(broker.url, "/api/messages:nack", { json: { ...nack, code: "NON_RETRYABLE" } });
    const fired = await alertIn(broker, "dead-letter-rate", "firing");
    assert.deepEqual([fired.runbook, fired.executionId], ["dead-letter-flood", null]);
    const { executions } = await get(broker, EXECUTIONS);
    assert.equal(executions.length, 1);
  });
});

/** A group nacks all there is; resolves to its retry policy. */
async function startStorm(broker: BrokerProcess): Promise<Data> {
  await createTopic(broker.url, { name: "mails" });
  await publish(broker.url, "mails", Array.from({ length: 20 }, (_, at) => String(at)));
  const offsets = [{ topic: "mails", partition: 0, offset: 0 }];
  await call(broker.url, "/api/offsets:commit", { json: { groupId: "mailer", offsets } });
  const policy = { maxAttempts: 50, baseMs: 100, maxMs: 400, jitterMs: 0, ordering: "skip" };
  await call(broker.url, "/api/groups/mailer/retry-policy", { method: "PUT", json: policy });
  const before = await get(broker, "/api/groups/mailer/retry-policy");
  assert.equal(before.baseMs, 100);
  await setThreshold(broker, "retry-rate", { limit: 10, windowSeconds: 5, forSeconds: 0 });
  for (let offset = 0; offset < 20; offset++) {
    const nack = { groupId: "mailer", topic: "mails", partition: 0, offset, delayMs: 8_000 };
    const { status, body } = await call(broker.url, "/api/messages:nack", { json: nack });
    assert.equal(status, 200, JSON.stringify(body));
  }
  return before;
}

/** The execution that the firing alert has started. */
async function executionOf(broker: BrokerProcess, threshold: string): Promise<string> {
  const { alertId } = await alertIn(broker, threshold, "firing");
  return await eventually(WAIT_MS, async () => {
    const { executionId } = await get(broker, `/api/alerts/${alertId}`);
    assert.ok(executionId !== null);
    return executionId;
  });
}

/** A consumer that is mended: it commits all that it gets, until the execution has ended. */
async function readAll(broker: BrokerProcess, executionId: string): Promise<void> {
  const members = "/api/groups/mailer/members";
  const { body: { memberId } } = await call(broker.url, members, { json: { topics: ["mails"] } });
  const offsets = [{ topic: "mails", partition: 0, offset: 20 }];
  await eventually(WAIT_MS, async () => {
    const polled = await call(broker.url, `${members}/${memberId}:poll`, { json: { waitMs: 500 } });
    const { generation, messages } = polled.body;
    if (messages.length > 0) {
      const json = { groupId: "mailer", memberId, generation, offsets };
      const { status, body } = await call(broker.url, "/api/offsets:commit", { json });
      assert.equal(status, 200, JSON.stringify(body));
    }
    const { endedAt } = await get(broker, `${EXECUTIONS}/${executionId}`);
    assert.notEqual(endedAt, null);
  });
}
