// Owns the life of the bare server (bare_server.ts) as a process.
// Refuses to own load. Invariant: it never outlives the benchmark that started it.

const SERVER = new URL("bare_server.ts", import.meta.url).pathname;

export interface BareServer {
  readonly url: string;
  kill(): Promise<void>;
}

/** Starts it on a free port; what it is sent goes to `file`. */
export async function startBareServer(file: string): Promise<BareServer> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-net", "--allow-write", SERVER, file],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.getReader();
  const { value, done } = await reader.read();
  if (done) throw new Error("the bare server has not started");
  const port = Number(new TextDecoder().decode(value).trim());
  return {
    url: `http://127.0.0.1:${port}`,
    async kill() {
      child.kill("SIGKILL");
      await reader.cancel();
      await child.status;
    },
  };
}
