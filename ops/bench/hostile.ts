// Owns what clients that do harm cost those that do not: the p99 of a publisher beside them, as a ratio to its p99 alone.
// Refuses to own the harm (load_hostile.ts) and its prevention.
// Invariant: the publisher is measured alone right before and right after each attack, on the same broker: the machine drifts.
import { startBrokerChild } from "../broker_child.ts";
import { createTopic, residentBytes } from "./broker_under_test.ts";
import type { BenchContext } from "./cases.ts";
import { runLoad, startLoad } from "./load_process.ts";
import type { HostileSpec, LoadResult } from "./load_spec.ts";

const MESSAGE_BYTES = 1_024;
/** Requests a second of the publisher: far from what the broker can do, so that waiting is all that can be seen. */
const RATE = 200;
const CONNECTIONS = 8;
/** What consumers that never read are offered. */
const BAIT_BYTES = 64 * 1_048_576;

/** Quantiles are of the turn in the middle: others may use the machine too. */
const TURNS = 3;

/** What attackers take at first, like anybody who connects, is over by then: from there on it is what they cost. */
const SETTLE_MS = 4_000;

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
  // Attackers have many addresses; here they have one.
  const args = ["--max-connections-per-address=20000"];
  const broker = await startBrokerChild({ dataDir: directory, args });
  const { url } = broker;
  try {
    await createTopic(url, "quiet", 1);
    await createTopic(url, "bait", 1);
    const bait = { topic: "bait", messageBytes: MESSAGE_BYTES, totalBytes: BAIT_BYTES };
    await runLoad({ kind: "sdk-publish", url, seconds: 600, ...bait });
    const alone = async () => {
      context.onStep(`publish at ${RATE}/s, alone`);
      return (await publish(context, url)).latency!.p99;
    };
    let before = await alone();
    for (const [attack, sockets] of ATTACKS) {
      context.onStep(`publish at ${RATE}/s beside ${sockets} ${attack}`);
      const attackers = await startLoad({ kind: "hostile", url, topic: "bait", attack, sockets });
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      const { latency, refused } = await publish(context, url);
      const bytes = await residentBytes(broker.pid);
      await attackers.end();
      const after = await alone();
      context.onFigure({
        name: `publish at ${RATE}/s beside ${sockets.toLocaleString("en-US")} ${attack}`,
        latency,
        bytes,
        ratio: { value: latency!.p99 / ((before + after) / 2), to: "p99 without them" },
        refused,
      });
      before = after;
    }
  } finally {
    await broker.kill("SIGTERM");
    await Deno.remove(directory, { recursive: true });
  }
}

/** The turn whose p99 is in the middle. */
async function publish(context: BenchContext, url: string): Promise<LoadResult> {
  const turns: LoadResult[] = [];
  for (let turn = 0; turn < TURNS; turn++) turns.push(await publishOnce(context, url));
  return turns.sort((a, b) => a.latency!.p99 - b.latency!.p99)[Math.floor(TURNS / 2)]!;
}

function publishOnce(context: BenchContext, url: string): Promise<LoadResult> {
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
    seconds: context.plan.hostileSeconds,
  });
}
