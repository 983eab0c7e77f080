// Owns running a consumer group's decider in virtual time, as the runtime does: decide, journal, evolve, tell.
// Refuses to own any expectation. Invariant: events pass through JSON, so nothing survives that a journal would lose.
import { decideGroup } from "../../actors/group/decide.ts";
import {
  type GroupEvent,
  type GroupVolatileEvent,
  upcastGroupEvent,
} from "../../actors/group/events.ts";
import { evolveGroup } from "../../actors/group/evolve.ts";
import {
  DEFAULT_GROUP_SETTINGS,
  groupDeadline,
  type GroupSettings,
  type GroupState,
  initialGroup,
} from "../../actors/group/state.ts";
import type {
  CommitReply,
  GroupCommand,
  GroupDescription,
  GroupNotification,
  GroupReply,
  JoinReply,
  PartitionCounts,
} from "../../actors/group/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";

export const GROUP = "billing";
const WALL_START = 1_700_000_000_000;

type JoinCommand = Extract<GroupCommand, { type: "Join" }>;
type CommitCommand = Extract<GroupCommand, { type: "CommitOffsets" }>;

export class GroupRun {
  state: GroupState = initialGroup(GROUP);
  /** Monotonic ms. */
  now = 0;
  /** What the catalog says. */
  counts: PartitionCounts = { orders: 4 };
  readonly settings: GroupSettings;
  readonly journal: GroupEvent[] = [];
  readonly told: { memberId: string; notification: GroupNotification }[] = [];
  /** Called after every decision with what it led to. */
  onStep: (events: readonly GroupEvent[], before: GroupState) => void = () => {};

  constructor(settings: Partial<GroupSettings> = {}) {
    this.settings = { ...DEFAULT_GROUP_SETTINGS, ...settings };
  }

  get wall(): number {
    return WALL_START + this.now;
  }

  execute<C extends GroupCommand>(command: C): GroupReply<C> {
    const before = this.state;
    const decision = decideGroup(before, command, {
      at: { wall: this.wall, monotonic: this.now },
      settings: this.settings,
    });
    const events = decision.events.map(throughJournal);
    this.journal.push(...events);
    this.apply(events, decision.volatile);
    this.told.push(...decision.notify);
    this.onStep(events, before);
    if (decision.reply instanceof BrokerError) throw decision.reply;
    return decision.reply as GroupReply<C>;
  }

  private apply(events: readonly GroupEvent[], volatile: readonly GroupVolatileEvent[]): void {
    for (const event of events) this.state = evolveGroup(this.state, event);
    for (const event of volatile) this.state = evolveGroup(this.state, event);
  }

  /** The code with which the command is refused, null when it is not. */
  refusal(command: GroupCommand): string | null {
    try {
      this.execute(command);
      return null;
    } catch (error) {
      if (error instanceof BrokerError) return error.code;
      throw error;
    }
  }

  joinCommand(newMemberId: string, options: Partial<JoinCommand> = {}): JoinCommand {
    return {
      type: "Join",
      group: GROUP,
      newMemberId,
      topics: ["orders"],
      sessionTimeoutMs: 30_000,
      transport: "websocket",
      partitionCounts: this.counts,
      ...options,
    };
  }

  join(newMemberId: string, options: Partial<JoinCommand> = {}): JoinReply {
    return this.execute(this.joinCommand(newMemberId, options));
  }

  leave(memberId: string): void {
    this.execute({ type: "Leave", group: GROUP, memberId });
  }

  heartbeat(memberId: string): GroupReply<Extract<GroupCommand, { type: "Heartbeat" }>> {
    return this.execute({ type: "Heartbeat", group: GROUP, memberId });
  }

  disconnect(memberId: string): void {
    this.execute({ type: "Disconnected", group: GROUP, memberId });
  }

  release(memberId: string, topic: string, ...partitions: number[]): void {
    this.execute({
      type: "Released",
      group: GROUP,
      memberId,
      partitions: partitions.map((partition) => ({ topic, partition })),
    });
  }

  commitCommand(
    offsets: readonly (readonly [topic: string, partition: number, offset: number])[],
    options: Partial<CommitCommand> = {},
  ): CommitCommand {
    return {
      type: "CommitOffsets",
      group: GROUP,
      offsets: offsets.map(([topic, partition, offset]) => ({
        topic,
        partition,
        offset,
        endOffset: 1_000,
      })),
      allowRewind: false,
      principal: "tester",
      ...options,
    };
  }

  commit(
    offsets: readonly (readonly [topic: string, partition: number, offset: number])[],
    options: Partial<CommitCommand> = {},
  ): CommitReply {
    return this.execute(this.commitCommand(offsets, options));
  }

  changePartitions(counts: PartitionCounts, topics?: readonly string[]): void {
    this.counts = counts;
    this.execute({
      type: "PartitionsChanged",
      group: GROUP,
      partitionCounts: counts,
      ...(topics === undefined ? {} : { topics }),
    });
  }

  describe(): GroupDescription {
    return this.execute({ type: "Describe", group: GROUP });
  }

  /** Lets time pass, with a Tick whenever the group asked for one. */
  advance(ms: number): void {
    const end = this.now + ms;
    for (let ticks = 0;; ticks++) {
      if (ticks > 10_000) throw new Error("the group asks for Ticks without end");
      const deadline = groupDeadline(this.state);
      if (deadline === null || deadline > end) break;
      this.now = Math.max(this.now, deadline);
      this.tick();
    }
    this.now = end;
  }

  tick(): void {
    this.execute({ type: "Tick", group: GROUP });
  }

  /** Lets `members` join together and get their first assignment. */
  start(...members: string[]): void {
    for (const memberId of members) this.join(memberId);
    this.advance(this.settings.initialRebalanceDelayMs);
    this.told.length = 0;
  }

  /** The process dies: what is volatile is gone, the journal is replayed. The monotonic clock starts anew. */
  crash(downMs = 0): void {
    this.state = replay(this.journal);
    this.now += downMs;
    this.execute({ type: "Recovered", group: GROUP });
  }

  /** What `memberId` was told, since `told` was last emptied. */
  toldTo(memberId: string): GroupNotification[] {
    return this.told.filter((entry) => entry.memberId === memberId)
      .map(({ notification }) => notification);
  }

  /** Partitions of `topic` that each member may read: `{ a: [0, 1] }`. */
  readable(topic = "orders"): Record<string, number[]> {
    return Object.fromEntries(
      this.describe().members.map(({ memberId, assignment }) => [
        memberId,
        assignment.filter((at) => at.topic === topic).map(({ partition }) => partition),
      ]),
    );
  }
}

/** The event as it comes back from the journal. */
export function throughJournal(event: GroupEvent): GroupEvent {
  return upcastGroupEvent(JSON.parse(JSON.stringify(event)));
}

export function replay(journal: readonly GroupEvent[]): GroupState {
  return journal.map(throughJournal).reduce(evolveGroup, initialGroup(GROUP));
}
