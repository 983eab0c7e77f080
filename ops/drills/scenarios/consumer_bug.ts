// Owns the drill of a new version of consumers that passes over messages without doing its work, and then does nothing.
// Refuses to own going back to before it: the runbook does, once the consumers are rolled back (bad_deploy.ts).
// Invariant: a message counts as handled only when the good version had it.
import { deployedAndRolledBack } from "../bad_deploy.ts";
import { alertsResolved } from "../checks.ts";
import { reckon } from "../reckoning.ts";
import type { Scene } from "../scene.ts";
import type { Drill, Findings } from "../types.ts";

const TOPIC = "payments";
const GROUP = "accounting";
const RUNBOOK = "consumer-bug";
const PER_SECOND = 300;
const LAG_LIMIT = 150;
const GOOD_MS = 2_500;
/** The bad version passes over so many and is stuck then. */
const PASSED_OVER = 200;

export const consumerBug: Drill = {
  name: "consumer-bug",
  title: "Consumer bug",
  injects: `a deploy of consumers that pass over ${PASSED_OVER} messages without doing anything, ` +
    "and are stuck then",
  repair:
    "alert consumer-lag starts runbook consumer-bug: pause, wait for the rolled-back version, offsets " +
    "back to the snapshot from before the deploy, resume",
  control: "alerts start no runbook; the consumers are rolled back all the same",
  targets: { rtoMs: 600_000, rpoMs: 60_000 },
  run,
};

async function run(scene: Scene): Promise<Findings> {
  await scene.startBroker({ args: ["--group-snapshot-interval-ms=1000"] });
  const client = scene.client();
  await client.topics.create({ name: TOPIC, partitions: 2 });
  await scene.setThreshold("consumer-lag", { limit: LAG_LIMIT, runbook: RUNBOOK });
  await scene.setThreshold("rebalance-rate", { limit: 1, windowSeconds: 4, severity: "P2" });
  const stuck = Promise.withResolvers<void>();
  let passedOver = 0;
  const { load, book, rtoMs } = await deployedAndRolledBack(scene, client, {
    topic: TOPIC,
    group: GROUP,
    bad: () => ++passedOver > PASSED_OVER ? stuck.promise : undefined,
    unstick: () => stuck.resolve(),
    perSecond: PER_SECOND,
    goodMs: GOOD_MS,
    alert: "consumer-lag",
    runbook: RUNBOOK,
    what: "the good version has done what the bad one had not",
  });
  const resolved = await alertsResolved(scene, "consumer-lag", "rebalance-rate");
  const { messages, checks } = await reckon(client, TOPIC, { load, book });
  const rpoMs = scene.watch.execution(RUNBOOK)?.rpo?.ms ?? 0;
  return {
    messages,
    rtoMs,
    rpo: { ms: rpoMs, messages: messages.lost },
    checks: [...checks, resolved],
    measured: { passedOverByTheBadVersion: Math.min(passedOver, PASSED_OVER) },
  };
}
