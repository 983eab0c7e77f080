// Owns the program that a broker is: its command line and environment in, the ready line, signals and exit codes out.
// Refuses to own what a broker is made of (start_broker.ts).
// Invariant: one ready line on standard output, when and only when requests are answered; exit 0 after a clean drain.
import { BrokerError } from "../../storage/broker_error.ts";
import { DataDirInUseError } from "../../storage/file_log/data_dir_lock.ts";
import { ConfigError, configHelp, ENVIRONMENT_NAMES, readConfig } from "../config.ts";
import { ownEnvironment } from "../environment.ts";
import type { ProcessPorts } from "./ports.ts";
import { CannotStartError } from "./start_checks.ts";
import { startBroker } from "./start_broker.ts";

/** Exit code for a start that failed, or an end that was not clean. */
const EXIT_FAILED = 1;
/** Exit code for a start that cannot work as it was asked for. */
const EXIT_USAGE = 2;

/** Runs a broker as the program of this process, as its arguments and environment say. Ends the process when it cannot. */
export async function runBroker(ports: ProcessPorts): Promise<void> {
  try {
    await run(ports);
  } catch (error) {
    const code = exitCodeOf(error);
    if (code === null) throw error;
    console.error((error as Error).message);
    Deno.exit(code);
  }
}

async function run(ports: ProcessPorts): Promise<void> {
  const config = readConfig({
    args: Deno.args,
    environment: ownEnvironment(ENVIRONMENT_NAMES),
    readFile: (path) => Deno.readTextFileSync(path),
  });
  if (config === "help") {
    console.log(configHelp());
    return;
  }
  const broker = await startBroker(config, ports);
  console.log(`waybill ${broker.version} listening on ${broker.url}`);
  void broker.superseded.then(async () => {
    const why = `another process is broker ${config.nodeId} of the cluster now`;
    console.error(why);
    await broker.stop(why).catch(() => {});
    Deno.exit(EXIT_FAILED);
  });
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    Deno.addSignalListener(signal, () => {
      broker.stop(signal).then(() => Deno.exit(0), () => Deno.exit(EXIT_FAILED));
    });
  }
}

/** What the operator can do something about is one line; anything else keeps its stack. */
function exitCodeOf(error: unknown): number | null {
  const refusals = [ConfigError, DataDirInUseError, CannotStartError];
  if (refusals.some((refusal) => error instanceof refusal)) return EXIT_USAGE;
  return error instanceof BrokerError ? EXIT_FAILED : null;
}
