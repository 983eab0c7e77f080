// Owns the commands on runbooks and their executions.
// Refuses to own what they do. Invariant: one that acts by itself is asked for; one that is watched tells each step.
import { confirm } from "../asking.ts";
import type { Json } from "../broker_api.ts";
import {
  type Command,
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
import { durationOf, follow, nameOf, settled } from "../executions.ts";
import { FailedError, UsageError } from "../failures.ts";
import { pairsFrom, pathOf } from "../grammar.ts";
import { handbookPage } from "../handbook.ts";
import { time } from "../output.ts";

/** More runbooks than there will be. */
const MAX_RUNBOOKS = 1_000;
const EXECUTION = { execution: word("Id of the execution") };
const WATCH = { watch: flag("Follow it until it has ended, and tell each step") };

const list: Command = {
  describes: "List runbooks",
  options: {},
  examples: [["", "what can be repaired"]],
  run: async ({ api, output }) => {
    const { entries } = await api.list("/api/runbooks", "runbooks", { limit: MAX_RUNBOOKS });
    await output.result({ runbooks: entries }, () =>
      output.table(
        ["RUNBOOK", "REPAIRS", "STEPS", "RTO", "AVAILABLE", "WHAT"],
        entries.map((each) => [
          each.name,
          each.targetKinds.join(" "),
          each.steps.length,
          durationOf(each.targets.rtoMs),
          each.available ? "yes" : "no",
          each.title,
        ]),
        "there are no runbooks",
      ));
  },
};

const show: Command = {
  describes: "Show a runbook with its steps and parameters",
  options: { runbook: word("Name of the runbook") },
  examples: [["consumer-bug", "what it does, step by step"]],
  run: async ({ given, api, output }) => {
    const name = given.need("runbook");
    const { entries } = await api.list("/api/runbooks", "runbooks", { limit: MAX_RUNBOOKS });
    const found = entries.find((each) => each.name === name);
    if (found === undefined) throw new FailedError(`there is no runbook ${name}`);
    await output.result(found, () => [
      output.fields([
        ["runbook", found.name],
        ["title", found.title],
        ["what", found.describes],
        ["repairs", found.targetKinds.join(" ")],
        ["RTO", durationOf(found.targets.rtoMs)],
        ["RPO", durationOf(found.targets.rpoMs)],
        ["cooldown", durationOf(found.cooldownMs)],
        ["available", found.available ? "yes" : "no, declared only"],
        ["handbook", handbookPage("runbooks", found.name)],
      ]),
      "",
      output.table(
        ["STEP", "KIND", "WITHIN", "WHAT", "UNDO"],
        found.steps.map((step: Json) => [
          step.name,
          step.kind,
          durationOf(step.timeoutMs),
          step.title,
          step.undo,
        ]),
      ),
      "",
      output.table(
        ["PARAMETER", "NEEDED", "WHAT"],
        found.parameters.map((each: Json) => [
          each.name,
          each.required ? "yes" : "no",
          each.describes,
        ]),
        "it takes no parameters",
      ),
    ]);
  },
};

const execute: Command = {
  describes: "Execute a runbook: only look, wait for approval, or act by itself",
  options: {
    runbook: word("Name of the runbook"),
    target: option("kind:name", "What is repaired, such as group:billing or partition:orders/3"),
    mode: {
      type: "enum",
      options: ["observe", "approve", "auto"],
      default: "observe",
      description: "What it may do by itself",
    },
    parameter: option("name=value", "Of the runbook; may be repeated"),
    ...WATCH,
    ...REASON,
    ...YES,
  },
  many: ["parameter"],
  examples: [
    [`consumer-bug --target group:billing --reason "release 42" --watch`, "only looks"],
    [
      `consumer-bug --target group:billing --mode auto --reason "release 42" --watch --yes`,
      "repairs",
    ],
  ],
  run: async (context) => {
    const { given, api } = context;
    const [name, mode, reason] = [given.need("runbook"), given.need("mode"), given.need("reason")];
    const target = targetFrom(given.text("target"));
    const parameters = pairsFrom(given.all("parameter"), "parameter");
    const what = target === undefined ? "" : ` on ${target.type} ${target.name}`;
    if (mode === "auto") confirm(context, `let ${name} act by itself${what}`);
    const body = { target, mode, reason, parameters };
    const begun = await api.post(pathOf`/api/runbooks/${name}:execute`, body);
    await follow(context, given.flag("watch") ? begun : await settled(context, begun));
  },
};

const executions: Command = {
  describes: "List executions of runbooks, newest first",
  options: {
    name: option("runbook", "Of this runbook alone"),
    state: oneOf(["running", "waiting", "verified", "partial", "aborted"], "In this state alone"),
    target: option("name", "Of this target alone, such as group:billing"),
    alert: option("id", "Started by this alert"),
    ...LIMIT,
  },
  examples: [["--state waiting", "those that wait for somebody"]],
  run: async ({ given, api, output }) => {
    const query = {
      name: given.text("name"),
      state: given.text("state"),
      target: given.text("target"),
      alertId: given.text("alert"),
    };
    const limit = given.integer("limit")!;
    const path = "/api/runbooks/executions";
    const { entries } = await api.list(path, "executions", { limit, query });
    await output.result({ executions: entries }, () =>
      output.table(
        ["EXECUTION", "RUNBOOK", "TARGET", "MODE", "STATE", "STARTED", "RTO", "BY"],
        entries.map((each) => [
          each.executionId,
          each.name,
          nameOf(each.target),
          each.mode,
          each.state,
          time(each.startedAt),
          durationOf(each.rtoMs),
          each.by,
        ]),
        "there are no executions",
      ));
  },
};

const execution: Command = {
  describes: "Show an execution with its steps, its RTO and RPO",
  options: { ...EXECUTION, ...WATCH },
  examples: [["e-1", "how far it is"], ["e-1 --watch", "until it has ended"]],
  run: async (context) => {
    const path = pathOf`/api/runbooks/executions/${context.given.need("execution")}`;
    await follow(context, await context.api.get(path));
  },
};

const approve: Command = {
  describes: "Let an execution go on that waits for somebody",
  options: {
    ...EXECUTION,
    step: option(
      "name",
      "The step that is approved; left out: the one that waits now, as it is shown",
    ),
    ...WATCH,
    ...REASON,
    ...YES,
  },
  examples: [["e-1", "shows what waits, and asks"], ["e-1 --step confirm --yes", "without asking"]],
  run: async (context) => {
    const { given, api, output } = context;
    const id = given.need("execution");
    const path = pathOf`/api/runbooks/executions/${id}`;
    const step = given.text("step") ?? nextStep(context, await api.get(path));
    confirm(context, `approve step ${step} of execution ${id}`);
    // Exact: sent twice, or after another step has come to wait, it approves nothing else.
    const approved = await api.post(`${path}:approve`, { ...reasonOf(context), step });
    output.remark(`approved step ${step}`);
    await follow(context, approved);
  },
};

/** The step that waits, or is about to; said with what is known of it. FailedError when none is left. */
function nextStep({ output }: Context, { executionId, steps }: Json): string {
  const next = steps.find(({ state }: Json) => state === "waiting") ??
    steps.find(({ state }: Json) => state === "pending" || state === "running");
  if (next === undefined) {
    throw new FailedError(`execution ${executionId} waits for nobody: it has ended`);
  }
  output.remark(`${next.name}: ${next.title}${next.detail === null ? "" : `: ${next.detail}`}`);
  return next.name;
}

const abort: Command = {
  describes: "Stop an execution, and take back what can be taken back",
  options: { ...EXECUTION, ...WATCH, ...REASON, ...YES },
  examples: [["e-1 --yes", "without asking"]],
  run: async (context) => {
    const { given, api } = context;
    const id = given.need("execution");
    confirm(context, `abort execution ${id}`);
    const path = pathOf`/api/runbooks/executions/${id}:abort`;
    await follow(context, await api.post(path, reasonOf(context)));
  },
};

function reasonOf({ given }: Context): { readonly reason?: string } {
  const reason = given.text("reason");
  return reason === undefined ? {} : { reason };
}

export const runbooks: CommandGroup = {
  describes: "List and execute runbooks; approve, abort and follow executions",
  commands: {
    list,
    show,
    execute,
    executions,
    execution,
    approve,
    abort,
  },
};

/** `kind:name`; a kind alone for what has no name. */
function targetFrom(text: string | undefined): { type: string; name: string } | undefined {
  if (text === undefined) return undefined;
  const colon = text.indexOf(":");
  const type = colon < 0 ? text : text.slice(0, colon);
  if (!["group", "topic", "partition", "tenant", "broker", "none"].includes(type)) {
    throw new UsageError(`"${text}" is no target: it is kind:name, such as group:billing`);
  }
  return { type, name: colon < 0 ? "" : text.slice(colon + 1) };
}
