// Owns the command line of drills: its flags, their defaults and bounds.
// Refuses to own what they cause. Invariant: options that are handed out can be carried out.
import { parseArgs } from "node:util";
import { drillNamed, DRILLS } from "./catalogue.ts";
import { CLUSTER_DRILLS, clusterDrillNamed } from "./cluster/catalogue.ts";
import type { ClusterDrill, ClusterRunOptions } from "./cluster/types.ts";
import type { Drill } from "./types.ts";

/** Git-ignored: what is kept of a run is for whoever ran it. */
const DEFAULT_OUT = new URL("reports", import.meta.url).pathname;

const MAX_KILLS = 100;
const MAX_PER_SECOND = 100_000;

export interface Options {
  readonly command: "run" | "list";
  readonly drills: readonly Drill[];
  /** Of clusters; either these are asked for or the others, but by `list`. */
  readonly clusterDrills: readonly ClusterDrill[];
  readonly cluster: ClusterRunOptions;
  readonly repairs: boolean;
  readonly json: boolean;
  readonly out: string;
}

export const DRILL_HELP = `deno task drill NAME | all | list [options]
deno task drill cluster NAME | all [options]

Starts a broker of its own, breaks something, lets alerts and runbooks repair it, and reports what was
acknowledged, lost and stored twice, and how long it took. Exit code 0 when every drill passed, else 1.
Cluster drills start three members of etcd and three brokers, each in a network namespace: they need root,
iproute2 and etcd.

  --repairs on|off   off switches off what repairs: every drill has to fail then; default on
  --json             print the reports as JSON; progress goes to standard error
  --out DIRECTORY    where reports are written, as JSON and Markdown; default ops/drills/reports
  --help             print this

Of cluster drills:
  --acks all|leader  leader acknowledges before anything is replicated: what is lost has to be told of; default all
  --kills N          how often broker-killed kills a leader, 1 to ${MAX_KILLS}; default 3
  --rate N           messages published a second, 1 to ${MAX_PER_SECOND}; default 5000

${DRILLS.map(line).join("\n")}

cluster
${CLUSTER_DRILLS.map(line).join("\n")}`;

/** The options, or "help". Throws an Error that says what is wrong with them. */
export function parseOptions(args: readonly string[]): Options | "help" {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      repairs: { type: "string", default: "on" },
      json: { type: "boolean", default: false },
      out: { type: "string", default: DEFAULT_OUT },
      help: { type: "boolean", short: "h", default: false },
      acks: { type: "string", default: "all" },
      kills: { type: "string", default: "3" },
      rate: { type: "string", default: "5000" },
    },
  });
  if (values.help) return "help";
  const { repairs, json, out, acks } = values;
  if (repairs !== "on" && repairs !== "off") {
    throw new Error(`--repairs must be on or off, not ${repairs}`);
  }
  if (acks !== "all" && acks !== "leader") {
    throw new Error(`--acks must be all or leader, not ${acks}`);
  }
  if (out === "") throw new Error("--out must name a directory");
  const kills = within("--kills", values.kills, MAX_KILLS);
  const cluster = {
    acks,
    kills,
    perSecond: within("--rate", values.rate, MAX_PER_SECOND),
  } as const;
  const common = { repairs: repairs === "on", json, out, cluster };
  const [first, ...others] = positionals;
  if (first === undefined || (first === "cluster" && others.length === 0)) {
    throw new Error("say which drill: a name, all, or list");
  }
  if (first === "list") {
    return { command: "list", drills: DRILLS, clusterDrills: CLUSTER_DRILLS, ...common };
  }
  if (first !== "cluster") {
    const drills = first === "all" ? DRILLS : positionals.map(named);
    return { command: "run", drills, clusterDrills: [], ...common };
  }
  if (repairs === "off") throw new Error("--repairs off is not for cluster drills: see --acks");
  const clusterDrills = others[0] === "all" ? CLUSTER_DRILLS : others.map(clusterNamed);
  return { command: "run", drills: [], clusterDrills, ...common };
}

function line({ name, title }: Pick<Drill, "name" | "title">): string {
  return `  ${name.padEnd(26)}${title}`;
}

function within(flag: string, text: string, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= most) return value;
  throw new Error(`${flag} must be a whole number from 1 to ${most}, not ${text}`);
}

function named(name: string): Drill {
  const drill = drillNamed(name);
  if (drill !== null) return drill;
  const known = DRILLS.map((each) => each.name).join(", ");
  throw new Error(`there is no drill ${name}; there are ${known}`);
}

function clusterNamed(name: string): ClusterDrill {
  const drill = clusterDrillNamed(name);
  if (drill !== null) return drill;
  const known = CLUSTER_DRILLS.map((each) => each.name).join(", ");
  throw new Error(`there is no cluster drill ${name}; there are ${known}`);
}
