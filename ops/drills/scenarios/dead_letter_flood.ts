// Owns the drill of a new version of consumers that makes a dead letter of everything it reads.
// Refuses to own handing the letters out once more: the runbook does, once the consumers are rolled back (bad_deploy.ts).
// Invariant: a message counts as handled only when the good version had it.
import { deployedAndRolledBack } from "../bad_deploy.ts";
import { alertsResolved } from "../checks.ts";
import { reckon } from "../reckoning.ts";
import type { Scene } from "../scene.ts";
import type { Drill, Findings } from "../types.ts";

const TOPIC = "invoices";
const GROUP = "archive";
const RUNBOOK = "dead-letter-flood";
const PER_SECOND = 200;
const LETTER_LIMIT = 200;
const GOOD_MS = 1_000;

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
  let refused = 0;
  const { load, book, rtoMs } = await deployedAndRolledBack(scene, client, {
    topic: TOPIC,
    group: GROUP,
    bad: (message, consumer) => {
      refused++;
      consumer.nack(message, { code: "NON_RETRYABLE", reason: "no such field: vat" });
    },
    perSecond: PER_SECOND,
    goodMs: GOOD_MS,
    alert: "dead-letter-rate",
    runbook: RUNBOOK,
    what: "the letters are handled by the good version",
  });
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
