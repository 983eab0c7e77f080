// Owns the group coordinator: consumer groups sharded over the partitions of the internal topic `__groups`.
// Refuses to own decisions (decide.ts) and durability (the partition that is each shard's journal).
// Invariant: a group lives in exactly one shard, found by the hash of its name as a key would be.
import { supervisedActor, type SupervisedActorPorts } from "../partition/supervised_actor.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { partitionForKey } from "../../storage/format/murmur2.ts";
import type { Crc32c } from "../../storage/ports.ts";
import type { Partition } from "../partition/partition.ts";
import { KeyedActor } from "../runtime/keyed_actor.ts";
import { RetainedJournal } from "../runtime/retained_journal.ts";
import type { Revivable } from "../runtime/revived_actors.ts";
import type { Supervised } from "../runtime/supervisor.ts";
import type { Activity } from "../measurement/types.ts";
import { CanaryList, type CanaryWithdrawal } from "./canary/canary_list.ts";
import type { GroupEvent, GroupVolatileEvent } from "./events.ts";
import { GROUP_WORDS } from "./journal_retention.ts";
import { GroupBound } from "./group_bound.ts";
import { GroupActivity } from "./group_activity.ts";
import { NO_COUNTS, sumOf } from "./group_counts.ts";
import { groupDecider, type GroupEffect } from "./keyed_group.ts";
import { ShardLedgers } from "./ledger/shard_ledgers.ts";
import type { OffsetLedger } from "./ledger/types.ts";
import { summarizeGroup, topicsOfGroup } from "./describe.ts";
import { MemberListeners } from "./member_listeners.ts";
import { type GroupSettings, type GroupState, isGroupGone } from "./state.ts";
import { isKeyed, type KeyHashes, weightOf, withKeyHashes } from "./retry/keyed_commands.ts";
import { policyOf } from "./retry/state.ts";
import { TopicNews, type TopicsChanged } from "./topic_news.ts";
import type {
  GroupCommand,
  GroupNotification,
  GroupReply,
  GroupSummary,
  JoinReply,
  PartitionCounts,
} from "./types.ts";

type GroupShard = KeyedActor<GroupState, GroupCommand, GroupEvent, GroupVolatileEvent, GroupEffect>;

export interface GroupCoordinatorOptions {
  /** The partitions of `__groups`, in order. */
  readonly partitions: readonly Partition[];
  readonly settings: GroupSettings;
  /** Number of partitions of the topics that exist, of those asked for. */
  readonly partitionCounts: (topics: readonly string[]) => PartitionCounts;
  /** Hashes of the keys of the messages at `offsets`, ascending. */
  readonly keyHashes: KeyHashes;
  /** Hears of groups that the broker itself has paused. */
  readonly onPaused?: (paused: { group: string; pausedBy: string; reason: string }) => void;
  /** Hears of canaries that did worse than the rest. */
  readonly onWithdrawn?: (group: string, withdrawal: CanaryWithdrawal) => void;
  readonly ports: SupervisedActorPorts & {
    readonly crc32c: Crc32c;
    report(event: { level: "warning"; message: string; error?: unknown }): void;
  };
}

/** No group can have this name. */
const NO_GROUP = "";
/** Groups of a shard that are told of topics in one go: no more than its journal takes in one append. */
const MAX_TOLD_AT_ONCE = 256;

const encoder = new TextEncoder();

export class GroupCoordinator {
  private readonly shards: readonly Supervised<GroupShard>[];
  /** By shard. */
  private readonly news: readonly TopicNews[];
  private readonly ledgers: ShardLedgers;
  private readonly journals: readonly RetainedJournal<GroupState, GroupCommand>[];
  /** Every change of every group's offsets. */
  readonly ledger: OffsetLedger;
  private readonly bound: GroupBound;
  private readonly listeners = new MemberListeners();
  private counts = NO_COUNTS;
  private readonly byGroup = new GroupActivity();
  private readonly canaries = new CanaryList();
  private deadLetters: ((group: string) => void) | null = null;
  private readonly unheardDeadLetters = new Set<string>();

  private constructor(private readonly options: GroupCoordinatorOptions) {
    const { partitions, ports, settings: { maxGroups } } = options;
    this.bound = new GroupBound({ maxGroups, shards: () => this.running() });
    this.ledgers = new ShardLedgers({ partitions, ...ports });
    this.shards = options.partitions.map((_, number) => this.shardOver(number));
    this.journals = this.shards.map((actor, number) => {
      const partition = partitions[number]!;
      return new RetainedJournal({ actor, words: GROUP_WORDS, partition, ports });
    });
    this.news = this.shards.map((shard) => this.newsOf(shard));
    this.news.forEach((news, number) =>
      // Who comes to lead a shard does not know what the last one has told it.
      partitions[number]!.onLeadership((leads) => void (leads && news.tellAll()))
    );
    this.ledger = this.ledgers.asOne({
      shardOf: (group) => this.shardOf(group),
      query: (shard, project) => this.shards[shard]!.get().query(project),
    });
  }

  /** Loads every shard; one that cannot be loaded is tried again by its supervisor and does not stop the others. */
  static async open(options: GroupCoordinatorOptions): Promise<GroupCoordinator> {
    const coordinator = new GroupCoordinator(options);
    await coordinator.ledgers.load();
    await Promise.all(coordinator.shards.map((shard) => shard.start()));
    // Topics may have changed just before the last process ended, unheard by their groups.
    for (const news of coordinator.news) news.tellAll();
    return coordinator;
  }

  /** Rejects as GroupCommand says, or with ACTOR_DOWN, OVERLOADED, DISK_FULL, STORAGE_FAILED. */
  async execute<C extends GroupCommand>(command: C): Promise<GroupReply<C>> {
    const number = this.shardOf(command.group);
    let leave: (() => void) | null = null;
    try {
      const shard = this.shards[number]!.get();
      leave = this.bound.enter(command, shard);
      const asked = isKeyed(command) ? await this.withKeys(shard, command) : command;
      const reply = await shard.ask(command.group, asked, weightOf(asked));
      if (command.type === "Heartbeat") this.listeners.confirm(command.group, command.memberId);
      if (command.type === "Join") {
        this.listeners.confirm(command.group, (reply as JoinReply).memberId);
      }
      return reply as GroupReply<C>;
    } finally {
      leave?.();
      this.catchUp(this.news[number]!, command);
    }
  }

  /** A topic that came, grew or went while a command was under way was no news to a group that did not know it yet. */
  private catchUp(news: TopicNews, command: GroupCommand): void {
    if (command.type === "Join") {
      const counts = this.options.partitionCounts(command.topics);
      for (const topic of command.topics) {
        const count = countIn(counts, topic);
        if (count === countIn(command.partitionCounts, topic)) continue;
        news.tell(topic, { deleted: count === 0 });
      }
    } else if (
      command.type === "CommitOffsets" || command.type === "StageOffsets" || command.type === "Nack"
    ) {
      const named = command.type === "Nack" ? command.nacks : command.offsets;
      const topics = named.map(({ topic }) => topic);
      const counts = this.options.partitionCounts(topics);
      for (const topic of topics) {
        if (countIn(counts, topic) === 0) news.tell(topic, { deleted: true });
      }
    }
  }

  /** Of the shards that run here, in order of the groups' names. `whole`: rejects with ACTOR_DOWN unless all do that are here. */
  async summaries({ whole }: { readonly whole: boolean }): Promise<readonly GroupSummary[]> {
    const shards = whole
      ? this.shards.filter((shard) => !shard.isElsewhere).map((shard) => shard.get())
      : this.running();
    const found = await Promise.all(shards.map((shard) => shard.query(summariesOf)));
    return found.flat().sort((a, b) => a.groupId < b.groupId ? -1 : 1);
  }

  /** One listener a member; a later one replaces the earlier. */
  onNotification(
    at: { group: string; memberId: string },
    listener: (notification: GroupNotification) => void,
  ): () => void {
    return this.listeners.add(at, listener);
  }

  /** Hears of groups that have dead letters to be written, also of those before it listened. */
  onDeadLetters(listener: (group: string) => void): void {
    this.deadLetters = listener;
    for (const group of this.unheardDeadLetters) listener(group);
    this.unheardDeadLetters.clear();
  }

  private perform(group: string, effect: GroupEffect): void {
    if ("deadLettersDue" in effect) {
      if (this.deadLetters === null) this.unheardDeadLetters.add(group);
      else this.deadLetters(group);
      return;
    }
    if ("counted" in effect) {
      this.counts = sumOf(this.counts, effect.counted);
      this.byGroup.note(group, effect.counted);
      return;
    }
    if ("canary" in effect) return this.canaries.note(group, effect.canary);
    if ("withdrawn" in effect) return this.options.onWithdrawn?.(group, effect);
    if ("pausedBy" in effect) return this.options.onPaused?.({ group, ...effect });
    if ("recovered" in effect) return this.listeners.endAllBut(group, effect.recovered);
    this.listeners.tell(group, effect.memberId, effect.notification);
  }

  /** Keys matter only where the group's policy blocks by them; then they are looked up here, beside the log. */
  private async withKeys(shard: GroupShard, command: GroupCommand): Promise<GroupCommand> {
    if (!isKeyed(command)) return command;
    const { keyHashes } = this.options;
    const retry = await shard.query((states) => states.get(command.group)?.retry);
    const blocks = (topic: string) =>
      retry !== undefined && policyOf(retry, topic).ordering === "blockKey";
    return await withKeyHashes(command, { blocks, keyHashes });
  }

  /**
   * Tells every group that `topic` matters to how many partitions it has now; `deleted`: that it was gone in between. A
   * shard that cannot hear is told again until it has.
   */
  topicChanged(topic: string, options: { deleted: boolean }): void {
    for (const news of this.news) news.tell(topic, options);
  }

  /** Resolves to true when every group has heard of every deletion of `topic` so far; to false when some never will. */
  async heardOfDeletion(topic: string): Promise<boolean> {
    const heard = await Promise.all(this.news.map((news) => news.heardOfDeletion(topic)));
    return heard.every((one) => one);
  }

  /** Tells groups no more of topics: they hear of what is left at the next start. */
  async endNews(): Promise<void> {
    await Promise.all(this.news.map((news) => news.close()));
  }

  /** What has happened to all groups since the broker has started, and commands that wait. */
  activity(): Omit<Activity, "partitions"> {
    const waiting = this.running().reduce((sum, shard) => sum + shard.waiting, 0);
    return { ...this.counts, ...this.byGroup.counts(), waiting, canaries: this.canaries.all() };
  }

  /** What keeps groups from being served, empty when nothing does. */
  problems(): string[] {
    return this.shards.flatMap((shard) => shard.problems());
  }

  /**
   * Drops of the journals what is older than the history that is kept, once all that is known has been written down after
   * it. `now` is trusted wall time. A shard that cannot now does so at the next call.
   */
  async applyRetention(now: number): Promise<void> {
    const { historyMs: windowMs } = this.options.settings;
    if (windowMs === 0) return;
    for (const journal of this.journals) await journal.applyRetention({ now, windowMs });
  }

  /** What keeps its shards running. */
  get actors(): readonly Revivable[] {
    return this.shards;
  }

  async close(): Promise<void> {
    await this.endNews();
    await Promise.all(this.shards.map((shard) => shard.close()));
    await this.ledgers.close();
  }

  /** Whose share of groups it is of; null: nobody's, or it is not there. Rejects with ACTOR_DOWN and the like. */
  async tenantOf(group: string): Promise<string | null> {
    const shard = this.shards[this.shardOf(group)]!;
    return await shard.get().query((states) => states.get(group)?.tenant ?? null);
  }

  /** Number of the group's shard. */
  private shardOf(group: string): number {
    if (this.shards.length === 0) {
      throw new BrokerError("LEADER_NOT_AVAILABLE", "no group shard is here");
    }
    return partitionForKey(encoder.encode(group), this.shards.length);
  }

  private running(): GroupShard[] {
    return this.shards.filter((shard) => shard.isRunning)
      .map((shard) => shard.get());
  }

  private newsOf(shard: Supervised<GroupShard>): TopicNews {
    const { ports: { timers, report }, partitionCounts: counts } = this.options;
    return new TopicNews({
      timers,
      counts,
      // Elsewhere others tell it.
      tell: (news) => shard.isElsewhere ? Promise.resolve() : tellShard(shard.get(), news),
      onFailure: (error) => {
        if (shard.isStarting) return;
        const message = `${shard.id} has not heard of changed topics yet`;
        report({ level: "warning", message, error });
      },
    });
  }

  private shardOver(number: number): Supervised<GroupShard> {
    return supervisedActor(`group-shard/${number}`, {
      decider: groupDecider(this.options.settings),
      journal: () => this.ledgers.journalOf(number),
      home: this.options.partitions[number]!,
      perform: (group, effect) => this.perform(group, effect),
    }, this.options.ports);
  }
}

function countIn(counts: PartitionCounts, topic: string): number {
  return Object.hasOwn(counts, topic) ? counts[topic]! : 0;
}

/** Deleted groups linger as states of which nothing is known. */
function summariesOf(states: ReadonlyMap<string, GroupState>): GroupSummary[] {
  return [...states.values()].filter((state) => !isGroupGone(state)).map(summarizeGroup);
}

async function tellShard(shard: GroupShard, { changed, counts }: TopicsChanged): Promise<void> {
  // What was sent before comes first: it may be what makes a topic matter to a group.
  await shard.ask(NO_GROUP, tidings(NO_GROUP, [], {}));
  const concerned = await shard.query((states) => concernedBy(states, changed));
  for (let from = 0; from < concerned.length; from += MAX_TOLD_AT_ONCE) {
    const told = concerned.slice(from, from + MAX_TOLD_AT_ONCE);
    await Promise.all(
      told.map(({ group, topics }) => shard.ask(group, tidings(group, topics, counts(topics)))),
    );
  }
}

function tidings(
  group: string,
  topics: readonly string[],
  partitionCounts: PartitionCounts,
): GroupCommand {
  return { type: "PartitionsChanged", group, topics, partitionCounts };
}

function concernedBy(
  states: ReadonlyMap<string, GroupState>,
  changed: ReadonlySet<string> | null,
): { group: string; topics: string[] }[] {
  return [...states].map(([group, state]) => ({ group, topics: topicsOfGroup(state) }))
    .filter(({ topics }) => changed === null || topics.some((topic) => changed.has(topic)));
}
