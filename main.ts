// Owns the composition root: reads the configuration, wires ports to actors and edges, serves, shuts down cleanly.
// Refuses to own any behaviour.
// Invariant: one ready line on standard output, when and only when requests are answered; exit 0 after a clean drain.
import { ConfigError, configHelp, ENVIRONMENT_NAMES, readConfig } from "./ops/config.ts";
import { CannotStartError, startBroker } from "./ops/broker_process.ts";
import { ownEnvironment } from "./ops/environment.ts";
import { BrokerError } from "./storage/broker_error.ts";
import { DataDirInUseError } from "./storage/file_log/data_dir_lock.ts";

/** Exit code for a start that failed, or an end that was not clean. */
const EXIT_FAILED = 1;
/** Exit code for a start that cannot work as it was asked for. */
const EXIT_USAGE = 2;

async function main(): Promise<void> {
  const config = readConfig({
    args: Deno.args,
    environment: ownEnvironment(ENVIRONMENT_NAMES),
    readFile: (path) => Deno.readTextFileSync(path),
  });
  if (config === "help") {
    console.log(configHelp());
    return;
  }
  const broker = await startBroker(config);
  console.log(`waybill ${broker.version} listening on ${broker.url}`);
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

try {
  await main();
} catch (error) {
  const code = exitCodeOf(error);
  if (code === null) throw error;
  console.error((error as Error).message);
  Deno.exit(code);
}
