// Owns the drill of a partition whose log cannot be synced nor opened for a while.
// Refuses to own starting it again: the broker does by itself with growing pauses, the runbook at once.
// Invariant: the other partition serves all the time.
import { alertsResolved, nothingGivenUp } from "../checks.ts";
import { Load } from "../load.ts";
import { reckon } from "../reckoning.ts";
import type { Scene } from "../scene.ts";
import type { Drill, Findings } from "../types.ts";

const TOPIC = "ledger";
const PARTITION = 0;
const PER_SECOND = 300;
/**
 * The broker tries by itself 0.2, 0.6, 1.4, 3, 6.2 and 12.6 s after the fault: that is too late for the target, since the
 * disk is whole again after 7 s.
 */
const OUTAGE_MS = 7_000;
const RTO_MS = 11_000;

export const partitionActorDown: Drill = {
  name: "partition-actor-down",
  title: "Partition actor down",
  injects: `for ${OUTAGE_MS / 1_000} s the log of one partition can be neither synced nor opened`,
  repair:
    "alert broker-problem starts runbook partition-actor-down, which starts it again each second " +
    "until it writes and reads",
  control: "alerts start no runbook: the partition tries by itself, with pauses that grow",
  targets: { rtoMs: RTO_MS, rpoMs: 0 },
  run,
};

async function run(scene: Scene): Promise<Findings> {
  await scene.startBroker({ faulty: true });
  const client = scene.client();
  const { topicId } = await client.topics.create({ name: TOPIC, partitions: 2 });
  await scene.setThreshold("broker-problem", { limit: 0, runbook: "partition-actor-down" });
  await scene.setThreshold("publish-failure-rate", { limit: 0.002, windowSeconds: 3 });
  const load = new Load(client, { topic: TOPIC, perSecond: PER_SECOND, keys: 16 });
  scene.onClose(() => load.stop(0));
  load.start();
  await scene.until(() => load.acknowledged.size > PER_SECOND, "a second of publishing");

  const sinceMs = await scene.inject(
    `syncs and openings of ${TOPIC}/${PARTITION} fail`,
    () => scene.order({ disk: { brokenPath: `topics/${topicId}/${PARTITION}` } }),
  );
  await scene.pause(OUTAGE_MS);
  const meanwhile = load.acknowledgedOn(1 - PARTITION, sinceMs);
  scene.tell("step", "the disk is whole again");
  await scene.order({ disk: { brokenPath: null } });
  const wholeMs = performance.now();
  const rtoMs = await scene.recovered(
    () => load.acknowledgedOn(PARTITION, wholeMs) > 0,
    { sinceMs, limitMs: 30_000, what: "the partition acknowledges again", isPatient: true },
  );
  await load.stop();
  const resolved = await alertsResolved(scene, "broker-problem", "publish-failure-rate");
  const { messages, checks } = await reckon(client, TOPIC, { load });
  return {
    messages,
    rtoMs,
    rpo: { ms: 0, messages: messages.lost },
    checks: [
      ...checks,
      {
        what: "the other partition served meanwhile",
        isMet: meanwhile > PER_SECOND,
        found: `${meanwhile} acknowledged of it`,
      },
      nothingGivenUp(load),
      resolved,
    ],
    measured: { outageMs: OUTAGE_MS },
  };
}
