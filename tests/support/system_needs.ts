// Owns what tests may ask of the machine they run on: root, mounts, a compiler, a tracer; and what happens without.
// Refuses to own the use of any of it.
// Invariant: a test that cannot run says so and why; where CI is set, not being able to run is a failure.

/**
 * The value for a test's `ignore`: false where `available`. Otherwise tells `why` on standard error, and where the
 * environment variable CI is set registers a test that fails, so that nothing stays unproven unseen.
 */
export function requireOrSkip(name: string, available: boolean, why: string): boolean {
  if (available) return false;
  console.warn(`skipped, no ${name}: ${why}`);
  if ((Deno.env.get("CI") ?? "") !== "") {
    Deno.test(`this machine has ${name}`, () => {
      throw new Error(`CI must not skip what needs ${name}: ${why}`);
    });
  }
  return true;
}

/** Runs a program to its end; what it wrote. Throws with its standard error when it fails. */
export async function run(program: string, ...args: string[]): Promise<string> {
  const { success, code, stdout, stderr } = await new Deno.Command(program, { args }).output();
  const text = new TextDecoder();
  if (success) return text.decode(stdout);
  throw new Error(`${program} ${args.join(" ")} ended with ${code}: ${text.decode(stderr)}`);
}

/** Whether the program is there and ends well. */
export async function works(program: string, ...args: string[]): Promise<boolean> {
  try {
    await run(program, ...args);
    return true;
  } catch {
    return false;
  }
}
