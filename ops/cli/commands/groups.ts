// Owns the commands on consumer groups. Refuses to own their offsets (offsets.ts).
// Invariant: one that destroys asks first.
import { confirm } from "../asking.ts";
import type { Json } from "../broker_api.ts";
import { type CommandGroup, type Context, LIMIT, REASON, word, YES } from "../command.ts";
import { pathOf } from "../grammar.ts";
import { count, seconds, time } from "../output.ts";
import { canary } from "./canary.ts";

const GROUP = { group: word("Name of the group") };

export const groups: CommandGroup = {
  describes: "List and show groups, their lag and rebalances; pause, resume, delete them; canaries",
  commands: {
    list: {
      describes: "List groups by name",
      options: { ...LIMIT },
      examples: [["", "the first hundred"]],
      run: list,
    },
    show: {
      describes: "Show a group: members, assignment, committed offsets",
      options: GROUP,
      examples: [["billing", "who reads what"]],
      run: show,
    },
    lag: {
      describes: "Show how far a group is behind, by partition",
      options: GROUP,
      examples: [["billing", "messages and seconds"], ["billing --json", "for a script"]],
      run: lag,
    },
    rebalances: {
      describes: "List rebalances of a group, newest first: when, why, what moved",
      options: { ...GROUP, ...LIMIT },
      examples: [["billing --limit 10", "the last ten"]],
      run: rebalances,
    },
    pause: {
      describes: "Stop delivering to a group; its members stay",
      options: { ...GROUP, ...REASON },
      examples: [[`billing --reason "bad release"`, "until it is resumed"]],
      run: async (context) => {
        const { given, api, output } = context;
        const reason = given.need("reason");
        const group = await api.post(pathOf`/api/groups/${given.need("group")}:pause`, { reason });
        await output.result(group, () => `group ${group.groupId} is paused: ${reason}`);
      },
    },
    resume: {
      describes: "Deliver to a paused group again",
      options: { ...GROUP, ...REASON },
      examples: [["billing", "goes on where it is committed"]],
      run: async ({ given, api, output }) => {
        const reason = given.text("reason");
        const body = reason === undefined ? {} : { reason };
        const group = await api.post(pathOf`/api/groups/${given.need("group")}:resume`, body);
        await output.result(group, () => `group ${group.groupId} is resumed`);
      },
    },
    canary,
    delete: {
      describes: "Delete an empty group with its offsets",
      options: { ...GROUP, ...YES },
      examples: [["billing --yes", "without asking"]],
      run: async (context) => {
        const group = context.given.need("group");
        confirm(context, `delete group ${group} with its offsets`);
        await context.api.delete(pathOf`/api/groups/${group}`);
        await context.output.result({ deleted: group }, () => `group ${group} is deleted`);
      },
    },
  },
};

async function list({ given, api, output }: Context): Promise<void> {
  const limit = given.integer("limit")!;
  const { entries, more } = await api.list("/api/groups", "groups", { limit });
  await output.result({ groups: entries }, () =>
    output.table(
      ["GROUP", "STATE", "GENERATION", "MEMBERS"],
      entries.map(({ groupId, state, generation, members }) => [
        groupId,
        state,
        generation,
        members,
      ]),
      "there are no groups",
    ));
  if (more) output.remark(`there are more: --limit ${limit * 10}`);
}

async function show({ given, api, output }: Context): Promise<void> {
  const group = await api.get(pathOf`/api/groups/${given.need("group")}`);
  const { groupId, state, generation, assignor, paused, retries, canary } = group;
  await output.result(group, () => [
    output.fields([
      ["group", groupId],
      ["state", paused === null ? state : "paused"],
      ...(paused === null ? [] : [["paused", `${time(paused.since)}: ${paused.reason}`] as const]),
      ...(canary === null
        ? []
        : [["canary", `${canary.version}, ${canary.percent}%, ${canary.state}`] as const]),
      ["generation", generation],
      ["assignor", assignor],
      ["retries", `${retries.waiting} waiting, ${retries.inHand} in hand`],
    ]),
    "",
    membersTable(group, output),
    "",
    output.table(
      ["TOPIC", "PARTITION", "OFFSET", "COMMITTED"],
      group.offsets.map((each: Json) => [
        each.topic,
        each.partition,
        each.offset,
        time(each.committedAt),
      ]),
      "nothing is committed",
    ),
  ]);
}

function membersTable(group: Json, output: Context["output"]): string {
  return output.table(
    ["MEMBER", "CLIENT", "INSTANCE", "VERSION", "BY", "PRINCIPAL", "JOINED", "PARTITIONS"],
    group.members.map((each: Json) => [
      each.memberId,
      each.clientId,
      each.instanceId,
      each.version,
      each.transport,
      each.principal,
      time(each.joinedAt),
      each.assignment.map((at: Json) => `${at.topic}/${at.partition}`).join(" "),
    ]),
    "it has no members",
  );
}

async function lag({ given, api, output }: Context): Promise<void> {
  const answer = await api.get(pathOf`/api/groups/${given.need("group")}/lag`);
  await output.result(answer, () => [
    output.table(
      ["TOPIC", "PARTITION", "COMMITTED", "HIGH WATERMARK", "LAG", "BEHIND", "STATUS", "MEMBER"],
      answer.partitions.map((each: Json) => [
        each.topic,
        each.partition,
        each.committedOffset,
        each.highWatermark,
        count(each.lag),
        seconds(each.lagSeconds),
        each.status,
        each.memberId,
      ]),
      "nothing is committed or assigned",
    ),
    "",
    `total lag ${count(answer.totalLag)}, group ${answer.state}`,
  ]);
}

async function rebalances({ given, api, output }: Context): Promise<void> {
  const limit = given.integer("limit")!;
  const path = pathOf`/api/groups/${given.need("group")}/rebalances`;
  const { entries } = await api.list(path, "rebalances", { limit });
  await output.result({ rebalances: entries }, () =>
    output.table(
      ["AT", "GENERATION", "CAUSE", "MEMBERS", "MOVED"],
      entries.map((each) => [
        time(each.at),
        each.generation,
        each.cause,
        each.members,
        each.moved.length,
      ]),
      "there were none",
    ));
}
