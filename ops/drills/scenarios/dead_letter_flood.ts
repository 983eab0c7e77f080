// Owns the drill of a new version of consumers that makes a dead letter of everything it reads.
// Refuses to own handing the letters out once more: the runbook does, once somebody has rolled the consumers back.
// Invariant: a message counts as handled only when the good version had it.
import { alertsResolved } from "../checks.ts";
import { Book, Crew, type Handle } from "../group_members.ts";
import { Load } from "../load.ts";
import { reckon } from "../reckoning.ts";
import type { Scene } from "../scene.ts";
import type { Drill, Findings } from "../types.ts";

const TOPIC = "invoices";
const GROUP = "archive";
const RUNBOOK = "dead-letter-flood";
const PER_SECOND = 200;
const LETTER_LIMIT = 200;
const REPAIR_LIMIT_MS = 40_000;

export const deadLetterFlood: Drill = {
  name: "dead-letter-flood",
  title: "Dead-letter flood",
  injects: "a deploy of consumers that refuse every message for good (NON_RETRYABLE), at " +
    `${PER_SECOND} messages/s`,
  repair:
    "alert dead-letter-rate starts runbook dead-letter-flood: pause, wait for the rolled-back " +
    "version, resume, hand the letters to the group once more",
  control: "alerts start no runbook; the consumers are rolled back all the same",
  targets: { rtoMs: 600_000, rpoMs: 0 },
  run,
};

async function run(scene: Scene): Promise<Findings> {
  await scene.startBroker();
  const client = scene.client();
  await client.topics.create({ name: TOPIC, partitions: 2 });
  await scene.setThreshold("dead-letter-rate", {
    limit: LETTER_LIMIT,
    windowSeconds: 2,
    runbook: RUNBOOK,
  });
  const book = new Book();
  const good: Handle = ({ value }) => book.write(String(value));
  let refused = 0;
  const bad: Handle = (message, consumer) => {
    refused++;
    consumer.nack(message, { code: "NON_RETRYABLE", reason: "no such field: vat" });
  };
  const crew = new Crew(client, { group: GROUP, topic: TOPIC });
  scene.onClose(() => crew.leave());
  crew.join("v1", 2, good);
  const load = new Load(client, { topic: TOPIC, perSecond: PER_SECOND, keys: 16 });
  scene.onClose(() => load.stop(0));
  load.start();
  await scene.until(() => book.distinct > 0, "the first message to be handled");
  await scene.pause(1_000);

  const sinceMs = await scene.inject("version 2 of the consumers is deployed", async () => {
    await crew.leave();
    crew.join("v2", 2, bad);
  });
  await scene.until(
    () =>
      scene.repairs
        ? scene.watch.step(RUNBOOK, "confirm") === "waiting"
        : scene.watch.alert("dead-letter-rate", "firing") !== null,
    scene.repairs ? "the runbook to ask for the good version" : "the alert",
  );
  scene.tell("repair", "an operator deploys version 1 of the consumers again");
  await crew.leave();
  crew.join("v1", 2, good);
  const rtoMs = await scene.recovered(
    () =>
      scene.watch.execution(RUNBOOK)?.state === "verified" &&
      book.missing(load.acknowledged) < PER_SECOND,
    { sinceMs, limitMs: REPAIR_LIMIT_MS, what: "the letters are handled by the good version" },
  );
  await load.stop();
  await scene.settled(
    () => book.missing(load.acknowledged) === 0,
    "the group to handle everything",
    scene.repairs ? REPAIR_LIMIT_MS : 3_000,
  );
  const resolved = await alertsResolved(scene, "dead-letter-rate");
  const { messages, checks } = await reckon(client, TOPIC, { load, book });
  return {
    messages,
    rtoMs,
    rpo: { ms: 0, messages: messages.lost },
    checks: [...checks, resolved],
    measured: { deadLetters: refused },
  };
}
