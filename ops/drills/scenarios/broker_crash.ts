// Owns the drill of a broker that is killed by signal 9 while it is published to and consumed from.
// Refuses to own starting it again: that is its supervisor's.
// Invariant: the process that is killed is the one that acknowledges, in the middle of the load.
import { nothingGivenUp } from "../checks.ts";
import { Book, Crew } from "../group_members.ts";
import { Load } from "../load.ts";
import { reckon } from "../reckoning.ts";
import type { Scene } from "../scene.ts";
import type { Drill, Findings } from "../types.ts";

const TOPIC = "orders";
const GROUP = "shipping";
const PER_SECOND = 1_000;
const BEFORE_MS = 2_000;
const BETWEEN_MS = 2_000;
const KILLS = 2;
const RECOVERY_LIMIT_MS = 30_000;
const CATCH_UP_LIMIT_MS = 20_000;

export const brokerCrash: Drill = {
  name: "broker-crash",
  title: "Broker crash under load",
  injects: `signal 9 to the broker, ${KILLS} times, at ${PER_SECOND} messages/s with two consumers`,
  repair:
    "the supervisor starts the broker again, it recovers its logs; clients come back by themselves",
  control: "nobody starts the broker again",
  targets: { rtoMs: 120_000, rpoMs: 0 },
  run,
};

async function run(scene: Scene): Promise<Findings> {
  const { stage } = scene;
  stage.isSupervised = scene.repairs;
  await scene.startBroker();
  const client = scene.client();
  await client.topics.create({ name: TOPIC, partitions: 4 });
  const book = new Book();
  const crew = new Crew(client, { group: GROUP, topic: TOPIC });
  scene.onClose(() => crew.leave());
  crew.join("consumer", 2, ({ value }) => book.write(String(value)));
  const load = new Load(client, { topic: TOPIC, perSecond: PER_SECOND, keys: 16, padding: 200 });
  scene.onClose(() => load.stop(0));
  load.start();
  await scene.until(() => book.distinct > 0, "the first message to be consumed");
  await scene.pause(BEFORE_MS);
  const recoveries: (number | null)[] = [];
  for (let kill = 1; kill <= KILLS && !recoveries.includes(null); kill++) {
    const what = `signal 9 to process ${stage.pid}, ${load.acknowledged.size} acknowledged`;
    const sinceMs = await scene.inject(what, () => stage.kill());
    const before = book.handled;
    recoveries.push(
      await scene.recovered(
        () => load.ackedSince(sinceMs) !== null && book.handled > before,
        { sinceMs, limitMs: RECOVERY_LIMIT_MS, what: "it acknowledges and delivers again" },
      ),
    );
    await scene.pause(BETWEEN_MS);
  }
  if (!stage.isRunning) {
    scene.tell("step", "the broker is started by hand, to count what is stored");
    await stage.start();
  }
  await load.stop();
  await scene.settled(
    () => book.missing(load.acknowledged) === 0,
    "the consumers to catch up",
    CATCH_UP_LIMIT_MS,
  );
  const rtoMs = recoveries.includes(null) ? null : Math.max(...recoveries as number[]);
  const { messages, checks } = await reckon(client, TOPIC, { load, book });
  return {
    messages,
    rtoMs,
    rpo: { ms: 0, messages: messages.lost },
    checks: [...checks, nothingGivenUp(load)],
    measured: {
      kills: recoveries.length,
      ...Object.fromEntries(recoveries.map((ms, index) => [`recovery${index + 1}Ms`, ms ?? -1])),
    },
  };
}
