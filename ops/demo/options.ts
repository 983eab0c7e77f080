// Owns the demo's command line: its flags, their defaults and bounds.
// Refuses to own what they cause. Invariant: options that are handed out can be carried out.
import { parseArgs } from "node:util";

const DEFAULT_RATE = 1_000;
const FAST_RATE = 10_000;
const MAX_RATE = 100_000;
const MAX_KILLS = 50;

export interface DemoOptions {
  /** Flights published a second. */
  readonly rate: number;
  /** Short waits, for tests. */
  readonly fast: boolean;
  /** The proof as one JSON object on standard output, and nothing else there. */
  readonly json: boolean;
  /** How often the broker is killed. */
  readonly kills: number;
}

export const DEMO_HELP = `deno task demo [options]

Publishes 20,000 flights keyed by airport, consumes them in a group of three, kills a member and the broker
on the way, and proves that everything arrived, in order for each airport. Exit code 1 when the proof fails.

  --rate N    flights published a second, 1 to ${MAX_RATE}; default ${DEFAULT_RATE}
  --kills N   how often the broker is killed by signal 9, 0 to ${MAX_KILLS}; default 1
  --fast      rate ${FAST_RATE} and short waits: over in a few seconds
  --json      print the proof as one JSON object; progress goes to standard error
  --help      print this`;

/** The options, or "help". Throws an Error that says what is wrong with them. */
export function parseOptions(args: readonly string[]): DemoOptions | "help" {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rate: { type: "string" },
      kills: { type: "string" },
      fast: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return "help";
  const { fast, json } = values;
  return {
    fast,
    json,
    rate: whole("rate", values.rate ?? String(fast ? FAST_RATE : DEFAULT_RATE), [1, MAX_RATE]),
    kills: whole("kills", values.kills ?? "1", [0, MAX_KILLS]),
  };
}

function whole(name: string, text: string, [min, max]: [number, number]): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new Error(`--${name} must be a whole number from ${min} to ${max}, not ${text}`);
}
