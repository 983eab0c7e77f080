// Owns the broker as a child process, for benchmarks and demos: started as a user starts it, ready when it says so.
// Refuses to own what is done with it, and its data directory.
// Invariant: a start either gives a broker that answers, or rejects with what the process said and leaves none behind.
import { startArguments } from "./start_arguments.ts";

const ROOT = new URL("../", import.meta.url).pathname;
/** Longest start that is waited for; machines may be slow and shared. */
const START_TIMEOUT_MS = 60_000;
/** Of what it wrote to standard error, this much is kept. */
const KEPT_LOG_CHARS = 20_000;

export interface BrokerChild {
  readonly url: string;
  readonly pid: number;
  /** From the start of the process to its ready line, ms. */
  readonly startedInMs: number;
  /** Resolves when the process has ended, for whatever reason. */
  readonly ended: Promise<Deno.CommandStatus>;
  /** The end of its standard error; empty when that is inherited. */
  log(): string;
  /** One line to its standard input, which only a program other than main.ts listens to. */
  tell(line: string): Promise<void>;
  /** Sends the signal, unless it has ended, and waits for the end. */
  kill(signal: "SIGTERM" | "SIGKILL"): Promise<Deno.CommandStatus>;
}

export interface BrokerChildOptions {
  readonly dataDir: string;
  /** Default 0: a free one. */
  readonly port?: number;
  /** More flags of the broker. */
  readonly args?: readonly string[];
  /** "inherit" (default) shows its log, "keep" keeps the end of it for `log()`. */
  readonly stderr?: "inherit" | "keep";
  /** File that all of its log is appended to besides; needs "keep". */
  readonly logFile?: string;
  /** Program that is started instead of main.ts, relative to the project: it gets standard input, for `tell`. */
  readonly entry?: string;
}

/** Starts a broker on loopback; resolves when it listens. */
export async function startBrokerChild(options: BrokerChildOptions): Promise<BrokerChild> {
  const started = performance.now();
  const keep = options.stderr === "keep";
  const { logFile } = options;
  const file = logFile === undefined
    ? null
    : Deno.openSync(logFile, { create: true, append: true, mode: 0o600 });
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...startArguments(options.entry),
      `--port=${options.port ?? 0}`,
      `--data-dir=${options.dataDir}`,
      "--log-level=warning",
      ...(options.args ?? []),
    ],
    cwd: ROOT,
    stdin: options.entry === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: keep ? "piped" : "inherit",
  }).spawn();
  let log = "";
  const logged = keep
    ? readAll(child.stderr, (text) => {
      log = (log + text).slice(-KEPT_LOG_CHARS);
      file?.writeSync(new TextEncoder().encode(text));
    }).finally(() => file?.close())
    : Promise.resolve();
  const url = await readyUrl(child);
  if (url === null) {
    const { code } = await child.status;
    await logged;
    throw new Error(`the broker ended before it was ready (exit code ${code}): ${log}`);
  }
  return {
    url,
    pid: child.pid,
    startedInMs: performance.now() - started,
    ended: child.status,
    log: () => log,
    async tell(line) {
      const writer = child.stdin.getWriter();
      try {
        await writer.write(new TextEncoder().encode(`${line}\n`));
      } finally {
        writer.releaseLock();
      }
    },
    async kill(signal) {
      sendSignal(child, signal);
      return await child.status;
    },
  };
}

/** The address in the ready line; null when the process ended first. One that takes too long is killed. */
async function readyUrl(child: Deno.ChildProcess): Promise<string | null> {
  const timer = setTimeout(() => sendSignal(child, "SIGKILL"), START_TIMEOUT_MS);
  let text = "";
  const ready = Promise.withResolvers<string | null>();
  readAll(child.stdout, (more) => {
    text = (text + more).slice(-KEPT_LOG_CHARS);
    const match = /listening on (https?:\/\/\S+)\s/.exec(text);
    if (match !== null) ready.resolve(match[1]!);
  }).then(() => ready.resolve(null), ready.reject);
  try {
    return await ready.promise;
  } finally {
    clearTimeout(timer);
  }
}

function sendSignal(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch (error) {
    // It has ended already.
    if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function readAll(
  stream: ReadableStream<Uint8Array>,
  onText: (text: string) => void,
): Promise<void> {
  const decoder = new TextDecoder();
  for await (const bytes of stream) onText(decoder.decode(bytes, { stream: true }));
}
