// Owns the command line of the capacity calculator: its flags, units, defaults and bounds.
// Refuses to own what is made of them (plan.ts). Invariant: a demand that is handed out can be planned for.
import { parseArgs } from "node:util";
import type { Encoding } from "./figures.ts";
import type { Demand } from "./plan.ts";

export interface CapacityOptions {
  readonly demand: Demand;
  readonly json: boolean;
  /** Result of `deno task bench --json` to plan from; null: the figures of README.md. */
  readonly bench: string | null;
  /** Of the disk, MB/s; null: that of the figures. */
  readonly diskMegabytesPerSecond: number | null;
}

export const CAPACITY_HELP = `deno task capacity --rate N --bytes N --retention TIME [options]

How many brokers, partitions and consumers so many messages a second take, and what machine each broker
needs, from what one broker was measured to do. What is extrapolated is said.

  --rate N            messages published a second: 500, 10k, 2M
  --bytes N           key and value of one message: 1024, 10k
  --retention TIME    how long they are kept: 90m, 24h, 7d
  --replicas N        copies of each message; default 1
  --groups N          groups that read everything; default 1
  --publish HOW       json-single (1 a request), json (100 a request) or batch (the client); default batch
  --consume HOW       json or batch (the client); default batch
  --member-rate N     messages a second that one consumer can process; default 5k
  --publishers N      clients that publish; default 100
  --utilisation N     of event loop, disk and network, 0 to 1; default 0.5
  --disk-fill N       of a disk, 0 to 1; default 0.7
  --disk-mbs N        MB/s of synced writes of a broker's disk; default: as measured
  --network-mbs N     MB/s of a broker's network; default 1250 (10 Gbit/s)
  --bench FILE        figures of deno task bench --json instead of those of README.md
  --json              the plan as JSON
  --help              print this`;

const UNITS: Readonly<Record<string, number>> = { "": 1, k: 1e3, M: 1e6, G: 1e9 };
const HOURS: Readonly<Record<string, number>> = { m: 1 / 60, h: 1, d: 24 };
const PUBLISH = ["json-single", "json", "batch"] as const;
const CONSUME = ["json", "batch"] as const;
/** More or less of anything is a slip of the hand. */
const MAX_COUNT = 1e12;
const LEAST_RATE = 1;
/** A consumer may take minutes for a message. */
const LEAST_MEMBER_RATE = 0.001;
const LEAST_SHARE = 0.01;
const MAX_HOURS = 100 * 366 * 24;

/** The options, or "help". Throws an Error that says what is wrong with them. */
export function parseOptions(args: readonly string[]): CapacityOptions | "help" {
  const text = (value?: string) => ({
    type: "string" as const,
    ...(value === undefined ? {} : { default: value }),
  });
  const { values } = parseArgs({
    args: [...args],
    options: {
      rate: text(),
      bytes: text(),
      retention: text(),
      replicas: text("1"),
      groups: text("1"),
      publish: text("batch"),
      consume: text("batch"),
      "member-rate": text("5k"),
      publishers: text("100"),
      utilisation: text("0.5"),
      "disk-fill": text("0.7"),
      "disk-mbs": text(),
      "network-mbs": text("1250"),
      bench: text(),
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return "help";
  const demand: Demand = {
    rate: amount("rate", values.rate, LEAST_RATE),
    bytes: amount("bytes", values.bytes, 1),
    retentionHours: hours(values.retention),
    replicas: whole("replicas", values.replicas, 1),
    groups: whole("groups", values.groups, 0),
    publish: oneOf<Encoding>("publish", values.publish, PUBLISH),
    consume: oneOf("consume", values.consume, CONSUME),
    memberRate: amount("member-rate", values["member-rate"], LEAST_MEMBER_RATE),
    publishers: whole("publishers", values.publishers, 0),
    utilisation: share("utilisation", values.utilisation),
    diskFill: share("disk-fill", values["disk-fill"]),
    networkMegabytesPerSecond: amount("network-mbs", values["network-mbs"], 1),
  };
  const disk = values["disk-mbs"];
  return {
    demand,
    json: values.json,
    bench: values.bench ?? null,
    diskMegabytesPerSecond: disk === undefined ? null : amount("disk-mbs", disk, 1),
  };
}

function amount(name: string, text: string | undefined, least: number): number {
  const match = /^(\d+(?:\.\d+)?)([kMG]?)$/.exec(text ?? "");
  const value = match === null ? NaN : Number(match[1]) * UNITS[match[2]!]!;
  if (value >= least && value <= MAX_COUNT) return value;
  throw new Error(
    `--${name} takes a number from ${least} on, such as 500, 10k, 2M; not ${text ?? "nothing"}`,
  );
}

function whole(name: string, text: string | undefined, least: number): number {
  const value = /^\d+$/.test(text ?? "") ? Number(text) : NaN;
  if (value >= least && value <= MAX_COUNT) return value;
  throw new Error(`--${name} takes a whole number from ${least} on, not ${text}`);
}

function share(name: string, text: string | undefined): number {
  const value = Number(text);
  if (value >= LEAST_SHARE && value <= 1) return value;
  throw new Error(`--${name} takes a share from ${LEAST_SHARE} to 1, not ${text}`);
}

function hours(text: string | undefined): number {
  const match = /^(\d+(?:\.\d+)?)([mhd])$/.exec(text ?? "");
  const value = match === null ? NaN : Number(match[1]) * HOURS[match[2]!]!;
  if (value > 0 && value <= MAX_HOURS) return value;
  throw new Error(
    `--retention takes a time such as 90m, 24h, 7d, a hundred years at most; not ${
      text ?? "nothing"
    }`,
  );
}

function oneOf<Name extends string>(
  name: string,
  text: string | undefined,
  names: readonly Name[],
): Name {
  const found = names.find((one) => one === text);
  if (found !== undefined) return found;
  throw new Error(`--${name} takes one of ${names.join(", ")}, not ${text}`);
}
