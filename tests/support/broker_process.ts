// Owns running the real broker as a process of its own on a free loopback port, for end-to-end tests.
// Refuses to own what is tested. Invariant: every wait is bounded, and no process outlives its test.

import { startArguments } from "../../ops/start_arguments.ts";

/** Longest start that is waited for. Machines of the test are slow and shared. */
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 60_000;

/** `await using` kills what is still running at the end of the test. */
export interface BrokerProcess extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
  /** Resolves when it has ended, for whatever reason. */
  readonly ended: Promise<Deno.CommandStatus>;
  /** Sends a signal; resolves to the exit status. */
  stop(signal: "SIGTERM" | "SIGINT" | "SIGKILL"): Promise<Deno.CommandStatus>;
  /** All that was written to standard error so far. */
  log(): string;
  /** All that was written to standard output so far. */
  output(): string;
}

/** A start that failed: what the process said, and its exit code. */
export class BrokerDidNotStart extends Error {
  override name = "BrokerDidNotStart";
  constructor(readonly code: number | null, readonly output: string) {
    super(`the broker did not start (exit code ${code}): ${output}`);
  }
}

/** Starts `deno task start` in effect, with the same permissions, on port 0 unless `args` say otherwise. */
export async function startBrokerProcess(options: {
  dataDir: string;
  args?: readonly string[];
  environment?: Readonly<Record<string, string>>;
  /** Runs the broker below another program, `["strace", "-f"]` for example. */
  wrapper?: readonly string[];
}): Promise<BrokerProcess> {
  const args = [
    ...(options.wrapper ?? []),
    Deno.execPath(),
    ...startArguments(),
    "--port=0",
    `--data-dir=${options.dataDir}`,
    ...(options.args ?? []),
  ];
  const child = new Deno.Command(args[0]!, {
    args: args.slice(1),
    cwd: new URL("../../", import.meta.url).pathname,
    env: { NO_COLOR: "1", ...options.environment },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let stderr = "";
  const stderrDone = collect(child.stderr, (text) => stderr = (stderr + text).slice(-100_000));
  const ready = Promise.withResolvers<string>();
  let stdout = "";
  const stdoutDone = collect(child.stdout, (text) => {
    stdout = (stdout + text).slice(-100_000);
    const match = /listening on (https?:\/\/\S+)/.exec(stdout);
    if (match !== null) ready.resolve(match[1]!);
  });
  const failed = child.status.then(async (status) => {
    await Promise.all([stdoutDone, stderrDone]);
    throw new BrokerDidNotStart(status.code, stderr);
  });
  failed.catch(() => undefined);
  const url = await within(START_TIMEOUT_MS, Promise.race([ready.promise, failed]), () => {
    child.kill("SIGKILL");
    return `no ready line; it said: ${stderr}`;
  });
  return {
    url,
    pid: child.pid,
    ended: child.status.then(async (status) => {
      await Promise.all([stdoutDone, stderrDone]);
      return status;
    }),
    log: () => stderr,
    output: () => stdout,
    async [Symbol.asyncDispose]() {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended.
      }
      await child.status;
      await Promise.all([stdoutDone, stderrDone]);
    },
    async stop(signal) {
      child.kill(signal);
      const status = await within(STOP_TIMEOUT_MS, child.status, () => {
        child.kill("SIGKILL");
        return `still running after ${signal}; it said: ${stderr}`;
      });
      await Promise.all([stdoutDone, stderrDone]);
      return status;
    },
  };
}

/** Runs `test` with a data directory that is removed afterwards. */
export async function withDataDir(test: (dataDir: string) => Promise<void>): Promise<void> {
  const dataDir = await Deno.makeTempDir({ prefix: "waybill-test-" });
  try {
    await test(dataDir);
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
}

async function collect(
  stream: ReadableStream<Uint8Array>,
  onText: (text: string) => void,
): Promise<void> {
  const decoder = new TextDecoder();
  for await (const bytes of stream) onText(decoder.decode(bytes, { stream: true }));
}

async function within<T>(ms: number, promise: Promise<T>, onTimeout: () => string): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(onTimeout())), ms);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
