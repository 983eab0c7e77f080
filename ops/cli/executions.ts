// Owns following an execution of a runbook on the terminal, and showing it.
// Refuses to own the commands (commands/runbooks.ts). Invariant: each step is told once for each state that it was seen in.
import type { Json } from "./broker_api.ts";
import type { Context } from "./command.ts";
import { FailedError } from "./failures.ts";
import { pathOf } from "./grammar.ts";
import { counted, seconds, time } from "./output.ts";

const WATCH_EVERY_MS = 500;
/** How long one that was just begun is looked at before it is shown: checks mostly take less. */
const SETTLE_EVERY_MS = 200;
const SETTLE_LOOKS = 10;
const ENDED = new Set(["verified", "partial", "aborted"]);

/** Shows an execution; with --watch until it has ended. FailedError when it was watched to an end that needs somebody. */
export async function follow(context: Context, started: Json): Promise<void> {
  const { given, output } = context;
  const last = given.flag("watch") ? await watch(context, started) : started;
  await output.result(last, () => shown(context, last));
  // One that was only to look ends so by its nature.
  const needsSomebody = last.state === "partial" && last.mode !== "observe";
  if (given.flag("watch") && needsSomebody) throw new FailedError(last.outcome);
}

/** What it has come to within a moment: as it begins, nothing of it is done yet. Tells how to see the rest. */
export async function settled({ api, terminal, output }: Context, begun: Json): Promise<Json> {
  const path = pathOf`/api/runbooks/executions/${begun.executionId}`;
  let now = begun;
  for (let look = 0; look < SETTLE_LOOKS && now.state === "running"; look++) {
    if (terminal.interrupted.aborted) break;
    await terminal.pause(SETTLE_EVERY_MS);
    now = await api.get(path);
  }
  if (now.state === "waiting") {
    output.remark(`it waits: waybill runbooks approve ${now.executionId}`);
  } else if (!ENDED.has(now.state)) {
    output.remark(`it goes on: waybill runbooks execution ${now.executionId} --watch`);
  }
  return now;
}

async function watch(context: Context, started: Json): Promise<Json> {
  const { api, terminal, output } = context;
  const told = new Map<string, string>();
  let now = started;
  for (;;) {
    for (const step of now.steps) {
      if (step.state === "pending" || told.get(step.name) === step.state) continue;
      told.set(step.name, step.state);
      output.remark(`${step.name} ${step.state}${step.detail === null ? "" : `: ${step.detail}`}`);
      if (step.state === "waiting") {
        output.remark(`it waits: waybill runbooks approve ${now.executionId}`);
      }
    }
    if (ENDED.has(now.state) || terminal.interrupted.aborted) return now;
    await terminal.pause(WATCH_EVERY_MS);
    now = await api.get(pathOf`/api/runbooks/executions/${now.executionId}`);
  }
}

function shown({ output }: Context, each: Json): string[] {
  return [
    output.fields([
      ["execution", each.executionId],
      ["runbook", each.name],
      ["target", nameOf(each.target)],
      ["mode", each.mode],
      ["state", each.state],
      ["outcome", each.outcome],
      ["started", `${time(each.startedAt)} by ${each.by}: ${each.reason}`],
      ["ended", time(each.endedAt)],
      ["RTO", besides(durationOf(each.rtoMs), durationOf(each.targets.rtoMs))],
      ["RPO", besides(rpoOf(each.rpo), durationOf(each.targets.rpoMs))],
    ]),
    "",
    output.table(
      ["STEP", "KIND", "STATE", "STARTED", "TOOK", "WHAT"],
      each.steps.map((step: Json) => [
        step.name,
        step.kind,
        step.state,
        time(step.startedAt),
        step.endedAt === null ? null : durationOf(step.endedAt - step.startedAt),
        step.error === undefined ? step.detail : `${step.error.code}: ${step.error.detail}`,
      ]),
    ),
  ];
}

/** A target as one names it: `kind:name`. */
export function nameOf({ type, name }: Json): string {
  return name === "" ? type : `${type}:${name}`;
}

function rpoOf(rpo: Json): string | null {
  return rpo === null ? null : `${durationOf(rpo.ms)}, ${counted(rpo.messages, "message")}`;
}

function besides(measured: string | null, target: string | null): string | null {
  if (measured === null) return null;
  return target === null ? measured : `${measured} (target ${target})`;
}

/** Of ms; null stays. */
export function durationOf(ms: number | null): string | null {
  if (ms === null) return null;
  return ms < 10_000 ? `${(ms / 1_000).toFixed(1)} s` : seconds(ms / 1_000);
}
