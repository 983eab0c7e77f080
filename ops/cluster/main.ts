// Owns the command that runs a cluster on this machine: options in, where it is out, and its end on ctrl-C.
// Refuses to own the cluster (local_cluster.ts). Invariant: it ends when all that it started has ended.
import { type LocalCluster, startLocalCluster } from "./local_cluster.ts";
import { CLUSTER_HELP, type LocalClusterOptions, parseOptions } from "./options.ts";

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

function readOptions(): LocalClusterOptions | "help" {
  try {
    return parseOptions(Deno.args);
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${CLUSTER_HELP}`);
    Deno.exit(EXIT_USAGE);
  }
}

function shownCluster(cluster: LocalCluster): string {
  const brokers = cluster.brokers();
  const first = brokers[0]!.url;
  return [
    "",
    ...brokers.map(({ nodeId, url, pid, dataDir }) =>
      `broker ${nodeId}   ${url}   process ${pid}   ${dataDir}`
    ),
    `etcd       ${cluster.etcd.join(", ")}`,
    `logs       ${cluster.dataDir}/broker-*.log`,
    "",
    `The dashboard is at ${first}/ (any broker answers anything). A topic on all of them:`,
    "",
    `  curl -X POST ${first}/api/topics -H 'content-type: application/json' \\`,
    `    -d '{"name":"orders","partitions":6,"replicationFactor":${
      Math.min(3, brokers.length)
    },"minInsyncReplicas":${Math.min(2, brokers.length)}}'`,
    "",
    "Ctrl-C stops all of it; what it keeps stays.",
  ].join("\n");
}

async function main(options: LocalClusterOptions): Promise<number> {
  const interrupt = new AbortController();
  const ended = Promise.withResolvers<void>();
  for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => {
      interrupt.abort();
      ended.resolve();
    });
  }
  const say = (line: string) => console.log(line);
  try {
    const cluster = await startLocalCluster(options, { say, signal: interrupt.signal });
    console.log(shownCluster(cluster));
    await ended.promise;
    console.log("stopping");
    await cluster.stop();
    return 0;
  } catch (error) {
    console.error((error as Error).message);
    return EXIT_FAILED;
  }
}

const options = readOptions();
if (options === "help") console.log(CLUSTER_HELP);
else Deno.exit(await main(options));
