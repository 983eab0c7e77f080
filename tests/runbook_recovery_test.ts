// Owns the proof that a repair survives the death of its broker at every single append, kept or not: it is verified in the
// end, and what it did it did once.
// Refuses to own real processes (e2e_runbooks_test.ts) and what each runbook does (runbook_definitions_test.ts).
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import type { LocalBroker } from "../actors/local_broker.ts";
import type { Execution, ExecutionRequest } from "../actors/runbook/types.ts";
import { allRunbooks } from "../ops/runbooks/install.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { MortalLogStore } from "./support/mortal_logs.ts";
import { portsOf } from "./support/runbook_scene.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const AT = { topic: "orders", partition: 0 };
const MESSAGES = 20;
const COMMITTED = 5;
const MAX_APPENDS = 200;
/** Longer than any of these repairs takes. */
const LONG_MS = 60_000;
const POLL_MS = 500;
const POLICY = {
  maxAttempts: 20,
  baseMs: 100,
  maxMs: 400,
  jitterMs: 0,
  ordering: "skip",
  deadlineMs: null,
} as const;

interface Scene {
  readonly time: VirtualClock;
  readonly broker: LocalBroker;
}

interface Repair {
  readonly request: Pick<ExecutionRequest, "name" | "target"> & Partial<ExecutionRequest>;
  /** What is wrong before. */
  prepare(scene: Scene): Promise<void>;
  /** What others do while the execution stands so. */
  assist(scene: Scene, execution: Execution): Promise<void>;
  /** Whether all is well, and was done once. */
  check(broker: LocalBroker): Promise<void>;
}

function commit(broker: LocalBroker, offset: number) {
  return broker.group({
    type: "CommitOffsets",
    group: "billing",
    offsets: [{ ...AT, offset, endOffset: MESSAGES }],
    allowRewind: false,
    principal: "bob",
  });
}

async function nackAll(broker: LocalBroker, more: { code?: string; delayMs?: number }) {
  const nacks = Array.from({ length: MESSAGES }, (_, offset) => (
    { ...AT, offset, fraction: 0, endOffset: MESSAGES, ...more }
  ));
  await broker.group({ type: "Nack", group: "billing", nacks, principal: "bob" });
}

async function forgetRetries(broker: LocalBroker): Promise<void> {
  const retries = Array.from(
    { length: MESSAGES },
    (_, offset) => ({ ...AT, offset }),
  );
  await broker.group({ type: "ForgetRetries", group: "billing", retries });
}

const describe = (broker: LocalBroker) => broker.group({ type: "Describe", group: "billing" });

function isAt({ steps }: Execution, name: string): boolean {
  return steps.some((step) => step.name === name && step.state === "running");
}

const BILLING = { type: "group", name: "billing" } as const;

const REPAIRS: Readonly<Record<string, Repair>> = {
  "consumer bug": {
    request: { name: "consumer-bug", target: BILLING },
    async prepare({ broker, time }) {
      await commit(broker, COMMITTED);
      await broker.group({ type: "SnapshotOffsets", group: "billing", principal: "ada" });
      await time.advance(1_000);
      await commit(broker, MESSAGES);
    },
    async assist({ broker }, execution) {
      if (isAt(execution, "lag-falls")) await commit(broker, MESSAGES);
    },
    async check(broker) {
      const { paused, offsets } = await describe(broker);
      assert.deepEqual([paused, offsets[0]?.offset], [null, MESSAGES]);
      const { entries } = await broker.ledger.history("billing", {
        actions: ["rollback"],
        limit: 100,
      });
      assert.deepEqual(entries.map(({ previous, offset }) => [previous, offset]), [
        [MESSAGES, COMMITTED],
      ]);
    },
  },
  "dead-letter flood": {
    request: { name: "dead-letter-flood", target: BILLING },
    async prepare({ broker, time }) {
      await commit(broker, 0);
      await nackAll(broker, { code: "NON_RETRYABLE" });
      await time.advance(5_000);
    },
    async assist({ broker }, execution) {
      if (!isAt(execution, "redriven")) return;
      const job = (await broker.jobs.list()).find(({ dryRun }) => !dryRun);
      const { retries: { waiting, inHand } } = await describe(broker);
      assert.ok(waiting + inHand <= MESSAGES);
      if (job?.state === "completed") await forgetRetries(broker);
    },
    async check(broker) {
      const { paused, retries: { waiting, inHand } } = await describe(broker);
      assert.deepEqual([paused, waiting + inHand], [null, 0]);
      // The dry run counts what is left, once however often the broker died.
      const jobs = await broker.jobs.list();
      assert.deepEqual(
        jobs.map(({ dryRun, state, done, total }) => [dryRun, state, done, total])
          .sort(([a], [b]) => Number(a) - Number(b)),
        [[false, "completed", MESSAGES, MESSAGES], [true, "completed", 0, 0]],
      );
    },
  },
  "retry storm": {
    request: { name: "retry-storm", target: BILLING },
    async prepare({ broker }) {
      await commit(broker, 0);
      const policy = { group: "billing", policy: POLICY, principal: "ada" };
      await broker.group({ type: "SetRetryPolicy", ...policy });
      await nackAll(broker, { delayMs: 3_600_000 });
    },
    async assist({ broker }, execution) {
      if (!isAt(execution, "calm")) return;
      const { policy } = await broker.group({ type: "RetryPolicies", group: "billing" });
      assert.equal(policy.baseMs, POLICY.baseMs * 8);
      await forgetRetries(broker);
    },
    async check(broker) {
      const { policy } = await broker.group({ type: "RetryPolicies", group: "billing" });
      assert.deepEqual(policy, POLICY);
    },
  },
};

/** Goes on until the execution has ended; `null` when the broker has died before. */
async function driven(
  scene: Scene,
  { request, assist }: Repair,
  isDead: () => boolean,
): Promise<Execution | null> {
  const { broker, time } = scene;
  const { runbooks } = broker;
  const asked = { mode: "auto", reason: "a test", by: "ada", ...request } as const;
  let ended: Execution | null = null;
  const go = async () => {
    const [known] = await runbooks.executions();
    const { executionId } = known ?? await runbooks.execute(asked);
    while (!isDead()) {
      const execution = await runbooks.execution(executionId);
      if (execution.endedAt !== null) return ended = execution;
      if (execution.state === "waiting") {
        await runbooks.approve({ executionId, principal: "ada", reason: null });
      } else await assist(scene, execution);
      await new Promise<void>((resolve) => void time.after(POLL_MS, resolve));
    }
  };
  let failure: unknown = null;
  // What a dead broker was asked never settles.
  void go().catch((error) => failure = error);
  for (let waited = 0; waited < LONG_MS && ended === null && !isDead(); waited += POLL_MS) {
    await time.advance(POLL_MS);
    if (failure !== null) throw failure;
  }
  return ended;
}

/** One repair whose broker dies at an append; false when it has ended before. */
async function survives(
  repair: Repair,
  death: { append: number; keeps: boolean },
): Promise<boolean> {
  const time = new VirtualClock();
  const logs = new MortalLogStore(time);
  const stores = memoryBrokerStores({ time, logs });
  const open = async (): Promise<Scene> => {
    const broker = await stores.open();
    broker.runbooks.use(allRunbooks(portsOf(broker, time, { samples: [], usage: {} })));
    return { time, broker };
  };
  const scene = await open();
  await scene.broker.createTopic({ name: "orders", partitions: 1, config: TOPIC_CONFIG });
  const records = Array.from({ length: MESSAGES }, (_, number) => ({
    key: null,
    value: new TextEncoder().encode(String(number)),
    headers: [],
    timestamp: time.now(),
  }));
  await scene.broker.append(AT, [encodeBatch(records, { crc32c })], { acks: "all" });
  await repair.prepare(scene);
  logs.diesAt = logs.appends + death.append;
  logs.keeps = death.keeps;
  let dead = false;
  void logs.died.then(() => dead = true);
  await driven(scene, repair, () => dead);
  const hasDied = dead;
  logs.revive();
  const again = await open();
  const execution = await driven(again, repair, () => false);
  const text = `died at append ${death.append}, kept: ${death.keeps}: ${JSON.stringify(execution)}`;
  assert.equal(execution?.outcome, "verified", text);
  await repair.check(again.broker);
  assert.equal((await again.broker.runbooks.executions()).length, 1, text);
  return hasDied;
}

for (const [name, repair] of Object.entries(REPAIRS)) {
  for (const keeps of [true, false]) {
    const fate = keeps ? "just after" : "just before";
    Deno.test(`${name}: a broker that dies ${fate} any append of its repair ends it verified, once`, async () => {
      let append = 1;
      while (append < MAX_APPENDS && await survives(repair, { append, keeps })) append++;
      assert.ok(append > 10, `there were only ${append - 1} appends`);
      assert.ok(append < MAX_APPENDS);
    });
  }
}
