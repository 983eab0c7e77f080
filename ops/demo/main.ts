// Owns the demo command: options in, a run, its outcome out, the exit code.
// Refuses to own the run (run.ts). Invariant: exit code 0 means that the proof holds; with --json standard output holds
// one object or nothing.
import process from "node:process";
import { DEMO_HELP, type DemoOptions, parseOptions } from "./options.ts";
import { asJson, asTable } from "./report.ts";
import { runDemo } from "./run.ts";
import { LineScreen, LiveScreen, type Screen } from "./screen.ts";

const EXIT_NOT_PROVED = 1;
const EXIT_USAGE = 2;
/** Exit codes of a program that a signal ended. */
const EXIT_BY_SIGNAL = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

function readOptions(): DemoOptions | "help" {
  try {
    return parseOptions(Deno.args);
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${DEMO_HELP}`);
    Deno.exit(EXIT_USAGE);
  }
}

const INTRODUCTION = `
20,000 real flights, keyed by airport, go through 6 partitions to a group of
three members. On the way a member and the broker are killed by signal 9.
What became of every flight is proved at the end.
`;

function openScreen({ json }: DemoOptions): Screen {
  if (json) return new LineScreen((line) => console.error(line));
  if (Deno.stdout.isTerminal()) return new LiveScreen(!Deno.noColor);
  return new LineScreen((line) => console.log(line));
}

async function main(options: DemoOptions): Promise<number> {
  if (!options.json) console.log(INTRODUCTION);
  const screen = openScreen(options);
  const interrupt = new AbortController();
  let code: number = EXIT_NOT_PROVED;
  for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => {
      code = EXIT_BY_SIGNAL[signal];
      interrupt.abort(new Error(signal));
    });
  }
  // Without a listener a terminal that was closed would end the program before it has cleaned up.
  process.stdout.on("error", (error: Error) => interrupt.abort(error));
  try {
    const outcome = await runDemo(options, screen, interrupt.signal);
    screen.close();
    if (options.json) console.log(asJson(outcome));
    else console.log(`\n${asTable(outcome, Deno.stdout.isTerminal() && !Deno.noColor)}`);
    return outcome.proof.holds ? 0 : EXIT_NOT_PROVED;
  } catch (error) {
    screen.close();
    console.error(`the demo ended early: ${(error as Error).message}`);
    return code;
  }
}

const options = readOptions();
if (options === "help") console.log(DEMO_HELP);
else Deno.exit(await main(options));
