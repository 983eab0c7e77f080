// Owns the drill of a wall clock that jumps six hours ahead, and then twelve back.
// Refuses to own anything that is repaired: what is shown is that nothing breaks.
// Invariant: everybody else's clock goes on as it is.
import { nothingGivenUp } from "../checks.ts";
import { Book, Crew, type Handle } from "../group_members.ts";
import { Load } from "../load.ts";
import { quantile, reckon } from "../reckoning.ts";
import type { Scene } from "../scene.ts";
import type { Drill, Findings } from "../types.ts";

const TOPIC = "orders";
const GROUP = "shipping";
const PER_SECOND = 300;
const HOUR_MS = 3_600_000;
const JUMPS_MS = [6 * HOUR_MS, -12 * HOUR_MS];
const AFTER_JUMP_MS = 4_000;
/** Each message of these numbers fails once, and is asked for again after this. */
const FAILS_EVERY = 100;
const RETRY_MS = 1_000;
/** Later than asked for, at most: a retry that waited for the wall clock would be hours late. */
const MAX_RETRY_LATE_MS = 3_000;
const RTO_MS = 5_000;

export const clockJump: Drill = {
  name: "clock-jump",
  title: "Clock jump",
  injects: "the broker's wall clock jumps 6 hours ahead, then 12 hours back, under load",
  repair:
    "none is needed: sessions, leases, retries and windows are measured by the monotonic clock",
  control: "that protection is switched off: the monotonic clock jumps as the wall clock does",
  targets: { rtoMs: RTO_MS, rpoMs: 0 },
  run,
};

async function run(scene: Scene): Promise<Findings> {
  await scene.startBroker({ faulty: true, args: ["--retention-interval-ms=1000"] });
  const client = scene.client();
  await client.topics.create({ name: TOPIC, partitions: 2, segmentBytes: 65_536 });
  const book = new Book();
  const retries = new Retries();
  const crew = new Crew(client, { group: GROUP, topic: TOPIC });
  scene.onClose(() => crew.leave());
  crew.join("shipping", 2, retries.handling(book));
  const load = new Load(client, { topic: TOPIC, perSecond: PER_SECOND, keys: 16, padding: 200 });
  scene.onClose(() => load.stop(0));
  load.start();
  await scene.until(() => book.distinct > PER_SECOND, "a second of publishing");
  const rebalancesBefore = await rebalances(scene);

  const recoveries: (number | null)[] = [];
  const startedMs = performance.now();
  for (const jumpMs of JUMPS_MS) {
    const hours = jumpMs / HOUR_MS;
    const sinceMs = await scene.inject(
      `the wall clock jumps ${Math.abs(hours)} hours ${hours > 0 ? "ahead" : "back"}`,
      () =>
        scene.order({
          clock: { jumpWallMs: jumpMs, jumpMonotonicMs: scene.repairs ? 0 : jumpMs },
        }),
    );
    const handled = book.distinct;
    recoveries.push(
      await scene.recovered(
        () => load.ackedSince(sinceMs + 100) !== null && book.distinct > handled + 10,
        { sinceMs, limitMs: 20_000, what: "it acknowledges and delivers after the jump" },
      ),
    );
    await scene.pause(AFTER_JUMP_MS);
  }
  const untilMs = performance.now();
  await load.stop();
  await scene.settled(
    () => book.missing(load.acknowledged) === 0,
    "the group to handle everything",
    scene.repairs ? 15_000 : 5_000,
  );
  const more = await rebalances(scene).catch(() => NaN) - rebalancesBefore;
  const fired = scene.watch.alerts.filter(({ firedAt }) => firedAt !== null);
  const { messages, checks } = await reckon(client, TOPIC, { load, book });
  return {
    messages,
    rtoMs: recoveries.includes(null) ? null : Math.max(...recoveries as number[]),
    rpo: { ms: 0, messages: messages.lost },
    checks: [
      ...checks,
      {
        what: "no member was taken for dead",
        isMet: more === 0,
        found: `${more} rebalances after the jumps`,
      },
      {
        what: `what was to come again after ${RETRY_MS} ms came in time`,
        isMet: retries.waiting === 0 && retries.worstLateMs <= MAX_RETRY_LATE_MS,
        found: `${retries.done} retries, ${retries.waiting} never came, ` +
          `the latest ${Math.round(retries.worstLateMs)} ms late`,
      },
      {
        what: "no alert fired",
        isMet: fired.length === 0,
        found: fired.map(({ name, resource }) => `${name} of ${resource}`).join(", ") || "none did",
      },
      nothingGivenUp(load),
    ],
    measured: {
      publishP99Ms: quantile(load.latencies(startedMs, untilMs), 0.99),
      retries: retries.done,
      worstRetryLateMs: Math.round(retries.worstLateMs),
    },
  };
}

/** Messages that fail once, and when they came again. */
class Retries {
  readonly #since = new Map<string, number>();
  #seen = 0;
  done = 0;
  worstLateMs = 0;

  get waiting(): number {
    return this.#since.size;
  }

  handling(book: Book): Handle {
    return (message, consumer) => {
      const value = String(message.value);
      const since = this.#since.get(value);
      if (since !== undefined) {
        this.#since.delete(value);
        this.done++;
        this.worstLateMs = Math.max(this.worstLateMs, performance.now() - since - RETRY_MS);
      } else if (++this.#seen % FAILS_EVERY === 0) {
        this.#since.set(value, performance.now());
        return consumer.nack(message, { code: "TRY_AGAIN", delayMs: RETRY_MS });
      }
      book.write(value);
    };
  }
}

async function rebalances(scene: Scene): Promise<number> {
  const { generation } = await scene.api().get(`/api/groups/${GROUP}`);
  return generation;
}
