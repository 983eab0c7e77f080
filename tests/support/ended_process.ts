// Owns running a broker that is expected to end by itself, as `deno task start` would run it.
// Refuses to own what it should have said. Invariant: it runs no longer than its bound.
import { startArguments } from "../../ops/start_arguments.ts";

/** Longest run of a process that must refuse to start. */
const END_TIMEOUT_MS = 30_000;

export interface EndedProcess {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export async function endedProcess(
  args: readonly string[],
  options: {
    readonly environment?: Readonly<Record<string, string>>;
    /** Default: those of the start task. */
    readonly words?: readonly string[];
  } = {},
): Promise<EndedProcess> {
  const { environment = {}, words = startArguments() } = options;
  const child = new Deno.Command("env", {
    args: ["-u", "NO_COLOR", Deno.execPath(), ...words, ...args],
    cwd: new URL("../../", import.meta.url).pathname,
    env: environment,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), END_TIMEOUT_MS);
  const { code, stdout, stderr } = await child.output();
  clearTimeout(timer);
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}
