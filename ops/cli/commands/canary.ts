// Owns the command on a group's canary: show, set, promote, remove.
// Refuses to own what a canary does. Invariant: what is not given has the broker's default.
import type { Json } from "../broker_api.ts";
import { type Command, type Context, DRY_RUN, option, REASON, word } from "../command.ts";
import { UsageError } from "../failures.ts";
import { durationSeconds, pathOf } from "../grammar.ts";
import { count, time } from "../output.ts";

const ACTIONS = ["show", "set", "promote", "remove"];
/** What only `set` takes. */
const SETTINGS = ["version", "percent", "window", "min-observations", "factor", "margin"];

export const canary: Command = {
  describes: "Give a version of a group's consumers a share of its partitions, on trial",
  options: {
    group: word("Name of the group"),
    action: word(`One of ${ACTIONS.join(", ")}; show when left out`, false),
    version: option("text", "The version, as its members say when they join"),
    percent: option("n", "Share of the partitions, 0 to 100"),
    window: option("duration", "Over which it is compared with the rest: 90s, 15m"),
    "min-observations": option("n", "Messages that each side must have answered in the window"),
    factor: option("n", "Worse is a rate at least so many times the rest's …"),
    margin: option("share", "… and at least so much above it: 0.02"),
    "max-lost-sessions": option("n", "Sessions without a leave that are worse too; 0: never"),
    ...DRY_RUN,
    ...REASON,
  },
  examples: [
    ["billing", "how it does beside the rest"],
    ["billing set --version 2.1.0 --percent 10 --dry-run", "which partitions would move"],
    [`billing set --version 2.1.0 --percent 10 --reason "release 2.1"`, "a tenth of them"],
    ["billing promote", "all versions share evenly again"],
    ["billing remove", "the same, and a withdrawn version is let in again"],
  ],
  run: async (context) => {
    const action = context.given.text("action") ?? "show";
    if (!ACTIONS.includes(action)) {
      throw new UsageError(`"${action}" is none of ${ACTIONS.join(", ")}`);
    }
    refuseStray(context, action);
    const path = pathOf`/api/groups/${context.given.need("group")}/canary`;
    await RUN[action as keyof typeof RUN](context, path);
  },
};

/** A setting that would do nothing was meant to do something. */
function refuseStray({ given }: Context, action: string): void {
  if (action === "set") return;
  const stray = [...SETTINGS, "max-lost-sessions"].find((name) => given.text(name) !== undefined);
  if (stray !== undefined) throw new UsageError(`--${stray} goes with set, not with ${action}`);
  if (given.flag("dry-run")) throw new UsageError(`--dry-run goes with set, not with ${action}`);
}

const RUN = { show, set, promote, remove };

async function show(context: Context, path: string): Promise<void> {
  await shown(context, await context.api.get(path));
}

async function set(context: Context, path: string): Promise<void> {
  const { given, api, output } = context;
  const percent = given.number("percent");
  if (percent === undefined) throw new UsageError("--percent is needed");
  const window = given.text("window");
  const dryRun = given.flag("dry-run");
  const body = {
    version: given.need("version"),
    percent,
    windowSeconds: window === undefined ? undefined : durationSeconds(window),
    minObservations: given.integer("min-observations"),
    factor: given.number("factor"),
    margin: given.number("margin"),
    maxLostSessions: given.integer("max-lost-sessions"),
    reason: given.text("reason"),
    dryRun,
  };
  const change = await api.json("PUT", path, { body });
  await output.result(change, () => [
    ...lines(change, output),
    "",
    output.table(
      ["TOPIC", "PARTITION", "FROM", "TO"],
      change.moved.map((move: Json) => [move.topic, move.partition, move.from, move.to]),
      "no partition moves",
    ),
    ...(dryRun ? ["", "this was a dry run: nothing has changed"] : []),
  ]);
}

async function promote(context: Context, path: string): Promise<void> {
  const { given, api } = context;
  await shown(context, await api.post(`${path}:promote`, { reason: given.text("reason") }));
}

async function remove({ given, api, output }: Context, path: string): Promise<void> {
  const reason = given.text("reason");
  await api.delete(reason === undefined ? path : `${path}?reason=${encodeURIComponent(reason)}`);
  const group = given.need("group");
  await output.result({ removed: group }, () => `group ${group} has no canary any more`);
}

async function shown({ output }: Context, canary: Json): Promise<void> {
  await output.result(canary, () => lines(canary, output));
}

function lines(canary: Json, output: Context["output"]): string[] {
  const { version, percent, state, partitions, ofPartitions, members, note, verdict } = canary;
  return [
    output.fields([
      ["group", canary.groupId],
      ["version", version],
      ["state", state],
      ["percent", percent],
      ["partitions", `${partitions.length} of ${ofPartitions}: ${namesOf(partitions)}`],
      ["members", members],
      ["since", time(canary.since)],
      ["changed", `${time(canary.changedAt)} by ${canary.changedBy}`],
      ...(canary.reason === null ? [] : [["reason", canary.reason] as const]),
      ...(note === null ? [] : [["note", note] as const]),
      ["verdict", `${verdict.state}: ${verdict.text}`],
    ]),
    "",
    output.table(
      ["SIDE", "ANSWERED", "NACKED", "RATE", "DEAD LETTERS", "RATE", "LOST SESSIONS"],
      [["canary", canary.canary], ["rest", canary.rest]].map(([side, rates]) => [
        side,
        count(rates.answered),
        count(rates.nacked),
        percentage(rates.nackRate),
        count(rates.deadLettered),
        percentage(rates.deadLetterRate),
        count(rates.lostSessions),
      ]),
    ),
  ];
}

const MAX_NAMED = 10;

function namesOf(partitions: readonly Json[]): string {
  const names = partitions.slice(0, MAX_NAMED).map((at) => `${at.topic}/${at.partition}`);
  return partitions.length > MAX_NAMED ? `${names.join(" ")} …` : names.join(" ");
}

function percentage(rate: number | null): string | null {
  return rate === null ? null : `${(100 * rate).toFixed(2)}%`;
}
