// Owns the broker that a benchmark loads: a process of its own, on a fresh data directory, as a user would start it.
// Refuses to own what is measured. Invariant: it never outlives the benchmark.

import { startArguments } from "../start_arguments.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

export interface BrokerUnderTest {
  readonly url: string;
  readonly pid: number;
  /** From the start of the process to its ready line, ms. */
  readonly startedInMs: number;
  kill(signal: "SIGTERM" | "SIGKILL"): Promise<void>;
}

/** Starts a broker on a free port. */
export async function startBroker(dataDir: string): Promise<BrokerUnderTest> {
  const started = performance.now();
  const child = new Deno.Command(Deno.execPath(), {
    args: [...startArguments(), "--port=0", `--data-dir=${dataDir}`, "--log-level=warning"],
    cwd: ROOT,
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const url = await readyUrl(child.stdout);
  const startedInMs = performance.now() - started;
  return {
    url,
    pid: child.pid,
    startedInMs,
    async kill(signal) {
      child.kill(signal);
      await child.status;
    },
  };
}

async function readyUrl(stdout: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  const reader = stdout.getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`the broker ended before it was ready: ${text}`);
    text += decoder.decode(value, { stream: true });
    const match = /listening on (http:\/\/\S+)/.exec(text);
    if (match === null) continue;
    reader.releaseLock();
    return match[1]!;
  }
}

/** Resident memory of a process, bytes; from /proc, so on Linux only. */
export async function residentBytes(pid: number): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) * 1024;
}

/** CPU time that a process has used, ms; from /proc. */
export async function cpuMs(pid: number): Promise<number> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const CLOCK_TICK_MS = 10;
  return (Number(fields[11]) + Number(fields[12])) * CLOCK_TICK_MS;
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
