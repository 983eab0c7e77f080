// Owns the commands on alerts and the thresholds that raise them.
// Refuses to own when one is raised. Invariant: of a threshold what is not given stays as it is.
import type { Json } from "../broker_api.ts";
import { confirm } from "../asking.ts";
import {
  type CommandGroup,
  type Context,
  flag,
  LIMIT,
  oneOf,
  option,
  REASON,
  word,
  YES,
} from "../command.ts";
import { EXIT_FAILED, EXIT_OK, UsageError } from "../failures.ts";
import type { Options } from "../given.ts";
import { durationSeconds, pathOf } from "../grammar.ts";
import { handbookPage } from "../handbook.ts";
import { type Cell, count, seconds, time } from "../output.ts";
import { camel } from "./topics.ts";

const ALERT = { alert: word("Id of the alert") };
const SEVERITIES = ["P1", "P2", "P3"];

export const alerts: CommandGroup = {
  describes: "List and show alerts; acknowledge and silence them",
  commands: {
    list: {
      describes: "List alerts: pending and firing ones first",
      options: {
        state: oneOf(["pending", "firing", "resolved"], "In this state alone"),
        severity: oneOf(SEVERITIES, "Of this severity alone"),
        name: option("threshold", "Of this threshold alone"),
        resource: option("name", "Of this resource alone, such as group:billing"),
        "fail-if-firing": flag("Exit code 1 when one that is listed is firing"),
        ...LIMIT,
      },
      examples: [
        ["--state firing", "what is wrong now"],
        ["--severity P1 --fail-if-firing", "for a script"],
      ],
      run: listAlerts,
    },
    show: {
      describes: "Show an alert, with the samples that fired it",
      options: ALERT,
      examples: [["a-1", "since when and why"]],
      run: async (context) => {
        const path = pathOf`/api/alerts/${context.given.need("alert")}`;
        await showAlert(context, await context.api.get(path));
      },
    },
    acknowledge: {
      describes: "Say that you look after a firing alert: it escalates no more",
      options: { ...ALERT, ...REASON },
      examples: [[`a-1 --reason "looking into it"`, "kept with your name"]],
      run: async (context) => {
        const { given, api } = context;
        const path = pathOf`/api/alerts/${given.need("alert")}:acknowledge`;
        await showAlert(context, await api.post(path, { reason: given.text("reason") }));
      },
    },
    silence: {
      describes: "Tell nobody of an alert for a while; 0 ends a silence",
      options: { ...ALERT, for: option("duration", "90s, 15m, 2h, 1d"), ...REASON },
      examples: [[`a-1 --for 2h --reason "maintenance"`, "two hours"], ["a-1 --for 0", "ends it"]],
      run: async (context) => {
        const { given, api } = context;
        const path = pathOf`/api/alerts/${given.need("alert")}:silence`;
        const body = { seconds: durationSeconds(given.need("for")), reason: given.text("reason") };
        await showAlert(context, await api.post(path, body));
      },
    },
  },
};

async function listAlerts({ given, api, output }: Context): Promise<number> {
  const query = Object.fromEntries(
    ["state", "severity", "name", "resource"].map((name) => [name, given.text(name)]),
  );
  const limit = given.integer("limit")!;
  const { entries } = await api.list("/api/alerts", "alerts", { limit, query });
  await output.result({ alerts: entries }, () =>
    output.table(
      ["ALERT", "SEVERITY", "STATE", "NAME", "RESOURCE", "VALUE", "LIMIT", "UNIT", "SINCE", "NOTE"],
      entries.map((alert) => [
        alert.alertId,
        alert.severity,
        alert.state,
        alert.name,
        resourceOf(alert),
        count(alert.value),
        count(alert.limit),
        alert.unit,
        time(alert.since),
        noteOf(alert),
      ]),
      "there are no alerts",
    ));
  const isFiring = entries.some(({ state }) => state === "firing");
  return given.flag("fail-if-firing") && isFiring ? EXIT_FAILED : EXIT_OK;
}

/** With the topic and partition that its name leaves out: a group has an alert for each partition. */
function resourceOf({ resource: { type, name, labels } }: Json): string {
  const { topic, partition } = labels;
  const place = topic === undefined
    ? ""
    : partition === undefined
    ? topic
    : `${topic}/${partition}`;
  return place === "" || place === name ? `${type} ${name}` : `${type} ${name}, ${place}`;
}

function noteOf({ acknowledgedBy, silencedUntil, executionId, runbookProblem }: Json): string {
  return [
    ...(acknowledgedBy === null ? [] : [`acknowledged by ${acknowledgedBy}`]),
    ...(silencedUntil === null ? [] : [`silent until ${time(silencedUntil)}`]),
    ...(executionId === null ? [] : [`execution ${executionId}`]),
    // A broker of an earlier release does not tell.
    ...((runbookProblem ?? null) === null ? [] : [`no runbook yet: ${runbookProblem}`]),
  ].join(", ");
}

async function showAlert({ output }: Context, alert: Json): Promise<void> {
  const { samples, resource: _, ...rest } = alert;
  const fields = Object.entries(rest).map(([name, value]): [string, Cell] => {
    const isTime = /(?:At|Until|^since)$/.test(name);
    return [name, isTime ? time(value as number | null) : value as Cell];
  });
  await output.result(alert, () => [
    output.fields([
      ...fields,
      ["resource", resourceOf(alert)],
      ["handbook", handbookPage("alerts", alert.name)],
    ]),
    "",
    output.table(
      ["SAMPLE AT", "VALUE"],
      samples.map((sample: Json) => [time(sample.at), count(sample.value)]),
      "no samples are kept",
    ),
  ]);
}

const SETTINGS: Options = {
  limit: option("n", "The value above which it is broken"),
  "for-seconds": option("n", "For so long before it fires"),
  "window-seconds": option("n", "Over which it is measured"),
  severity: oneOf(SEVERITIES, "How urgent it is"),
  enabled: oneOf(["yes", "no"], "Whether it counts"),
  runbook: option("name", "Runbook that is started when it fires, or none"),
  mode: oneOf(["observe", "approve", "auto"], "What the runbook may do by itself"),
  "clear-limit": option("n", "The value below which it ends, or none for the limit"),
  "clear-for-seconds": option("n", "For so long before it ends"),
  "escalate-after-seconds": option("n", "When nobody has acknowledged it, or none"),
};
const WORDS = new Set(["severity", "mode"]);
const THRESHOLD = { threshold: word("Name of the threshold") };

export const thresholds: CommandGroup = {
  describes: "List, show and set thresholds, and put them back to their defaults",
  commands: {
    list: {
      describes: "List all thresholds",
      options: { ...LIMIT },
      examples: [["", "limits, durations, runbooks"]],
      run: async ({ given, api, output }) => {
        const limit = given.integer("limit")!;
        const { entries } = await api.list("/api/thresholds", "thresholds", { limit });
        await output.result({ thresholds: entries }, () =>
          output.table(
            ["THRESHOLD", "SEVERITY", "LIMIT", "UNIT", "FOR", "WINDOW", "ENABLED", "RUNBOOK"],
            entries.map((each) => [
              each.name,
              each.severity,
              count(each.limit),
              each.unit,
              seconds(each.forSeconds),
              seconds(each.windowSeconds),
              each.enabled ? "yes" : "no",
              each.runbook === null ? "" : `${each.runbook} (${each.mode})`,
            ]),
          ));
      },
    },
    show: {
      describes: "Show a threshold",
      options: THRESHOLD,
      examples: [["consumer-lag", "limit, duration, runbook"]],
      run: async (context) => {
        const path = pathOf`/api/thresholds/${context.given.need("threshold")}`;
        await showThreshold(context, await context.api.get(path));
      },
    },
    set: {
      describes: "Change a threshold; what is not given stays",
      options: { ...THRESHOLD, ...SETTINGS },
      examples: [
        ["consumer-lag --limit 100000", "another limit"],
        ["dead-letter-rate --runbook dead-letter-flood --mode approve", "with a runbook"],
      ],
      run: setThreshold,
    },
    reset: {
      describes: "Put a threshold back to its default",
      options: { ...THRESHOLD, ...YES },
      examples: [["consumer-lag --yes", "without asking"]],
      run: async (context) => {
        const { given, api } = context;
        const path = pathOf`/api/thresholds/${given.need("threshold")}`;
        confirm(context, `put ${given.need("threshold")} back to its default`);
        await api.delete(path);
        await showThreshold(context, await api.get(path));
      },
    },
  },
};

/** The broker sets whole thresholds: what stays is read first. */
async function setThreshold(context: Context): Promise<void> {
  const { given, api } = context;
  const names = Object.keys(SETTINGS);
  const changed = names.filter((name) => given.text(name) !== undefined);
  if (changed.length === 0) throw new UsageError("nothing is to be changed");
  const path = pathOf`/api/thresholds/${given.need("threshold")}`;
  const body = Object.fromEntries(changed.map((name) => [camel(name), settingIn(context, name)]));
  const before = await api.get(path);
  const kept = Object.fromEntries(names.map((name) => [camel(name), before[camel(name)]]));
  // A limit that is set below the value where alerts end would be refused: they end at the limit then.
  const clears = Number(body.limit ?? kept.limit) < (kept.clearLimit ?? 0)
    ? { clearLimit: null }
    : {};
  const settings = { ...kept, ...clears, ...body };
  await showThreshold(context, await api.json("PUT", path, { body: settings }));
}

function settingIn({ given }: Context, name: string): unknown {
  const text = given.need(name);
  if (name === "enabled") return text === "yes";
  if (name === "runbook") return text === "none" ? null : text;
  return WORDS.has(name) ? text : given.limit(name);
}

async function showThreshold({ output }: Context, threshold: Json): Promise<void> {
  const { labels, updatedAt, ...fields } = threshold;
  await output.result(threshold, () =>
    output.fields([
      ...Object.entries(fields) as [string, Cell][],
      ["labels", labels.join(" ")],
      ["updatedAt", time(updatedAt)],
      ["handbook", handbookPage("alerts", threshold.name)],
    ]));
}
