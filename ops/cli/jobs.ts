// Owns showing replay and redrive jobs: at once, and while they run.
// Refuses to own starting them. Invariant: a watched job that did not complete ends the command with a failure.
import cliProgress from "cli-progress";
import process from "node:process";
import type { Json } from "./broker_api.ts";
import type { Context } from "./command.ts";
import { FailedError } from "./failures.ts";
import { pathOf } from "./grammar.ts";
import { count, counted, time } from "./output.ts";

const WATCH_EVERY_MS = 500;
const BAR_WIDTH = 30;
const ENDED = new Set(["completed", "failed", "cancelled"]);

/** As much of cli-progress as is used; it has no types. */
interface Bar {
  start(total: number, value: number, payload: object): void;
  update(value: number, payload: object): void;
  setTotal(total: number): void;
  stop(): void;
}

/** Shows `job`; with --watch until it has ended. */
export async function followJob(context: Context, job: Json): Promise<void> {
  const { given, output } = context;
  const last = given.flag("watch") ? await watch(context, job) : job;
  await output.result(last, () => fieldsOf(context, last));
  if (last.state === "failed" || (given.flag("watch") && last.state === "cancelled")) {
    throw new FailedError(`job ${last.jobId} ${last.state}`);
  }
}

/** Shows several that were started together; with --watch until all have ended. */
export async function followJobs(context: Context, jobs: readonly Json[]): Promise<void> {
  const { given, output } = context;
  const isWatched = given.flag("watch");
  const last: Json[] = [];
  for (const job of jobs) last.push(isWatched ? await watch(context, job) : job);
  await output.result({ jobs: last }, () => tableOf(context, last));
  const bad = last.filter(({ state }) =>
    state === "failed" || (isWatched && state === "cancelled")
  );
  if (bad.length > 0) {
    throw new FailedError(bad.map(({ jobId, state }) => `job ${jobId} ${state}`).join(", "));
  }
}

function tableOf({ output }: Context, jobs: readonly Json[]): string[] {
  const total = jobs.reduce((sum, job) => sum + job.total, 0);
  const isExact = jobs.every(({ totalExact }) => totalExact);
  const isDryRun = jobs.some(({ dryRun }) => dryRun);
  return [
    output.table(
      ["JOB", "PARTITION", "STATE", "DONE", "TOTAL", "ERROR"],
      jobs.map((job) => [
        job.jobId,
        `${job.sources[0].topic}/${job.sources[0].partition}`,
        job.state,
        count(job.done),
        count(job.total),
        job.error === null ? "" : `${job.error.code}: ${job.error.detail}`,
      ]),
    ),
    "",
    `${isExact ? "" : "at most "}${counted(total, "message")}${
      isDryRun ? " (dry run: nothing was done)" : ""
    }`,
  ];
}

async function watch(context: Context, started: Json): Promise<Json> {
  const { terminal, api, output } = context;
  let job = started;
  const screen = terminal.errIsTerminal && !output.isJson ? barFor(job) : linesFor(context);
  try {
    while (!ENDED.has(job.state) && !terminal.interrupted.aborted) {
      screen.show(job);
      await terminal.pause(WATCH_EVERY_MS);
      job = await api.get(pathOf`/api/replays/${job.jobId}`);
    }
    screen.show(job);
  } finally {
    screen.close();
  }
  return job;
}

interface Screen {
  show(job: Json): void;
  close(): void;
}

function barFor(job: Json): Screen {
  const bar: Bar = new cliProgress.SingleBar({
    stream: process.stderr,
    barsize: BAR_WIDTH,
    format: "{state} {bar} {done} of {total}, {rate}/s",
    barCompleteChar: "█",
    barIncompleteChar: "░",
    hideCursor: true,
    emptyOnZero: true,
  });
  const payload = ({ state, done, rate }: Json) => ({ state, done, rate: Math.round(rate) });
  bar.start(job.total, job.done, payload(job));
  return {
    show: (now) => {
      bar.setTotal(now.total);
      bar.update(Math.min(now.done + now.skipped, now.total), payload(now));
    },
    close: () => bar.stop(),
  };
}

/** A line when something has changed. */
function linesFor({ output }: Context): Screen {
  let before = "";
  return {
    show({ jobId, state, done, total }) {
      const line = `${jobId} ${state} ${done} of ${total}`;
      if (line !== before) output.remark(line);
      before = line;
    },
    close: () => {},
  };
}

function fieldsOf({ output }: Context, job: Json): string[] {
  const sources = job.sources.map((each: Json) =>
    `${each.topic}/${each.partition}@${each.from}-${each.to}`
  );
  return [
    output.fields([
      ["job", job.jobId],
      ["kind", job.dryRun ? `${job.kind}, dry run: nothing is done` : job.kind],
      ["state", job.state],
      ["from", sources.join(" ")],
      ["to", targetOf(job)],
      ["total", job.totalExact ? count(job.total) : `at most ${count(job.total)}`],
      ["done", count(job.done)],
      ["skipped", count(job.skipped)],
      ["by", job.principal],
      ["reason", job.reason],
      ...(job.error === null ? [] : [["error", `${job.error.code}: ${job.error.detail}`] as const]),
    ]),
    "",
    output.table(
      ["AT", "STEP", "BY", "REASON"],
      job.steps.map((step: Json) => [
        time(step.at),
        step.action,
        step.principal ?? "broker",
        step.reason,
      ]),
    ),
  ];
}

export function targetOf({ target }: Json): string {
  if (target.kind === "topic") return `topic ${target.topic}`;
  return target.kind === "group" ? `group ${target.group}` : "where each came from";
}
