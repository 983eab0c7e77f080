// Owns the drill of a new version of consumers that passes over messages without doing its work, and then does nothing.
// Refuses to own going back to before it: the runbook does, once somebody has rolled the consumers back.
// Invariant: a message counts as handled only when the good version had it.
import { alertsResolved } from "../checks.ts";
import { Book, Crew, type Handle } from "../group_members.ts";
import { Load } from "../load.ts";
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
const REPAIR_LIMIT_MS = 40_000;

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
  const book = new Book();
  const good: Handle = ({ value }) => book.write(String(value));
  const crew = new Crew(client, { group: GROUP, topic: TOPIC });
  scene.onClose(() => crew.leave());
  crew.join("v1", 2, good);
  const load = new Load(client, { topic: TOPIC, perSecond: PER_SECOND, keys: 16 });
  scene.onClose(() => load.stop(0));
  load.start();
  await scene.until(() => book.distinct > 0, "the first message to be handled");
  await scene.pause(GOOD_MS);

  const stuck = Promise.withResolvers<void>();
  scene.onClose(() => Promise.resolve(stuck.resolve()));
  let passedOver = 0;
  const bad: Handle = () => ++passedOver > PASSED_OVER ? stuck.promise : undefined;
  const sinceMs = await scene.inject("version 2 of the consumers is deployed", async () => {
    await crew.leave();
    crew.join("v2", 2, bad);
  });
  await scene.until(
    () =>
      scene.repairs
        ? scene.watch.step(RUNBOOK, "confirm") === "waiting"
        : scene.watch.alert("consumer-lag", "firing") !== null,
    scene.repairs ? "the runbook to ask for the good version" : "the alert",
  );
  scene.tell("repair", "an operator deploys version 1 of the consumers again");
  stuck.resolve();
  await crew.leave();
  crew.join("v1", 2, good);
  const rtoMs = await scene.recovered(
    () =>
      scene.watch.execution(RUNBOOK)?.state === "verified" &&
      book.missing(load.acknowledged) < PER_SECOND,
    {
      sinceMs,
      limitMs: REPAIR_LIMIT_MS,
      what: "the good version has done what the bad one had not",
    },
  );
  await load.stop();
  await scene.settled(
    () => book.missing(load.acknowledged) === 0,
    "the group to handle everything",
    scene.repairs ? REPAIR_LIMIT_MS : 3_000,
  );
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
