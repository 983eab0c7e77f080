// Owns the commands on replay jobs. Refuses to own showing one (jobs.ts).
// Invariant: a start is sent under a key, so that one that is repeated with it starts one job.
import { confirm } from "../asking.ts";
import type { BrokerApi, Json } from "../broker_api.ts";
import {
  type Command,
  type CommandGroup,
  type Context,
  DRY_RUN,
  flag,
  LIMIT,
  option,
  REASON,
  word,
  YES,
} from "../command.ts";
import { UsageError } from "../failures.ts";
import { pathOf, position } from "../grammar.ts";
import { followJob, followJobs, targetOf } from "../jobs.ts";
import { count, time } from "../output.ts";

const JOB = { job: word("Id of the job") };
const WATCH = { watch: flag("Follow the job until it has ended") };

const start: Command = {
  describes: "Append messages of a range again, or hand them to one group once more",
  options: {
    topic: word("Topic to read"),
    partition: option("n", "Partition to read; default all, a job for each"),
    from: option("offset", "First message"),
    to: option("offset", "Where to end, not included; default latest"),
    "to-topic": option("topic", "Append to this topic; default to the same partition"),
    "to-group": option("group", "Deliver to this group alone, publish nothing"),
    rate: option("n", "Messages a second at most, of each job"),
    "idempotency-key": option("key", "The same key starts the job once"),
    ...WATCH,
    ...REASON,
    ...DRY_RUN,
  },
  examples: [
    ["orders --partition 0 --from 100 --to 200 --dry-run", "how many there are"],
    [
      "orders --from @1h --to-group billing --watch",
      "the last hour of all partitions, with progress",
    ],
  ],
  run: async (context) => {
    const { given, api, terminal } = context;
    const [topic, group] = [given.text("to-topic"), given.text("to-group")];
    if (topic !== undefined && group !== undefined) {
      throw new UsageError("--to-topic and --to-group exclude each other");
    }
    const target = topic !== undefined ? { topic } : group !== undefined ? { group } : undefined;
    const source = given.need("topic");
    const body = {
      topic: source,
      from: position(given.need("from"), terminal.now()),
      to: position(given.text("to") ?? "latest", terminal.now()),
      target,
      ratePerSecond: given.number("rate"),
      dryRun: given.flag("dry-run"),
      reason: given.text("reason"),
    };
    const key = given.text("idempotency-key") ?? crypto.randomUUID();
    const only = given.integer("partition");
    if (only !== undefined) {
      return await followJob(context, await submit(api, { ...body, partition: only }, key));
    }
    if (typeof body.from === "number" || typeof body.to === "number") {
      throw new UsageError("a number is an offset of one partition: give --partition too");
    }
    const { partitions } = await api.get(pathOf`/api/topics/${source}`);
    const jobs: Json[] = [];
    for (const { partition } of partitions) {
      jobs.push(await submit(api, { ...body, partition }, `${key}-${partition}`));
    }
    await followJobs(context, jobs);
  },
};

function submit(api: BrokerApi, body: object, key: string): Promise<Json> {
  return api.json("POST", "/api/messages:replay", { body, headers: { "idempotency-key": key } });
}

const list: Command = {
  describes: "List replay and redrive jobs, newest first",
  options: { ...LIMIT },
  examples: [["", "the last hundred"]],
  run: async ({ given, api, output }) => {
    const limit = given.integer("limit")!;
    const { entries, more } = await api.list("/api/replays", "replays", { limit });
    await output.result({ replays: entries }, () =>
      output.table(
        ["JOB", "KIND", "STATE", "FROM", "TO", "DONE", "TOTAL", "BY", "CREATED"],
        entries.map((job) => [
          job.jobId,
          job.kind,
          job.state,
          job.sources[0] === undefined ? "" : `${job.sources[0].topic}/${job.sources[0].partition}`,
          targetOf(job),
          count(job.done),
          count(job.total),
          job.principal,
          time(job.createdAt),
        ]),
        "there are no jobs",
      ));
    if (more) output.remark(`there are more: --limit ${limit * 10}`);
  },
};

const show: Command = {
  describes: "Show a job: how far it is, and all that was done to it",
  options: { ...JOB, ...WATCH },
  examples: [["j-1", "once"], ["j-1 --watch", "until it has ended"]],
  run: async (context) => {
    const { given, api } = context;
    await followJob(context, await api.get(pathOf`/api/replays/${given.need("job")}`));
  },
};

export const replays: CommandGroup = {
  describes: "Start, list, show, pause, resume and cancel replays",
  commands: {
    start,
    list,
    show,
    pause: control("pause", "Stop a job after the chunk under way"),
    resume: control("resume", "Go on with a job that was paused or has failed"),
    cancel: control("cancel", "End a job after the chunk under way; what was sent stays"),
  },
};

function control(action: "pause" | "resume" | "cancel", describes: string): Command {
  const asks = action === "cancel" ? YES : {};
  return {
    describes,
    options: { ...JOB, ...REASON, ...asks, ...(action === "resume" ? WATCH : {}) },
    examples: [[`j-1${action === "cancel" ? " --yes" : ""}`, "the job that this id has"]],
    run: async (context) => {
      const { given, api } = context;
      const job = given.need("job");
      if (action === "cancel") confirm(context, `cancel job ${job}`);
      const answer = await api.post(pathOf`/api/replays/${job}:` + action, reasonIn(context));
      if (action === "resume") return await followJob(context, answer);
      await context.output.result(answer, () => `job ${job} is ${answer.state}`);
    },
  };
}

function reasonIn({ given }: Context): Record<string, string> {
  const reason = given.text("reason");
  return reason === undefined ? {} : { reason };
}
