// Owns the broker that a benchmark loads: a process of its own, on a fresh data directory, as a user would start it.
// Refuses to own its life as a process (../broker_child.ts) and what is measured.
// Invariant: it never outlives the benchmark.
import { type BrokerChild, startBrokerChild } from "../broker_child.ts";

export type BrokerUnderTest = BrokerChild;

/** Starts a broker on a free port. */
export function startBroker(dataDir: string): Promise<BrokerUnderTest> {
  return startBrokerChild({ dataDir });
}

/** Resident memory of a process, bytes; from /proc, so on Linux only. */
export async function residentBytes(pid: number): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) * 1024;
}

export async function createTopic(
  url: string,
  name: string,
  partitions: number,
): Promise<void> {
  const response = await fetch(`${url}/api/topics`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name, partitions }),
  });
  if (response.status !== 201) throw new Error(`topic not made: ${await response.text()}`);
  await response.body?.cancel();
}
