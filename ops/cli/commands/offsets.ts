// Owns the commands on committed offsets: history, snapshots, and the ways back.
// Refuses to own what may be moved: the broker wants the group empty or paused.
// Invariant: what would be delivered again is shown before it is asked for.
import { confirm } from "../asking.ts";
import type { Json } from "../broker_api.ts";
import {
  type Command,
  type CommandGroup,
  type Context,
  DRY_RUN,
  flag,
  LIMIT,
  oneOf,
  option,
  REASON,
  word,
  YES,
} from "../command.ts";
import { UsageError } from "../failures.ts";
import { instant, pathOf, resetTarget } from "../grammar.ts";
import { count, counted, printable, time } from "../output.ts";

const GROUP = { group: word("Name of the group") };
const PLACE = {
  topic: option("topic", "This topic alone"),
  partition: option("n", "This partition alone"),
};

const history: Command = {
  describes: "Show every change of a group's offsets, newest first",
  options: {
    ...GROUP,
    ...PLACE,
    action: oneOf(
      ["commit", "rewind", "rollback", "reset", "dropped", "deleted", "refused"],
      "Changes of this kind alone",
    ),
    ...LIMIT,
  },
  examples: [
    ["billing --topic orders --partition 0", "who moved it, when, why"],
    ["billing --action rewind", "what went back"],
  ],
  run: async ({ given, api, output }) => {
    const query = {
      topic: given.text("topic"),
      partition: given.integer("partition"),
      action: given.text("action"),
    };
    const path = pathOf`/api/groups/${given.need("group")}/offsets/history`;
    const limit = given.integer("limit")!;
    const { entries } = await api.list(path, "history", { limit, query });
    await output.result({ history: entries }, () =>
      output.table(
        ["AT", "ACTION", "TOPIC", "PARTITION", "FROM", "TO", "BY", "REASON"],
        entries.map((each) => [
          time(each.at),
          each.action,
          each.topic,
          each.partition,
          each.previous,
          each.offset,
          each.principal ?? "broker",
          each.reason ?? each.cause,
        ]),
        "there were no changes",
      ));
  },
};

const snapshot: Command = {
  describes: "Write a group's offsets down, to roll back to",
  options: GROUP,
  examples: [["billing", "before a release"]],
  run: async ({ given, api, output }) => {
    const taken = await api.post(pathOf`/api/groups/${given.need("group")}/offsets:snapshot`);
    await output.result(
      taken,
      () => `snapshot ${taken.snapshotId} of ${taken.offsets.length} offsets`,
    );
  },
};

const snapshots: Command = {
  describes: "List snapshots of a group's offsets, newest first",
  options: { ...GROUP, ...LIMIT },
  examples: [["billing", "to pick one for a rollback"]],
  run: async ({ given, api, output }) => {
    const path = pathOf`/api/groups/${given.need("group")}/offsets/snapshots`;
    const { entries } = await api.list(path, "snapshots", { limit: given.integer("limit")! });
    await output.result({ snapshots: entries }, () =>
      output.table(
        ["SNAPSHOT", "AT", "BY", "OFFSETS"],
        entries.map((each) => [
          each.snapshotId,
          time(each.at),
          each.automatic ? "automatic" : each.principal,
          each.offsets.map((at: Json) => `${at.topic}/${at.partition}@${at.offset}`).join(" "),
        ]),
        "there are none",
      ));
  },
};

const rollback: Command = {
  describes:
    "Put a group's offsets back to a snapshot or a time; the group is empty or paused, but for a dry run",
  options: {
    ...GROUP,
    ...PLACE,
    snapshot: option("id", "To this snapshot"),
    time: option("time", "To what was committed then: RFC 3339, ms, or so long ago (15m)"),
    ...REASON,
    ...DRY_RUN,
    ...YES,
  },
  examples: [
    ["billing --time 15m --dry-run", "what would be delivered again"],
    [`billing --snapshot s-1 --reason "bad release" --yes`, "without asking"],
  ],
  run: async (context) => {
    const { given, terminal } = context;
    const [id, text] = [given.text("snapshot"), given.text("time")];
    if ((id === undefined) === (text === undefined)) {
      throw new UsageError("one of --snapshot and --time is needed");
    }
    const to = text === undefined ? { snapshotId: id } : { time: instant(text, terminal.now()) };
    const reason = reasonFor(context);
    await move(context, "rollback", { to, ...placeIn(context), reason });
  },
};

const reset: Command = {
  describes: "Set a group's offsets in a topic; the group is empty or paused, but for a dry run",
  options: {
    ...GROUP,
    topic: option("topic", "In this topic"),
    partition: option("n", "This partition alone"),
    to: option("offset", "A number, earliest, latest, @time, +n or -n"),
    ...REASON,
    ...DRY_RUN,
    ...YES,
  },
  examples: [
    ["billing --topic orders --to -100 --dry-run", "each partition's last hundred again"],
    [`billing --topic orders --to @2026-11-22T08:00:00Z --reason "bad release"`, "asks first"],
  ],
  run: async (context) => {
    const { given, terminal } = context;
    const to = resetTarget(given.need("to"), terminal.now());
    given.need("topic");
    await move(context, "reset", { to, ...placeIn(context), reason: reasonFor(context) });
  },
};

const commit: Command = {
  describes: "Commit one offset for a group from outside of it",
  options: {
    ...GROUP,
    topic: option("topic", "In this topic"),
    partition: option("n", "In this partition"),
    offset: option("n", "The next offset to read"),
    metadata: option("text", "Kept with it"),
    "allow-rewind": flag("Let it go back; needs --reason"),
    ...REASON,
    ...YES,
  },
  examples: [
    ["billing --topic orders --partition 0 --offset 1200", "forward"],
    [
      `billing --topic orders --partition 0 --offset 7 --allow-rewind --reason "again" --yes`,
      "back",
    ],
  ],
  run: commitOne,
};

export const offsets: CommandGroup = {
  describes: "History, snapshots, rollback, reset and commit of a group's offsets",
  commands: { history, snapshot, snapshots, rollback, reset, commit },
};

async function commitOne(context: Context): Promise<void> {
  const { given, api, output } = context;
  const [partition, offset] = [given.integer("partition"), given.integer("offset")];
  if (partition === undefined || offset === undefined) {
    throw new UsageError("--partition and --offset are needed");
  }
  const groupId = given.need("group");
  const place = { topic: given.need("topic"), partition };
  const metadata = given.text("metadata");
  const mayRewind = given.flag("allow-rewind");
  if (mayRewind) confirm(context, `commit ${offset} for ${groupId}, be it back`);
  const reason = mayRewind ? given.need("reason") : given.text("reason");
  const answer = await api.post("/api/offsets:commit", {
    groupId,
    offsets: [{ ...place, offset, ...(metadata === undefined ? {} : { metadata }) }],
    allowRewind: mayRewind,
    ...(reason === undefined ? {} : { reason }),
  });
  const { previous } = answer.results[0];
  await output.result(
    answer,
    () => `${groupId} ${place.topic}/${partition}: ${previous ?? "nothing"} -> ${offset}`,
  );
}

function placeIn({ given }: Context): Record<string, unknown> {
  const [topic, partition] = [given.text("topic"), given.integer("partition")];
  if (partition !== undefined && topic === undefined) {
    throw new UsageError("--partition needs --topic");
  }
  return {
    ...(topic === undefined ? {} : { topic }),
    ...(partition === undefined ? {} : { partition }),
  };
}

/** The broker wants a reason for a dry run too; there nobody needs to think of one. */
function reasonFor({ given }: Context): string {
  return given.flag("dry-run") ? given.text("reason") ?? "dry run" : given.need("reason");
}

/** Shows what would move, asks, and moves it. */
async function move(
  context: Context,
  action: "rollback" | "reset",
  body: Record<string, unknown>,
): Promise<void> {
  const { given, api, output, terminal } = context;
  const group = given.need("group");
  const path = pathOf`/api/groups/${group}/offsets:` + action;
  if (given.flag("dry-run")) {
    return await showMoves(context, await api.post(path, { ...body, dryRun: true }));
  }
  if (!given.flag("yes") && terminal.inIsTerminal) {
    const preview = await api.post(path, { ...body, dryRun: true });
    terminal.tell(movesTable(context, preview));
  }
  confirm(context, `move these offsets of ${group}`);
  await showMoves(context, await api.post(path, { ...body, dryRun: false }));
  // Whoever may not look at the group has moved it all the same.
  const described = await api.get(pathOf`/api/groups/${group}`).catch(() => null);
  if (described?.paused === null) return;
  output.remark(`resume the group when its members may go on: waybill groups resume ${group}`);
}

async function showMoves(context: Context, answer: Json): Promise<void> {
  await context.output.result(answer, () => movesTable(context, answer));
}

function movesTable({ output }: Context, answer: Json): string {
  const table = output.table(
    ["TOPIC", "PARTITION", "FROM", "TO", "DELIVERED AGAIN"],
    answer.changes.map((each: Json) => [
      each.topic,
      each.partition,
      each.from,
      each.to,
      count(each.redeliver),
    ]),
    "nothing moves",
  );
  const again = counted(answer.totalRedeliver, "message is", "messages are");
  const total = `${again} delivered again`;
  const note = answer.dryRun ? " (dry run: nothing was done)" : "";
  const blocked = answer.blockedBy === null
    ? ""
    : `\nnot now: ${printable(answer.blockedBy.detail)}`;
  return `${table}\n\n${total}${note}${blocked}`;
}
