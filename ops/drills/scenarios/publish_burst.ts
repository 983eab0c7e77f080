// Owns the drill of publishers that come with several times their pace for a while.
// Refuses to own how many consumers there should be: the runbook says it.
// Invariant: a consumer is as fast as it is, so that only more of them catch up in time.
import { alertsResolved, nothingGivenUp, runbookVerified } from "../checks.ts";
import { Book, Crew, type Handle } from "../group_members.ts";
import { Load } from "../load.ts";
import { quantile, reckon } from "../reckoning.ts";
import type { Scene } from "../scene.ts";
import type { Drill, Findings } from "../types.ts";

const TOPIC = "clicks";
const GROUP = "statistics";
const PARTITIONS = 12;
const RUNBOOK = "lag-growing";
const PER_SECOND = 200;
const BURST_PER_SECOND = 1_200;
/** As long as the runbook takes to notice and to measure, and some. */
const BURST_MS = 20_000;
/** Of one consumer: ten messages, then a pause. */
const AT_ONCE = 10;
const PAUSE_MS = 40;
const CONSUMERS = 2;
/** Of one partition. */
const LAG_LIMIT = 80;
const LAG_CLEAR = 30;
/** Two consumers would need more than a minute. */
const RTO_MS = 45_000;

export const publishBurst: Drill = {
  name: "publish-burst",
  title: "Publish burst",
  injects:
    `${BURST_PER_SECOND} messages/s instead of ${PER_SECOND} for ${BURST_MS / 1_000} s, for ` +
    `${CONSUMERS} consumers that do 250/s each`,
  repair:
    "alert consumer-lag starts runbook lag-growing, which says how many consumers would help; an " +
    "autoscaler starts them",
  control: "alerts start no runbook: the autoscaler hears of nothing",
  targets: { rtoMs: RTO_MS, rpoMs: 0 },
  run,
};

async function run(scene: Scene): Promise<Findings> {
  await scene.startBroker();
  const client = scene.client();
  await client.topics.create({ name: TOPIC, partitions: PARTITIONS });
  await scene.setThreshold("consumer-lag", {
    limit: LAG_LIMIT,
    clearLimit: LAG_CLEAR,
    runbook: RUNBOOK,
  });
  const book = new Book();
  const crew = new Crew(client, { group: GROUP, topic: TOPIC, maxInFlight: 500 });
  scene.onClose(() => crew.leave());
  for (let number = 0; number < CONSUMERS; number++) crew.join("consumer", 1, slow(scene, book));
  const load = new Load(client, { topic: TOPIC, perSecond: PER_SECOND, keys: 256 });
  scene.onClose(() => load.stop(0));
  load.start();
  await scene.until(() => book.distinct > 0, "the first message to be handled");
  await scene.pause(1_500);

  const before = load.handedIn;
  const sinceMs = await scene.inject(`${BURST_PER_SECOND} messages/s from now on`, () => {
    load.perSecond = BURST_PER_SECOND;
  });
  const scaled = scale(scene, crew, book);
  await scene.pause(BURST_MS);
  load.perSecond = PER_SECOND;
  const untilMs = performance.now();
  scene.tell("step", `${load.handedIn - before} messages in the burst, ${PER_SECOND}/s again`);
  // The first look may still be from before the burst was seen.
  await scene.until(() => scene.watch.alert("consumer-lag", "firing") !== null, "the alert");
  const rtoMs = await scene.recovered(
    () => book.missing(load.acknowledged) < PER_SECOND,
    {
      sinceMs,
      limitMs: RTO_MS - (performance.now() - sinceMs),
      what: "the group has caught up",
      isPatient: true,
    },
  );
  const resolved = await alertsResolved(scene, "consumer-lag");
  await scaled;
  await load.stop();
  await scene.settled(
    () => book.missing(load.acknowledged) === 0,
    "the group to handle everything",
    60_000,
  );
  const { messages, checks } = await reckon(client, TOPIC, { load, book });
  return {
    messages,
    rtoMs,
    rpo: { ms: 0, messages: messages.lost },
    checks: [
      ...checks,
      nothingGivenUp(load),
      runbookVerified(scene, RUNBOOK),
      resolved,
    ],
    measured: {
      consumersBefore: CONSUMERS,
      consumersAfter: crew.size,
      publishP99MsInBurst: quantile(load.latencies(sinceMs, untilMs), 0.99),
    },
  };
}

function slow(scene: Scene, book: Book): Handle {
  let done = 0;
  return async ({ value }) => {
    book.write(String(value));
    if (++done % AT_ONCE === 0) await scene.pause(PAUSE_MS).catch(() => undefined);
  };
}

/** What an autoscaler does: as many consumers as the runbook recommends, once it does. */
async function scale(scene: Scene, crew: Crew, book: Book): Promise<void> {
  if (!scene.repairs) return;
  const recommended = () => {
    const execution = scene.watch.execution(RUNBOOK);
    return execution === null ? 0 : Number(scene.watch.factsOf(execution).membersNeeded ?? 0);
  };
  if (!await scene.settled(() => recommended() > 0, "a recommendation", RTO_MS)) return;
  const more = recommended() - crew.size;
  scene.tell("repair", `the autoscaler starts ${more} more consumers`);
  for (let number = 0; number < more; number++) crew.join("consumer", 1, slow(scene, book));
}
