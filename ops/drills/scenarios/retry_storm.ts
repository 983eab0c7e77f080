// Owns the drill of consumers whose downstream is away, so that they ask for every message again and again.
// Refuses to own slowing them down: the runbook does.
// Invariant: with the policy as it is set, what was published early runs out of attempts before the downstream is back.
import { alertsResolved } from "../checks.ts";
import { Book, Crew, type Handle } from "../group_members.ts";
import { Load } from "../load.ts";
import { reckon } from "../reckoning.ts";
import type { Scene } from "../scene.ts";
import type { Drill, Findings } from "../types.ts";

const TOPIC = "notifications";
const GROUP = "mailer";
const RUNBOOK = "retry-storm";
const PER_SECOND = 100;
/** Waits 200, 400, 800 and then 1,600 ms: seven of them, and the eighth attempt is the last, after 7.8 s. */
const POLICY = { maxAttempts: 8, baseMs: 100, maxMs: 1_600, jitterMs: 20, ordering: "skip" };
const OUTAGE_MS = 12_000;
const RETRY_LIMIT = 150;
const REPAIR_LIMIT_MS = 40_000;

export const retryStorm: Drill = {
  name: "retry-storm",
  title: "Retry storm",
  injects: `the consumers' downstream is away for ${OUTAGE_MS / 1_000} s: every message is nacked`,
  repair: "alert retry-rate starts runbook retry-storm, which makes the waits eight times longer " +
    "until it is calm, so that attempts last until the downstream is back",
  control: "alerts start no runbook: messages run out of attempts",
  targets: { rtoMs: 600_000, rpoMs: 0 },
  run,
};

async function run(scene: Scene): Promise<Findings> {
  await scene.startBroker();
  const client = scene.client();
  const api = scene.api();
  await client.topics.create({ name: TOPIC, partitions: 2 });
  await api.json("PUT", `/api/groups/${GROUP}/retry-policy`, { body: POLICY });
  await scene.setThreshold("retry-rate", {
    limit: RETRY_LIMIT,
    windowSeconds: 2,
    severity: "P2",
    runbook: RUNBOOK,
  });
  const book = new Book();
  const downstream = { isAway: false };
  let nacks = 0;
  const handle: Handle = (message, consumer) => {
    if (!downstream.isAway) return book.write(String(message.value));
    nacks++;
    consumer.nack(message, { code: "DOWNSTREAM_AWAY", reason: "503 of the mail server" });
  };
  const crew = new Crew(client, { group: GROUP, topic: TOPIC });
  scene.onClose(() => crew.leave());
  crew.join("mailer", 2, handle);
  const load = new Load(client, { topic: TOPIC, perSecond: PER_SECOND, keys: 16 });
  scene.onClose(() => load.stop(0));
  load.start();
  await scene.until(() => book.distinct > 0, "the first message to be handled");
  await scene.pause(1_000);

  const sinceMs = await scene.inject("the downstream of the consumers is away", () => {
    downstream.isAway = true;
  });
  await scene.pause(OUTAGE_MS);
  downstream.isAway = false;
  scene.tell("step", `the downstream is back, after ${nacks} nacks`);
  await load.stop();
  const rtoMs = await scene.recovered(
    () =>
      book.missing(load.acknowledged) === 0 &&
      scene.watch.execution(RUNBOOK)?.state === "verified",
    {
      sinceMs,
      limitMs: REPAIR_LIMIT_MS,
      what: "every message is handled, and the runbook verified",
    },
  );
  const resolved = await alertsResolved(scene, "retry-rate");
  const deadLetters = await countDeadLetters(scene);
  const policy = await api.get(`/api/groups/${GROUP}/retry-policy`);
  const { messages, checks } = await reckon(client, TOPIC, { load, book });
  return {
    messages,
    rtoMs,
    rpo: { ms: 0, messages: messages.lost },
    checks: [
      ...checks,
      {
        what: "no message ran out of attempts",
        isMet: deadLetters === 0,
        found: `${deadLetters} dead letters`,
      },
      {
        what: "every nack was taken",
        isMet: crew.faults().length === 0,
        found: crew.faults().length === 0
          ? `${nacks} were`
          : `${crew.faults().length} were not: ${crew.faults().slice(0, 2).join("; ")}`,
      },
      {
        what: "the retry policy is as it was before",
        isMet: policy.baseMs === POLICY.baseMs && policy.maxMs === POLICY.maxMs,
        found: `waits from ${policy.baseMs} ms, ${policy.maxMs} ms at most`,
      },
      resolved,
    ],
    measured: { nacks, deadLetters },
  };
}

async function countDeadLetters(scene: Scene): Promise<number> {
  const { entries } = await scene.api().list("/api/dlq", "deadLetters", { limit: 10_000 });
  return entries.length;
}
