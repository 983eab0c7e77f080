// Owns what clients that do harm cost those that do not: the p99 of a publisher beside them, as a ratio to its p99 alone.
// Refuses to own the harm (load_hostile.ts) and its prevention.
// Invariant: the publisher is measured alone right before each attack, on the same broker: the machine drifts.
import { createTopic, residentBytes, startBroker } from "./broker_under_test.ts";
import type { BenchContext } from "./cases.ts";
import { runLoad, startLoad } from "./load_process.ts";
import type { HostileSpec, LoadResult } from "./load_spec.ts";

const MESSAGE_BYTES = 1_024;
/** Requests a second of the publisher: far from what the broker can do, so that waiting is all that can be seen. */
const RATE = 500;
const CONNECTIONS = 16;
/** What consumers that never read are offered. */
const BAIT_BYTES = 64 * 1_048_576;

/** Attacks, with the sockets that each has. */
const ATTACKS: readonly (readonly [HostileSpec["attack"], number])[] = [
  ["slowloris", 1_000],
  ["idle sockets", 10_000],
  ["consumers that never read", 100],
  ["endless fragments", 20],
];

/** A figure for each attack. */
export async function hostile(context: BenchContext): Promise<void> {
  const directory = await context.newDirectory();
  const broker = await startBroker(directory);
  const { url } = broker;
  try {
    await createTopic(url, "quiet", 1);
    await createTopic(url, "bait", 1);
    const bait = { topic: "bait", messageBytes: MESSAGE_BYTES, totalBytes: BAIT_BYTES };
    await runLoad({ kind: "sdk-publish", url, seconds: 600, ...bait });
    const seconds = context.plan.hostileSeconds;
    for (const [attack, sockets] of ATTACKS) {
      context.onStep(`publish at ${RATE}/s, alone`);
      const alone = await publish(url, seconds);
      context.onStep(`publish at ${RATE}/s beside ${sockets} ${attack}`);
      const attackers = await startLoad({ kind: "hostile", url, topic: "bait", attack, sockets });
      const beside = await publish(url, seconds);
      const bytes = await residentBytes(broker.pid);
      await attackers.end();
      context.onFigure({
        name: `publish at ${RATE}/s beside ${sockets.toLocaleString("en-US")} ${attack}`,
        latency: beside.latency,
        bytes,
        ratio: { value: beside.latency!.p99 / alone.latency!.p99, to: "p99 without them" },
        refused: beside.refused,
      });
    }
  } finally {
    await broker.kill("SIGTERM");
    await Deno.remove(directory, { recursive: true });
  }
}

function publish(url: string, seconds: number): Promise<LoadResult> {
  return runLoad({
    kind: "http-publish",
    url,
    topic: "quiet",
    format: "json",
    perRequest: 1,
    messageBytes: MESSAGE_BYTES,
    connections: CONNECTIONS,
    partitions: 1,
    rate: RATE,
    seconds,
  });
}
