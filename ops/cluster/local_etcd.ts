// Owns one etcd on this machine, for a cluster that is tried out: a process, its directory, its log file.
// Refuses to own an etcd for production, which has three members on three machines.
// Invariant: one that was left behind by an earlier run is found again, never started a second time over the same data.
import { setTimeout as pause } from "node:timers/promises";

/** Longest start that is waited for; machines may be slow and shared. */
const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 10_000;
const POLL_MS = 50;
const HEALTH_TIMEOUT_MS = 1_000;
/** Another process may take a free port before etcd does. */
const MAX_STARTS = 3;
/** Of what it wrote, so much is told when it does not start. */
const KEPT_LOG_CHARS = 4_000;

export const ETCD_MISSING =
  "etcd is not on the PATH. Debian and Ubuntu have it: apt-get install etcd-server; else see https://etcd.io/docs/latest/install/, " +
  "or name one that runs already with --etcd";

export interface LocalEtcd {
  readonly endpoint: string;
  /** Resolves to what it said last, when it ends by itself. */
  readonly ended: Promise<string>;
  stop(): Promise<void>;
}

/** What the directory says of the one that runs over it. */
interface Running {
  readonly pid: number;
  readonly endpoint: string;
}

/** Starts etcd over `directory`; resolves when it serves. Rejects with what to do, when it cannot. */
export async function startLocalEtcd(directory: string): Promise<LocalEtcd> {
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  const left = await leftBehind(directory);
  if (left !== null) return left;
  for (let attempt = 1;; attempt++) {
    try {
      return await startOnce(directory);
    } catch (error) {
      const isPortTaken = /address already in use/.test(String(error));
      if (!isPortTaken || attempt === MAX_STARTS) throw error;
    }
  }
}

async function startOnce(directory: string): Promise<LocalEtcd> {
  const [clientPort, peerPort] = freePorts(2);
  const endpoint = `http://127.0.0.1:${clientPort}`;
  const child = spawn([
    "--name=waybill",
    `--data-dir=${directory}/data`,
    `--listen-client-urls=${endpoint}`,
    `--advertise-client-urls=${endpoint}`,
    `--listen-peer-urls=http://127.0.0.1:${peerPort}`,
    `--initial-advertise-peer-urls=http://127.0.0.1:${peerPort}`,
    `--initial-cluster=waybill=http://127.0.0.1:${peerPort}`,
    "--max-txn-ops=1024",
    "--logger=zap",
    "--log-level=warn",
  ]);
  const log = await logOf(child, `${directory}/etcd.log`);
  const running: Running = { pid: child.pid, endpoint };
  await Deno.writeTextFile(runningFile(directory), JSON.stringify(running));
  const ended = child.status.then(async () => {
    await log.closed;
    return log.tail();
  });
  let hasEnded = false;
  void ended.then(() => hasEnded = true);
  const givenUpAt = performance.now() + START_TIMEOUT_MS;
  while (!await isHealthy(endpoint)) {
    if (hasEnded) throw new Error(`etcd ended: ${await ended}`);
    if (performance.now() > givenUpAt) {
      child.kill("SIGKILL");
      throw new Error(`etcd does not serve after ${START_TIMEOUT_MS} ms: ${await ended}`);
    }
    await pause(POLL_MS);
  }
  return { endpoint, ended, stop: () => stop(directory, running, ended) };
}

function spawn(args: readonly string[]): Deno.ChildProcess {
  try {
    return new Deno.Command("etcd", {
      args: [...args],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      // Ctrl-C in a terminal is for all of its programs: the brokers need etcd while they stop.
      detached: true,
    }).spawn();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new Error(ETCD_MISSING);
    throw error;
  }
}

/** The one of an earlier run that was not ended with it; null when there is none. */
async function leftBehind(directory: string): Promise<LocalEtcd | null> {
  let running: Running;
  try {
    running = JSON.parse(await Deno.readTextFile(runningFile(directory)));
  } catch {
    return null;
  }
  if (!await isHealthy(running.endpoint)) return null;
  const { promise: ended } = Promise.withResolvers<string>();
  return { endpoint: running.endpoint, ended, stop: () => stop(directory, running, null) };
}

async function stop(
  directory: string,
  { pid, endpoint }: Running,
  ended: Promise<unknown> | null,
): Promise<void> {
  signal(pid, "SIGTERM");
  const givenUpAt = performance.now() + STOP_TIMEOUT_MS;
  let hasEnded = false;
  void ended?.then(() => hasEnded = true);
  while (ended === null ? await isHealthy(endpoint) : !hasEnded) {
    if (performance.now() > givenUpAt) {
      signal(pid, "SIGKILL");
      break;
    }
    await pause(POLL_MS);
  }
  await Deno.remove(runningFile(directory)).catch(() => undefined);
}

function signal(pid: number, name: Deno.Signal): void {
  try {
    Deno.kill(pid, name);
  } catch {
    // It has ended already.
  }
}

async function logOf(child: Deno.ChildProcess, path: string) {
  const file = await Deno.open(path, { create: true, append: true, mode: 0o600 });
  let tail = "";
  const decoder = new TextDecoder();
  const read = async (stream: ReadableStream<Uint8Array>) => {
    for await (const bytes of stream) {
      tail = (tail + decoder.decode(bytes, { stream: true })).slice(-KEPT_LOG_CHARS);
      await file.write(bytes);
    }
  };
  const closed = Promise.all([read(child.stdout), read(child.stderr)]).finally(() => file.close());
  return { closed, tail: () => tail };
}

function runningFile(directory: string): string {
  return `${directory}/running.json`;
}

/** Ports that were all free at one moment. */
function freePorts(count: number): number[] {
  const listeners = Array.from(
    { length: count },
    () => Deno.listen({ hostname: "127.0.0.1", port: 0 }),
  );
  const ports = listeners.map((listener) => listener.addr.port);
  for (const listener of listeners) listener.close();
  return ports;
}

async function isHealthy(endpoint: string): Promise<boolean> {
  try {
    const response = await fetch(`${endpoint}/health`, {
      signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS),
    });
    return (await response.json()).health === "true";
  } catch {
    return false;
  }
}
