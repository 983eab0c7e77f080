// Owns word from groups at the brokers where members are: listening at whoever leads the group's shard, wherever it moves.
// Refuses to own telling (group_ties.ts) and what members do with it.
// Invariant: whenever word may have been lost (the shard moved, the connection broke) every member of it looks again, and
// hears what it is now: assigned, paused, resumed, removed.
import { asBrokerError } from "../../storage/broker_error.ts";
import type { Cancel, Timers } from "../../storage/ports.ts";
import { Slots } from "../../storage/turns.ts";
import type { Broker } from "../broker.ts";
import type { GroupCommand, GroupNotification, GroupReply, JoinReply } from "../group/types.ts";
import { GROUPS_TOPIC } from "../internal_topics.ts";
import { TIE_METHODS, type ToldArgs } from "./group_ties.ts";
import type { Peers } from "./peers.ts";
import { callOwner } from "./routed_part.ts";
import type { Router } from "./router.ts";
import { type OwnedRoute, ROUTES } from "./routes.ts";
import type { ClusterView } from "./types.ts";

/** A tie ends when one of the two is gone or the shard moves: its own time is only a bound. */
const TIE_MS = 24 * 3_600_000;
const LISTEN_MS = 10_000;
const TIE_AGAIN_MS = 50;
/** Members that look again at a time, after a shard has moved. */
const LOOKS_AT_A_TIME = 16;

type Listener = (notification: GroupNotification) => void;

interface Heard {
  readonly id: number;
  readonly group: string;
  readonly memberId: string;
  readonly listener: Listener;
  /** The group has answered it as a member; false for who is still joining. */
  isMember: boolean;
  /** As it was told last. */
  isPaused: boolean;
  /** Counts word, so that what a look has found is not told after newer word. */
  words: number;
  /** Of the listener at the local broker, while the shard is led here. */
  unsubscribe: Cancel | null;
}

export interface RoutedGroupsOptions {
  readonly router: Router;
  readonly local: Broker;
  readonly peers: Peers;
  readonly view: ClusterView;
  readonly timers: Timers;
}

export class RoutedGroups {
  readonly #shards = new Map<number, Shard>();
  readonly #listeners = new Map<number, Heard>();
  /** By group and member. */
  readonly #byMember = new Map<string, Set<Heard>>();
  readonly #looks = new Slots(LOOKS_AT_A_TIME);
  #lastId = 0;
  #lastTieId = 0;
  #closed = false;

  constructor(private readonly options: RoutedGroupsOptions) {
    options.peers.handle(TIE_METHODS.told, (args) => {
      const { listenerId, notification } = args as ToldArgs;
      const heard = this.#listeners.get(listenerId);
      if (heard !== undefined) this.#tell(heard, notification);
      return Promise.resolve(null);
    });
  }

  /** See Broker.group. */
  async execute<C extends GroupCommand>(command: C): Promise<GroupReply<C>> {
    const call = {
      name: "broker",
      method: "group",
      route: ROUTES.broker.group as OwnedRoute,
    } as const;
    const reply = await callOwner<GroupReply<C>>(call, this.options, [command]);
    if (command.type === "Heartbeat") this.#confirm(command.group, command.memberId);
    if (command.type === "Join") this.#confirm(command.group, (reply as JoinReply).memberId);
    return reply;
  }

  /** See Broker.onGroupNotification. */
  onNotification(at: { group: string; memberId: string }, listener: Listener): Cancel {
    const heard: Heard = {
      ...at,
      id: ++this.#lastId,
      listener,
      isMember: false,
      isPaused: false,
      words: 0,
      unsubscribe: null,
    };
    const shard = this.#shardOf(at.group);
    const key = keyOf(at.group, at.memberId);
    this.#listeners.set(heard.id, heard);
    this.#byMember.set(key, (this.#byMember.get(key) ?? new Set()).add(heard));
    shard?.add(heard);
    return () => {
      if (!this.#listeners.delete(heard.id)) return;
      const others = this.#byMember.get(key);
      if (others?.delete(heard) === true && others.size === 0) this.#byMember.delete(key);
      shard?.remove(heard);
    };
  }

  close(): void {
    this.#closed = true;
    for (const shard of this.#shards.values()) shard.close();
  }

  #confirm(group: string, memberId: string): void {
    for (const heard of this.#byMember.get(keyOf(group, memberId)) ?? []) heard.isMember = true;
  }

  #shardOf(group: string): Shard | null {
    const at = this.options.router.partitionOf({ topic: GROUPS_TOPIC, key: group });
    if (at === null || this.#closed) return null;
    const known = this.#shards.get(at.partition);
    if (known !== undefined) return known;
    const shard = new Shard(this.options, at, {
      tell: (heard, notification) => this.#tell(heard, notification),
      look: (heard) => void this.#looks.run(() => this.#look(heard)),
      nextTieId: () => ++this.#lastTieId,
    });
    this.#shards.set(at.partition, shard);
    return shard;
  }

  #tell(heard: Heard, notification: GroupNotification): void {
    if (!this.#listeners.has(heard.id)) return;
    heard.words++;
    if (notification.type === "paused") heard.isPaused = true;
    if (notification.type === "resumed") heard.isPaused = false;
    if (notification.type === "removed") heard.isMember = false;
    heard.listener(notification);
  }

  /** Asks what the member is now. Whoever cannot be told that now learns it from its next sign of life. */
  async #look(heard: Heard): Promise<void> {
    const { group, memberId, words } = heard;
    if (!heard.isMember || !this.#listeners.has(heard.id)) return;
    try {
      const reply = await this.execute({ type: "Heartbeat", group, memberId });
      if (heard.words !== words) return;
      const { generation, assignment: partitions, paused } = reply;
      if (paused !== null && !heard.isPaused) {
        this.#tell(heard, { type: "paused", reason: paused.reason });
      }
      if (paused === null && heard.isPaused) this.#tell(heard, { type: "resumed" });
      if (reply.withdrawn !== undefined) {
        this.#tell(heard, { type: "withdrawn", ...reply.withdrawn });
      }
      this.#tell(heard, { type: "assigned", generation, partitions });
      if (partitions.length > 0) this.#tell(heard, { type: "retries", partitions });
    } catch (error) {
      if (asBrokerError(error).code !== "UNKNOWN_MEMBER") return;
      if (heard.isMember) this.#tell(heard, { type: "removed", reason: "timed out" });
    }
  }
}

interface ShardSays {
  readonly tell: (heard: Heard, notification: GroupNotification) => void;
  readonly look: (heard: Heard) => void;
  readonly nextTieId: () => number;
}

/** All listeners of one shard of groups, tied to whoever leads it. */
class Shard {
  readonly #heard = new Set<Heard>();
  readonly #unwatch: Cancel;
  /** Leader and epoch that it is tied to; null: to nobody. */
  #tiedTo: string | null = null;
  #tie: { readonly id: number; readonly nodeId: string; readonly abort: AbortController } | null =
    null;
  #cancelRetry: Cancel = () => {};
  #ties = 0;
  #closed = false;

  constructor(
    private readonly options: RoutedGroupsOptions,
    private readonly at: {
      readonly topicId: string;
      readonly topic: string;
      readonly partition: number;
    },
    private readonly says: ShardSays,
  ) {
    this.#unwatch = options.view.onPartition(at, () => this.#settle());
  }

  add(heard: Heard): void {
    this.#heard.add(heard);
    const tiedTo = this.#tiedTo;
    this.#settle();
    // Settling has let all in, unless it was settled before.
    if (tiedTo !== null && tiedTo === this.#tiedTo) void this.#listen(heard);
  }

  remove(heard: Heard): void {
    if (!this.#heard.delete(heard)) return;
    heard.unsubscribe?.();
    const { id: listenerId } = heard;
    if (this.#tie !== null) {
      const { id: tieId, nodeId } = this.#tie;
      const request = { method: TIE_METHODS.unlisten, args: { tieId, listenerId } };
      // What is not heard there ends with the tie.
      this.options.router.there(nodeId, request, { timeoutMs: LISTEN_MS }).catch(() => {});
    }
    if (this.#heard.size === 0) this.#untie();
  }

  close(): void {
    this.#closed = true;
    this.#unwatch();
    this.#untie();
  }

  #untie(): void {
    this.#cancelRetry();
    this.#tie?.abort.abort();
    this.#tie = null;
    this.#tiedTo = null;
    for (const heard of this.#heard) {
      heard.unsubscribe?.();
      heard.unsubscribe = null;
    }
  }

  /** Ties all listeners to whoever leads now, unless they are. */
  #settle(): void {
    const { router, view } = this.options;
    if (this.#closed || this.#heard.size === 0) return;
    const owner = router.ownerOf(this.at);
    const epoch = view.partition(this.at.topicId, this.at.partition)?.record.leaderEpoch ?? 0;
    const to = owner.at === "nobody" ? null : `${owner.at === "node" ? owner.nodeId : ""} ${epoch}`;
    if (to === this.#tiedTo && to !== null) return;
    this.#untie();
    if (to === null) return;
    this.#tiedTo = to;
    if (owner.at === "node") this.#attach(owner.nodeId);
    const isFirst = ++this.#ties === 1;
    for (const heard of this.#heard) {
      void this.#listen(heard).then((isHeard) => {
        if (isHeard && !isFirst) this.says.look(heard);
      });
    }
  }

  #attach(nodeId: string): void {
    const { router } = this.options;
    const id = this.says.nextTieId();
    const tie = { id, nodeId, abort: new AbortController() };
    this.#tie = tie;
    const args = { tieId: id, partition: this.at.partition };
    const request = { method: TIE_METHODS.attach, args };
    const ended = () => {
      if (this.#tie === tie) this.#lose();
    };
    router.there(nodeId, request, { timeoutMs: TIE_MS, signal: tie.abort.signal })
      .then(ended, ended);
  }

  /** It is tied anew shortly. */
  #lose(): void {
    this.#untie();
    if (this.#closed || this.#heard.size === 0) return;
    this.#cancelRetry = this.options.timers.after(TIE_AGAIN_MS, () => this.#settle());
  }

  /** True when it is let in. */
  async #listen(heard: Heard): Promise<boolean> {
    const { local, router } = this.options;
    const { id: listenerId, group, memberId } = heard;
    const tie = this.#tie;
    if (tie === null) {
      heard.unsubscribe?.();
      heard.unsubscribe = local.onGroupNotification(
        { group, memberId },
        (notification) => this.says.tell(heard, notification),
      );
      return true;
    }
    const args = { tieId: tie.id, listenerId, group, memberId };
    const request = { method: TIE_METHODS.listen, args };
    try {
      await router.there(tie.nodeId, request, { timeoutMs: LISTEN_MS });
      return this.#tie === tie;
    } catch {
      if (this.#tie === tie) this.#lose();
      return false;
    }
  }
}

/** No name of a group has a line break. */
function keyOf(group: string, memberId: string): string {
  return `${group}\n${memberId}`;
}
