// Owns the tie between one member's edge and its group: joining, word from the group, signs of life, releases, the end.
// Refuses to own what the word means to the edge (assignment.ts, members/member.ts).
// Invariant: no word is lost between the join and its answer, and the tie ends once: left, disconnected or removed.
import type { Broker, TopicPartition } from "../../actors/broker.ts";
import type {
  AssignorName,
  GroupCommand,
  GroupNotification,
  GroupReply,
  JoinReply,
} from "../../actors/group/types.ts";
import type { Asker } from "../../actors/ownership.ts";
import { asBrokerError, type BrokerError } from "../../storage/broker_error.ts";
import type { Cancel, Randomness } from "../../storage/ports.ts";

/** Who joins what, checked. */
export interface JoinRequest {
  readonly group: string;
  readonly topics: readonly string[];
  readonly transport: "websocket" | "http";
  readonly sessionTimeoutMs: number;
  readonly memberId?: string | undefined;
  readonly clientId?: string | undefined;
  readonly instanceId?: string | undefined;
  readonly version?: string | undefined;
  readonly assignor?: AssignorName | undefined;
  /** Whose the member is to be, or is. */
  readonly asker?: Asker | undefined;
}

export interface MemberLinkOptions {
  readonly broker: Pick<Broker, "group" | "onGroupNotification" | "topic">;
  readonly randomness: Randomness;
  readonly group: string;
  readonly onNotification: (notification: GroupNotification) => void;
  /** Hears of the broker's own faults. */
  readonly onError: (error: unknown) => void;
}

export type HeartbeatReply = GroupReply<Extract<GroupCommand, { type: "Heartbeat" }>>;

export class MemberLink {
  readonly #options: MemberLinkOptions;
  #memberId: string | null = null;
  #ended = false;
  #unsubscribe: Cancel[] = [];
  /** Word that came before `listen`; null afterwards. */
  #early: GroupNotification[] | null = [];
  #heardCount = 0;
  #beating = false;

  constructor(options: MemberLinkOptions) {
    this.#options = options;
  }

  get memberId(): string | null {
    return this.#memberId;
  }

  /** Joins as a new member or as the one that comes back. Word from the group is kept until `listen`. Errors: those of Join. */
  async join(request: JoinRequest): Promise<JoinReply> {
    const { broker, randomness, group } = this.#options;
    const { topics, memberId, clientId, instanceId, version, assignor, asker } = request;
    const newMemberId = randomness.uuid();
    this.#subscribe(newMemberId);
    if (memberId !== undefined) this.#subscribe(memberId);
    const reply = await broker.group({
      type: "Join",
      group,
      newMemberId,
      topics,
      sessionTimeoutMs: request.sessionTimeoutMs,
      transport: request.transport,
      partitionCounts: this.#partitionCounts(topics),
      ...(memberId === undefined ? {} : { memberId }),
      ...(clientId === undefined ? {} : { clientId }),
      ...(instanceId === undefined ? {} : { instanceId }),
      ...(version === undefined ? {} : { version }),
      ...(assignor === undefined ? {} : { assignor }),
      ...(asker === undefined ? {} : { asker }),
    });
    this.#memberId = reply.memberId;
    // The client went away while it was let in.
    if (this.#ended) await this.#tell({ type: "Disconnected", group, memberId: reply.memberId });
    return reply;
  }

  /** Goes on for a member that joined before this process started; its answer to a heartbeat says that it still is one. */
  async adopt(memberId: string): Promise<HeartbeatReply> {
    const { broker, group } = this.#options;
    this.#subscribe(memberId);
    try {
      const reply = await broker.group({ type: "Heartbeat", group, memberId });
      this.#memberId = memberId;
      return reply;
    } catch (error) {
      this.end();
      throw error;
    }
  }

  /** From now on word from the group is passed on, first what has come already. */
  listen(): void {
    const early = this.#early ?? [];
    this.#early = null;
    for (const notification of early) this.#hear(notification);
  }

  /**
   * A sign of life. Resolves to where the group stands, or null when word came meanwhile that may be newer, when
   * another heartbeat is under way, or when the group could not be asked. A member that is no more is `removed`.
   */
  async heartbeat(): Promise<HeartbeatReply | null> {
    const memberId = this.#memberId;
    if (this.#beating || this.#ended || memberId === null) return null;
    this.#beating = true;
    const heard = this.#heardCount;
    try {
      const { broker, group } = this.#options;
      const reply = await broker.group({ type: "Heartbeat", group, memberId });
      return heard === this.#heardCount && !this.#ended ? reply : null;
    } catch (error) {
      const failure = asBrokerError(error);
      this.#report(failure);
      if (failure.code === "UNKNOWN_MEMBER") this.#hear({ type: "removed", reason: "timed out" });
      return null;
    } finally {
      this.#beating = false;
    }
  }

  /** Gives partitions up. A release that does not reach the group is made up for by its grace. */
  release(partitions: readonly TopicPartition[]): Promise<void> {
    if (partitions.length === 0 || this.#memberId === null) return Promise.resolve();
    const { group } = this.#options;
    return this.#tell({ type: "Released", group, memberId: this.#memberId, partitions });
  }

  /** Ends the tie: the member is one no more. */
  leave(): Promise<void> {
    return this.#part("Leave");
  }

  /** Ends the tie: the member may come back. */
  disconnect(): Promise<void> {
    return this.#part("Disconnected");
  }

  /** Ends the tie without a word: the group knows, or nobody ever joined. */
  end(): void {
    this.#ended = true;
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#unsubscribe = [];
  }

  async #part(type: "Leave" | "Disconnected"): Promise<void> {
    if (this.#ended) return;
    this.end();
    if (this.#memberId === null) return;
    await this.#tell({ type, group: this.#options.group, memberId: this.#memberId });
  }

  #subscribe(memberId: string): void {
    const { broker, group } = this.#options;
    const listener = (notification: GroupNotification) => this.#hear(notification);
    this.#unsubscribe.push(broker.onGroupNotification({ group, memberId }, listener));
  }

  #hear(notification: GroupNotification): void {
    if (this.#ended) return;
    if (this.#early !== null) {
      this.#early.push(notification);
      return;
    }
    this.#heardCount++;
    if (notification.type === "removed") this.end();
    this.#options.onNotification(notification);
  }

  #partitionCounts(topics: readonly string[]): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const name of topics) {
      const topic = this.#options.broker.topic(name);
      if (topic !== null) counts[name] = topic.partitionCount;
    }
    return counts;
  }

  /** One command whose refusal changes nothing here: what the group is not told, its deadlines make it do. */
  async #tell(command: GroupCommand): Promise<void> {
    try {
      await this.#options.broker.group(command);
    } catch (error) {
      this.#report(asBrokerError(error));
    }
  }

  #report(error: BrokerError): void {
    if (error.code === "INTERNAL") this.#options.onError(error.cause ?? error);
  }
}
