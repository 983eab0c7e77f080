// Owns the command of the exactly-once example: its flags, what it prints, its exit code.
// Refuses to own the run (run.ts). Invariant: exit code 0 means that every message was transformed exactly once.
import { parseArgs } from "node:util";
import { runExactlyOnce } from "./run.ts";

const MAX_MESSAGES = 100_000;
const MAX_KILLS = 100;
const EXIT_NOT_SHOWN = 1;
const EXIT_USAGE = 2;
const TIMEOUT_MS = 300_000;

const HELP = `deno task exactly-once [--messages N] [--kills N]

Two instances of an application double the numbers of one topic into another, each batch in a transaction with the
offsets of what it read, while they and the broker are killed by signal 9.

  --messages N   numbers to double, 1 to ${MAX_MESSAGES}; default 5000
  --kills N      how often somebody is killed, 0 to ${MAX_KILLS}; default 9`;

function readOptions(): { messages: number; kills: number } | null {
  const options = {
    messages: { type: "string", default: "5000" },
    kills: { type: "string", default: "9" },
  } as const;
  try {
    const { values } = parseArgs({ args: Deno.args, options });
    const [messages, kills] = [Number(values.messages), Number(values.kills)];
    const isValid = Number.isInteger(messages) && messages >= 1 && messages <= MAX_MESSAGES &&
      Number.isInteger(kills) && kills >= 0 && kills <= MAX_KILLS;
    return isValid ? { messages, kills } : null;
  } catch {
    return null;
  }
}

const options = readOptions();
if (options === null) {
  console.error(HELP);
  Deno.exit(EXIT_USAGE);
}
const outcome = await runExactlyOnce({
  ...options,
  timeoutMs: TIMEOUT_MS,
  onEvent: (what) => console.log(what),
});
const { inputs, outputs, missing, twice, sum, expectedSum, aborted, holds } = outcome;
console.log(`
${inputs} messages were read, ${outputs} are shown: ${missing} missing, ${twice} twice
${aborted} more were written and aborted: nobody is shown them
the sum is ${sum}, without a failure it is ${expectedSum}
${holds ? "exactly once" : "NOT exactly once"}`);
Deno.exit(holds ? 0 : EXIT_NOT_SHOWN);
