// Owns the command line as a process: `deno task waybill …`.
// Refuses to own any command. Invariant: its exit code is that of the command.
import { COMMANDS } from "./commands.ts";
import { runCli } from "./run.ts";
import { processTerminal } from "./terminal.ts";

Deno.exit(await runCli(Deno.args, processTerminal(), COMMANDS));
