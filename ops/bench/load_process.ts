// Owns starting a load in a process of its own and reading its answer.
// Refuses to own what the load does (load.ts). Invariant: a load that fails fails the benchmark.
import type { LoadResult, LoadSpec } from "./load_spec.ts";

const LOAD = new URL("load.ts", import.meta.url).pathname;

/** Runs one load to its end. */
export async function runLoad(spec: LoadSpec): Promise<LoadResult> {
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", LOAD, JSON.stringify(spec)],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).output();
  if (code !== 0) throw new Error(`the load ${spec.kind} failed`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** Starts a load that says one line when it is ready and stays until `end`. */
export async function startLoad(spec: LoadSpec): Promise<{ end(): Promise<void> }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", LOAD, JSON.stringify(spec)],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.getReader();
  const { done } = await reader.read();
  if (done) throw new Error(`the load ${spec.kind} failed`);
  return {
    async end() {
      child.kill("SIGKILL");
      await reader.cancel();
      await child.status;
    },
  };
}
