// Owns how another process of ours starts a broker: exactly as `deno task start` does.
// Refuses to own what the task says (deno.json). Invariant: a broker under test has the permissions a user's has.
import config from "../deno.json" with { type: "json" };

const ROOT = new URL("../", import.meta.url).pathname;

/** Arguments of `deno` that start a broker, or `entry` as one, without the broker's own. Paths are absolute. */
export function startArguments(entry = "main.ts"): string[] {
  const [deno, ...rest] = config.tasks.start.split(" ");
  if (deno !== "deno") throw new Error(`the start task runs ${deno}, not deno`);
  return [`--config=${ROOT}deno.json`, ...rest].map((word) =>
    word === "main.ts" ? ROOT + entry : word
  )
    .sort((a, b) => Number(b === "run") - Number(a === "run"));
}
