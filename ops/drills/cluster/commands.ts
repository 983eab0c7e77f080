// Owns running a command to its end. Refuses to own what it does.
// Invariant: a command that fails rejects with what it said.

export async function output(command: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(command, {
    args: [...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const text = new TextDecoder();
  if (code === 0) return text.decode(stdout);
  throw new Error(`${command} ${args.join(" ")}: exit code ${code}: ${text.decode(stderr).trim()}`);
}
