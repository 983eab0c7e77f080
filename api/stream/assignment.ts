// Owns carrying out what the group says about partitions for one session: starting, stopping, releasing, telling the client.
// Refuses to own the window (session.ts), delivery (reader.ts) and who decides (the group's actor).
// Invariant: a partition is released only when nothing of it is in flight, the client gave it up, or its time is over.
import type { TopicPartition } from "../../actors/broker.ts";
import type { ServerFrame } from "./frames.ts";
import { type HeldPartition, partitionKey, type StartOffset } from "./held_partition.ts";
import type { HeartbeatReply } from "./member_link.ts";
import type { Session } from "./session.ts";
import { Starter, type StarterOptions } from "./starter.ts";

export interface AssignmentOptions
  extends Omit<StarterOptions, "isWanted" | "start" | "onStarted"> {
  readonly session: Session;
  /**
   * What this session subscribes to. A member that comes back with fewer topics has, until the group is assigned anew, also
   * what it had of the others: it may not read these any more, or does not want to.
   */
  readonly topics: readonly string[];
  readonly monotonic: () => number;
  readonly send: (frame: ServerFrame) => void;
  readonly release: (partitions: readonly TopicPartition[]) => void;
  /** No longer held: nothing is to be kept for it. */
  readonly onDropped: (held: HeldPartition) => void;
  /** There may be something to deliver. */
  readonly onReady: () => void;
  /** Resolves when this session's own commits have their answer; left out when nobody is told where reading starts. */
  readonly commitsSettled?: () => Promise<void>;
}

export class Assignment {
  readonly #options: AssignmentOptions;
  readonly #starter: Starter;
  /** What the client was told last: generation and partitions. */
  #told = "";
  #stopped = false;

  constructor(options: AssignmentOptions) {
    const { session } = options;
    this.#options = options;
    this.#starter = new Starter({
      ...options,
      isWanted: (held) => session.holds(held) && !held.revoking,
      start: (held: HeldPartition, at: StartOffset) => session.start(held, at),
      onStarted: () => this.#started(),
    });
  }

  /** The whole assignment of the member. Word of an older generation is no news. */
  assigned(generation: number, partitions: readonly TopicPartition[]): void {
    const { session, send } = this.#options;
    if (generation < session.generation) return;
    const { added, lost } = session.assign(generation, this.#subscribed(partitions));
    for (const held of lost) this.#options.onDropped(held);
    if (lost.length > 0) send({ type: "revoked", partitions: lost.map((held) => held.toJSON()) });
    if (added.length > 0) void this.#starter.start(added);
    else if (session.groupPaused && this.#options.commitsSettled) void this.#tellMoved();
    else if (!this.#starter.busy) this.#started();
  }

  /** An operator may have moved offsets: that is one reason for a new generation while the group is paused. */
  async #tellMoved(): Promise<void> {
    await this.#options.commitsSettled?.();
    await this.recheck();
    if (!this.#stopped) this.#started();
  }

  /** The group wants these back. */
  revoked(generation: number, partitions: readonly TopicPartition[]): void {
    const { session, send, monotonic } = this.#options;
    session.generation = Math.max(session.generation, generation);
    send({ type: "revoked", partitions });
    // What is not held here was held by an earlier connection of this member: nothing of it is in flight on this one.
    const foreign = partitions.filter((at) => !session.held.has(partitionKey(at)));
    session.revoke(partitions, monotonic());
    this.releaseSettled(foreign);
  }

  /** Gives up what is revoked and settled, and `more`. To be called when something is no longer in flight. */
  releaseSettled(more: readonly TopicPartition[] = []): void {
    const released = this.#options.session.takeReleasable();
    for (const held of released) this.#options.onDropped(held);
    const partitions = [...more, ...released.map((held) => held.toJSON())];
    if (partitions.length > 0) this.#options.release(partitions);
  }

  /** The client has stopped these, or the group has given them to another: nothing in flight is waited for. */
  giveUp(partitions: readonly TopicPartition[]): void {
    this.#options.session.giveUp(partitions);
    this.releaseSettled();
    this.#options.onReady();
  }

  /** The position of a partition is no longer in the log. */
  restart(held: HeldPartition): void {
    this.#told = "";
    void this.#starter.start([held]);
  }

  /**
   * Starts partitions anew whose committed offset is not what this session knows: while a group is paused an operator may
   * have moved it. Never rejects.
   */
  async recheck(): Promise<void> {
    const { session, committedOffsets, group } = this.#options;
    const offsets = await committedOffsets.read(group).catch(() => null);
    const moved = [...session.assigned()].filter((held) =>
      offsets === null || (offsets.get(held.key) ?? null) !== held.committed
    );
    if (moved.length === 0) return;
    for (const held of moved) {
      held.deliveredBefore = Math.max(held.deliveredBefore ?? 0, held.position ?? 0);
      this.#options.onDropped(held);
    }
    this.#told = "";
    await this.#starter.start(moved);
  }

  /** Puts right what differs from the group's own word, should any have been lost. */
  resync(reply: HeartbeatReply): void {
    const { session } = this.#options;
    const wanted = new Set(this.#subscribed(reply.assignment).map(partitionKey));
    const held = [...session.held.values()].filter(({ revoking }) => !revoking);
    const same = held.length === wanted.size && held.every(({ key }) => wanted.has(key));
    if (same && reply.generation === session.generation) return;
    this.assigned(reply.generation, reply.assignment);
  }

  /** Resolves when the positions of all that was assigned so far are known, or could not be found at the first try. */
  started(): Promise<void> {
    return this.#starter.tried();
  }

  stop(): void {
    this.#stopped = true;
    this.#starter.stop();
  }

  #subscribed(partitions: readonly TopicPartition[]): readonly TopicPartition[] {
    const { topics } = this.#options;
    return partitions.filter(({ topic }) => topics.includes(topic));
  }

  #started(): void {
    this.#tell();
    this.#options.onReady();
  }

  /** Says what is assigned, unless that has been said. */
  #tell(): void {
    const { session, send } = this.#options;
    const assigned = [...session.assigned()];
    const told = `${session.generation} ${assigned.map(({ key }) => key).join(" ")}`;
    if (told === this.#told && assigned.every(({ reset }) => reset === undefined)) return;
    this.#told = told;
    const partitions = assigned.map((held) => {
      const { topic, partition, position, leaderEpoch, reset } = held;
      held.reset = undefined;
      const shown = { topic, partition, offset: position, leaderEpoch };
      return reset === undefined ? shown : { ...shown, reset };
    });
    send({ type: "assigned", generation: session.generation, partitions });
  }
}
