// Owns the composition root: reads the configuration, wires ports to actors and edges, serves, shuts down cleanly.
// Refuses to own any behaviour.
// Invariant: one ready line on standard output, when and only when requests are answered; exit 0 after a clean drain.
import { ConfigError, configHelp, readConfig } from "./ops/config.ts";
import { startBroker } from "./ops/broker_process.ts";
import { DataDirInUseError } from "./storage/file_log/data_dir_lock.ts";

/** Exit code for a start that cannot work as it was asked for. */
const EXIT_USAGE = 2;

async function main(): Promise<void> {
  const config = readConfig({
    args: Deno.args,
    environment: Deno.env.toObject(),
    readFile: (path) => Deno.readTextFileSync(path),
  });
  if (config === "help") {
    console.log(configHelp());
    return;
  }
  const broker = await startBroker(config);
  console.log(`waybill ${broker.version} listening on ${broker.url}`);
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    Deno.addSignalListener(signal, () => void broker.stop(signal).then(() => Deno.exit(0)));
  }
}

try {
  await main();
} catch (error) {
  if (!(error instanceof ConfigError || error instanceof DataDirInUseError)) throw error;
  console.error(error.message);
  Deno.exit(EXIT_USAGE);
}
