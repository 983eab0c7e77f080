// Owns the command line of the cluster on this machine: its flags, their defaults and bounds.
// Refuses to own what they cause. Invariant: options that are handed out can be carried out.
import { resolve } from "node:path";
import { parseArgs } from "node:util";

const DEFAULT_BROKERS = 3;
const MAX_BROKERS = 9;
const DEFAULT_PORT = 8080;

export interface LocalClusterOptions {
  readonly brokers: number;
  /** Of the first broker, the others follow; 0: free ones. */
  readonly port: number;
  /** Absolute. */
  readonly dataDir: string;
  /** Of an etcd that runs already; empty: one is started. */
  readonly etcd: readonly string[];
}

export const CLUSTER_HELP = `deno task cluster [options]

Starts etcd and ${DEFAULT_BROKERS} brokers on this machine, and stops them on ctrl-C. What they keep stays in the data
directory, and the next start goes on with it. A broker that dies is started again.

  --brokers N      brokers, 1 to ${MAX_BROKERS}; default ${DEFAULT_BROKERS}
  --port P         port of the first broker, the others follow; default ${DEFAULT_PORT}, 0: free ones
  --data-dir DIR   default ./data/cluster
  --etcd URL,…     endpoints of an etcd that runs already; without it one is started
  --help           print this`;

/** The options, or "help". Throws an Error that says what is wrong with them. */
export function parseOptions(args: readonly string[]): LocalClusterOptions | "help" {
  const { values } = parseArgs({
    args: [...args],
    options: {
      brokers: { type: "string", default: String(DEFAULT_BROKERS) },
      port: { type: "string", default: String(DEFAULT_PORT) },
      "data-dir": { type: "string", default: "./data/cluster" },
      etcd: { type: "string", default: "" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return "help";
  const brokers = whole("brokers", values.brokers, [1, MAX_BROKERS]);
  return {
    brokers,
    port: whole("port", values.port, [0, 65_536 - brokers]),
    dataDir: resolve(values["data-dir"]),
    etcd: values.etcd.split(",").map((part) => part.trim()).filter((part) => part !== ""),
  };
}

function whole(name: string, text: string, [min, max]: [number, number]): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new Error(`--${name} must be a whole number from ${min} to ${max}, not ${text}`);
}
