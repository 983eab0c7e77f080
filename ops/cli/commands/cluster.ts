// Owns the commands on the cluster: how its brokers and replicas stand, moving replicas, draining and forgetting brokers.
// Refuses to own plans: the broker makes them. Invariant: what moves replicas shows its plan, and with --dry-run only that.
import { confirm } from "../asking.ts";
import type { Json } from "../broker_api.ts";
import {
  type Command,
  type CommandGroup,
  type Context,
  DRY_RUN,
  LIMIT,
  oneOf,
  option,
  word,
  YES,
} from "../command.ts";
import { UsageError } from "../failures.ts";
import type { Given, Options } from "../given.ts";
import { pathOf } from "../grammar.ts";
import { bytes, type Cell, count, counted, seconds } from "../output.ts";

const REASSIGN = "/api/partitions:reassign";
/** More than any cluster has. */
const ALL_BROKERS = 100_000;
const NODE = { node: word("Id of the broker") };
const THROTTLE: Options = {
  throttle: option("bytes", "A second of catching up from each broker to each other one, or none"),
};

const status: Command = {
  describes: "Show brokers, what they lead and hold, and how far they are behind",
  options: {},
  examples: [["", "a table of brokers, and what is in trouble"], ["--json", "the same as JSON"]],
  run: async ({ api, output }) => {
    const [cluster, { entries: brokers }, moves] = await Promise.all([
      api.get("/api/cluster"),
      api.list("/api/brokers", "brokers", { limit: ALL_BROKERS }),
      api.get(REASSIGN, { limit: 1 }),
    ]);
    const { controller, offlinePartitions, underReplicatedPartitions } = cluster;
    const fields: [string, Cell][] = [
      ["cluster", cluster.clusterId],
      [
        "controller",
        controller === null ? "none" : `${controller.nodeId}, epoch ${controller.epoch}`,
      ],
      ["offline", partitionsOf(offlinePartitions)],
      ["under-replicated", partitionsOf(underReplicatedPartitions)],
      ["moves under way", count(moves.total)],
      ["throttle", throttleOf(moves)],
    ];
    const { throttleBytesPerSecond } = moves;
    const result = { ...cluster, brokers, movesUnderWay: moves.total, throttleBytesPerSecond };
    await output.result(result, () => [output.fields(fields), "", table(output, brokers)]);
  },
};

function table(output: Context["output"], brokers: readonly Json[]): string {
  const head = ["BROKER", "STATE", "ZONE", "ADDRESS", "LEADERS", "REPLICAS", "OUT OF SYNC"];
  return output.table(
    [...head, "LAG", "BEHIND"],
    brokers.map((broker) => [
      broker.nodeId,
      broker.state,
      broker.zone,
      broker.host === null ? null : `${broker.host}:${broker.port}`,
      count(broker.leaders),
      count(broker.replicas),
      count(broker.outOfSync),
      broker.lag === null ? "?" : count(broker.lag.messages),
      broker.lag === null ? "?" : behind(broker.lag.behindMs),
    ]),
  );
}

function partitionsOf(places: readonly Json[]): string {
  if (places.length === 0) return "none";
  const named = places.slice(0, 5).map(({ topic, partition }) => `${topic}/${partition}`);
  const more = places.length > named.length ? ", …" : "";
  return `${counted(places.length, "partition")}: ${named.join(", ")}${more}`;
}

function throttleOf({ throttleBytesPerSecond: rate }: Json): string {
  return rate === null ? "none" : `${bytes(rate)}/s`;
}

function behind(ms: number | null): Cell {
  if (ms === null) return "?";
  return ms < 1_000 ? `${Math.round(ms)} ms` : seconds(ms / 1_000);
}

const partitions: Command = {
  describes: "List partitions with their replicas, and how far these are behind",
  options: {
    ...LIMIT,
    state: oneOf(["under-replicated", "offline", "moving"], "Only those"),
    broker: option("node", "Only those that it is a replica of"),
    search: option("text", "Only topics whose names contain it"),
  },
  examples: [
    ["--state under-replicated", "what lacks a replica in sync"],
    ["--broker 2 --search orders", "what broker 2 holds of topic orders"],
  ],
  run: async ({ given, api, output }) => {
    const limit = given.integer("limit")!;
    const query = {
      state: given.text("state"),
      broker: given.text("broker"),
      search: given.text("search"),
    };
    const { entries, more } = await api.list("/api/partitions", "partitions", { limit, query });
    await output.result({ partitions: entries }, () =>
      output.table(
        ["PARTITION", "STATE", "LEADER", "EPOCH", "REPLICAS", "NOT IN SYNC", "BEHIND"],
        entries.map(rowOf),
        "there are no such partitions",
      ));
    if (more) output.remark(`there are more: --limit ${limit * 10}`);
  },
};

function rowOf({ topic, partition, state, leader, leaderEpoch, replicas, target }: Json): Cell[] {
  const late = replicas.filter(({ inSync }: Json) => !inSync);
  const lags = replicas.map(({ nodeId, behindMs }: Json) => [nodeId, behindMs])
    .filter(([nodeId, ms]: [string, number | null]) => nodeId !== leader && ms !== 0)
    .map(([nodeId, ms]: [string, number | null]) => `${nodeId}: ${behind(ms)}`);
  const held = listed(replicas.map(({ nodeId }: Json) => nodeId));
  return [
    `${topic}/${partition}`,
    state,
    leader,
    leaderEpoch,
    target === null ? held : `${held} to ${listed(target)}`,
    listed(late.map(({ nodeId }: Json) => nodeId)),
    lags.join(", "),
  ];
}

const listed = (ids: readonly string[]) => ids.join(",");

const rebalance: Command = {
  describes: "Spread replicas and leaders evenly over brokers",
  options: { ...DRY_RUN, ...THROTTLE },
  examples: [
    ["--dry-run", "which partitions would move where"],
    ["--throttle 10000000", "move them, at 10 MB a second from each broker to each other"],
  ],
  run: (context) => reassign(context, "rebalance"),
};

const reassignCommand: Command = {
  describes: "Move the replicas of one partition to the brokers that are named",
  options: {
    topic: word("Name of the topic"),
    partition: word("Number of the partition"),
    brokers: word("Ids of brokers, commas between them, the preferred leader first"),
    ...DRY_RUN,
    ...THROTTLE,
  },
  examples: [
    ["orders 0 2,3,1 --dry-run", "whether that is allowed, and what it changes"],
    ["orders 0 2,3,1", "leader 2, followers 3 and 1"],
  ],
  run: (context) => {
    const { given } = context;
    const partition = given.integer("partition")!;
    const replicas = given.need("brokers").split(",");
    return reassign(context, [{ topic: given.need("topic"), partition, replicas }]);
  },
};

async function reassign({ given, api, output }: Context, moves: unknown): Promise<void> {
  const dryRun = given.flag("dry-run");
  const body = { moves, dryRun, throttleBytesPerSecond: throttleIn(given) };
  const plan = await api.post(REASSIGN, body);
  await output.result(plan, () => plannedTable(output, plan.moves, "nothing is to be moved"));
  if (plan.moves.length === 0) return;
  output.remark(
    dryRun
      ? "nothing has been moved: leave --dry-run out"
      : "they have begun: waybill cluster moves shows how far they are",
  );
}

function throttleIn(given: Given): number | null | undefined {
  const rate = given.limit("throttle");
  if (rate === 0) throw new UsageError("--throttle takes at least 1 byte a second, or none");
  return rate;
}

function plannedTable(output: Context["output"], moves: readonly Json[], empty: string): string {
  return output.table(
    ["PARTITION", "FROM", "TO"],
    moves.map(({ topic, partition, from, to }) => [
      `${topic}/${partition}`,
      listed(from),
      listed(to),
    ]),
    empty,
  );
}

const moves: Command = {
  describes: "List the moves of replicas that are under way",
  options: { ...LIMIT },
  examples: [["", "with what is missing of each"]],
  run: async ({ given, api, output }) => {
    const limit = given.integer("limit")!;
    const { entries, more } = await api.list(REASSIGN, "moves", { limit });
    await output.result({ moves: entries }, () =>
      output.table(
        ["PARTITION", "FROM", "TO", "NOT IN SYNC YET", "LAG"],
        entries.map(({ topic, partition, from, to, missing, lagMessages }) => [
          `${topic}/${partition}`,
          listed(from),
          listed(to),
          listed(missing),
          lagMessages === null ? "?" : count(lagMessages),
        ]),
        "nothing moves",
      ));
    if (more) output.remark(`there are more: --limit ${limit * 10}`);
  },
};

const cancel: Command = {
  describes: "Cancel moves of replicas that are under way: one, or all",
  options: {
    topic: word("Name of the topic; left out: all moves", false),
    partition: word("Number of the partition", false),
    ...YES,
  },
  examples: [["orders 0 --yes", "one"], ["", "all; asks first"]],
  run: async (context) => {
    const { given, api, output } = context;
    const [topic, partition] = [given.text("topic"), given.integer("partition")];
    if (topic !== undefined && partition === undefined) {
      throw new UsageError("which partition of the topic? Or leave both out: all moves");
    }
    const what = topic === undefined ? "all moves" : `the move of ${topic}/${partition}`;
    confirm(context, `cancel ${what}`);
    const query = topic === undefined ? {} : { topic, partition };
    const answer = await api.json("DELETE", REASSIGN, { query });
    await output.result(
      answer,
      () => plannedTable(output, answer.moves, "nothing was under way"),
    );
  },
};

const drain: Command = {
  describes: "Empty a broker: what it leads and holds moves to the others",
  options: { ...NODE, ...YES },
  examples: [["3", "asks first"], ["3 --yes", "does not"]],
  run: async (context) => {
    const node = context.given.need("node");
    confirm(context, `move all that broker ${node} holds to other brokers`);
    await steer(context, node, "drain");
    context.output.remark("waybill cluster status shows what it still holds");
  },
};

const undrain: Command = {
  describes: "Let a broker that was drained hold replicas again",
  options: NODE,
  examples: [["3", "then: waybill cluster rebalance"]],
  run: (context) => steer(context, context.given.need("node"), "undrain"),
};

async function steer(
  { api, output }: Context,
  node: string,
  verb: "drain" | "undrain",
): Promise<void> {
  const broker = await api.post(`${pathOf`/api/brokers/${node}`}:${verb}`);
  await output.result(broker, () => table(output, [broker]));
}

const decommission: Command = {
  describes: "Forget a broker for good, once it was drained and stopped",
  options: { ...NODE, ...YES },
  examples: [["3", "asks first"]],
  run: async (context) => {
    const node = context.given.need("node");
    confirm(context, `forget broker ${node} for good`);
    await context.api.delete(pathOf`/api/brokers/${node}`);
    await context.output.result({ decommissioned: node }, () => `broker ${node} is forgotten`);
  },
};

export const cluster: CommandGroup = {
  describes: "Show the cluster, move replicas, drain brokers",
  byDefault: "status",
  commands: {
    status,
    partitions,
    rebalance,
    reassign: reassignCommand,
    moves,
    cancel,
    drain,
    undrain,
    decommission,
  },
};
