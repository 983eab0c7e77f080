// Owns the command line of drills: its flags, their defaults and bounds.
// Refuses to own what they cause. Invariant: options that are handed out can be carried out.
import { parseArgs } from "node:util";
import { drillNamed, DRILLS } from "./catalogue.ts";
import type { Drill } from "./types.ts";

/** Git-ignored: what is kept of a run is for whoever ran it. */
const DEFAULT_OUT = new URL("reports", import.meta.url).pathname;

export interface Options {
  readonly command: "run" | "list";
  readonly drills: readonly Drill[];
  readonly repairs: boolean;
  readonly json: boolean;
  readonly out: string;
}

export const DRILL_HELP = `deno task drill NAME | all | list [options]

Starts a broker of its own, breaks something, lets alerts and runbooks repair it, and reports what was
acknowledged, lost and stored twice, and how long it took. Exit code 0 when every drill passed, else 1.

  --repairs on|off   off switches off what repairs: every drill has to fail then; default on
  --json             print the reports as JSON; progress goes to standard error
  --out DIRECTORY    where reports are written, as JSON and Markdown; default ops/drills/reports
  --help             print this

${DRILLS.map(({ name, title }) => `  ${name.padEnd(22)}${title}`).join("\n")}`;

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
    },
  });
  if (values.help) return "help";
  const { repairs, json, out } = values;
  if (repairs !== "on" && repairs !== "off") {
    throw new Error(`--repairs must be on or off, not ${repairs}`);
  }
  if (out === "") throw new Error("--out must name a directory");
  if (positionals.length === 0) throw new Error("say which drill: a name, all, or list");
  const common = { repairs: repairs === "on", json, out };
  if (positionals[0] === "list") return { command: "list", drills: DRILLS, ...common };
  const drills = positionals[0] === "all" ? DRILLS : positionals.map(named);
  return { command: "run", drills, ...common };
}

function named(name: string): Drill {
  const drill = drillNamed(name);
  if (drill !== null) return drill;
  const known = DRILLS.map((each) => each.name).join(", ");
  throw new Error(`there is no drill ${name}; there are ${known}`);
}
