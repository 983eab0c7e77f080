// Owns the drill of a disk whose syncs take long, while more is published than may wait for it.
// Refuses to own making the disk fast again: that is somebody's.
// Invariant: what the broker has taken and not answered is measured from outside, as bytes of requests without an answer.
import { alertsResolved } from "../checks.ts";
import { Flood, refusalWords } from "../flood.ts";
import { Load } from "../load.ts";
import { quantile, reckon, withFlood } from "../reckoning.ts";
import type { Scene } from "../scene.ts";
import type { Check, Drill, Findings } from "../types.ts";

const TOPIC = "sensors";
const FLOOD_TOPIC = "imports";
const PER_SECOND = 200;
const SYNC_DELAY_MS = 1_500;
const SLOW_MS = 7_000;
const LIMIT_MS = 200;
/** Of publishes that wait in the broker for their sync. */
const MAX_PENDING_BYTES = 1_048_576;
const NO_BOUND_BYTES = 1_024 * 1_048_576;
/** Imports: so many requests of 256 KiB at once. */
const AT_ONCE = 24;
const PER_REQUEST = 16;
const MESSAGE_BYTES = 16_384;
/** A request that was taken waits for a sync; one that is refused is not there for so long. */
const WAITING_AFTER_MS = 1_200;
/** As Retry-After says. */
const REFUSED_PAUSE_MS = 1_000;
/** Bodies on their way in, beyond the bound. */
const SLACK_BYTES = 2 * 1_048_576;
const OVERLOADED = "OVERLOADED";
const QUICK_MS = 200;
const RTO_MS = 20_000;

export const slowDisk: Drill = {
  name: "slow-disk",
  title: "Slow disk",
  injects: `every sync takes ${SYNC_DELAY_MS} ms longer for ${SLOW_MS / 1_000} s, while ` +
    `${AT_ONCE} importers publish 256 KiB each at once`,
  repair:
    "back-pressure: publishes beyond 1 MiB that wait for the disk are refused as OVERLOADED and come " +
    "again; alert disk-slow tells somebody",
  control: "that protection is switched off: a gigabyte may wait",
  targets: { rtoMs: RTO_MS, rpoMs: 0 },
  run,
};

async function run(scene: Scene): Promise<Findings> {
  const bound = scene.repairs ? MAX_PENDING_BYTES : NO_BOUND_BYTES;
  await scene.startBroker({ faulty: true, args: [`--max-pending-publish-bytes=${bound}`] });
  const client = scene.client();
  await client.topics.create({ name: TOPIC, partitions: 1 });
  await client.topics.create({ name: FLOOD_TOPIC, partitions: 1 });
  await scene.setThreshold("disk-slow", { limit: LIMIT_MS, windowSeconds: 2, severity: "P2" });
  const load = new Load(client, { topic: TOPIC, perSecond: PER_SECOND, keys: 8 });
  scene.onClose(() => load.stop(0));
  load.start();
  await scene.until(() => load.acknowledged.size > PER_SECOND, "a second of publishing");

  const flood = importers(scene);
  const sinceMs = await scene.inject(`syncs take ${SYNC_DELAY_MS} ms longer`, async () => {
    await scene.order({ disk: { syncDelayMs: SYNC_DELAY_MS } });
    flood.start();
  });
  await scene.pause(SLOW_MS);
  const whileSlow = flood.acknowledged;
  scene.tell(
    "step",
    `the disk is fast again; ${whileSlow} imports taken while it was slow, refused: ${
      refusalWords(flood)
    }; ` +
      `${mebibytes(flood.mostWaitingBytes)} MiB waited at most`,
  );
  await scene.order({ disk: { syncDelayMs: 0 } });
  await flood.stop();
  const fastMs = performance.now();
  const rtoMs = await scene.recovered(
    () =>
      quantile(load.latencies(performance.now() - 1_000, Infinity), 0.99) < QUICK_MS &&
      load.ackedSince(fastMs) !== null &&
      performance.now() - fastMs > 1_000,
    { sinceMs, limitMs: RTO_MS, what: `publishes take less than ${QUICK_MS} ms again` },
  );
  await load.stop();
  const resolved = await alertsResolved(scene, "disk-slow");
  const { messages: published, checks } = await reckon(client, TOPIC, { load });
  const messages = await withFlood(client, published, { flood, topic: FLOOD_TOPIC });
  return {
    messages,
    rtoMs,
    rpo: { ms: 0, messages: messages.lost },
    checks: [...checks, ...floodChecks(flood), resolved],
    measured: {
      importsTakenWhileSlow: whileSlow,
      importsTaken: flood.acknowledged,
      importsOverloaded: flood.refusals.get(OVERLOADED) ?? 0,
      mostWaitingMiB: mebibytes(flood.mostWaitingBytes),
      publishP99WhileSlowMs: quantile(load.latencies(sinceMs, fastMs), 0.99),
    },
  };
}

function importers(scene: Scene): Flood {
  return new Flood({
    url: scene.stage.url!,
    topic: FLOOD_TOPIC,
    atOnce: AT_ONCE,
    perRequest: PER_REQUEST,
    messageBytes: MESSAGE_BYTES,
    waitingAfterMs: WAITING_AFTER_MS,
    refusedPauseMs: REFUSED_PAUSE_MS,
    signal: scene.signal,
  });
}

function floodChecks(flood: Flood): Check[] {
  const most = flood.mostWaitingBytes;
  const bound = MAX_PENDING_BYTES + SLACK_BYTES;
  return [
    {
      what: "no more waited for the disk than may",
      isMet: most <= bound,
      found: `${mebibytes(most)} MiB of ${mebibytes(bound)}`,
    },
    {
      what: "importers were refused as OVERLOADED and nothing else",
      isMet: (flood.refusals.get(OVERLOADED) ?? 0) > 0 && flood.refusals.size === 1,
      found: refusalWords(flood),
    },
  ];
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 1_048_576 * 10) / 10;
}
