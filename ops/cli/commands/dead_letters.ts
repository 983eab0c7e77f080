// Owns the commands on dead letters. Refuses to own the jobs that redrive them (jobs.ts).
// Invariant: what is listed by a filter is what a redrive with that filter sends.
import {
  type CommandGroup,
  type Context,
  DRY_RUN,
  flag,
  LIMIT,
  option,
  REASON,
  word,
} from "../command.ts";
import { pathOf, position } from "../grammar.ts";
import { followJob } from "../jobs.ts";
import { time } from "../output.ts";

const FILTER = {
  group: option("group", "Of this group alone"),
  code: option("code", "With this code alone"),
  contains: option("text", "Whose reason holds this text"),
  partition: option("n", "Of this partition of the dead letters"),
  offset: option("n", "At this offset of the dead letters, with --partition"),
};

export const deadLetters: CommandGroup = {
  describes: "List dead letters, and send them to where they came from again",
  commands: {
    list: {
      describes: "List dead letters, oldest first",
      options: { topic: option("topic", "Of this topic alone"), ...FILTER, ...LIMIT },
      examples: [
        ["", "of all topics"],
        ["--topic orders --group billing --code TIMEOUT", "those that time outs made"],
      ],
      run: list,
    },
    redrive: {
      describes: "Send dead letters to where they came from again, as a job",
      options: {
        topic: word("Topic that they came from"),
        ...FILTER,
        from: option("offset", "From this offset of the dead letters on, with --partition"),
        to: option("offset", "To this one, not included, with --partition"),
        "include-redriven": flag("Those too that were redriven before"),
        rate: option("n", "Messages a second at most"),
        "idempotency-key": option("key", "The same key starts the job once"),
        watch: flag("Follow the job until it has ended"),
        ...REASON,
        ...DRY_RUN,
      },
      examples: [
        ["orders --group billing --dry-run", "how many there are"],
        [`orders --group billing --reason "fixed" --watch`, "all of them, with progress"],
        [`orders --partition 0 --offset 17 --reason "fixed"`, "a single one"],
      ],
      run: redrive,
    },
  },
};

async function list({ given, api, output }: Context): Promise<void> {
  const query = {
    topic: given.text("topic"),
    group: given.text("group"),
    code: given.text("code"),
    reason: given.text("contains"),
    partition: given.integer("partition"),
    offset: given.integer("offset"),
  };
  const limit = given.integer("limit")!;
  const { entries, more } = await api.list("/api/dlq", "deadLetters", { limit, query });
  await output.result({ deadLetters: entries }, () =>
    output.table(
      ["DEAD LETTER", "AT", "CAME FROM", "GROUP", "ATTEMPTS", "CODE", "REASON", "KEY", "REDRIVEN"],
      entries.map((each) => [
        `${each.partition}@${each.offset}`,
        time(each.timestamp),
        `${each.origin.topic}/${each.origin.partition}@${each.origin.offset}`,
        each.origin.group,
        each.attempts,
        each.code,
        each.reason,
        each.key,
        each.redriven === true ? "yes" : "",
      ]),
      "there are no dead letters",
    ));
  if (more) output.remark(`there are more: --limit ${limit * 10}`);
}

async function redrive(context: Context): Promise<void> {
  const { given, api, terminal } = context;
  const isDryRun = given.flag("dry-run");
  const [from, to, rate] = [given.text("from"), given.text("to"), given.number("rate")];
  const filter = {
    code: given.text("code"),
    reason: given.text("contains"),
    partition: given.integer("partition"),
    offset: given.integer("offset"),
  };
  const isFiltered = Object.values(filter).some((value) => value !== undefined);
  const body = {
    topic: given.need("topic"),
    group: given.text("group"),
    from: from === undefined ? undefined : position(from, terminal.now()),
    to: to === undefined ? undefined : position(to, terminal.now()),
    filter: isFiltered ? filter : undefined,
    includeRedriven: given.flag("include-redriven"),
    ratePerSecond: rate,
    dryRun: isDryRun,
    reason: isDryRun ? given.text("reason") ?? "dry run" : given.need("reason"),
  };
  const headers = { "idempotency-key": given.text("idempotency-key") ?? crypto.randomUUID() };
  const job = await api.json("POST", "/api/dlq:redrive", { body, headers });
  await followJob(context, isDryRun ? job : await api.get(pathOf`/api/replays/${job.jobId}`));
}
