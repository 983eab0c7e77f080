// Owns one session of a group member, as an edge keeps one: it joins, hears what it may read, reads, commits, lets go.
// Refuses to own how sessions follow each other (member.ts), and to judge (ledgers/).
// Invariant: one request at a time, but for commits that are late on purpose; it reads only what it was told it may.
import type { Broker, Topic, TopicPartition } from "../../../actors/broker.ts";
import type { GroupCommand, GroupNotification, GroupReply } from "../../../actors/group/types.ts";
import { BrokerError } from "../../../storage/broker_error.ts";
import { type Held, MemberCommits } from "./member_commits.ts";
import { keyOf } from "../ledgers/commit_ledger.ts";
import type { ClientScene, GroupLedgers } from "../client_scene.ts";

const READ_BYTES = [1, 4_000, 100_000] as const;
/** When nothing more is published and all must be read. */
const DRAIN_READ_BYTES = 1_048_576;

/** A member as it presents itself at each join. */
export interface MemberSpec {
  readonly name: string;
  readonly topics: readonly string[];
  readonly instanceId: string | null;
  readonly transport: "websocket" | "http";
  readonly sessionTimeoutMs: number;
}

export class MemberSession {
  /** The session has ended, by the broker's word or the loss of the connection. */
  isOver = false;
  memberId: string;
  #generation = 0;
  #isPaused = false;
  readonly #held = new Map<string, Held>();
  #inbox: GroupNotification[] = [];
  #unlisten: (() => void)[] = [];
  readonly #commits: MemberCommits;

  constructor(
    private readonly simulation: ClientScene,
    private readonly ledgers: GroupLedgers,
    readonly spec: MemberSpec,
    private readonly formerId: string | null,
  ) {
    this.memberId = simulation.world.chance.uuid();
    this.#commits = new MemberCommits(simulation, ledgers, {
      name: spec.name,
      self: () => ({ memberId: this.memberId, generation: this.#generation }),
      ask: (command) => this.#ask(command),
    });
  }

  /** Joins; rejects when that is refused. */
  async join(): Promise<void> {
    const { world, machine } = this.simulation;
    const { name, topics, instanceId, transport, sessionTimeoutMs } = this.spec;
    this.#listen(this.memberId);
    if (this.formerId !== null) this.#listen(this.formerId);
    const counts = topics.flatMap((topic) => {
      const found = machine.broker?.topic(topic) ?? null;
      return found === null ? [] : [[topic, found.partitionCount]];
    });
    const reply = await this.#ask({
      type: "Join",
      group: this.ledgers.group,
      newMemberId: this.memberId,
      ...(this.formerId === null ? {} : { memberId: this.formerId }),
      clientId: name,
      ...(instanceId === null ? {} : { instanceId }),
      topics,
      sessionTimeoutMs,
      transport,
      partitionCounts: Object.fromEntries(counts),
    });
    this.memberId = reply.memberId;
    this.#generation = reply.generation;
    world.note(name, `joined as ${reply.memberId} with ${reply.assignment.map(keyOf)}`);
    this.ledgers.owners.assigned(reply.memberId, reply.assignment);
    this.#take(reply.assignment);
  }

  /** Ends the session as seen from this side; `how` is told to the broker, or nothing is. */
  async end(how: "leave" | "disconnect" | "vanish"): Promise<void> {
    const { group } = this.ledgers;
    this.close();
    this.simulation.world.note(this.spec.name, `${how} ${this.memberId}`);
    if (how === "vanish") return;
    const type = how === "leave" ? "Leave" : "Disconnected";
    await this.#ask({ type, group, memberId: this.memberId });
  }

  /** Hears and reads nothing from now on. */
  close(): void {
    this.isOver = true;
    for (const unlisten of this.#unlisten.splice(0)) unlisten();
    this.ledgers.owners.gone(this.memberId);
  }

  async heartbeat(): Promise<void> {
    await this.#ask({ type: "Heartbeat", group: this.ledgers.group, memberId: this.memberId });
  }

  /** Acts on what was heard, then does one thing: reads, commits, or lets go of what was revoked. */
  async step(): Promise<void> {
    for (const notification of this.#inbox.splice(0)) this.#hear(notification);
    if (this.isOver || this.#isPaused) return;
    const revoked = [...this.#held.values()].filter((held) => held.revoked);
    const { world } = this.simulation;
    if (revoked.length > 0 && world.oneIn(3)) return await this.#release(revoked);
    const open = [...this.#held.values()].filter((held) => !held.revoked);
    if (open.length === 0) return;
    const held = world.chance.pick(open);
    if (await this.#read(held) && world.oneIn(3)) await this.#commits.some(held);
  }

  /** Commits everything that was read, for a run that comes to its end. */
  async commitAll(): Promise<void> {
    for (const held of [...this.#held.values()]) {
      if (!held.revoked && held.source !== null && held.position > held.committed) {
        await this.#commits.commit(held, held.position);
      }
    }
  }

  /** What it believes it may read. */
  view(): string[] {
    return [...this.#held.values()].filter((held) => !held.revoked).map(keyOf).sort();
  }

  #listen(memberId: string): void {
    const broker = this.simulation.machine.broker;
    if (broker === null) return;
    const { group, owners } = this.ledgers;
    this.#unlisten.push(broker.onGroupNotification({ group, memberId }, (notification) => {
      owners.told(memberId, notification);
      this.simulation.world.note(this.spec.name, `is told ${describe(notification)}`);
      this.#inbox.push(notification);
    }));
  }

  #hear(notification: GroupNotification): void {
    switch (notification.type) {
      case "assigned":
        this.#generation = notification.generation;
        return this.#take(notification.partitions);
      case "revoked":
        this.#generation = notification.generation;
        for (const at of notification.partitions) {
          const held = this.#held.get(keyOf(at));
          if (held !== undefined) held.revoked = true;
        }
        return;
      case "paused":
      case "resumed":
        this.#isPaused = notification.type === "paused";
        return;
      case "removed":
        this.isOver = true;
    }
  }

  #take(partitions: readonly TopicPartition[]): void {
    const wanted = new Set(partitions.map(keyOf));
    for (const [key, held] of this.#held) {
      if (!held.revoked && !wanted.has(key)) this.#held.delete(key);
    }
    for (const { topic, partition } of partitions) {
      const key = keyOf({ topic, partition });
      const held = this.#held.get(key);
      if (held !== undefined && !held.revoked) continue;
      this.#held.set(key, {
        topic,
        partition,
        source: null,
        position: 0,
        committed: 0,
        asked: 0,
        revoked: false,
        isOvertaken: this.ledgers.commits.watchLateCommits(),
      });
    }
  }

  async #release(revoked: readonly Held[]): Promise<void> {
    const { group, owners } = this.ledgers;
    const { memberId } = this;
    for (const held of revoked) {
      if (
        held.source !== null && held.position > held.committed && this.simulation.world.oneIn(2)
      ) {
        await this.#commits.some(held);
      }
    }
    const partitions = revoked.map(({ topic, partition }) => ({ topic, partition }));
    for (const held of revoked) {
      if (this.#held.get(keyOf(held)) === held) this.#held.delete(keyOf(held));
    }
    owners.releasing(memberId, partitions);
    await this.#ask({ type: "Released", group, memberId, partitions });
  }

  /** False when there was nothing new, or it could not be read now. */
  async #read(held: Held): Promise<boolean> {
    const { machine, messages, world } = this.simulation;
    const topic = machine.broker?.topic(held.topic) ?? null;
    if (topic === null) return false;
    if (held.source?.topicId !== topic.topicId && !await this.#start(held, topic)) return false;
    const ledger = messages.of(topic, held.partition);
    const floor = ledger.floor();
    const { position } = held;
    const maxBytes = world.phase === "draining" ? DRAIN_READ_BYTES : world.chance.pick(READ_BYTES);
    try {
      const result = await machine.ask(
        this.spec.name,
        (broker) =>
          broker.fetch({ topic: held.topic, partition: held.partition }, position, { maxBytes }),
      );
      held.position = ledger.shown(position, result, floor);
      if (held.position > position) {
        world.note(this.spec.name, `reads ${keyOf(held)} ${position} to ${held.position}`);
      }
      return held.position > position;
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
      if (error.code !== "OFFSET_OUT_OF_RANGE") return false;
      const { logStartOffset } = error.details;
      if (typeof logStartOffset === "number" && logStartOffset > position) {
        held.position = logStartOffset;
      } else world.violation(`${this.spec.name} cannot go on at ${position}: ${error.message}`);
      return false;
    }
  }

  /** Where the group has committed, or the log start. False when the topic is another one by now. */
  async #start(held: Held, topic: Topic): Promise<boolean> {
    const { machine } = this.simulation;
    const { group, commits, owners } = this.ledgers;
    const at = { topicId: topic.topicId, topic: topic.name, partition: held.partition };
    const floor = commits.floorOf(at);
    held.isOvertaken = commits.watchLateCommits();
    const described = await this.#ask({ type: "Describe", group });
    owners.described(described);
    if (machine.broker?.topic(topic.name)?.topicId !== topic.topicId) return false;
    const committed = described.offsets.find((offset) => keyOf(offset) === keyOf(held));
    commits.found(at, committed?.offset ?? null, floor);
    held.source = topic;
    held.committed = committed?.offset ?? 0;
    held.position = held.asked = held.committed;
    return true;
  }

  async #ask<C extends GroupCommand>(command: C): Promise<GroupReply<C>> {
    const { machine } = this.simulation;
    const ask = (broker: Broker) => broker.group(command);
    try {
      return await machine.ask(`${this.spec.name} ${command.type}`, ask);
    } catch (error) {
      if (error instanceof BrokerError && error.code === "UNKNOWN_MEMBER") this.isOver = true;
      throw error;
    }
  }
}

function describe(notification: GroupNotification): string {
  const { type } = notification;
  if (type !== "assigned" && type !== "revoked") return type;
  return `${type} ${notification.partitions.map(keyOf)} in ${notification.generation}`;
}
